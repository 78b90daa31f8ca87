import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { Outgoing } from '../src/dataplane/node/outgoing.ts';

/*
 * Nobody's bytes may be sent to somebody else: the memory of a piece is used again once it has been written, and not before.
 */

/** A connection that writes when it is told to. */
class Slow extends Writable {
  /** What is being written. */
  now: Buffer | undefined;
  #done: ((error?: Error) => void) | undefined;

  override _write(piece: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.now = piece;
    this.#done = done;
  }

  /** The piece under way has been written, or has failed; what is behind it follows. */
  async go(error?: Error): Promise<void> {
    this.now = undefined;
    this.#done?.(error);
    await new Promise(setImmediate);
  }
}

const open = (): { slow: Slow; write: (letter: string, length?: number) => void } => {
  const slow = new Slow();
  slow.on('error', () => undefined);
  const outgoing = new Outgoing(slow);
  return {
    slow,
    write: (letter, length = 50_000) =>
      void outgoing.write('[', Buffer.alloc(length, letter), 0, length, ']'),
  };
};

const piece = (letter: string, length = 50_000): string => `[${letter.repeat(length)}]`;

/** Takes all memory that can be had, and writes into it. */
const scribble = (): void => {
  const { write } = open();
  for (let i = 0; i < 10; i += 1) write('!');
};

test('pieces stay what they are until each has been written', async () => {
  const { slow, write } = open();
  for (const letter of ['a', 'b', 'c']) write(letter);
  for (const letter of ['a', 'b', 'c']) {
    scribble();
    expect(slow.now?.toString()).toBe(piece(letter));
    await slow.go();
  }
});

test('what has been written gives its memory to the next piece, once', async () => {
  const one = open();
  one.write('a');
  const memory = one.slow.now?.buffer;
  await one.slow.go();
  const [two, three] = [open(), open()];
  two.write('b');
  three.write('c');
  expect([two.slow.now?.buffer === memory, three.slow.now?.buffer === memory]).toEqual([true, false]);
  expect(two.slow.now?.toString()).toBe(piece('b'));
});

test.each<[string, (slow: Slow) => unknown]>([
  ['is closed', (slow) => slow.destroy()],
  ['fails', (slow) => slow.go(new Error('no'))],
])('what a connection that %s was writing is not used again', async (_what, end) => {
  const { slow, write } = open();
  for (const letter of ['a', 'b', 'c']) write(letter);
  const { now } = slow;
  await end(slow);
  // Node calls back for each of them.
  await slow.go();
  write('d');
  await slow.go();
  scribble();
  expect(now?.toString()).toBe(piece('a'));
});

test.each([0, 1, 4000, 4096, 131_070, 131_072, 300_000])('a piece of %d bytes is whole', async (length) => {
  const { slow, write } = open();
  for (const letter of ['a', 'b']) {
    write(letter, length);
    expect(slow.now?.toString()).toBe(piece(letter, length));
    await slow.go();
  }
});
