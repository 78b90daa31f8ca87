/** A real browser at the site of a workstation that is brought to a satellite by ssh. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { installPackages } from '../../../lab/lab.ts';
import { makeIssuedCertificate } from '../../../satellite/test/certificate.ts';
import { freshHome, temporaryDirectory } from '../../support/directories.ts';
import { launchHere } from '../../support/here.ts';
import { run, slurmPrograms, usualPrograms } from '../../support/program.ts';
import { startSatelliteProcess } from '../../support/satellite.ts';
import { sshClient, startSshServer } from '../../support/sshd.ts';
import { openBrowser } from './browser.ts';
import { installJupyterLab } from './driver/direct-jupyter.ts';
import { JupyterLabPage } from './jupyterlab-page.ts';
import { expectToWork } from './work.ts';

test('JupyterLab works through ssh from a workstation, and goes on after the connection broke', async () => {
  await installPackages(['openssh-client', 'openssh-server'], 'the connection', console.error);
  const venv = path.dirname(path.dirname(await installJupyterLab()));
  const { ca, cert, key } = await makeIssuedCertificate(temporaryDirectory(), 'sites.localhost');
  const satellite = await startSatelliteProcess('--tls-cert', cert, '--tls-key', key);
  onTestFinished(() => satellite.stop());
  const server = await startSshServer();
  server.authorize();
  const home = freshHome();
  const work = path.join(home.path, 'work');
  mkdirSync(work);
  const site = path.join(temporaryDirectory(), 'site.yaml');
  const proxy = { endpoint: satellite.endpoint, caFile: ca };
  writeFileSync(
    site,
    JSON.stringify({ systems: { desk: { title: 'Desk', scheduler: 'none', detect: {}, proxy } } }),
  );
  const how = {
    home,
    path: `${sshClient({ '127.0.0.1': { server } })}:${usualPrograms({ without: slurmPrograms })}`,
    env: { START_JUPYTER_SITE_CONFIG: site },
  };
  const via = `${server.user}@127.0.0.1:${server.port}`;
  const options = ['--system', 'desk', '--via', via, '--lab', '--venv', venv, '-d', work, '--quiet'];
  const { stderr } = await run(options, how);
  server.authorize(/^restrict,.*$/m.exec(stderr)?.[0] ?? '');
  const launch = launchHere(options, how);
  const url = (await launch.line()) as string;

  const browser = await openBrowser({ caFile: ca });
  onTestFinished(() => browser.close());
  const tab = await browser.newPage();
  await tab.goto(url);
  const jupyter = new JupyterLabPage(tab);
  await jupyter.waitUntilReady();
  await expectToWork(jupyter, work);

  await jupyter.closeConnectionErrors();
  const { length } = server.connections;
  server.connections.at(-1)?.drop();
  await expect.poll(() => server.connections.length, { timeout: 30_000 }).toBeGreaterThan(length);
  await tab.reload();
  await jupyter.waitUntilReady();
  expect(await jupyter.runCell('7*6')).toBe('42');

  launch.kill('SIGINT');
  expect((await launch.ended).exitCode).toBe(130);
  await expect.poll(() => satellite.tokensInUse()).toEqual([]);
});
