/** The main job: a waiting browser turns into Jupyter by itself, and Jupyter works in it. */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { address, caFile, domain, killDaemon, labExec, startDaemon, up } from '../../lab/lab.ts';
import { type Browser, openBrowser } from './browser/browser.ts';
import type { JupyterPage } from './browser/jupyter-page.ts';
import { JupyterLabPage } from './browser/jupyterlab-page.ts';
import { NotebookPage } from './browser/notebook-page.ts';
import { watchText } from './browser/watch-text.ts';
import { baggage } from './support/baggage.ts';
import { fetchSite, launch, sessionStatus, startJupyter, stopAll } from './support/launcher.ts';

let browser: Browser;
let files: string;

beforeAll(async () => {
  await up();
  // After an outage that an earlier test made, the reporter asks the scheduler less often for a while.
  await killDaemon('report-jobs');
  await startDaemon('report-jobs');
  files = mkdtempSync(path.join(tmpdir(), 'main-job-'));
  browser = await openBrowser({ caFile, hostMap: { [`*.${domain}`]: address } });
});

afterAll(async () => {
  await stopAll('alice');
  await browser.close();
  rmSync(files, { recursive: true, force: true });
});

const faces = [
  {
    name: 'JupyterLab 4',
    args: ['--lab', '-e', 'jupyterlab'],
    open: (page: JupyterPage['page']): JupyterPage => new JupyterLabPage(page),
  },
  {
    name: 'Notebook 6',
    args: ['--notebook', '-e', 'notebook6'],
    open: (page: JupyterPage['page']): JupyterPage => new NotebookPage(page),
  },
];

describe.each(faces)('$name', ({ args, open }) => {
  test('opened before the job starts, the page shows the queue, the start, and then Jupyter, which works', async () => {
    const directory = `work-${randomBytes(4).toString('hex')}`;
    await labExec(['mkdir', directory]);
    // A begin time keeps the job in the queue while the browser opens the link.
    const session = await launch([...args, '-d', directory, '-t', '20', '--', '--begin=now+8']);
    const page = await browser.newPage();
    const shown = await watchText(page, 'h1');
    await page.goto(session.url);
    const jupyter = open(page);
    await jupyter.waitUntilReady();

    const headings = shown.join('\n');
    expect(headings).toMatch(/queue/i);
    expect(headings).toMatch(/start/i);
    expect(headings.search(/queue/i)).toBeLessThan(headings.search(/starting/i));
    expect((await sessionStatus(session.id)).state).toBe('ready');

    expect(await jupyter.runCell('6*7')).toBe('42');
    expect(await jupyter.terminal('echo $((6*7)) on $(hostname)')).toMatch(/42 on c[12]/);

    const sent = path.join(files, 'sent.bin');
    const received = path.join(files, 'received.bin');
    writeFileSync(sent, randomBytes(200 * 1024 * 1024));
    await jupyter.upload(sent);
    await jupyter.download('sent.bin', received);
    expect(await sha256(received)).toBe(await sha256(sent));
    const { stdout } = await labExec(['sha256sum', `${directory}/sent.bin`]);
    expect(stdout.split(' ')[0]).toBe(await sha256(sent));

    await page.close();
    await labExec(['start-jupyter', 'stop', session.id]);
    await labExec(['rm', '-r', directory]);
  });
});

test('--wait ends when the site answers, with one JSON object of the promised keys', async () => {
  const session = await launch(['--lab', '-e', 'jupyterlab', '--wait']);
  expect(session.state).toBe('ready');
  expect(Object.keys(session).toSorted()).toEqual([
    'access',
    'directory',
    'expiresAt',
    'id',
    'jobId',
    'log',
    'scheduler',
    'script',
    'state',
    'submittedAt',
    'system',
    'url',
  ]);
});

test('voila renders a notebook, for whoever has the token', async () => {
  const cell = {
    cell_type: 'code',
    execution_count: null,
    id: 'one',
    metadata: {},
    outputs: [],
    source: ["print('six times seven is', 6*7)"],
  };
  const kernelspec = { display_name: 'Python 3', language: 'python', name: 'python3' };
  const notebook = { cells: [cell], metadata: { kernelspec }, nbformat: 4, nbformat_minor: 5 };
  await labExec(['bash', '-c', 'mkdir -p rendered && cat >rendered/x.ipynb'], {
    input: JSON.stringify(notebook),
  });
  const session = await launch(['--voila', '-e', 'jupyterlab', '-d', 'rendered', '--wait']);
  const url = new URL(session.url);
  url.pathname = '/voila/render/x.ipynb';
  expect((await fetchSite(url.href)).text).toContain('six times seven is 42');
  url.search = '';
  expect((await fetchSite(url.href)).status).toBe(302);
  await labExec(['start-jupyter', 'stop', session.id]);
});

test('a GPU that is asked for is scheduled', async () => {
  const session = await launch(['--notebook', '--gpu', '1', '--wait']);
  const { stdout } = await labExec(['scontrol', 'show', 'job', '-d', session.jobId]);
  expect(stdout).toMatch(/NodeList=c2/);
  expect(stdout).toMatch(/gres\/gpu=1|gres:gpu:1|gpu:.*1/);
});

describe('a quality of service, a reservation and a feature', () => {
  const asRoot = (argv: string[], reject = true) => labExec(argv, { user: 'root', reject });
  const features = (names: string) => [
    ...['scontrol', 'update', 'NodeName=c1', `AvailableFeatures=${names}`, `ActiveFeatures=${names}`],
  ];
  const reservation = ['ReservationName=course', 'Users=alice', 'Nodes=c1', 'StartTime=now', 'Duration=60'];

  beforeAll(async () => {
    await stopAll('alice');
    await asRoot(['sacctmgr', '--immediate', '--quiet', 'add', 'qos', 'lecture']);
    await asRoot(['sacctmgr', '--immediate', 'modify', 'user', 'alice', 'set', 'qos+=lecture']);
    await asRoot(['scontrol', 'create', 'reservation', ...reservation, 'Flags=IGNORE_JOBS']);
    await asRoot(features('lab,slow'));
  });

  afterAll(async () => {
    await stopAll('alice');
    await asRoot(['scontrol', 'delete', 'ReservationName=course'], false);
    await asRoot(features(''), false);
    await asRoot(['sacctmgr', '--immediate', 'modify', 'user', 'alice', 'set', 'qos-=lecture'], false);
    await asRoot(['sacctmgr', '--immediate', 'delete', 'qos', 'lecture'], false);
  });

  test('that are asked for are what the job runs with', async () => {
    const brought = await baggage();
    const session = await launch([
      ...['--notebook', '--qos', 'lecture', '-R', 'course', '-C', 'lab&slow', '-c', '2', '-m', '1'],
      ...['-N', '1', '-A', 'demo', '-p', 'compute', '-t', '20', ...brought.options, '--wait'],
    ]);
    const { stdout } = await labExec(['scontrol', 'show', 'job', session.jobId]);
    expect(stdout).toMatch(/JobName=start-jupyter\b/);
    expect(stdout).toMatch(/Account=demo\b/);
    expect(stdout).toMatch(/Partition=compute\b/);
    expect(stdout).toMatch(/TimeLimit=00:20:00\b/);
    expect(stdout).toMatch(/NumNodes=1 NumCPUs=2\b/);
    expect(stdout).toMatch(/MinMemoryNode=1G\b/);
    expect(stdout).toMatch(/Requeue=0\b/);
    expect(await brought.report()).toMatchObject({
      ...brought.expected(session.jobId),
      SLURM_JOB_PARTITION: 'compute',
      SLURM_CPUS_PER_TASK: '2',
      SLURM_MEM_PER_NODE: '1024',
      SLURM_JOB_NUM_NODES: '1',
    });
    expect(stdout).toMatch(/QOS=lecture\b/);
    expect(stdout).toMatch(/Reservation=course\b/);
    expect(stdout).toMatch(/Features=lab&slow\b/);
    expect(stdout).toMatch(/ NodeList=c1\b/);
    // Steps from a notebook get the job's CPUs, too.
    const environments = await labExec(['sh', '-c', 'cat /proc/[0-9]*/environ 2>/dev/null; true'], {
      node: 'c1',
    });
    expect(environments.stdout).toContain('\0SRUN_CPUS_PER_TASK=2\0');
  });

  test.each([
    [['-R', 'nothing'], /reservation/i],
    [['--qos', 'nothing'], /qos/i],
    [['-C', 'nothing'], /feature/i],
  ])('that nobody knows: %j is refused in words of Slurm', async (args, words) => {
    const result = await startJupyter(['--notebook', ...args]);
    expect(result.exitCode).toBe(5);
    expect(result.stderr).toMatch(words);
  });
});

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}
