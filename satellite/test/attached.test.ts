import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { SatelliteConfigInput } from '../src/config.ts';
import { ConfigError } from '../src/index.ts';
import { selfSignedCertificate } from '../src/tls.ts';
import { echoing, folder, isDirect, isEvent, journal, tunnel } from './behind-haproxy.ts';
import { haproxyIs } from './differences.ts';
import { satelliteCommand } from './integration/program.ts';
import {
  api,
  ask,
  cleanup,
  DOMAIN,
  freePort,
  NODE1,
  OUTSIDE,
  redeemed,
  satellite,
  secureWire,
  visit,
} from './support.ts';

/* A HAProxy that somebody else runs: here the tests, elsewhere systemd. */

const run = promisify(execFile);

/** Where HAProxy is chrooted to, as Debian's is, what of it is satellite's, and a configuration of its own. */
async function operator(more: Partial<SatelliteConfigInput> = {}) {
  const chroot = await folder();
  await chmod(chroot, 0o755);
  const directory = join(chroot, 'satellite');
  const [port, own] = [await freePort(OUTSIDE), await freePort(OUTSIDE)];
  const config: SatelliteConfigInput = {
    domain: DOMAIN,
    listen: `127.0.0.1:${port}`,
    tls: 'off',
    internalNetworks: ['127.21.0.0/16'],
    state: join(chroot, 'state'),
    engine: 'haproxy',
    haproxy: { directory, chroot, socket: join(directory, 'runtime.sock') },
    ...more,
  };
  await writeFile(
    join(chroot, 'own.cfg'),
    `global
  chroot ${chroot}
  user haproxy
  group haproxy
  tune.bufsize 16384
defaults
  mode http
  timeout client 1s
  timeout connect 1s
  timeout server 1s
frontend own
  bind 127.0.0.1:${own}
  http-request return status 200 content-type text/plain string own
`,
  );
  const part = join(chroot, 'satellite.cfg');
  /** What the operator does when a configuration has changed. */
  const print = async (wanted = config): Promise<void> => {
    await writeFile(join(chroot, 'satellite.yaml'), stringify(wanted));
    const command = ['haproxy-config', '--config', join(chroot, 'satellite.yaml')];
    const [program, ...args] = [...satelliteCommand, ...command];
    await writeFile(part, (await run(program, args)).stdout);
  };
  const start = async (): Promise<ChildProcess> => {
    const files = ['-f', join(chroot, 'own.cfg'), '-f', part];
    await run('haproxy', ['-c', ...files]);
    const child = spawn('haproxy', ['-db', ...files], { stdio: 'ignore' });
    cleanup(() => child.kill('SIGKILL'));
    return child;
  };
  return { directory, config, port, own, part, print, start };
}

async function end(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

test('one that somebody else runs serves beside what is its own, and finds everything again, whoever is started anew', async () => {
  const { directory, config, port, own, print, start } = await operator();
  const [first, second] = [journal(), journal()];
  await print();
  const before = await satellite(config, { log: first.log });
  expect(await first.when(isEvent('haproxy-away'))).toMatchObject({
    message: expect.stringMatching(/runtime\.sock can't be used: .*is HAProxy running/),
  });
  let haproxy = await start();
  await first.when(isEvent('haproxy-reconciled'));
  const upstream = await echoing();
  const [token, other] = [await redeemed(port, upstream.port), await redeemed(port, upstream.port)];
  for (const one of [token, other]) await isDirect(directory, port, one);
  expect((await ask(own, { host: 'own.test', from: OUTSIDE })).body).toBe('own');

  // HAProxy begins anew, and knows nothing.
  const from = first.entries.length;
  await end(haproxy);
  haproxy = await start();
  expect(await first.when(isEvent('haproxy-reconciled'), from)).toMatchObject({ sites: 2 });
  for (const one of [token, other]) await isDirect(directory, port, one);
  expect((await visit(port, token, { path: '/again' })).body).toBe('the notebook /again');
  // Since 3.3 lines of the log go where HAProxy's own do.
  if (haproxyIs({ before: '3.3' }))
    expect(await first.when(({ path }) => path === '/again')).toMatchObject({
      event: 'request',
      haproxy: '--',
      host: `${token.split('-')[0]}-…`,
    });

  // Satellite does: what is live goes on, with what is open there.
  const [kept, ended] = [await tunnel(port, token), await tunnel(port, other)];
  await before.stop();
  await kept.send('while nobody looks').until(/while nobody looks/);
  expect((await visit(port, token)).body).toBe('the notebook /');
  expect((await ask(port)).status).toBe(503);
  expect((await visit(port, token, { path: '/alone' })).body).toBe('the notebook /alone');
  const after = await satellite(config, { log: second.log });
  expect(await second.when(isEvent('haproxy-reconciled'))).toMatchObject({ sites: 2, added: 0, removed: 0 });
  expect((await api(port, 'DELETE', `/tokens/${other}`, undefined, NODE1)).status).toBe(204);
  await ended.ended();
  await kept.send('afterwards').until(/afterwards/);
  // What was asked meanwhile is in the log. (Of a line that is on its way in that moment HAProxy 2.8 knows nothing more.)
  if (haproxyIs({ before: '3.3' })) await second.when(({ path }) => path === '/alone');

  await after.close();
  expect(haproxy.exitCode).toBeNull();
  const started = [...first.entries, ...second.entries].map(({ event }) => event);
  expect(started.filter((event) => /^haproxy-(?:started|ended|differs)$/.test(event))).toEqual([]);
});

test('one with another configuration is told nothing, and forgets what it was told', async () => {
  const { config, directory, port, part, print, start } = await operator();
  await print({ ...config, limits: { answerTime: '7m' } });
  const [old, now] = [journal(), journal()];
  const health = () => ask(port, { path: '/healthz', from: OUTSIDE });
  const before = await satellite({ ...config, limits: { answerTime: '7m' } }, { log: old.log });
  let haproxy = await start();
  await old.when(isEvent('haproxy-reconciled'));
  const upstream = await echoing();
  const token = await redeemed(port, upstream.port);
  await isDirect(directory, port, token);
  const open = await tunnel(port, token);
  await before.stop();

  const proxy = await satellite({ ...config, metricsListen: '127.0.0.1:0' }, { log: now.log });
  expect(await now.when(isEvent('haproxy-differs'))).toMatchObject({
    message: expect.stringMatching(/another one than this satellite prints.*"satellite haproxy-config/),
  });
  await open.ended();
  // Served all the same, by satellite.
  expect((await visit(port, token, { path: '/x' })).body).toBe('the notebook /x');
  expect(await now.when(({ path }) => path === '/x')).not.toHaveProperty('haproxy');
  // So it is no reason to go elsewhere.
  await expect.poll(health).toMatchObject({
    status: 200,
    body: expect.stringMatching(/^ok\n.*another configuration.*see the log/),
  });

  await print();
  await end(haproxy);
  haproxy = await start();
  await now.when(isEvent('haproxy-reconciled'));
  await isDirect(directory, port, token);
  await expect.poll(async () => (await health()).body).toBe('ok\n');

  // Without satellite's part there is nothing to be found, and nobody comes in.
  await end(haproxy);
  const [socketLine] = /^ *stats socket .*$/m.exec(await readFile(part, 'utf8')) ?? [];
  await writeFile(part, `global\n${socketLine}\n`);
  await start();
  const message = expect.stringMatching(/has none of what satellite prints/);
  const from = now.entries.length;
  expect(await now.when(isEvent('haproxy-differs'), from)).toMatchObject({ message });
  const { status, body } = await ask(proxy.metricsAddress?.port ?? 0, { path: '/healthz', from: OUTSIDE });
  expect([status, body]).toEqual([503, expect.stringMatching(/^HAProxy .*see the log/)]);
});

test('one that somebody else runs shows the certificate of now', async () => {
  const files = await folder();
  const both = join(files, 'both.pem');
  const make = async (): Promise<string> => {
    const { cert, fingerprint } = selfSignedCertificate(DOMAIN, undefined);
    await writeFile(both, cert);
    return fingerprint;
  };
  const { config, port, print, start } = await operator({ tls: { cert: both, key: both } });
  await make();
  await print();
  const first = await satellite(config);
  await start();
  await first.close();
  const renewed = await make();
  const { log, when } = journal();
  const second = await satellite(config, { log });
  await when(isEvent('haproxy-reconciled'));
  const shown = async (): Promise<string> => {
    const socket = await secureWire(port, `manage.${DOMAIN}`);
    return socket.getPeerCertificate().fingerprint256;
  };
  while ((await shown()) !== renewed) await pause(10);
  const again = await make();
  second.reload();
  while ((await shown()) !== again) await pause(10);
});

test.each([
  [{ directory: undefined }, /haproxy\.directory: is needed with haproxy\.socket/],
  [{ directory: '/elsewhere/satellite' }, /haproxy\.directory: must be below haproxy\.chroot/],
  [{ threads: 2 }, /haproxy\.threads: is said in the configuration of who runs HAProxy/],
  [{ socket: undefined }, /haproxy\.chroot: is for a HAProxy that somebody else runs/],
  [{ user: 'nobody-knows' }, /haproxy\.user: there is no user nobody-knows on this host/],
])('what goes wrong with %j is said in words', async (keys, message) => {
  const { config } = await operator();
  const started = satellite({ ...config, haproxy: { ...config.haproxy, ...keys } });
  await expect(started).rejects.toThrow(ConfigError);
  await expect(started).rejects.toThrow(message);
});
