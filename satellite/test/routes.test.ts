import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../src/config.ts';
import { ConfigError } from '../src/index.ts';
import { makeCertificate } from './certificate.ts';
import {
  type Ask,
  ask,
  begin,
  bodyOf,
  DOMAIN,
  freePort,
  lastAnswer,
  listenOn,
  NODE1,
  NODE2,
  notebook,
  OUTSIDE,
  redeemed,
  satellite,
  scratch,
  siteHost,
  WEBSOCKET_ACCEPT,
  WEBSOCKET_KEY,
  wire,
} from './support.ts';

/* Fixed sites: routes in the configuration. */

const HUB = 'hub.example.test';

const visit = (port: number, host: string, path = '/', options: Ask = {}) =>
  ask(port, { from: OUTSIDE, host, path, ...options });

/** A server that says what it was asked, and takes upgrades. */
const echo = ({ url, headers }: IncomingMessage, response: ServerResponse): void => {
  response.setHeader('Set-Cookie', `a=1; Domain=${HUB}; Path=/`);
  response.end(JSON.stringify({ url, ...headers }));
};
const tunnel = (_request: IncomingMessage, socket: Socket): void => {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${WEBSOCKET_ACCEPT}\r\nhello`,
  );
  socket.on('error', () => undefined);
};

async function upstream() {
  const server = await notebook(echo);
  server.on('upgrade', tunnel);
  return server.port;
}

const upgrade = (host: string, path: string): string =>
  `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${WEBSOCKET_KEY}\r\n`;

describe('a fixed site', () => {
  test('at the root of any host name gets everything as it was asked', async () => {
    const to = `http://${NODE1}:${await upstream()}`;
    const { port } = await satellite({ routes: { [HUB]: to, [`www.${DOMAIN}`]: to } });
    for (const host of [HUB, `www.${DOMAIN}`]) {
      for (const path of [
        '/',
        '/hub/login?next=%2Fhub%2F',
        '/a%2Fb/../%2e%2e//c',
        '/getlink.cgi',
        '/healthz',
      ]) {
        const answer = await visit(port, host, path);
        expect(answer.json()).toMatchObject({ url: path, host, 'x-forwarded-for': OUTSIDE });
        // It is nobody's neighbour, and knows best what its cookies are for.
        expect(answer.headers['set-cookie']).toEqual([`a=1; Domain=${HUB}; Path=/`]);
      }
    }
    const client = await wire(port);
    await client.send(upgrade(HUB, '/user/alice/api/kernels/1/channels')).until(/101 [\s\S]*hello$/);
    // Other names are what they were.
    expect((await visit(port, 'other.example.test')).status).toBe(421);
    expect((await visit(port, siteHost(await redeemed(port, await upstream())))).status).toBe(200);
    expect((await ask(port, { path: '/healthz' })).status).toBe(200);
  });

  test('below a path keeps it or is spared it, and the longest wins', async () => {
    const to = `http://${NODE1}:${await upstream()}`;
    const { port } = await satellite({
      routes: {
        [`${DOMAIN}/jhub`]: to,
        [`${DOMAIN}/jhub/docs/`]: { to, stripPrefix: true },
        [`${HUB}/only`]: { to, stripPrefix: true },
      },
    });
    const url = async (path: string, host = DOMAIN) => (await visit(port, host, path)).json().url;
    expect(await url('/jhub/')).toBe('/jhub/');
    expect(await url('/jhub/hub/login?next=/jhub%2F..')).toBe('/jhub/hub/login?next=/jhub%2F..');
    expect(await url('/jhub//x/...;/y')).toBe('/jhub//x/...;/y');
    expect(await url('/jhub/docs/a%2Fb?x')).toBe('/a%2Fb?x');
    expect(await url('/jhub/docsy')).toBe('/jhub/docsy');
    expect(await url('/only/?x', HUB)).toBe('/?x');
    const client = await wire(port);
    await client.send(upgrade(DOMAIN, '/jhub/user/alice/api')).until(/101 [\s\S]*hello$/);

    for (const [host, path, location] of [
      [DOMAIN, '/jhub', '/jhub/'],
      [DOMAIN, '/jhub?next=/x', '/jhub/?next=/x'],
      [HUB, '/only', '/only/'],
    ] as const) {
      const answer = await visit(port, host, path);
      expect([answer.status, answer.headers.location]).toEqual([307, location]);
    }
    expect((await visit(port, DOMAIN, '/jhubby/')).body).toMatch(/^Please see documentation/);
    expect((await visit(port, DOMAIN, '/%6ahub/')).body).toMatch(/^Please see documentation/);
    for (const path of ['/', '/Only/', '/onlyx/', '//only/']) {
      expect((await visit(port, HUB, path)).status, path).toBe(404);
    }
    expect(await (await wire(port)).send(upgrade(HUB, '/')).ended()).toMatch(/^HTTP\/1\.1 404 /);
  });

  test.each(
    [
      ['/..', '/../admin', '/.', '/a/../../admin', '/%2e%2E/admin', '/.%2e', '/a/..;x=1/b', '/..%3b/'],
      ['/#/../../admin', '/?x#/..'],
      ['/..%2fadmin', '/a%2F..%2F..%2Fadmin', '/..\\admin', '/..%5cadmin', '/a%2f.'],
    ].flat(),
  )('below a path lets nobody out of it: %s', async (path) => {
    const to = `http://${NODE1}:${await upstream()}`;
    const { port } = await satellite({ routes: { [`${HUB}/jhub`]: to } });
    const client = await wire(port);
    client.send(`GET /jhub${path} HTTP/1.1\r\nHost: ${HUB}\r\n\r\n`);
    expect(await lastAnswer(client)).toMatch(/^HTTP\/1\.1 400 /);
  });

  test('may stand beside sites by path, and takes none of theirs', async () => {
    const to = `http://${NODE1}:${await upstream()}`;
    const { port } = await satellite({ siteStyle: 'path', routes: { [DOMAIN]: to, [`${DOMAIN}/jhub`]: to } });
    const { port: target } = await notebook((_request, response) => response.end('the notebook'));
    const token = await redeemed(port, target);
    expect((await visit(port, DOMAIN, `/${token}/`)).body).toBe('the notebook');
    expect((await visit(port, DOMAIN, '/no-such-name/')).status).toBe(404);
    expect((await visit(port, DOMAIN, `/${token}?x`)).headers.location).toBe(`/${token}/?x`);
    expect((await visit(port, DOMAIN, '/jhub/x')).json().url).toBe('/jhub/x');
    expect((await visit(port, DOMAIN, '/else')).json().url).toBe('/else');
  });

  test('takes bodies of any size, without a limit for one site, and holds nothing back', async () => {
    const size = 16 * 1024 * 1024;
    const { port: target } = await notebook((request, response) => {
      let got = 0;
      response.write('first;');
      request.on('data', (chunk: Buffer) => {
        got += chunk.length;
      });
      request.on('end', () => response.end(String(got)));
    });
    const { port } = await satellite({
      routes: { [HUB]: `http://${NODE1}:${target}` },
      limits: { requestsPerSite: 1 },
    });
    const headers = { 'Content-Length': String(size) };
    const [one, other] = await Promise.all(
      [1, 2].map(() => begin(port, { host: HUB, from: OUTSIDE, method: 'POST', headers })),
    );
    if (!one || !other) throw new Error('never');
    const piece = Buffer.alloc(1024 * 1024);
    for (const { sender } of [one, other]) sender.write(piece);
    // The answer begins while the body is under way, for both.
    const heads = await Promise.all([one.head, other.head]);
    for (const { sender } of [one, other]) {
      for (let sent = piece.length; sent < size; sent += piece.length) sender.write(piece);
      sender.end();
    }
    for (const head of heads) expect(String(await bodyOf(head))).toBe(`first;${size}`);
  });

  test('that does not answer is said to be so', async () => {
    const { port } = await satellite({ routes: { [HUB]: `http://${NODE1}:${await freePort()}` } });
    const page = await visit(port, HUB, '/', { headers: { Accept: 'text/html' } });
    expect([page.status, page.body.includes('This site does not answer')]).toEqual([502, true]);
    expect(page.body).not.toContain('start-jupyter');
    expect((await visit(port, HUB)).body).toMatch(/could not be reached/);
    expect(await (await wire(port)).send(upgrade(HUB, '/x')).ended()).toMatch(/^HTTP\/1\.1 502 /);
  });
});

describe('a fixed site with TLS', () => {
  test('is asked by its own name, and believed if its certificate is for that name', async () => {
    const files = await makeCertificate(await scratch(), ['DNS:localhost', `IP:${NODE1}`]);
    const names: unknown[] = [];
    const server = createSecureServer(
      { cert: await readFile(files.cert), key: await readFile(files.key) },
      echo,
    );
    server.on('upgrade', tunnel);
    server.on('secureConnection', ({ servername }) => names.push(servername));
    const target = await listenOn(server);
    // localhost is 127.0.0.1, where nobody listens on this port; NODE1 is another address of loopback.
    const local = createSecureServer(
      { cert: await readFile(files.cert), key: await readFile(files.key) },
      echo,
    );
    local.on('secureConnection', ({ servername }) => names.push(servername));
    const localPort = await listenOn(local, 0, '127.0.0.1');
    const caFile = files.cert;
    const { port } = await satellite({
      routes: {
        'address.test': { to: `https://${NODE1}:${target}`, caFile },
        'name.test': { to: `https://localhost:${localPort}`, caFile },
        'stranger.test': `https://${NODE1}:${target}`,
        'other.test': { to: `https://127.21.0.12:${target}`, caFile },
      },
    });
    expect((await visit(port, 'address.test', '/x')).json()).toMatchObject({
      url: '/x',
      host: 'address.test',
    });
    expect((await visit(port, 'name.test', '/y')).json()).toMatchObject({ url: '/y', host: 'name.test' });
    expect(names).toEqual([false, 'localhost']);
    const client = await wire(port);
    await client.send(upgrade('address.test', '/ws')).until(/101 [\s\S]*hello$/);
    expect((await visit(port, 'stranger.test')).status).toBe(502);
    expect(await (await wire(port)).send(upgrade('stranger.test', '/ws')).ended()).toMatch(
      /^HTTP\/1\.1 502 /,
    );
  });

  test('an authority that can’t be read is a mistake in the configuration', async () => {
    const routes = { [HUB]: { to: 'https://10.0.0.1', caFile: '/nowhere/ca.pem' } };
    await expect(satellite({ routes })).rejects.toThrow(ConfigError);
    await expect(satellite({ routes })).rejects.toThrow('/nowhere/ca.pem');
  });
});

test.each([
  [{ 'a.test': 'ftp://x' }, 'routes.a.test.to: "ftp://x" is not a server'],
  [{ 'a.test': 'http://x/path' }, 'without a path'],
  [{ 'a.test': 'http://user@x' }, 'is not a server'],
  [{ 'A.test': 'http://x' }, 'routes.A.test: is not a place'],
  [{ 'a.test:80': 'http://x' }, 'is not a place'],
  [{ 'a.test/../x': 'http://x' }, 'is not a place'],
  [{ 'a.test/%41': 'http://x' }, 'is not a place'],
  [{ 'a.test': { to: 'http://x', stripPrefix: true } }, 'has no path that stripPrefix could take away'],
  [{ 'a.test': { to: 'http://x', caFile: '/x' } }, 'no TLS'],
  [{ 'a.test': { to: 'http://x', stripPrefx: true } }, 'did you mean stripPrefix'],
  [{ [`manage.${DOMAIN}/x`]: 'http://x' }, "management's alone"],
  [{ [`one-two-three.${DOMAIN}`]: 'http://x' }, 'could be the address of a session'],
])('routes that can not be are refused: %j', (routes, fault) => {
  const config = { domain: DOMAIN, tls: 'off', routes };
  expect(() => parseConfig(config)).toThrow(fault);
});

test.each([
  ['127.0.0.1', '127.0.0.1'],
  ['127.0.0.1', 'localhost'],
  ['127.0.0.1', 'hub.localhost'],
  ['127.0.0.1', '0.0.0.0'],
  ['127.0.0.1', '[::ffff:127.0.0.1]'],
  ['0.0.0.0', NODE1],
])(
  'a proxy on %s refuses a route to %s that leads to itself, and lets go of its port',
  async (host, name) => {
    const port = await freePort(host);
    const start = (to: string) =>
      satellite({ listen: `${host}:${port}`, routes: { [HUB]: 'http://10.0.0.1', [`${HUB}/jhub`]: to } });
    await expect(start(`http://${name}:${port}`)).rejects.toThrow(
      new RegExp(`^routes\\.hub\\.example\\.test/jhub: http://\\S+:${port} is this proxy itself; write`),
    );
    await start(`http://${NODE2}:${(port % 1000) + 1}`);
  },
);

test('a route to another listener of the proxy leads to itself, too', async () => {
  const port = await freePort('127.0.0.1');
  const routes = { [HUB]: `http://127.0.0.1:${port}` };
  await expect(satellite({ metricsListen: `127.0.0.1:${port}`, routes })).rejects.toThrow(ConfigError);
});

test('the name on which people sign in is taken where there is one', () => {
  const config = {
    domain: DOMAIN,
    tls: { selfSigned: true },
    routes: { [`auth.${DOMAIN}`]: 'http://x' },
  };
  expect(() => parseConfig(config)).not.toThrow();
  expect(() => parseConfig({ ...config, auth: { htpasswd: '/x' } })).toThrow('where people sign in');
});

test('a path of words is refused where sites are paths', () => {
  const config = { domain: DOMAIN, tls: 'off', siteStyle: 'path' };
  const routes = { [`${DOMAIN}/one-two-three/x`]: 'http://x' };
  expect(() => parseConfig({ ...config, routes })).toThrow('could be the address of a session');
  expect(() => parseConfig({ ...config, siteStyle: 'host', routes })).not.toThrow();
});
