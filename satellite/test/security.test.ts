import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { expect, test } from 'vitest';

/*
 * docs/security.md names a test for each attack: file and title, with "…" for what is left out. What it names must be
 * there.
 */

const folder = new URL('.', import.meta.url);
const guide = readFileSync(new URL('../../docs/security.md', folder), 'utf8');

/** The tests by the names that the guide gives them: `tokens`, `tls`, `fuzz/hosts`. */
const files = new Map(
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => {
      const name = file.startsWith('fuzz/') ? `fuzz/${basename(file)}` : basename(file);
      return [name.replace(/\.test\.ts$/, ''), readFileSync(new URL(file, folder), 'utf8')];
    }),
);

/** The text of every string in a program; good enough for titles, which are all on one line. */
function strings(source: string): string[] {
  return [...source.matchAll(/'((?:\\.|[^'\\\n])*)'|"((?:\\.|[^"\\\n])*)"|`((?:\\.|[^`\\])*)`/g)].map(
    ([, single, double, template]) => single ?? double ?? template ?? '',
  );
}

const attacks = (/^## Attacks$[\s\S]*?(?=^## )/m.exec(guide)?.[0] ?? '')
  .split('\n')
  .filter((line) => line.startsWith('|') && !/^\| (attack|-)/.test(line))
  .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()))
  .map(([, attack = '', , tests = '']) => ({ attack, tests }));

test('there are attacks', () => {
  expect(attacks.length).toBeGreaterThan(20);
});

test.each(attacks)('$attack', ({ tests }) => {
  let source: string | undefined;
  let named = 0;
  for (const [, file, title] of tests.matchAll(/`([^`]+)`|"([^"]+)"/g)) {
    if (file !== undefined) {
      source = files.get(file);
      expect(source, `there is no test file ${file}`).toBeDefined();
      named += 1;
      continue;
    }
    const pieces = (title ?? '').split('…').filter((piece) => piece !== '');
    const found = strings(source ?? '').some((text) => pieces.every((piece) => text.includes(piece)));
    expect(found, `no test is called ${title}`).toBe(true);
  }
  expect(named, 'no test is named').toBeGreaterThan(0);
});
