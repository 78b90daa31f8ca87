import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Log, LogEntry } from '../../log.ts';

/** How long lines may wait for others, twice, in milliseconds: to wake up for some costs as much as many requests. */
const WAIT_MS = 20;

/**
 * Bytes that are to come meanwhile at most: half of what a socket takes. While that is full they stay in HAProxy's own buffer,
 * where the oldest give way to the newest at last.
 */
const ROOM = 96 * 1024;

const NEWLINE = 10;

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
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  /** `write` may be left out: then `log` hears of the lines one by one. */
  constructor(log: Log, write: WriteLines | undefined) {
    this.#log = log;
    this.#write = write ?? ((lines) => this.#parse(lines));
    // Node reads one piece, and the next one once that has been taken: whatever comes in between is read together.
    this.#server = createServer({ highWaterMark: 1 }, (socket) => this.take(socket));
  }

  /** To be told where to listen. */
  get server(): Server {
    return this.#server;
  }

  /** Takes in what has been sent. It ends by itself once HAProxy has; `isOver` is false for one that goes on. */
  async close(isOver: boolean): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    if (!isOver) for (const socket of this.#sockets) setTimeout(() => socket.destroy(), 3 * WAIT_MS);
    await closed;
  }

  /** Reads from HAProxy's end of a connection, or of a pipe. */
  take(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#sockets.delete(socket));
    let rest: Buffer = Buffer.alloc(0);
    let timer: NodeJS.Timeout | undefined;
    let taken = 0;
    let since = performance.now();
    /** As long as it took ROOM to come, the last time. */
    const wait = (): number => {
      const now = performance.now();
      const ms = taken === 0 ? WAIT_MS : Math.min(WAIT_MS, (ROOM * (now - since)) / taken);
      [taken, since] = [0, now];
      return ms;
    };
    const hand = (): void => {
      clearTimeout(timer);
      timer = undefined;
      // Only now is the next piece read, which may then wait in its turn.
      const piece = socket.read() as Buffer | null;
      if (piece === null) return;
      taken += piece.length;
      const all = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      const end = all.lastIndexOf(NEWLINE) + 1;
      rest = all.subarray(end);
      if (end > 0) this.#write(all.subarray(0, end));
    };
    socket.on('readable', () => {
      if (socket.readableLength >= ENOUGH || socket.readableLength === 0) hand();
      else timer ??= setTimeout(hand, wait());
    });
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
