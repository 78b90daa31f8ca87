/** Sessions where there is more than one login node, more than one cluster, or less than a whole user. */
import { once } from 'node:events';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type ExecResult, labCommand, labExec, type Place, up } from '../../lab/lab.ts';
import {
  fetchSite,
  type LaunchReport,
  launch,
  secretsIn,
  sessionStatus,
  startJupyter,
  stopAll,
} from './support/launcher.ts';

let here: LaunchReport;
let there: LaunchReport & { readonly cluster?: string };

beforeAll(async () => {
  await up({ parts: ['other'] });
  [here, there] = await Promise.all([
    // Without any of the environment that it was submitted from.
    launch(['--lab', '-e', 'jupyterlab', '--wait', '--', '--export=NIL', '--nodelist=c2']),
    launch(['--notebook', '--wait', '-p', 'there', '--', '-M', 'other']),
  ]);
});
afterAll(() => stopAll('alice'));

/** As alice on another login node with the same home. */
function onLogin(
  name: string,
  args: readonly string[],
  environment: readonly string[] = [],
): Promise<ExecResult> {
  const identity = ['setpriv', '--reuid=alice', '--regid=alice', '--init-groups', '--'];
  const variables = ['env', 'HOME=/home/alice', 'USER=alice', 'LOGNAME=alice', ...environment];
  const command = [...identity, ...variables, 'start-jupyter', ...args];
  return labExec(
    ['unshare', '--uts', '--', 'bash', '-c', `hostname ${name}; exec "$@"`, 'bash', ...command],
    {
      user: 'root',
      cwd: '/home/alice',
      reject: false,
    },
  );
}

async function jobState(jobId: string, cluster: string): Promise<string> {
  const { stdout } = await labExec(['squeue', '-h', '-t', 'all', '-M', cluster, '-j', jobId, '-o', '%T']);
  return stdout;
}

/** Starts a command that goes on, and waits for what it says first (or all that it said, where it ends at once). */
async function begin(argv: string[], place: Place = {}) {
  const { file, args, env } = labCommand(argv, place);
  const running = execa(file, args, { env, extendEnv: false, cwd: '/', reject: false });
  const said = await Promise.race([once(running.stdout, 'data'), running]);
  return { running, said: Array.isArray(said) ? String(said[0]) : `${said.stdout}${said.stderr}` };
}

test('a session on another cluster is known there, and both are listed from any login node', async () => {
  expect(there).toMatchObject({ state: 'ready', cluster: 'other' });
  expect(here).not.toHaveProperty('cluster');
  for (const { url } of [here, there]) {
    const { origin } = new URL(url);
    const authorization = `token ${secretsIn(url).jupyterToken}`;
    expect((await fetchSite(`${origin}/api/sessions`, { authorization })).status).toBe(200);
  }
  const { stdout } = await onLogin('login2', ['list', '--json']);
  const listed = JSON.parse(stdout).filter(({ state }: LaunchReport) => state === 'ready');
  expect(listed).toHaveLength(2);
  expect(listed).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ id: here.id, url: here.url, expiresAt: expect.any(String) }),
      expect.objectContaining({
        id: there.id,
        url: there.url,
        cluster: 'other',
        expiresAt: expect.any(String),
      }),
    ]),
  );
  expect((await onLogin('login2', ['status', there.id])).stdout).toContain(
    `${there.jobId} on the cluster other`,
  );
});

test('a login node of another cluster with the same home takes nothing for gone', async () => {
  const strangers = ['SLURM_CONF=/etc/slurm/slurm-other.conf'];
  const { stdout } = await onLogin('elsewhere', ['status', here.id], strangers);
  expect(stdout).toMatch(/Not known on this machine; submitted from login/);
  const stop = await onLogin('elsewhere', ['stop', here.id], strangers);
  expect(stop).toMatchObject({
    exitCode: 5,
    stderr: expect.stringContaining('which was submitted from login.'),
  });
  expect((await onLogin('elsewhere', ['prune'], strangers)).stderr).not.toContain(here.id);
  expect(await sessionStatus(here.id)).toMatchObject({ state: 'ready', url: here.url });
});

test('two stops of one session at once, from two login nodes, both see it end', async () => {
  const stops = await Promise.all([startJupyter(['stop', there.id]), onLogin('login2', ['stop', there.id])]);
  for (const { exitCode, stderr } of stops) {
    expect(stderr).toContain(`Session ${there.id} ended: Stopped with "start-jupyter stop".`);
    expect(exitCode).toBe(0);
  }
  expect(await jobState(there.jobId, 'other')).toMatch(/^(CANCELLED|COMPLET(ED|ING)|FAILED)$/);
  expect(await jobState(here.jobId, 'lab')).toBe('RUNNING');
});

test('a cluster that is not there, and a partition that is on another one, are refused', async () => {
  const nowhere = await startJupyter(['--notebook', '--', '--clusters=nowhere']);
  expect(nowhere).toMatchObject({
    exitCode: 5,
    stderr: expect.stringContaining("Slurm refuses the job: No cluster 'nowhere' known by database."),
  });
  const wrong = await startJupyter(['--notebook', '-p', 'compute', '--', '-Mother']);
  expect(wrong).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('Known: there.') });
  // As a module of a site sets it.
  const module = await startJupyter(['--notebook', '-p', 'debug'], { env: { SLURM_CLUSTERS: 'other' } });
  expect(module).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('Known: there.') });
});

test('GPUs are asked for in every dialect', async () => {
  await labExec(['bash', '-c', 'cat >gres.yaml'], { input: 'systems: { lab: { gpuDirective: gres } }\n' });
  const dialects: [own: string[], more: string[], request: string][] = [
    [['--gpus', 'v100:2'], [], 'TresPerJob=gres:gpu:v100:2'],
    [['--gres', 'gpu:v100:1'], [], 'TresPerNode=gres:gpu:v100:1'],
    [['--gpu', 'v100:3', '--config', 'gres.yaml'], [], 'TresPerNode=gres:gpu:v100:3'],
    [[], ['--gpus-per-node=2'], 'TresPerNode=gres:gpu:2'],
    [[], ['--gpus-per-task=v100:1', '--ntasks=1'], 'TresPerTask=gres:gpu:v100:1'],
  ];
  const held = await Promise.all(
    dialects.map(([own, more]) => launch(['--notebook', ...own, '--', '--hold', ...more])),
  );
  for (const [index, [own, more, request]] of dialects.entries()) {
    const { stdout } = await labExec(['scontrol', 'show', 'job', held[index]?.jobId ?? '']);
    expect(stdout.split(/\s+/), [...own, ...more].join(' ')).toContain(request);
  }
  await labExec(['scancel', ...held.map(({ jobId }) => jobId)]);
});

describe('inside a job', () => {
  test('a launch submits one that has nothing of the outer one', async () => {
    const script = '#!/bin/bash\nstart-jupyter --notebook --json -- --hold >inner.json\n';
    const outer = [
      'sbatch',
      '--wait',
      '--parsable',
      '--output=outer.log',
      '-n1',
      '-c3',
      '--mem=3G',
      '-w',
      'c1',
    ];
    const { stdout: outerId } = await labExec(outer, { input: script });
    const { jobId } = JSON.parse((await labExec(['cat', 'inner.json'])).stdout);
    onTestFinished(async () => {
      await labExec(['scancel', jobId]);
    });
    const { stdout: inner } = await labExec(['scontrol', 'show', 'job', jobId]);
    expect(inner).toMatch(/ NumCPUs=1 NumTasks=1 CPUs\/Task=1 /);
    expect(inner).toMatch(/MinMemoryCPU=1000M/);
    expect((await labExec(['sacct', '-j', jobId, '--env-vars'])).stdout).not.toMatch(
      new RegExp(`^SLURM_\\w+=.*\\b${outerId}\\b|^SLURM_CPUS`, 'm'),
    );
  });

  test('--here runs in the allocation, and ends with it', async () => {
    const { running, said } = await begin([
      'srun',
      '--job-name=allocation',
      '-w',
      'c1',
      'start-jupyter',
      '--here',
      '--notebook',
      '--json',
    ]);
    const session: LaunchReport = JSON.parse(said);
    expect(session).toMatchObject({ state: 'ready', scheduler: 'none' });
    const { stdout: jobId } = await labExec(['squeue', '-h', '-n', 'allocation', '-o', '%i']);
    expect(jobId).toMatch(/^\d+$/);
    await labExec(['scancel', jobId]);
    await running;
    expect(await sessionStatus(session.id)).toMatchObject({ state: 'ended', url: null });
  });
});

describe('a user whom the password file does not know', () => {
  const stranger = ['setpriv', '--reuid=54321', '--regid=54321', '--clear-groups', '--', 'env', '-i'];
  const path = 'PATH=/opt/start-jupyter/bin:/usr/bin';
  const as = (...command: string[]) =>
    labExec([...stranger, path, ...command], { user: 'root', cwd: '/', reject: false });

  test.each([
    [['start-jupyter', 'list'], /^start-jupyter: You have no home directory: HOME is not set/],
    [
      ['start-jupyter', '--here', '--notebook'],
      /^start-jupyter: You have no home directory: HOME is not set/,
    ],
    [
      ['HOME=/', 'start-jupyter', '--here', '--notebook'],
      /^start-jupyter: Your home directory can't be written/,
    ],
  ])('%j is refused in words', async (command, words) => {
    const { exitCode, stderr } = await as(...command);
    expect(stderr).toMatch(words);
    expect(stderr.split('\n').length).toBeLessThanOrEqual(2);
    expect(exitCode).toBe(3);
  });

  test('runs Jupyter with a home to write in', async () => {
    const home = '/tmp/stranger';
    await labExec(['install', '-d', '-o', '54321', home], { user: 'root' });
    const place = { user: 'root', cwd: home };
    const command = [...stranger, path, `HOME=${home}`, 'start-jupyter', '--here', '--notebook', '--json'];
    const { running, said } = await begin(command, place);
    expect(JSON.parse(said)).toMatchObject({ state: 'ready', directory: home });
    running.kill('SIGINT');
    expect((await running).exitCode).toBe(130);
  });
});
