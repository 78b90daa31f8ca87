import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import decodeQR from 'qr/decode.js';
import { expect, test } from 'vitest';
import { qrCode } from '../../src/ui/qr.ts';

/** A picture of what the terminal shows, three pixels a module. */
function picture(printed: string): { width: number; height: number; data: Uint8Array } {
  const rows = stripVTControlCharacters(printed)
    .trimEnd()
    .split('\n')
    .flatMap((line) => [
      [...line].map((block) => block === '█' || block === '▀'),
      [...line].map((block) => block === '█' || block === '▄'),
    ]);
  const scale = 3;
  const width = (rows[0]?.length ?? 0) * scale;
  const height = rows.length * scale;
  const data = new Uint8Array(width * height * 4);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const dark = rows[Math.floor(y / scale)]?.[Math.floor(x / scale)];
      data.set([...Array(3).fill(dark ? 0 : 255), 255], (y * width + x) * 4);
    }
  return { width, height, data };
}

test.each([
  'https://agreeing-paying-parole.user-content.example.edu/?token=0123456789abcdef0123456789abcdef0123456789abcdef',
  'http://a-b-c.localhost:34567/?token=x',
])('%s is read back from the screen', (url) => {
  const stream = new PassThrough() as unknown as NodeJS.WriteStream;
  expect(decodeQR(picture(qrCode(url, stream)))).toBe(url);
});
