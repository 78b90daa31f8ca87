import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Redactor } from '../src/dataplane/node/redactor.ts';

const SECRET = 'abcabcabd-abcabcabd';

function through(text: string, cuts: readonly number[], secret = SECRET): string {
  const bytes = Buffer.from(text, 'latin1');
  const redactor = new Redactor(Buffer.from(secret));
  const ends = [...cuts].sort((a, b) => a - b);
  const pieces = [0, ...ends].map((from, i) => bytes.subarray(from, ends[i] ?? bytes.length));
  const out = pieces.map((piece) => redactor.push(piece));
  expect(bytes.toString('latin1'), 'what came in was written over').toBe(text);
  return Buffer.concat([...out, redactor.end()]).toString('latin1');
}

test('a secret is taken out at every boundary of pieces', () => {
  const text = `<${SECRET}>${SECRET.slice(0, 9)}${SECRET}${SECRET}`;
  const blank = '.'.repeat(SECRET.length);
  const wanted = `<${blank}>${SECRET.slice(0, 9)}${blank}${blank}`;
  for (let first = 0; first <= text.length; first += 1)
    for (let second = first; second <= text.length; second += 1)
      expect(through(text, [first, second]), `${first} ${second}`).toBe(wanted);
  expect(
    through(
      text,
      [...text].map((_, i) => i),
    ),
  ).toBe(wanted);
});

test('of any text in any pieces the secret alone is missing, and the length stays', () => {
  // Few letters, so that beginnings of the secret are everywhere.
  const secret = fc.string({ unit: fc.constantFrom('a', 'b', '-'), minLength: 2, maxLength: 8 });
  const part = fc.oneof(
    fc.string({ unit: fc.constantFrom('a', 'b', '-', '.'), maxLength: 6 }),
    fc.constant(null),
  );
  fc.assert(
    fc.property(
      secret,
      fc.array(part, { maxLength: 8 }),
      fc.array(fc.nat(80), { maxLength: 8 }),
      (wanted, parts, cuts) => {
        const text = parts.map((one) => one ?? wanted).join('');
        const shown = through(
          text,
          cuts.map((cut) => cut % (text.length + 1)),
          wanted,
        );
        expect(shown).not.toContain(wanted);
        expect(shown).toBe(text.replaceAll(wanted, '.'.repeat(wanted.length)));
      },
    ),
  );
});

test('nothing is held back that can not begin the secret', () => {
  const redactor = new Redactor(Buffer.from(SECRET));
  expect(String(redactor.push(Buffer.from('data: x\n\n')))).toBe('data: x\n\n');
  expect(String(redactor.push(Buffer.from('xabcab')))).toBe('x');
  expect(String(redactor.push(Buffer.from('x')))).toBe('abcabx');
});
