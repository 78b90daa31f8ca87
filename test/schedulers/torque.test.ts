/** What these answers look like is from Torque's manuals and its source (6.1): nobody has recorded a real one. */
import { afterEach, describe, expect, it, test, vi } from 'vitest';
import type { LaunchSpec } from '../../src/launch-spec.ts';
import { directives, jobReport, parseNodes, torque, unsupported } from '../../src/schedulers/torque.ts';
import { freshHome } from '../support/directories.ts';
import { plainLaunch } from '../support/launch-spec.ts';
import { type Stubs, stubCommands, writtenScript } from '../support/stubs.ts';

afterEach(() => {
  vi.unstubAllEnvs();
});

function commandsOnPath(): Stubs {
  const stubs = stubCommands();
  vi.stubEnv('PATH', `${stubs.directory}:/usr/bin:/bin`);
  vi.stubEnv('HOME', freshHome().path);
  return stubs;
}

const running = `Job Id: 12.head
    Job_Name = start-jupyter
    Job_Owner = student@head
    resources_used.walltime = 00:00:05
    job_state = R
    exec_host = c1/0-3+c2/0-3
    Resource_List.nodes = 2:ppn=4
    Resource_List.walltime = 02:00:00
    Variable_List = PBS_O_QUEUE=batch,PBS_O_HOME=/home/student,
\tX=a
    job_state = C
    start_time = Sat Nov 21 21:04:48 2026

`;

describe('the state of jobs', () => {
  it('comes with one call, and the first word on a job counts', async () => {
    const stubs = commandsOnPath();
    stubs.answer('qstat', {
      'qstat -f 12.head 13.head': {
        stdout: running,
        stderr: 'qstat: Unknown Job Id Error 13.head\n',
        exitCode: 153,
      },
    });
    const reports = await torque.jobs(['12.head', '13.head']);
    expect(reports.get('12.head')).toEqual({
      kind: 'running',
      node: 'c1',
      startedAt: new Date('2026-11-21T21:04:48Z'),
      endsAt: new Date('2026-11-21T23:04:48Z'),
    });
    expect(reports.get('13.head')).toEqual({ kind: 'unknown' });
    expect(stubs.calls()).toHaveLength(1);
  });

  it.each([
    ['qstat: cannot connect to server head (errno=15137) could not connect to trqauthd\n', 137],
    ['Communication failure.\nqstat: cannot connect to server head (errno=15033)\n', 1],
    ['', 1],
  ])('is unreachable where the server is: %j', async (stderr, exitCode) => {
    commandsOnPath().add('qstat', { stderr, exitCode });
    expect((await torque.jobs(['12.head'])).get('12.head')?.kind).toBe('unreachable');
  });

  test.each([
    [{ job_state: 'Q' }, { kind: 'queued', reason: undefined, estimatedStart: undefined }],
    [
      { job_state: 'H', Hold_Types: 'u' },
      { kind: 'queued', reason: expect.stringContaining('held by you') },
    ],
    [{ job_state: 'E' }, { kind: 'running' }],
    [
      { job_state: 'C', exit_status: '0' },
      { kind: 'ended', failed: false, reason: /deleted before it ran/ },
    ],
    [
      { job_state: 'C', exec_host: 'c1/0', exit_status: '0' },
      { failed: false, reason: /The job ended/ },
    ],
    [
      { job_state: 'C', exec_host: 'c1/0', exit_status: '271' },
      { failed: false, reason: /cancelled/ },
    ],
    [
      { job_state: 'C', exec_host: 'c1/0', exit_status: '1' },
      { failed: true, reason: /status 1/ },
    ],
    [
      { job_state: 'C', exec_host: 'c1/0', exit_status: '-10' },
      { failed: true, reason: /memory/ },
    ],
    [
      { job_state: 'C', exec_host: 'c1/0', exit_status: '-11' },
      { failed: false, reason: /time limit/ },
    ],
    [
      { job_state: 'C', exec_host: 'c1/0', exit_status: '-1' },
      { failed: true, reason: /be started/ },
    ],
    [{ job_state: 'X' }, { kind: 'unreachable' }],
  ])('%j', (attributes, report) => {
    const { reason } = report as { reason?: unknown };
    expect(jobReport(attributes)).toMatchObject(
      reason instanceof RegExp ? { ...report, reason: expect.stringMatching(reason) } : report,
    );
  });
});

it('reads the queues', async () => {
  commandsOnPath().answer('qstat', {
    'qstat -Q -f': {
      stdout:
        'Queue: batch\n    queue_type = Execution\n    resources_max.walltime = 24:00:00\n    enabled = True\n    started = True\n\n',
    },
  });
  expect(await torque.offers()).toEqual({
    partitions: [{ name: 'batch', isDefault: false, available: true, maxSeconds: 86_400 }],
    accounts: undefined,
  });
});

describe('a submission', () => {
  it.each([
    [
      'submit error (Unknown queue MSG=cannot locate queue)',
      172,
      /^it knows no such queue \(Unknown queue MSG/,
    ],
    ['submit error (Unauthorized Request  MSG=ruserok failed)', 159, /may not submit jobs here/],
    ['submit error (Job exceeds queue resource limits MSG=x)', 190, /asks for more/],
    ['Your job has been administratively rejected by the queueing system.', 1, /^Your job has been/],
  ])('refused with %j', async (said, exitCode, message) => {
    commandsOnPath().add('qsub', { stderr: `qsub: ${said}\n`, exitCode });
    expect(await torque.submit(writtenScript('/home/a/job.sh'), [])).toEqual({
      kind: 'rejected',
      message: expect.stringMatching(message),
    });
  });

  it('that reaches nobody was not refused', async () => {
    commandsOnPath().add('qsub', {
      stderr: 'qsub: cannot connect to server head (errno=111) Connection refused\n',
      exitCode: 111,
    });
    expect((await torque.submit(writtenScript('/home/a/job.sh'), [])).kind).toBe('unreachable');
  });
});

it.each([
  ['', 0, 'cancelled'],
  ['qdel: Unknown Job Id Error 12.head', 153, 'gone'],
  ['qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 12.head', 170, 'gone'],
  ['qdel: Unauthorized Request  12.head', 159, 'refused'],
  ['qdel: cannot connect to server head (errno=111) Connection refused', 111, 'unreachable'],
])('qdel that says %j with %s: %s', async (stderr, exitCode, kind) => {
  commandsOnPath().add('qdel', { stderr, exitCode });
  expect((await torque.cancel('12.head')).kind).toBe(kind);
});

type Change = Partial<LaunchSpec['resources']>;
const asking = (change: Change): LaunchSpec => ({
  ...plainLaunch,
  resources: { ...plainLaunch.resources, ...change },
});

it.each<[Change, string[]]>([
  [{}, []],
  [{ account: 'abc123', partition: 'debug' }, ['-A abc123', '-q debug']],
  [{ cpus: 4 }, ['-l nodes=1:ppn=4']],
  [{ memory: 512 }, ['-l nodes=1', '-l mem=512mb']],
  [
    { nodes: 2, cpus: 8, memory: 1024, gpu: { type: 'k80', count: 1 } },
    ['-l nodes=2:ppn=8:gpus=1:k80', '-l mem=2048mb'],
  ],
])('directives for %j', (change, wanted) => {
  expect(directives(asking(change), { log: '/home/a/job.log' })).toEqual([
    '#PBS -S /bin/bash',
    '#PBS -N start-jupyter',
    '#PBS -j oe',
    '#PBS -o /home/a/job.log.pbs',
    '#PBS -r n',
    ...wanted.map((directive) => `#PBS ${directive}`),
    '#PBS -l walltime=00:30:00',
  ]);
});

it.each<[Change, string | undefined]>([
  [{}, undefined],
  [{ gres: 'gpu:1' }, 'gres'],
  [{ reservation: 'r' }, 'reservation'],
  [{ partition: 'a,b' }, 'partition'],
  [{ gpu: { type: 'k80', count: 1 } }, undefined],
])('has words for %j, but for %s', (change, option) => {
  expect(unsupported(asking(change))?.option).toBe(option);
});

describe('what is free', () => {
  // As users have published it: of 6.1, with its ranges of slots, and of 2.5.
  const nodes = `g1
     state = free
     power_state = Running
     np = 28
     properties = gpuQ
     ntype = cluster
     jobs = 0-3,6/12.head,7/13.head
     status = opsys=linux,uname=Linux g1 3.10.0,totmem=402281596kb,availmem=390304804kb,physmem=395990144kb,ncpus=28,state=free
     mom_service_port = 15002
     gpus = 2
     gpu_status = gpu[1]=gpu_id=0000:82:00.0;gpu_product_name=Tesla P100;gpu_state=Unallocated;gpu_temperature=28 C,gpu[0]=gpu_id=0000:03:00.0;gpu_state=Exclusive,driver_ver=460.27

c1
     state = free
     np = 8
     ntype = cluster
     status = rectime=1382650172,physmem=65941488kb

c2
     state = job-exclusive
     np = 2
     ntype = cluster
     jobs = 0/14.head, 1/14.head

c3
     state = down,offline
     np = 8
     ntype = cluster
`;

  it('is summed up over the nodes', () => {
    expect(parseNodes(nodes)).toEqual({
      all: {
        nodes: { free: 1, total: 4 },
        cpus: { free: 30, total: 46 },
        gpus: [{ type: undefined, free: 1, total: 2 }],
        largest: { cpus: 28, memory: 386_709 },
      },
      partitions: new Map(),
    });
  });

  it('is not known where there are no nodes', () => {
    expect(parseNodes('')).toBeUndefined();
  });
});
