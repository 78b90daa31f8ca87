/** docs/lessons.md names the tests that hold what was learned from others: they must be there. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { expectNamedTests, tableRows, testFiles } from '../satellite/test/named-tests.ts';

const guide = readFileSync(new URL('../docs/lessons.md', import.meta.url), 'utf8');

const files = new Map([
  ...testFiles(new URL('.', import.meta.url)),
  ...[...testFiles(new URL('../satellite/test/', import.meta.url))].map(
    ([name, source]) => [`satellite/${name}`, source] as const,
  ),
]);

const lessons = tableRows(guide).map(([pain = '', answer = '', tests = '']) => ({ pain, answer, tests }));

test('there are lessons', () => {
  expect(lessons.length).toBeGreaterThan(50);
});

test.each(lessons)('$pain', ({ answer, tests }) => {
  const named = expectNamedTests(tests, files);
  if (!/^not (?:done|met|prevented)/.test(answer)) expect(named, 'no test is named').toBeGreaterThan(0);
});
