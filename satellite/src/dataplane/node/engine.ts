import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Server as SecureServer } from 'node:https';
import type { Duplex, Readable } from 'node:stream';
import { buildConnector, Pool } from 'undici';
import type { Limits } from '../../config.ts';
import { expectsContinue, hasBody, isWhole } from '../../http.ts';
import type { SiteTraffic, Traffic } from '../../operation/traffic.ts';
import type { Engine, Failure, Target, Visit } from '../engine.ts';
import { Connections } from './connections.ts';
import { Exchange } from './exchange.ts';
import { requestHeaders } from './headers.ts';
import { type Door, Lane } from './lane/lane.ts';
import { relayUpgrade } from './upgrade.ts';

/** Methods that may be sent a second time without harm (RFC 9110 section 9.2.2), and without a body to send again. */
const repeatable: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * Methods whose bodies some servers don't expect and don't read (RFC 9110 section 9.3): what they leave must not be the
 * next request of a connection.
 */
const bodiless: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'DELETE', 'TRACE']);

/** The engine in this process: undici towards the notebooks, Node's own server towards the visitors. */
export class NodeEngine implements Engine {
  readonly #limits: Limits;
  readonly #connect: buildConnector.connector;
  readonly #traffic: Traffic;
  readonly #hsts: string | undefined;
  readonly #pools = new Map<string, { readonly pool: Pool; readonly origin: string }>();
  readonly #connections = new Connections();
  #lane: Lane | undefined;

  /** `hsts` is the value of Strict-Transport-Security in every answer; the notebook's own stays where it is undefined. */
  constructor(limits: Limits, traffic: Traffic, hsts: string | undefined) {
    this.#limits = limits;
    this.#connect = connector(limits.connectTime);
    this.#traffic = traffic;
    this.#hsts = hsts;
  }

  /** Takes the everyday requests among what visitors of a server ask for; `request` gets all others. */
  serve(server: Server | SecureServer, door: Door): Lane {
    this.#lane = new Lane(server, door, this.#limits, this.#traffic, this.#hsts);
    return this.#lane;
  }

  request(
    request: IncomingMessage,
    response: ServerResponse,
    target: Target,
    visit: Visit,
    onFailure: (failure: Failure) => void,
  ): void {
    const known = this.#lane?.failureOf(request);
    if (known !== undefined) {
      onFailure(known);
      return;
    }
    const method = request.method ?? 'GET';
    const withBody = hasBody(request);
    const headers = requestHeaders(request, visit);
    const site = this.#traffic.site(target.token);
    site.openRequests += 1;
    response.once('close', () => {
      site.openRequests -= 1;
    });
    let release = (): void => undefined;
    response.once('close', () => release());
    const send = (mayRepeat: boolean): void => {
      release();
      const exchange = new Exchange(request, response, site, visit, this.#hsts, (failure, error) => {
        // A kept-alive connection may die at the very moment it is used again: that says nothing about the notebook.
        if (mayRepeat && isStaleConnection(error)) send(false);
        else onFailure(failure);
      });
      const forget = this.#connections.add(target.token, () => exchange.abandon());
      const leave = (): void => exchange.abandon();
      response.once('close', leave);
      release = () => {
        forget();
        response.off('close', leave);
      };
      this.#pool(target).dispatch(
        {
          // undici takes any token for a method; its type lists the usual ones.
          method: method as 'GET',
          path: visit.url ?? request.url ?? '/',
          headers,
          // undici takes any async iterable; its type for dispatch() doesn't say so.
          body: withBody ? (body(request, response, site) as unknown as Readable) : null,
          ...(withBody && bodiless.has(method) && { reset: true }),
        },
        exchange,
      );
    };
    send(!withBody && repeatable.has(method));
  }

  upgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    target: Target,
    visit: Visit,
    onOpen: () => void,
    onFailure: (failure: Failure) => void,
  ): void {
    const site = this.#traffic.site(target.token);
    site.openWebSockets += 1;
    const tunnel = relayUpgrade(request, socket, head, target, visit, site, this.#limits, onOpen, onFailure);
    const forget = this.#connections.add(target.token, () => tunnel.end());
    socket.once('close', () => {
      site.openWebSockets -= 1;
      forget();
    });
  }

  drop(token: string): void {
    this.#lane?.drop(token);
    this.#connections.drop(token);
    const known = this.#pools.get(token);
    this.#pools.delete(token);
    // Whoever was still waiting has just been cut off.
    known?.pool.destroy().catch(() => undefined);
  }

  close(): void {
    this.#lane?.close();
    this.#connections.dropAll();
    for (const token of [...this.#pools.keys()]) this.drop(token);
  }

  #pool({ token, host, port, tls }: Target): Pool {
    const origin = `${tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
    const known = this.#pools.get(token);
    if (known?.origin === origin) return known.pool;
    // A host that is named directly has moved: what is under way there comes to its end.
    known?.pool.close().catch(() => undefined);
    const pool = new Pool(origin, {
      // No limit on connections: event streams and long polls would starve the rest.
      connections: null,
      pipelining: 1,
      allowH2: false,
      headersTimeout: this.#limits.answerTime,
      bodyTimeout: 0,
      keepAliveTimeout: 4000,
      maxHeaderSize: 64 * 1024,
      connect: tls ? connector(this.#limits.connectTime, tls) : this.#connect,
    });
    const forgetIdle = (): void => {
      const { connected, pending, queued, running } = pool.stats;
      if (connected + pending + queued + running > 0 || this.#pools.get(token)?.pool !== pool) return;
      this.#pools.delete(token);
      pool.close().catch(() => undefined);
    };
    // A site that nobody looks at keeps no pool, nor does one that can't be reached: names of direct hosts are guessed.
    pool.on('disconnect', forgetIdle);
    pool.on('connectionError', forgetIdle);
    this.#pools.set(token, { pool, origin });
    return pool;
  }
}

/**
 * The request's body in the client's own pieces. Read only once undici is connected, which is when a client that asked
 * first (Expect: 100-continue) is told to go on. Leaving early must not destroy the request: its socket still has to
 * carry the answer.
 */
async function* body(
  request: IncomingMessage,
  response: ServerResponse,
  site: SiteTraffic,
): AsyncGenerator<Buffer> {
  if (expectsContinue(request) && !response.headersSent) response.writeContinue();
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      site.bytesIn += chunk.length;
      yield chunk;
    }
    // What was broken off must not look to the notebook as if it had been meant so.
    if (!isWhole(request)) throw new Error('the visitor left in the middle of the request');
  } finally {
    // What the notebook no longer wants is read and thrown away, so that the connection can carry the next request.
    request.resume();
  }
}

const RESET = 'UPSTREAM_RESET';

/**
 * Connects to notebooks. undici takes a reset for the end of an answer that goes up to the end of the connection, since
 * macOS resets where others end (its client-h1.js, onHttpSocketError); what was broken off would look whole to the
 * visitor. It knows resets by their code alone.
 */
function connector(timeout: number, tls?: Target['tls']): buildConnector.connector {
  const connect = buildConnector({ timeout, noDelay: true, ...(tls?.ca && { ca: tls.ca }) });
  return (options, callback) =>
    // undici would ask for the visitor's Host, and compare the certificate with that.
    connect(tls ? { ...options, servername: tls.servername } : options, (...[error, socket]) => {
      // Before undici adds its own listener.
      socket?.on('error', (reset: Error & { code?: string }) => {
        if (reset.code === 'ECONNRESET') reset.code = RESET;
      });
      if (error) callback(error, null);
      else callback(null, socket);
    });
}

function isStaleConnection(error: Error & { code?: string }): boolean {
  return ['UND_ERR_SOCKET', RESET, 'ECONNRESET', 'EPIPE'].includes(error.code ?? '');
}
