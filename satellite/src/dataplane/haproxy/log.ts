import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Log, LogEntry } from '../../log.ts';
import { RING_SIZE } from './sections/log.ts';

/** How long lines may wait for others, twice, in milliseconds: to wake up for some costs as much as many requests. */
const WAIT_MS = 20;

/** The same where they are many and HAProxy keeps them. */
const LONG_WAIT_MS = 400;

/** Bytes in a millisecond that are many: some 1,700 requests in a second. */
const MANY = 256;

/** After a piece of so many bytes there is more, which HAProxy goes for at once. */
const LARGE = 16 * 1024;
const NEXT_MS = 2;

/** Where lines are until they are read. */
interface Keeper {
  /** Bytes that are to come during a wait at most. */
  readonly room: number;
  readonly longestMs: number;
}

/** Half of what a socket takes. What finds no room in a pipe is lost. */
const PIPE: Keeper = { room: 96 * 1024, longestMs: WAIT_MS };

/** While the socket is full they stay in HAProxy's own buffer, where the oldest give way to the newest at last. */
const RING: Keeper = { room: RING_SIZE / 4, longestMs: LONG_WAIT_MS };

/** For how long what a HAProxy that is over has sent may still be read, in milliseconds. */
const LAST_MS = 1000;

const NEWLINE = 10;

/** What lines about requests begin with; HAProxy's own words go without. */
const BRACE = '{'.charCodeAt(0);

/** Whether it reaches us, of which it tells whoever has started it as well: not so at each start, until we listen. */
const ABOUT_US = /^(?:Server|backend) satellite\b/;

/** Bytes that wait no longer: as many as Node reads at once. */
const ENOUGH = 64 * 1024;

/** Takes whole lines that are in the form of satellite's log already. */
export type WriteLines = (lines: Buffer) => void;

/**
 * What HAProxy says of requests, which it sends here from a buffer of its own (section 3.9 of its manual, "ring"): a
 * HAProxy that outlives a satellite goes on in the next one's log, and one in a jail has a way to it.
 */
export class HaproxyLog {
  readonly #log: Log;
  readonly #write: WriteLines;
  /** Where lines come from, each with a way to have what has come by now. */
  readonly #sources = new Map<Socket, () => void>();
  readonly #server: Server;
  #isHurried = false;

  /** `write` may be left out: then `log` hears of the lines one by one. */
  constructor(log: Log, write: WriteLines | undefined) {
    this.#log = log;
    this.#write = write ?? ((lines) => this.#parse(lines));
    // Node reads one piece, and the next one once that has been taken: whatever comes in between is read together.
    this.#server = createServer({ highWaterMark: 1 }, (socket) => this.#take(socket, RING));
  }

  /** To be told where to listen. */
  get server(): Server {
    return this.#server;
  }

  /** From now on no line waits long for others: HAProxy is about to end, or we are, and it keeps nothing beyond that. */
  hurry(): void {
    this.#isHurried = true;
    for (const read of this.#sources.values()) read();
  }

  /**
   * Takes in what has been sent. It ends by itself once HAProxy has; `isOver` is false for one that goes on. Nobody else is waited
   * for: another HAProxy may have come here, which ends when it likes.
   */
  async close(isOver: boolean): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.hurry();
    const cut = (): void => {
      for (const socket of this.#sources.keys()) socket.destroy();
    };
    const timer = setTimeout(cut, isOver ? LAST_MS : 3 * WAIT_MS);
    await closed;
    clearTimeout(timer);
  }

  /** Reads from HAProxy's end of a pipe. */
  takePipe(pipe: Socket): void {
    this.#take(pipe, PIPE);
  }

  #take(socket: Socket, { room, longestMs }: Keeper): void {
    socket.on('error', () => undefined);
    socket.once('close', () => this.#sources.delete(socket));
    let rest: Buffer = Buffer.alloc(0);
    let timer: NodeJS.Timeout | undefined;
    let last = 0;
    let taken = 0;
    let since = performance.now();
    /** As long as `room` lasts, by what has come since the last time. */
    const wait = (): number => {
      if (last >= LARGE) return NEXT_MS;
      const now = performance.now();
      const rate = taken === 0 ? 0 : taken / (now - since);
      [taken, since] = [0, now];
      return Math.min(rate > MANY && !this.#isHurried ? longestMs : WAIT_MS, room / rate);
    };
    const hand = (): void => {
      clearTimeout(timer);
      timer = undefined;
      // Only now is the next piece read, which may then wait in its turn.
      const piece = socket.read() as Buffer | null;
      if (piece === null) return;
      last = piece.length;
      taken += last;
      const all = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      const end = all.lastIndexOf(NEWLINE) + 1;
      rest = all.subarray(end);
      if (end > 0) this.#sort(all.subarray(0, end));
    };
    socket.on('readable', () => {
      if (socket.readableLength >= ENOUGH || socket.readableLength === 0) hand();
      else timer ??= setTimeout(hand, wait());
    });
    this.#sources.set(socket, hand);
  }

  /** Whole lines: those about requests are handed on as they are, many at once. */
  #sort(lines: Buffer): void {
    let from = 0;
    for (let at = 0, next = 0; at < lines.length; at = next) {
      next = lines.indexOf(NEWLINE, at) + 1;
      if (lines[at] === BRACE) continue;
      if (from < at) this.#write(lines.subarray(from, at));
      from = next;
      const message = lines.toString('utf8', at, next).trimEnd();
      if (!ABOUT_US.test(message)) this.#log({ event: 'haproxy', message });
    }
    if (from < lines.length) this.#write(lines.subarray(from));
  }

  #parse(lines: Buffer): void {
    for (const text of lines.toString('utf8').trimEnd().split('\n')) this.#log(entryOf(text));
  }
}

/** A line as it was written; what can't be read is handed on as text. */
function entryOf(text: string): LogEntry {
  try {
    const { time: _, ...entry } = JSON.parse(text) as LogEntry & { time: string };
    return entry;
  } catch {
    return { event: 'haproxy', message: text };
  }
}
