/*
 * Pictures of every page a visitor can see, from a real proxy that is driven over its API, into docs/images/pages/.
 * node satellite/test/screenshots.ts [PAGE …]
 * Where pngquant is installed, they are made small with it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hashSync } from 'bcryptjs';
import type { Page } from 'playwright-core';
import { startSatellite } from '../src/index.ts';
import { openBrowser } from './browser.ts';

const folder = fileURLToPath(new URL('../../docs/images/pages/', import.meta.url));
/** A page may notify in a secure context only; for browsers this is one. */
const DOMAIN = 'localhost';

const start = (more: object = {}) =>
  startSatellite({
    domain: DOMAIN,
    listen: '127.0.0.1:0',
    tls: 'off',
    internalNetworks: ['127.0.0.0/8'],
    jobStateNetworks: ['127.0.0.0/8'],
    state: ':memory:',
    title: 'Example University HPC',
    help: 'https://docs.example.edu/jupyter',
    contact: 'mailto:help@example.edu',
    ...more,
  });
const satellite = await start({ limits: { answerTime: '1s' } });
/** Whose visitors have guessed too often already, without an operator's lines. */
const strict = await start({
  title: undefined,
  help: undefined,
  contact: undefined,
  limits: { unknownNamesPerMinute: 1 },
});
/** That goes away under a page. */
const leaving = await start();
/** Whose sites are paths, beside a fixed one on a host name of its own where nobody is. */
const shared = await start({ siteStyle: 'path', routes: { [`hub.${DOMAIN}`]: 'http://127.0.0.1:1' } });

/** That ask who visits: by themselves, and a front. */
const usersFile = join(await mkdtemp(join(tmpdir(), 'screenshots-')), 'users');
await writeFile(usersFile, `alice:${hashSync("alice's password", 4)}\n`);
const asking = await start({ auth: { htpasswd: usersFile }, trustedProxies: ['192.0.2.1'] });
const fronted = await start({ auth: { header: 'X-Remote-User' }, trustedProxies: ['127.0.0.0/8'] });
const at = ({ address }: typeof asking, label: string) => `http://${label}.${DOMAIN}:${address.port}/`;

async function api(
  method: string,
  path: string,
  body?: unknown,
  port = satellite.address.port,
): Promise<{ token: string; site: string }> {
  const outgoing = request({
    host: '127.0.0.1',
    port,
    method,
    path: `/api/v1${path}`,
    headers: { Host: `manage.${DOMAIN}` },
    agent: false,
  });
  outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = await once(outgoing, 'response');
  const text = Buffer.concat(await response.toArray()).toString();
  if (response.statusCode >= 300) throw new Error(`${method} ${path}: ${response.statusCode} ${text}`);
  return JSON.parse(text || '{}');
}

let jobs = 4710;

/** A token with a job of its own, in the state that a page should show. */
async function session(
  job: object | undefined,
  ...then: ((token: string) => Promise<unknown>)[]
): Promise<string> {
  const { token, site } = await api('POST', '/tokens');
  if (job) {
    jobs += 1;
    await api('PUT', `/tokens/${token}/job`, { jobId: String(jobs) });
    await api('POST', '/jobs', [{ id: String(jobs), ...job }]);
  }
  for (const step of then) await step(token);
  return site;
}

const phase = (name: string, reason?: string) => (token: string) =>
  api('PUT', `/tokens/${token}/phase`, { phase: name, reason });
const redeem = (port: number) => (token: string) => api('POST', `/tokens/${token}/redeem`, { port });
const destroy = (token: string) => api('DELETE', `/tokens/${token}`);

async function notebook(listener: RequestListener): Promise<Server> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}
const broken = await notebook((incoming) => incoming.socket.destroy());
const silent = await notebook(() => undefined);
const working = await notebook((_, response) => response.end());
/** Will go away. */
const leavingNotebook = await notebook((_, response) => response.end());
const portOf = (server: Server) => (server.address() as AddressInfo).port;

const running = { state: 'RUNNING' };
const soon = new Date(Date.now() + (26 * 60 + 12) * 1000).toISOString();
const ends = (state: string) => () => api('POST', '/jobs', [{ id: String(jobs), state }]);
/** A session behind the front, of this owner if of any. */
async function sessionOf(owner: string | undefined): Promise<string> {
  const { port } = fronted.address;
  const { token } = await api('POST', '/tokens', undefined, port);
  if (owner !== undefined)
    await api('PUT', `/tokens/${token}/access`, { owner, jupyterToken: 'x'.repeat(48) }, port);
  return at(fronted, token);
}

/** Fills in the form for name and password. */
async function signIn(page: Page, password: string): Promise<void> {
  await page.getByLabel('User name').fill('alice');
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** What leads to the picture once the page is open. */
type Then = (page: Page) => Promise<unknown>;

const pages: Record<string, [url: string, then?: Then]> = {
  waiting: [await session(undefined)],
  submitted: [await session(undefined, (token) => api('PUT', `/tokens/${token}/job`, { jobId: '4710' }))],
  queued: [await session({ state: 'PENDING', position: 3, estimatedStart: soon, reason: 'Priority' })],
  'queued-no-estimate': [await session({ state: 'PENDING', reason: 'Priority' })],
  'queued-held': [await session({ state: 'PENDING', reason: 'JobHeldUser' })],
  'queued-limit': [await session({ state: 'PENDING', position: 1, reason: 'AssocGrpCPUMinutesLimit' })],
  'starting-1-allocated': [await session(running)],
  'starting-2-environment': [await session(running, phase('environment'))],
  'starting-3-jupyter': [await session(running, phase('jupyter'))],
  'starting-4-checking': [await session(running, phase('checking'))],
  live: [await session(running, phase('checking')), live],
  ended: [await session(running, phase('ended', 'You shut Jupyter down.'), destroy)],
  cancelled: [await session(running, redeem(8888), ends('CANCELLED'))],
  'time-limit': [await session(running, redeem(8888), ends('TIMEOUT'))],
  'out-of-memory': [await session(running, redeem(8888), ends('OUT_OF_MEMORY'))],
  'node-failure': [await session(running, redeem(8888), ends('NODE_FAIL'))],
  failed: [
    await session(
      running,
      phase(
        'failed',
        'Jupyter could not be started: the module "anaconda3/2031.05" does not exist.\n' +
          "ERROR: Unable to locate a modulefile for 'anaconda3/2031.05'\n" +
          '[launch] module load anaconda3/2031.05 ended with status 1\n[launch] giving up after 2 s',
      ),
      destroy,
    ),
  ],
  gone: [await session(undefined, destroy)],
  unknown: [satellite.siteUrl('abacus-abdomen-abide')],
  mistyped: [satellite.siteUrl('abacus-abdommen-abide')],
  'trouble-refused': [
    await session(running, redeem(portOf(leavingNotebook))),
    async (page) => {
      leavingNotebook.close();
      await page.reload();
    },
  ],
  'trouble-broken': [await session(running, redeem(portOf(broken)))],
  'trouble-timeout': [await session(running, redeem(portOf(silent)))],
  'too-many-requests': [strict.siteUrl('abacus-abdomen-abide'), (page) => page.reload()],
  'no-answer': [shared.manageUrl.replace('manage.', 'hub.')],
  'other-session': [
    await api('POST', '/tokens', undefined, shared.address.port).then(({ site }) => site),
    (page) => page.goto(page.url(), { referer: shared.siteUrl('abacus-abdomen-abide') }),
  ],
  'sign-in': [at(asking, 'auth')],
  'sign-in-wrong': [at(asking, 'auth'), (page) => signIn(page, 'wrong')],
  'signed-in': [at(asking, 'auth'), (page) => signIn(page, "alice's password")],
  'signed-out': [
    at(asking, 'auth'),
    async (page) => {
      await signIn(page, "alice's password");
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.getByRole('heading', { name: 'You are signed out' }).waitFor();
    },
  ],
  'not-signed-in': [`${at(asking, 'auth')}callback`],
  'not-yours': [await sessionOf('alice')],
  nobodys: [await sessionOf(undefined)],
  'proxy-away': [
    await api('POST', '/tokens', undefined, leaving.address.port).then(({ site }) => site),
    async (page) => {
      await leaving.close();
      await page.getByText('can not be reached').waitFor();
    },
  ],
};

/** Who is notified elsewhere finds the page like this, until it has the focus again. */
async function live(page: Page): Promise<void> {
  await page.getByRole('button').click();
  await page.evaluate('document.hasFocus = () => false');
  const token = new URL(page.url()).hostname.split('.', 1)[0];
  await api('POST', `/tokens/${token}/redeem`, { port: portOf(working) });
  await page.getByRole('heading', { name: 'Jupyter is ready' }).waitFor();
}

const looks = {
  light: { colorScheme: 'light', width: 1000, height: 620 },
  dark: { colorScheme: 'dark', width: 1000, height: 620 },
  phone: { colorScheme: 'light', width: 375, height: 667 },
} as const;

await mkdir(folder, { recursive: true });
const wanted = process.argv.slice(2);
const files: string[] = [];
const browser = await openBrowser();
try {
  for (const [name, [url, then]] of Object.entries(pages)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const page = await browser.newPage({
      reducedMotion: 'reduce',
      locale: 'en-GB',
      permissions: ['notifications'],
      extraHTTPHeaders: url.includes(`:${fronted.address.port}/`) ? { 'X-Remote-User': 'bob' } : {},
    });
    await page.goto(url);
    await then?.(page);
    for (const [look, { colorScheme, ...size }] of Object.entries(looks)) {
      await page.setViewportSize(size);
      await page.emulateMedia({ colorScheme });
      const path = `${folder}${name}-${look}.png`;
      await page.screenshot({ path, fullPage: true });
      files.push(path);
    }
    await page.close();
  }
} finally {
  await browser.close();
  await Promise.all([satellite, strict, leaving, shared, asking, fronted].map((one) => one.close()));
  for (const server of [broken, silent, working, leavingNotebook]) server.close();
  await rm(dirname(usersFile), { recursive: true });
}
if (spawnSync('pngquant', ['--version']).status === 0)
  execFileSync('pngquant', ['--force', '--ext', '.png', '--speed', '1', '--strip', '64', ...files]);
