import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { SIGN_IN_LABEL } from './auth/label.ts';
import type { Door } from './dataplane/node/lane/lane.ts';
import { type Claims, clientAt, clientBehind, identifyClient, speaksForOthers } from './gate/client.ts';
import { type Destination, Destinations, type Stranger } from './gate/destination.ts';
import { hostName } from './gate/host.ts';
import { inspectRequest, type Refusal } from './gate/hygiene.ts';
import { expectsContinue, insistOnHttps, isAnswered } from './http.ts';
import { Http2Request } from './http2/message.ts';
import type { Log } from './log.ts';
import { handleManagement } from './management/handle.ts';
import { send, sendRaw } from './send.ts';
import { type About, type Admitted, account, accountPassed, describe } from './visits/accounting.ts';
import { VisitsElsewhere, type VisitsElsewhereParts } from './visits/elsewhere.ts';
import { SessionVisits, type SessionVisitsParts, targetOf } from './visits/sessions.ts';
import { Turns } from './visits/turns.ts';

const DOCUMENTATION = 'Please see documentation on how to use this service.\n';

const NO_SITE = 'There is no live site here.\n';

export interface FrontParts extends SessionVisitsParts, VisitsElsewhereParts {
  readonly log: Log;
}

/** The door: looks at every request once, and sends it to management, a live site, or a page. */
export class Front {
  readonly #parts: FrontParts;
  readonly #destinations: Destinations;
  readonly #sessions: SessionVisits;
  readonly #elsewhere: VisitsElsewhere;
  readonly #turns = new Turns();
  /** Connections whose TLS handshake is done. */
  readonly #secured = new WeakSet<Duplex>();

  constructor(parts: FrontParts) {
    this.#parts = parts;
    this.#destinations = new Destinations(parts.config);
    this.#sessions = new SessionVisits(parts);
    this.#elsewhere = new VisitsElsewhere(parts);
  }

  readonly onSecure = (socket: Duplex): void => {
    this.#secured.add(socket);
  };

  readonly onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    this.#turns.take(request, response, () => this.#answer(request, response));
  };

  /** Requests over HTTP/2 are there all at once by design; each has a stream of its own. */
  readonly onHttp2Request = (request: IncomingMessage, response: ServerResponse): void => {
    this.#answer(request, response);
  };

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const started = performance.now();
    const admitted = this.#admit(request);
    const about = describe(request, admitted);
    response.once('close', () =>
      account(this.#parts, about, response.statusCode, started, isAnswered(response)),
    );
    // A visitor who leaves in the middle is nobody's error.
    response.on('error', () => undefined);
    if ('status' in admitted) {
      insistOnHttps(response, this.#parts.hsts);
      this.#refuse(request, response, admitted);
      return;
    }
    const { destination, client } = admitted;
    const { auth, hsts } = this.#parts;
    const signsIn = auth !== undefined && destination.kind === 'site' && destination.label === SIGN_IN_LABEL;
    if (destination.kind === 'site' && !signsIn) {
      this.#sessions.request(request, response, destination, client);
      return;
    }
    if (destination.kind === 'route' || destination.kind === 'direct') {
      void this.#elsewhere.request(request, response, destination, client);
      return;
    }
    insistOnHttps(response, hsts);
    switch (destination.kind) {
      case 'manage':
        if (expectsContinue(request)) response.writeContinue();
        void handleManagement(this.#parts.management, request, response, client, this.#parts.log);
        break;
      case 'apex':
        send(request, response, 200, { 'Content-Type': 'text/plain' }, DOCUMENTATION);
        break;
      case 'unslashed':
        send(request, response, 307, { 'Content-Type': 'text/plain', Location: destination.path }, '');
        break;
      case 'nowhere':
        if (destination.name !== undefined) this.#parts.pages.unknown(request, response, destination.name);
        else send(request, response, 404, { 'Content-Type': 'text/plain' }, 'There is nothing here.\n');
        break;
      case 'site':
        void auth?.host.answer(request, response, client);
    }
  }

  readonly onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    // Behind a refused request, or before an answer that is still under way: no tunnel can begin there.
    if (this.#turns.isClosing(socket) || this.#turns.isBusy(socket)) {
      socket.destroy();
      return;
    }
    (socket as Socket).setTimeout(0);
    const started = performance.now();
    const admitted = this.#admit(request);
    const answered = this.#follow(socket, describe(request, admitted, 'websocket'), started);
    const fail = (code: number, text: string): void => {
      answered(code);
      sendRaw(socket, code, text);
    };
    if ('status' in admitted) {
      fail(admitted.status, `${admitted.message}\n`);
      return;
    }
    const { destination, client } = admitted;
    if (destination.kind === 'route' || destination.kind === 'direct') {
      void this.#elsewhere.upgrade(request, socket, head, destination, client, fail);
      return;
    }
    if (destination.kind === 'site') this.#sessions.upgrade(request, socket, head, destination, client, fail);
    else fail(404, NO_SITE);
  };

  /** Without an answer to CONNECT Node closes the connection, and who asked takes the proxy for down. */
  readonly onConnect = (request: IncomingMessage, socket: Duplex): void => {
    if (this.#turns.isClosing(socket) || this.#turns.isBusy(socket)) {
      socket.destroy();
      return;
    }
    const { status, message } = NO_TUNNELS;
    this.#follow(socket, describe(request, NO_TUNNELS), performance.now())(status);
    sendRaw(socket, status, `${message}\n`);
  };

  /**
   * Says what became of an upgrade once its connection is closed; 101, unless the function that it returns is told
   * otherwise. By itself: whatever a closure beside this one can reach is kept for as long as the tunnel lives, and the
   * request must not be.
   */
  #follow(socket: Duplex, about: About, started: number): (status: number) => void {
    let status = 101;
    socket.once('close', () => account(this.#parts, about, status, started, true));
    socket.on('error', () => undefined);
    return (code) => {
      status = code;
    };
  }

  /** For the plain listener beside HTTPS: sends visitors of our own names there, and knows nothing else. */
  readonly onPlainRequest =
    (portSuffix: string) =>
    (request: IncomingMessage, response: ServerResponse): void => {
      if (this.#turns.isClosing(request.socket)) return;
      const name = hostName(request.headers.host ?? '');
      const found = this.#destinations.find(name, request.url ?? '');
      const refusal = inspectRequest(request) ?? (isOwn(found) ? undefined : refuseHost(found));
      if (refusal) {
        this.#refuse(request, response, refusal);
        return;
      }
      const headers = {
        'Content-Type': 'text/plain',
        Location: `https://${name}${portSuffix}${request.url}`,
      };
      send(request, response, 308, headers, 'This service is at https:// only.\n');
    };

  /** What the parser can't read, or what took too long to come: answered briefly, and the connection closed. */
  readonly onUnreadable = (error: Error & { code?: string }, socket: Duplex): void => {
    if (this.#turns.isClosing(socket)) return;
    const unsecured = (socket as Partial<TLSSocket>).encrypted && !this.#secured.has(socket);
    if (error.code === 'ECONNRESET' || unsecured || this.#turns.isInBody(socket) || !socket.writable) {
      // Nobody there to talk to, nothing to talk through, or no way to end an answer that is under way.
      socket.destroy();
      return;
    }
    this.#turns.close(socket);
    this.#parts.log({
      event: 'unreadable',
      client: (socket as Partial<Socket>).remoteAddress,
      code: error.code,
    });
    const status = { ERR_HTTP_REQUEST_TIMEOUT: 408, HPE_HEADER_OVERFLOW: 431 }[error.code ?? ''] ?? 400;
    // The answers to what came before it go first, and whole.
    this.#turns.afterAll(socket, () => sendRaw(socket, status, 'This request could not be read.\n'));
  };

  /** A connection that speaks HTTP/2 badly has been told so, and closed. */
  readonly onUnreadableSession = (error: Error & { code?: string }, client: string | undefined): void => {
    if (error.code !== 'ECONNRESET') this.#parts.log({ event: 'unreadable', client, code: error.code });
  };

  #refuse(request: IncomingMessage, response: ServerResponse, { status, message }: Refusal): void {
    // After something ambiguous, nobody knows where the next request begins. (Over HTTP/2 everybody does.)
    if (!(request instanceof Http2Request)) this.#turns.close(request.socket);
    send(request, response, status, { 'Content-Type': 'text/plain', Connection: 'close' }, `${message}\n`);
  }

  /** Everything that has to be right before anybody looks at what a request wants. */
  #admit(request: IncomingMessage): Admitted | Refusal {
    const refusal = inspectRequest(request);
    if (refusal) return refusal;
    const name = hostName(request.headers.host ?? '');
    const destination = this.#destinations.find(name, request.url ?? '');
    if (!isOwn(destination)) return refuseHost(destination);
    const { servername } = request.socket as Partial<TLSSocket>;
    // RFC 9110 section 7.4: what the TLS handshake was made for and what is asked for must be the same site.
    if (typeof servername === 'string' && servername !== '' && hostName(servername) !== name) {
      return { status: 421, message: 'This connection was made for another host.' };
    }
    const client = identifyClient(request, this.#parts.config.trustedProxies);
    if (client === undefined) return { status: 400, message: 'The address of the client is unclear.' };
    return { destination, client };
  }

  /** For requests that are passed on without becoming Node's: the same rules, as far as nothing has to be answered. */
  readonly door: Door = {
    peer: (socket) =>
      speaksForOthers(socket, this.#parts.config.trustedProxies) ? undefined : clientAt(socket),
    identify: (socket, claims: Claims = {}) =>
      clientBehind(socket, claims, this.#parts.config.trustedProxies),
    labelOf: (name) => (this.#parts.auth ? undefined : this.#destinations.siteLabel(name)),
    admit: (label, { address }) => {
      const { registry, traffic, management, config } = this.#parts;
      const record = registry.find(label);
      const target = record && targetOf(record);
      if (target === undefined || !registry.isAnswering(label) || management.lookups.isSpent(address))
        return undefined;
      if (traffic.site(label).openRequests >= config.limits.requestsPerSite) return undefined;
      traffic.visit(label, address);
      return target;
    },
    account: (passed, status, started, isComplete) =>
      accountPassed(this.#parts, passed, status, started, isComplete),
  };
}

/** RFC 9110 section 9.3.6: CONNECT is for proxies that lead elsewhere. */
const NO_TUNNELS: Refusal = {
  status: 400,
  message: 'There are no tunnels to elsewhere through this server.',
};

const refusals: Readonly<Record<Stranger['kind'], Refusal>> = {
  invalid: { status: 400, message: 'The Host header is not a host name.' },
  foreign: { status: 421, message: 'This host is not served here.' },
  'way-out': { status: 400, message: 'This path leads out of its place.' },
};

function isOwn(found: Destination | Stranger): found is Destination {
  return !(found.kind in refusals);
}

function refuseHost({ kind }: Stranger): Refusal {
  return refusals[kind];
}
