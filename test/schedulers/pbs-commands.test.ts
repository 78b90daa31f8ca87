import { afterEach, describe, expect, it, vi } from 'vitest';
import { pbs } from '../../src/schedulers/pbs.ts';
import { freshHome } from '../support/directories.ts';
import { recording } from '../support/recordings.ts';
import { type Stubs, stubCommands, writtenScript } from '../support/stubs.ts';

const recorded = (name: string) => recording(`openpbs-23.06/${name}`);

afterEach(() => {
  vi.unstubAllEnvs();
});

function commandsOnPath(): Stubs {
  const stubs = stubCommands();
  vi.stubEnv('PATH', `${stubs.directory}:/usr/bin:/bin`);
  vi.stubEnv('HOME', freshHome().path);
  return stubs;
}

/** A qstat that answers the calls of the recordings as recorded, and refuses all others. */
function recordedQstat(...names: string[]): Stubs {
  const stubs = commandsOnPath();
  stubs.answer('qstat', Object.fromEntries(names.map((name) => [recorded(name).command, recorded(name)])));
  return stubs;
}

describe('the state of a job', () => {
  it('is what the queue says, and the history is left alone', async () => {
    const stubs = recordedQstat('qstat-running-json');
    expect((await pbs.jobs(['1.pbs-head'])).get('1.pbs-head')).toEqual({
      kind: 'running',
      node: 'pbs-head',
      startedAt: new Date('2026-11-21T21:04:48Z'),
      endsAt: new Date('2026-11-21T21:14:48Z'),
    });
    expect(stubs.calls()).toEqual(['qstat -f -F json 1.pbs-head']);
  });

  it('is queued, with the reason that the scheduler gives', async () => {
    recordedQstat('qstat-queued-json');
    expect((await pbs.jobs(['5.pbs-head'])).get('5.pbs-head')).toEqual({
      kind: 'queued',
      reason: 'Can Never Run: Insufficient amount of resource: ncpus (R: 4000 A: 2 T: 2)',
      estimatedStart: undefined,
    });
  });

  it('is held', async () => {
    recordedQstat('qstat-held-json');
    expect((await pbs.jobs(['6.pbs-head'])).get('6.pbs-head')).toMatchObject({
      kind: 'queued',
      reason: expect.stringContaining('held by you'),
    });
  });

  it('comes from the history once the job has left the queue', async () => {
    recordedQstat('qstat-deleted-default', 'qstat-deleted-history');
    expect((await pbs.jobs(['5.pbs-head'])).get('5.pbs-head')).toEqual({
      kind: 'ended',
      failed: false,
      reason: 'The job was deleted before it ran.',
    });
  });

  it('comes from the history with its exit status', async () => {
    const gone = 'qstat: 7.pbs-head Job has finished, use -x or -H to obtain historical job information\n';
    const stubs = commandsOnPath();
    stubs.answer('qstat', {
      'qstat -f -F json 7.pbs-head': {
        stdout: '{"timestamp":1795295093,"pbs_version":"23.06.06","pbs_server":"pbs-head"}',
        stderr: gone,
        exitCode: 35,
      },
      'qstat -x -f -F json 7.pbs-head': recorded('qstat-exit3-history'),
    });
    expect((await pbs.jobs(['7.pbs-head'])).get('7.pbs-head')).toEqual({
      kind: 'ended',
      failed: true,
      reason: 'The job failed with exit status 3.',
    });
  });

  it('is still running while a deleted job comes to its end', async () => {
    const stubs = commandsOnPath();
    stubs.answer('qstat', { 'qstat -f -F json 1.pbs-head': recorded('qstat-killed-history') });
    expect((await pbs.jobs(['1.pbs-head'])).get('1.pbs-head')?.kind).toBe('running');
  });

  const notConfigured = {
    stdout: '{"timestamp":1795295093,"pbs_version":"23.06.06","pbs_server":"pbs-head"}',
    stderr: 'qstat: PBS is not configured to maintain job history 99999.pbs-head\n',
    exitCode: 0,
  };

  it('is unknown where neither queue nor history know the job, or none is kept', async () => {
    const stubs = commandsOnPath();
    const unknown = recorded('qstat-unknown-job');
    stubs.answer('qstat', { [unknown.command]: unknown, 'qstat -x -f -F json 99999.pbs-head': unknown });
    expect((await pbs.jobs(['99999.pbs-head'])).get('99999.pbs-head')).toEqual({ kind: 'unknown' });
    stubs.answer('qstat', {
      [unknown.command]: unknown,
      'qstat -x -f -F json 99999.pbs-head': notConfigured,
    });
    expect((await pbs.jobs(['99999.pbs-head'])).get('99999.pbs-head')).toEqual({ kind: 'unknown' });
  });

  it('is read from text where the JSON is broken', async () => {
    const text = recorded('qstat-running-full');
    const stubs = commandsOnPath();
    stubs.answer('qstat', {
      'qstat -f -F json 1.pbs-head': {
        // A function in the job's environment, openpbs issue 2541.
        stdout: recorded('qstat-running-json').stdout.replace(
          '"PBS_O_LANG":',
          '"BASH_FUNC_x%%":"() {  echo "a"\n}",\n"PBS_O_LANG":',
        ),
      },
      [text.command]: text,
    });
    expect((await pbs.jobs(['1.pbs-head'])).get('1.pbs-head')).toMatchObject({
      kind: 'running',
      node: 'pbs-head',
      endsAt: new Date('2026-11-21T21:14:48Z'),
    });
  });

  it('of several comes with one call; what the server is silent about is unreachable, not gone', async () => {
    const stubs = commandsOnPath();
    const { stdout } = recorded('qstat-running-json');
    stubs.answer('qstat', {
      'qstat -f -F json 1.pbs-head 99999.pbs-head 8.pbs-head': {
        stdout,
        stderr: 'qstat: Unknown Job Id 99999.pbs-head\nqstat: Unauthorized Request 8.pbs-head\n',
        exitCode: 159,
      },
      'qstat -x -f -F json 99999.pbs-head': recorded('qstat-unknown-job'),
    });
    const reports = await pbs.jobs(['1.pbs-head', '99999.pbs-head', '8.pbs-head']);
    expect([...reports].map(([id, { kind }]) => [id, kind])).toEqual([
      ['1.pbs-head', 'running'],
      ['99999.pbs-head', 'unknown'],
      ['8.pbs-head', 'unreachable'],
    ]);
    expect(stubs.calls()).toHaveLength(2);
  });

  it.each([
    ['Connection refused\nqstat: cannot connect to server pbs-head (errno=111)\n', 255],
    ['qstat: End of File\n', 159],
    ['', 1],
  ])('is unreachable where the server is: %j', async (stderr, exitCode) => {
    const stubs = commandsOnPath();
    stubs.add('qstat', { stderr, exitCode });
    const reports = await pbs.jobs(['1.pbs-head', '5.pbs-head']);
    expect([...reports.values()].map(({ kind }) => kind)).toEqual(['unreachable', 'unreachable']);
  });

  it('is unreachable where qstat prints neither JSON nor jobs', async () => {
    commandsOnPath().add('qstat', { stdout: 'Scheduled maintenance until noon.\n' });
    expect((await pbs.jobs(['1.pbs-head'])).get('1.pbs-head')?.kind).toBe('unreachable');
  });

  it('costs nothing where there are no jobs', async () => {
    const stubs = commandsOnPath();
    stubs.add('qstat', {});
    expect((await pbs.jobs([])).size).toBe(0);
    expect(stubs.calls()).toEqual([]);
  });
});

it('hands on what the user has for qsub, before the script', async () => {
  const stubs = commandsOnPath();
  stubs.add('qsub', recorded('qsub-ok'));
  expect(await pbs.submit(writtenScript('/home/a/job.sh'), ['-h', '-W', 'umask=022'])).toEqual({
    kind: 'submitted',
    jobId: '1.pbs-head',
  });
  expect(stubs.calls()).toEqual(['qsub -h -W umask=022 /home/a/job.sh']);
});

it('asks for the queues with their limits, and knows of no accounts', async () => {
  recordedQstat('qstat-queues-json');
  expect(await pbs.offers()).toEqual({
    partitions: [
      { name: 'workq', isDefault: false, available: true, maxSeconds: undefined },
      { name: 'debug', isDefault: false, available: true, maxSeconds: 1800 },
    ],
    accounts: undefined,
  });
});

describe('a PBS from before there was JSON', () => {
  const usage = { stderr: "qstat: invalid option -- 'F'\nusage: \nqstat [-f] ...\n", exitCode: 2 };

  it('is asked for the text of a job', async () => {
    const stubs = commandsOnPath();
    const text = recorded('qstat-running-full');
    stubs.answer('qstat', { 'qstat -f -F json 1.pbs-head': usage, [text.command]: text });
    expect((await pbs.jobs(['1.pbs-head'])).get('1.pbs-head')).toMatchObject({ kind: 'running' });
  });

  it('is asked for the text of the queues', async () => {
    const stubs = commandsOnPath();
    const stdout = 'Queue: long\n    queue_type = Execution\n    enabled = True\n    started = False\n\n';
    stubs.answer('qstat', { 'qstat -Q -f -F json': usage, 'qstat -Q -f': { stdout } });
    expect(await pbs.offers()).toEqual({
      partitions: [{ name: 'long', isDefault: false, available: false, maxSeconds: undefined }],
      accounts: undefined,
    });
  });
});

it('says that the server can not be reached where it is asked for the queues', async () => {
  commandsOnPath().add('qstat', {
    stderr: 'Connection refused\nqstat: cannot connect to server pbs-head (errno=111)\n',
    exitCode: 255,
  });
  expect(await pbs.offers()).toEqual({
    kind: 'unreachable',
    message: 'cannot connect to server pbs-head (errno=111)',
  });
});

it('cancels by job id', async () => {
  const stubs = commandsOnPath();
  stubs.add('qdel', recorded('qdel-running'));
  expect(await pbs.cancel('1.pbs-head')).toEqual({ kind: 'cancelled' });
  expect(stubs.calls()).toEqual(['qdel 1.pbs-head']);
});
