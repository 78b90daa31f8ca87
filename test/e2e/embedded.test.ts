/** The first command of a stranger: a machine without a scheduler and without Jupyter. */
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { installTools } from '../../lab/lab.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { launchHere } from '../support/here.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { type Browser, openBrowser } from './browser/browser.ts';
import { JupyterLabPage } from './browser/jupyterlab-page.ts';
import { NotebookPage } from './browser/notebook-page.ts';

const slurmOrJupyter = new RegExp(`${slurmPrograms.source}|^jupyter|^apt-get$`);

let browser: Browser;
let home: Home;

beforeAll(async () => {
  await installTools(console.error);
  browser = await openBrowser();
});
afterAll(() => browser.close());
beforeEach(() => {
  home = freshHome();
});

describe('where Jupyter is missing', () => {
  test('a launch without a terminal says how to get it, and installs nothing', async () => {
    const { exitCode, stdout, stderr } = await run(['--quiet'], {
      home,
      path: usualPrograms({ without: slurmOrJupyter }),
    });
    expect(exitCode).toBe(3);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/JupyterLab is not installed on this machine/);
    expect(stderr).toMatch(/--yes/);
    expect(existsSync(path.join(home.path, '.local/share/start-jupyter'))).toBe(false);
  });

  test('--yes installs JupyterLab from PyPI; it works in a browser, and the next launch finds it', async () => {
    const machine = { home, path: usualPrograms({ without: slurmOrJupyter }) };
    const launch = launchHere(['--yes', '--json'], machine);
    const { url, state } = JSON.parse((await launch.line()) as string);
    expect(state).toBe('ready');
    expect(url).toMatch(/^http:\/\/[a-z-]+\.localhost:\d+\/\?token=/);

    const tab = await browser.newPage();
    await tab.goto(url);
    const jupyter = new JupyterLabPage(tab);
    await jupyter.waitUntilReady();
    expect(await jupyter.runCell('6*7')).toBe('42');
    expect(await jupyter.terminal('echo $((6*7))')).toBe('42');
    await tab.close();
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);

    const again = launchHere(['--quiet'], machine);
    expect(await again.line()).toMatch(/^http:/);
    again.kill('SIGINT');
    await again.ended;
    // Hundreds of packages come from elsewhere.
  }, 600_000);

  test("takes Debian's package where PyPI can't be reached", async () => {
    // Stands in for apt-get, which has the real package installed already: it puts it where this machine can see it.
    const directory = temporaryDirectory();
    const aptGet = path.join(directory, 'apt-get');
    writeFileSync(
      aptGet,
      `#!/bin/bash\n[[ $* != install*jupyter-notebook ]] || ln -s /usr/bin/jupyter-notebook ${directory}/jupyter-notebook\n`,
      { mode: 0o755 },
    );
    const launch = launchHere(['--yes', '--quiet'], {
      home,
      path: `${directory}:${usualPrograms({ without: slurmOrJupyter })}`,
      env: { PIP_INDEX_URL: 'http://127.0.0.1:9/', PIP_RETRIES: '0', PIP_NO_INDEX: '1' },
    });
    const url = (await launch.line()) as string;
    expect(url).toMatch(/^http:\/\/[a-z-]+\.localhost:/);
    const tab = await browser.newPage();
    await tab.goto(url);
    const jupyter = new NotebookPage(tab);
    await jupyter.waitUntilReady();
    expect(await jupyter.runCell('6*7')).toBe('42');
    await tab.close();
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
  });
});
