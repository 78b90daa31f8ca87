import { once } from 'node:events';
import { IncomingMessage } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { queryObjects } from 'node:v8';
import { describe, expect, test } from 'vitest';
import {
  api,
  cleanup,
  engine,
  freePort,
  inCapitals,
  issue,
  listenOn,
  NODE1,
  redeemed,
  satellite,
  satelliteOver,
  secureWire,
  shareHaproxy,
  siteHost,
  type Wire,
  Wire as WireOf,
  wire,
} from './support.ts';

shareHaproxy();

/** A live site on a notebook that hands every connection which says something to the test. */
async function live({ tls = false, limits = {} } = {}) {
  const arrivals: ((wire: Wire) => void)[] = [];
  const waiting: Wire[] = [];
  const target = await listenOn(
    createServer({ allowHalfOpen: true }, (socket: Socket) => {
      const upstream = new WireOf(socket);
      cleanup(() => socket.destroy());
      // The proxy's own probe connects too, and says nothing.
      upstream.until(/\r\n\r\n/).then(
        () => {
          const arrival = arrivals.shift();
          if (arrival) arrival(upstream);
          else waiting.push(upstream);
        },
        () => undefined,
      );
    }),
  );
  const { port } = await satelliteOver(tls ? 'HTTP/2' : 'HTTP/1.1', { limits });
  const token = await redeemed(port, target);
  const visit = async (): Promise<Wire> =>
    tls ? new WireOf(await secureWire(port, siteHost(token), { protocols: ['http/1.1'] })) : wire(port);
  const next = (): Promise<Wire> =>
    new Promise((resolve) => {
      const upstream = waiting.shift();
      if (upstream) resolve(upstream);
      else arrivals.push(resolve);
    });
  return { port, token, visit, next };
}

const upgrade = (token: string, path = '/api/kernels/1/channels'): string =>
  [
    `GET ${path} HTTP/1.1`,
    `Host: ${siteHost(token)}`,
    'Connection: keep-alive, Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org',
    'X-Forwarded-For: 6.6.6.6',
    '',
    '',
  ].join('\r\n');

const SWITCHING =
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n';

async function spliced(site: Awaited<ReturnType<typeof live>>) {
  const client = await site.visit();
  client.send(upgrade(site.token));
  const upstream = await site.next();
  upstream.send(SWITCHING);
  await client.until(/101 Switching Protocols[\s\S]*\r\n\r\n/);
  return { client, upstream };
}

/** Sends for as long as the other side takes it, and says how many bytes that were. */
async function fill({ socket }: Wire): Promise<number> {
  const piece = 'x'.repeat(1024 * 1024);
  let sent = 0;
  let moving = true;
  while (moving) {
    sent += 1;
    expect(sent).toBeLessThan(200);
    if (socket.write(piece, 'latin1')) continue;
    moving = await Promise.race([
      once(socket, 'drain').then(() => true),
      new Promise<boolean>((resolve) => setTimeout(resolve, 500, false)),
    ]);
  }
  return sent * piece.length;
}

describe('a WebSocket', () => {
  test('is asked for as the visitor asked, on any path', async () => {
    const site = await live();
    const client = await wire(site.port);
    client.send(upgrade(site.token, '/terminals/websocket/1%2F2?x=%20'));
    const { text } = await site.next();
    expect(text).toMatch(/^GET \/terminals\/websocket\/1%2F2\?x=%20 HTTP\/1\.1\r\n/);
    // HAProxy writes names of fields in small letters.
    const lower = text.toLowerCase();
    expect(lower).toContain(`host: ${siteHost(site.token)}\r\n`);
    expect(lower).toContain('sec-websocket-protocol: v1.kernel.websocket.jupyter.org\r\n');
    expect(text).toMatch(/\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n/);
    expect(text).not.toContain('6.6.6.6');
    expect(text.match(/\r\n(host|connection|upgrade):/gi)).toHaveLength(3);
  });

  test('passes bytes both ways untouched, from the very first', async () => {
    const site = await live();
    const client = await wire(site.port);
    // Bytes right behind the request and right behind the 101 belong to the tunnel.
    client.send(`${upgrade(site.token)}\x81\x80early`);
    const upstream = await site.next();
    upstream.send(`${SWITCHING}\x82\x00\xff\r\nfirst`);
    expect(await client.until(/first/)).toMatch(/\r\n\r\n\x82\x00\xff\r\nfirst$/);
    await upstream.until(/\x81\x80early$/);
    const all = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join('');
    client.send(`${all}GET / HTTP/1.1\r\n\r\n`);
    await upstream.until(/\xffGET \/ HTTP\/1\.1\r\n\r\n$/);
    upstream.send(all);
    expect((await client.until(/first[\s\S]*\xff$/)).slice(-256)).toBe(all);
  });

  test('ends one direction at a time', async () => {
    const { client, upstream } = await spliced(await live());
    client.socket.end('goodbye', 'latin1');
    expect(await upstream.ended()).toMatch(/goodbye$/);
    upstream.send('still talking');
    await client.until(/still talking/);
    upstream.socket.end();
    await client.ended();
  });

  test.each(['client', 'upstream'] as const)(
    'is not kept for long where only the %s ends it',
    async (side) => {
      const site = await live({ limits: { stallTime: '1s', webSocketsPerSite: 1 } });
      const ends = await spliced(site);
      ends[side].socket.end();
      // There is room for another one.
      let isAsked = false;
      const asked = site.next().then(() => {
        isAsked = true;
      });
      await expect
        .poll(async () => {
          const next = await site.visit();
          next.send(upgrade(site.token));
          await Promise.race([next.until(/ 503 /), asked]);
          return isAsked;
        })
        .toBe(true);
    },
  );

  test.each(['client', 'upstream'] as const)('an abort of the %s reaches the other side', async (side) => {
    const both = await spliced(await live());
    both[side].socket.resetAndDestroy();
    await both[side === 'client' ? 'upstream' : 'client'].ended();
  });

  test('is held back by a side that does not read', async () => {
    const { client, upstream } = await spliced(await live());
    client.socket.pause();
    const sent = await fill(upstream);
    upstream.socket.end();
    client.socket.resume();
    const text = await client.ended();
    expect(text.length - text.indexOf('\r\n\r\n') - 4).toBe(sent);
  });

  test.each([false, true])('holds a visitor back whose notebook does not read (TLS: %s)', async (tls) => {
    const { client, upstream } = await spliced(await live({ tls }));
    upstream.socket.pause();
    const sent = await fill(client);
    client.socket.end();
    upstream.socket.resume();
    const text = await upstream.ended();
    expect(text.length - text.indexOf('\r\n\r\n') - 4).toBe(sent);
  });

  test('keeps the order of what is sent before the notebook has answered', async () => {
    const site = await live();
    const client = await wire(site.port);
    client.send(`${upgrade(site.token)}0`);
    const upstream = await site.next();
    for (let i = 1; i < 10; i += 1) {
      client.send(String(i));
      await new Promise(setImmediate);
    }
    upstream.send(`${SWITCHING}welcome`);
    await client.until(/welcome$/);
    client.socket.end('then this', 'latin1');
    expect(await upstream.ended()).toMatch(/\r\n\r\n0123456789then this$/);
    upstream.socket.end(' and goodbye', 'latin1');
    expect(await client.ended()).toMatch(/\r\n\r\nwelcome and goodbye$/);
  });

  test('has nothing of another’s while it waits', async () => {
    const site = await live();
    const [waiting, moving] = [await spliced(site), await spliced(site)];
    waiting.client.socket.pause();
    const size = 8 * 1024 * 1024;
    // More than the connections hold, so that some of it stays in the proxy while the other's passes.
    waiting.upstream.socket.end('w'.repeat(size), 'latin1');
    moving.upstream.socket.end('m'.repeat(size), 'latin1');
    const arrived = async ({ client }: typeof moving) => (await client.ended()).split('\r\n\r\n')[1] ?? '';
    expect((await arrived(moving)).replace(/^m+$/, '').length).toBe(0);
    waiting.client.socket.resume();
    const late = await arrived(waiting);
    expect(late.length).toBe(size);
    expect(late.replaceAll('w', '').slice(0, 100)).toBe('');
  });

  test('keeps nothing of its request while it is open', async () => {
    const site = await live();
    const requests = () => queryObjects(IncomingMessage, { format: 'count' });
    await spliced(site);
    const before = requests();
    for (let i = 0; i < 10; i += 1) await spliced(site);
    expect(requests() - before).toBeLessThan(10);
  });

  test('ends at once when its token is destroyed', async () => {
    const site = await live();
    const { client, upstream } = await spliced(site);
    await api(site.port, 'DELETE', `/tokens/${site.token}`, undefined, NODE1);
    await Promise.all([client.ended(), upstream.ended()]);
  });

  test('more than 150 at a time are no trouble', async () => {
    const site = await live();
    const open = await Promise.all(Array.from({ length: 200 }, () => spliced(site)));
    for (const [i, { client }] of open.entries()) client.send(`number ${i};`);
    const heard = await Promise.all(open.map(({ upstream }) => upstream.until(/number \d+;$/)));
    expect(heard).toHaveLength(200);
  });
});

describe('an upgrade that comes to nothing', () => {
  test('any other answer is relayed, and nothing that follows reaches the notebook', async () => {
    const site = await live();
    const client = await wire(site.port);
    client.send(upgrade(site.token));
    const upstream = await site.next();
    upstream.send(
      'HTTP/1.1 403 Forbidden\r\nX-Why: origin\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\n',
    );
    client.send('GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n');
    upstream.send('denied');
    const answer = await client.ended();
    expect(engine === 'node' ? answer : inCapitals(answer)).toBe(
      'HTTP/1.1 403 Forbidden\r\nX-Why: origin\r\nContent-Length: 6\r\nConnection: close\r\n\r\ndenied',
    );
    expect(await upstream.ended()).not.toContain('smuggled');
  });

  test('where nobody listens: 502', async () => {
    const { port } = await satellite();
    const token = await redeemed(port, await freePort());
    const client = await wire(port);
    client.send(upgrade(token));
    expect(await client.ended()).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n[\s\S]*Connection: close\r\n/i);
  });

  test('on a site that is not live: 503, 404, 410', async () => {
    const { port } = await satellite();
    const status = async (token: string) => {
      const client = await wire(port);
      client.send(upgrade(token));
      return Number((await client.ended()).slice(9, 12));
    };
    const token = await issue(port);
    expect(await status(token)).toBe(503);
    expect(await status('no-such-name')).toBe(404);
    await api(port, 'DELETE', `/tokens/${token}`);
    expect(await status(token)).toBe(410);
  });

  test('an upgrade to something else is an ordinary request', async () => {
    const site = await live();
    const client = await wire(site.port);
    client.send(
      `GET / HTTP/1.1\r\nHost: ${siteHost(site.token)}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n`,
    );
    const upstream = await site.next();
    expect(upstream.text.replaceAll(site.token, '')).not.toMatch(/upgrade|http2-settings/i);
    upstream.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    expect(await client.until(/ok$/)).toMatch(/^HTTP\/1\.1 200 OK/);
  });
});
