/** Every way out of a session ends with no job, no token, no secret, and a page that says why. */
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { killDaemon, labCommand, labExec, type NodeName, startDaemon, up } from '../../lab/lab.ts';
import { describeEndings, expectNothingIsLeft, expectTimeLimit, isProxyDatabase } from './support/endings.ts';
import {
  fetchSite,
  type LaunchReport,
  launch,
  pageText,
  secretsIn,
  sessionStatus,
  startJupyter,
  stopAll,
} from './support/launcher.ts';
import { filesWith, processesWith, schedulerRecords } from './support/secrets.ts';

/** Runs into its time limit beside the tests of everything else. */
let limited: LaunchReport;

beforeAll(async () => {
  await up();
  limited = await launch(['--lab', '-e', 'jupyterlab', '-t', '1', '--', '--nodelist=c2'], { user: 'bob' });
});
afterAll(() => stopAll('alice', 'bob'));

async function nodeOf(jobId: string): Promise<NodeName> {
  return (await labExec(['squeue', '-h', '-j', jobId, '-o', '%N'])).stdout.trim() as NodeName;
}

async function untilJobIsGone(jobId: string): Promise<void> {
  await expect
    .poll(async () => (await labExec(['squeue', '-h', '-t', 'all', '-j', jobId, '-o', '%T'])).stdout, {
      timeout: 120_000,
      interval: 500,
    })
    .toMatch(/^(CANCELLED|COMPLETED|TIMEOUT|FAILED)?$/);
}

/** What Slurm remembers of a job, for its administrator. */
function records(jobId: string): Promise<string> {
  return schedulerRecords(jobId, { user: 'root' });
}

describeEndings({
  launch: (...options) => launch(options),
  cancel: 'scancel',
  nodeOf,
  untilJobIsGone,
  records,
});

test('a job that is stopped while it waits in the queue is gone with its token, and the page says why', async () => {
  // Without the reporter nobody but the launcher can tell the proxy.
  await killDaemon('report-jobs');
  onTestFinished(() => startDaemon('report-jobs'));
  const session = await launch(['--lab', '-e', 'jupyterlab', '--', '--begin=now+600']);
  await labExec(['start-jupyter', 'stop', session.id]);
  await untilJobIsGone(session.jobId);
  expect(await pageText(session.url)).toMatch(/Stopped with "start-jupyter stop"/);
  const { proxyToken } = secretsIn(session.url);
  const token = await labExec(['curl', '-s', `https://manage.user-content.test/api/v1/tokens/${proxyToken}`]);
  expect(JSON.parse(token.stdout).state).toBe('gone');
  await expectNothingIsLeft(session, records);
});

test('a node that goes down: the scheduler knows better than the job why', async () => {
  const node = 'c1';
  const session = await launch(['--notebook', '--wait', '--', `--nodelist=${node}`]);
  const update = (...change: string[]) =>
    labExec(['scontrol', 'update', `nodename=${node}`, ...change], { user: 'root', reject: false });
  await update('state=down', 'reason=test');
  try {
    await expect
      .poll(() => sessionStatus(session.id), { timeout: 60_000 })
      .toMatchObject({ state: 'failed', reason: 'The compute node failed.' });
  } finally {
    await update('state=resume');
    await expect
      .poll(async () => (await labExec(['sinfo', '-h', '-n', node, '-o', '%t'])).stdout, { timeout: 30_000 })
      .toMatch(/^idle/);
  }
  await expectNothingIsLeft(session, records);
});

test('a signal after the link was printed comes too late: the session stands, and the exit code says so', async () => {
  const { file, args, env } = labCommand(['start-jupyter', '--notebook', '--quiet', '--', '--begin=now+600']);
  const launching = execa(file, args, { env, extendEnv: false, cwd: '/', reject: false });
  launching.stdout.once('data', () => launching.kill('SIGINT'));
  const { exitCode, signal, stdout } = await launching;
  expect({ exitCode, signal }).toEqual({ exitCode: 0, signal: undefined });
  expect((await labExec(['start-jupyter', 'url'])).stdout).toBe(stdout);
  await stopAll('alice');
});

test('Ctrl-C while the job is being submitted reaches the launcher only: no job, token or secret is left', async () => {
  // As slow as a busy controller; started by the launcher in place of the real one, which it becomes.
  const slow =
    '#!/bin/bash\ncat >$HOME/script\ntouch $HOME/submitting\nsleep 2\nexec /usr/bin/sbatch "$@" <$HOME/script\n';
  await labExec(['bash', '-c', 'mkdir -p slow; rm -f submitting; cat >slow/sbatch; chmod +x slow/sbatch'], {
    input: slow,
  });
  const { file, args, env } = labCommand([
    'bash',
    '-c',
    'PATH=$HOME/slow:$PATH exec start-jupyter --notebook --json -- --begin=now+600',
  ]);
  const launching = execa(file, args, { env, extendEnv: false, cwd: '/', reject: false, detached: true });
  await expect.poll(async () => (await labExec(['ls'])).stdout, { timeout: 20_000 }).toMatch(/submitting/);
  // A terminal sends it to the whole foreground group.
  process.kill(-(launching.pid as number), 'SIGINT');
  const { exitCode, stdout } = await launching;
  expect(exitCode).toBe(130);
  expect(JSON.parse(stdout)).toMatchObject({
    state: 'failed',
    reason: expect.stringMatching(/interrupted/i),
    url: null,
  });
  expect((await labExec(['squeue', '-h', '-u', 'alice', '-o', '%i'])).stdout).toBe('');
  await labExec(['rm', '-r', 'slow', 'script', 'submitting']);
});

describe('a launch that waits', () => {
  /** The session that a launch in the background has begun, once it has a job. */
  async function begun(): Promise<LaunchReport> {
    const list = async () =>
      JSON.parse((await labExec(['start-jupyter', 'list', '--json'])).stdout) as LaunchReport[];
    const running = async () =>
      (await list()).find(
        ({ state, jobId }) => jobId !== null && (state === 'queued' || state === 'submitted'),
      );
    await expect.poll(running, { timeout: 30_000 }).toBeDefined();
    const { id } = (await running()) as LaunchReport;
    return { ...(await sessionStatus(id)), url: (await labExec(['start-jupyter', 'url', id])).stdout };
  }

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    'and is interrupted by %s leaves no job, token or secret',
    async (signal) => {
      const { file, args, env } = labCommand([
        'start-jupyter',
        '--notebook',
        '--wait',
        '--json',
        '--',
        '--begin=now+600',
      ]);
      const waiting = execa(file, args, { env, extendEnv: false, cwd: '/', reject: false });
      const session = await begun();
      waiting.kill(signal);
      const { exitCode, stdout } = await waiting;
      expect(exitCode).toBe(130);
      expect(JSON.parse(stdout)).toMatchObject({
        state: 'failed',
        reason: expect.stringMatching(/interrupted/i),
      });
      await untilJobIsGone(session.jobId);
      expect(await pageText(session.url)).toMatch(/The launch was interrupted/);
      await expectNothingIsLeft(session, records);
    },
  );

  test('longer than it was told to ends with exit code 6, and nothing is left running', async () => {
    const waiting = startJupyter(['--notebook', '--wait', '8s', '--json', '--', '--begin=now+600']);
    const session = await begun();
    const { exitCode, stderr, stdout } = await waiting;
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(/not ready within 8s/);
    expect(JSON.parse(stdout).state).toBe('failed');
    await untilJobIsGone(session.jobId);
    await expectNothingIsLeft(session, records);
  });
});

test('while a session runs, another user finds its secrets nowhere', async () => {
  const session = await launch(['--lab', '-e', 'jupyterlab', '--wait']);
  const { jupyterToken, proxyToken } = secretsIn(session.url);
  const secrets = [jupyterToken, proxyToken];

  expect(await filesWith(secrets, 'bob')).toEqual([]);
  expect(processesWith(secrets)).toEqual([]);
  const records = await schedulerRecords(session.jobId, { user: 'bob' });
  for (const secret of secrets) expect(records).not.toContain(secret);
  for (const path of [session.log, session.script, session.log.replace('job.log', 'secrets/jupyter-token')]) {
    expect((await labExec(['cat', path], { user: 'bob', reject: false })).stderr).toMatch(
      /Permission denied/,
    );
  }

  // The owner's own files hold them in two places, both private: the session, and Jupyter's runtime directory.
  const held = (await filesWith(secrets)).filter((file) => !isProxyDatabase(file));
  expect(held.length).toBeGreaterThan(0);
  for (const file of held)
    expect(file).toMatch(
      /:\/home\/alice\/\.local\/state\/start-jupyter\/sessions\/\w+\/secrets\/|\/tmp\/sj-\w+\//,
    );
  await labExec(['start-jupyter', 'stop', session.id]);
});

test('a stranger who knows the name of a site gets nothing from Jupyter without its token', async () => {
  const session = await launch(['--lab', '-e', 'jupyterlab', '--wait']);
  const { origin } = new URL(session.url);
  // Pages lead to the login, the API refuses.
  for (const path of ['/lab', '/files/.bashrc'])
    expect((await fetchSite(`${origin}${path}`)).status, path).toBe(302);
  expect(await pageText(`${origin}/login`)).toMatch(/Token authentication is enabled/);
  for (const path of ['/api/sessions', '/api/contents', '/api/kernels', '/api/terminals']) {
    expect((await fetchSite(`${origin}${path}`, { accept: 'application/json' })).status, path).toBe(403);
  }
  await labExec(['start-jupyter', 'stop', session.id]);
});

test('the time limit ends the job, closes the site with the reason, and leaves no secret', async () => {
  await expectTimeLimit(limited, 'bob', { untilJobIsGone, records });
  const { stdout } = await labExec(['sacct', '-X', '-n', '-P', '-j', limited.jobId, '-o', 'state']);
  expect(stdout).toBe('TIMEOUT');
});
