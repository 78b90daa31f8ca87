import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { readAnnouncement } from '../src/gate/proxy-protocol.ts';
import {
  api,
  ask,
  beginHttp2,
  bodyOf,
  cleanup,
  DOMAIN,
  engine,
  LOGIN,
  listenOn,
  notebook,
  redeemed,
  satellite,
  siteHost,
  Wire,
  wire,
} from './support.ts';

const BALANCER = '127.31.0.5';
const VISITOR = '203.0.113.7';

const line = (address: string, family = address.includes(':') ? 6 : 4): string =>
  `PROXY TCP${family} ${address} ${family === 6 ? '2001:db8::1' : '192.0.2.10'} 51234 443\r\n`;

/** A header of version 2. */
function binary(address: string | undefined, more = Buffer.alloc(0)): Buffer {
  const bytes =
    address === undefined
      ? Buffer.alloc(0)
      : Buffer.from([...address.split('.').map(Number), 192, 0, 2, 10, 0xc8, 0x22, 1, 0xbb]);
  const head = Buffer.from('\r\n\r\n\0\r\nQUIT\n\x21\x11\0\0', 'latin1');
  if (address === undefined) [head[12], head[13]] = [0x20, 0];
  head.writeUInt16BE(bytes.length + more.length, 14);
  return Buffer.concat([head, bytes, more]);
}

describe('a header of the PROXY protocol', () => {
  const seen = (text: string | Buffer) => {
    const read = readAnnouncement(Buffer.from(text as string, 'latin1'));
    return read && [read.length, read.visitor?.address, read.visitor?.port];
  };

  test.each([
    ['IPv4', line(VISITOR), VISITOR, 51234],
    ['IPv6', line('2001:db8::7'), '2001:db8::7', 51234],
    ['IPv4 in IPv6', line('::ffff:203.0.113.7', 6), undefined, undefined],
    ['unknown', 'PROXY UNKNOWN\r\n', undefined, undefined],
    ['unknown, with something', 'PROXY UNKNOWN ffff:f...f:ffff 65535 65535\r\n', undefined, undefined],
    ['binary', binary(VISITOR), VISITOR, 51234],
    ['binary, with more', binary(VISITOR, Buffer.from([4, 0, 1, 0])), VISITOR, 51234],
    ['binary, of its own', binary(undefined), undefined, undefined],
  ])('%s: is read to its last byte, and no further', (_what, text, address, port) => {
    const bytes = Buffer.from(text as string, 'latin1');
    if (_what === 'IPv4 in IPv6') {
      expect(readAnnouncement(bytes)?.visitor?.address).toBe(VISITOR);
      return;
    }
    expect(seen(Buffer.concat([bytes, Buffer.from('GET / HTTP/1.1\r\n\r\n')]))).toEqual([
      bytes.length,
      address,
      port,
    ]);
    for (let i = 0; i < bytes.length; i += 1) expect(seen(bytes.subarray(0, i))).toBeUndefined();
  });

  test.each([
    'GET / HTTP/1.1\r\n',
    '\x16\x03\x01',
    'PROXY TCP4 203.0.113.7 192.0.2.10 51234\r\n',
    'PROXY TCP4 203.0.113.7 192.0.2.10 51234 443\n',
    'PROXY TCP4 203.0.113.7 192.0.2.10 99999 443\r\n',
    'PROXY TCP4 203.0.113.0007 192.0.2.10 51234 443\r\n',
    'PROXY TCP4 2001:db8::7 192.0.2.10 51234 443\r\n',
    'PROXY TCP6 203.0.113.7 192.0.2.10 51234 443\r\n',
    'PROXY TCP4  203.0.113.7 192.0.2.10 51234 443\r\n',
    'PROXY UDP4 203.0.113.7 192.0.2.10 51234 443\r\n',
    `PROXY UNKNOWN ${'x'.repeat(200)}\r\n`,
    // A relayed connection without an address; another version; addresses that are cut short.
    '\r\n\r\n\0\r\nQUIT\n\x21\0\0\0',
    '\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0',
    '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab',
  ])('%j is none', (text) => expect(seen(text)).toBeNull());
});

describe('behind a balancer that passes connections on', () => {
  const config = { proxyProtocol: [`${BALANCER}/32`] };
  const echo = () =>
    notebook((request, response) => response.end(`${request.headers['x-forwarded-for']} is here`));

  test('clients are who the header says, over HTTP/1.1', async () => {
    const proxy = await satellite(config);
    const upstream = await echo();
    const token = await redeemed(proxy.port, upstream.port);
    const get = `GET /x HTTP/1.1\r\nHost: ${siteHost(token)}\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n`;
    // At once, and byte by byte; again on the same connection.
    const whole = (await wire(proxy.port, BALANCER)).send(line(VISITOR) + get);
    await whole.until(/203\.0\.113\.7 is here$/);
    await whole.send(get).until(/here[\s\S]*203\.0\.113\.7 is here$/);
    const pieces = await wire(proxy.port, BALANCER);
    const header = binary('198.51.100.9').toString('latin1');
    // HAProxy wants all of it at once.
    for (const piece of [...(engine === 'haproxy' ? [header] : header), ...get]) {
      pieces.send(piece);
      await new Promise(setImmediate);
    }
    await pieces.until(/198\.51\.100\.9 is here$/);
    // Whose word counts for management, too.
    const issue = `POST /api/v1/tokens HTTP/1.1\r\nHost: manage.${DOMAIN}\r\nContent-Length: 0\r\n\r\n`;
    const inside = (await wire(proxy.port, BALANCER)).send(line(LOGIN) + issue);
    await inside.until(/^HTTP\/1\.1 201 /);
    const outside = (await wire(proxy.port, BALANCER)).send(line(VISITOR) + issue);
    await outside.until(/^HTTP\/1\.1 403 /);
    // What the balancer asks for itself.
    const check = await wire(proxy.port, BALANCER);
    check.send(
      `${binary(undefined).toString('latin1')}GET /healthz HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`,
    );
    await check.until(/^HTTP\/1\.1 200 /);
  });

  test('over TLS, HTTP/2 and a WebSocket', async () => {
    const proxy = await satellite({ ...config, tls: { selfSigned: true } });
    const upstream = await listenOn(
      createServer((request, response) => response.end(`${request.headers['x-forwarded-for']} is here`)).on(
        'upgrade',
        (request, socket) =>
          socket.write(
            `HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello ${request.headers['x-forwarded-for']}`,
          ),
      ),
    );
    const secure = async (header: string, host: string, protocol: string) => {
      const raw = connect({ host: '127.0.0.1', port: proxy.port, localAddress: BALANCER });
      cleanup(() => raw.destroy());
      await once(raw, 'connect');
      await promisify(raw.write.bind(raw) as (text: string, encoding: 'latin1') => void)(header, 'latin1');
      const options = { socket: raw, servername: host, ALPNProtocols: [protocol], rejectUnauthorized: false };
      const socket = connectTls(options);
      await once(socket, 'secureConnect');
      return socket;
    };
    const over2 = async (header: string, host: string, path: string, method = 'GET', body?: string) => {
      const socket = await secure(header, host, 'h2');
      const made = connectHttp2(`https://${host}`, { createConnection: () => socket });
      cleanup(() => made.destroy());
      const { sender, head } = beginHttp2(made, { host, path, method });
      if (method !== 'GET') sender.end(body);
      return { status: (await head).status, text: (await bodyOf(await head)).toString() };
    };
    const manage = `manage.${DOMAIN}`;
    const issued = await over2(line(LOGIN), manage, '/api/v1/tokens', 'POST');
    expect(issued.status).toBe(201);
    const { token } = JSON.parse(issued.text) as { token: string };
    const port = JSON.stringify({ port: upstream });
    const redeem = await over2(line('127.21.0.11'), manage, `/api/v1/tokens/${token}/redeem`, 'POST', port);
    expect(redeem.status, redeem.text).toBe(200);
    const host = siteHost(token);
    expect(await over2(line('2001:db8::7'), host, '/')).toEqual({ status: 200, text: '2001:db8::7 is here' });
    const page = new Wire(await secure(line(VISITOR), host, 'http/1.1'));
    await page.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`).until(/203\.0\.113\.7 is here$/);
    const upgrade =
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
    const socket = new Wire(await secure(binary('198.51.100.9').toString('latin1'), host, 'http/1.1'));
    await socket.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n${upgrade}\r\n`).until(/hello 198\.51\.100\.9$/);
  });

  test('it says whose a connection is, and nobody else does', async () => {
    const proxy = await satellite(config);
    const get = `GET /healthz HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`;
    expect(await (await wire(proxy.port, BALANCER)).send(get).ended()).toBe('');
    // To everybody else it is no HTTP.
    const stranger = (await wire(proxy.port)).send(line(LOGIN) + get);
    expect(await stranger.ended()).not.toContain(' 200 ');
    expect((await api(proxy.port, 'POST', '/tokens')).status).toBe(201);
  });

  test('each visitor has limits of his own', async () => {
    const proxy = await satellite({ ...config, limits: { connectionsPerClient: 2 } });
    const get = `GET /healthz HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`;
    const open = async (address: string) => (await wire(proxy.port, BALANCER)).send(line(address) + get);
    for (const address of [VISITOR, VISITOR, '198.51.100.9', '198.51.100.9'])
      await (await open(address)).until(/^HTTP\/1\.1 200 /);
    expect(await (await open(VISITOR)).ended()).toBe('');
  });

  test('a header that does not come is not waited for', async () => {
    const proxy = await satellite({ ...config, limits: { headerTime: '1s' } });
    expect(await (await wire(proxy.port, BALANCER)).send('PROXY TC').ended()).toBe('');
    // Nor by a stop.
    const other = await satellite(config);
    const silent = await wire(other.port, BALANCER);
    await ask(other.port, { path: '/livez' });
    await other.close();
    await silent.ended();
  });
});
