import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Auth, Verdict } from './auth/auth.ts';
import { SIGN_IN_LABEL } from './auth/label.ts';
import type { SatelliteConfig } from './config.ts';
import type { Engine, Failure, Target, Visit } from './dataplane/engine.ts';
import type { Door, Passed } from './dataplane/node/lane/lane.ts';
import { comesFromSibling, sharedOriginEdits } from './dataplane/shared-origin.ts';
import {
  type Claims,
  type Client,
  clientAt,
  clientBehind,
  identifyClient,
  speaksForOthers,
} from './gate/client.ts';
import { type Destination, Destinations, type Stranger } from './gate/destination.ts';
import { hostName } from './gate/host.ts';
import { inspectRequest, type Refusal } from './gate/hygiene.ts';
import type { ClientConnections } from './gate/limits.ts';
import { expectsContinue, isAnswered } from './http.ts';
import { Http2Request } from './http2/message.ts';
import { type Log, loggablePath, shortToken } from './log.ts';
import { handleManagement } from './management/handle.ts';
import { type Management, mayLookUp, TOO_MANY } from './management/service.ts';
import type { RequestKind, Traffic } from './operation/traffic.ts';
import { OWN_PREFIX } from './pages/paths.ts';
import { type Pages, send, sendRaw } from './pages/respond.ts';
import type { TokenRecord } from './tokens/record.ts';
import type { TokenRegistry } from './tokens/registry.ts';
import { directKey, type Elsewhere, type Ways } from './ways.ts';

const DOCUMENTATION = 'Please see documentation on how to use this service.\n';

const failureStatus: Readonly<Record<Failure, number>> = {
  refused: 502,
  broken: 502,
  timeout: 504,
  full: 503,
};

const NO_SITE = 'There is no live site here.\n';

/** What the gate says of somebody who may come in, and of somebody who may not. */
type LetIn = Extract<Verdict, { pass: unknown }>;
type TurnedAway = Exclude<Verdict, LetIn>;

type SiteDestination = Extract<Destination, { kind: 'site' }>;

/** What a request turned out to be, once it has passed the gate. */
interface Admitted {
  readonly destination: Destination;
  readonly client: Client;
}

/** What is said of a request once it is over. */
interface About {
  readonly kind: RequestKind;
  readonly client: string | undefined;
  readonly host?: string;
  readonly why?: string;
  readonly method: string | undefined;
  readonly path: string;
}

export interface FrontParts {
  readonly config: SatelliteConfig;
  readonly registry: TokenRegistry;
  readonly management: Management;
  readonly engine: Engine;
  readonly pages: Pages;
  readonly ways: Ways;
  readonly traffic: Traffic;
  readonly connections: ClientConnections;
  /** Who may visit a site; everybody, where it is missing. */
  readonly auth: Auth | undefined;
  /** The value of Strict-Transport-Security, where it is sent. */
  readonly hsts: string | undefined;
  readonly log: Log;
}

/** What has arrived on one connection. */
interface Turns {
  isBusy: boolean;
  newest: IncomingMessage;
  readonly waiting: (() => void)[];
  /** To do after all of it. */
  last: (() => void) | undefined;
}

/** Browsers don't pipeline at all; more than this is nobody's honest need. */
const MAX_PIPELINED = 64;

/** The door: looks at every request once, and sends it to management, a live site, or a page. */
export class Front {
  readonly #parts: FrontParts;
  readonly #destinations: Destinations;
  readonly #turns = new WeakMap<Duplex, Turns>();
  /** Connections that close after their answer: what else has arrived on them is nobody's request. */
  readonly #closing = new WeakSet<Duplex>();
  /** Connections whose TLS handshake is done. */
  readonly #secured = new WeakSet<Duplex>();

  constructor(parts: FrontParts) {
    this.#parts = parts;
    this.#destinations = new Destinations(parts.config);
  }

  readonly onSecure = (socket: Duplex): void => {
    this.#secured.add(socket);
  };

  /**
   * One request of a connection at a time, however many have arrived: what the second one finds may depend on what the
   * first one did (RFC 9112 section 9.3.2).
   */
  readonly onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    if (this.#closing.has(socket)) return;
    const known = this.#turns.get(socket);
    const turns: Turns = known ?? { isBusy: false, newest: request, waiting: [], last: undefined };
    turns.newest = request;
    if (!known) this.#turns.set(socket, turns);
    if (turns.isBusy) {
      turns.waiting.push(() => this.#take(request, response, turns));
      if (turns.waiting.length <= MAX_PIPELINED) return;
      this.#closing.add(socket);
      socket.destroy();
    } else this.#take(request, response, turns);
  };

  /** Requests over HTTP/2 are there all at once by design; each has a stream of its own. */
  readonly onHttp2Request = (request: IncomingMessage, response: ServerResponse): void => {
    this.#answer(request, response);
  };

  #take(request: IncomingMessage, response: ServerResponse, turns: Turns): void {
    turns.isBusy = true;
    response.once('close', () => {
      turns.isBusy = false;
      if (request.socket.destroyed || this.#closing.has(request.socket)) turns.last?.();
      else (turns.waiting.shift() ?? turns.last)?.();
    });
    this.#answer(request, response);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const started = performance.now();
    const admitted = this.#admit(request);
    const about = describe(request, admitted);
    response.once('close', () => this.#account(about, response.statusCode, started, isAnswered(response)));
    // A visitor who leaves in the middle is nobody's error.
    response.on('error', () => undefined);
    if ('status' in admitted) {
      this.#insist(response);
      this.#refuse(request, response, admitted);
      return;
    }
    const { destination, client } = admitted;
    const { auth } = this.#parts;
    const signsIn = auth !== undefined && destination.kind === 'site' && destination.label === SIGN_IN_LABEL;
    if (destination.kind === 'site' && !signsIn) {
      this.#known(
        destination.label,
        client,
        () => {
          if (!response.destroyed) this.#site(request, response, destination, client);
        },
        () => {
          this.#insist(response);
          this.#parts.pages.unsure(request, response);
        },
      );
      return;
    }
    if (destination.kind === 'route' || destination.kind === 'direct') {
      void this.#elsewhere(request, response, destination, client);
      return;
    }
    this.#insist(response);
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
    if (this.#closing.has(socket) || this.#turns.get(socket)?.isBusy) {
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
      void this.#upgradeElsewhere(request, socket, head, destination, client, fail);
      return;
    }
    if (destination.kind !== 'site') {
      fail(404, NO_SITE);
      return;
    }
    this.#known(
      destination.label,
      client,
      () => this.#upgradeSite(request, socket, head, destination, client, fail),
      () => fail(503, 'Whether there is a site here can not be looked up at the moment.\n'),
    );
  };

  #upgradeSite(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    destination: SiteDestination,
    client: Client,
    fail: (code: number, text: string) => void,
  ): void {
    const { label } = destination;
    if (!this.#mayVisit(label, client)) {
      fail(429, `${TOO_MANY.message}\n`);
      return;
    }
    const record = this.#parts.registry.find(label);
    if (record === undefined) {
      fail(404, NO_SITE);
      return;
    }
    this.#judge(
      request,
      record,
      (refused) => fail(refused.status, `${refused.message}\n`),
      (letIn) => {
        if (socket.destroyed) return;
        const visit = visitOf(request, client, destination, letIn);
        this.#tunnel(request, socket, head, record, visit, letIn, fail);
      },
    );
  }

  /**
   * Says what became of an upgrade once its connection is closed; 101, unless the function that it returns is told
   * otherwise. By itself: whatever a closure beside this one can reach is kept for as long as the tunnel lives, and the
   * request must not be.
   */
  #follow(socket: Duplex, about: About, started: number): (status: number) => void {
    let status = 101;
    socket.once('close', () => this.#account(about, status, started, true));
    socket.on('error', () => undefined);
    return (code) => {
      status = code;
    };
  }

  #tunnel(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    record: TokenRecord,
    visit: Visit,
    letIn: LetIn | undefined,
    fail: (code: number, text: string) => void,
  ): void {
    const { traffic, config, auth } = this.#parts;
    const target = targetOf(record);
    if (target === undefined) {
      fail(record.state === 'gone' ? 410 : 503, NO_SITE);
      return;
    }
    if (traffic.site(target.token).openWebSockets >= config.limits.webSocketsPerSite) {
      traffic.limited('websockets');
      fail(503, 'This site has too many WebSockets open.\n');
      return;
    }
    if (letIn && auth) {
      socket.once('close', auth.follow(letIn.pass, destroyerOf(socket)));
    }
    this.#parts.engine.upgrade(
      request,
      socket,
      head,
      target,
      visit,
      () => this.#parts.connections.onTunnel(socket as Socket),
      (failure) => {
        this.#parts.traffic.failure(failure);
        fail(failureStatus[failure], 'The notebook does not answer.\n');
      },
    );
  }

  /** Asks the gate, where there is one; everybody may come in where there is none. */
  #judge(
    request: IncomingMessage,
    record: TokenRecord,
    onRefused: (refused: TurnedAway) => void,
    onAdmitted: (letIn: LetIn | undefined) => void,
  ): void {
    const verdict = this.#parts.auth?.judge(request, record);
    const conclude = (is: Verdict | undefined): void => {
      if (is === undefined || 'pass' in is) onAdmitted(is);
      else onRefused(is);
    };
    if (verdict instanceof Promise) void verdict.then(conclude);
    else conclude(verdict);
  }

  /** For the plain listener beside HTTPS: sends visitors of our own names there, and knows nothing else. */
  readonly onPlainRequest =
    (portSuffix: string) =>
    (request: IncomingMessage, response: ServerResponse): void => {
      if (this.#closing.has(request.socket)) return;
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
    if (this.#closing.has(socket)) return;
    const unsecured = (socket as Partial<TLSSocket>).encrypted && !this.#secured.has(socket);
    const turns = this.#turns.get(socket);
    const inBody = turns?.isBusy && !turns.newest.complete;
    if (error.code === 'ECONNRESET' || unsecured || inBody || !socket.writable) {
      // Nobody there to talk to, nothing to talk through, or no way to end an answer that is under way.
      socket.destroy();
      return;
    }
    this.#closing.add(socket);
    this.#parts.log({
      event: 'unreadable',
      client: (socket as Partial<Socket>).remoteAddress,
      code: error.code,
    });
    const status = { ERR_HTTP_REQUEST_TIMEOUT: 408, HPE_HEADER_OVERFLOW: 431 }[error.code ?? ''] ?? 400;
    const answer = (): void => sendRaw(socket, status, 'This request could not be read.\n');
    // The answers to what came before it go first, and whole.
    if (turns?.isBusy) turns.last = answer;
    else answer();
  };

  /** A connection that speaks HTTP/2 badly has been told so, and closed. */
  readonly onUnreadableSession = (error: Error & { code?: string }, client: string | undefined): void => {
    if (error.code !== 'ECONNRESET') this.#parts.log({ event: 'unreadable', client, code: error.code });
  };

  #refuse(request: IncomingMessage, response: ServerResponse, { status, message }: Refusal): void {
    // After something ambiguous, nobody knows where the next request begins. (Over HTTP/2 everybody does.)
    if (!(request instanceof Http2Request)) this.#closing.add(request.socket);
    send(request, response, status, { 'Content-Type': 'text/plain', Connection: 'close' }, `${message}\n`);
  }

  /** For answers of our own; the engine sees to those of notebooks. */
  #insist(response: ServerResponse): void {
    const { hsts } = this.#parts;
    if (hsts !== undefined) response.setHeader('Strict-Transport-Security', hsts);
  }

  /**
   * Goes on with what is known of a name. One that isn't known may be another satellite's that shares the state: it is asked first
   * (which costs no more however many ask), unless this client has guessed too often.
   */
  #known(label: string, { address }: Client, goOn: () => void, onUnsure: () => void): void {
    const { registry, management } = this.#parts;
    const isStrange = registry.find(label) === undefined && !management.lookups.isSpent(address);
    const asked = isStrange ? registry.askOthers() : undefined;
    if (asked) void asked.then(goOn, onUnsure);
    else goOn();
  }

  /** Counts a visit to a site, or a wrong guess; false for somebody who has guessed too often. */
  #mayVisit(label: string, { address }: Client): boolean {
    const { registry, management, traffic } = this.#parts;
    if (!mayLookUp(management, address, label)) return false;
    const record = registry.find(label);
    if (record === undefined) management.lookups.take(address);
    else if (record.state !== 'gone') traffic.visit(label, address);
    return true;
  }

  #site(
    request: IncomingMessage,
    response: ServerResponse,
    destination: SiteDestination,
    client: Client,
  ): void {
    const { label, prefix } = destination;
    const { registry, pages } = this.#parts;
    if (!this.#mayVisit(label, client)) {
      this.#insist(response);
      pages.busy(request, response, 429, TOO_MANY.message, Number(TOO_MANY.retryAfter));
      return;
    }
    const record = registry.find(label);
    if (record === undefined) {
      this.#insist(response);
      pages.unknown(request, response, label);
      return;
    }
    const { headers } = request;
    if (prefix !== '' && comesFromSibling(headers.referer, hostName(headers.host ?? ''), label)) {
      this.#insist(response);
      pages.sibling(request, response);
      return;
    }
    this.#judge(
      request,
      record,
      (refused) => {
        this.#insist(response);
        refused.answer(request, response);
      },
      (letIn) => {
        if (!response.destroyed) this.#open(request, response, record, destination, client, letIn);
      },
    );
  }

  /** Somebody who may see what there is. */
  #open(
    request: IncomingMessage,
    response: ServerResponse,
    record: TokenRecord,
    destination: SiteDestination,
    client: Client,
    letIn: LetIn | undefined,
  ): void {
    const { label, prefix } = destination;
    const { config, registry, engine, pages, traffic, auth } = this.#parts;
    if (letIn && auth) {
      const end = auth.follow(letIn.pass, () => response.destroy());
      response.once('close', end);
    }
    const target = targetOf(record);
    const starting = target !== undefined && !registry.isAnswering(label);
    if (target === undefined || (starting && request.url?.startsWith(`${prefix}${OWN_PREFIX}`))) {
      this.#insist(response);
      pages.waiting(request, response, record);
      return;
    }
    if (traffic.site(label).openRequests >= config.limits.requestsPerSite) {
      traffic.limited('requests');
      this.#insist(response);
      pages.busy(request, response, 503, 'This site has too many requests under way.', 1);
      return;
    }
    const visit = visitOf(request, client, destination, letIn);
    engine.request(request, response, target, visit, (failure) => {
      this.#parts.traffic.failure(failure);
      this.#insist(response);
      pages.trouble(request, response, record, failure);
    });
  }

  /** A request to a fixed site, or to a host that is named directly. */
  async #elsewhere(
    request: IncomingMessage,
    response: ServerResponse,
    where: Elsewhere,
    client: Client,
  ): Promise<void> {
    const { config, engine, management, pages, traffic, ways } = this.#parts;
    const key = where.kind === 'direct' ? directKey(where.direct) : undefined;
    if (key !== undefined && !mayLookUp(management, client.address, key)) {
      this.#insist(response);
      pages.busy(request, response, 429, TOO_MANY.message, Number(TOO_MANY.retryAfter));
      return;
    }
    const guess = key === undefined ? undefined : this.#guess(key, client);
    if (guess)
      response.once('close', () => {
        if (response.headersSent) guess.isRight();
      });
    const way = await ways.to(where, request.url ?? '', connectionOf(request, client));
    if (response.destroyed) return;
    if (way === undefined) {
      guess?.isWrong();
      this.#insist(response);
      send(request, response, 404, { 'Content-Type': 'text/plain' }, 'There is nothing here.\n');
      return;
    }
    if (
      key !== undefined &&
      traffic.visit(key, client.address).openRequests >= config.limits.requestsPerSite
    ) {
      traffic.limited('requests');
      this.#insist(response);
      pages.busy(request, response, 503, 'This site has too many requests under way.', 1);
      return;
    }
    engine.request(request, response, way.target, way.visit, (failure) => {
      guess?.isWrong();
      this.#failedElsewhere(where, failure, response);
      this.#insist(response);
      pages.unreachable(
        request,
        response,
        failure,
        where.kind === 'direct' ? where.direct.rule.frameAncestors : undefined,
      );
    });
  }

  async #upgradeElsewhere(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    where: Elsewhere,
    client: Client,
    fail: (status: number, text: string) => void,
  ): Promise<void> {
    const { config, connections, engine, management, traffic, ways } = this.#parts;
    const key = where.kind === 'direct' ? directKey(where.direct) : undefined;
    if (key !== undefined && !mayLookUp(management, client.address, key)) {
      fail(429, `${TOO_MANY.message}\n`);
      return;
    }
    const guess = key === undefined ? undefined : this.#guess(key, client);
    const way = await ways.to(where, request.url ?? '', connectionOf(request, client));
    if (socket.destroyed) return;
    if (way === undefined) {
      guess?.isWrong();
      fail(404, 'There is nothing here.\n');
      return;
    }
    if (
      key !== undefined &&
      traffic.visit(key, client.address).openWebSockets >= config.limits.webSocketsPerSite
    ) {
      traffic.limited('websockets');
      fail(503, 'This site has too many WebSockets open.\n');
      return;
    }
    engine.upgrade(
      request,
      socket,
      head,
      way.target,
      way.visit,
      () => {
        guess?.isRight();
        connections.onTunnel(socket as Socket);
      },
      (failure) => {
        guess?.isWrong();
        this.#failedElsewhere(where, failure, socket);
        fail(failureStatus[failure], 'The server does not answer.\n');
      },
    );
  }

  /**
   * Trying which hosts and ports there are is guessing, too. Somebody's first visit to one counts as a wrong guess until it has
   * turned out to be right, so that many that are under way at once are as many guesses.
   */
  #guess(key: string, { address }: Client): { isRight(): void; isWrong(): void } {
    const { management, traffic } = this.#parts;
    const { lookups } = management;
    let isOpen = traffic.seen(key)?.visitors.has(address) !== true;
    const wasCounted = isOpen;
    if (wasCounted) lookups.take(address);
    return {
      isRight: () => {
        if (isOpen) lookups.giveBack(address);
        isOpen = false;
      },
      isWrong: () => {
        if (!wasCounted) lookups.take(address);
        isOpen = false;
      },
    };
  }

  #failedElsewhere(where: Elsewhere, failure: Failure, channel: ServerResponse | Duplex): void {
    const { traffic } = this.#parts;
    traffic.failure(failure);
    if (where.kind !== 'direct') return;
    channel.once('close', () => traffic.forgetIdle(directKey(where.direct)));
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
    account: ({ client, label, method, target }: Passed, status, started, isComplete) => {
      this.#parts.traffic.request('site', status);
      const host = shortToken(label);
      const path = loggablePath(target);
      const ms = Math.round(performance.now() - started);
      this.#parts.log(
        isComplete
          ? { event: 'request', client, host, method, path, status, ms }
          : { event: 'request', client, host, method, path, status, ms, brokenOff: true },
      );
    },
  };

  /** Counts and logs what became of a request. */
  #account({ kind, ...about }: About, status: number, started: number, complete: boolean): void {
    this.#parts.traffic.request(kind, status);
    this.#parts.log({
      event: kind === 'refused' ? 'refused' : 'request',
      ...about,
      status,
      ms: Math.round(performance.now() - started),
      ...(!complete && { brokenOff: true }),
    });
  }
}

const refusals: Readonly<Record<Stranger['kind'], Refusal>> = {
  invalid: { status: 400, message: 'The Host header is not a host name.' },
  foreign: { status: 421, message: 'This host is not served here.' },
  'way-out': { status: 400, message: 'This path leads out of its place.' },
};

/** By itself, so that it holds nothing but the socket. */
function destroyerOf(socket: Duplex): () => void {
  return () => socket.destroy();
}

function isOwn(found: Destination | Stranger): found is Destination {
  return !(found.kind in refusals);
}

function refuseHost({ kind }: Stranger): Refusal {
  return refusals[kind];
}

function targetOf({ token, state, host, port }: TokenRecord): Target | undefined {
  return state === 'mapped' && host !== null && port !== null ? { token, host, port } : undefined;
}

function visitOf(
  request: IncomingMessage,
  client: Client,
  { prefix }: SiteDestination,
  letIn: LetIn | undefined,
): Visit {
  const visit = connectionOf(request, client);
  // Only where each site has a host name of its own.
  if (letIn) return { ...visit, edits: letIn.inside, url: letIn.inside.target(request.url ?? '/') };
  return prefix === '' ? visit : { ...visit, edits: sharedOriginEdits(prefix) };
}

function connectionOf(request: IncomingMessage, client: Client): Visit {
  return {
    client,
    proto: client.proto ?? ((request.socket as Partial<TLSSocket>).encrypted ? 'https' : 'http'),
  };
}

/** What the log and the counters say of a request, without what they must not. */
function describe(request: IncomingMessage, admitted: Admitted | Refusal, kind?: RequestKind): About {
  return {
    ...('status' in admitted
      ? { kind: 'refused', client: request.socket.remoteAddress, why: admitted.message }
      : {
          kind: kind ?? kindOf(admitted.destination),
          client: admitted.client.address,
          host: describeDestination(admitted.destination),
        }),
    method: request.method,
    path: loggablePath(request.url ?? ''),
  };
}

function kindOf({ kind }: Destination): RequestKind {
  return kind === 'unslashed' || kind === 'nowhere' ? 'apex' : kind;
}

function describeDestination(destination: Destination): string {
  switch (destination.kind) {
    case 'site':
      return shortToken(destination.label);
    case 'route':
      return `${destination.route.host}${destination.route.path}`;
    case 'direct':
      return destination.direct.label;
    default:
      return kindOf(destination);
  }
}
