/** `--open` and `open`: the browser of this machine, in whose place a program writes down what it was told to show. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, it } from 'vitest';
import { testWith } from '../support/command.ts';
import { freshHome, type Home } from '../support/directories.ts';
import { launchHere } from '../support/here.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { recording } from '../support/recordings.ts';
import { saveSession } from '../support/sessions.ts';
import { type Stubs, stubCommands } from '../support/stubs.ts';

const { run: testWithJupyter, note } = testWith('jupyter-notebook');

let home: Home;
let stubs: Stubs;

beforeEach(() => {
  home = freshHome();
  stubs = stubCommands();
  stubs.add('xdg-open', {});
});

const machine = (env: Readonly<Record<string, string>> = { DISPLAY: ':0' }) => ({
  home,
  path: `${stubs.directory}:${usualPrograms({ without: new RegExp(`${slurmPrograms.source}|^xdg-open$`) })}`,
  env,
});

/** The page that the browser was told to show; the program may write it down a moment later. */
async function shownPage(): Promise<string> {
  const call = () => stubs.calls().find((line) => line.startsWith('xdg-open '));
  await expect.poll(call).toBeDefined();
  const target = call()?.slice('xdg-open '.length) ?? '';
  return target.startsWith('file:') ? fileURLToPath(target) : target;
}

describe(`--open${note}`, () => {
  testWithJupyter(
    'shows a private page that leads to the link, without the token among the arguments',
    async () => {
      const launch = launchHere(['--json', '--open'], machine());
      const { id, url } = JSON.parse((await launch.line()) ?? '{}');
      const page = await shownPage();
      expect(stubs.calls().join('\n')).not.toContain(new URL(url).searchParams.get('token'));
      expect(page).toBe(path.join(home.sessions, id, 'secrets', 'open.html'));
      expect(readFileSync(page, 'utf8')).toContain(`url=${url}"`);
      expect(statSync(page).mode & 0o077).toBe(0);
      launch.kill('SIGINT');
      await launch.ended;
      expect(existsSync(page)).toBe(false);
    },
  );

  testWithJupyter('without a display says so, and the session stands', async () => {
    const launch = launchHere(['--open', '--qr'], machine({}));
    expect(await launch.line()).toContain('http://');
    await launch.says('No browser can be opened: there is no display here. Open the link yourself.');
    await launch.says('▀');
    expect(stubs.calls()).toEqual([]);
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
  });
});

describe('open', () => {
  const session = () => {
    for (const command of ['squeue', 'sacct'])
      stubs.add(command, recording(`slurm-22.05/${command}-running`));
    saveSession(home, 'abcdef', { events: [['ready']] });
  };

  it('shows the link of a session', async () => {
    session();
    expect(await run(['open', 'abc'], machine())).toMatchObject({ exitCode: 0, stdout: '' });
    expect(readFileSync(await shownPage(), 'utf8')).toContain('https://one-two-three.sites.test/?token=');
  });

  it('says where it can not', async () => {
    session();
    rmSync(path.join(stubs.directory, 'xdg-open'));
    const without = await run(['open', 'abc'], machine());
    expect(without.exitCode).toBe(3);
    expect(without.stderr).toMatch(/there is no xdg-open here/);
    const ran = await run(['open', 'abc'], machine({}));
    expect(ran.exitCode).toBe(3);
    expect(ran.stderr).toMatch(/there is no display here.*\n.*start-jupyter url abcdef/);
  });

  it('of a session that is over is refused', async () => {
    saveSession(home, 'abcdef', {
      secrets: false,
      record: { outcome: { state: 'ended', reason: 'Over.', at: '2026-11-21T22:00:00.000Z' } },
    });
    expect(await run(['open'], machine())).toMatchObject({ exitCode: 6, stdout: '' });
    expect(readdirSync(stubs.directory)).not.toContain('.calls');
  });
});
