import { describe, expect, it, test } from 'vitest';
import type { LaunchSpec } from '../../src/launch-spec.ts';
import {
  directives,
  parseCancel,
  parseQueue,
  parseQueues,
  parseSlots,
  parseSubmit,
  sge,
  unsupported,
  waitingReason,
} from '../../src/schedulers/sge.ts';
import { plainLaunch } from '../support/launch-spec.ts';
import { recording } from '../support/recordings.ts';

const recorded = (name: string) => recording(`gridengine-8.1/${name}`);
const away = 'unable to send message to qmaster using port 6444 on host "login": got send error';

function launch(
  resources: Partial<LaunchSpec['resources']>,
  dialect: LaunchSpec['system']['sge'] = {
    parallelEnvironment: 'smp',
    memory: 'mem',
    gpu: 'gpu',
    gpuType: 'gpu_type',
  },
): LaunchSpec {
  return {
    ...plainLaunch,
    system: { ...plainLaunch.system, scheduler: 'sge', sge: dialect },
    resources: { ...plainLaunch.resources, ...resources },
  };
}

describe('qsub', () => {
  it('prints the id of the job, whatever a wrapper or a submit filter says before', () => {
    expect(parseSubmit(recorded('qsub-ok'))).toEqual({ kind: 'submitted', jobId: '700015' });
    const banner = { stdout: 'Welcome to Example 3\n700015\n', stderr: '', exitCode: 0 };
    expect(parseSubmit(banner)).toEqual({ kind: 'submitted', jobId: '700015' });
  });

  test.each([
    ['qsub-unknown-queue', 'Job was rejected because job requests unknown queue "nosuch"'],
    ['qsub-unknown-pe', 'the requested parallel environment "nosuch" does not exist'],
    ['qsub-unknown-project', 'the requested project "nosuch" does not exist'],
    ['qsub-somebody-elses-project', 'no access to project "demo" for user "carol"'],
    ['qsub-unknown-resource', 'unknown resource "nosuch"'],
    ['qsub-bad-time', 'attribute "h_rt" is not a time value'],
    ['qsub-unknown-option', 'invalid option argument "--foo"'],
  ])("%s is rejected in Grid Engine's own words", (name, message) => {
    expect(parseSubmit(recorded(name))).toEqual({ kind: 'rejected', message });
  });

  it('that reaches nobody, or does not answer in time, was not refused', () => {
    expect(parseSubmit(recorded('qsub-unreachable-refused'))).toEqual({ kind: 'unreachable', message: away });
    expect(parseSubmit({ stdout: '', stderr: '', exitCode: undefined })).toEqual({
      kind: 'unreachable',
      message: 'the command did not answer in time',
    });
  });

  it('that answers with something else than one job may have submitted it', () => {
    expect(parseSubmit(recorded('qsub-array'))).toEqual({
      kind: 'unclear',
      message: 'what qsub says names no job: 700020.1-2:1',
    });
  });

  it('that fails after a line of digits submitted nothing', () => {
    expect(parseSubmit({ stdout: '700015\n', stderr: 'Unable to run job: no.', exitCode: 1 })).toEqual({
      kind: 'rejected',
      message: 'no',
    });
  });
});

describe('qstat', () => {
  function inQueue(name: string): ReadonlyMap<string, unknown> {
    const queue = parseQueue(recorded(name));
    if (queue.kind !== 'jobs') throw new Error(`${name} is ${queue.kind}`);
    return queue.jobs;
  }
  const queued = { kind: 'queued', reason: undefined, estimatedStart: undefined };

  it('shows what runs with its node and start, and what waits', () => {
    const jobs = inQueue('qstat-states');
    expect(jobs.get('700019')).toEqual({
      kind: 'running',
      node: 'c1',
      startedAt: new Date('2026-11-22T02:08:10Z'),
      endsAt: undefined,
    });
    for (const id of ['700016', '700017', '700018', '700021', '700023', '700024'])
      expect(jobs.get(id), id).toEqual(queued);
  });

  it('shows a job that is being deleted as one that still runs', () => {
    expect(inQueue('qstat-deleting').get('700025')).toMatchObject({ kind: 'running', node: 'c1' });
  });

  it('shows a queue without jobs', () => {
    expect(inQueue('qstat-none').size).toBe(0);
  });

  test.each([
    ['qstat-unreachable-refused', away],
    ['qstat-no-cell', 'SGE_ROOT directory "/nosuch" doesn\'t exist'],
  ])('%s says nothing about jobs', (name, message) => {
    expect(parseQueue(recorded(name))).toEqual({ kind: 'unreachable', message });
  });

  it('that prints something else, or nothing, says nothing about jobs', () => {
    for (const stdout of ['', 'Maintenance today\n'])
      expect(parseQueue({ stdout, stderr: '', exitCode: 0 }).kind).toBe('unreachable');
  });

  it('with a state that nobody knows says nothing about that job', () => {
    const stdout =
      '<job_info><job_list><JB_job_number>7</JB_job_number><state>xyz</state></job_list></job_info>';
    const queue = parseQueue({ stdout, stderr: '', exitCode: 0 });
    expect(queue.kind === 'jobs' && queue.jobs.get('7')?.kind).toBe('unreachable');
  });
});

describe('why a job waits', () => {
  test.each([
    [['Job is in hold state'], 'held; "qrls" lets it go'],
    [['job dropped because of job dependencies'], 'waits for another job'],
    [
      [
        'queue instance "compute@c1" dropped because it is full',
        'cannot run in PE "smp" because it only offers 0 slots',
      ],
      'no free slots yet',
    ],
    [
      [
        'cannot run in queue "debug" because it is not contained in its hard queue list (-q)',
        '(-l gpu=40) cannot run at host "c1" because it offers only hc:gpu=0.000000',
      ],
      '(-l gpu=40) cannot run at host "c1" because it offers only hc:gpu=0.000000',
    ],
    [
      ['queue instance "compute@c1" dropped because it is disabled'],
      'queue instance "compute@c1" dropped because it is disabled',
    ],
    [[], undefined],
  ])('%j: %s', (messages, reason) => {
    expect(waitingReason(messages)).toBe(reason);
  });
});

describe('qdel', () => {
  test.each([
    ['qdel-ok', { kind: 'cancelled' }],
    ['qdel-ok-queued', { kind: 'cancelled' }],
    ['qdel-twice', { kind: 'cancelled' }],
    ['qdel-unknown', { kind: 'gone' }],
    [
      'qdel-somebody-elses',
      {
        kind: 'refused',
        message: 'bob - you do not have the necessary privileges to delete the job "700016"',
      },
    ],
    ['qdel-unreachable-refused', { kind: 'unreachable', message: away }],
  ])('%s', (name, outcome) => {
    expect(parseCancel(recorded(name))).toEqual(outcome);
  });
});

describe('queues', () => {
  const queue = (limit: string) => parseQueues(`qname q\nh_rt ${limit}\n`)[0]?.maxSeconds;

  it('come with their time limits', () => {
    const common = { isDefault: false, available: true };
    expect(parseQueues(recorded('qconf-sq').stdout)).toEqual([
      { name: 'compute', maxSeconds: undefined, ...common },
      { name: 'debug', maxSeconds: 1800, ...common },
    ]);
  });

  test.each([
    ['86400', 86_400],
    ['24:0:0', 86_400],
    ['1:0:0,[@long=48:0:0]', 172_800],
    ['1:0:0,[@long=INFINITY],[c2=2:0:0]', undefined],
    ['1:0:0, \\\n                      [@long=48:0:0]', 172_800],
  ])('%j allows %s seconds', (limit, seconds) => {
    expect(queue(limit)).toBe(seconds);
  });
});

describe('directives', () => {
  const always = [
    '#$ -S /bin/bash',
    '#$ -N start-jupyter',
    '#$ -j y',
    '#$ -o /dev/null',
    '#$ -notify',
    '#$ -r n',
  ];

  it('ask for nothing that nobody has asked for', () => {
    expect(directives(launch({ timeLimit: undefined }))).toEqual(always);
  });

  it('ask in the words of the site, with memory for every slot', () => {
    expect(
      directives(
        launch({
          account: 'demo',
          partition: 'all.q,long.q',
          reservation: '12',
          timeLimit: 5400,
          cpus: 3,
          memory: 4096,
          gpu: { type: 'a100', count: 2 },
          constraint: 'avx2',
        }),
      ),
    ).toEqual([
      ...always,
      '#$ -P demo',
      '#$ -q all.q,long.q',
      '#$ -ar 12',
      '#$ -pe smp 3',
      '#$ -l h_rt=5400',
      '#$ -l mem=1366M',
      '#$ -l gpu=2',
      '#$ -l gpu_type=a100',
      '#$ -l avx2',
    ]);
  });

  it('need no parallel environment for one CPU', () => {
    expect(directives(launch({ cpus: 1 }, {})).join('\n')).not.toMatch(/-pe/);
  });

  it('keep an expression together', () => {
    expect(directives(launch({ constraint: 'arch=a*|b*' }))).toContain('#$ -l "arch=a*|b*"');
  });

  it('leave notifications out where the site wants none', () => {
    expect(directives(launch({}, { notify: false }))).not.toContain('#$ -notify');
  });
});

describe('what can not be asked', () => {
  test.each([
    [{ gres: 'gpu:1' }, 'gres', /word of Slurm/],
    [{ qos: 'high' }, 'qos', /word of Slurm/],
    [{ nodes: 2 }, 'nodes', /slots, not nodes/],
    [{ reservation: 'workshop' }, 'reservation', /have numbers/],
    [{ cpus: 2 }, 'cpus', /parallel environment/],
    [{ memory: 1024 }, 'memory', /calls memory/],
    [{ gpu: { count: 1 } }, 'gpu', /calls GPUs/],
  ] as const)('%j of a system that nobody has described', (resources, option, message) => {
    expect(unsupported(launch(resources, {}))).toMatchObject({
      option,
      message: expect.stringMatching(message),
    });
  });

  it('is a type of GPU where only their number has a name', () => {
    const gpu = { type: 'a100', count: 1 };
    expect(unsupported(launch({ gpu }, { gpu: 'gpu' }))).toMatchObject({
      option: 'gpu',
      hint: expect.stringContaining('gpuType'),
    });
    expect(unsupported(launch({ gpu }))).toBeUndefined();
  });

  it('is nothing where all has a name', () => {
    expect(unsupported(launch({ nodes: 1, cpus: 4, memory: 1024, constraint: 'avx2' }))).toBeUndefined();
  });

  test.each([
    [['-l', 'x=1', '-t', '1-3'], '-t', 'own'],
    [['-o', '/tmp/log'], '-o', 'own'],
    [['-sync', 'y'], '-sync', 'own'],
    [['-l', 'x=1,h_rt=60'], '-l', 'time'],
    [['-help'], '-help', 'answer'],
    [['-l', 'x=1', 'train.sh', '-t', '1-3'], 'train.sh', 'script'],
    [['-h', 'train.sh'], 'train.sh', 'script'],
    [['-binding', 'linear:2', 'train.sh'], 'train.sh', 'script'],
  ])('%j after the dashes: %s can not be passed on (%s)', (args, typed, why) => {
    expect(sge.unfit(args)).toEqual([{ typed, why }]);
  });

  test('after the dashes: values are no scripts', () => {
    const args = '-l h_vmem=4G -h -m e -pe smp 4 -binding set linear:2 -hold_jid 7'.split(' ');
    expect(sge.unfit(args)).toEqual([]);
  });
});

describe('what is free', () => {
  // As users have published it.
  const summary = [
    'CLUSTER QUEUE                   CQLOAD   USED    RES  AVAIL  TOTAL aoACDS  cdsuE  ',
    '--------------------------------------------------------------------------------',
    'epyc.q                            0.00      1      0   4159   4224      0     64 ',
    'gpu.q                             -NA-      0      0      0      1      0      1 ',
    '',
  ].join('\n');

  it('is the slots of each queue, which share hosts and are not added up', () => {
    const slots = parseSlots(summary);
    expect(slots?.partitions.get('epyc.q')?.cpus).toEqual({ free: 4159, total: 4224 });
    expect(slots?.partitions.get('gpu.q')?.cpus).toEqual({ free: 0, total: 1 });
    expect(slots?.all.cpus).toBeUndefined();
  });

  it('is not known from anything else', () => {
    expect(parseSlots('')).toBeUndefined();
    expect(parseSlots('error: commlib error: got select error')).toBeUndefined();
  });
});
