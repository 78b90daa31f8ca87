import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { RateLimit } from '../src/gate/limits.ts';
import {
  api,
  ask,
  cleanup,
  DOMAIN,
  issue,
  LOGIN,
  NODE1,
  NODE2,
  notebook,
  OUTSIDE,
  redeemed,
  satellite,
  siteHost,
  visit,
  Wire,
  wire,
} from './support.ts';

/** Nobody's WebSocket comes without one (RFC 6455 section 4.1), and HAProxy looks. */
const KEY = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
const UNKNOWN = 'no-such-name';
const NEIGHBOUR = '127.0.0.2';

describe('a rate', () => {
  test('is used up, and comes back with time', () => {
    let now = 0;
    const rate = new RateLimit(60, () => now);
    for (let i = 0; i < 60; i += 1) expect(rate.take('192.0.2.1')).toBe(true);
    expect([rate.take('192.0.2.1'), rate.isSpent('192.0.2.1')]).toEqual([false, true]);
    expect([rate.take('192.0.2.2'), rate.isSpent('192.0.2.3')]).toEqual([true, false]);
    now += 2000;
    expect([rate.take('192.0.2.1'), rate.take('192.0.2.1'), rate.take('192.0.2.1')]).toEqual([
      true,
      true,
      false,
    ]);
    now += 3_600_000;
    for (let i = 0; i < 60; i += 1) expect(rate.take('192.0.2.1')).toBe(true);
    expect(rate.take('192.0.2.1')).toBe(false);
  });

  test('is one for all the addresses that an IPv6 subscriber has', () => {
    const rate = new RateLimit(1, () => 0);
    expect(rate.take('2001:db8:0:7::1')).toBe(true);
    expect([rate.take('2001:db8:0:7:ffff::2'), rate.take('2001:db8:0:8::1')]).toEqual([false, true]);
  });
});

describe('guessing names', () => {
  test('ends soon, and then a right guess looks like a wrong one', async () => {
    const { port } = await satellite({ limits: { unknownNamesPerMinute: 3 } });
    const upstream = await notebook((_request, response) => response.end('the notebook'));
    const token = await redeemed(port, upstream.port);
    for (let i = 0; i < 3; i += 1) expect((await visit(port, UNKNOWN)).body).toMatch(/Please see/);
    const [right, wrong] = [await visit(port, token), await visit(port, UNKNOWN)];
    expect([right.status, right.headers['retry-after'], right.body]).toEqual([
      429,
      '60',
      expect.stringMatching(/Too many/),
    ]);
    const comparable = ({ status, body, rawHeaders }: typeof right) => [
      status,
      body,
      rawHeaders.filter((_field, i) => !/^date$/i.test(rawHeaders[i - (i % 2)] ?? '')),
    ];
    expect(comparable(right)).toEqual(comparable(wrong));
    const tunnel = await wire(port);
    tunnel.send(
      `GET / HTTP/1.1\r\nHost: ${siteHost(token)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${KEY}\r\n`,
    );
    expect(await tunnel.ended()).toMatch(/^HTTP\/1\.1 429 /);
    // Others are not held responsible.
    expect((await visit(port, token, { from: NEIGHBOUR })).body).toBe('the notebook');
  });

  test('is no reason to lock out those who were there before, a class behind one address for one', async () => {
    const { port } = await satellite({ limits: { unknownNamesPerMinute: 3 } });
    const upstream = await notebook((_request, response) => response.end('the notebook'));
    const tokens = [await redeemed(port, upstream.port), await issue(port)];
    for (const token of tokens) expect((await visit(port, token)).status).toBe(200);
    for (let i = 0; i < 10; i += 1) await visit(port, UNKNOWN);
    expect((await visit(port, UNKNOWN)).status).toBe(429);
    for (const token of tokens) expect((await visit(port, token)).status).toBe(200);
  });

  test.each([
    ['the job state', (token: string) => `/tokenjobstate.cgi?token=${token}`, OUTSIDE],
    ['the API', (token: string) => `/api/v1/tokens/${token}`, OUTSIDE],
    ['redeeming', (token: string) => `/redeemtoken.cgi?token=${token}&port=9000`, NODE1],
    ['linking', (token: string) => `/linktoken.cgi?token=${token}&jobid=1`, LOGIN],
    ['destroying', (token: string) => `/destroytoken.cgi?token=${token}`, NODE1],
  ])('is the same by way of %s', async (_what, path, from) => {
    const { port } = await satellite({ limits: { unknownNamesPerMinute: 3 } });
    const token = await issue(port);
    for (let i = 0; i < 3; i += 1)
      expect((await ask(port, { path: path(UNKNOWN), from })).status).not.toBe(429);
    for (const name of [UNKNOWN, token]) {
      const answer = await ask(port, { path: path(name), from });
      expect([answer.status, answer.headers['retry-after']]).toEqual([429, '60']);
    }
    expect((await api(port, 'GET', `/tokens/${token}`, undefined, NODE2)).json().state).toBe('pending');
  });

  test('sixty pupils behind one address notice nothing', async () => {
    const { port } = await satellite();
    const upstream = await notebook((_request, response) => response.end('the notebook'));
    await Promise.all(
      Array.from({ length: 60 }, async () => {
        const token = await redeemed(port, upstream.port);
        // One mistyped address each, and a page with its parts on connections of their own.
        await visit(port, UNKNOWN);
        const answers = await Promise.all(Array.from({ length: 15 }, () => visit(port, token)));
        for (const { status } of answers) expect(status).toBe(200);
      }),
    );
  });
});

describe('tokens', () => {
  test('are issued to one address at a rate', async () => {
    const { port } = await satellite({ limits: { tokensPerMinute: 2 } });
    for (let i = 0; i < 2; i += 1) expect((await api(port, 'POST', '/tokens')).status).toBe(201);
    const refused = await api(port, 'POST', '/tokens');
    expect([refused.status, refused.headers['retry-after'], refused.json().error]).toEqual([
      429,
      '60',
      expect.objectContaining({ code: 'too-many-requests' }),
    ]);
    const plain = await ask(port, { path: '/getlink.cgi' });
    expect([plain.status, plain.body]).toEqual([429, expect.stringMatching(/^Oops! /)]);
    expect((await api(port, 'POST', '/tokens', undefined, NODE1)).status).toBe(201);
  });
});

describe('connections', () => {
  const open = async (port: number, from = OUTSIDE): Promise<Wire> => {
    const socket = connect({ host: '127.0.0.1', port, localAddress: from });
    cleanup(() => socket.destroy());
    const one = new Wire(socket);
    // Who is turned away at once may hear of that first.
    await once(socket, 'connect').catch(() => undefined);
    return one;
  };
  const get = `GET /healthz HTTP/1.1\r\nHost: manage.sites.test\r\n\r\n`;

  test('that come all at once are all served', async () => {
    const { port } = await satellite();
    const answers = await Promise.all(
      Array.from({ length: 1500 }, async () => {
        const one = await open(port);
        return one.send(get).until(/\n\n?$/);
      }),
    );
    expect(answers.filter((answer) => answer.startsWith('HTTP/1.1 200 '))).toHaveLength(1500);
  });

  test('of one address have a limit, and count no more once they are closed', async () => {
    const { port } = await satellite({ limits: { connectionsPerClient: 3 } });
    const wires = [];
    for (let i = 0; i < 3; i += 1) {
      const one = await open(port);
      await one.send(get).until(/ok\n$/);
      wires.push(one);
    }
    expect(await (await open(port)).send(get).ended()).toBe('');
    await (await open(port, NEIGHBOUR)).send(get).until(/ok\n$/);
    wires[0]?.socket.destroy();
    // The proxy hears of it a little later than we do.
    let answer = '';
    while (answer === '') {
      const one = await open(port);
      answer = await Promise.race([one.send(get).until(/ok\n$/), one.ended()]).catch(() => '');
    }
    expect(answer).toMatch(/200 OK/);
  });

  test('that are WebSockets do not count, however many there are behind one address', async () => {
    const { port } = await satellite({ limits: { connectionsPerClient: 3 } });
    const upstream = await notebook((_request, response) => response.writeHead(403).end());
    upstream.on('upgrade', (_request, socket) => {
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
      );
      socket.pipe(socket);
    });
    const token = await redeemed(port, upstream.port);
    const host = `Host: ${siteHost(token)}\r\n`;
    const tunnels: Wire[] = [];
    for (let i = 0; i < 10; i += 1) {
      const one = await open(port);
      await one
        .send(`GET / HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: websocket\r\n${KEY}\r\n`)
        .until(/ 101 /);
      tunnels.push(one);
    }
    const others = [];
    for (let i = 0; i < 3; i += 1) {
      const one = await open(port);
      await one.send(get).until(/ok\n$/);
      others.push(one);
    }
    expect(await (await open(port)).send(get).ended()).toBe('');
    // Their ends make no room for others, and take none.
    for (const one of tunnels.splice(0, 5))
      await one
        .send('bye')
        .until(/bye$/)
        .then(() => one.socket.end());
    for (const one of tunnels) await one.send('still here').until(/still here$/);
    expect(await (await open(port)).send(get).ended()).toBe('');
    for (const one of others) await one.send(get).until(/ok\n[\s\S]*ok\n$/);
  });

  test('of a trusted proxy have none', async () => {
    const { port } = await satellite({
      limits: { connectionsPerClient: 1 },
      trustedProxies: [`${OUTSIDE}/32`],
    });
    for (let i = 0; i < 3; i += 1) await (await open(port)).send(get).until(/ok\n$/);
  });

  test('close when a header doesn’t arrive, or is too long, or nothing more comes', async () => {
    // Each limit by itself: what is sent at once may arrive late on a busy machine.
    const hasty = await satellite({ limits: { headerTime: '1s' } });
    expect(await (await open(hasty.port)).send('GET / HTTP/1.1\r\nHost: ').ended()).toMatch(
      /^HTTP\/1\.1 408 /,
    );
    const { port } = await satellite({ limits: { headerSize: 8192, idleTime: '1s' } });
    const long = `GET / HTTP/1.1\r\nHost: manage.sites.test\r\nX: ${'x'.repeat(9000)}\r\n\r\n`;
    expect(await (await open(port)).send(long).ended()).toMatch(/^HTTP\/1\.1 431 /);
    expect(await (await open(port)).send(get).ended()).toMatch(/^HTTP\/1\.1 200 [\s\S]*ok\n$/);
  });
});

describe('one site', () => {
  test('has a number of WebSockets and requests at a time', async () => {
    const { port } = await satellite({ limits: { webSocketsPerSite: 2, requestsPerSite: 2 } });
    const upstream = await notebook((_request, response) => void response.write('begun'));
    upstream.on('upgrade', (_request, socket) => {
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
      );
      socket.pipe(socket);
    });
    const [token, other] = [await redeemed(port, upstream.port), await redeemed(port, upstream.port)];
    const tunnel = async (name: string) =>
      (await wire(port)).send(
        `GET / HTTP/1.1\r\nHost: ${siteHost(name)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${KEY}\r\n`,
      );
    const request = async (name: string) =>
      (await wire(port)).send(`GET / HTTP/1.1\r\nHost: ${siteHost(name)}\r\n\r\n`);
    for (let i = 0; i < 2; i += 1) {
      await (await tunnel(token)).until(/ 101 /);
      await (await request(token)).until(/begun/);
    }
    expect(await (await tunnel(token)).ended()).toMatch(/^HTTP\/1\.1 503 /);
    await (await request(token)).until(/^HTTP\/1\.1 503 /);
    await (await tunnel(other)).until(/ 101 /);
    await (await request(other)).until(/begun/);
  });
});

describe('a body that management does not want', () => {
  /** All that is answered to who reads only once everything has been written. */
  async function answerToWriter(port: number, head: string, bytes: number): Promise<string> {
    const socket = connect({ port, host: '127.0.0.1', localAddress: LOGIN });
    cleanup(() => void socket.destroy());
    socket.pause();
    const failed = once(socket, 'error').then(([error]) => String(error));
    const written = new Promise((resolve) =>
      socket.write(`${head}Content-Length: ${bytes}\r\n\r\n${'x'.repeat(bytes)}`, resolve),
    );
    const read = async (): Promise<string> => {
      await written;
      let text = '';
      socket.setEncoding('latin1').on('data', (data: string) => {
        text += data;
      });
      socket.resume();
      await once(socket, 'end');
      return text;
    };
    return await Promise.race([read(), failed]);
  }

  test.each([
    ['POST /api/v1/tokens', /^HTTP\/1\.1 413 [\s\S]*larger than 65536 bytes/],
    ['POST /api/v1/nothing', /^HTTP\/1\.1 404 [\s\S]*no such operation/],
    ['POST /linktoken.cgi?token=x', /^HTTP\/1\.1 200 [\s\S]*Oops!/],
  ])('%s: who writes all of it before he reads has the answer', async (what, answer) => {
    const { port } = await satellite({ limits: { unknownNamesPerMinute: 1000 } });
    const head = `${what} HTTP/1.1\r\nHost: manage.${DOMAIN}\r\nContent-Type: application/json\r\nConnection: close\r\n`;
    for (let i = 0; i < 20; i += 1) expect(await answerToWriter(port, head, 8_000_000)).toMatch(answer);
  });
});
