/** Answers here are made from IBM's manuals and from what users have published, see satellite/test/lsf/README.md. */
import { describe, expect, it, test } from 'vitest';
import type { LaunchSpec } from '../../src/launch-spec.ts';
import {
  directives,
  lsf,
  parseCancel,
  parseHosts,
  parseQueues,
  parseSubmit,
  reportFrom,
  unsupported,
} from '../../src/schedulers/lsf.ts';
import { plainLaunch } from '../support/launch-spec.ts';

const said = (stdout: string, stderr = '', exitCode = 0) => ({
  stdout,
  stderr,
  exitCode,
});
const silent = { stdout: '', stderr: '', exitCode: undefined };
const records = (...jobs: Record<string, string>[]) =>
  said(JSON.stringify({ COMMAND: 'bjobs', JOBS: jobs.length, RECORDS: jobs }));

function launch(
  resources: Partial<LaunchSpec['resources']>,
  dialect?: LaunchSpec['system']['lsf'],
): LaunchSpec {
  return {
    ...plainLaunch,
    system: { ...plainLaunch.system, scheduler: 'lsf', lsf: dialect },
    resources: { ...plainLaunch.resources, ...resources },
  };
}

describe('bsub', () => {
  test.each([
    ['Job <930> is submitted to default queue <normal>.\n', '930'],
    ['Welcome!\nJob <77> is submitted to queue <short>.\n', '77'],
  ])('says %j: job %s', (stdout, jobId) => {
    expect(parseSubmit(said(stdout))).toEqual({ kind: 'submitted', jobId });
  });

  test.each([
    ['nosuch: No such queue. Job not submitted.\n', 'nosuch: No such queue'],
    ['Too many processors requested. Job not submitted.\n', 'Too many processors requested'],
    ['No project given\nRequest aborted by esub. Job not submitted.\n', 'No project given'],
  ])('says %j: rejected', (stderr, message) => {
    expect(parseSubmit(said('', stderr, 255))).toEqual({
      kind: 'rejected',
      message: message || 'No project given',
    });
  });

  test.each([
    said('', 'LSF is down. Please wait ...\n', 255),
    said('', 'Cannot connect to LSF. Please wait ...\n', 255),
    said('', 'Failed in an LSF library call: Communication time out. Job not submitted.\n', 255),
    silent,
  ])('that reaches nobody was not refused: %j', (output) => {
    expect(parseSubmit(output).kind).toBe('unreachable');
  });

  it('that says nothing of a job and fails not may have submitted one', () => {
    expect(parseSubmit(said('usage: bsub\n'))).toEqual({
      kind: 'unclear',
      message: 'what bsub says names no job: usage: bsub',
    });
  });
});

describe('bjobs', () => {
  const now = new Date('2026-11-22T10:00:00Z');
  const report = (job: Record<string, string>) => reportFrom(records({ JOBID: '7', ...job }), '7', now);

  test.each(['PEND', 'WAIT', 'PROV'])('%s waits, with the first reason and the estimate', (STAT) => {
    expect(
      report({
        STAT,
        PEND_REASON: 'Job slot limit reached; Candidate host pending reasons (0 of 4 hosts).',
        ESTIMATED_SIM_START_TIME: 'Nov 22 12:30',
      }),
    ).toEqual({
      kind: 'queued',
      reason: 'Job slot limit reached',
      estimatedStart: new Date('2026-11-22T12:30:00Z'),
    });
  });

  test.each([
    ['RUN', '4*c1:2*c2', 'c1'],
    ['USUSP', 'c1:c1:c2', 'c1'],
    ['SSUSP', 'c1', 'c1'],
    ['ZOMBI', '', undefined],
  ])('%s runs on %j', (STAT, EXEC_HOST, node) => {
    expect(report({ STAT, EXEC_HOST, START_TIME: 'Nov 22 09:30 L' })).toEqual({
      kind: 'running',
      node,
      startedAt: new Date('2026-11-22T09:30:00Z'),
      endsAt: undefined,
    });
  });

  test.each([
    ['DONE', '', false, 'The job ended.'],
    ['EXIT', '', true, 'The job failed.'],
    ['EXIT', 'TERM_OWNER: job killed by owner', false, 'The job was cancelled.'],
    [
      'EXIT',
      'TERM_RUNLIMIT: job killed after reaching LSF run time limit',
      false,
      'The time limit was reached.',
    ],
    [
      'EXIT',
      'TERM_PREEMPT: job killed after preemption',
      true,
      'The job had to make way for one of higher priority.',
    ],
  ])('%s with %j has ended', (STAT, EXIT_REASON, failed, reason) => {
    expect(report({ STAT, EXIT_REASON })).toEqual({ kind: 'ended', failed, reason });
  });

  test.each(['UNKWN', 'NEW'])('%s says nothing of where the job is', (STAT) => {
    expect(report({ STAT }).kind).toBe('unreachable');
  });

  it('disowns a job in its answer or beside it', () => {
    expect(report({ ERROR: 'Job <7> is not found' })).toEqual({ kind: 'unknown' });
    expect(reportFrom(said('', 'Job <7> is not found\n', 255), '7')).toEqual({ kind: 'unknown' });
  });

  test.each([
    ['does not answer', said('', 'LSF is down. Please wait ...\n', 255)],
    ['answers for another job only', said('', 'Job <77> is not found\n', 255)],
    ['leaves the job out', records({ JOBID: '8', STAT: 'RUN' })],
    ['prints no JSON', said('JOBID STAT\n7 RUN\n')],
    ['has an error of another kind', records({ JOBID: '7', ERROR: 'mbatchd is busy' })],
  ])('that %s says nothing of the job', (_, output) => {
    expect(reportFrom(output, '7').kind).toBe('unreachable');
  });
});

describe('bkill', () => {
  test.each([
    [said('Job <7> is being terminated\n'), 'cancelled'],
    [said('', 'Job <7>: Job has already finished\n', 255), 'gone'],
    [said('', 'Job <7>: No matching job found\n', 255), 'gone'],
    [said('', 'Job <7>: User permission denied\n', 255), 'refused'],
    [said('', 'LSF is down. Please wait ...\n', 255), 'unreachable'],
    [silent, 'unreachable'],
  ])('%j: %s', (output, kind) => {
    expect(parseCancel(output).kind).toBe(kind);
  });
});

it('lists the queues that bqueues shows', () => {
  const output = said(
    JSON.stringify({
      RECORDS: [
        { QUEUE_NAME: 'normal', STATUS: 'Open:Active' },
        { QUEUE_NAME: 'old', STATUS: 'Closed:Inact' },
      ],
    }),
  );
  expect(parseQueues(output)).toMatchObject([
    { name: 'normal', available: true },
    { name: 'old', available: false },
  ]);
  expect(parseQueues(said('', 'bqueues: illegal option -- json', 255))).toBeUndefined();
});

describe('directives', () => {
  const always = ['#BSUB -J start-jupyter', '#BSUB -o /dev/null', '#BSUB -rn'];

  it('ask for nothing that nobody has asked for', () => {
    expect(directives(launch({ timeLimit: undefined }))).toEqual(always);
  });

  it('name units, hours and one host', () => {
    expect(
      directives(
        launch({
          account: 'abc',
          partition: 'short,normal',
          reservation: 'user1#0',
          timeLimit: 36 * 3600 + 61,
          cpus: 4,
          memory: 4096,
          gpu: { type: 'TeslaV100', count: 2 },
          constraint: 'avx2',
        }),
      ),
    ).toEqual([
      ...always,
      '#BSUB -P abc',
      '#BSUB -q "short normal"',
      '#BSUB -U user1#0',
      '#BSUB -W 36:02',
      '#BSUB -n 4',
      '#BSUB -R "span[hosts=1]"',
      '#BSUB -M 4096MB',
      '#BSUB -R "rusage[mem=4096MB]"',
      '#BSUB -gpu "num=2:gmodel=TeslaV100"',
      '#BSUB -R "select[avx2]"',
    ]);
  });

  it('spread tasks over nodes', () => {
    const lines = directives(launch({ nodes: 2, cpus: 3 }));
    expect(lines).toContain('#BSUB -n 6');
    expect(lines).toContain('#BSUB -R "span[ptile=3]"');
  });

  it('count memory for every task where the site does', () => {
    expect(directives(launch({ cpus: 4, memory: 4096 }, { memoryPer: 'task' }))).toContain('#BSUB -M 1024MB');
  });
});

test.each([
  [{ gres: 'gpu:1' }, 'gres'],
  [{ qos: 'high' }, 'qos'],
  [{ constraint: 'a&b' }, 'constraint'],
  [{ constraint: 'avx2', nodes: 2 }, undefined],
] as const)('%j: %s can not be asked', (resources, option) => {
  expect(unsupported(launch(resources))?.option).toBe(option);
});

test.each([
  [['-R', 'select[x]', '-K'], '-K', 'own'],
  [['-oo', '/tmp/log'], '-oo', 'own'],
  [['-J', 'a[1-3]'], '-J', 'own'],
  [['-W', '0:10'], '-W', 'time'],
  [['-V'], '-V', 'answer'],
  [['-q', 'short', 'train.sh', '-K'], 'train.sh', 'script'],
  [['-H', 'train.sh'], 'train.sh', 'script'],
])('%j after the dashes: %s can not be passed on (%s)', (args, typed, why) => {
  expect(lsf.unfit(args)).toEqual([{ typed, why }]);
});

test('values after the dashes are no commands', () => {
  expect(lsf.unfit(['-H', '-G', 'group', '-sla', 'gold', '-We', '5'])).toEqual([]);
});

describe('what is free', () => {
  // In the columns of bhosts(1).
  const hosts = [
    'HOST_NAME          STATUS          JL/U    MAX  NJOBS    RUN  SSUSP  USUSP    RSV ',
    'c1                 ok              -      16      4      4      0      0      0',
    'c2                 ok              -      16      0      0      0      0      0',
    'c3                 closed_Adm      -      32      0      0      0      0      0',
    'c4                 unavail         -       -      0      0      0      0      0',
    '',
  ].join('\n');

  it('is slots, of hosts that take jobs', () => {
    expect(parseHosts(hosts)).toEqual({
      all: {
        nodes: { free: 1, total: 3 },
        cpus: { free: 28, total: 64 },
        gpus: undefined,
        largest: { cpus: 32, memory: undefined },
      },
      partitions: new Map(),
    });
  });

  it('is not known from anything else', () => {
    expect(parseHosts('LSF is down. Please wait ...')).toBeUndefined();
  });
});
