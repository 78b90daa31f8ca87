import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, readFile, rename } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { makeCertificate, namesBelow } from './certificate.ts';
import {
  api,
  ask,
  DOMAIN,
  engine,
  freePort,
  issue,
  NODE1,
  notebook,
  OUTSIDE,
  redeemed,
  satellite,
  scratch,
  siteHost,
  visit,
  wire,
} from './support.ts';

/** HAProxy counts the fields of headers, too. */
const bytes = (count: number) =>
  engine === 'node'
    ? count
    : expect.toSatisfy((counted: number) => counted >= count && counted < count + 3000);

async function withMetrics(config = {}) {
  const proxy = await satellite({ metricsListen: '127.0.0.1:0', ...config });
  const metricsPort = proxy.metricsAddress?.port ?? 0;
  const read = async (): Promise<Record<string, number>> => {
    const answer = await ask(metricsPort, { path: '/metrics', from: OUTSIDE });
    expect([answer.status, answer.headers['content-type']]).toEqual([
      200,
      'text/plain; version=0.0.4; charset=utf-8',
    ]);
    const lines = answer.body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return Object.fromEntries(
      lines.map((line) => {
        const at = line.lastIndexOf(' ');
        return [line.slice(0, at), Number(line.slice(at + 1))];
      }),
    );
  };
  return { ...proxy, metricsPort, read, reload: () => proxy.reload() };
}

describe('metrics', () => {
  test('tell when each certificate expires, also after a renewal', async () => {
    const folder = await scratch();
    const tls = await makeCertificate(folder, namesBelow(DOMAIN));
    const next = await makeCertificate(folder, namesBelow(DOMAIN), { name: 'next', days: 90 });
    const { read, reload } = await withMetrics({ tls });
    const name = `satellite_certificate_expiry_timestamp_seconds{cert="${tls.cert}"}`;
    const expiry = async (file: string): Promise<number> =>
      new X509Certificate(await readFile(file)).validToDate.getTime() / 1000;
    expect((await read())[name]).toBe(await expiry(tls.cert));
    await copyFile(next.key, tls.key);
    await copyFile(next.cert, tls.cert);
    reload();
    await expect.poll(async () => (await read())[name]).toBe(await expiry(next.cert));
  });

  test('count tokens, requests, bytes, failures and reports, and name no token', async () => {
    const { port, read, metricsPort } = await withMetrics();
    const upstream = await notebook((request, response) => {
      request.resume().on('end', () => response.end('x'.repeat(1000)));
    });
    await issue(port);
    const given = await issue(port);
    await api(port, 'DELETE', `/tokens/${given}`);
    const token = await redeemed(port, upstream.port);
    await visit(port, token, { method: 'POST', body: 'y'.repeat(300) });
    await visit(port, token);
    const dead = await redeemed(port, await freePort());
    expect((await visit(port, dead)).status).toBe(503);
    await visit(port, 'no-such-name');
    await ask(port, { host: 'elsewhere.test' });
    await api(port, 'POST', '/jobs', [{ id: '1', state: 'PENDING' }]);

    await expect.poll(read).toMatchObject({
      'satellite_tokens{state="pending"}': 1,
      'satellite_tokens{state="mapped"}': 2,
      'satellite_tokens{state="gone"}': 1,
      satellite_tokens_issued_total: 4,
      satellite_tokens_redeemed_total: 2,
      'satellite_tokens_gone_total{by="destroyed"}': 1,
      'satellite_tokens_gone_total{by="expired"}': 0,
      'satellite_requests_total{kind="site",status="2xx"}': 3,
      'satellite_requests_total{kind="site",status="5xx"}': 1,
      'satellite_requests_total{kind="refused",status="4xx"}': 1,
      'satellite_site_bytes_total{direction="in"}': bytes(300),
      'satellite_site_bytes_total{direction="out"}': bytes(2000),
      'satellite_upstream_failures_total{failure="refused"}': 1,
      satellite_state_errors_total: 0,
    });
    const values = await read();
    expect(values.satellite_job_report_age_seconds).toBeGreaterThanOrEqual(0);
    expect(values).toHaveProperty('nodejs_eventloop_lag_seconds');
    const text = (await ask(metricsPort, { path: '/metrics', from: OUTSIDE })).body;
    // One word alone may well be a word of the metrics' own ("start", "time").
    const firstWords = (name: string) => name.split('-').slice(0, 2).join('-');
    for (const secret of [token, given, dead].map(firstWords)) expect(text).not.toContain(secret);
  });

  test('a site that is gone takes nothing from the counters', async () => {
    const { port, read } = await withMetrics();
    const upstream = await notebook((_request, response) => response.end('x'.repeat(500)));
    const token = await redeemed(port, upstream.port);
    await visit(port, token);
    await api(port, 'DELETE', `/tokens/${token}`, undefined, NODE1);
    await expect.poll(read).toMatchObject({ 'satellite_site_bytes_total{direction="out"}': bytes(500) });
  });

  test('know what is open now', async () => {
    const { port, read } = await withMetrics();
    const upstream = await notebook((_request, response) => void response.write('begun'));
    upstream.on('upgrade', (_request, socket) => {
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello',
      );
      socket.pipe(socket);
    });
    const token = await redeemed(port, upstream.port);
    const slow = await wire(port);
    slow.send(`GET / HTTP/1.1\r\nHost: ${siteHost(token)}\r\n\r\n`);
    await slow.until(/begun/);
    const tunnel = await wire(port);
    tunnel.send(
      `GET / HTTP/1.1\r\nHost: ${siteHost(token)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    );
    await tunnel.until(/hello/);
    tunnel.send('12345');
    await tunnel.until(/12345/);
    await expect.poll(read).toMatchObject({
      satellite_open_requests: 1,
      satellite_open_websockets: 1,
      // HAProxy counts bytes when a connection is over.
      ...(engine === 'node' && {
        'satellite_site_bytes_total{direction="in"}': 5,
        'satellite_site_bytes_total{direction="out"}': 15,
      }),
    });
    const closed = once(slow.socket, 'close');
    slow.socket.destroy();
    tunnel.socket.destroy();
    await closed;
    await api(port, 'DELETE', `/tokens/${token}`, undefined, NODE1);
    await expect.poll(read).toMatchObject({ satellite_open_requests: 0, satellite_open_websockets: 0 });
  });

  test('are on their own listener only, which is nobody’s target', async () => {
    const { port, metricsPort } = await withMetrics({ internalNetworks: ['127.0.0.0/8'] });
    expect((await ask(port, { path: '/metrics' })).status).toBe(404);
    expect((await ask(metricsPort, { path: '/getlink.cgi', from: OUTSIDE })).status).toBe(404);
    const token = await issue(port);
    const answer = await api(port, 'POST', `/tokens/${token}/redeem`, { port: metricsPort }, OUTSIDE);
    expect([answer.status, answer.json().error]).toEqual([
      400,
      expect.objectContaining({ code: 'own-address' }),
    ]);
  });
});

describe('/healthz', () => {
  test('says whether the state can be written, to anybody', async () => {
    const state = `${await scratch()}/state.sqlite`;
    const { port, metricsPort } = await withMetrics({ state });
    for (const at of [port, metricsPort]) {
      const answer = await ask(at, { path: '/healthz', from: OUTSIDE });
      expect([answer.status, answer.body]).toEqual([200, 'ok\n']);
    }
    await rename(state, `${state}.away`);
    // A fresh look is due within a second.
    let answer = await ask(port, { path: '/healthz', from: OUTSIDE });
    while (answer.status === 200) answer = await ask(port, { path: '/healthz', from: OUTSIDE });
    expect([answer.status, answer.body]).toEqual([503, expect.stringContaining('can not be written')]);
    expect((await api(port, 'POST', '/tokens')).status).toBe(503);
    await rename(`${state}.away`, state);
    while (answer.status !== 200) answer = await ask(port, { path: '/healthz', from: OUTSIDE });
    expect((await api(port, 'POST', '/tokens')).status).toBe(201);
  });

  test('is the site’s own on a site', async () => {
    const { port } = await withMetrics();
    const upstream = await notebook((request, response) => response.end(`notebook ${request.url}`));
    const token = await redeemed(port, upstream.port);
    expect((await visit(port, token, { path: '/healthz' })).body).toBe('notebook /healthz');
  });
});
