import { copyFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { processSpace } from '../../src/sessions/local-process.ts';
import { testWith } from '../support/command.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { ask, type HereLaunch, launchHere, runtimeDirectories, secretsOf } from '../support/here.ts';
import { allEnded, filesHolding, processesWithHome } from '../support/processes.ts';
import { run, runInto, slurmPrograms, usualPrograms } from '../support/program.ts';
import { reportKeys } from '../support/sessions.ts';

const { run: testWithJupyter, note } = testWith('jupyter-notebook');

let home: Home;

beforeEach(() => {
  home = freshHome();
});

/** A machine without a scheduler. */
const workstation = (without = slurmPrograms) => ({ home, path: usualPrograms({ without }) });

/** The link of a launch, once its site answers. */
async function linkOf(launch: HereLaunch): Promise<string> {
  const link = await launch.line();
  if (link === undefined) throw new Error(`it ended: ${(await launch.ended).stderr}`);
  return link.trim();
}

/** No process, no secret, no file in /tmp, and a record of what became of it. */
async function expectNothingLeft(link: string, runtime: readonly string[]): Promise<void> {
  await allEnded(home.path);
  expect(runtime.filter((directory) => existsSync(directory))).toEqual([]);
  const { jupyterToken, words } = secretsOf(link);
  expect(filesHolding([home.path], [jupyterToken, words])).toEqual([]);
  const [id = ''] = readdirSync(home.sessions);
  expect(existsSync(path.join(home.sessions, id, 'secrets'))).toBe(false);
}

const status = async () => JSON.parse((await run(['status', '--json'], workstation())).stdout);

describe(`on a machine without a scheduler${note}`, () => {
  testWithJupyter('--quiet prints one line: a link that lets its owner in and nobody else', async () => {
    const launch = launchHere(['--quiet'], workstation());
    const link = await linkOf(launch);
    expect(link).toMatch(/^http:\/\/[a-z]+(?:-[a-z]+)+\.localhost:\d+\/\?token=[0-9a-f]{48}$/);
    const { jupyterToken, words } = secretsOf(link);

    expect((await ask(link, `/api/sessions?token=${jupyterToken}`)).status).toBe(200);
    expect((await ask(link, '/api/sessions', { authorization: `token ${jupyterToken}` })).status).toBe(200);
    expect((await ask(link, '/api/sessions')).status).toBe(403);
    expect((await ask(link, `/api/sessions?token=${jupyterToken.slice(1)}0`)).status).toBe(403);
    expect((await ask(link, '/api/contents', { authorization: 'token ' })).status).toBe(403);

    const running = processesWithHome(home.path);
    expect(running.length).toBeGreaterThan(2);
    expect(
      running.filter(({ commandLine, environment }) => `${commandLine}${environment}`.includes(jupyterToken)),
    ).toEqual([]);
    expect(
      running.filter(({ commandLine, environment }) => `${commandLine}${environment}`.includes(words)),
    ).toEqual([]);
    const runtime = runtimeDirectories(home.path);
    expect(runtime).toHaveLength(1);
    for (const directory of [...runtime, home.sessions]) expect(statSync(directory).mode & 0o077).toBe(0);
    for (const file of filesHolding([home.path, ...runtime], [jupyterToken]))
      expect([file, statSync(file).mode & 0o077]).toEqual([file, 0]);

    launch.kill('SIGINT');
    const { exitCode, stdout, stderr } = await launch.ended;
    expect({ exitCode, stdout }).toEqual({ exitCode: 130, stdout: `${link}\n` });
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    await expectNothingLeft(link, runtime);
    expect(await status()).toMatchObject({ state: 'ended', url: null });
  });

  testWithJupyter('--json prints the object of the SPEC, and nothing else on stdout', async () => {
    const launch = launchHere(['--json', '-d', '/'], workstation());
    const report = JSON.parse((await launch.line()) ?? '{}');
    expect(Object.keys(report)).toEqual(reportKeys);
    expect(report).toMatchObject({
      system: 'generic-none',
      scheduler: 'none',
      access: 'local',
      jobId: null,
      state: 'ready',
      directory: '/',
      expiresAt: null,
    });
    expect(Date.parse(report.submittedAt)).toBeGreaterThan(Date.now() - 120_000);
    expect(readFileSync(report.script, 'utf8')).toMatch(/^#!\/bin\/bash\n/);
    await expect.poll(() => readFileSync(report.log, 'utf8')).toContain('The site is open.');
    const { jupyterToken } = secretsOf(report.url);
    const contents = await ask(report.url, `/api/contents?token=${jupyterToken}`);
    expect(contents.body).toContain('"etc"');

    const others = await run(['list', '--json'], workstation());
    expect(JSON.parse(others.stdout)).toMatchObject([{ id: report.id, state: 'ready', url: report.url }]);

    const runtime = runtimeDirectories(home.path);
    launch.kill('SIGTERM');
    expect(await launch.ended).toMatchObject({ exitCode: 130, stdout: `${JSON.stringify(report)}\n` });
    await expectNothingLeft(report.url, runtime);
  });

  testWithJupyter('a launcher that is killed takes Jupyter and its secrets with it', async () => {
    const launch = launchHere(['--quiet'], workstation());
    const link = await linkOf(launch);
    const runtime = runtimeDirectories(home.path);
    expect(runtime).toHaveLength(1);
    launch.kill('SIGKILL');
    await launch.ended;
    await expectNothingLeft(link, runtime);
    expect(await status()).toMatchObject({
      state: 'ended',
      reason: 'start-jupyter was killed, and the session ended with it.',
    });
  });

  testWithJupyter('a Ctrl-C before it is ready leaves nothing either', async () => {
    const launch = launchHere([], workstation());
    await launch.says('waiting for Jupyter');
    const runtime = runtimeDirectories(home.path);
    launch.kill('SIGINT');
    const { exitCode, stdout, stderr } = await launch.ended;
    expect({ exitCode, stdout }).toEqual({ exitCode: 130, stdout: '' });
    expect(stderr).toContain('Interrupted');
    await allEnded(home.path);
    expect(runtime.filter((directory) => existsSync(directory))).toEqual([]);
    const [id = ''] = readdirSync(home.sessions);
    expect(existsSync(path.join(home.sessions, id, 'secrets'))).toBe(false);
  });

  testWithJupyter('a reader who goes away keeps nothing from coming up or being cleaned up', async () => {
    const launch = launchHere([], workstation());
    await launch.says('Starting');
    launch.stopListening();
    const link = await linkOf(launch);
    expect((await ask(link, '/api')).status).toBe(200);
    const runtime = runtimeDirectories(home.path);
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
    await expectNothingLeft(link, runtime);
  });

  testWithJupyter('a link that can not be written ends it', async () => {
    const { exitCode, stderr } = await runInto('/dev/full', ['--json'], workstation());
    expect(stderr).toContain(
      "The link can't be written (no space left on device), so the session was ended.",
    );
    expect(exitCode).toBe(6);
    await allEnded(home.path);
    expect(await status()).toMatchObject({ state: 'ended', url: null });
  });

  testWithJupyter('"stop" from elsewhere ends it', async () => {
    const launch = launchHere(['--json'], workstation());
    const { id, url } = JSON.parse((await launch.line()) ?? '{}');
    const runtime = runtimeDirectories(home.path);
    const stopped = await run(['stop', id], workstation());
    expect(stopped).toMatchObject({ exitCode: 0, stdout: '' });
    expect(stopped.stderr).toContain('Stopped with "start-jupyter stop"');
    expect(await launch.ended).toMatchObject({ exitCode: 0 });
    await expectNothingLeft(url, runtime);
  });

  testWithJupyter(
    'a record that is removed before the launcher has looked was of a session that ended',
    async () => {
      // Nothing of the session needs the launcher, which can be held therefore.
      const launch = launchHere(['--json', '--access', 'ssh'], workstation());
      const { id } = JSON.parse((await launch.line()) ?? '{}');
      const { local } = JSON.parse(readFileSync(path.join(home.sessions, id, 'session.json'), 'utf8'));
      expect(local).toMatchObject(processSpace());
      launch.kill('SIGSTOP');
      expect(await run(['stop', id], workstation())).toMatchObject({ exitCode: 0 });
      expect((await run(['prune'], workstation())).stderr).toBe(`Removed: ${id}\n`);
      launch.kill('SIGCONT');
      expect(await launch.ended).toMatchObject({ exitCode: 0 });
    },
  );

  testWithJupyter('Jupyter that is killed ends it with the true reason', async () => {
    const launch = launchHere([], workstation());
    const link = await linkOf(launch);
    const runtime = runtimeDirectories(home.path);
    const jupyter = processesWithHome(home.path).find(({ commandLine }) =>
      commandLine.includes('jupyter_start_config.py'),
    );
    process.kill(jupyter?.pid as number, 'SIGKILL');
    const { exitCode, stderr } = await launch.ended;
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(/killed .*signal 9/);
    await expectNothingLeft(link, runtime);
    expect(await status()).toMatchObject({ state: 'failed', reason: expect.stringContaining('signal 9') });
  });

  testWithJupyter('two at once have a site each', async () => {
    const launches = [launchHere(['-q'], workstation()), launchHere(['-q'], workstation())];
    const [one = '', other = ''] = await Promise.all(launches.map(linkOf));
    expect(new URL(one).host).not.toBe(new URL(other).host);
    for (const link of [one, other])
      expect((await ask(link, `/api/sessions?token=${secretsOf(link).jupyterToken}`)).status).toBe(200);
    expect((await ask(one, `/api/sessions?token=${secretsOf(other).jupyterToken}`)).status).toBe(403);
    launches[0]?.kill('SIGINT');
    await launches[0]?.ended;
    expect((await ask(other, '/api')).status).toBe(200);
  });

  describe.each<[string, RegExp, Readonly<Record<string, string>>?]>([
    ['curl', /^(?:wget|python3.*)$/],
    ['wget', /^(?:curl|python3.*)$/],
    ['python3', /^(?:wget|curl)$/],
    ['a curl of 2013', /^(?:wget|python3.*)$/, { curl: 'curl-7.29-stand-in.sh' }],
    ['a wget of 2012', /^(?:curl|python3.*)$/, { wget: 'wget-1.14-stand-in.sh' }],
    ["python3 and BusyBox's wget", /^curl$/, { wget: 'wget-of-busybox-stand-in.sh' }],
    ['python3 and Wget2', /^curl$/, { wget: 'wget2-stand-in.sh' }],
  ])('with nothing but %s for requests', (_, missing, standIns = {}) => {
    testWithJupyter('it comes up and ends', async () => {
      const place = temporaryDirectory();
      for (const [name, script] of Object.entries(standIns))
        copyFileSync(path.join(import.meta.dirname, '../support', script), path.join(place, name));
      const usual = workstation(new RegExp(`${slurmPrograms.source}|${missing.source}`));
      // What a user asks of these programs is not for here.
      writeFileSync(path.join(home.path, '.curlrc'), 'head\noutput = "/dev/null"\n');
      writeFileSync(path.join(home.path, '.wgetrc'), 'spider = on\n');
      const launch = launchHere(['--json'], { ...usual, path: `${place}:${usual.path}` });
      const { url } = JSON.parse((await launch.line()) ?? '{}');
      expect((await ask(url, '/api')).status).toBe(200);
      const runtime = runtimeDirectories(home.path);
      launch.kill('SIGINT');
      expect((await launch.ended).exitCode).toBe(130);
      await expectNothingLeft(url, runtime);
    });
  });

  testWithJupyter('with nothing for requests at all it fails with that reason', async () => {
    const path = usualPrograms({ without: new RegExp(`${slurmPrograms.source}|^(?:wget|curl|python3.*)$`) });
    const { exitCode, stdout, stderr } = await run([], { home, path });
    expect({ exitCode, stdout }).toEqual({ exitCode: 6, stdout: '' });
    expect(stderr).toContain('Neither curl, wget nor python3');
  });
});

it('where Jupyter is missing says how to get it, and installs nothing without being told to', async () => {
  const without = new RegExp(`${slurmPrograms.source}|^jupyter`);
  const { exitCode, stdout, stderr } = await run([], { home, path: usualPrograms({ without }) });
  expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' });
  expect(stderr).toMatch(/JupyterLab is not installed/);
  expect(stderr).toContain('--yes');
  expect(existsSync(path.join(home.path, '.local', 'share'))).toBe(false);
});
