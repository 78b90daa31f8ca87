import type { Writable } from 'node:stream';

/** As much as is sent in one piece: what is read at once, with room for a head. A larger one finds its memory elsewhere. */
const LONGEST = 128 * 1024;
/** Shorter pieces are cut from a common buffer by Node itself, which is cheaper. */
const SHORTEST = 4 * 1024;
/** What may wait to be used again, of all sizes together. */
const MOST_KEPT = 16 * 1024 * 1024;

type Done = (error?: Error | null) => void;

/** Buffers that nobody uses, by the exponent of their length. */
const free: Buffer[][] = Array.from({ length: 32 }, () => []);
let kept = 0;

/** The least exponent of two with room for `length` bytes. */
const exponentFor = (length: number): number => 32 - Math.clz32(length - 1);

function lend(length: number): Buffer {
  const exponent = exponentFor(length);
  const buffer = free[exponent]?.pop();
  if (buffer === undefined) return Buffer.allocUnsafeSlow(2 ** exponent);
  kept -= buffer.length;
  return buffer;
}

function takeBack(buffer: Buffer): void {
  if (kept + buffer.length > MOST_KEPT) return;
  kept += buffer.length;
  free[exponentFor(buffer.length)]?.push(buffer);
}

/**
 * Writes pieces to a connection, each copied out of where it stands at once, into memory that is used again: new buffers for
 * each were more work for the garbage collector than everything else was for the rest of the program.
 *
 * Node reads a buffer until it has called back. One that came back earlier would be overwritten with what is
 * somebody else's, and sent: only what has been written whole, on a connection that is still open, is ever used again.
 */
export class Outgoing {
  readonly #connection: Writable;
  /** Lent, in the order in which they were written; Node calls back in the same. */
  readonly #lent: Buffer[] = [];

  constructor(connection: Writable) {
    this.#connection = connection;
  }

  /**
   * Writes `before`, what is between `from` and `to` in `bytes`, and `after` (both Latin-1), as one piece. False where that
   * is more than the connection wants before it has drained.
   */
  write(before: string, bytes: Buffer, from: number, to: number, after: string, done?: Done): boolean {
    const start = before.length;
    const end = start + to - from;
    const length = end + after.length;
    const isLent = length >= SHORTEST && length <= LONGEST;
    const buffer = isLent ? lend(length) : Buffer.allocUnsafe(length);
    if (start > 0) buffer.write(before, 0, 'latin1');
    bytes.copy(buffer, start, from, to);
    if (length > end) buffer.write(after, end, 'latin1');
    if (!isLent) return this.#connection.write(buffer, done);
    this.#lent.push(buffer);
    return this.#connection.write(
      buffer.subarray(0, length),
      done === undefined
        ? this.#onWritten
        : (error) => {
            this.#onWritten(error);
            done(error);
          },
    );
  }

  readonly #onWritten: Done = (error) => {
    const buffer = this.#lent.shift();
    // Of a connection that is broken it isn't clear what is still being read.
    if (buffer !== undefined && !error && !this.#connection.destroyed) takeBack(buffer);
  };
}
