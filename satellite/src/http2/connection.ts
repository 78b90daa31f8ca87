import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
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

/** One connection that speaks HTTP/2, from its first byte to its last. */
export class Http2Connection {
  readonly #parts: Http2Parts;
  readonly #socket: TLSSocket;
  readonly #session: ServerHttp2Session;
  #isAsked = false;
  #isClosing = false;
  /** Requests that are under way. */
  #open = 0;
  #unwatch = (): void => undefined;
  #idle: NodeJS.Timeout;

  /** `onClosed` is called once, later. */
  constructor(socket: TLSSocket, parts: Http2Parts, onClosed: () => void) {
    const { limits, onUnreadable } = parts;
    const client = socket.remoteAddress;
    this.#parts = parts;
    this.#socket = socket;
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
    this.#session = session;
    this.#idle = this.#leaveLater();
    session.once('connect', () => {
      session.setLocalWindowSize(SESSION_WINDOW);
      // RFC 8336: other names of our certificate are not to be asked for here. Who doesn't know that (most browsers)
      // gets 421, and opens another connection.
      const name = typeof socket.servername === 'string' ? hostName(socket.servername) : undefined;
      if (name !== undefined) session.origin(`https://${name}:${socket.localPort}`);
    });
    session.on('error', (error) => onUnreadable(error, client));
    session.on('stream', (stream, headers, _flags, rawHeaders) => this.#begin(stream, headers, rawHeaders));
    socket.once('end', () => session.destroy());
    session.once('close', () => {
      this.#unwatch();
      clearTimeout(this.#idle);
      onClosed();
    });
  }

  /** Has anything been asked yet? */
  get isAsked(): boolean {
    return this.#isAsked;
  }

  /** Closes once the last answer is out; a new connection may ask once. */
  close(): void {
    this.#isClosing = true;
    if (this.#isAsked) this.#session.close();
    else setTimeout(() => this.#session.close(), NEWCOMER_MS).unref();
  }

  /** Counts from requests, not from frames: pings keep nothing open. */
  #leaveLater(): NodeJS.Timeout {
    return setTimeout(() => {
      this.#session.close();
      const timer = setTimeout(() => this.#socket.destroy(), FAREWELL_MS).unref();
      this.#socket.once('close', () => clearTimeout(timer));
    }, this.#parts.limits.idleTime).unref();
  }

  #begin(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: string[]): void {
    const { limits, connections, onRequest } = this.#parts;
    // nghttp2's complaints about a stream go to the client.
    stream.on('error', () => undefined);
    // Taken back before anybody could look at it.
    if (stream.destroyed || stream.closed) return;
    // nghttp2 sees to that only once the client has agreed to our settings, which is up to the client.
    if (sizeOf(rawHeaders) > limits.headerSize) {
      stream.close(NGHTTP2_ENHANCE_YOUR_CALM);
      return;
    }
    const release = connections.begin(this.#socket);
    if (release === undefined) {
      stream.close(NGHTTP2_REFUSED_STREAM);
      return;
    }
    this.#count(stream, release);
    // Half of a request is of no use to anybody. Later, since our own reset may still be on its way.
    stream.once('aborted', () => setImmediate(() => stream.destroy()));
    stream.setTimeout(limits.stallTime, () => stream.close(NGHTTP2_CANCEL));
    this.#isAsked = true;
    if (this.#isClosing) this.#session.close();
    const request = new Http2Request(stream, headers, rawHeaders);
    const response = new Http2Response(stream);
    stream.once('finish', () => {
      // Of a HEAD it comes before there is an answer.
      if (request.isWhole || !stream.headersSent) return;
      // A client that goes on sending after the answer is told to stop (RFC 9113 section 8.1).
      const timer = setTimeout(() => stream.close(NGHTTP2_NO_ERROR), FAREWELL_MS).unref();
      stream.once('close', () => clearTimeout(timer));
    });
    onRequest(request as unknown as IncomingMessage, response as unknown as ServerResponse);
  }

  /** A connection is watched while something is under way on it, and left after a while in which nothing is. */
  #count(stream: ServerHttp2Stream, release: () => void): void {
    clearTimeout(this.#idle);
    if (this.#open === 0)
      this.#unwatch = watchPulse(this.#session, this.#socket, this.#parts.limits.idleTime);
    this.#open += 1;
    stream.once('close', () => {
      release();
      this.#open -= 1;
      if (this.#open > 0) return;
      this.#unwatch();
      this.#idle = this.#leaveLater();
    });
  }
}

/** RFC 9113 section 6.5.2: each field counts 32 bytes more than its name and value. */
function sizeOf(fields: readonly string[]): number {
  return fields.reduce((size, text) => size + text.length + 16, 0);
}
