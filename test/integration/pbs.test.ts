/** Launches on PBS from end to end: the built launcher, a real satellite, a real Jupyter, and a stand-in that runs the job. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, vi } from 'vitest';
import { clusterOfOne } from '../support/batch-cluster.ts';
import { testWith } from '../support/command.ts';
import { runtimeDirectories, secretsOf } from '../support/here.ts';
import { baggage } from '../support/job-report.ts';
import { testKilledLaunches } from '../support/killed-launch.ts';
import { filesHolding, processesWithHome } from '../support/processes.ts';
import { reportKeys } from '../support/sessions.ts';

const { run: test, note } = testWith('jupyter-notebook');
const cluster = clusterOfOne('pbs');
const { call, command, expectNothingLeft, launched, status, untilStatus, untilTokensAreBack } = cluster;

describe(`on PBS${note}`, () => {
  test('a launch ends at a link behind which Jupyter answers, and "stop" ends all of it', async () => {
    const brought = baggage(cluster.home);
    const report = await launched(
      ...['--wait', '-t', '20', '-N', '1', '-c', '1', '-m', '512M', '-A', 'abc123', '-p', 'debug'],
      ...brought.options,
    );
    expect(Object.keys(report)).toEqual(reportKeys);
    expect(report).toMatchObject({ scheduler: 'pbs', state: 'ready', jobId: '1.pbs-head' });
    const { jupyterToken, words } = secretsOf(report.url);
    const { origin } = new URL(report.url);

    expect((await cluster.satellite.ask(`${origin}/api/sessions?token=${jupyterToken}`)).status).toBe(200);
    expect((await cluster.satellite.ask(`${origin}/api/sessions`)).status).toBe(403);

    expect(cluster.pbs.state.job('1.pbs-head')).toMatchObject({
      name: 'start-jupyter',
      account: 'abc123',
      queue: 'debug',
      rerunable: false,
      shell: '/bin/bash',
      resources: { ncpus: 1, mem: '512mb', walltime: '00:20:00' },
    });
    expect(brought.report()).toMatchObject({
      ...brought.expected('1.pbs-head'),
      PBS_JOBNAME: 'start-jupyter',
      PBS_QUEUE: 'debug',
    });
    expect(JSON.parse((await call('list', '--json')).stdout)).toMatchObject([
      { id: report.id, state: 'ready' },
    ]);
    const seen = await status();
    expect(seen).toMatchObject({ state: 'ready', url: report.url });
    expect(Date.parse(seen.expiresAt)).toBe(
      (cluster.pbs.state.job('1.pbs-head')?.stime ?? 0) * 1000 + 1200_000,
    );
    expect((await call('logs')).stdout).toMatch(/PBS job 1\.pbs-head on .*\n(?:.*\n)*.*The site is open\./);

    // The scheduler knows neither of the two secrets, and the log is the user's alone.
    expect(filesHolding([cluster.pbs.state.directory], [jupyterToken, words])).toEqual([]);
    const processes = processesWithHome(cluster.home.path).map((each) => each.commandLine + each.environment);
    expect(processes.filter((text) => text.includes(jupyterToken) || text.includes(words))).toEqual([]);
    expect(statSync(report.log).mode & 0o077).toBe(0);

    const stopped = await call('stop', report.id);
    expect(stopped).toMatchObject({ exitCode: 0, stdout: '' });
    expect(stopped.stderr).toContain('Stopped with "start-jupyter stop"');
    await untilTokensAreBack();
    expect((await cluster.satellite.ask(report.url)).body).toContain('Stopped with');
    expect(await status()).toMatchObject({ state: 'ended', url: null });
    await expectNothingLeft(report.url);
    // What PBS itself collected went to a file of its own, not over the log.
    expect((await call('logs')).stdout).toContain('The site is open.');
    expect(readFileSync(`${report.log}.pbs`, 'utf8')).toBe('');
  });

  test('a held job waits, says so, and becomes a site when it is let go', async () => {
    const report = await launched('--', '-h');
    expect(report).toMatchObject({ state: 'queued' });
    expect((await call('status')).stdout).toContain('Waiting in the queue: held by you');
    await command('qrls', report.jobId);
    await untilStatus({ state: 'ready' });
    const { jupyterToken } = secretsOf(report.url);
    const { origin } = new URL(report.url);
    expect((await cluster.satellite.ask(`${origin}/api/sessions?token=${jupyterToken}`)).status).toBe(200);
    await call('stop', '--all');
    await expectNothingLeft(report.url);
  });

  test('a job deleted while it waits ends the session, and gives the token back', async () => {
    const report = await launched('--', '-h');
    await command('qdel', report.jobId);
    await untilStatus({ state: 'ended', reason: 'The job was deleted before it ran.' });
    await expectNothingLeft(report.url);
  });

  test('"stop" of a job that waits gives the token back', async () => {
    const report = await launched('--', '-h');
    expect((await call('stop', report.id)).exitCode).toBe(0);
    expect(await status()).toMatchObject({ state: 'ended', reason: expect.stringContaining('Stopped') });
    await expectNothingLeft(report.url);
  });

  test('a job that can never run says why it waits', async () => {
    const report = await launched('-c', '4000');
    expect((await call('status')).stdout).toContain(
      'Can Never Run: Insufficient amount of resource: ncpus (R: 4000 A: 2 T: 2)',
    );
    await call('stop', report.id);
    await expectNothingLeft(report.url);
  });

  test('a job that is deleted behind our back cleans up after itself and says so', async () => {
    const report = await launched('--wait');
    await command('qdel', report.jobId);
    await untilTokensAreBack();
    await untilStatus({ state: 'ended', reason: 'The job was cancelled.' });
    await expectNothingLeft(report.url);
  });

  test('a job whose processes are all killed is found out, and cleaned up after', async () => {
    const report = await launched('--wait');
    const { session } = cluster.pbs.state.job(report.jobId) ?? {};
    const runtime = runtimeDirectories(cluster.home.path);
    for (const { pid } of processesWithHome(cluster.home.path))
      if (readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[3] === String(session))
        process.kill(pid, 'SIGKILL');
    await untilStatus({ state: 'failed', reason: expect.stringMatching(/killed by signal 9/) });
    await expectNothingLeft(report.url);
    // Nobody was left on the node to remove its directory.
    for (const directory of runtime) rmSync(directory, { recursive: true });
  });

  test('the end of its time is the end of the session', async () => {
    const report = await launched('-t', '4s');
    await vi.waitFor(() => expect(cluster.pbs.state.job(report.jobId)?.state).toBe('F'), 60_000);
    expect(cluster.pbs.state.job(report.jobId)).toMatchObject({ exitStatus: -29 });
    expect(await status()).toMatchObject({ state: 'ended', reason: 'The time limit was reached.' });
    await expectNothingLeft(report.url);
  });

  test('while the server does not answer nothing is gone; afterwards all is as before', async () => {
    const report = await launched('--wait');
    cluster.pbs.set({ down: true });
    const unseen = await call('status');
    expect(unseen.exitCode).toBe(0);
    expect(unseen.stdout).toContain('The scheduler does not answer right now: cannot connect to server');
    expect(await status()).toMatchObject({ state: 'ready', url: report.url });
    expect(JSON.parse((await call('list', '--json')).stdout)).toMatchObject([{ state: 'ready' }]);
    const refused = await call('stop', report.id);
    expect(refused.exitCode).toBe(5);
    expect(refused.stderr).toContain("The scheduler can't be reached");
    const launch = await call();
    expect(launch).toMatchObject({ exitCode: 5, stdout: '' });
    expect(launch.stderr).toContain("PBS can't be reached: cannot connect to server pbs-head");

    cluster.pbs.set({ down: false });
    expect(await status()).toMatchObject({ state: 'ready' });
    expect((await call('stop', report.id)).exitCode).toBe(0);
    await expectNothingLeft(report.url);
  });

  test('broken JSON and a server without history change nothing', async () => {
    cluster.pbs.set({ brokenJson: true, history: false });
    const report = await launched('--wait');
    expect(await status()).toMatchObject({ state: 'ready' });
    expect((await call('stop', report.id)).exitCode).toBe(0);
    expect(await status()).toMatchObject({ state: 'ended', reason: expect.stringContaining('Stopped') });
    await expectNothingLeft(report.url);
  });

  describe('of a launch that was killed while it submitted', () => {
    testKilledLaunches(test, {
      ...cluster,
      submit: () => path.join(cluster.pbs.commands, 'qsub'),
      jobId: '1.pbs-head',
      held: ['--', '-h'],
      release: 'qrls',
    });
  });

  test.each([
    [['--', '-q', 'nosuchqueue'], 'it knows no such queue (Unknown queue)'],
    [['--', '-l', 'select=banana'], 'it can not read what is asked for (Illegal attribute'],
    [['--', '-l', 'select=1:ncpus=1:nosuch=3'], 'it knows no such resource (Unknown resource: nosuch)'],
    [['-t', '2h', '--', '-q', 'debug'], 'it asks for more than the queue or the server allows (Job'],
  ])('what qsub refuses leaves nothing: %j', async (options, words) => {
    const { exitCode, stdout, stderr } = await call(...options);
    expect({ exitCode, stdout }).toEqual({ exitCode: 5, stdout: '' });
    const [line = '', ...more] = stderr
      .trimEnd()
      .split('\n')
      .filter((each) => /^(?:start-jupyter:| {2})/.test(each));
    expect(line).toContain(`PBS refuses the job: ${words}`);
    expect(more.length).toBeLessThanOrEqual(1);
    expect(readdirSync(cluster.home.sessions)).toEqual([]);
    await untilTokensAreBack();
  });

  test.each([
    [['-p', 'debugg'], /there is no partition "debugg".*\n.*Known: workq, debug/],
    [['-p', 'debug', '-t', '31'], /allows 30m at most/],
    [['--gres', 'gpu:1'], /word of Slurm/],
    [['-g', 'a100:1'], /no name for types of GPUs/],
    [['--', '-J', '1-3'], /start-jupyter sets this option itself/],
    [['--', 'train.sh'], /qsub would run it in place of the session/],
    [['--', '-l', 'walltime=60'], /-t LIMIT/],
  ])('%j is refused before the proxy is asked', async (args, message) => {
    const { exitCode, stdout, stderr } = await call(...args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(cluster.pbs.state.jobs()).toEqual([]);
    expect(existsSync(cluster.home.sessions) ? readdirSync(cluster.home.sessions) : []).toEqual([]);
  });

  test('--dry-run prints the script with its directives, and submits nothing', async () => {
    const { exitCode, stdout } = await call('--dry-run', '-p', 'debug', '-c', '2', '-m', '4');
    expect(exitCode).toBe(0);
    expect(stdout.split('\n')).toEqual(
      expect.arrayContaining(['#PBS -S /bin/bash', '#PBS -q debug', '#PBS -l select=1:ncpus=2:mem=4096mb']),
    );
    expect(cluster.pbs.state.jobs()).toEqual([]);
  });
});
