import { describe, expect, it, test } from 'vitest';
import { parseAccounting, parseCancel, parseQueue, parseSubmit } from '../../src/schedulers/slurm/jobs.ts';
import {
  parseAccess,
  parseGpuPartitions,
  parseNodes,
  parsePartitions,
} from '../../src/schedulers/slurm/partitions.ts';
import { recording } from '../support/recordings.ts';

const slurm = (name: string) => recording(`slurm-22.05/${name}`);

function inQueue(name: string, id: string) {
  const queue = parseQueue(slurm(name));
  if (queue.kind !== 'jobs') throw new Error(`${name} is ${queue.kind}`);
  return queue.jobs.get(id);
}

describe('sbatch', () => {
  test.each([
    ['sbatch-ok', '3'],
    ['sbatch-ok-banner', '5'],
  ])('%s is job %s', (name, jobId) => {
    expect(parseSubmit(slurm(name))).toEqual({ kind: 'submitted', jobId });
  });

  it('that went to a cluster by name says which', () => {
    expect(parseSubmit(slurm('sbatch-ok-cluster'))).toEqual({
      kind: 'submitted',
      jobId: '4',
      cluster: 'lab',
    });
  });

  test.each([
    ['sbatch-bad-account', 'Invalid account or account/partition combination specified'],
    ['sbatch-bad-partition', 'Invalid partition name specified'],
    ['sbatch-time-limit', 'Requested time limit is invalid (missing or exceeds some limit)'],
    ['sbatch-too-many-nodes', 'More processors requested than permitted'],
    ['sbatch-bad-directive', 'Requested node configuration is not available'],
    ['sbatch-clusters-unknown', "No cluster 'other' known by database"],
  ])("%s is rejected in Slurm's own words", (name, message) => {
    expect(parseSubmit(slurm(name))).toMatchObject({ kind: 'rejected', message });
  });

  test.each([
    ['Requested node configuration is not available', ['gpu', 'cpus', 'memory', 'nodes', 'constraint']],
    ['Invalid generic resource (gres) specification', ['gpu', 'gres']],
    ['Memory specification can not be satisfied', ['memory']],
    ['Node count specification invalid', ['nodes']],
    ['More processors requested than permitted', ['nodes', 'cpus']],
    ['Invalid feature specification', ['constraint']],
    ['Requested time limit is invalid (missing or exceeds some limit)', ['time']],
    ['Invalid qos specification', ['qos']],
    ['Invalid account or account/partition combination specified', ['account', 'partition']],
    [
      "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
      ['qos', 'time', 'nodes', 'memory'],
    ],
    ["User's group not permitted to use this partition", ['partition']],
    ['Requested reservation is invalid', ['reservation']],
    ['Access/permission denied', ['account', 'partition']],
  ])('"%s" is about options', (said, options) => {
    const stderr = `sbatch: error: Batch job submission failed: ${said}\n`;
    expect(parseSubmit({ stdout: '', stderr, exitCode: 1 })).toMatchObject({
      message: said,
      about: expect.arrayContaining(options),
    });
  });

  test.each([
    ['sbatch-unreachable-refused', 'Unable to contact slurm controller (connect failure)'],
    ['sbatch-unreachable-silent', 'Socket timed out on send/recv operation'],
  ])('%s is unreachable', (name, message) => {
    expect(parseSubmit(slurm(name))).toEqual({ kind: 'unreachable', message });
  });

  it('that names a job and fails may have taken it', () => {
    const stderr = 'wrapper: no accounting today\n';
    expect(parseSubmit({ stdout: '4711\n', stderr, exitCode: 1 })).toEqual({
      kind: 'unclear',
      message: 'sbatch names job 4711, and fails: no accounting today',
      jobId: '4711',
    });
    expect(parseSubmit({ stdout: 'Submitted batch job 4711\n', stderr: '', exitCode: 1 })).toMatchObject({
      kind: 'unclear',
      message: 'sbatch names job 4711, and fails: exit status 1',
    });
  });

  it('that did not answer in time is unreachable', () => {
    expect(parseSubmit({ stdout: '', stderr: '', exitCode: undefined })).toEqual({
      kind: 'unreachable',
      message: 'the command did not answer in time',
    });
  });

  it('that succeeds without a job id may have taken the job, whatever digits its banner holds', () => {
    expect(parseSubmit({ stdout: 'Welcome to Stampede3\n', stderr: '', exitCode: 0 })).toEqual({
      kind: 'unclear',
      message: 'what sbatch says names no job: Welcome to Stampede3',
    });
    expect(parseSubmit({ stdout: '\n', stderr: '', exitCode: 0 })).toEqual({
      kind: 'unclear',
      message: 'sbatch ended with status 0 and said nothing',
    });
  });

  test.each([
    ['Submitted batch job 4711', { jobId: '4711' }],
    ['Submitted batch job 4711 on cluster lab', { jobId: '4711', cluster: 'lab' }],
  ])('that answers as a wrapper without --parsable does is understood: %s', (line, job) => {
    const outcome = parseSubmit({ stdout: `Welcome to Stampede3\n${line}\n`, stderr: '', exitCode: 0 });
    expect(outcome).toEqual({ kind: 'submitted', ...job });
  });

  it('that fails after a line of digits submitted nothing', () => {
    expect(parseSubmit({ stdout: '7\n', stderr: 'sbatch: error: no', exitCode: 1 })).toEqual({
      kind: 'rejected',
      message: 'no',
    });
  });
});

describe('squeue', () => {
  test.each([
    ['squeue-held', '4', 'JobHeldUser', undefined],
    ['squeue-pending-dependency', '8', 'Dependency', undefined],
    ['squeue-pending-estimate', '7', 'Resources', new Date(1795305585_000)],
  ])('%s waits', (name, id, reason, estimatedStart) => {
    expect(inQueue(name, id)).toEqual({ kind: 'queued', reason, estimatedStart });
  });

  it('shows a running job with its node, start and end', () => {
    expect(inQueue('squeue-running', '3')).toEqual({
      kind: 'running',
      node: 'c1',
      startedAt: new Date(1795303785_000),
      endsAt: new Date(1795305585_000),
    });
  });

  it('shows a completing job as still there: it holds its node and cleans up', () => {
    expect(inQueue('squeue-completing', '9')).toMatchObject({ kind: 'running', node: 'c1' });
  });

  test.each([
    ['squeue-completed', '11', false, /ended/],
    ['squeue-cancelled', '7', false, /cancelled/],
    ['squeue-timeout', '12', false, /time limit/],
    ['squeue-failed', '10', true, /failed/],
  ])('%s is over', (name, id, failed, reason) => {
    expect(inQueue(name, id)).toEqual({ kind: 'ended', failed, reason: expect.stringMatching(reason) });
  });

  it('shows several jobs, and those that it does not know not at all', () => {
    const queue = parseQueue(slurm('squeue-several'));
    expect(queue.kind === 'jobs' && [...queue.jobs.keys()].sort()).toEqual(['3', '7']);
  });

  it('does not know a job any more', () => {
    expect(parseQueue(slurm('squeue-unknown'))).toEqual({ kind: 'jobs', jobs: new Map() });
  });

  test.each([
    'squeue-unreachable-refused',
    'squeue-unreachable-silent',
    'squeue-clusters-unknown',
    'squeue-cluster-accounting-away',
  ])('%s: nothing may be concluded', (name) => {
    expect(parseQueue(slurm(name)).kind).toBe('unreachable');
    // Some versions exit 0 whatever happened.
    if (/unreachable/.test(name))
      expect(parseQueue({ ...slurm(name), exitCode: 0 }).kind).toBe('unreachable');
  });

  it('that did not answer in time: nothing may be concluded', () => {
    expect(parseQueue({ stdout: '', stderr: '', exitCode: undefined }).kind).toBe('unreachable');
  });
});

describe('sacct', () => {
  test.each([
    ['sacct-completed', '11', false, /ended/],
    ['sacct-cancelled', '7', false, /cancelled/],
    ['sacct-cancelled-running', '9', false, /cancelled/],
    ['sacct-timeout', '12', false, /time limit/],
    ['sacct-failed', '10', true, /failed/],
    ['sacct-out-of-memory', '10', true, /memory/],
    ['sacct-node-fail', '10', true, /node/],
    ['sacct-preempted', '10', true, /priority/],
  ])('%s', (name, id, failed, reason) => {
    const ended = { kind: 'ended', failed, reason: expect.stringMatching(reason) };
    expect(parseAccounting(slurm(name))).toEqual(new Map([[id, ended]]));
  });

  it('tells of several jobs at once, and of those that it does not know not at all', () => {
    const ended = [...parseAccounting(slurm('sacct-several'))].map(([id, job]) => [
      id,
      job.kind === 'ended' && job.failed,
    ]);
    expect(ended).toEqual([
      ['2', false],
      ['3', true],
      ['4', false],
    ]);
  });

  test.each(['sacct-unknown', 'sacct-running', 'sacct-pending', 'sacct-unreachable'])(
    '%s tells of no end',
    (name) => {
      expect(parseAccounting(slurm(name))).toEqual(new Map());
    },
  );
});

describe('scancel', () => {
  // This version says nothing about jobs that are over or unknown.
  test.each(['scancel-ok', 'scancel-completed', 'scancel-unknown'])('%s is cancelled', (name) => {
    expect(parseCancel(slurm(name))).toEqual({ kind: 'cancelled' });
  });

  test.each([
    // Said only with --verbose, or by other versions.
    'scancel: error: Kill job error on job id 9: Invalid job id specified',
    'scancel: error: Kill job error on job id 9: Job/step already completing or completed',
  ])('%j is gone', (stderr) => {
    expect(parseCancel({ stdout: '', stderr, exitCode: 1 })).toEqual({ kind: 'gone' });
  });

  it("refuses somebody else's job", () => {
    expect(parseCancel(slurm('scancel-somebody-elses'))).toEqual({
      kind: 'refused',
      message: 'Kill job error on job id 37: Access/permission denied',
    });
  });

  test.each(['scancel-unreachable-refused', 'scancel-unreachable-silent'])(
    '%s is neither cancelled nor gone',
    (name) => {
      expect(parseCancel(slurm(name)).kind).toBe('unreachable');
    },
  );
});

it('reads the partitions with their limits and the default', () => {
  expect(parsePartitions(slurm('sinfo-partitions').stdout)).toEqual([
    { name: 'compute', isDefault: true, available: true, maxSeconds: 172_800 },
    { name: 'debug', isDefault: false, available: true, maxSeconds: 1800 },
  ]);
  expect(parsePartitions('long|down|infinite\n')).toEqual([
    { name: 'long', isDefault: false, available: false, maxSeconds: undefined },
  ]);
});

it('knows which partitions have GPUs, whatever stands beside them', () => {
  const said =
    'compute*|(null)\ngpu|gpu:a100:4(S:0-1),nvme:1\ngpu|gpu:2\nscratch|nvme:1,gpu:v100:1\nodd|gpudirect:1\n\n';
  expect(parseGpuPartitions(said)).toEqual(['gpu', 'scratch']);
  expect(parseGpuPartitions('all*|gpu:1\n')).toEqual(['all']);
});

describe('what is free', () => {
  // In the columns of sinfo(1); resources in use as users of 22.05 have published them.
  const nodes = [
    'c1  compute*  mixed 4/12/0/16   32000   (null)                      (null)',
    'c2  compute*  idle   0/16/0/16   32000   gpu:V100:4                  gpu:V100:0(IDX:N/A)',
    'c3  compute*  drained  0/0/40/40   180000  gpu:V100:4                  gpu:V100:0(IDX:N/A)',
    'c4  gpu       mixed 20/20/0/40  180000  gpu:V100:4(S:0-1),nvme:1    gpu:V100:3(IDX:0-1,3),nvme:0',
    'c5  gpu       idle*  0/40/0/40   180000  gpu:V100:4,gpu:a100:2       gpu:V100:0,gpu:a100:0',
    'c6  gpu       allocated  40/0/0/40   180000  gpu:a100:2,gpu:1            gpu:a100:1(IDX:1),gpu:0',
    'c1  debug     mixed 4/12/0/16   32000   (null)                      (null)',
    '',
  ].join('\n');

  it('is summed up by partition; what is down, drained or does not respond has nothing free', () => {
    const vacancies = parseNodes(nodes);
    expect(vacancies?.partitions.get('compute')).toEqual({
      nodes: { free: 1, total: 3 },
      cpus: { free: 28, total: 72 },
      gpus: [{ type: 'V100', free: 4, total: 8 }],
      largest: { cpus: 40, memory: 180_000 },
    });
    expect(vacancies?.partitions.get('gpu')).toMatchObject({
      nodes: { free: 0, total: 3 },
      cpus: { free: 20, total: 120 },
      gpus: [
        { type: 'V100', free: 1, total: 8 },
        { type: 'a100', free: 1, total: 4 },
        { type: undefined, free: 1, total: 1 },
      ],
    });
    expect(vacancies?.partitions.get('debug')?.gpus).toEqual([]);
  });

  it('is what a real Slurm says while one node drains', () => {
    // Recorded with one more column, of memory in use.
    const recorded = slurm('sinfo-gpus-by-node').stdout.replace(/^((?:[^|]*\|){5})[^|]*\|/gm, '$1');
    const vacancies = parseNodes(recorded.replaceAll('|', ' '));
    expect(vacancies?.all).toEqual({
      nodes: { free: 0, total: 2 },
      cpus: { free: 15, total: 32 },
      gpus: [{ type: 'v100', free: 2, total: 4 }],
      largest: { cpus: 16, memory: 32_000 },
    });
    expect(vacancies?.partitions.get('compute')).toEqual(vacancies?.all);
    expect([...(vacancies?.partitions.keys() ?? [])]).toEqual(['compute', 'debug']);
    expect(parseAccess(slurm('scontrol-partitions').stdout).size).toBe(0);
  });

  it('is not for every account in every partition', () => {
    const partitions = [
      'PartitionName=compute AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES QoS=N/A',
      'PartitionName=long AllowGroups=ALL DenyAccounts=killable-cs,x AllowQos=ALL AllocNodes=ALL Default=NO',
      'PartitionName=own AllowGroups=ALL AllowAccounts=demo AllowQos=ALL AllocNodes=ALL Default=NO',
    ];
    expect(parseAccess(partitions.join('\n'))).toEqual(
      new Map([
        ['long', { kind: 'allBut', accounts: ['killable-cs', 'x'] }],
        ['own', { kind: 'only', accounts: ['demo'] }],
      ]),
    );
  });

  it('counts a node of several partitions once in all', () => {
    expect(parseNodes(nodes)?.all).toMatchObject({ nodes: { free: 1, total: 6 } });
  });

  test.each(['', 'sinfo: fatal: Invalid node format specification: GresUsed'])(
    'is not known from %j',
    (said) => {
      expect(parseNodes(said)).toBeUndefined();
    },
  );
});
