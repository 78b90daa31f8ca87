/** A real browser where sites are paths of one host name, and where visitors are asked who they are. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { makeIssuedCertificate } from '../../../satellite/test/certificate.ts';
import { collaborativeLab, install, startJupyter } from '../../../satellite/test/integration/jupyters.ts';
import { line } from '../../../satellite/test/person.ts';
import { freshHome, temporaryDirectory } from '../../support/directories.ts';
import { type HereLaunch, launchHere, secretsOf } from '../../support/here.ts';
import { slurmPrograms, usualPrograms } from '../../support/program.ts';
import { startSatelliteProcess } from '../../support/satellite.ts';
import { type Browser, openBrowser } from './browser.ts';
import { JupyterLabPage } from './jupyterlab-page.ts';
import { expectToCollaborate, expectToWork } from './work.ts';

let certificate: Awaited<ReturnType<typeof makeIssuedCertificate>>;
let venv: string;

beforeAll(async () => {
  certificate = await makeIssuedCertificate(temporaryDirectory(), 'sites.localhost');
  venv = path.dirname(path.dirname(await install(collaborativeLab.from)));
});

/** Its name is not the same in paths of addresses. */
const folder = 'our work';

/** A link into JupyterLab, for the folder or a notebook of it. */
function linkTo(url: string, place: string): string {
  const { href, search } = new URL(url);
  return new URL(`lab/tree/${encodeURI(place)}${search}`, href).href;
}

interface Launched {
  readonly url: string;
  /** Where the person works, below what Jupyter shows. */
  readonly work: string;
  readonly launch: HereLaunch;
  /** One that trusts the proxy's certificate; another call is another person. */
  person(): Promise<Browser>;
}

/** JupyterLab here, behind a proxy of this test's own that was started with these options. */
async function launched(...options: readonly string[]): Promise<Launched> {
  const { ca, cert, key } = certificate;
  const satellite = await startSatelliteProcess('--tls-cert', cert, '--tls-key', key, ...options);
  onTestFinished(() => satellite.stop());
  const home = freshHome();
  const work = path.join(home.path, 'work');
  mkdirSync(path.join(work, folder), { recursive: true });
  const site = path.join(temporaryDirectory(), 'site.yaml');
  const proxy = { endpoint: satellite.endpoint, caFile: ca };
  const system = { title: 'Test', scheduler: 'none', detect: {}, proxy, nodeAddress: '127.0.0.1' };
  writeFileSync(site, JSON.stringify({ systems: { test: system } }));
  const launch = launchHere(['--here', '--system', 'test', '--lab', '--venv', venv, '-d', work], {
    home,
    path: usualPrograms({ without: slurmPrograms }),
    env: { ...satellite.env, START_JUPYTER_SITE_CONFIG: site },
  });
  const url = (await launch.line())?.trim();
  if (url === undefined) throw new Error(`it ended: ${(await launch.ended).stderr}`);
  return {
    url,
    work: path.join(work, folder),
    launch,
    async person() {
      const browser = await openBrowser({ caFile: ca });
      onTestFinished(() => browser.close());
      return browser;
    },
  };
}

/** Everything of JupyterLab works in this tab, and with a colleague in another browser, until the launch is ended. */
async function expectToServe(tab: Page, { url, work, launch, person }: Launched): Promise<void> {
  await tab.goto(linkTo(url, folder));
  const jupyter = new JupyterLabPage(tab);
  await jupyter.waitUntilReady();
  await expectToWork(jupyter, work);
  await jupyter.openNotebook('Untitled.ipynb');
  const colleague = new JupyterLabPage(await (await person()).newPage());
  await colleague.page.goto(linkTo(url, `${folder}/Untitled.ipynb`));
  await colleague.waitUntilReady();
  await expectToCollaborate(jupyter, colleague);

  const { pathname } = new URL(url);
  expect(new URL(tab.url()).pathname.startsWith(`${pathname}lab`)).toBe(true);
  launch.kill('SIGINT');
  expect(await launch.ended).toMatchObject({ exitCode: 130 });
  expect((await tab.goto(new URL(pathname, url).href))?.status()).toBe(410);
}

test('JupyterLab works at a path of a host name, for who has its token, until it ends', async () => {
  const site = await launched('--site-style', 'path');
  const tab = await (await site.person()).newPage();
  const { words } = secretsOf(site.url);
  await tab.goto(new URL(`/${words}/`, site.url).href);
  expect(new URL(tab.url()).pathname).toBe(`/${words}/login`);
  await expectToServe(tab, site);
});

test('JupyterLab works at a name of its own through HAProxy, until it ends', async () => {
  const site = await launched('--engine', 'haproxy');
  await expectToServe(await (await site.person()).newPage(), site);
});

test('JupyterLab works for its owner, who signs in, and opens for nobody else', async () => {
  const owner = os.userInfo().username;
  const directory = temporaryDirectory();
  const users = path.join(directory, 'users');
  const config = path.join(directory, 'satellite.yaml');
  writeFileSync(users, line(owner) + line('somebody-else'));
  writeFileSync(config, JSON.stringify({ auth: { htpasswd: users } }));
  const { url, work, person } = await launched('--config', config);
  const signIn = async (user: string, link = url) => {
    const tab = await (await person()).newPage();
    await tab.goto(link);
    expect(new URL(tab.url()).hostname).toBe('auth.sites.localhost');
    await tab.getByLabel('User name').fill(user);
    await tab.getByLabel('Password').fill(`${user}'s password`);
    await tab.getByRole('button', { name: 'Sign in' }).click();
    return tab;
  };

  const jupyter = new JupyterLabPage(await signIn(owner, linkTo(url, folder)));
  await jupyter.waitUntilReady();
  await expectToWork(jupyter, work);
  await jupyter.openNotebook('Untitled.ipynb');
  const again = new JupyterLabPage(await signIn(owner, linkTo(url, `${folder}/Untitled.ipynb`)));
  await again.waitUntilReady();
  await expectToCollaborate(jupyter, again);

  const refused = await signIn('somebody-else');
  await refused.waitForURL(({ hostname }) => hostname === new URL(url).hostname);
  expect((await refused.reload())?.status()).toBe(403);
});

test('JupyterLab at a host that is named directly works in a frame of its portal, and shows in no other', async () => {
  const { path: home } = freshHome();
  const token = randomUUID();
  const jupyter = await startJupyter(collaborativeLab, token, home, '127.0.0.1');
  onTestFinished(() => jupyter.stop());
  let framed = '';
  const { ca, cert, key } = certificate;
  // Of the same site as what they frame, as browsers see it: to others they deny the storage that JupyterLab needs.
  const pages = https.createServer(
    { cert: readFileSync(cert), key: readFileSync(key) },
    (_request, response) => {
      response.setHeader('content-type', 'text/html');
      response.end(`<!doctype html><iframe src="${framed}" style="width: 100%; height: 95vh"></iframe>`);
    },
  );
  pages.listen(0, '127.0.0.1');
  onTestFinished(() => void pages.close());
  await once(pages, 'listening');
  const page = (name: string) => `https://${name}.sites.localhost:${(pages.address() as AddressInfo).port}`;
  const config = path.join(temporaryDirectory(), 'satellite.yaml');
  const rule = {
    ...{ hosts: ['localhost'], networks: ['127.0.0.0/8', '::1/128'], ports: String(jupyter.port) },
    frameAncestors: [page('portal')],
  };
  writeFileSync(config, JSON.stringify({ directHosts: [rule] }));
  const satellite = await startSatelliteProcess('--tls-cert', cert, '--tls-key', key, '--config', config);
  onTestFinished(() => satellite.stop());
  framed = `https://localhost-${jupyter.port}.${satellite.endpoint}/lab?token=${token}`;
  const browser = await openBrowser({ caFile: ca });
  onTestFinished(() => browser.close());

  const tab = await browser.newPage();
  await tab.goto(page('portal'));
  const lab = new JupyterLabPage(tab, tab.frameLocator('iframe'));
  await lab.waitUntilReady();
  expect(await lab.runCell('6*7')).toBe('42');
  expect(await lab.terminal('echo $((6*7))')).toBe('42');

  const other = await browser.newPage();
  const refused = other.waitForEvent('console', (message) => message.text().includes('frame-ancestors'));
  await other.goto(page('another'));
  expect((await refused).text()).toContain(`frame-ancestors 'self' ${page('portal')}`);
  expect(other.frames().map((frame) => new URL(frame.url()).protocol)).toEqual(['https:', 'chrome-error:']);
});
