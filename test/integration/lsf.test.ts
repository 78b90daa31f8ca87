/** Launches on LSF from end to end: the built launcher, a real satellite, a real Jupyter, and a stand-in that runs the job. */
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, vi } from 'vitest';
import { testWith } from '../support/command.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { secretsOf } from '../support/here.ts';
import { baggage } from '../support/job-report.ts';
import { testKilledLaunches } from '../support/killed-launch.ts';
import { type Lsf, standInForLsf } from '../support/lsf.ts';
import { allEnded, filesHolding, processesWithHome } from '../support/processes.ts';
import { type Ran, type RunOptions, run, usualPrograms } from '../support/program.ts';
import { type SatelliteProcess, startSatelliteProcess } from '../support/satellite.ts';
import { reportKeys } from '../support/sessions.ts';

const { run: test, note } = testWith('jupyter-notebook');

let satellite: SatelliteProcess;
let home: Home;
let lsf: Lsf;
let env: Readonly<Record<string, string>>;

beforeAll(async () => {
  satellite = await startSatelliteProcess();
});
afterAll(() => satellite.stop());

/** Programs that make a machine look like a login node of another scheduler. */
const otherSchedulers = /^(?:s(?:batch|queue|info|acct|acctmgr|cancel|control|run|alloc)|q\w+|pbs\w*)$/;

beforeEach(() => {
  home = freshHome();
  lsf = standInForLsf();
  const site = path.join(temporaryDirectory(), 'site.yaml');
  writeFileSync(
    site,
    JSON.stringify({
      systems: {
        test: {
          title: 'Test',
          scheduler: 'lsf',
          detect: { env: { TEST_CLUSTER: 'yes' } },
          proxy: { endpoint: satellite.endpoint, caFile: satellite.caFile },
          nodeAddress: '127.0.0.1',
        },
      },
      service: 'notebook',
    }),
  );
  env = { ...satellite.env, START_JUPYTER_SITE_CONFIG: site, TEST_CLUSTER: 'yes' };
});

const programs = () => `${lsf.commands}:${usualPrograms({ without: otherSchedulers })}`;
const login = (): RunOptions => ({ home, path: programs(), env });
const call = (...args: string[]): Promise<Ran> => run(args, login());

/** One of LSF's own commands, behind the launcher's back. */
async function command(name: string, ...args: string[]): Promise<void> {
  await execa(path.join(lsf.commands, name), args, { cwd: home.path });
}

interface Report {
  readonly id: string;
  readonly jobId: string;
  readonly url: string;
  readonly log: string;
}

/** A launch that must succeed. */
async function launched(...args: string[]): Promise<Report> {
  const { exitCode, stdout, stderr } = await call('--json', ...args);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout);
}

const status = async () => JSON.parse((await call('status', '--json')).stdout);

async function untilStatus(expected: object): Promise<void> {
  await expect.poll(status, { timeout: 60_000, interval: 500 }).toMatchObject(expected);
}

/** No job, no process, no token, no secret in any file of home or of the scheduler. */
async function expectNothingLeft(url: string): Promise<void> {
  await vi.waitFor(
    () => expect(lsf.cluster.jobs().filter(({ stat }) => !/DONE|EXIT/.test(stat))).toEqual([]),
    60_000,
  );
  await allEnded(home.path);
  await vi.waitFor(() => expect(satellite.tokensInUse()).toEqual([]), 60_000);
  const { jupyterToken, words } = secretsOf(url);
  expect(filesHolding([home.path, lsf.cluster.directory], [jupyterToken, words])).toEqual([]);
}

describe(`on LSF${note}`, () => {
  test('a launch ends at a link behind which Jupyter answers, and "stop" ends all of it', async () => {
    const brought = baggage(home);
    const report = await launched(
      ...['--wait', '-t', '20', '-N', '1', '-c', '2', '-m', '1', '-g', 'a100:1', '-R', 'course', '-C', 'ib'],
      ...['-A', 'abc123', '-p', 'short', ...brought.options],
    );
    expect(Object.keys(report)).toEqual(reportKeys);
    expect(report).toMatchObject({ scheduler: 'lsf', state: 'ready', jobId: '101' });
    const { jupyterToken, words } = secretsOf(report.url);
    const { origin } = new URL(report.url);
    expect((await satellite.ask(`${origin}/api/sessions?token=${jupyterToken}`)).status).toBe(200);
    expect((await satellite.ask(`${origin}/api/sessions`)).status).toBe(403);

    expect(lsf.cluster.job('101')?.options).toEqual({
      '-J': 'start-jupyter',
      '-o': '/dev/null',
      '-rn': 'yes',
      '-P': 'abc123',
      '-q': 'short',
      '-W': '0:20',
      '-n': '2',
      '-M': '1024MB',
      '-U': 'course',
      '-R': 'span[hosts=1] rusage[mem=1024MB] select[ib]',
      '-gpu': 'num=1:gmodel=a100',
    });
    expect(brought.report()).toMatchObject({ ...brought.expected('101'), LSB_QUEUE: 'short' });
    expect((await call('logs')).stdout).toMatch(/LSF job 101 on .*\n(?:.*\n)*.*The site is open\./);

    // The scheduler knows neither of the two secrets, and the log is the user's alone.
    expect(filesHolding([lsf.cluster.directory], [jupyterToken, words])).toEqual([]);
    const processes = processesWithHome(home.path).map((each) => each.commandLine + each.environment);
    expect(processes.filter((text) => text.includes(jupyterToken) || text.includes(words))).toEqual([]);
    expect(statSync(report.log).mode & 0o077).toBe(0);

    const stopped = await call('stop', report.id);
    expect(stopped).toMatchObject({ exitCode: 0, stdout: '' });
    // The job tells the launcher first.
    await vi.waitFor(
      async () => expect((await satellite.ask(report.url)).body).toContain('Stopped with'),
      30_000,
    );
    expect(await status()).toMatchObject({ state: 'ended', url: null });
    await expectNothingLeft(report.url);
  });

  test('a held job waits, says so, and becomes a site when it is let go', async () => {
    const report = await launched('--', '-H');
    expect(report).toMatchObject({ state: 'queued' });
    expect((await call('status')).stdout).toContain('Waiting in the queue: held; "bresume" lets it go');
    await command('bresume', report.jobId);
    await untilStatus({ state: 'ready' });
    await call('stop', '--all');
    await expectNothingLeft(report.url);
  });

  test('a job that is killed while it waits ends the session, and gives the token back', async () => {
    const report = await launched('--', '-H');
    await command('bkill', report.jobId);
    await untilStatus({ state: 'ended', reason: 'The job was cancelled.' });
    await expectNothingLeft(report.url);
  });

  test('a job that is killed behind our back cleans up after itself and says so', async () => {
    const report = await launched('--wait');
    await command('bkill', report.jobId);
    await vi.waitFor(() => expect(satellite.tokensInUse()).toEqual([]), 60_000);
    await untilStatus({ state: 'ended', reason: 'The job was cancelled.' });
    await expectNothingLeft(report.url);
  });

  test('the end of its time is the end of the session', async () => {
    // Minutes of ten seconds: the run limit comes in time for the script, whose own clock has four.
    lsf.set({ minute: 10_000 });
    const report = await launched('--wait', '-t', '4s');
    await vi.waitFor(() => expect(lsf.cluster.job(report.jobId)?.stat).toBe('EXIT'), 60_000);
    expect(lsf.cluster.job(report.jobId)?.exitReason).toMatch(/^TERM_RUNLIMIT/);
    await untilStatus({ state: 'ended', reason: 'The time limit was reached.' });
    await expectNothingLeft(report.url);
  });

  test('while nobody answers nothing is gone; afterwards all is as before', async () => {
    lsf.set({ estimates: false });
    const report = await launched('--wait');
    lsf.set({ down: true });
    const unseen = await call('status');
    expect(unseen.exitCode).toBe(0);
    expect(unseen.stdout).toContain('The scheduler does not answer right now: LSF is down');
    expect(await status()).toMatchObject({ state: 'ready', url: report.url });
    const refused = await call('stop', report.id);
    expect(refused.exitCode).toBe(5);
    expect(refused.stderr).toContain("The scheduler can't be reached");
    const launch = await call();
    expect(launch).toMatchObject({ exitCode: 5, stdout: '' });
    expect(launch.stderr).toContain("LSF can't be reached: LSF is down");

    lsf.set({ down: false });
    expect((await call('stop', report.id)).exitCode).toBe(0);
    await expectNothingLeft(report.url);
  });

  describe('of a launch that was killed while it submitted', () => {
    testKilledLaunches(test, {
      ...{ login, call, command, status, untilStatus, expectNothingLeft },
      submit: () => path.join(lsf.commands, 'bsub'),
      jobId: '101',
      held: ['--', '-H'],
      release: 'bresume',
    });
  });

  test('what bsub refuses leaves nothing', async () => {
    const { exitCode, stdout, stderr } = await call('--', '-q', 'nosuch');
    expect({ exitCode, stdout }).toEqual({ exitCode: 5, stdout: '' });
    expect(stderr).toContain('LSF refuses the job: nosuch: No such queue.');
    expect(readdirSync(home.sessions)).toEqual([]);
    await vi.waitFor(() => expect(satellite.tokensInUse()).toEqual([]), 60_000);
  });

  test.each([
    [['-p', 'shortt'], /there is no partition "shortt".*\n.*Known: normal, short/],
    [['--gres', 'gpu:1'], /word of Slurm/],
    [['-C', 'a&b'], /the name of one resource/],
    [['--', '-K'], /start-jupyter sets this option itself/],
    [['--', 'train.sh'], /bsub would run it in place of the session/],
    [['--', '-W', '6'], /-t LIMIT/],
  ])('%j is refused before the proxy is asked', async (args, message) => {
    const { exitCode, stdout, stderr } = await call(...args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(lsf.cluster.jobs()).toEqual([]);
    expect(existsSync(home.sessions) ? readdirSync(home.sessions) : []).toEqual([]);
  });
});
