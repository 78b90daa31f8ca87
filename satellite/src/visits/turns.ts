import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** What has arrived on one connection. */
interface Turn {
  isBusy: boolean;
  newest: IncomingMessage;
  readonly waiting: (() => void)[];
  /** To do after all of it. */
  last: (() => void) | undefined;
}

/** Browsers don't pipeline at all; more than this is nobody's honest need. */
const MAX_PIPELINED = 64;

/**
 * One request of an HTTP/1.1 connection at a time, however many have arrived: what the second one finds may depend on what
 * the first one did (RFC 9112 section 9.3.2).
 */
export class Turns {
  readonly #turns = new WeakMap<Duplex, Turn>();
  readonly #closing = new WeakSet<Duplex>();

  /** Has `answer` called when it is the request's turn, if it ever is. */
  take(request: IncomingMessage, response: ServerResponse, answer: () => void): void {
    const { socket } = request;
    if (this.#closing.has(socket)) return;
    const known = this.#turns.get(socket);
    const turn: Turn = known ?? { isBusy: false, newest: request, waiting: [], last: undefined };
    turn.newest = request;
    if (!known) this.#turns.set(socket, turn);
    if (turn.isBusy) {
      turn.waiting.push(() => this.#begin(socket, response, turn, answer));
      if (turn.waiting.length <= MAX_PIPELINED) return;
      this.#closing.add(socket);
      socket.destroy();
    } else this.#begin(socket, response, turn, answer);
  }

  #begin(socket: Duplex, response: ServerResponse, turn: Turn, answer: () => void): void {
    turn.isBusy = true;
    response.once('close', () => {
      turn.isBusy = false;
      if (socket.destroyed || this.#closing.has(socket)) turn.last?.();
      else (turn.waiting.shift() ?? turn.last)?.();
    });
    answer();
  }

  /** The connection closes after the answer that is under way: what else has arrived on it is nobody's request. */
  close(socket: Duplex): void {
    this.#closing.add(socket);
  }

  isClosing(socket: Duplex): boolean {
    return this.#closing.has(socket);
  }

  /** Is an answer under way? */
  isBusy(socket: Duplex): boolean {
    return this.#turns.get(socket)?.isBusy === true;
  }

  /** Is an answer under way to a request that has not arrived whole? */
  isInBody(socket: Duplex): boolean {
    const turn = this.#turns.get(socket);
    return turn?.isBusy === true && !turn.newest.complete;
  }

  /** After the answers to what has arrived before; at once where there is none under way. */
  afterAll(socket: Duplex, last: () => void): void {
    const turn = this.#turns.get(socket);
    if (turn?.isBusy) turn.last = last;
    else last();
  }
}
