import { afterEach, describe, expect, it, vi } from 'vitest';
import { userName } from '../../src/schedulers/command.ts';
import { sge } from '../../src/schedulers/sge.ts';
import { freshHome } from '../support/directories.ts';
import { type Recording, recording } from '../support/recordings.ts';
import { type Stubs, stubCommands, writtenScript } from '../support/stubs.ts';

const recorded = (name: string) => recording(`gridengine-8.1/${name}`);

afterEach(() => {
  vi.unstubAllEnvs();
});

/** Commands that answer these calls and fail at all others. */
function gridEngine(answers: Readonly<Record<string, Recording>>): Stubs {
  const stubs = stubCommands();
  const byCommand = Map.groupBy(Object.entries(answers), ([call]) => call.split(' ')[0] ?? '');
  for (const command of ['qsub', 'qstat', 'qacct', 'qdel', 'qconf'])
    stubs.answer(command, Object.fromEntries(byCommand.get(command) ?? []));
  vi.stubEnv('PATH', `${stubs.directory}:/usr/bin:/bin`);
  vi.stubEnv('HOME', freshHome().path);
  return stubs;
}

const queue = `qstat -u ${userName()} -xml`;

describe('the state of jobs', () => {
  it('is asked for all of them at once', async () => {
    const stubs = gridEngine({ [queue]: recorded('qstat-states') });
    const reports = await sge.jobs(['700006', '700019']);
    expect([...reports.values()].map(({ kind }) => kind)).toEqual(['running', 'running']);
    expect(stubs.calls()).toEqual([queue]);
  });

  it('comes with the reasons for which jobs wait, asked for at once', async () => {
    const stubs = gridEngine({
      [queue]: recorded('qstat-states'),
      'qstat -j 700018,700016 -xml': {
        ...recorded('qstat-j-several'),
        stdout: recorded('qstat-j-several')
          .stdout.replaceAll('700030', '700018')
          .replaceAll('700029', '700016'),
      },
    });
    const reports = await sge.jobs(['700018', '700016', '700019']);
    expect(reports.get('700018')).toEqual({
      kind: 'queued',
      reason: '(-l gpu=40) cannot run at host "c2" because it offers only hc:gpu=4.000000',
      estimatedStart: undefined,
    });
    expect(reports.get('700016')).toMatchObject({ reason: 'held; "qrls" lets it go' });
    expect(stubs.calls()).toHaveLength(2);
  });

  it.each([
    ['700017', 'qstat-j-later', 'its begin time has not come'],
    ['700021', 'qstat-j-dependent', 'waits for another job'],
    [
      '700023',
      'qstat-j-error-output',
      'error: can\'t open output file "/nosuch/dir": No such file or directory',
    ],
  ])('of %s is told with its reason', async (id, name, reason) => {
    gridEngine({ [queue]: recorded('qstat-states'), [`qstat -j ${id} -xml`]: recorded(name) });
    expect((await sge.jobs([id])).get(id)).toMatchObject({ kind: 'queued', reason });
  });

  it('is known without a reason where nobody tells one', async () => {
    gridEngine({
      [queue]: recorded('qstat-states'),
      'qstat -j 700018 -xml': recorded('qstat-j-unreachable-refused'),
    });
    expect((await sge.jobs(['700018'])).get('700018')).toEqual({
      kind: 'queued',
      reason: undefined,
      estimatedStart: undefined,
    });
  });

  it.each([
    ['700015', 'qacct-completed', { kind: 'ended', failed: false, reason: 'The job ended.' }],
    ['700022', 'qacct-failed', { kind: 'ended', failed: true, reason: 'The job failed.' }],
    ['700001', 'qacct-time-limit', { kind: 'ended', failed: false, reason: 'The time limit was reached.' }],
    ['700026', 'qacct-deleted-running', { kind: 'ended', failed: false, reason: 'The job was cancelled.' }],
    ['999999', 'qacct-unknown', { kind: 'unknown' }],
  ])('of %s comes from the accounting once it has left the queue: %s', async (id, name, report) => {
    gridEngine({ [queue]: recorded('qstat-none'), [`qacct -j ${id}`]: recorded(name) });
    expect((await sge.jobs([id])).get(id)).toEqual(report);
  });

  it('is unreachable, not gone, for every job while the qmaster is away, and the accounting is left alone', async () => {
    const stubs = gridEngine({ [queue]: recorded('qstat-unreachable-refused') });
    const reports = await sge.jobs(['700001', '700015']);
    expect([...reports.values()].map(({ kind }) => kind)).toEqual(['unreachable', 'unreachable']);
    expect(stubs.calls()).toEqual([queue]);
  });

  it('costs nothing where there are no jobs', async () => {
    const stubs = gridEngine({});
    expect((await sge.jobs([])).size).toBe(0);
    expect(stubs.calls()).toEqual([]);
  });
});

it('submits with what the user has for qsub, before the script', async () => {
  gridEngine({ 'qsub -terse -l a=1 -m e /home/a/job.sh': recorded('qsub-ok') });
  expect(await sge.submit(writtenScript('/home/a/job.sh'), ['-l', 'a=1', '-m', 'e'])).toEqual({
    kind: 'submitted',
    jobId: '700015',
  });
});

it('cancels by job id', async () => {
  gridEngine({ 'qdel 700025': recorded('qdel-ok') });
  expect(await sge.cancel('700025')).toEqual({ kind: 'cancelled' });
});

describe('what this user may ask for', () => {
  it('is queues and projects', async () => {
    gridEngine({ 'qconf -sq *': recorded('qconf-sq'), 'qconf -sprjl': recorded('qconf-sprjl') });
    expect(await sge.offers()).toMatchObject({
      partitions: [{ name: 'compute' }, { name: 'debug', maxSeconds: 1800 }],
      accounts: ['demo'],
    });
  });

  it('leaves projects alone in a launch that names none', async () => {
    const stubs = gridEngine({ 'qconf -sq *': recorded('qconf-sq') });
    expect(await sge.offers(undefined, undefined, {})).toMatchObject({
      partitions: [{ name: 'compute' }, { name: 'debug' }],
      accounts: undefined,
    });
    expect(stubs.calls()).toEqual(['qconf -sq *']);
  });

  it('is unknown where the site keeps qconf to itself', async () => {
    const denied = { command: '', stdout: '', stderr: 'qconf: permission denied\n', exitCode: 1 };
    gridEngine({ 'qconf -sq *': denied, 'qconf -sprjl': denied });
    expect(await sge.offers()).toEqual({ partitions: undefined, accounts: undefined });
  });

  it('is unknown where there is no qconf', async () => {
    vi.stubEnv('PATH', freshHome().path);
    expect(await sge.offers()).toEqual({ partitions: undefined, accounts: undefined });
  });

  it('is unreachable where the qmaster is', async () => {
    const stubs = gridEngine({
      'qconf -sq *': recorded('qconf-unreachable-refused'),
      'qconf -sprjl': recorded('qconf-unreachable-refused'),
    });
    expect(await sge.offers()).toMatchObject({
      kind: 'unreachable',
      message: expect.stringContaining('unable to send message to qmaster'),
    });
    expect(stubs.calls()).toHaveLength(2);
  });
});
