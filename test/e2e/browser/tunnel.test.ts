/** A real browser at the near end of `start-jupyter tunnel`, with OpenSSH in between. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { installPackages } from '../../../lab/lab.ts';
import { launchHere } from '../../support/here.ts';
import { cluster, laptop } from '../../support/ssh-cluster.ts';
import { sshClient, startSshServer } from '../../support/sshd.ts';
import { openBrowser } from './browser.ts';
import { installJupyterLab } from './driver/direct-jupyter.ts';
import { JupyterLabPage } from './jupyterlab-page.ts';
import { expectToWork } from './work.ts';

test('JupyterLab works through a tunnel, and goes on after the connection broke', async () => {
  await installPackages(['openssh-client', 'openssh-server'], 'the tunnel', console.error);
  const venv = path.dirname(path.dirname(await installJupyterLab()));
  const server = await startSshServer();
  const there = cluster({});
  const work = path.join(there.home.path, 'work');
  mkdirSync(work);
  const options = ['--remote-command', there.program, '--lab', '--venv', venv, '-d', work];
  const launch = launchHere(['tunnel', 'login', ...options], laptop(sshClient({ login: { server } })));
  const browser = await openBrowser();
  onTestFinished(() => browser.close());
  const url = (await launch.line()) as string;
  const tab = await browser.newPage();
  await tab.goto(url);
  const jupyter = new JupyterLabPage(tab);
  await jupyter.waitUntilReady();

  await expectToWork(jupyter, work);

  await jupyter.closeConnectionErrors();
  server.connections.at(-1)?.drop();
  await launch.says('Connected again');
  // The same page: the port and the session are what they were.
  expect(await jupyter.runCell('7*6')).toBe('42');

  launch.kill('SIGINT');
  expect(await launch.ended).toMatchObject({ exitCode: 130 });
  await there.expectNothingLeft(new URL(url).searchParams.get('token') as string);
});
