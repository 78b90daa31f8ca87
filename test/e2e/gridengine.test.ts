/** The same launcher on a real Grid Engine: what it asks for, what the page says meanwhile, and every way out. */
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { killDaemon, labExec, type NodeName, startDaemon, up } from '../../lab/lab.ts';
import { baggage } from './support/baggage.ts';
import { describeEndings, expectNothingIsLeft, expectTimeLimit } from './support/endings.ts';
import {
  fetchSite,
  type LaunchReport,
  launch as launchAnywhere,
  pageText,
  secretsIn,
  sessionStatus,
  startJupyter,
  stopAll,
} from './support/launcher.ts';
import { filesWith } from './support/secrets.ts';

const here = ['--system', 'lab-sge'];

/** Runs into its time limit beside the tests of everything else. */
let limited: LaunchReport;

beforeAll(async () => {
  await up({ parts: ['sge'] });
  // After an outage that an earlier test made, the reporter asks less often for a while.
  await killDaemon('report-jobs');
  await startDaemon('report-jobs');
  limited = await launchAnywhere([...here, '--notebook', '-t', '1'], { user: 'bob' });
});
afterAll(() => stopAll('alice', 'bob'));

function launch(...args: string[]): Promise<LaunchReport> {
  return launchAnywhere([...here, ...args]);
}

async function qstat(jobId: string): Promise<string> {
  const { stdout } = await labExec(['qstat', '-u', '*']);
  return stdout.split('\n').find((line) => line.trim().startsWith(`${jobId} `)) ?? '';
}

async function nodeOf(jobId: string): Promise<NodeName> {
  return /@(c[12])/.exec(await qstat(jobId))?.[1] as NodeName;
}

async function untilJobIsGone(jobId: string): Promise<void> {
  await expect.poll(() => qstat(jobId), { timeout: 120_000, interval: 500 }).toBe('');
}

/** What an original client of the protocol is told. */
async function jobState({ url }: LaunchReport): Promise<string> {
  const { proxyToken } = secretsIn(url);
  const { stdout } = await labExec([
    'curl',
    '-s',
    `https://manage.user-content.test/tokenjobstate.cgi?token=${proxyToken}`,
  ]);
  return stdout.trim();
}

/** What the accounting remembers of a job; nothing of one that never ran. */
async function records(jobId: string): Promise<string> {
  return (await labExec(['qacct', '-j', jobId], { reject: false })).stdout;
}

test('a launch asks for what was said, and Jupyter answers at its link', async () => {
  const brought = await baggage();
  const session = await launch(
    ...[
      '--lab',
      '-e',
      'jupyterlab',
      '-A',
      'demo',
      '-p',
      'compute',
      '-t',
      '20',
      '-c',
      '2',
      '-m',
      '3',
      '-g',
      '1',
    ],
    ...[...brought.options, '--wait'],
  );
  expect(session.state).toBe('ready');
  const { stdout: record } = await labExec(['qstat', '-j', session.jobId]);
  expect(record).toMatch(/^hard resource_list: +h_rt=1200,mem=1536M,gpu=1$/m);
  expect(record).toMatch(/^parallel environment: +smp range: 2$/m);
  expect(record).toMatch(/^hard_queue_list: +compute$/m);
  expect(record).toMatch(/^project: +demo$/m);
  expect(record).toMatch(/^job_name: +start-jupyter$/m);
  expect(await brought.report()).toMatchObject({
    ...brought.expected(session.jobId),
    NSLOTS: '2',
    QUEUE: 'compute',
  });
  expect(await nodeOf(session.jobId)).toBe('c2');
  const { origin } = new URL(session.url);
  const { jupyterToken } = secretsIn(session.url);
  const answer = await fetchSite(`${origin}/api/status`, { authorization: `token ${jupyterToken}` });
  expect(answer.status).toBe(200);
  expect((await fetchSite(`${origin}/api/sessions`, { accept: 'application/json' })).status).toBe(403);
  for (const secret of Object.values(secretsIn(session.url))) expect(record).not.toContain(secret);
  expect((await labExec(['start-jupyter', 'logs', session.id])).stdout).toMatch(
    /Grid Engine job \d+ on c2.*The site is open/s,
  );
  await labExec(['start-jupyter', 'stop', session.id]);
  await untilJobIsGone(session.jobId);
});

test('the page and the protocol follow a job from the queue to its end', async () => {
  const session = await launch('--notebook', '--', '-h');
  await expect.poll(() => jobState(session), { timeout: 20_000 }).toBe('Q');
  expect(await pageText(session.url)).toMatch(/Held/);
  const { stdout: described } = await labExec(['start-jupyter', 'status', session.id]);
  expect(described).toMatch(/Waiting in the queue: held; "qrls" lets it go/);

  await labExec(['qrls', session.jobId]);
  await expect.poll(() => jobState(session), { timeout: 60_000 }).toBe('PR');
  expect((await sessionStatus(session.id)).state).toBe('ready');
  const { proxyToken } = secretsIn(session.url);
  const job = async () => {
    const url = `https://manage.user-content.test/api/v1/tokens/${proxyToken}`;
    return JSON.parse((await labExec(['curl', '-s', url])).stdout).job;
  };
  await expect.poll(job, { timeout: 20_000 }).toMatchObject({ id: session.jobId, state: 'RUNNING' });

  await labExec(['qdel', session.jobId]);
  await untilJobIsGone(session.jobId);
  expect(await jobState(session)).toBe('');
});

describeEndings({ launch, cancel: 'qdel', nodeOf, untilJobIsGone, records });

test('a job whose script is killed is over: the accounting says how, and the launcher cleans up after it', async () => {
  const session = await launch('--notebook', '--wait');
  const { stdout } = await labExec(['pgrep', '-u', 'alice', '-f', `job_scripts/${session.jobId}`]);
  await labExec(['kill', '-KILL', ...stdout.split('\n')], { user: 'root' });
  await untilJobIsGone(session.jobId);
  await expect
    .poll(() => sessionStatus(session.id), { timeout: 20_000 })
    .toMatchObject({ state: 'ended', reason: 'The job was cancelled.' });
  const { jupyterToken, proxyToken } = secretsIn(session.url);
  expect(await filesWith([jupyterToken, proxyToken], 'alice')).toEqual(
    // Its private directory on the node is beyond the launcher's reach.
    expect.not.arrayContaining([expect.stringContaining('/home/')]),
  );
  await labExec(['bash', '-c', 'rm -rf /tmp/sj-*'], { user: 'root', node: 'c1' });
  await labExec(['bash', '-c', 'rm -rf /tmp/sj-*'], { user: 'root', node: 'c2' });
});

test('a job that is deleted while it waits is over, and its token with it', async () => {
  const session = await launch('--notebook', '--', '-h');
  await labExec(['qdel', session.jobId]);
  await untilJobIsGone(session.jobId);
  expect(await sessionStatus(session.id)).toMatchObject({
    state: 'ended',
    reason: 'The scheduler does not know the job any more.',
  });
  await expectNothingIsLeft(session, records);
});

test('a qmaster that is away ends nothing, and the session goes on', async () => {
  const session = await launch('--notebook', '--wait');
  await killDaemon('sge_qmaster');
  onTestFinished(() => startDaemon('sge_qmaster'));
  const { stdout } = await labExec(['start-jupyter', 'status', session.id]);
  expect(stdout).toMatch(/The scheduler does not answer right now: unable to send message to qmaster/);
  const stop = await startJupyter(['stop', session.id]);
  expect(stop.exitCode).toBe(5);
  expect(stop.stderr).toMatch(/The scheduler can't be reached/);
  const refused = await startJupyter([...here, '--notebook']);
  expect(refused.exitCode).toBe(5);
  expect(refused.stderr).toMatch(/Grid Engine can't be reached: unable to send message to qmaster/);
  await startDaemon('sge_qmaster');
  expect((await sessionStatus(session.id)).state).toBe('ready');
  await labExec(['start-jupyter', 'stop', session.id]);
});

test('the time limit ends the job, closes the site with the reason, and leaves no secret', async () => {
  await expectTimeLimit(limited, 'bob', { untilJobIsGone, records });
});

describe('a launch that can not work is refused', () => {
  async function tokens(): Promise<string> {
    return (await labExec(['ls', '-A', '.local/state/start-jupyter/sessions'], { reject: false })).stdout;
  }

  test.each([
    ['an unknown queue', ['-p', 'nosuch'], 2, /there is no partition "nosuch".*Known: compute, debug/s],
    ['more time than the queue allows', ['-p', 'debug', '-t', '2h'], 2, /allows 30m at most/],
    ['an unknown project', ['-A', 'nosuch'], 2, /does not let you use the account "nosuch"/],
    ['nodes', ['-N', '2'], 2, /--nodes: Grid Engine gives slots, not nodes/],
    ['a word of Slurm', ['--qos', 'high'], 2, /--qos: this is a word of Slurm/],
    ['an unknown resource', ['--', '-l', 'nosuch=1'], 5, /refuses the job: unknown resource "nosuch"/],
    ['an array of jobs', ['--', '-t', '1-3'], 2, /start-jupyter sets this option itself/],
  ])('%s', async (_, args, exitCode, message) => {
    const before = await tokens();
    const refused = await startJupyter([...here, '--notebook', ...args]);
    expect(refused.stderr).toMatch(message);
    expect(refused.exitCode).toBe(exitCode);
    expect(await tokens()).toBe(before);
  });

  test('an unknown parallel environment', async () => {
    await labExec(['bash', '-c', 'cat >wrong.yaml'], {
      input: 'systems: { lab-sge: { sge: { parallelEnvironment: nosuch } } }\n',
    });
    const refused = await startJupyter([...here, '--config', 'wrong.yaml', '--notebook', '-c', '2']);
    expect(refused.stderr).toMatch(/the requested parallel environment "nosuch" does not exist/);
    expect(refused.exitCode).toBe(5);
  });

  test("somebody else's project", async () => {
    const refused = await startJupyter([...here, '--notebook', '-A', 'demo'], { user: 'carol' });
    expect(refused.stderr).toMatch(/no access to project "demo" for user "carol"/);
    expect(refused.exitCode).toBe(5);
  });
});
