/* What is said and done while certificate files change, step by step. That files are watched is in integration/tls.test.ts. */
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { beforeEach, expect, test, vi } from 'vitest';
import type { LogEntry } from '../src/log.ts';
import { Certificates, followCertificates } from '../src/tls.ts';
import { makeCertificate, namesBelow } from './certificate.ts';
import { cleanup, DOMAIN, scratch } from './support.ts';

/** Those who wait for a change of each file. */
const watchers = vi.hoisted(() => new Map<string, () => void>());

vi.mock('node:fs', async (original) => ({
  ...(await original<typeof import('node:fs')>()),
  watchFile: (file: string, _options: unknown, listener: () => void) => watchers.set(file, listener),
}));

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  cleanup(() => vi.useRealTimers());
});

/** A pair that is followed, another one to put in its place, and what has been said and taken over. */
async function followed() {
  const folder = await scratch();
  const [pair, next] = await Promise.all(
    ['first', 'next'].map((name) => makeCertificate(folder, namesBelow(DOMAIN), { name })),
  );
  if (!pair || !next) throw new Error('none was made');
  const certificates = new Certificates([pair]);
  const log: LogEntry[] = [];
  const taken: string[] = [];
  const takeOver = vi.fn(() => {
    taken.push(String(certificates.cert));
  });
  const { reload, stop } = followCertificates(certificates, takeOver, (entry) => log.push(entry));
  cleanup(stop);
  const settle = (milliseconds = 0) => vi.advanceTimersByTimeAsync(milliseconds);
  return {
    pair,
    certificates,
    taken,
    takeOver,
    reload,
    settle,
    /** Puts a file of the other pair in its place. */
    renew: (which: 'cert' | 'key') => copyFile(next[which], pair[which]),
    changed: async (which: 'cert' | 'key') => {
      watchers.get(pair[which])?.();
      await settle();
    },
    said: () => log.map(({ event }) => event),
  };
}

const MINUTE = 60_000;

test('a renewal is taken over once, and said once, however many files it changes', async () => {
  const { pair, renew, changed, settle, said, taken } = await followed();
  await renew('key');
  await renew('cert');
  for (const which of ['cert', 'key', 'cert'] as const) await changed(which);
  await settle(MINUTE);
  expect(said()).toEqual(['certificate-reloaded']);
  expect(taken).toEqual([await readFile(pair.cert, 'utf8')]);
});

test('a key that comes before its certificate is neither used nor complained about', async () => {
  const { pair, certificates, renew, changed, settle, said, taken } = await followed();
  const before = [String(certificates.cert), String(certificates.key)];
  await renew('key');
  await changed('key');
  expect([String(certificates.cert), String(certificates.key)]).toEqual(before);
  await renew('cert');
  await changed('cert');
  await settle(MINUTE);
  expect(said()).toEqual(['certificate-reloaded']);
  expect(taken).toEqual([await readFile(pair.cert, 'utf8')]);
});

test('files that stay unusable are complained about once, and said to be good again', async () => {
  const { pair, changed, settle, said, taken } = await followed();
  const good = await readFile(pair.cert);
  await writeFile(pair.cert, good.subarray(0, good.length / 2));
  await changed('cert');
  expect(said()).toEqual([]);
  await settle(MINUTE);
  expect(said()).toEqual(['certificate-unusable']);
  await writeFile(pair.cert, good);
  await changed('cert');
  await settle(MINUTE);
  expect(said()).toEqual(['certificate-unusable', 'certificate-reloaded']);
  expect(taken).toEqual([String(good)]);
});

test.each([
  [1, ['certificate-reloaded']],
  [2, ['certificate-unusable']],
])('what is not taken over is tried once more: refused %i times', async (times, expected) => {
  const { renew, changed, settle, said, takeOver } = await followed();
  for (let i = 0; i < times; i += 1)
    takeOver.mockImplementationOnce(() => {
      throw new Error('not now');
    });
  await renew('key');
  await renew('cert');
  await changed('cert');
  await settle(MINUTE);
  expect(said()).toEqual(expected);
});

test('who asks hears at once, whether there is another one or not', async () => {
  const { pair, reload, renew, changed, settle, said, taken } = await followed();
  reload();
  await settle();
  expect([said(), taken]).toEqual([['certificate-unchanged'], []]);
  await renew('key');
  reload();
  await settle();
  await renew('cert');
  reload();
  await settle();
  expect(said().slice(1)).toEqual(['certificate-unusable', 'certificate-reloaded']);
  expect(taken).toEqual([await readFile(pair.cert, 'utf8')]);
  // Nobody has asked.
  await changed('cert');
  await settle(MINUTE);
  expect(said()).toHaveLength(3);
});

test('what was not taken over is tried again where somebody asks', async () => {
  const { renew, reload, settle, said, takeOver } = await followed();
  takeOver.mockImplementationOnce(() => {
    throw new Error('not now');
  });
  await renew('key');
  await renew('cert');
  reload();
  await settle();
  reload();
  await settle();
  reload();
  await settle();
  expect(said()).toEqual(['certificate-unusable', 'certificate-reloaded', 'certificate-unchanged']);
});
