import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, test, vi } from 'vitest';
import { cpuOf } from '../../bench/processes.ts';
import { parseConfig, type SatelliteConfigInput } from '../src/config.ts';
import { HaproxyEngine } from '../src/dataplane/haproxy/engine.ts';
import { tableEntries } from '../src/dataplane/haproxy/runtime.ts';
import { NodeEngine } from '../src/dataplane/node/engine.ts';
import { expectAnnouncement } from '../src/gate/proxy-protocol.ts';
import type { LogEntry } from '../src/index.ts';
import { ConfigError } from '../src/index.ts';
import { askStatus } from '../src/operation/status.ts';
import { Traffic } from '../src/operation/traffic.ts';
import { selfSignedCertificate } from '../src/tls.ts';
import { isAlive } from './alive.ts';
import { echoing, folder, isDirect, isEvent, journal, pidIn, runtimeIn, tunnel } from './behind-haproxy.ts';
import { haproxyIs } from './differences.ts';
import { outcome, run, satelliteCommand, serve, serveArguments } from './integration/program.ts';
import {
  api,
  ask,
  beginHttp2,
  bodyOf,
  cleanup,
  DOMAIN,
  listenOn,
  NODE1,
  notebook,
  OUTSIDE,
  redeemed,
  satellite,
  satelliteOver,
  scratch,
  secureWire,
  session,
  siteHost,
  still,
  visit,
  Wire,
  wire,
} from './support.ts';

/* What is HAProxy's alone. What both engines do is in the files that the project `haproxy` runs for both. */

/** HAProxy with nothing behind it that would take what it hands over. */
async function bare(
  directory: string,
  traffic: Traffic,
  {
    listen = '127.0.0.1:0',
    program = 'haproxy',
    state = ':memory:',
    ...more
  }: Partial<SatelliteConfigInput> & { program?: string } = {},
) {
  const { log, ...rest } = journal();
  const config = parseConfig({
    domain: DOMAIN,
    tls: 'off',
    engine: 'haproxy',
    listen,
    haproxy: { directory, program },
    state,
    ...more,
  });
  const inside = new NodeEngine(config.limits, traffic, undefined);
  const parts = { config, traffic, log, inside, logLines: undefined, certificates: [] };
  const engine = new HaproxyEngine(parts);
  await engine.start(config.listen);
  engine.serve();
  cleanup(async () => {
    engine.close();
    await engine.end();
  });
  return { engine, ...rest };
}

/** Waits until HAProxy knows so many sites. */
async function known(directory: string, sites: number): Promise<void> {
  for (;;) {
    const text = await runtimeIn(directory).ask(`show map ${directory}/sites.map`);
    // Each has two spellings; the mark of who has told it is none.
    if (text.match(/ \d+@/g)?.length === 2 * sites) return;
    await pause(5);
  }
}

/** Waits until HAProxy knows so many visits: what it hears last. */
async function knownVisits(directory: string, visits: number): Promise<void> {
  const runtime = runtimeIn(directory);
  while (tableEntries(await runtime.ask('show table satellite-visits')).length !== visits) await pause(5);
}

describe('a site', () => {
  test('is served by satellite first, and by HAProxy from then on; both say so in one form', async () => {
    const { entries, log, when } = journal();
    const { port } = await satellite({ limits: { unknownNamesPerMinute: 100 } }, { log });
    const token = await redeemed(port, (await echoing()).port);
    const path = '/lab/tree/one-two-three/four%252dfive%2Dsix?token=s3cret';
    expect((await visit(port, token, { path })).body).toBe(`the notebook ${path}`);
    const first = await when(({ path }) => String(path).startsWith('/lab'));
    expect(first).not.toHaveProperty('haproxy');
    // It hears of the visitor within a moment.
    let bySelf: LogEntry | undefined;
    while (bySelf === undefined) {
      await visit(port, token, { path });
      bySelf = entries.find(({ haproxy }) => haproxy !== undefined);
    }
    expect({ ...bySelf, ms: 0, haproxy: undefined }).toEqual({ ...first, ms: 0, haproxy: undefined });
    expect(bySelf).toMatchObject({ path: '/lab/tree/one-…/four-…', haproxy: '--' });
    expect(JSON.stringify(entries)).not.toMatch(new RegExp(`s3cret|${token}`));
    // Others are still to be looked at.
    const before = entries.length;
    await visit(port, token, { from: '127.0.0.77', path: '/other' });
    expect(await when(({ client }) => client === '127.0.0.77', before)).not.toHaveProperty('haproxy');
  });

  test.each([
    '%3Ftoken=',
    '%3ftoken%3D',
    '%253Ftoken=',
    '%25253ftoken=',
    ';token=',
    '%3Btoken=',
    '&token=',
    '%23token=',
  ])(
    'has no query in the log, however somebody has written the link: /one-two-three/lab%s…',
    async (begin) => {
      const { entries, log } = journal();
      const { port } = await satellite({ limits: { unknownNamesPerMinute: 100 } }, { log });
      const token = await redeemed(port, (await echoing()).port);
      const path = `/one-two-three/lab${begin}s3cret`;
      let bySelf: LogEntry | undefined;
      while (bySelf === undefined) {
        expect((await visit(port, token, { path })).body).toBe(`the notebook ${path}`);
        bySelf = entries.find(({ haproxy }) => haproxy !== undefined);
      }
      expect(bySelf).toMatchObject({ path: '/one-…/lab' });
      expect(JSON.stringify(entries)).not.toContain('s3cret');
    },
  );

  test('that needs more than HAProxy does is never told to it', async () => {
    const directory = await folder();
    const { port } = await satellite({
      siteStyle: 'path',
      haproxy: { directory },
      limits: { unknownNamesPerMinute: 100 },
    });
    const token = await redeemed(port, (await echoing()).port);
    for (let i = 0; i < 3; i += 1)
      expect((await ask(port, { host: DOMAIN, from: OUTSIDE, path: `/${token}/x` })).body).toBe(
        `the notebook /${token}/x`,
      );
    expect(await runtimeIn(directory).ask(`show map ${directory}/sites.map`)).not.toContain('@');
  });

  test('counts for its operator what HAProxy has carried', async () => {
    const directory = await folder();
    const traffic = new Traffic();
    const { engine } = await bare(directory, traffic);
    const upstream = await echoing();
    const token = 'one-two-three';
    traffic.visit(token, '127.0.0.1');
    engine.place(token, NODE1, upstream.port);
    await knownVisits(directory, 1);
    const { port } = engine.address;
    expect((await visit(port, token, { path: '/x' })).body).toBe('the notebook /x');
    const open = await tunnel(port, token);
    await engine.countNow();
    expect(traffic.seen(token)).toMatchObject({ requests: 3, openWebSockets: 1, openRequests: 0 });
    expect(traffic.totals().bytesOut).toBeGreaterThan(100);
    open.socket.destroy();
    while (traffic.totals().openWebSockets > 0) await engine.countNow();
  });

  test.each(['HTTP/1.1', 'HTTP/2'] as const)(
    'takes headers of 64 KB, whole or in parts (%s)',
    async (protocol) => {
      const server = createHttpServer({ maxHeaderSize: 100_000 }, ({ headers }, response) => {
        response.end(String(JSON.stringify(headers).length));
      });
      const { entries, log } = journal();
      const { port } = await satelliteOver(protocol, {}, { log });
      const token = await redeemed(port, await listenOn(server));
      const host = siteHost(token);
      const on = protocol === 'HTTP/2' ? await session(port, host) : undefined;
      const bodyWith = async (headers: Record<string, string>): Promise<string> => {
        if (!on) return (await visit(port, token, { headers })).body;
        const { head, sender } = beginHttp2(on, { host, headers });
        sender.end();
        return String(await bodyOf(await head));
      };
      const isHaproxys = ({ haproxy }: LogEntry): boolean => haproxy !== undefined;
      while (!entries.some(isHaproxys)) await bodyWith({});
      const before = entries.filter(isHaproxys).length;
      const whole = { x: 'x'.repeat(64_000) };
      const parts = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`x-${i}`, 'x'.repeat(300)]));
      expect(Number(await bodyWith(whole))).toBeGreaterThan(64_000);
      expect(Number(await bodyWith(parts))).toBeGreaterThan(60_000);
      await vi.waitFor(() => expect(entries.filter(isHaproxys).length).toBeGreaterThanOrEqual(before + 2));
    },
  );

  test('takes WebSockets over HTTP/2, and loses them with its token', async () => {
    const directory = await folder();
    const { port } = await satelliteOver('HTTP/2', { haproxy: { directory } });
    const token = await redeemed(port, (await echoing()).port);
    const socket = await secureWire(port, siteHost(token));
    const session = connectHttp2(`https://${siteHost(token)}:${port}`, { createConnection: () => socket });
    session.on('error', () => undefined);
    cleanup(() => session.destroy());
    await once(session, 'remoteSettings');
    const stream = session.request({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'https',
      ':authority': siteHost(token),
      ':path': '/api/kernels/1/channels',
      'sec-websocket-version': '13',
    });
    stream.on('error', () => undefined);
    const [headers] = await once(stream, 'response');
    expect(headers[':status']).toBe(200);
    stream.write('over HTTP/2');
    expect(String((await once(stream, 'data'))[0])).toBe('over HTTP/2');
    expect(await runtimeIn(directory).ask('show sess')).toContain('be=satellite-websockets');
    const closed = once(stream, 'close');
    await api(port, 'DELETE', `/tokens/${token}`, undefined, NODE1);
    await closed;
  });

  test('is asked by the name that chose it, whatever Host is beside that', async () => {
    const { port: target } = await notebook((request, response) => response.end(request.headers.host));
    const { port } = await satelliteOver('HTTP/2');
    const host = siteHost(await redeemed(port, target));
    const { head, sender } = beginHttp2(await session(port, host), { host, headers: { host: 'evil.test' } });
    sender.end();
    expect(String(await bodyOf(await head))).toBe(host);
  });

  test('is not found by a part of Host', async () => {
    const directory = await folder();
    const { port } = await satelliteOver('HTTP/2', { haproxy: { directory } });
    const token = await redeemed(port, (await echoing()).port);
    await isDirect(directory, port, token);
    const host = siteHost(token);
    const other = `other.${DOMAIN}`;
    for (const [servername, named, status] of [
      [host, host, 200],
      [host, `${other},${host}`, 400],
      [other, `${other},${host}`, 400],
    ] as const) {
      const client = new Wire(await secureWire(port, servername, { protocols: ['http/1.1'] }));
      client.send(`GET / HTTP/1.1\r\nHost: ${named}\r\nConnection: close\r\n\r\n`);
      expect(await client.ended()).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    }
  });

  test('whose notebook takes nothing of an upload holds up that connection for a while, and no other', async () => {
    const { port: target } = await notebook((request, response) => {
      if (request.url === '/next') response.end();
      else request.pause().on('error', () => undefined);
    });
    const { port } = await satelliteOver('HTTP/2', { limits: { answerTime: '3s' } });
    const host = siteHost(await redeemed(port, target));
    const [stuck, other] = [await session(port, host), await session(port, host)];
    const headers = { 'content-length': '100000000' };
    const upload = beginHttp2(stuck, { host, method: 'POST', headers });
    const piece = Buffer.alloc(1_000_000);
    for (let i = 0; i < 100; i += 1) if (!upload.sender.write(piece) && (await still(upload.sender))) break;
    const next = (on: typeof stuck) =>
      beginHttp2(on, { host, path: '/next' }).head.then(({ status }) => status, String);
    const held = upload.head.then(({ status }) => status, String);
    const behind = next(stuck);
    expect([await next(other), upload.stream.closed]).toEqual([200, false]);
    // Whichever comes first: HAProxy's patience with the notebook, or with the visitor (502 since 2.8).
    expect([String(await held), await behind]).toEqual([expect.stringMatching(/aborted|^50[24]$/), 200]);
  });

  test('has an address of IPv6 to speak of', async () => {
    for (const [listen, from, seen] of [
      ['[::1]:0', '::1', '::1'],
      ['[::]:0', '127.0.0.1', '127.0.0.1'],
    ] as const) {
      const directory = await folder();
      const traffic = new Traffic();
      const { engine } = await bare(directory, traffic, { listen });
      const upstream = await notebook((request, response) => response.end(JSON.stringify(request.headers)));
      traffic.visit('one-two-three', from);
      engine.place('one-two-three', NODE1, upstream.port);
      await knownVisits(directory, 1);
      const client = await wire(engine.address.port, from, from);
      client.send(`GET / HTTP/1.1\r\nHost: ${siteHost('one-two-three')}\r\nConnection: close\r\n\r\n`);
      const text = await client.ended();
      expect(JSON.parse(text.slice(text.indexOf('{')))).toMatchObject({
        'x-forwarded-for': seen,
        'x-real-ip': seen,
        forwarded: `for=${seen.includes(':') ? `"[${seen}]"` : seen};proto=http;host="${siteHost('one-two-three')}"`,
      });
    }
  });
});

test('who has an address of 6to4 is not the address of IPv4 in it; with one of IPv6 his /64 is counted', async () => {
  const directory = await folder();
  const traffic = new Traffic();
  const { engine, when } = await bare(directory, traffic, {
    proxyProtocol: ['127.0.0.1/32'],
    trustedProxies: ['127.0.0.2/32'],
    limits: { connectionsPerClient: 2 },
  });
  const upstream = await notebook((request, response) => response.end(String(request.headers['x-real-ip'])));
  const announced = async (address: string) => {
    const client = await wire(engine.address.port);
    return client.send(
      `PROXY TCP6 ${address} ::1 1024 80\r\nGET / HTTP/1.1\r\nHost: ${siteHost('one-two-three')}\r\n\r\n`,
    );
  };
  const address = '2002:7f00:2::1';
  traffic.visit('one-two-three', address);
  for (const host of ['a', 'b', 'c']) traffic.visit('one-two-three', `2001:db8::${host}`);
  engine.place('one-two-three', NODE1, upstream.port);
  await knownVisits(directory, 4);
  await (await announced(address)).until(new RegExp(`${address}$`));
  await when((entry) => entry.client === address);

  await (await announced('2001:db8::a')).until(/2001:db8::a$/);
  await (await announced('2001:db8::b')).until(/2001:db8::b$/);
  expect(await (await announced('2001:db8::c')).ended()).toBe('');
});

describe('HAProxy', () => {
  test('that is killed comes back on its port, and knows its sites again', async () => {
    const directory = await folder();
    const { log, when, entries } = journal();
    const { port } = await satellite({ haproxy: { directory } }, { log });
    const [token, gone] = [await redeemed(port, (await echoing()).port), await redeemed(port, 9000)];
    await visit(port, token);
    const before = entries.length;
    process.kill(await pidIn(directory), 'SIGKILL');
    await when(isEvent('haproxy-ended'), before);
    const told = await when(isEvent('haproxy-reconciled'), before);
    expect(told).toMatchObject({ sites: 1 });
    expect((await visit(port, token)).body).toBe('the notebook /');
    expect((await visit(port, token)).body).toBe('the notebook /');
    expect(await runtimeIn(directory).ask('show table satellite-requests')).toMatch(/http_req_cnt=[12]/);
    expect((await visit(port, gone)).status).toBe(503);
  });

  test('finds satellite again whose sockets were taken away, and starts without files that are gone', async () => {
    const made = await folder();
    const [state, directory] = [join(made, 'state'), join(made, 'haproxy')];
    const { log, when, entries } = journal();
    const { port } = await satellite({ state, haproxy: { directory } }, { log });
    const own = (await readdir(made, { recursive: true }))
      .map((name) => join(made, name))
      .filter((file) => /\/(?:satellite|log|state)\.sock$/.test(file));
    expect(own).toHaveLength(3);
    await Promise.all(own.map((file) => rm(file)));
    for (const file of own)
      await when(({ event, message }) => event === 'socket-restored' && String(message).startsWith(file));
    expect((await ask(port)).status).toBe(200);
    const config = parseConfig({ domain: DOMAIN, tls: 'off', state });
    expect(await askStatus(config)).toEqual({ sites: [], state: { trouble: null } });
    for (const file of own)
      expect((await stat(file)).mode & 0o777).toBe(file.includes('/jail/') ? 0o660 : 0o600);

    const before = entries.length;
    const pid = await pidIn(directory);
    await rm(directory, { recursive: true });
    process.kill(pid, 'SIGKILL');
    await when(isEvent('haproxy-reconciled'), before);
    const restored = entries.length;
    while ((await ask(port)).status !== 200) await pause(50);
    // What is somebody else's stays so.
    const [socket = ''] = own.filter((file) => file.endsWith('satellite.sock'));
    const other = createServer();
    await rm(socket);
    other.listen(socket);
    await once(other, 'listening');
    cleanup(() => other.close());
    expect(await when(isEvent('socket-lost'), restored)).toMatchObject({
      message: expect.stringMatching(/another one is in its place; give each satellite/),
    });
  });

  test('that does nothing any more is no reason to come here, and is replaced', async () => {
    const directory = await folder();
    const { log, when } = journal();
    const { port, metricsAddress } = await satellite(
      { haproxy: { directory }, metricsListen: '127.0.0.1:0' },
      { log },
    );
    const token = await redeemed(port, (await echoing()).port);
    await visit(port, token);
    const health = async (): Promise<number> =>
      (await fetch(`http://127.0.0.1:${metricsAddress?.port}/healthz`)).status;
    expect(await health()).toBe(200);
    process.kill(await pidIn(directory), 'SIGSTOP');
    await when(isEvent('haproxy-unreachable'));
    expect(await health()).toBe(503);
    expect((await when(isEvent('haproxy-ended'))).message).toMatch(
      /^it did not answer as it should for [1-9]\d* s and was ended; it is started again$/,
    );
    await when(isEvent('haproxy-started'));
    await expect.poll(health).toBe(200);
    expect((await visit(port, token)).body).toBe('the notebook /');
  }, 60_000);

  test('that has lost its satellite carries nothing on, where others may end its sites', async () => {
    const traffic = new Traffic();
    const directory = await folder();
    const { engine } = await bare(directory, traffic, { state: 'postgresql:///x?host=/nowhere' });
    const inside = createServer();
    await engine.listen(inside);
    const [token, upstream] = ['one-two-three', await echoing()];
    traffic.visit(token, '127.0.0.1');
    engine.place(token, NODE1, upstream.port);
    await knownVisits(directory, 1);
    // HAProxy has looked for it when it was not there yet.
    while (!/ satellite - 2 .*\n/.test(await runtimeIn(directory).ask('show servers state satellite')))
      await pause(5);
    const { port } = engine.address;
    const open = await tunnel(port, token);
    expect((await visit(port, token)).body).toBe('the notebook /');
    inside.close();
    await open.ended();
    expect((await visit(port, token)).status).toBe(503);
  });

  test('that takes long to come back is not asked meanwhile, and told everything once', async () => {
    const directory = await folder();
    const [program, isSlow] = [join(directory, 'program'), join(directory, 'slow')];
    const script = `[ -e ${isSlow} ] && sleep 0.7; exec haproxy "$@"`;
    await writeFile(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const { engine, entries, when } = await bare(directory, new Traffic(), { program });
    await when(isEvent('haproxy-reconciled'));
    await writeFile(isSlow, '');
    const before = entries.length;
    process.kill(await pidIn(directory), 'SIGKILL');
    // Nobody hears of it.
    engine.place('one-two-three', NODE1, 8888);
    await when(isEvent('haproxy-reconciled'), before);
    engine.place('four-five-six', NODE1, 8888);
    await known(directory, 2);
    const events = entries.slice(before).map(({ event }) => event);
    expect(events.filter((event) => event === 'haproxy-reconciled')).toHaveLength(1);
    // What was not heard, and one try to say it all anew, before its end was known.
    expect(events.filter((event) => event === 'haproxy-unreachable').length).toBeLessThan(3);
  });

  test('goes on when satellite is killed, and the next one takes it over with all that is open', async () => {
    const state = join(await folder(), 's');
    const directory = `${state}.haproxy`;
    const first = await serve('--listen', '127.0.0.1:0', '--engine', 'haproxy', '--state', state);
    cleanup(() =>
      pidIn(directory).then(
        (pid) => process.kill(pid, 'SIGKILL'),
        () => undefined,
      ),
    );
    const { port } = first;
    const upstream = await echoing();
    const [token, other] = [await redeemed(port, upstream.port), await redeemed(port, upstream.port)];
    for (const [name, mode] of [
      ['', 0o700],
      ['runtime.sock', 0o600],
      ['jail', 0o710],
      ['jail/satellite.sock', 0o660],
      ['jail/log.sock', 0o660],
      ['haproxy.cfg', 0o600],
    ] as const)
      expect((await stat(join(directory, name))).mode & 0o777, name).toBe(mode);
    for (const one of [token, other]) await isDirect(directory, port, one);
    const [kept, ended] = [await tunnel(port, token), await tunnel(port, other)];
    const pid = await pidIn(directory);
    first.child.kill('SIGKILL');
    // Not "close": HAProxy goes on writing where its satellite did.
    await once(first.child, 'exit');

    // It has lines for somebody who isn't there, which is no reason to look for him all the time.
    const before = cpuOf(pid);
    await pause(1000);
    expect(cpuOf(pid) - before).toBeLessThan(200);

    await kept.send('while nobody looks').until(/while nobody looks/);
    expect((await visit(port, token)).body).toBe('the notebook /');
    const manage = await ask(port);
    expect([manage.status, manage.headers['retry-after']]).toEqual([503, '2']);
    expect((await visit(port, token, { path: '/x' })).body).toBe('the notebook /x');

    const { log, when } = journal();
    const second = await satellite({ state, haproxy: {} }, { log });
    expect(second.port).toBe(port);
    expect(await when(isEvent('haproxy-reconciled'))).toMatchObject({ sites: 2, added: 0, removed: 0 });
    expect(await pidIn(directory)).toBe(pid);
    expect((await api(port, 'DELETE', `/tokens/${other}`, undefined, NODE1)).status).toBe(204);
    await ended.ended();
    await kept.send('afterwards').until(/afterwards/);
    // Its lines come here now, those of the time between too; since 3.3 they have ended with the pipe.
    for (const path of haproxyIs({ before: '3.3' }) ? ['/x', '/y'] : []) {
      if (path === '/y') await visit(port, token, { path });
      expect(await when((entry) => entry.path === path)).toMatchObject({ event: 'request', haproxy: '--' });
    }
    await second.close();
    await kept.ended();
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });

  test.skipIf(process.getuid?.() !== 0)(
    'that root starts is nobody, and sees nothing but satellite',
    async () => {
      const directory = await folder();
      await satellite({ haproxy: { directory } });
      const pid = await pidIn(directory);
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      const ids = await promisify(execFile)('id', ['haproxy']);
      const [, uid, gid] = /uid=(\d+)\S* gid=(\d+)/.exec(ids.stdout) ?? [];
      expect(status).toMatch(new RegExp(`^Uid:(\\s+${uid}){4}$`, 'm'));
      expect(status).toMatch(new RegExp(`^Gid:(\\s+${gid}){4}$`, 'm'));
      expect(status).toMatch(/^CapEff:\s+0+$/m);
      expect(await readlink(`/proc/${pid}/root`)).toBe(join(directory, 'jail'));
      const own = haproxyIs({ before: '3.3' }) ? ['lines.sock', 'pause.sock'] : [];
      expect((await readdir(join(directory, 'jail'))).sort()).toEqual(
        [...own, 'log.sock', 'satellite.sock'].sort(),
      );
    },
  );

  test.skipIf(process.getuid?.() !== 0)('is what satellite is where that is not root', async () => {
    // Somebody who owns nothing.
    const user = '64000';
    const directory = await folder();
    await chown(directory, Number(user), Number(user));
    const own = ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--no-new-privs'];
    const program = run([
      ...[
        ...own,
        ...satelliteCommand,
        'serve',
        '--domain',
        DOMAIN,
        '--tls',
        'off',
        '--listen',
        '127.0.0.1:0',
      ],
      ...['--internal-networks', '127.21.0.0/16', '--engine', 'haproxy', '--state', ':memory:'],
      ...['--haproxy-directory', directory],
    ]);
    const { port } = (await program.logged('listening')) as { port: number };
    const token = await redeemed(port, (await echoing()).port);
    await isDirect(directory, port, token);
    const pid = await pidIn(directory);
    expect(await readFile(`/proc/${pid}/status`, 'utf8')).toMatch(/^Uid:(\s+64000){4}$/m);
    expect((await stat(join(directory, 'satellite.sock'))).mode & 0o777).toBe(0o600);
    program.kill();
    await once(program, 'exit');
  });

  test('is no second satellite’s while the first one runs, and at once when that is killed', async () => {
    const directory = await folder();
    const where = ['--state', ':memory:', '--engine', 'haproxy', '--haproxy-directory', directory];
    const same = ['--listen', '127.0.0.1:0', ...where];
    const first = await serve(...same);
    cleanup(() =>
      pidIn(directory).then(
        (pid) => process.kill(pid, 'SIGKILL'),
        () => undefined,
      ),
    );
    const { port } = first;
    const token = await redeemed(port, (await echoing()).port);
    await isDirect(directory, port, token);
    const [open, pid] = [await tunnel(port, token), await pidIn(directory)];
    for (const args of [same, [...same, '--http2', 'false']]) {
      const { code, lines } = await outcome(...serveArguments, ...args);
      expect([code, lines.at(-1)]).toEqual([
        3,
        `satellite: haproxy.directory: another satellite uses ${directory}; stop that one, or give this one a folder of its own`,
      ]);
    }
    await open.send('still open').until(/still open/);
    expect((await ask(port)).status).toBe(200);
    expect((await stat(join(directory, 'lock'))).mode & 0o777).toBe(0o600);

    first.child.kill('SIGKILL');
    // Not "close": HAProxy goes on writing where its satellite did.
    await once(first.child, 'exit');
    const next = await serve(...same);
    expect(await next.child.logged('haproxy-found')).toMatchObject({ pid });
    const ended = once(next.child, 'close');
    next.child.kill();
    expect(await ended).toEqual([0, null]);
  });

  test('of another configuration is ended for one of this', async () => {
    const directory = await folder();
    const file = join(directory, 'old.cfg');
    await writeFile(join(directory, 'haproxy.json'), JSON.stringify({ written: 'old' }));
    await writeFile(
      file,
      `global\n description old\n stats socket ${directory}/runtime.sock level admin\ndefaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nlisten none\n bind unix@${directory}/none\n`,
    );
    const old = spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore' });
    cleanup(() => old.kill('SIGKILL'));
    const ended = once(old, 'exit');
    while (!(await pidIn(directory).catch(() => 0))) await pause(10);
    const { port } = await satellite({ haproxy: { directory } });
    await ended;
    expect((await api(port, 'POST', '/tokens')).status).toBe(201);
  });

  test('learns of twenty thousand sites at once, and forgets those that are over', async () => {
    const directory = await folder();
    const traffic = new Traffic();
    const { engine, when, entries } = await bare(directory, traffic);
    const names = Array.from({ length: 20_000 }, (_, i) => `a${i.toString(36)}-b-c`);
    for (const name of names) engine.place(name, '10.21.0.11', 8888);
    process.kill(await pidIn(directory), 'SIGKILL');
    const from = entries.length;
    const told = await when(
      ({ event, sites }) => event === 'haproxy-reconciled' && sites === names.length,
      from,
    );
    expect(told).toMatchObject({ added: 2 * names.length });
    for (const name of names.slice(0, 50)) engine.drop(name);
    await known(directory, names.length - 50);
  });

  test('shows a new certificate when there is one', async () => {
    const files = await folder();
    const make = async (): Promise<string> => {
      const { cert, fingerprint } = selfSignedCertificate(DOMAIN, undefined);
      await writeFile(join(files, 'both.pem'), cert);
      return fingerprint;
    };
    const shown = async (port: number): Promise<string> => {
      const socket = await secureWire(port, `manage.${DOMAIN}`);
      return socket.getPeerCertificate().fingerprint256;
    };
    const old = await make();
    const { log, when } = journal();
    const both = join(files, 'both.pem');
    const proxy = await satellite({ tls: { cert: both, key: both } }, { log });
    expect(await shown(proxy.port)).toBe(old);
    proxy.reload();
    await when(isEvent('certificate-unchanged'));
    const renewed = await make();
    proxy.reload();
    while ((await shown(proxy.port)) === old) await pause(10);
    expect(await shown(proxy.port)).toBe(renewed);
  });

  test('whose folder has no room says which', async () => {
    const directory = await folder();
    // What every write to it says.
    await symlink('/dev/full', join(directory, 'haproxy.cfg'));
    await expect(satellite({ haproxy: { directory } })).rejects.toThrow(
      /^haproxy\.directory: \S+\/haproxy\.cfg can't be written: ENOSPC/,
    );
  });

  test.each([
    ['is missing', undefined, /can't be run: there is no such command\. Install HAProxy/],
    [
      'is too old',
      'echo HAProxy version 2.2.9 2021/01/01',
      /HAProxy 2\.2\.9 is too old; 2\.4\.4 or later is needed/,
    ],
    [
      'has a fault that lets requests be smuggled',
      'echo HAProxy version 2.4.3-1 2021/08/17',
      /HAProxy 2\.4\.3-1 is too old; 2\.4\.4 or later is needed/,
    ],
    ['is something else', 'echo hello', /does not say that it is HAProxy/],
    [
      'does not take its configuration',
      '[ "$1" = -v ] && exec haproxy -v; echo "[ALERT]    (7) : config : it is not to be" >&2; exit 1',
      /it does not start: config : it is not to be$/,
    ],
    ['dies at once', '[ "$1" = -v ] && exec haproxy -v; exit 7', /it does not start: it ended with code 7$/],
  ])('that %s is complained about in words', async (_what, script, message) => {
    const program = join(await scratch(), 'program');
    if (script !== undefined) {
      await writeFile(program, `#!/bin/sh\n${script}\n`);
      await chmod(program, 0o755);
    }
    const directory = await folder();
    const started = satellite({ haproxy: { program, directory } });
    await expect(started).rejects.toThrow(ConfigError);
    await expect(started).rejects.toThrow(message);
  });

  test('that is newer than what was tried is used, and said to be', async () => {
    const program = join(await scratch(), 'program');
    const script = '[ "$1" = -v ] && { echo HAProxy version 99.1.2; exit; }; exec haproxy "$@"';
    await writeFile(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const { entries, log } = journal();
    await satellite({ haproxy: { program, directory: await folder() } }, { log });
    expect(entries.find(isEvent('haproxy-untested'))?.message).toMatch(/^HAProxy 99\.1\.2 is newer than/);
  });

  test('can not be asked to end somebody else', async () => {
    const directory = await folder();
    const stranger = createServer((socket: Socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end(`Name: HAProxy\nPid: ${process.pid}\ndescription: mine\n`));
    });
    stranger.listen(join(directory, 'runtime.sock'));
    await once(stranger, 'listening');
    cleanup(() => stranger.close());
    await expect(satellite({ haproxy: { directory } })).rejects.toThrow(/belongs to another HAProxy/);
  });

  test('that is stopped lets requests under way come to their end, and WebSockets go', async () => {
    const answer = Promise.withResolvers<void>();
    const upstream = await echoing();
    upstream.removeAllListeners('request');
    upstream.on('request', (_request, response) => {
      response.write('begun ');
      void answer.promise.then(() => response.end('and ended'));
    });
    const directory = await folder();
    const proxy = await satellite({ haproxy: { directory } });
    const token = await redeemed(proxy.port, upstream.port);
    const visitor = await wire(proxy.port);
    await visitor.send(`GET / HTTP/1.1\r\nHost: ${siteHost(token)}\r\n\r\n`).until(/begun /);
    const socket = await tunnel(proxy.port, token);
    const page = await wire(proxy.port);
    const waiting = (await api(proxy.port, 'POST', '/tokens')).json<{ token: string }>().token;
    page.send(`GET /.well-known/satellite/events HTTP/1.1\r\nHost: ${siteHost(waiting)}\r\n\r\n`);
    await page.until(/data: /);
    const pid = await pidIn(directory);
    const stopped = proxy.stop();
    await Promise.all([socket.ended(), page.until(/\r\n0\r\n\r\n$/)]);
    const isOpen = () =>
      wire(proxy.port).then(
        ({ socket: one }) => one.destroy(),
        () => undefined,
      );
    while (await isOpen()) await pause(5);
    answer.resolve();
    await visitor.until(/and ended/);
    // As browsers do when they have been told.
    for (const client of [visitor, page]) client.socket.destroy();
    await stopped;
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });

  test('of somebody else that writes to our log holds up no end', async () => {
    const directory = await folder();
    const { entries, log, when } = journal();
    const proxy = await satellite({ haproxy: { directory } }, { log });
    const file = join(directory, process.getuid?.() === 0 ? 'jail/log.sock' : 'log.sock');
    const other = connect(file).on('error', () => undefined);
    cleanup(() => other.destroy());
    other.write('{"event":"of another one"}\n');
    await when(isEvent('of another one'));
    await proxy.stop();
    expect(entries.at(-1)).toMatchObject({ event: 'stopped' });
  });

  test.each(['in order', 'while it starts again', 'taken over'])(
    'that is ended (%s) leaves no private key and no socket',
    async (how) => {
      const [directory, files] = [await folder(), await scratch()];
      const [program, started] = [join(files, 'program'), join(files, 'started')];
      const script = `[ "$1" = -v ] || echo $$ >>${started}; exec haproxy "$@"`;
      await writeFile(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      const pids = async () => (await readFile(started, 'utf8')).trim().split('\n').map(Number);
      cleanup(async () => {
        for (const pid of await pids()) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      });
      const same = [
        '--domain',
        DOMAIN,
        '--tls',
        'selfSigned',
        '--listen',
        '127.0.0.1:0',
        '--state',
        ':memory:',
      ];
      const more = ['--engine', 'haproxy', '--haproxy-directory', directory, '--haproxy-program', program];
      const start = async () => {
        const child = run([...satelliteCommand, 'serve', ...same, ...more]);
        await child.logged('listening');
        return child;
      };
      let child = await start();
      expect(await readFile(join(directory, 'certificate-0.pem'), 'utf8')).toContain('PRIVATE KEY');
      if (how === 'taken over') {
        child.kill('SIGKILL');
        await once(child, 'exit');
        child = await start();
      }
      if (how === 'while it starts again') {
        process.kill(await pidIn(directory), 'SIGKILL');
        while ((await pids()).length < 2) await pause(1);
      }
      const ended = once(child, 'close');
      child.kill();
      expect(await ended).toEqual([0, null]);
      expect((await pids()).filter(isAlive)).toEqual([]);
      const left = await readdir(directory, { recursive: true });
      expect(left.filter((name) => /\.(?:sock|pem)/.test(name))).toEqual([]);
    },
  );

  test('leaves nothing behind', async () => {
    vi.stubEnv('TMPDIR', await folder());
    cleanup(() => vi.unstubAllEnvs());
    const proxy = await satellite({ haproxy: {} });
    await proxy.close();
    const left = await readdir(tmpdir());
    expect(left.filter((name) => !name.startsWith('satellite-test-'))).toEqual([]);
  });
});

test('a connection that does not begin as one of HAProxy’s is nobody’s', async () => {
  const heard: Socket[] = [];
  const server = createHttpServer();
  server.on('connection', (socket: Socket) => heard.push(socket));
  expectAnnouncement(server, () => undefined);
  const port = await listenOn(server, 0, '127.0.0.1');
  const header = Buffer.from('\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24', 'latin1');
  for (const bytes of [
    'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    'PROXY UNKNOWN\r\n',
    // Too short for its addresses; a local one.
    `${header.subarray(0, 14).toString('latin1')}\0\x02ab`,
    `${header.subarray(0, 12).toString('latin1')}\x20\0\0\0`,
  ])
    expect(await (await wire(port)).send(bytes).ended()).toBe('');
  expect(heard).toEqual([]);
  const address = `\x20\x01\x0d\xb8${'\0'.repeat(11)}\x07`;
  const client = await wire(port);
  // In pieces, and with a request right behind it.
  const asked = once(server, 'request');
  client.send(header.toString('latin1'));
  await pause(20);
  client.send(`${address}${address}\x12\x34\x01\xbbGET / HTTP/1.1\r\n`);
  await pause(20);
  client.send('Host: a\r\n\r\n');
  const [request, response] = (await asked) as [{ socket: Socket }, { end(text: string): void }];
  expect([request.socket.remoteAddress, request.socket.remotePort]).toEqual(['2001:db8::7', 0x1234]);
  response.end('heard');
  await client.until(/heard/);
});
