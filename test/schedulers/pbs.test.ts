import { describe, expect, it, test } from 'vitest';
import type { LaunchSpec } from '../../src/launch-spec.ts';
import { directives, jobReport, parseNodes, pbs, unsupported } from '../../src/schedulers/pbs.ts';
import { parseCancel, parseSubmit } from '../../src/schedulers/pbs-family.ts';
import { plainLaunch } from '../support/launch-spec.ts';
import { recording } from '../support/recordings.ts';

const recorded = (name: string) => recording(`openpbs-23.06/${name}`);

describe('qsub', () => {
  test.each([
    ['qsub-ok', '1.pbs-head'],
    ['qsub-queued-never-fits', '5.pbs-head'],
    ['qhold-submit', '6.pbs-head'],
  ])('%s is job %s', (name, jobId) => {
    expect(parseSubmit(recorded(name))).toEqual({ kind: 'submitted', jobId });
  });

  test.each([
    ['1234[].server', '1234[].server'],
    ['Welcome to Example!\nLoading 3 modules\n77.pbs-head', '77.pbs-head'],
    ['12.a-b_c.example.edu', '12.a-b_c.example.edu'],
  ])('says %j: job %s', (stdout, jobId) => {
    expect(parseSubmit({ stdout: `${stdout}\n`, stderr: '', exitCode: 0 })).toEqual({
      kind: 'submitted',
      jobId,
    });
  });

  test.each([
    ['qsub-unknown-queue', 'it knows no such queue (Unknown queue)'],
    ['qsub-unknown-resource', 'it knows no such resource (Unknown resource: nosuch)'],
    [
      'qsub-bad-syntax',
      'it can not read what is asked for (Illegal attribute or resource value Resource_List.select)',
    ],
    [
      'qsub-walltime-over-limit',
      'it asks for more than the queue or the server allows (Job violates queue and/or server resource limits)',
    ],
  ])('%s is refused in words for people', (name, message) => {
    expect(parseSubmit(recorded(name))).toEqual({ kind: 'rejected', message });
  });

  test.each([
    // cnt2server.c and qsub.c of OpenPBS
    ['Connection refused\nqsub: cannot connect to server pbs-head (errno=111)\n', 111],
    ['No default server name.\nqsub: cannot connect to server  (errno=15034)\n', 186],
  ])('that reaches nobody (%j) was not refused', (stderr, exitCode) => {
    expect(parseSubmit({ stdout: '', stderr, exitCode })).toMatchObject({
      kind: 'unreachable',
      message: expect.stringMatching(/^cannot connect to server/),
    });
  });

  it('that did not answer in time was not refused', () => {
    expect(parseSubmit({ stdout: '', stderr: '', exitCode: undefined }).kind).toBe('unreachable');
  });

  it('that says nothing that could be a job and fails not may have taken one', () => {
    expect(parseSubmit({ stdout: 'usage: qsub\n', stderr: '', exitCode: 0 }).kind).toBe('unclear');
    expect(parseSubmit({ stdout: '', stderr: '', exitCode: 0 })).toEqual({
      kind: 'unclear',
      message: 'qsub ended with status 0 and said nothing',
    });
  });
});

describe('the attributes of a job', () => {
  const finished = (attributes: Record<string, string>) =>
    jobReport({ job_state: 'F', 'Resource_List.walltime': '00:10:00', ...attributes });

  test.each(['Q', 'W', 'T'])('%s waits', (job_state) => {
    expect(jobReport({ job_state, comment: 'Not Running: Insufficient amount of resource: ncpus' })).toEqual({
      kind: 'queued',
      reason: 'Insufficient amount of resource: ncpus',
      estimatedStart: undefined,
    });
  });

  test.each([
    ['u', /held by you/],
    ['o', /operator/],
    ['us', /system/],
  ])('H is held: %s', (Hold_Types, reason) => {
    expect(jobReport({ job_state: 'H', Hold_Types })).toMatchObject({
      kind: 'queued',
      reason: expect.stringMatching(reason),
    });
  });

  test.each(['R', 'E', 'S', 'U', 'B'])('%s is on its node', (job_state) => {
    expect(
      jobReport({
        job_state,
        exec_host: 'c1/0*4+c2/0*4',
        stime: 'Sat Nov 21 21:04:48 2026',
        'Resource_List.walltime': '36:00:00',
      }),
    ).toEqual({
      kind: 'running',
      node: 'c1',
      startedAt: new Date('2026-11-21T21:04:48Z'),
      endsAt: new Date('2026-11-23T09:04:48Z'),
    });
  });

  test.each([
    ['1795295090', new Date(1795295090_000)],
    ['Sat Nov 21 21:04:48 2026', new Date('2026-11-21T21:04:48Z')],
    ['UNKNOWN', undefined],
  ])('an estimated start of %s', (start, estimatedStart) => {
    expect(jobReport({ job_state: 'Q', 'estimated.start_time': start })).toMatchObject({ estimatedStart });
  });

  test.each([
    ['0', false, /ended/],
    ['3', true, /exit status 3/],
    // 256 and the signal
    ['271', false, /cancelled/],
    ['265', true, /signal 9/],
    ['-1', true, /could not be started/],
    ['-27', true, /memory/],
    ['-29', false, /time limit/],
  ])('Exit_status %s', (Exit_status, failed, reason) => {
    expect(finished({ Exit_status, 'resources_used.walltime': '00:05:00' })).toEqual({
      kind: 'ended',
      failed,
      reason: expect.stringMatching(reason),
    });
  });

  test.each(['271', '265'])('Exit_status %s after the whole time is the time limit', (Exit_status) => {
    expect(finished({ Exit_status, 'resources_used.walltime': '00:10:04' })).toMatchObject({
      failed: false,
      reason: expect.stringMatching(/time limit/),
    });
  });

  test.each(['M', ''])('state %j says nothing: it is not gone', (job_state) => {
    expect(jobReport({ job_state }).kind).toBe('unreachable');
  });
});

describe('qdel', () => {
  test.each([
    ['qdel-running', 'cancelled'],
    ['qdel-queued', 'cancelled'],
    ['qdel-held', 'cancelled'],
    ['qdel-unknown-job', 'gone'],
  ])('%s: %s', (name, kind) => {
    expect(parseCancel(recorded(name)).kind).toBe(kind);
  });

  test.each([
    ['qdel: Job has finished 5.pbs-head', 35, 'gone'],
    ['qdel: Request invalid for state of job 5.pbs-head', 168, 'gone'],
    ['qdel: Unauthorized Request  5.pbs-head', 159, 'refused'],
    ["Couldn't connect to cluster: pbs-head", 111, 'unreachable'],
    ['', undefined, 'unreachable'],
  ])('%j, exit %s: %s', (stderr, exitCode, kind) => {
    expect(parseCancel({ stdout: '', stderr, exitCode }).kind).toBe(kind);
  });
});

const spec: LaunchSpec = { ...plainLaunch, system: { ...plainLaunch.system, scheduler: 'pbs' } };

type Change = Partial<LaunchSpec['resources']>;
const asking = (change: Change, dialect?: LaunchSpec['system']['pbs']): LaunchSpec => ({
  ...spec,
  system: { ...spec.system, pbs: dialect },
  resources: { ...spec.resources, ...change },
});

describe('directives', () => {
  const of = (change: Change, dialect?: LaunchSpec['system']['pbs'], log = '/home/a/job.log') =>
    directives(asking(change, dialect), { log });

  it('are few where nothing is asked for: the rest is left to the site', () => {
    expect(of({})).toEqual([
      '#PBS -S /bin/bash',
      '#PBS -N start-jupyter',
      '#PBS -j oe',
      '#PBS -o /home/a/job.log.pbs',
      '#PBS -r n',
      '#PBS -l walltime=00:30:00',
    ]);
  });

  it.each<[Change, LaunchSpec['system']['pbs'], string[]]>([
    [{ account: 'abc123' }, {}, ['-A abc123']],
    [{ partition: 'debug' }, {}, ['-q debug']],
    [{ partition: 'debug', reservation: 'R7' }, {}, ['-q R7']],
    [{ timeLimit: 131_415 }, {}, ['-l walltime=36:30:15']],
    [{ cpus: 4 }, {}, ['-l select=1:ncpus=4']],
    [{ cpus: 4, memory: 8192 }, {}, ['-l select=1:ncpus=4:mem=8192mb']],
    [{ gpu: { count: 2 } }, {}, ['-l select=1:ngpus=2']],
    [{ gpu: { type: 'a100', count: 1 } }, { gpuType: 'gpu_model' }, ['-l select=1:ngpus=1:gpu_model=a100']],
    [{ nodes: 2, cpus: 8 }, {}, ['-l select=2:ncpus=8', '-l place=scatter']],
    [{ nodes: 2 }, { place: 'scatter:excl' }, ['-l select=2', '-l place=scatter:excl']],
    [
      { cpus: 1, memory: 512, gpu: { count: 1 } },
      { memory: 'pmem', gpu: 'gpus' },
      ['-l select=1:ncpus=1:pmem=512mb:gpus=1'],
    ],
    [
      { nodes: 2, cpus: 8, memory: 1024, gpu: { count: 1 } },
      { request: 'nodes' },
      ['-l nodes=2:ppn=8:gpus=1', '-l mem=2048mb'],
    ],
    [{ cpus: 4 }, { request: 'nodes', place: 'scatter' }, ['-l nodes=1:ppn=4']],
  ])('%j in the dialect %j: %j', (change, dialect, wanted) => {
    const usual = new Set(of({}).filter((line) => !('timeLimit' in change && line.includes('walltime'))));
    expect(of(change, dialect).filter((line) => !usual.has(line))).toEqual(
      wanted.map((directive) => `#PBS ${directive}`),
    );
  });

  it.each([
    ['/home/a b/job.log', '#PBS -o /home/a\\ b/job.log.pbs'],
    ['/home/a"b\'c\\/job.log', '#PBS -o /home/a\\"b\\\'c\\\\/job.log.pbs'],
    ['/home/名前/job.log', '#PBS -o /dev/null'],
  ])('%s is written as qsub reads it', (log, line) => {
    expect(of({}, undefined, log)).toContain(line);
  });
});

describe('what PBS has no words for', () => {
  it.each<[Change, LaunchSpec['system']['pbs'], string | undefined]>([
    [{}, undefined, undefined],
    [{ gres: 'gpu:1' }, undefined, 'gres'],
    [{ qos: 'high' }, undefined, 'qos'],
    [{ constraint: 'ib' }, undefined, 'constraint'],
    [{ partition: 'a,b' }, undefined, 'partition'],
    [{ gpu: { type: 'a100', count: 1 } }, undefined, 'gpu'],
    [{ gpu: { type: 'a100', count: 1 } }, { gpuType: 'gpu_model' }, undefined],
    [{ gpu: { count: 1 } }, undefined, undefined],
  ])('%j with %j: %s', (change, dialect, option) => {
    expect(unsupported(asking(change, dialect))?.option).toBe(option);
  });

  test.each([
    [['-o', '/tmp/x'], '-o', 'own'],
    [['-joe'], '-joe', 'own'],
    [['-J', '1-3'], '-J', 'own'],
    [['-hI'], '-hI', 'own'],
    [['-z'], '-z', 'own'],
    [['-W', 'umask=022,block=true'], '-W', 'own'],
    [['-Wblock=true'], '-Wblock=true', 'own'],
    [['-lselect=1,walltime=60'], '-lselect=1,walltime=60', 'time'],
    [['-l', 'min_walltime=60'], '-l', 'time'],
    [['--version'], '--version', 'answer'],
    [['--', '/bin/true'], '--', 'script'],
    [['-l', 'software=x', 'train.sh', '-o', 'x'], 'train.sh', 'script'],
    [['-h', '-m'], '-m', 'incomplete'],
  ])('after "--", %j: %s can not be passed on (%s)', (args, typed, why) => {
    expect(pbs.unfit(args)).toEqual([{ typed, why }]);
  });

  test('after "--", values of options are no scripts', () => {
    const args = ['-h', '-W', 'umask=022', '-l', 'software=x', '-q', 'debug', '-m', 'n', '-a', '2300'];
    expect(pbs.unfit(args)).toEqual([]);
  });
});

describe('what is free', () => {
  const answer = (nodes: object) => JSON.stringify({ nodes });

  it('is what the recorded server says of its one node', () => {
    expect(parseNodes(recording('openpbs-23.06/pbsnodes-json').stdout)).toEqual({
      all: {
        nodes: { free: 0, total: 1 },
        cpus: { free: 1, total: 2 },
        gpus: [],
        largest: { cpus: 2, memory: 24_105 },
      },
      partitions: new Map(),
    });
  });

  it('has GPUs under the names of the site, and nodes of one queue only', () => {
    const a100 = { ncpus: 64, mem: '512gb', ngpus: 4, gpu_model: 'a100' };
    const nodes = parseNodes(
      answer({
        g1: {
          state: 'free',
          queue: 'gpu',
          resources_available: a100,
          resources_assigned: { ncpus: 8, ngpus: 3 },
        },
        g2: { state: 'job-busy', queue: 'gpu', resources_available: a100, resources_assigned: { ncpus: 64 } },
        c1: { state: 'offline,down', resources_available: { ncpus: 64 } },
        natural: { state: 'free', resources_available: { ncpus: 0 } },
      }),
      { gpuType: 'gpu_model' },
    );
    expect(nodes?.partitions.get('gpu')).toEqual({
      nodes: { free: 0, total: 2 },
      cpus: { free: 56, total: 128 },
      gpus: [{ type: 'a100', free: 1, total: 8 }],
      largest: { cpus: 64, memory: 524_288 },
    });
    expect(nodes?.all).toMatchObject({
      nodes: { free: 0, total: 1 },
      cpus: { free: 0, total: 64 },
      gpus: [],
    });
  });

  it('is not known where the answer is no JSON', () => {
    expect(parseNodes('pbsnodes: Unknown option')).toBeUndefined();
  });
});
