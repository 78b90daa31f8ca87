import type { IncomingMessage, ServerResponse } from 'node:http';
import { constants, performServerHandshake, type ServerHttp2Session } from 'node:http2';
import type { Server as SecureServer } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { Limits } from '../config.ts';
import { hostName } from '../gate/host.ts';
import type { ClientConnections } from '../gate/limits.ts';
import { Http2Request, Http2Response } from './message.ts';
import { watchPulse } from './pulse.ts';

const { NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = constants;

/** What a browser asks for at a time: nginx and Chromium's own idea of many. */
const MAX_STREAMS = 128;

/** Bytes of a body that may be under way before the notebook has taken them: 2.5 MB/s at 100 ms to the visitor. */
const STREAM_WINDOW = 256 * 1024;

/** The same for a connection. Node gives it back as bytes arrive, so that one slow stream doesn't hold up the others. */
const SESSION_WINDOW = 4 * 1024 * 1024;

/** How long a client may take to hear that it is over. */
const FAREWELL_MS = 2000;

/** How long the first request of a new connection may take to come when we are closing. */
const NEWCOMER_MS = 1000;

/** Browsers send each cookie as a field of its own, and keep at most 180 for a domain. */
const MAX_FIELDS = 256;

/** What the sessions need of the rest of the proxy. */
export interface Http2Parts {
  readonly limits: Limits;
  readonly connections: ClientConnections;
  readonly onRequest: (request: IncomingMessage, response: ServerResponse) => void;
  /** Hears of connections that break the protocol. */
  readonly onUnreadable: (error: Error & { code?: string }, client: string | undefined) => void;
}

/**
 * The connections that speak HTTP/2. WebSockets come over HTTP/1.1: RFC 8441 is not offered, and browsers open a
 * connection of their own for each.
 */
export class Http2Sessions {
  readonly #parts: Http2Parts;
  readonly #open = new Set<ServerHttp2Session>();
  /** Those in which nothing has been asked yet. */
  readonly #unasked = new Set<ServerHttp2Session>();
  #isClosing = false;

  constructor(parts: Http2Parts) {
    this.#parts = parts;
  }

  /**
   * Takes the connections that have settled on h2 (ALPN) out of an HTTPS server. All others stay with the listener that
   * Node has given it, with every limit of HTTP/1.1: a server that only gets its connections by 'connection' events
   * never looks after its headersTimeout.
   */
  divert(server: SecureServer): void {
    const [http1] = server.listeners('secureConnection') as ((socket: TLSSocket) => void)[];
    if (http1 === undefined) throw new Error('this is no HTTPS server');
    server.off('secureConnection', http1);
    server.on('secureConnection', (socket) => {
      if (socket.alpnProtocol === 'h2') this.#begin(socket);
      else http1.call(server, socket);
    });
  }

  /**
   * No new requests; each connection closes when its last answer is out. A request that our notice crosses is known to
   * be safe to repeat (RFC 9113 section 6.8), but clients don't repeat the first one of a connection: a new one may ask
   * once.
   */
  close(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    for (const session of this.#open) {
      if (this.#unasked.has(session)) closeSoon(session);
      else session.close();
    }
  }

  /** Whether the first request of a connection may still come. */
  get isAwaited(): boolean {
    return this.#unasked.size > 0;
  }

  #begin(socket: TLSSocket): void {
    const { limits, onUnreadable } = this.#parts;
    const client = socket.remoteAddress;
    const session = performServerHandshake(socket, {
      maxHeaderListPairs: MAX_FIELDS,
      // Two fields of one name are the notebook's own business.
      strictSingleValueFields: false,
      // Megabytes. Node refuses new streams beyond it, and 128 slow readers are nothing odd.
      maxSessionMemory: 64,
      settings: {
        maxConcurrentStreams: MAX_STREAMS,
        initialWindowSize: STREAM_WINDOW,
        maxHeaderListSize: limits.headerSize,
      },
    });
    this.#open.add(session);
    this.#unasked.add(session);
    if (this.#isClosing) closeSoon(session);
    session.once('connect', () => {
      session.setLocalWindowSize(SESSION_WINDOW);
      // RFC 8336: other names of our certificate are not to be asked for here. Who doesn't know that (most browsers)
      // gets 421, and opens another connection.
      const name = typeof socket.servername === 'string' ? hostName(socket.servername) : undefined;
      if (name !== undefined) session.origin(`https://${name}:${socket.localPort}`);
    });
    session.on('error', (error) => onUnreadable(error, client));

    let open = 0;
    let unwatch = (): void => undefined;
    const leave = (): void => {
      session.close();
      const timer = setTimeout(() => socket.destroy(), FAREWELL_MS).unref();
      socket.once('close', () => clearTimeout(timer));
    };
    // Counts from requests, not from frames: pings keep nothing open.
    let idle = setTimeout(leave, limits.idleTime).unref();
    session.on('stream', (stream, headers, _flags, rawHeaders) => {
      // nghttp2's complaints about a stream go to the client.
      stream.on('error', () => undefined);
      // Taken back before anybody could look at it.
      if (stream.destroyed || stream.closed) return;
      // nghttp2 sees to that only once the client has agreed to our settings, which is up to the client.
      if (sizeOf(rawHeaders) > limits.headerSize) {
        stream.close(NGHTTP2_ENHANCE_YOUR_CALM);
        return;
      }
      const release = this.#parts.connections.begin(socket);
      if (release === undefined) {
        stream.close(NGHTTP2_REFUSED_STREAM);
        return;
      }
      clearTimeout(idle);
      if (open === 0) unwatch = watchPulse(session, socket, limits.idleTime);
      open += 1;
      stream.once('close', () => {
        release();
        open -= 1;
        if (open > 0) return;
        unwatch();
        idle = setTimeout(leave, limits.idleTime).unref();
      });
      // Half of a request is of no use to anybody. Later, since our own reset may still be on its way.
      stream.once('aborted', () => setImmediate(() => stream.destroy()));
      stream.setTimeout(limits.stallTime, () => stream.close(NGHTTP2_CANCEL));
      this.#unasked.delete(session);
      if (this.#isClosing) session.close();
      const request = new Http2Request(stream, headers, rawHeaders);
      const response = new Http2Response(stream);
      stream.once('finish', () => {
        // Of a HEAD it comes before there is an answer.
        if (request.isWhole || !stream.headersSent) return;
        // A client that goes on sending after the answer is told to stop (RFC 9113 section 8.1).
        const timer = setTimeout(() => stream.close(NGHTTP2_NO_ERROR), FAREWELL_MS).unref();
        stream.once('close', () => clearTimeout(timer));
      });
      this.#parts.onRequest(request as unknown as IncomingMessage, response as unknown as ServerResponse);
    });
    socket.once('end', () => session.destroy());
    session.once('close', () => {
      unwatch();
      clearTimeout(idle);
      this.#open.delete(session);
      this.#unasked.delete(session);
    });
  }
}

function closeSoon(session: ServerHttp2Session): void {
  setTimeout(() => session.close(), NEWCOMER_MS).unref();
}

/** RFC 9113 section 6.5.2: each field counts 32 bytes more than its name and value. */
function sizeOf(fields: readonly string[]): number {
  return fields.reduce((size, text) => size + text.length + 16, 0);
}
