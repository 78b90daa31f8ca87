/** A real browser at the near end of `start-jupyter tunnel`, with OpenSSH in between. */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { expect, onTestFinished, test } from 'vitest';
import { installPackages } from '../../../lab/lab.ts';
import { temporaryDirectory } from '../../support/directories.ts';
import { launchHere } from '../../support/here.ts';
import { cluster, laptop } from '../../support/ssh-cluster.ts';
import { sshClient, startSshServer } from '../../support/sshd.ts';
import { openBrowser } from './browser.ts';
import { installJupyterLab } from './driver/direct-jupyter.ts';
import { JupyterLabPage } from './jupyterlab-page.ts';

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

  expect(await jupyter.runCell('6*7')).toBe('42');
  expect(await jupyter.terminal('echo $((6*7))')).toBe('42');
  const files = temporaryDirectory();
  const [sent, received] = [path.join(files, 'sent.bin'), path.join(files, 'received.bin')];
  writeFileSync(sent, randomBytes(200 * 1024 * 1024));
  await jupyter.upload(sent);
  await jupyter.download('sent.bin', received);
  const checksum = await sha256(sent);
  expect(await sha256(path.join(work, 'sent.bin'))).toBe(checksum);
  expect(await sha256(received)).toBe(checksum);

  server.connections.at(-1)?.drop();
  await launch.says('Connected again');
  // The same page: the port and the session are what they were.
  expect(await jupyter.runCell('7*6')).toBe('42');

  launch.kill('SIGINT');
  expect(await launch.ended).toMatchObject({ exitCode: 130 });
  await there.expectNothingLeft(new URL(url).searchParams.get('token') as string);
});

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}
