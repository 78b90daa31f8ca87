import { connect, type Socket } from 'node:net';
import { failureOf } from '../exchange.ts';
import { hopByHop, neverNamed } from '../headers.ts';
import { Chunks } from './chunks.ts';
import type { Notebook } from './notebook.ts';
import { ResponseHead } from './response-head.ts';
import type { Visitor } from './visitor.ts';

const KEEPALIVE_MS = 60_000;
/** How long a connection is kept for the next request, where the notebook doesn't say. */
const KEPT_MS = 4000;
/** How much earlier we close than the notebook would. */
const MARGIN_MS = 2000;
const LONGEST_KEPT_MS = 600_000;
const MAX_HEAD = 64 * 1024;
const NOTHING = Buffer.alloc(0);

/**
 * All connections are read into this: what comes is copied on at once, and nothing else is read meanwhile. With a head
 * before it, or the frame of a chunk around it, it is 128 KB, so that a page's scripts mostly come in one piece.
 */
const arrived = Buffer.allocUnsafeSlow(124 * 1024);

export interface UpstreamParts {
  readonly connectTime: number;
  /** The value of Strict-Transport-Security in every answer. */
  readonly hsts: string | undefined;
  /** The lane's time, in milliseconds. */
  readonly now: () => number;
  /** What tells a visitor that the connection stays open. */
  readonly stays: string;
}

/** How the end of an answer's body is known (RFC 9112 section 6.3). */
type Framing = 'none' | 'length' | 'chunks' | 'close';

/** A connection to a notebook, which carries one request at a time. */
export class Upstream {
  readonly socket: Socket;
  /** When it is closed if nobody needs it. */
  keptUntil = 0;
  readonly #notebook: Notebook;
  readonly #parts: UpstreamParts;
  readonly #head: ResponseHead;
  readonly #chunks = new Chunks();
  #visitor: Visitor | undefined;
  /** The beginning of a head whose end hasn't come. */
  #held = NOTHING;
  #isInBody = false;
  #framing: Framing = 'none';
  #left = 0;
  /** Is the body sent on in chunks? */
  #chunked = false;
  /** The visitor is slow. */
  #isPaused = false;

  constructor(notebook: Notebook, parts: UpstreamParts) {
    this.#notebook = notebook;
    this.#parts = parts;
    this.#head = new ResponseHead(parts.hsts !== undefined);
    const { host, port } = notebook.target;
    const socket = connect({
      host,
      port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_MS,
      onread: { buffer: arrived, callback: (amount) => this.#read(amount) },
    });
    this.socket = socket;
    socket.setTimeout(parts.connectTime, () =>
      socket.destroy(Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' })),
    );
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.removeAllListeners('timeout');
    });
    socket.on('drain', () => this.#visitor?.onUpstreamDrain());
    socket.on('end', () => this.#onEnd());
    socket.on('error', (error) => this.#onLoss(error));
    socket.on('close', () => this.#onLoss(undefined));
  }

  /** Sends a request's head; what comes from now on is its answer. */
  serve(visitor: Visitor, head: string): void {
    this.#visitor = visitor;
    this.#isInBody = false;
    this.socket.write(head, 'latin1');
  }

  /** The visitor has taken what there was. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.socket.resume();
  }

  destroy(): void {
    this.#visitor = undefined;
    this.#notebook.forget(this);
    this.socket.destroy();
  }

  /** Takes what stands in `arrived`. False stops the reading until resume(). */
  #read(amount: number): boolean {
    if (this.#visitor === undefined) {
      // Nobody has asked.
      this.destroy();
      return true;
    }
    if (this.#isInBody) this.#readBody('', arrived, 0, amount);
    else if (this.#held.length === 0) this.#readHead(arrived, amount);
    else {
      const whole = Buffer.concat([this.#held, arrived.subarray(0, amount)]);
      this.#held = NOTHING;
      this.#readHead(whole, whole.length);
    }
    return !this.#isPaused;
  }

  #readHead(bytes: Buffer, length: number): void {
    const visitor = this.#visitor as Visitor;
    const head = this.#head;
    let at = 0;
    for (;;) {
      const reading = head.read(bytes, at, length);
      if (reading === 'incomplete' && length - at < MAX_HEAD) {
        this.#held = Buffer.from(bytes.subarray(at, length));
        return;
      }
      if (reading !== 'whole' || head.status === 101) {
        this.destroy();
        visitor.onFailure('broken', false);
        return;
      }
      at = head.end;
      if (head.status >= 200) break;
      // Hints help or they don't; other interim answers were for us.
      if (head.status === 103 && !visitor.write(`HTTP/1.1 ${head.text}\r\n`, NOTHING, 0, 0, '', false))
        this.#isPaused = true;
    }
    this.#isInBody = true;
    this.#framing = this.#framingOf(visitor);
    this.#chunked = this.#framing === 'chunks' || this.#framing === 'close' || head.status === 205;
    if (this.#framing === 'length') this.#left = head.contentLength as number;
    else if (this.#framing === 'chunks') this.#chunks.begin();
    visitor.hasAnswer = true;
    visitor.status = head.status;
    const { hsts, stays } = this.#parts;
    const text = `HTTP/1.1 ${head.text}${head.hasDate ? '' : `Date: ${new Date().toUTCString()}\r\n`}${
      this.#chunked ? 'Transfer-Encoding: chunked\r\n' : ''
    }${hsts === undefined ? '' : `Strict-Transport-Security: ${hsts}\r\n`}${
      visitor.closes ? 'Connection: close\r\n\r\n' : stays
    }`;
    this.#readBody(text, bytes, at, length);
  }

  #framingOf(visitor: Visitor): Framing {
    const { status, isChunked, contentLength } = this.#head;
    if (visitor.wantsHeadOnly || status === 204 || status === 304) return 'none';
    if (isChunked) return 'chunks';
    return contentLength === undefined ? 'close' : 'length';
  }

  /** Hands on what is between `from` and `to`, behind `before`. */
  #readBody(before: string, bytes: Buffer, from: number, to: number): void {
    const visitor = this.#visitor as Visitor;
    let end = to;
    let isLast = false;
    let rest = 0;
    switch (this.#framing) {
      case 'none':
        end = from;
        rest = to - from;
        isLast = true;
        break;
      case 'length':
        if (to - from > this.#left) {
          end = from + this.#left;
          rest = to - end;
        }
        this.#left -= end - from;
        isLast = this.#left === 0;
        break;
      case 'chunks':
        ({ end, rest } = this.#chunks.read(bytes, from, to));
        isLast = this.#chunks.isWhole;
        break;
      case 'close':
    }
    const isBroken = this.#framing === 'chunks' && this.#chunks.isBroken;
    const size = end - from;
    let start = before;
    let after = '';
    if (this.#chunked) {
      // An empty chunk would be the last one.
      if (size > 0) {
        start += `${size.toString(16)}\r\n`;
        after = '\r\n';
      }
      if (isLast) after += lastChunk(this.#chunks.trailers);
    }
    // Before the visitor hears of the end, and asks for more.
    if (isLast) this.#release(visitor, rest);
    if (start.length + size + after.length > 0 && !visitor.write(start, bytes, from, end, after, isLast))
      this.#isPaused = !isLast;
    if (isBroken) {
      this.destroy();
      visitor.socket.destroy();
    }
  }

  /** The answer is over: the connection is kept for the next request, if it can be. */
  #release(visitor: Visitor, rest: number): void {
    this.#visitor = undefined;
    const { keepsAlive, keepAliveTime } = this.#head;
    const time =
      keepAliveTime === undefined ? KEPT_MS : Math.min(keepAliveTime * 1000 - MARGIN_MS, LONGEST_KEPT_MS);
    // What comes behind an answer was not asked for, and a request that isn't over can't be.
    if (!keepsAlive || time <= 0 || rest > 0 || !visitor.isSent || this.socket.destroyed) this.destroy();
    else {
      this.keptUntil = this.#parts.now() + time;
      this.#notebook.keep(this);
    }
  }

  #onEnd(): void {
    const visitor = this.#visitor;
    if (visitor !== undefined && this.#isInBody && this.#framing === 'close') {
      this.destroy();
      visitor.write('0\r\n\r\n', NOTHING, 0, 0, '', true);
    } else this.#onLoss(undefined);
  }

  #onLoss(error: (Error & { code?: string }) | undefined): void {
    const visitor = this.#visitor;
    this.destroy();
    if (visitor === undefined) return;
    // In mid-answer there is only one honest thing left: a connection that breaks, so that nothing looks complete.
    if (this.#isInBody) visitor.socket.destroy();
    else if (error === undefined) visitor.onFailure('broken', true);
    else visitor.onFailure(failureOf(error), error.code === 'ECONNRESET' || error.code === 'EPIPE');
  }
}

/** With the trailer fields that don't say anew how long the message is or where it goes. */
function lastChunk(trailers: readonly string[]): string {
  const kept = trailers.filter((line) => {
    const name = line.slice(0, line.indexOf(':')).toLowerCase();
    return !hopByHop.has(name) && !neverNamed.has(name);
  });
  return `0\r\n${kept.map((line) => `${line}\r\n`).join('')}\r\n`;
}
