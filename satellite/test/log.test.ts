import { expect, test } from 'vitest';
import { LineFile } from '../src/line-file.ts';

/** A file on a disk with room for so many bytes, and a way to make more. */
function disk(room: number) {
  let text = '';
  const file = new LineFile(
    (lines) => `lost ${lines}\n`,
    (bytes) => {
      if (room === 0) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      const written = bytes.subarray(0, room);
      room -= written.length;
      text += written.toString();
      return written.length;
    },
  );
  return {
    append: (lines: string) => file.append(Buffer.from(lines)),
    makeRoom: (bytes: number) => {
      room += bytes;
    },
    text: () => text,
  };
}

test('a line that found no room for its end is ended before the next, and the lost ones are counted', () => {
  const { append, makeRoom, text } = disk(8);
  append('first\nsecond\nthird\n');
  append('fourth\n');
  makeRoom(100);
  append('fifth\n');
  append('sixth\n');
  expect(text()).toBe('first\nse\nlost 3\nfifth\nsixth\n');
});

test('where lines end with the room there is nothing to end', () => {
  const { append, makeRoom, text } = disk(6);
  append('first\nsecond\n');
  makeRoom(100);
  append('third\n');
  expect(text()).toBe('first\nlost 1\nthird\n');
});

test('what is said of the loss may find no room either', () => {
  const { append, makeRoom, text } = disk(2);
  append('first\n');
  makeRoom(4);
  append('second\n');
  makeRoom(9);
  append('third\n');
  makeRoom(100);
  append('fourth\n');
  expect(text()).toBe('fi\nlos\nlost 2\nt\nlost 1\nfourth\n');
});
