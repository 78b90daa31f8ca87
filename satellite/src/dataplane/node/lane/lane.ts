import type { IncomingMessage, Server } from 'node:http';
import type { Server as SecureServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Limits } from '../../../config.ts';
import type { Claims, Client } from '../../../gate/client.ts';
import type { Traffic } from '../../../operation/traffic.ts';
import type { Failure, Target } from '../../engine.ts';
import { Notebook } from './notebook.ts';
import { RequestHead } from './request-head.ts';
import type { UpstreamParts } from './upstream.ts';
import { Visitor } from './visitor.ts';

/** How often is looked for what has waited too long: a quarter of the shortest limit. */
const SHORTEST_PERIOD_MS = 10;
const LONGEST_PERIOD_MS = 1000;

/** How long a stop waits for requests that may have been sent already, on connections that are kept. */
const LINGER_MS = 500;

/** What is said of a request once it is over. */
export interface Passed {
  readonly client: string;
  readonly label: string;
  readonly method: string;
  readonly target: string;
}

/** The rules of the house, as far as they are needed here. All that they say no to is seen to elsewhere. */
export interface Door {
  /** Who is at the other end; undefined for somebody trusted, who speaks for others. */
  peer(socket: Socket): Client | undefined;
  /** Whom a trusted proxy speaks for; undefined where that is unclear. */
  identify(socket: Socket, claims: Claims | undefined): Client | undefined;
  /** The site that a host name means, if it can mean nothing else, whatever the path. */
  labelOf(name: string): string | undefined;
  /** Where a live site's notebook is, for a request that only has to be passed on; counts the visit. */
  admit(label: string, client: Client): Target | undefined;
  account(about: Passed, status: number, started: number, isComplete: boolean): void;
}

/**
 * The short way for everyday requests to live sites over HTTP/1.1: visitors' connections begin here, and are relayed from
 * socket to socket for as long as nothing else is asked of them. At the first message that is anything else, or that
 * isn't there at once and whole, the connection is handed over to Node's HTTP server, which gets every byte of it; it
 * doesn't come back.
 */
export class Lane {
  readonly door: Door;
  readonly limits: Limits;
  readonly visitors = new Set<Visitor>();
  /** For whatever is read next: reading is done before anybody else's turn. */
  readonly head = new RequestHead();
  /** Milliseconds, in whole looks: nobody has waited while we were held up ourselves. */
  now = 0;
  /** Requests under way. */
  busy = 0;
  isStopping = false;
  #mayBeAsked = false;
  readonly #server: Server | SecureServer;
  readonly #serve: (socket: Socket) => void;
  readonly #traffic: Traffic;
  readonly #upstreamParts: UpstreamParts;
  readonly #notebooks = new Map<string, Notebook>();
  readonly #failures = new WeakMap<Socket | IncomingMessage, Failure>();
  readonly #period: number;
  readonly #timer: NodeJS.Timeout;

  /** Takes the connections of `server`, which must be Node's own. */
  constructor(
    server: Server | SecureServer,
    door: Door,
    limits: Limits,
    traffic: Traffic,
    hsts: string | undefined,
  ) {
    this.door = door;
    this.limits = limits;
    this.#server = server;
    this.#traffic = traffic;
    this.#upstreamParts = {
      connectTime: limits.connectTime,
      hsts,
      now: () => this.now,
      stays: `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(limits.idleTime / 1000)}\r\n\r\n`,
    };
    const event = 'setSecureContext' in server ? 'secureConnection' : 'connection';
    // The listener that Node has given it, and not an event: a server that only gets its connections by events never
    // looks after its headersTimeout.
    const [serve] = server.listeners(event) as ((socket: Socket) => void)[];
    if (serve === undefined) throw new Error('this is no HTTP server');
    this.#serve = serve;
    server.off(event, serve);
    server.prependListener(event, (socket: Socket) => {
      if (this.isStopping) {
        this.#serve.call(this.#server, socket);
        return;
      }
      const visitor = new Visitor(this, socket);
      this.visitors.add(visitor);
      visitor.listen();
    });
    server.prependListener('request', (request: IncomingMessage) => {
      const failure = this.#failures.get(request.socket);
      if (failure === undefined) return;
      this.#failures.delete(request.socket);
      this.#failures.set(request, failure);
    });
    const { headerTime, idleTime, stallTime, answerTime } = limits;
    const shortest = Math.min(headerTime, idleTime, stallTime, answerTime);
    this.#period = Math.max(SHORTEST_PERIOD_MS, Math.min(shortest / 4, LONGEST_PERIOD_MS));
    this.#timer = setInterval(() => this.#look(), this.#period).unref();
  }

  /** Is anything under way, or may be already? */
  get isBusy(): boolean {
    return this.busy > 0 || (this.#mayBeAsked && this.visitors.size > 0);
  }

  /** What has come of a request that was handed over: it must not be sent to the notebook again. */
  failureOf(request: IncomingMessage): Failure | undefined {
    return this.#failures.get(request);
  }

  notebook(target: Target): Notebook {
    const known = this.#notebooks.get(target.token);
    if (known?.target.host === target.host && known.target.port === target.port) return known;
    const notebook = new Notebook(target, this.#traffic.site(target.token), this.#upstreamParts);
    this.#notebooks.set(target.token, notebook);
    return notebook;
  }

  /** Gives a connection to Node's server, as if all of it were still to be read. */
  handOver(socket: Socket, bytes: Buffer | undefined, failure: Failure | undefined): void {
    if (failure !== undefined) this.#failures.set(socket, failure);
    socket.pause();
    if (bytes !== undefined && bytes.length > 0) socket.unshift(bytes);
    this.#serve.call(this.#server, socket);
    socket.resume();
  }

  /** Somebody has connected and said nothing for too long. */
  onSilence(socket: Socket): void {
    this.#serve.call(this.#server, socket);
    const error = Object.assign(new Error('Request timeout'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' });
    this.#server.emit('clientError', error, socket);
  }

  /** Ends all that is open for a site, at once. */
  drop(token: string): void {
    const notebook = this.#notebooks.get(token);
    this.#notebooks.delete(token);
    notebook?.end();
  }

  /**
   * Nothing new is begun here. Connections without a request are closed a moment later: the next one may be on its way, is
   * answered elsewhere, and ends its connection in order.
   */
  stop(): void {
    if (this.isStopping) return;
    this.isStopping = true;
    this.#mayBeAsked = true;
    for (const visitor of [...this.visitors]) visitor.stop();
    setTimeout(() => this.#closeIdle(), LINGER_MS).unref();
  }

  close(): void {
    this.stop();
    this.#closeIdle();
    clearInterval(this.#timer);
    for (const token of [...this.#notebooks.keys()]) this.drop(token);
  }

  #closeIdle(): void {
    this.#mayBeAsked = false;
    for (const visitor of [...this.visitors]) if (!visitor.isBusy) visitor.socket.destroy();
  }

  #look(): void {
    this.now += this.#period;
    // What moved since the last look counts from that.
    const since = this.now - this.#period;
    for (const visitor of [...this.visitors]) visitor.check(since);
    for (const [token, notebook] of this.#notebooks) {
      notebook.sweep(this.now);
      // A site that nobody looks at costs nothing.
      if (notebook.isUnused) this.#notebooks.delete(token);
    }
  }
}
