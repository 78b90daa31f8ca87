import { queryObjects } from 'node:v8';
import { Pool } from 'undici';
import { describe, expect, test } from 'vitest';
import { parseConfig, type SatelliteConfigInput } from '../src/config.ts';
import { DirectAddresses, type DirectHost, findDirectHost } from '../src/gate/direct.ts';
import {
  type Ask,
  ask,
  cleanup,
  DOMAIN,
  freePort,
  inCapitals,
  notebook,
  OUTSIDE,
  satellite,
  secureWire,
  siteHost,
  Wire,
  wire,
} from './support.ts';

/* Hosts that are named directly: <host>-<port>.<domain> */

type Rules = NonNullable<SatelliteConfigInput['directHosts']>;

/** The one host name that every machine knows; where it leads the tests' servers aren't. */
const HERE = 'localhost';
const LOOPBACK = ['127.0.0.0/8', '::1/128'];
const AS_PAGE = { Accept: 'text/html' };

const rulesOf = (directHosts: Rules) => parseConfig({ domain: DOMAIN, tls: 'off', directHosts }).directHosts;

const visit = (port: number, label: string, options: Ask = {}) =>
  ask(port, { from: OUTSIDE, host: siteHost(label), ...options });

/** A server at localhost that answers with these fields. */
async function here(fields: Record<string, string | string[]> = {}) {
  const server = await notebook(({ url, headers }, response) => {
    for (const [name, value] of Object.entries(fields)) response.setHeader(name, value);
    response.end(`${headers.host} ${url}`);
  }, '127.0.0.1');
  return server.port;
}

describe('which names are allowed', () => {
  const rules = rulesOf([
    { hosts: ['farm-*', 'gpu'], networks: ['10.0.0.0/8'], ports: ['8000-8999', 9999] },
    { hosts: ['farm-7'], networks: ['10.0.0.0/8'], ports: '5000', domain: 'farm.internal' },
  ]);
  test.each([
    ['farm-12-8888', 'farm-12', 8888],
    ['farm--x-8000', 'farm--x', 8000],
    ['gpu-9999', 'gpu', 9999],
    ['farm-8888-8999', 'farm-8888', 8999],
    ['farm-7-5000', 'farm-7.farm.internal', 5000],
  ])('%s', (label, name, port) => {
    expect(findDirectHost(rules, label)).toMatchObject({ label, name, port });
  });

  test.each(
    [
      ['farm-12-80', 'farm-12-7999', 'farm-12-9000', 'farm-12-08888', 'farm-12-88888', 'farm-12-8888-'],
      ['xfarm-12-8888', 'farm-8888', 'gpux-8888', 'gpu-5000', 'farm-12', '-farm-1-8888', 'farm-12-8888x'],
      ['12-8888', '2130706433-8888', 'localhost-8888', 'GPU-9999', 'g%70u-9999', 'one-two-three', '', '8888'],
    ].flat(),
  )('%s is not', (label) => {
    expect(findDirectHost(rules, label)).toBeUndefined();
  });
});

describe('where a name leads', () => {
  const rule = (networks: string[]) =>
    rulesOf([{ hosts: ['farm'], networks, ports: '8000-8999' }])[0] as DirectHost['rule'];
  const direct = (networks: string[]): DirectHost => ({
    label: 'farm-8888',
    name: 'farm',
    port: 8888,
    rule: rule(networks),
  });
  const resolver =
    (...addresses: string[]) =>
    async () =>
      addresses.map((address) => ({ address }));
  const nobody = () => false;

  test('is an address in its networks, whatever else the resolver says', async () => {
    const addresses = new DirectAddresses(
      nobody,
      resolver('169.254.169.254', '::1', '10.21.0.7', '10.21.0.8'),
    );
    expect(await addresses.find(direct(['10.21.0.0/16']))).toBe('10.21.0.7');
    expect(await addresses.find(direct(['10.22.0.0/16']))).toBeUndefined();
    const mapped = new DirectAddresses(nobody, resolver('::ffff:10.21.0.7'));
    expect(await mapped.find(direct(['10.22.0.0/16']))).toBeUndefined();
  });

  test('is never the proxy itself', async () => {
    const own = (address: string, port: number) => address === '10.21.0.7' && port === 8888;
    const addresses = new DirectAddresses(own, resolver('10.21.0.7'));
    expect(await addresses.find(direct(['10.21.0.0/16']))).toBeUndefined();
  });

  test.each(['0.0.0.0', '::', '::ffff:0.0.0.0'])('is not %s, which is this host itself', async (address) => {
    const addresses = new DirectAddresses(nobody, resolver(address));
    expect(await addresses.find(direct(['0.0.0.0/0', '::/0']))).toBeUndefined();
  });

  test('is never the proxy itself, however its address is spelled', async () => {
    const own = (address: string) => address === '10.21.0.7';
    const addresses = new DirectAddresses(own, resolver('::ffff:10.21.0.7', '::ffff:a15:7'));
    expect(await addresses.find(direct(['10.21.0.0/16']))).toBeUndefined();
  });

  test('is asked for once while a page comes in, and a resolver that fails is no error', async () => {
    let asked = 0;
    const addresses = new DirectAddresses(nobody, async () => {
      asked += 1;
      throw new Error('EAI_AGAIN');
    });
    const found = await Promise.all([1, 2, 3].map(() => addresses.find(direct(['10.0.0.0/8']))));
    expect([found, asked]).toEqual([[undefined, undefined, undefined], 1]);
  });
});

describe('a visit', () => {
  const rules = (more = {}): Rules => [{ hosts: [HERE], networks: LOOPBACK, ports: '1024-65535', ...more }];

  test('gets through, with everything as it was asked; without rules there are no such names', async () => {
    const target = await here();
    const label = `${HERE}-${target}`;
    const { port } = await satellite({ directHosts: rules() });
    expect((await visit(port, label, { path: '/a%2Fb?c' })).body).toBe(`${siteHost(label)} /a%2Fb?c`);
    const { port: strict } = await satellite();
    expect((await visit(strict, label, { path: '/x' })).status).toBe(404);
  });

  test('WebSockets get through, too', async () => {
    const server = await notebook(() => undefined, '127.0.0.1');
    server.on('upgrade', (_request, socket) => {
      cleanup(() => socket.destroy());
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello',
      );
    });
    const { port } = await satellite({ directHosts: rules() });
    const upgrade = (label: string) =>
      `GET /ws HTTP/1.1\r\nHost: ${siteHost(label)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
    const client = await wire(port);
    await client.send(upgrade(`${HERE}-${server.port}`)).until(/101 [\s\S]*hello$/);
    for (const [label, status] of [
      [`${HERE}-${await freePort()}`, 502],
      [`${HERE}-${port}`, 404],
    ] as const) {
      expect(Number((await (await wire(port)).send(upgrade(label)).ended()).slice(9, 12))).toBe(status);
    }
  });

  test('to a host outside of the networks, or to the proxy itself, leads nowhere', async () => {
    const target = await here();
    const { port } = await satellite({ directHosts: rules({ networks: ['10.0.0.0/8'] }) });
    expect((await visit(port, `${HERE}-${target}`)).status).toBe(404);
    const { port: loop } = await satellite({ directHosts: rules() });
    expect((await visit(loop, `${HERE}-${loop}`)).status).toBe(404);
  });

  test('by somebody who tries which hosts and ports there are ends soon, and not for others who are here', async () => {
    const target = await here();
    const { port } = await satellite({ directHosts: rules(), limits: { unknownNamesPerMinute: 3 } });
    const statuses = [];
    expect((await visit(port, `${HERE}-${target}`)).status).toBe(200);
    for (let i = 0; i < 4; i += 1) statuses.push((await visit(port, `${HERE}-${await freePort()}`)).status);
    expect(statuses).toEqual([502, 502, 502, 429]);
    expect((await visit(port, `${HERE}-${target}`)).status).toBe(200);
    expect((await visit(port, `${HERE}-${await here()}`)).status).toBe(429);
  });
});

test('tries that are all under way at once are as many guesses', async () => {
  const rules: Rules = [{ hosts: [HERE, 'nobody-*'], networks: LOOPBACK, ports: '1024-65535' }];
  const { port } = await satellite({ directHosts: rules, limits: { unknownNamesPerMinute: 3 } });
  // Right ones are given back.
  for (let i = 0; i < 5; i += 1)
    expect((await visit(port, `${HERE}-${await here()}`)).status, String(i)).toBe(200);
  const labels = Array.from({ length: 8 }, (_, i) => `nobody-${i}-8888`);
  const statuses = await Promise.all(labels.map(async (label) => (await visit(port, label)).status));
  expect(statuses.toSorted()).toEqual([404, 404, 404, 429, 429, 429, 429, 429]);
});

test('nothing is kept of those that can not be reached', async () => {
  const rules: Rules = [{ hosts: [HERE], networks: LOOPBACK, ports: '1024-65535' }];
  const { port } = await satellite({ directHosts: rules });
  const pools = () => queryObjects(Pool, { format: 'count' });
  const before = pools();
  for (let i = 0; i < 10; i += 1)
    expect((await visit(port, `${HERE}-${await freePort()}`)).status, String(i)).toBe(502);
  await expect.poll(pools).toBeLessThan(before + 5);
});

describe('in a frame', () => {
  const parents = ['https://portal.example.edu', 'https://*.campus.example.edu:8443'];
  const rules: Rules = [{ hosts: [HERE], networks: LOOPBACK, ports: '1024-65535', frameAncestors: parents }];
  const own = `frame-ancestors 'self' ${parents.join(' ')}`;

  test('it may be embedded by those parents only, whatever it says itself', async () => {
    const target = await here({
      'X-Frame-Options': 'DENY',
      'Content-Security-Policy': [
        "default-src 'self'; frame-ancestors 'self'; img-src *",
        "Frame-Ancestors *, script-src 'none', frame-ancestors",
      ],
    });
    const { port } = await satellite({ directHosts: rules });
    const { headers, rawHeaders } = await visit(port, `${HERE}-${target}`);
    expect(headers['x-frame-options']).toBeUndefined();
    expect(
      rawHeaders.flatMap((text, i) =>
        text.toLowerCase() === 'content-security-policy' ? [rawHeaders[i + 1]] : [],
      ),
    ).toEqual(["default-src 'self'; img-src *", "script-src 'none'", own]);
    const { port: closed } = await satellite({ directHosts: [{ ...rules[0], frameAncestors: [] }] as Rules });
    expect((await visit(closed, `${HERE}-${target}`)).headers['content-security-policy']).toMatch(
      /, frame-ancestors 'self'$/,
    );
    // Also what we say in its place.
    const trouble = await visit(port, `${HERE}-${await freePort()}`, { headers: AS_PAGE });
    expect(trouble.headers['content-security-policy']).toContain(`; ${own}`);
  });

  test('its cookies are kept to the frame, and to itself', async () => {
    const target = await here({
      'Set-Cookie': ['a=1', `b=2; Path=/x; Domain=.${DOMAIN}; SameSite=Strict; HttpOnly; secure;partitioned`],
    });
    const label = `${HERE}-${target}`;
    const { port } = await satellite({ directHosts: rules, tls: { selfSigned: true } });
    const client = new Wire(await secureWire(port, siteHost(label), { protocols: ['http/1.1'] }));
    client.send(`GET / HTTP/1.1\r\nHost: ${siteHost(label)}\r\nConnection: close\r\n\r\n`);
    expect(inCapitals(await client.ended()).match(/^Set-Cookie: .*(?=\r)/gm)).toEqual([
      'Set-Cookie: a=1; SameSite=None; Secure; Partitioned',
      'Set-Cookie: b=2; Path=/x; HttpOnly; SameSite=None; Secure; Partitioned',
    ]);
    // Without TLS browsers would refuse them so.
    const { port: plain } = await satellite({ directHosts: rules });
    expect((await visit(plain, label)).headers['set-cookie']?.[1]).toBe(
      'b=2; Path=/x; SameSite=Strict; HttpOnly; secure;partitioned',
    );
  });
});

test.each([
  [{ hosts: [] }, 'directHosts.0.hosts'],
  [{ hosts: ['*'] }, '"*" is no pattern of host names'],
  [{ hosts: ['10.0.0.1'] }, 'is no pattern'],
  [{ hosts: ['(a+)+'] }, 'is no pattern'],
  [{ networks: undefined }, 'directHosts.0.networks'],
  [{ networks: ['x'] }, '"x" is not a network'],
  [{ ports: '80-90' }, 'directHosts.0.ports'],
  [{ ports: '9000-8000' }, 'directHosts.0.ports'],
  [{ ports: '8000-99999' }, 'directHosts.0.ports'],
  [{ frameAncestors: ['https://x; script-src *'] }, 'is not an origin'],
  [{ frameAncestors: ["'self'"] }, 'is not an origin'],
  [{ frameAncestors: ['https://x/path'] }, 'is not an origin'],
  [{ domain: 'x/y' }, 'is not a domain name'],
  [{ frameAncestor: [] }, 'did you mean frameAncestors'],
])('rules that can not be are refused: %j', (change, fault) => {
  const rule = { hosts: ['farm-*'], networks: ['10.0.0.0/8'], ports: '8000-8999', ...change };
  expect(() => parseConfig({ domain: DOMAIN, tls: 'off', directHosts: [rule] })).toThrow(fault);
});

test('they are host names, which sites by path do without', () => {
  const directHosts = [{ hosts: ['farm-*'], networks: ['10.0.0.0/8'], ports: '8000-8999' }];
  expect(() => parseConfig({ domain: DOMAIN, tls: 'off', siteStyle: 'path', directHosts })).toThrow(
    /^directHosts: /,
  );
});
