import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { SatelliteConfigInput } from '../src/config.ts';
import {
  ask,
  cleanup,
  DOMAIN,
  engine,
  issue,
  listenOn,
  notebook,
  redeemed,
  satellite,
  siteHost,
  visit,
  Wire,
  wire,
} from './support.ts';

const start = (config: Partial<SatelliteConfigInput> = {}) =>
  satellite({ stopGrace: '1h', metricsListen: '127.0.0.1:0', ...config });

const get = (host: string, path = '/') => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

/** A notebook that answers each request when it is told to. */
async function slowNotebook() {
  const answers: (() => void)[] = [];
  const server = await notebook((_request, response) => {
    response.write('begun ');
    answers.push(() => response.end('and ended'));
  });
  const finish = (): void => {
    for (const answer of answers.splice(0)) answer();
  };
  return Object.assign(server, { finish });
}

/** A site whose notebook takes every upgrade; what the notebook's side of the newest tunnel is. */
async function tunnel(port: number): Promise<{ client: Wire; server: () => Wire }> {
  let newest: Wire | undefined;
  const target = await listenOn(
    createServer((socket: Socket) => {
      cleanup(() => socket.destroy());
      socket.once('data', () => {
        newest = new Wire(socket);
        socket.write(
          'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
        );
      });
    }),
  );
  const token = await redeemed(port, target);
  const client = await wire(port);
  client.send(
    `GET /ws HTTP/1.1\r\nHost: ${siteHost(token)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  );
  await client.until(/^HTTP\/1\.1 101 [\s\S]*\r\n\r\n/);
  return { client, server: () => newest as Wire };
}

/** Nobody new gets in: from now on, or as soon as HAProxy has heard of the stop. */
async function refused(port: number): Promise<void> {
  for (;;) {
    const late = connect(port, '127.0.0.1');
    const error = await Promise.race([once(late, 'error'), once(late, 'connect')]).then(
      ([error]) => error,
      (error) => error,
    );
    late.destroy();
    if (error?.code === 'ECONNREFUSED') return;
    if (engine === 'node') throw error ?? new Error('somebody got in');
  }
}

describe('a stop in good order', () => {
  test('a request under way has its whole answer, and nobody new gets in', async () => {
    const proxy = await start();
    const upstream = await slowNotebook();
    const token = await redeemed(proxy.port, upstream.port);
    const visitor = (await wire(proxy.port)).send(get(siteHost(token)));
    await visitor.until(/begun /);
    const stopped = proxy.stop();
    await refused(proxy.port);
    upstream.finish();
    await visitor.until(/and ended/);
    await visitor.ended();
    await stopped;
  });

  test('a connection without a request is closed at once, one that was just made may still ask', async () => {
    const proxy = await start();
    const upstream = await slowNotebook();
    const token = await redeemed(proxy.port, upstream.port);
    const busy = (await wire(proxy.port)).send(get(siteHost(token)));
    await busy.until(/begun /);
    const idle = (await wire(proxy.port)).send(get(`manage.${DOMAIN}`));
    await idle.until(/documentation/);
    const fresh = await wire(proxy.port);
    // It is ours once it is open, and the server's only when that has heard of it.
    await (await wire(proxy.port)).send(get(`manage.${DOMAIN}`)).until(/documentation/);
    const stopped = proxy.stop();
    await idle.ended();
    fresh.send(get(`manage.${DOMAIN}`));
    expect(await fresh.ended()).toMatch(
      /^HTTP\/1\.1 200 [\s\S]*\r\nConnection: close\r\n[\s\S]*documentation/i,
    );
    upstream.finish();
    await busy.until(/and ended/);
    await stopped;
  });

  test('a WebSocket goes on while it is used, and is closed in its first quiet moment', async () => {
    const proxy = await start();
    const { client, server } = await tunnel(proxy.port);
    const stopped = proxy.stop();
    // For longer than the quiet that is waited for.
    for (let i = 0; i < 15; i += 1) {
      client.send(`ping ${i}.`);
      await server().until(new RegExp(`ping ${i}\\.`));
      server().send(`pong ${i}.`);
      await client.until(new RegExp(`pong ${i}\\.`));
      await pause(100);
    }
    await stopped;
    await client.ended();
    await server().ended();
  });

  test('nothing goes on for longer than the grace', async () => {
    const proxy = await start({ stopGrace: '200ms' });
    const upstream = await slowNotebook();
    const token = await redeemed(proxy.port, upstream.port);
    const visitor = (await wire(proxy.port)).send(get(siteHost(token)));
    await visitor.until(/begun /);
    await proxy.stop();
    expect(await visitor.ended()).not.toMatch(/and ended/);
  });

  test('with a delay it goes on until balancers have seen that it is about to stop, or close() cuts that short', async () => {
    const brief = await start({ stopDelay: '100ms' });
    await brief.stop();
    await refused(brief.port);
    const proxy = await start({ stopDelay: '1h' });
    const upstream = await notebook((_request, response) => response.end('the notebook'));
    const token = await redeemed(proxy.port, upstream.port);
    const stopped = proxy.stop();
    expect((await ask(proxy.port, { path: '/healthz' })).status).toBe(503);
    expect((await visit(proxy.port, token)).body).toBe('the notebook');
    await proxy.close();
    await stopped;
  });

  test('close() cuts it short', async () => {
    const proxy = await start();
    const upstream = await slowNotebook();
    const token = await redeemed(proxy.port, upstream.port);
    const visitor = (await wire(proxy.port)).send(get(siteHost(token)));
    await visitor.until(/begun /);
    const stopped = proxy.stop();
    await proxy.close();
    await stopped;
    await visitor.ended();
  });

  test('a waiting page is told to come again', async () => {
    const proxy = await start();
    const token = await issue(proxy.port);
    const upstream = await slowNotebook();
    const events = get(siteHost(token), '/.well-known/satellite/events');
    const page = (await wire(proxy.port)).send(events);
    await page.until(/data: /);
    const busy = (await wire(proxy.port)).send(get(siteHost(await redeemed(proxy.port, upstream.port))));
    await busy.until(/begun /);
    const fresh = await wire(proxy.port);
    await (await wire(proxy.port)).send(get(`manage.${DOMAIN}`)).until(/documentation/);
    const stopped = proxy.stop();
    // The end of the chunks: whole, not broken off.
    expect(await page.ended()).toMatch(/\r\n0\r\n\r\n$/);
    // Anything but 200 would make the browser give up.
    fresh.send(events);
    expect(await fresh.ended()).toMatch(
      /^HTTP\/1\.1 200 [\s\S]*retry: 1000[\s\S]*data: [\s\S]*\r\n0\r\n\r\n$/,
    );
    upstream.finish();
    await stopped;
  });

  test('is ready for nothing new, but alive', async () => {
    const proxy = await start();
    const metrics = proxy.metricsAddress?.port ?? 0;
    const upstream = await slowNotebook();
    const token = await redeemed(proxy.port, upstream.port);
    const open = visit(proxy.port, token);
    await once(upstream, 'request');
    const check = async (path: string) => {
      const { status, body } = await ask(metrics, { path, from: '127.0.0.1' });
      return [status, body];
    };
    expect([await check('/healthz'), await check('/livez')]).toEqual([
      [200, 'ok\n'],
      [200, 'ok\n'],
    ]);
    const stopped = proxy.stop();
    expect([await check('/healthz'), await check('/livez')]).toEqual([
      [503, 'The proxy is about to stop.\n'],
      [200, 'ok\n'],
    ]);
    upstream.finish();
    await open;
    await stopped;
  });
});
