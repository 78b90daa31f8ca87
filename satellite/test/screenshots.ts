/*
 * Pictures of every page a visitor can see, from a real proxy that is driven over its API, into docs/images/pages/.
 * node satellite/test/screenshots.ts
 */
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { startSatellite } from '../src/index.ts';
import { openBrowser } from './browser.ts';

const folder = fileURLToPath(new URL('../../docs/images/pages/', import.meta.url));
const DOMAIN = 'user-content.test';

const satellite = await startSatellite({
  domain: DOMAIN,
  listen: '127.0.0.1:0',
  tls: 'off',
  internalNetworks: ['127.0.0.0/8'],
  jobStateNetworks: ['127.0.0.0/8'],
  state: ':memory:',
});

async function api(method: string, path: string, body?: unknown): Promise<{ token: string; site: string }> {
  const outgoing = request({
    host: '127.0.0.1',
    port: satellite.address.port,
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

const broken = createServer((incoming) => incoming.socket.destroy()).listen(0, '127.0.0.1');
await once(broken, 'listening');
const running = { state: 'RUNNING' };
const soon = new Date(Date.now() + (26 * 60 + 12) * 1000).toISOString();

const pages: Record<string, string> = {
  waiting: await session(undefined),
  queued: await session({ state: 'PENDING', position: 3, estimatedStart: soon, reason: 'Priority' }),
  'queued-held': await session({ state: 'PENDING', reason: 'AssocGrpCPUMinutesLimit' }),
  starting: await session(running, phase('environment')),
  checking: await session(running, phase('checking')),
  failed: await session(
    running,
    phase(
      'failed',
      'Jupyter could not be started: the module "anaconda3/2031.05" does not exist.\n' +
        "ERROR: Unable to locate a modulefile for 'anaconda3/2031.05'\n" +
        '[launch] module load anaconda3/2031.05 ended with status 1\n[launch] giving up after 2 s',
    ),
    destroy,
  ),
  'time-limit': await session(running, redeem(8888), () =>
    api('POST', '/jobs', [{ id: String(jobs), state: 'TIMEOUT' }]),
  ),
  ended: await session(running, phase('ended', 'You shut Jupyter down.'), destroy),
  trouble: await session(running, redeem((broken.address() as AddressInfo).port)),
  unknown: satellite.siteUrl('no-such-name'),
};

const looks = {
  light: { colorScheme: 'light', width: 1280, height: 800 },
  dark: { colorScheme: 'dark', width: 1280, height: 800 },
  phone: { colorScheme: 'light', width: 375, height: 720 },
} as const;

await mkdir(folder, { recursive: true });
const browser = await openBrowser();
try {
  const page = await browser.newPage();
  for (const [name, url] of Object.entries(pages)) {
    for (const [look, { colorScheme, ...size }] of Object.entries(looks)) {
      await page.setViewportSize(size);
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.goto(url);
      await page.screenshot({ path: `${folder}${name}-${look}.png`, fullPage: true });
    }
  }
} finally {
  await browser.close();
  await satellite.close();
  broken.close();
}
