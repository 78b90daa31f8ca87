import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it, test, vi } from 'vitest';
import type { JobScript } from '../../src/schedulers/scheduler.ts';
import { slurm } from '../../src/schedulers/slurm.ts';
import { freshHome } from '../support/directories.ts';
import { plainLaunch } from '../support/launch-spec.ts';
import { recording } from '../support/recordings.ts';
import { type Stubs, stubCommands, writtenScript } from '../support/stubs.ts';

afterEach(() => {
  vi.unstubAllEnvs();
});

/** A Slurm on PATH that answers as it was recorded. */
function recordedSlurm(answers: Readonly<Record<string, string>>): Stubs {
  const stubs = stubCommands();
  for (const [command, name] of Object.entries(answers)) stubs.add(command, recording(`slurm-22.05/${name}`));
  vi.stubEnv('PATH', `${stubs.directory}:/usr/bin:/bin`);
  vi.stubEnv('HOME', freshHome().path);
  return stubs;
}

/** A command beside the recorded ones. */
function writeCommand(directory: string, name: string, script: string): void {
  writeFileSync(path.join(directory, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

describe('the state of jobs', () => {
  it('is asked for all of them at once, and accounting is left alone while the queue knows them', async () => {
    const stubs = recordedSlurm({ squeue: 'squeue-running', sacct: 'sacct-running' });
    expect((await slurm.jobs(['3'])).get('3')).toMatchObject({ kind: 'running', node: 'c1' });
    expect(stubs.calls()).toEqual([
      `squeue --noheader --states=all --user=${process.getuid?.()} --jobs=3 --format=%i|%T|%r|%S|%e|%N`,
    ]);
  });

  it('comes from accounting once the queue has forgotten a job', async () => {
    recordedSlurm({ squeue: 'squeue-unknown', sacct: 'sacct-out-of-memory' });
    expect((await slurm.jobs(['10'])).get('10')).toMatchObject({
      kind: 'ended',
      failed: true,
      reason: expect.stringContaining('memory'),
    });
  });

  it('is asked for with two commands, however many jobs there are', async () => {
    const stubs = recordedSlurm({ squeue: 'squeue-several', sacct: 'sacct-several' });
    const many = Array.from({ length: 300 }, (_, index) => String(index + 1));
    const reports = await slurm.jobs(many);
    expect(reports.size).toBe(300);
    expect(reports.get('4')).toMatchObject({ kind: 'ended', failed: false });
    expect(reports.get('300')).toEqual({ kind: 'unknown' });
    expect(stubs.calls().map((call) => call.split(' ')[0])).toEqual(['squeue', 'sacct']);
  });

  it('comes from the cluster that the job was sent to', async () => {
    const stubs = recordedSlurm({ squeue: 'squeue-cluster-several', sacct: 'sacct-cluster-named' });
    expect((await slurm.jobs(['2'], 'lab')).get('2')).toMatchObject({ kind: 'ended', failed: false });
    for (const call of stubs.calls()) expect(call).toContain(' --clusters=lab ');
    expect(stubs.calls()).toHaveLength(2);
  });

  it('of a job that is here is asked for here, whatever SLURM_CLUSTERS names', async () => {
    const stubs = recordedSlurm({ squeue: 'squeue-running' });
    vi.stubEnv('SLURM_CLUSTERS', 'other');
    writeFileSync(
      path.join(stubs.directory, 'squeue'),
      '#!/bin/sh\necho "3|PENDING|$(printenv SLURM_CLUSTERS || echo none)|||"\n',
    );
    expect((await slurm.jobs(['3'])).get('3')).toMatchObject({ reason: 'none' });
  });

  it('comes from the queue where accounting does not answer', async () => {
    recordedSlurm({ squeue: 'squeue-failed', sacct: 'sacct-unreachable' });
    expect((await slurm.jobs(['10'])).get('10')).toMatchObject({ kind: 'ended', failed: true });
  });

  it('is unknown where neither knows the job', async () => {
    recordedSlurm({ squeue: 'squeue-unknown', sacct: 'sacct-unknown' });
    expect((await slurm.jobs(['999999'])).get('999999')).toEqual({ kind: 'unknown' });
  });

  it('is unreachable, not gone, for every job while the controller is away', async () => {
    const stubs = recordedSlurm({ squeue: 'squeue-unreachable-refused', sacct: 'sacct-unknown' });
    const reports = await slurm.jobs(['3', '7']);
    expect([...reports.values()].map(({ kind }) => kind)).toEqual(['unreachable', 'unreachable']);
    expect(stubs.calls()).toHaveLength(1);
  });

  it('costs nothing where there are no jobs', async () => {
    const stubs = recordedSlurm({ squeue: 'squeue-running' });
    expect((await slurm.jobs([])).size).toBe(0);
    expect(stubs.calls()).toEqual([]);
  });
});

it.each([
  ['squeue', () => slurm.jobs(['3']), 'SQUEUE_NAMES'],
  ['squeue', () => slurm.jobsByLog?.(), 'SQUEUE_SORT'],
  ['sacct', () => slurm.jobs(['3']), 'SACCT_LOCAL'],
  ['scancel', () => slurm.cancel('3'), 'SCANCEL_INTERACTIVE'],
  ['sinfo', () => slurm.offers(), 'SINFO_PARTITION'],
  ['scontrol', () => slurm.offers(undefined, undefined, { account: 'a' }), 'SCONTROL_ALL'],
])('%s gets no option that nobody typed, for whatever it is asked (%#)', async (command, ask, variable) => {
  const { directory } = recordedSlurm({
    squeue: 'squeue-unknown',
    sacct: 'sacct-unknown',
    sinfo: 'sinfo-partitions',
    sacctmgr: 'sacctmgr-accounts',
  });
  const seen = path.join(directory, 'seen');
  writeCommand(directory, command, `printenv ${variable} SLURM_CONF SLURM_TIME_FORMAT >>'${seen}'`);
  vi.stubEnv(variable, 'x');
  vi.stubEnv('SLURM_CONF', '/etc/slurm/slurm.conf');
  vi.stubEnv('SLURM_TIME_FORMAT', 'relative');
  await ask();
  expect(readFileSync(seen, 'utf8')).toBe('/etc/slurm/slurm.conf\n%s\n');
});

describe('a submission', () => {
  it('hands on what the user has for sbatch', async () => {
    const stubs = recordedSlurm({ sbatch: 'sbatch-ok' });
    expect(await slurm.submit(writtenScript('/home/a/job.sh'), ['--exclusive', '--comment=a b'])).toEqual({
      kind: 'submitted',
      jobId: '3',
    });
    expect(stubs.calls()).toEqual(['sbatch --parsable --exclusive --comment=a b']);
  });

  it('ignores options in variables, and hands those of other commands on to the terminals of the job', async () => {
    const { directory } = recordedSlurm({});
    const seen = path.join(directory, 'seen');
    writeCommand(directory, 'sbatch', `env >'${seen}'; cat >/dev/null; echo 3`);
    vi.stubEnv('SBATCH_TIMELIMIT', '6');
    vi.stubEnv('SQUEUE_FORMAT', '%i %T');
    await slurm.submit(writtenScript('/nowhere'), []);
    const environment = readFileSync(seen, 'utf8');
    expect(environment).not.toContain('SBATCH_');
    expect(environment).toContain('SQUEUE_FORMAT=%i %T\n');
  });

  it('is begun before there is a script, which sbatch reads to its last line', async () => {
    const { directory } = recordedSlurm({});
    const read = path.join(directory, 'read');
    const begun = path.join(directory, 'begun');
    writeCommand(directory, 'sbatch', `touch '${begun}'; cat >'${read}'; echo 3`);
    const text = `#!/bin/bash\n${'# é\n'.repeat(10_000)}echo last`;
    const script = Promise.withResolvers<JobScript>();
    const submitted = slurm.submit(script.promise, []);
    await expect.poll(() => existsSync(begun)).toBe(true);
    script.resolve({ file: '/nowhere', text });
    expect(await submitted).toEqual({ kind: 'submitted', jobId: '3' });
    expect(readFileSync(read, 'utf8')).toBe(text);
  });

  it('of a script that would not go through a pipe in one piece has its path', async () => {
    const { directory } = recordedSlurm({});
    const read = path.join(directory, 'read');
    writeCommand(directory, 'sbatch', `[ "$2" ] || { cat >/dev/null; echo >'${read}'; }; echo "$2"`);
    const text = `#!/bin/bash\n${'#\n'.repeat(33_000)}`;
    expect(await slurm.submit(writtenScript('4', text), [])).toEqual({ kind: 'submitted', jobId: '4' });
    expect(existsSync(read)).toBe(false);
  });
});

describe('a cluster by name', () => {
  test.each([
    [['-M', 'other'], 'other'],
    [['-Mother'], 'other'],
    [['--clusters', 'other'], 'other'],
    [['--clusters=one,other'], 'one,other'],
    [['--cluster=other'], 'other'],
    [['-M', 'first', '--exclusive', '--cluster', 'other'], 'other'],
    [['-HMother'], 'other'],
    [['--comment', '-Mother'], undefined],
    [['--exclusive', '--mem=4', '-c', '2'], undefined],
  ])('%j: %s', (args, clusters) => {
    expect(slurm.clusters?.(args)).toBe(clusters);
  });

  it('may come from SLURM_CLUSTERS, and what is typed goes before it', async () => {
    const stubs = recordedSlurm({ sbatch: 'sbatch-ok-cluster' });
    vi.stubEnv('SLURM_CLUSTERS', 'lab');
    expect(slurm.clusters?.([])).toBe('lab');
    expect(slurm.clusters?.(['-M', 'other'])).toBe('other');
    expect(await slurm.submit(writtenScript('/home/a/job.sh'), [])).toEqual({
      kind: 'submitted',
      jobId: '4',
      cluster: 'lab',
    });
    expect(stubs.calls()).toEqual(['sbatch --parsable --clusters=lab']);
  });

  it('is where a job is cancelled', async () => {
    const stubs = recordedSlurm({ scancel: 'scancel-cluster-named' });
    await slurm.cancel('4', 'lab');
    expect(stubs.calls()).toEqual(['scancel --clusters=lab 4']);
  });

  it('is asked what there is', async () => {
    const stubs = recordedSlurm({ sinfo: 'sinfo-partitions', sacctmgr: 'sacctmgr-accounts' });
    await slurm.offers(undefined, 'other');
    expect(stubs.calls().toSorted()).toEqual([
      expect.stringMatching(/^sacctmgr .* cluster=other /),
      'sinfo --noheader --clusters=other --format=%P|%a|%l',
    ]);
  });
});

describe('what this user may ask for', () => {
  it('is what sinfo and sacctmgr say', async () => {
    recordedSlurm({ sinfo: 'sinfo-partitions', sacctmgr: 'sacctmgr-accounts' });
    expect(await slurm.offers()).toMatchObject({
      partitions: [{ name: 'compute' }, { name: 'debug' }],
      accounts: ['demo'],
    });
  });

  it('is of a single account what the controller says, which answers sooner than the accounting', async () => {
    const stubs = recordedSlurm({ sinfo: 'sinfo-partitions', sacctmgr: 'sacctmgr-accounts' });
    const own = recording('slurm-22.05/scontrol-assoc-own').stdout;
    stubs.add('scontrol', { stdout: own.replaceAll('=alice(', `=${os.userInfo().username}(`) });
    expect(await slurm.offers(undefined, undefined, { account: 'demo' })).toMatchObject({
      accounts: ['demo'],
    });
    expect(stubs.calls().toSorted()).toEqual([
      `scontrol --oneliner show assoc_mgr users=${os.userInfo().username} accounts=demo flags=assoc`,
      'sinfo --noheader --format=%P|%a|%l',
    ]);
  });

  it.each([
    ['is not among those of this user', 'scontrol-assoc-others', undefined],
    [
      'is in the hands of a controller that says nothing of it',
      'scontrol-partitions-unreachable-refused',
      undefined,
    ],
    ['belongs to another cluster', 'scontrol-assoc-own', 'other'],
  ])('is what the accounting says of an account that %s', async (_, said, cluster) => {
    recordedSlurm({ sinfo: 'sinfo-partitions', scontrol: said, sacctmgr: 'sacctmgr-accounts' });
    expect(await slurm.offers(undefined, cluster, { account: 'class' })).toMatchObject({
      accounts: ['demo'],
    });
  });

  it('leaves the accounting alone where nobody wants to know the accounts', async () => {
    const stubs = recordedSlurm({ sinfo: 'sinfo-partitions', sacctmgr: 'sacctmgr-accounts' });
    expect(await slurm.offers(undefined, undefined, {})).toMatchObject({
      partitions: [{ name: 'compute' }, { name: 'debug' }],
      accounts: undefined,
    });
    expect(stubs.calls()).toEqual(['sinfo --noheader --format=%P|%a|%l']);
  });

  it('is unknown as for accounts where there is no accounting', async () => {
    recordedSlurm({ sinfo: 'sinfo-partitions', sacctmgr: 'sacct-unreachable' });
    expect(await slurm.offers()).toMatchObject({ partitions: [{}, {}], accounts: undefined });
  });

  it('is unreachable where the controller is', async () => {
    recordedSlurm({ sinfo: 'sinfo-unreachable-silent' });
    expect(await slurm.offers()).toEqual({
      kind: 'unreachable',
      message: 'Socket timed out on send/recv operation',
    });
  });
});

it('cancels by job id', async () => {
  const stubs = recordedSlurm({ scancel: 'scancel-ok' });
  expect(await slurm.cancel('9')).toEqual({ kind: 'cancelled' });
  expect(stubs.calls()).toEqual(['scancel 9']);
});

it('names the signal that ended a command; whether there is a job is unclear then', async () => {
  const stubs = recordedSlurm({ squeue: 'squeue-running', sbatch: 'sbatch-ok' });
  const message = (command: string) => `${command} was ended by SIGSEGV`;
  for (const command of ['squeue', 'sbatch']) writeCommand(stubs.directory, command, 'kill -SEGV $$');
  expect((await slurm.jobs(['3'])).get('3')).toEqual({ kind: 'unreachable', message: message('squeue') });
  const script = Promise.resolve({ file: '/nowhere', text: '#!/bin/bash\n' });
  expect(await slurm.submit(script, [])).toEqual({ kind: 'unclear', message: message('sbatch') });
});

it('does not keep anybody waiting longer than they have patience for', async () => {
  const stubs = recordedSlurm({ sacctmgr: 'sacctmgr-accounts' });
  const file = path.join(stubs.directory, 'sinfo');
  writeFileSync(file, '#!/bin/sh\nsleep 600 & wait\n', { mode: 0o755 });
  expect(await slurm.offers(50)).toEqual({
    kind: 'unreachable',
    message: 'the command did not answer in time',
  });
  expect(await slurm.vacancies(plainLaunch.system, 50)).toBeUndefined();
});
