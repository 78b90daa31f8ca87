/** Behind a proxy that asks visitors who they are, links hold no secret, and the owner says who else may come in. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testWith } from '../support/command.ts';
import { freshHome, temporaryDirectory } from '../support/directories.ts';
import { launchHere } from '../support/here.ts';
import { type RunOptions, run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { type SatelliteProcess, startSatelliteProcess } from '../support/satellite.ts';
import { saveSession } from '../support/sessions.ts';

const { run: testWithJupyter, note } = testWith('jupyter-notebook');

let satellite: SatelliteProcess;
/** One that believes its front, which is this test, who visits. */
let behindFront: SatelliteProcess;

beforeAll(async () => {
  const directory = temporaryDirectory();
  const users = path.join(directory, 'users');
  const gatedBy = (name: string, settings: object) => {
    const config = path.join(directory, `${name}.yaml`);
    writeFileSync(config, JSON.stringify(settings));
    return startSatelliteProcess('--config', config);
  };
  // Nobody signs in here: satellite/test/integration/jupyter.test.ts does.
  writeFileSync(users, '');
  [satellite, behindFront] = await Promise.all([
    gatedBy('htpasswd', { auth: { htpasswd: users } }),
    gatedBy('header', { auth: { header: 'X-Remote-User' }, trustedProxies: ['127.0.0.1/32'] }),
  ]);
});
afterAll(() => Promise.all([satellite.stop(), behindFront.stop()]));

/** A workstation of one's own that knows this proxy. */
function workstation({ endpoint, caFile, env }: SatelliteProcess): RunOptions {
  const site = path.join(temporaryDirectory(), 'site.yaml');
  const system = {
    title: 'Test',
    scheduler: 'none',
    detect: {},
    proxy: { endpoint, caFile },
    nodeAddress: '127.0.0.1',
  };
  writeFileSync(site, JSON.stringify({ systems: { test: system }, service: 'notebook' }));
  return {
    home: freshHome(),
    path: usualPrograms({ without: slurmPrograms }),
    env: { ...env, START_JUPYTER_SITE_CONFIG: site },
  };
}

describe(`behind a proxy that asks who visits${note}`, () => {
  testWithJupyter('a session is its owner’s, and he shares it', async () => {
    const how = workstation(satellite);
    const { home } = how;
    const launch = launchHere(['--here', '--system', 'test'], how);
    const url = (await launch.line())?.trim() ?? '';
    expect(url).toMatch(/^https:\/\/[a-z]+(-[a-z]+)+\.sites\.localhost:\d+\/$/);
    await launch.says('It opens for you alone, once you have signed in.');
    const [id = ''] = readdirSync(home.sessions);
    const jupyterToken = readFileSync(path.join(home.sessions, id, 'secrets/jupyter-token'), 'utf8');
    for (const headers of [{}, { authorization: `token ${jupyterToken}` }])
      expect((await satellite.ask(`${url}api/sessions?token=${jupyterToken}`, headers)).status).toBe(401);

    const share = async (...args: string[]) => {
      const { exitCode, stdout } = await run(['share', id, ...args, '--json'], how);
      return { exitCode, ...JSON.parse(stdout) };
    };
    const owner = os.userInfo().username;
    expect(await share('bob', 'carol')).toEqual({ exitCode: 0, id, owner, sharedWith: ['bob', 'carol'] });
    expect(await share('--remove', 'bob')).toEqual({ exitCode: 0, id, owner, sharedWith: ['carol'] });
    expect(await share()).toEqual({ exitCode: 0, id, owner, sharedWith: ['carol'] });
    expect((await run(['url', id], how)).stdout).toBe(`${url}\n`);

    launch.kill('SIGINT');
    const { exitCode, stderr } = await launch.ended;
    expect([exitCode, `${stderr}${readFileSync(path.join(home.sessions, id, 'job.log'), 'utf8')}`]).toEqual([
      130,
      expect.not.stringContaining(jupyterToken),
    ]);
    expect((await run(['share', id, 'bob'], how)).exitCode).toBe(6);
  });

  testWithJupyter('a notebook that stays is for the same people after it was started again', async () => {
    const how = workstation(behindFront);
    const launch = () => launchHere(['--here', '--system', 'test', '--keep-link', 'desk'], how);
    const asks = async (url: string, user: string) =>
      (await behindFront.ask(`${url}api/sessions`, { 'x-remote-user': user })).status;
    const owner = os.userInfo().username;

    const first = launch();
    const url = (await first.line())?.trim() ?? '';
    expect([await asks(url, owner), await asks(url, 'bob'), await asks(url, 'carol')]).toEqual([
      200, 403, 403,
    ]);
    const [id = ''] = readdirSync(how.home.sessions);
    expect((await run(['share', id, 'bob'], how)).exitCode).toBe(0);
    expect(await asks(url, 'bob')).toBe(200);
    first.kill('SIGTERM');
    await first.ended;
    expect([await asks(url, owner), await asks(url, 'carol')]).toEqual([502, 403]);

    const second = launch();
    expect((await second.line())?.trim()).toBe(url);
    expect([await asks(url, owner), await asks(url, 'bob'), await asks(url, 'carol')]).toEqual([
      200, 200, 403,
    ]);
    second.kill('SIGINT');
    await second.ended;
  });
});

it('a session whose proxy asks nobody can not be shared, and says so', async () => {
  const home = freshHome();
  saveSession(home, 'abcdef');
  const { exitCode, stderr } = await run(['share', 'abcdef', 'bob'], {
    home,
    path: usualPrograms({ without: slurmPrograms }),
  });
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining('does not ask visitors who they are')]);
});
