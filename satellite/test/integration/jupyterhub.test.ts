/** A real JupyterHub, from PyPI, behind the proxy: at the root of a host name, and below a path of another. */
import { spawn } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { beforeAll, describe, expect, test } from 'vitest';
import { browserObstacle, openBrowser } from '../browser.ts';
import { cleanup, DOMAIN, freePort, NODE1, satellite, scratch } from '../support.ts';

/** A notebook server without a front end is enough: what is asked of it is said below. Kept between runs. */
const requirements = ['jupyterhub==6.1.1', 'jupyter-server==2.21.1', 'ipykernel==7.1.0'];
const folder = fileURLToPath(new URL('../../../node_modules/', import.meta.url));
const venv = join(folder, '.cache', requirements.join('-').replaceAll('==', '-'));

async function install(): Promise<void> {
  if (existsSync(venv)) return;
  await mkdir(dirname(venv), { recursive: true });
  const place = await mkdtemp(`${venv}.`);
  try {
    const script = fileURLToPath(new URL('../../../lab/virtual-environments.sh', import.meta.url));
    await execa('bash', [script, place], { input: `hub ${requirements.join(' ')}\n` });
    await rename(join(place, 'hub'), venv);
  } finally {
    await rm(place, { recursive: true, force: true });
  }
}

/** A hub of its own with the proxy that it brings along, on ports of NODE1; gives the port that visitors come in by, and adds to `stops` how it ends. */
async function hub(baseUrl: string, home: string, stops: (() => Promise<void>)[]): Promise<number> {
  const [port, api, inner] = await Promise.all([freePort(), freePort(), freePort()]);
  await mkdir(join(home, 'alice'));
  await writeFile(join(home, 'alice/hello.txt'), 'hello');
  const config = `
import sys
c.JupyterHub.bind_url = 'http://${NODE1}:${port}${baseUrl}'
c.JupyterHub.hub_bind_url = 'http://${NODE1}:${inner}'
c.JupyterHub.db_url = 'sqlite:///:memory:'
c.JupyterHub.cookie_secret = bytes(range(32))
c.JupyterHub.authenticator_class = 'dummy'
c.DummyAuthenticator.password = 'secret'
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = 'simple'
c.SimpleLocalProcessSpawner.home_dir_template = '${home}/{username}'
c.Spawner.ip = '${NODE1}'
c.Spawner.args = ['--allow-root']
# By its module: programs name the place that they were installed at, and this one has moved.
c.Spawner.cmd = [sys.executable, '-m', 'jupyterhub.singleuser']
c.Spawner.environment = {'JUPYTERHUB_SINGLEUSER_APP': 'jupyter_server.serverapp.ServerApp'}
c.Spawner.default_url = '/view/hello.txt'
c.ConfigurableHTTPProxy.api_url = 'http://${NODE1}:${api}'
c.ConfigurableHTTPProxy.command = ['${process.execPath}', '${folder}configurable-http-proxy/bin/configurable-http-proxy']
`;
  await writeFile(join(home, 'jupyterhub_config.py'), config);
  const child = spawn(join(venv, 'bin/python'), ['-m', 'jupyterhub', '-f', 'jupyterhub_config.py'], {
    cwd: home,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: `${venv}/bin:/usr/bin:/bin`, HOME: home, CONFIGPROXY_AUTH_TOKEN: 'of-this-test' },
  });
  stops.push(async () => {
    if (child.exitCode !== null) return;
    // It ends its proxy and the notebooks with it.
    child.kill('SIGTERM');
    await once(child, 'exit');
  });
  let said = '';
  for await (const line of createInterface({ input: child.stderr })) {
    said += `${line}\n`;
    if (line.includes('JupyterHub is now running')) {
      child.stderr.resume();
      return port;
    }
  }
  throw new Error(`JupyterHub ended:\n${said}`);
}

/** Where nothing may be left out, the tests run and fail. */
const leftOut = browserObstacle !== undefined && !process.env.START_JUPYTER_TEST_COMPLETE;
const note = leftOut ? ` (left out: ${browserObstacle})` : '';

/** What a page of a notebook server does to run a cell, with what it says is printed. */
const runCell = `(async () => {
  const base = location.pathname.replace(/view\\/.*/, '');
  const [, token] = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie) ?? [];
  const created = await fetch(base + 'api/kernels', { method: 'POST', headers: { 'X-XSRFToken': token }, body: '{}' });
  if (created.status !== 201) throw new Error('no kernel: ' + created.status + ' ' + (await created.text()));
  const { id } = await created.json();
  const socket = new WebSocket(base + 'api/kernels/' + id + '/channels');
  return new Promise((resolve, reject) => {
    socket.onerror = () => reject(new Error('the WebSocket failed'));
    socket.onopen = () => socket.send(JSON.stringify({
      channel: 'shell', parent_header: {}, metadata: {}, buffers: [],
      header: { msg_id: 'm1', msg_type: 'execute_request', username: '', session: 's1', version: '5.3' },
      content: { code: 'print(6 * 7)', silent: false, store_history: false, user_expressions: {}, allow_stdin: false },
    }));
    socket.onmessage = ({ data }) => {
      const { msg_type, content } = JSON.parse(data);
      if (msg_type === 'stream') resolve(content.text);
    };
  });
})()`;

describe.skipIf(leftOut)(`a JupyterHub${note}`, () => {
  beforeAll(install, 300_000);

  test('at the root of a host name and below a path: log in, spawn, run a cell', async () => {
    const [one, other] = [await scratch(), await scratch()];
    const stops: (() => Promise<void>)[] = [];
    cleanup(() => Promise.all(stops.map((stop) => stop())));
    const [atRoot, below] = await Promise.all([hub('/', one, stops), hub('/jhub/', other, stops)]);
    const state = join(await scratch(), 'state.sqlite');
    const { port } = await satellite({
      state,
      tls: { selfSigned: true },
      routes: {
        [`hub.${DOMAIN}`]: `http://${NODE1}:${atRoot}`,
        [`${DOMAIN}/jhub`]: `http://${NODE1}:${below}`,
      },
    });
    const { publicKey } = new X509Certificate(await readFile(`${state}.self-signed.pem`));
    const spki = publicKey.export({ type: 'spki', format: 'der' });
    const browser = await openBrowser(createHash('sha256').update(spki).digest('base64'));
    cleanup(() => browser.close());

    const visit = async (address: string): Promise<void> => {
      const page = await browser.newPage();
      await page.goto(address);
      await page.getByLabel('Username:').fill('alice');
      await page.getByLabel('Password:').fill('secret');
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.waitForURL(`${address}user/alice/view/hello.txt`, { timeout: 60_000 });
      expect(await page.evaluate(runCell)).toBe('42\n');
    };
    await Promise.all([`https://hub.${DOMAIN}:${port}/`, `https://${DOMAIN}:${port}/jhub/`].map(visit));
  });
});
