/** Launches on Torque from end to end. Its commands and its way with jobs are from its manuals and its source. */
import { readdirSync } from 'node:fs';
import { describe, expect, vi } from 'vitest';
import { clusterOfOne } from '../support/batch-cluster.ts';
import { testWith } from '../support/command.ts';
import { secretsOf } from '../support/here.ts';
import { baggage } from '../support/job-report.ts';

const { run: test, note } = testWith('jupyter-notebook');
const cluster = clusterOfOne('torque');
const { call, command, expectNothingLeft, launched, status, untilStatus, untilTokensAreBack } = cluster;

describe(`on Torque${note}`, () => {
  test('a launch ends at a link behind which Jupyter answers, and "stop" ends all of it', async () => {
    const brought = baggage(cluster.home);
    const report = await launched(
      ...['--wait', '-t', '20', '-N', '1', '-c', '2', '-m', '512M', '-A', 'abc123', '-p', 'debug'],
      ...brought.options,
    );
    expect(report).toMatchObject({ scheduler: 'torque', state: 'ready', jobId: '1.pbs-head' });
    const { jupyterToken } = secretsOf(report.url);
    const { origin } = new URL(report.url);
    expect((await cluster.satellite.ask(`${origin}/api/sessions?token=${jupyterToken}`)).status).toBe(200);
    expect((await cluster.satellite.ask(`${origin}/api/sessions`)).status).toBe(403);
    expect(cluster.pbs.state.job('1.pbs-head')).toMatchObject({
      name: 'start-jupyter',
      account: 'abc123',
      queue: 'debug',
      rerunable: false,
      resources: { nodes: '1:ppn=2', mem: '512mb', walltime: '00:20:00' },
    });
    expect(brought.report()).toMatchObject({
      ...brought.expected('1.pbs-head'),
      PBS_JOBNAME: 'start-jupyter',
      PBS_QUEUE: 'debug',
    });
    expect(await status()).toMatchObject({ state: 'ready', url: report.url });
    expect((await call('logs')).stdout).toContain('Torque job 1.pbs-head');

    expect((await call('stop', report.id)).stderr).toContain('Stopped with "start-jupyter stop"');
    await expectNothingLeft(report.url);
    expect(await status()).toMatchObject({ state: 'ended', reason: expect.stringContaining('Stopped with') });
  });

  test('a job that is killed before it can clean up is cleaned up after, before anybody asks', async () => {
    const report = await launched('--wait');
    await command('qdel', report.jobId);
    await expectNothingLeft(report.url);
    expect(await status()).toMatchObject({ state: 'ended', reason: 'The job was cancelled.', url: null });
  });

  test('the end of its time is the end of the session', async () => {
    const report = await launched('-t', '4s');
    await vi.waitFor(() => expect(cluster.pbs.state.job(report.jobId)?.exitStatus).toBe(-11), 60_000);
    await expectNothingLeft(report.url);
    expect(await status()).toMatchObject({ state: 'ended', reason: 'The time limit was reached.' });
  });

  test('a job deleted while it waits ends the session, and gives the token back', async () => {
    const report = await launched('--', '-h');
    expect(report).toMatchObject({ state: 'queued' });
    await command('qdel', report.jobId);
    await untilStatus({ state: 'ended', reason: 'The job was deleted before it ran.' });
    await expectNothingLeft(report.url);
  });

  test('while the server does not answer nothing is gone', async () => {
    const report = await launched('--', '-h');
    cluster.pbs.set({ down: true });
    expect((await call('status')).stdout).toContain('The scheduler does not answer right now');
    cluster.pbs.set({ down: false });
    expect(await status()).toMatchObject({ state: 'queued', url: report.url });
    // Later on it shows no jobs any more that have ended.
    cluster.pbs.set({ history: false });
    expect((await call('stop', report.id)).exitCode).toBe(0);
    await expectNothingLeft(report.url);
  });

  test.each([
    [['--', '-q', 'nosuchqueue'], 'it knows no such queue (Unknown queue MSG=cannot locate queue)'],
    [
      ['-t', '2h', '--', '-q', 'debug'],
      'it asks for more than the queue or the server allows (Job exceeds queue resource limits',
    ],
  ])('what qsub refuses leaves nothing: %j', async (options, words) => {
    const { exitCode, stdout, stderr } = await call(...options);
    expect({ exitCode, stdout }).toEqual({ exitCode: 5, stdout: '' });
    expect(stderr).toContain(`Torque refuses the job: ${words}`);
    expect(readdirSync(cluster.home.sessions)).toEqual([]);
    await untilTokensAreBack();
  });
});
