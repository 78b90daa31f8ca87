import { createServer, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { decideHost, hostName } from '../src/gate/host.ts';
import { Networks, normalizeAddress } from '../src/gate/networks.ts';
import { api, DOMAIN, listenOn, NODE1, redeemed, satellite, siteHost, wire } from './support.ts';

describe('networks', () => {
  test('an address has one spelling', () => {
    expect(normalizeAddress('::ffff:10.21.0.1')).toBe('10.21.0.1');
    expect(normalizeAddress('::ffff:a15:1')).toBe('10.21.0.1');
    expect(normalizeAddress('fe80::1%eth0')).toBe('fe80::1');
    expect(normalizeAddress('2001:DB8:0:0:0:0:0:1')).toBe('2001:db8::1');
    for (const odd of [
      '',
      'localhost',
      '10.1',
      '0x0a.1.1.1',
      '010.1.1.1',
      '10.0.0.256',
      '1.2.3.4:80',
      ' 1.2.3.4',
    ]) {
      expect(normalizeAddress(odd), odd).toBeUndefined();
    }
  });

  test('contain what they say, and nothing if empty', () => {
    const networks = new Networks(['10.21.0.0/16', '192.0.2.7', '2001:db8::/32']);
    for (const inside of ['10.21.255.255', '::ffff:10.21.0.1', '192.0.2.7', '2001:db8::1']) {
      expect(networks.contains(inside), inside).toBe(true);
    }
    for (const outside of ['10.22.0.0', '192.0.2.8', '2001:db9::1', '::1', '::10.21.0.1', 'nonsense', '']) {
      expect(networks.contains(outside), outside).toBe(false);
    }
    expect(new Networks([]).contains('127.0.0.1')).toBe(false);
    expect(String(networks)).toBe('10.21.0.0/16 192.0.2.7 2001:db8::/32');
  });

  test.each(['10.0.0.0/33', '10.0.0.0/', '10.0/8', 'example.com', '::/129', '10.0.0.0/8/8', ''])(
    '"%s" is refused',
    (cidr) => {
      expect(() => new Networks([cidr])).toThrow(/is not a network/);
    },
  );
});

describe('hosts', () => {
  test.each([
    ['manage.sites.test', { kind: 'manage' }],
    ['MANAGE.sites.TEST.:443', { kind: 'manage' }],
    ['sites.test', { kind: 'apex' }],
    ['a-b-c.sites.test:8443', { kind: 'site', label: 'a-b-c' }],
    ['manage.evil.test', { kind: 'foreign' }],
    ['xsites.test', { kind: 'foreign' }],
    ['a.b.sites.test', { kind: 'foreign' }],
    ['manage.sites.test.evil.test', { kind: 'foreign' }],
    ['.sites.test', { kind: 'invalid' }],
    ['manage.sites.test..', { kind: 'invalid' }],
    ['user@manage.sites.test', { kind: 'invalid' }],
    ['manage.sites.test:x', { kind: 'invalid' }],
    ['manage.sites.test/', { kind: 'invalid' }],
    ['[::1]', { kind: 'invalid' }],
    ['', { kind: 'invalid' }],
    ['mänage.sites.test', { kind: 'invalid' }],
  ])('%s', (header, decision) => {
    expect(decideHost(hostName(header), DOMAIN)).toEqual(decision);
  });
});

describe('requests that could be read in two ways', () => {
  /** A live site on a notebook that keeps every byte it is sent, and would answer anything. */
  async function trap() {
    let seen = '';
    const target = await listenOn(
      createServer((socket: Socket) => {
        socket.on('error', () => undefined);
        socket.on('data', (data) => {
          seen += data.toString('latin1');
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        });
      }),
    );
    const { port } = await satellite();
    const token = await redeemed(port, target);
    return { port, host: siteHost(token), seen: () => seen };
  }

  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n';

  test.each<[string, string, RegExp]>([
    [
      'both lengths',
      `POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'two lengths',
      `POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'a list of lengths',
      `POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0, 0\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'a signed length',
      `POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: +5\r\n\r\nhello${smuggled}`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'a coding under chunked',
      `POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 501 /,
    ],
    [
      'a coding after chunked',
      `POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'chunked twice',
      `POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 [45]0/,
    ],
    [
      'a misspelt coding',
      `POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 [45]0/,
    ],
    [
      'a space before the colon',
      `POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 400 /,
    ],
    ['a bare line feed', `GET / HTTP/1.1\nHost: HOST\n\n${smuggled}`, /^HTTP\/1\.1 400 /],
    [
      'a bare line feed in a field',
      `GET / HTTP/1.1\r\nHost: HOST\r\nX: a\nY: b\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'a bare carriage return',
      `GET / HTTP/1.1\r\nHost: HOST\r\nX: a\rY: b\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 400 /,
    ],
    ['a folded field', `GET / HTTP/1.1\r\nHost: HOST\r\nX: a\r\n b\r\n\r\n${smuggled}`, /^HTTP\/1\.1 400 /],
    ['a zero byte', `GET / HTTP/1.1\r\nHost: HOST\r\nX: a\0b\r\n\r\n${smuggled}`, /^HTTP\/1\.1 400 /],
    ['absolute-form', `GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n${smuggled}`, /^HTTP\/1\.1 400 /],
    [
      'absolute-form elsewhere',
      `GET http://manage.${DOMAIN}/getlink.cgi HTTP/1.1\r\nHost: HOST\r\n\r\n`,
      /^HTTP\/1\.1 400 /,
    ],
    ['asterisk-form', `OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n${smuggled}`, /^HTTP\/1\.1 400 /],
    ['CONNECT', 'CONNECT HOST:443 HTTP/1.1\r\nHost: HOST\r\n\r\n', /^(HTTP\/1\.1 4\d\d .*)?/],
    ['no Host', `GET / HTTP/1.1\r\n\r\n${smuggled}`, /^HTTP\/1\.1 400 /],
    ['HTTP/1.0 without Host', `GET / HTTP/1.0\r\n\r\n${smuggled}`, /^HTTP\/1\.1 400 /],
    [
      'two Hosts',
      `GET / HTTP/1.1\r\nHost: HOST\r\nHost: manage.${DOMAIN}\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 400 /,
    ],
    ['an odd Host', `GET / HTTP/1.1\r\nHost: HOST, evil.test\r\n\r\n${smuggled}`, /^HTTP\/1\.1 400 /],
    ["somebody else's Host", `GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n${smuggled}`, /^HTTP\/1\.1 421 /],
    [
      'HTTP/1.0 in chunks',
      `POST / HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'a WebSocket with a body',
      `GET / HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 44\r\n\r\n${smuggled}`,
      /^HTTP\/1\.1 400 /,
    ],
    [
      'fields without end',
      `GET / HTTP/1.1\r\nHost: HOST\r\nX: ${'x'.repeat(70_000)}\r\n\r\n`,
      /^HTTP\/1\.1 431 /,
    ],
  ])('%s: refused, and the connection closed', async (_name, request, expected) => {
    const { port, host, seen } = await trap();
    const client = await wire(port);
    client.send(request.replaceAll('HOST', host));
    const text = await client.ended();
    expect(text).toMatch(expected);
    expect(text.match(/HTTP\/1\.1 /g)?.length ?? 0).toBeLessThanOrEqual(1);
    expect(seen()).toBe('');
  });

  test("a chunk whose size is odd breaks the connection, and what follows is nobody's request", async () => {
    for (const size of ['5;x=\n', '0x5', '5 ', '-5', '+5', '5\r', 'ffffffffffffffff1']) {
      const { port, host, seen } = await trap();
      const client = await wire(port);
      client.send(
        `POST / HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\n\r\n${size}\r\nhello\r\n0\r\n\r\n${smuggled.replaceAll('HOST', host)}`,
      );
      await client.ended();
      expect(seen(), size).not.toContain('GET /smuggled');
    }
  });

  test('two honest requests on one connection are two requests', async () => {
    const { port, host, seen } = await trap();
    const client = await wire(port);
    client.send(
      `POST /one HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /two HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    );
    await client.until(/ok[\s\S]*ok/);
    expect(seen()).toMatch(/^POST \/one [\s\S]*\r\nhello\r\n[\s\S]*GET \/two /);
  });
});

describe('targets', () => {
  test('the proxy itself is none, and neither is a port below 1024', async () => {
    const { port } = await satellite({ listen: '0.0.0.0:0' });
    const { token } = (await api(port, 'POST', '/tokens')).json<{ token: string }>();
    const own = await api(port, 'POST', `/tokens/${token}/redeem`, { port }, NODE1);
    expect([own.status, own.json().error]).toEqual([400, expect.objectContaining({ code: 'own-address' })]);
    for (const bad of [80, 1023, 65536, 8888.5, '8888', null]) {
      expect(
        (await api(port, 'POST', `/tokens/${token}/redeem`, { port: bad }, NODE1)).status,
        String(bad),
      ).toBe(400);
    }
    expect((await api(port, 'GET', `/tokens/${token}`)).json().state).toBe('pending');
  });
});
