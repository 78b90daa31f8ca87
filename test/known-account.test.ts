import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { isKnownAccount, rememberAccount } from '../src/known-account.ts';
import { temporaryDirectory } from './support/directories.ts';

const hour = 3600_000;
let file: string;

beforeEach(() => {
  const cache = temporaryDirectory();
  vi.stubEnv('XDG_CACHE_HOME', cache);
  file = path.join(cache, 'start-jupyter', 'accounts.json');
});
afterEach(() => {
  vi.unstubAllEnvs();
});

it('an account is known for a day, on its system, and the last one alone', () => {
  expect(isKnownAccount('expanse', 'abc123')).toBe(false);
  const now = Date.now();
  rememberAccount('expanse', 'abc123', now);
  rememberAccount('delta', 'xyz7', now);
  expect(isKnownAccount('expanse', 'abc123', now + 23 * hour)).toBe(true);
  expect(isKnownAccount('expanse', 'abc123', now + 25 * hour)).toBe(false);
  // A clock that was wrong once must not make it last.
  expect(isKnownAccount('expanse', 'abc123', now - 2 * hour)).toBe(false);
  expect(isKnownAccount('delta', 'abc123', now)).toBe(false);
  rememberAccount('expanse', 'other', now);
  expect(isKnownAccount('expanse', 'abc123', now)).toBe(false);
  expect(isKnownAccount('delta', 'xyz7', now)).toBe(true);
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

it.each([
  '{"expanse": ',
  '[]',
  '7',
  '{"expanse": null}',
  '{"expanse": {"account": "abc123", "until": "never"}}',
])('a file that is damaged knows none, and is written anew: %j', (content) => {
  mkdirSync(path.dirname(file));
  writeFileSync(file, content);
  expect(isKnownAccount('expanse', 'abc123')).toBe(false);
  rememberAccount('expanse', 'abc123');
  expect(isKnownAccount('expanse', 'abc123')).toBe(true);
});

it('where nothing can be kept nobody complains', () => {
  writeFileSync(path.dirname(file), '');
  rememberAccount('expanse', 'abc123');
  expect(isKnownAccount('expanse', 'abc123')).toBe(false);
});
