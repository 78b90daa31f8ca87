import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { ConfigError, configSchema, limitsSchema, parseConfig } from '../src/config.ts';
import { startSatellite } from '../src/server.ts';
import { DOMAIN, satellite, scratch } from './support.ts';

/** The faults of a configuration that is in order but for `keys`, one a line. */
function faults(keys: Record<string, unknown>): string[] {
  try {
    parseConfig({ domain: DOMAIN, tls: 'off', ...keys });
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message.split('\n');
  }
}

const oneOfEachKind = [5, -1, null, true, '', ' ', 'word', [], [5], [null], {}, { word: 5 }];

test.each([
  ...Object.keys(configSchema.shape).map((key) => [key, (value: unknown) => ({ [key]: value })] as const),
  ...Object.keys(limitsSchema.shape).map(
    (key) => [`limits.${key}`, (value: unknown) => ({ limits: { [key]: value } })] as const,
  ),
  ...['issuer', 'clientId', 'userClaim', 'scopes', 'allow', 'recheck'].map(
    (key) => [`auth.oidc.${key}`, (value: unknown) => ({ auth: { oidc: { [key]: value } } })] as const,
  ),
  ...['htpasswd', 'header', 'users', 'signInTime'].map(
    (key) => [`auth.${key}`, (value: unknown) => ({ auth: { [key]: value } })] as const,
  ),
  ...['hosts', 'networks', 'ports', 'domain', 'frameAncestors'].map(
    (key) => [`directHosts.0.${key}`, (value: unknown) => ({ directHosts: [{ [key]: value }] })] as const,
  ),
  ...['to', 'stripPrefix', 'caFile'].map(
    (key) => [`routes.x/y.${key}`, (value: unknown) => ({ routes: { 'x/y': { [key]: value } } })] as const,
  ),
])('whatever %s is, what is wrong is said in words, after its name', (_, keys) => {
  for (const value of oneOfEachKind)
    for (const fault of faults(keys(value))) {
      expect(fault).toMatch(/^[a-zA-Z][\w./]*: [a-z"]/);
      expect(fault).not.toMatch(/Invalid|expected|received|Unrecognized|Too (small|big)|undefined|NaN/);
    }
});

test.each([
  [{ tls: { cert: 'a', ky: 'b' } }, ['tls.ky: is not a known key; did you mean key?', 'tls.key: is needed']],
  [
    { tls: [{ cert: 'a', ky: 'b' }] },
    ['tls.0.ky: is not a known key; did you mean key?', 'tls.0.key: is needed'],
  ],
  [{ tokenTLT: '1h' }, ['tokenTLT: is not a known key; did you mean tokenTtl?']],
  // A killed satellite's HAProxy is found there again; beside a file there is a place for it.
  [
    { engine: 'haproxy', state: 'postgresql:///satellite?host=/run/postgresql' },
    [expect.stringMatching(/^haproxy.directory: is needed where the state is a database: .*such as \//)],
  ],
  // Three letters from "routes", which has little to do with it.
  [{ ports: 8888 }, [expect.stringMatching(/^ports: is not a known key; known keys are /)]],
  [{ tls: {} }, [expect.stringMatching(/^tls: is needed: cert and key files, selfSigned/)]],
  [
    { directHosts: [{ host: ['x'], networks: ['10.0.0.0/8'], ports: 8888 }] },
    [
      'directHosts.0.host: is not a known key; did you mean hosts?',
      expect.stringMatching(/^directHosts.0.hosts: /),
    ],
  ],
  [
    { directHosts: [{ hosts: ['x'], networks: ['10.0.0.0/8'], ports: 80 }] },
    [expect.stringMatching(/^directHosts.0.ports: must be a range of ports .* from 1024 to 65535$/)],
  ],
  [{ tokenTtl: 49 }, ['tokenTtl: must be a duration, such as 49h, 90m or 1d12h']],
  [{ metricsListen: 9464 }, ['metricsListen: must be HOST:PORT, such as 0.0.0.0:443']],
])('%j: the unknown key comes first, with the one that was meant', (keys, expected) => {
  expect(faults(keys)).toEqual(expected);
});

test.each([
  ...['headerTime', 'idleTime', 'stallTime', 'connectTime', 'answerTime'].map(
    (key) => [`limits.${key}`, (value: string) => ({ limits: { [key]: value } }), '999ms', '1s'] as const,
  ),
  ['tokenTtl', (value: string) => ({ tokenTtl: value }), '5ms', '1s'] as const,
  [
    'auth.signInTime',
    (signInTime: string) => ({ trustedProxies: ['192.0.2.1'], auth: { header: 'X-User', signInTime } }),
    '5ms',
    '1s',
  ] as const,
])('%s is refused where nobody could do anything in it', (name, keys, tooShort, least) => {
  expect(faults(keys(tooShort))).toEqual([`${name}: is too short; write ${least} at least`]);
  expect(faults(keys(least))).toEqual([]);
});

test('a header has room for the longest line that the standard wants taken', () => {
  for (const headerSize of [1, '8191'])
    expect(faults({ limits: { headerSize } })).toEqual([
      'limits.headerSize: is too small; write 8192 at least',
    ]);
  expect(faults({ limits: { headerSize: 8192 } })).toEqual([]);
});

test.each(['internalNetworks', 'jobStateNetworks'])('%s that everybody is in tell nobody apart', (key) => {
  for (const everybody of ['0.0.0.0/0', '::/0'])
    expect(faults({ [key]: ['10.21.0.0/16', everybody] })).toEqual([
      `${key}: would let in everybody there is (/0); write the networks of the cluster, such as 10.21.0.0/16`,
    ]);
  expect(faults({ [key]: ['10.0.0.0/8'] })).toEqual([]);
});

test.each(['10.0.0.1', '10.0.0.1.', 'sites.10', '0x7f000001'])('the domain %s is an address', (domain) => {
  expect(faults({ domain })).toEqual([
    'domain: is an address, below which there are no names; write a domain name, such as hpc.example.org',
  ]);
});

test.each([
  ['127.0.0.1:9464', '127.0.0.1:9464'],
  ['0.0.0.0:9464', '127.0.0.1:9464'],
  ['127.0.0.1:9464', '[::]:9464'],
  ['[::1]:9464', '[::]:9464'],
  ['sites.test:9464', 'sites.test:9464'],
])('not two of them listen on %s and %s', (one, other) => {
  const taken = (key: string) => `has the port and the address of ${key}; give it a port of its own`;
  expect(faults({ listen: one, metricsListen: other })).toEqual([`metricsListen: ${taken('listen')}`]);
  expect(faults({ listen: other, redirectHttpFrom: one })).toEqual([`redirectHttpFrom: ${taken('listen')}`]);
  expect(faults({ redirectHttpFrom: other, metricsListen: one })).toEqual([
    `metricsListen: ${taken('redirectHttpFrom')}`,
  ]);
});

test.each([
  ['127.0.0.1:9464', '127.0.0.2:9464'],
  ['0.0.0.0:9464', '[::1]:9464'],
  ['127.0.0.1:0', '127.0.0.1:0'],
  ['0.0.0.0:9464', '0.0.0.0:9465'],
])("on %s and %s they are in nobody's way", (one, other) => {
  expect(faults({ listen: one, metricsListen: other })).toEqual([]);
});

test.each([
  [
    'certificate',
    (file: string) => ({ tls: { cert: file, key: file } }),
    /^tls: \S+ can't be read: there is no such file$/,
  ],
  [
    'file of users',
    (file: string) => ({ tls: 'off' as const, trustedProxies: ['127.0.0.1/32'], auth: { htpasswd: file } }),
    /^auth.htpasswd: \S+: there is no such file$/,
  ],
])('a %s that is not there is no riddle', async (_, keys, message) => {
  const file = join(await scratch(), 'none');
  const started = startSatellite({
    domain: DOMAIN,
    listen: '127.0.0.1:0',
    state: ':memory:',
    ...keys(file),
  });
  await expect(started).rejects.toThrow(message);
});

test('a state that is a directory is told so', async () => {
  const started = startSatellite({
    domain: DOMAIN,
    listen: '127.0.0.1:0',
    tls: 'off',
    state: await scratch(),
  });
  await expect(started).rejects.toThrow(/^Could not open .* It is a directory: write the name of a file/);
});

test.each([
  ['what is said of HAProxy counts for nothing without it, which is told at the start', { threads: 2 }, 1],
  ['who says nothing of HAProxy hears nothing of it', undefined, 0],
])('%s', async (_, haproxy, times) => {
  const log = vi.fn();
  await satellite({ engine: 'node', ...(haproxy && { haproxy }) }, { log });
  const unused = log.mock.calls.filter(([{ event }]) => event === 'haproxy-unused');
  expect(unused).toHaveLength(times);
});
