/* What is said and done while certificate files change, step by step. That files are watched is in integration/tls.test.ts. */
import { X509Certificate } from 'node:crypto';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { beforeEach, expect, test, vi } from 'vitest';
import { namesToCover } from '../src/certificate-doubt.ts';
import { parseConfig, type SatelliteConfigInput } from '../src/config.ts';
import type { LogEntry } from '../src/log.ts';
import { Certificates, followCertificates } from '../src/tls.ts';
import { makeCertificate, namesBelow } from './certificate.ts';
import { cleanup, DOMAIN, satellite, scratch, secureWire } from './support.ts';

/** Those who wait for a change of each file. */
const watchers = vi.hoisted(() => new Map<string, () => void>());

vi.mock('node:fs', async (original) => ({
  ...(await original<typeof import('node:fs')>()),
  watchFile: (file: string, _options: unknown, listener: () => void) => watchers.set(file, listener),
}));

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  cleanup(() => vi.useRealTimers());
});

const NAMES = [`manage.${DOMAIN}`, `*.${DOMAIN}`];

/** A pair that is followed, another one to put in its place, and what has been said and taken over. */
async function followed(names = namesBelow(DOMAIN)) {
  const folder = await scratch();
  const pair = await makeCertificate(folder, namesBelow(DOMAIN), { name: 'first' });
  const next = await makeCertificate(folder, names, { name: 'next' });
  const certificates = new Certificates([pair], NAMES);
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
    doubts: () => log.filter(({ event }) => event === 'certificate-doubtful'),
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

const DAY = 86_400_000;

test.each([
  ['has expired', 61 * DAY, namesBelow(DOMAIN), /^it has expired on \d{4}-\d\d-\d\dT[\d:.]+Z; /],
  ['is not valid yet', -DAY, namesBelow(DOMAIN), /^it is not valid before \d{4}-\d\d-\d\dT[\d:.]+Z; /],
  [
    'is for other names',
    0,
    ['DNS:elsewhere.test', `DNS:manage.${DOMAIN}`],
    /^it is not for \*\.sites\.test; /,
  ],
])('a certificate that %s is taken over, and doubted in the log', async (_what, later, names, message) => {
  const { pair, renew, reload, settle, doubts, taken } = await followed(names);
  reload();
  await settle();
  expect(doubts()).toEqual([]);
  vi.setSystemTime(Date.now() + later);
  await renew('key');
  await renew('cert');
  reload();
  await settle();
  const cert = await readFile(pair.cert, 'utf8');
  expect(taken).toEqual([cert]);
  const { validToDate, subjectAltName } = new X509Certificate(cert);
  const notAfter = validToDate.toISOString();
  expect(doubts()).toEqual([
    {
      event: 'certificate-doubtful',
      cert: pair.cert,
      notAfter,
      names: subjectAltName,
      message: expect.stringMatching(message),
    },
  ]);
  // Whoever asks about the same one hears it again.
  reload();
  await settle();
  expect(doubts()).toHaveLength(2);
});

test('of several certificates one has to be for a name, and each is doubted for its own dates', async () => {
  const folder = await scratch();
  const sites = await makeCertificate(folder, namesBelow(DOMAIN), { name: 'sites' });
  const hub = await makeCertificate(folder, ['DNS:hub.test'], { name: 'hub' });
  const doubts = (names: string[]) =>
    new Certificates([hub, sites], names).doubts().map(({ cert, message }) => [cert, message]);
  expect(doubts([...NAMES, 'hub.test'])).toEqual([]);
  expect(doubts(['other.test', 'hub.test'])).toEqual([
    [hub.cert, expect.stringMatching(/^no certificate is for other\.test; /)],
  ]);
  vi.setSystemTime(Date.now() + 61 * DAY);
  expect(doubts(NAMES)).toEqual(
    [hub, sites].map(({ cert }) => [cert, expect.stringMatching(/^it has expired/)]),
  );
});

test.each([
  [{}, [`manage.${DOMAIN}`, `*.${DOMAIN}`]],
  [{ siteStyle: 'path' as const }, [`manage.${DOMAIN}`, DOMAIN]],
  [
    { routes: { 'hub.test': 'https://127.0.0.1:8000', [`hub.${DOMAIN}`]: 'https://127.0.0.1:8000' } },
    [`manage.${DOMAIN}`, `*.${DOMAIN}`, 'hub.test'],
  ],
])('which names a certificate has to be for with %j', (more, names) => {
  expect(namesToCover(parseConfig({ domain: DOMAIN, tls: 'off', ...more }))).toEqual(names);
});

test('a start says what is wrong with a certificate, and serves with it; a self-signed one is as good as any', async () => {
  const folder = await scratch();
  const good = await makeCertificate(folder, namesBelow(DOMAIN), { name: 'good' });
  const foreign = await makeCertificate(folder, ['DNS:elsewhere.test'], { name: 'foreign' });
  const doubts = async (tls: SatelliteConfigInput['tls']): Promise<unknown[]> => {
    const log: LogEntry[] = [];
    const { port } = await satellite({ tls }, { log: (entry) => log.push(entry) });
    (await secureWire(port, `manage.${DOMAIN}`)).destroy();
    return log.filter(({ event }) => event === 'certificate-doubtful').map(({ message }) => message);
  };
  expect(await doubts(good)).toEqual([]);
  expect(await doubts({ selfSigned: true })).toEqual([]);
  expect(await doubts(foreign)).toEqual([expect.stringMatching(/^it is not for manage\.sites\.test, \*\./)]);
});
