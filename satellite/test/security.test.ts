import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { expect, test } from 'vitest';
import { expectNamedTests, tableRows, testFiles } from './named-tests.ts';

/*
 * docs/security.md names a test for each attack: file and title, with "…" for what is left out. What it names must be
 * there.
 */

const guide = readFileSync(new URL('../../docs/security.md', import.meta.url), 'utf8');

/** The tests by the names that the guide gives them: `tokens`, `tls`, `fuzz/hosts`. */
const files = new Map(
  [...testFiles(new URL('.', import.meta.url))].map(([name, source]) => [
    name.startsWith('fuzz/') ? name : basename(name),
    source,
  ]),
);

const attacks = tableRows(/^## Attacks$[\s\S]*?(?=^## )/m.exec(guide)?.[0] ?? '').map(
  ([attack = '', , tests = '']) => ({ attack, tests }),
);

test('there are attacks', () => {
  expect(attacks.length).toBeGreaterThan(20);
});

test.each(attacks)('$attack', ({ tests }) => {
  expect(expectNamedTests(tests, files), 'no test is named').toBeGreaterThan(0);
});
