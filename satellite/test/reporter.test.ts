import { readFileSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { JobReporter } from '../src/jobs/reporter.ts';
import type { QueuedJob, Scheduler } from '../src/jobs/scheduler.ts';
import { several } from '../src/jobs/several.ts';
import { parseQueue, slurm } from '../src/jobs/slurm.ts';
import type { LogEntry } from '../src/log.ts';
import { api as apiOf, ask, cleanup, freePort, notebook, OUTSIDE, satellite, scratch } from './support.ts';

/** Above the jobs in what squeue prints. */
const HEADING = 'JOBID|STATE|PARTITION|PRIORITY|START_TIME|REASON\n';

function listed(text: string): readonly QueuedJob[] {
  const answer = parseQueue(text);
  if (!answer.ok) throw new Error(answer.why);
  return answer.jobs;
}

describe("Slurm's queue", () => {
  test('states, places, estimates and reasons of a real one', () => {
    const text = readFileSync(new URL('slurm/squeue.txt', import.meta.url), 'utf8');
    const jobs = new Map(listed(text).map((job) => [job.id, job]));
    expect(jobs.size).toBe(13);
    expect(jobs.get('48')).toEqual({
      id: '48',
      state: 'PENDING',
      position: 1,
      estimatedStart: '2026-11-21T23:39:04Z',
      reason: 'Resources',
    });
    const place = (id: string) => jobs.get(id)?.position;
    expect([place('50_1'), place('50_2'), place('51')]).toEqual([2, 3, 4]);
    expect([place('52'), place('53')]).toEqual([1, 2]);
    // Fifth in one of its partitions, third in the other.
    expect(jobs.get('54')).toMatchObject({ position: 3, estimatedStart: null, reason: 'odd|reason' });
    expect(jobs.get('49')).toMatchObject({ position: null, estimatedStart: null, reason: 'JobHeldUser' });
    expect(jobs.get('46')).toEqual({
      id: '46',
      state: 'RUNNING',
      position: null,
      estimatedStart: null,
      reason: null,
    });
    expect(jobs.get('12')).toMatchObject({ state: 'TIMEOUT', position: null, estimatedStart: null });
  });

  test('without jobs', () => {
    expect(listed(HEADING)).toEqual([]);
  });

  test('of several clusters', () => {
    const job = (id: number) => `${id}|RUNNING|debug|1|2026-11-21T23:38:04|None\n`;
    const text = `CLUSTER: a\n${HEADING}${job(1)}\nCLUSTER: b\n${HEADING}${job(2)}`;
    expect(listed(text).map(({ id }) => id)).toEqual(['1', '2']);
  });

  test('a start that is no time is none', () => {
    expect(listed(`${HEADING}7|PENDING|debug|1|2026-00-00T00:00:00|Priority\n`)).toMatchObject([
      { id: '7', estimatedStart: null },
    ]);
  });

  test.each([
    ['nothing', '', 'what squeue prints is no list of jobs'],
    ['a banner', 'Welcome to the cluster | have fun\n', 'what squeue prints is no list of jobs'],
    [
      'lines that are no jobs',
      `${HEADING}7|RUNNING|debug|1|N/A|None\n8|RUNN\n\0\0\n9|RUNNING|debug|1|N/A|None\n`,
      "what squeue prints is no list of jobs: 2 of its 4 lines can't be read",
    ],
    [
      'a list that was cut off',
      `${HEADING}7|RUNNING|debug|1|N/A|None\n8|RUNNING|debug|1|N/A|No`,
      'what squeue prints is no list of jobs: it breaks off in the middle of a line',
    ],
  ])('is not read from %s', (_what, text, why) => {
    expect(parseQueue(text)).toEqual({ ok: false, why });
  });
});

test('asks a bounded number of questions a round, about ids that are no options', async () => {
  const proxy = await satellite({
    domain: 'localhost',
    internalNetworks: ['127.0.0.0/8'],
    jobStateNetworks: ['127.0.0.0/8'],
  });
  const call = (method: string, path: string, body?: unknown) =>
    ask(proxy.port, {
      host: 'manage.localhost',
      method,
      path: `/api/v1${path}`,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  for (let i = 1; i <= 150; i += 1) {
    const { token } = (await call('POST', '/tokens')).json<{ token: string }>();
    await call('PUT', `/tokens/${token}/job`, { jobId: String(i) });
  }
  const asked: string[] = [];
  const reporter = new JobReporter({
    scheduler: {
      queue: async () => ({
        ok: true,
        jobs: ['-x0', '7_[1,3]', '2000'].map((id) => ({
          ...{ id, state: 'PENDING', position: null, estimatedStart: null, reason: null },
        })),
      }),
      finalState: async (id) => {
        asked.push(id);
        return { ok: true, state: 'COMPLETED' };
      },
    },
    to: new URL(proxy.manageUrl),
    log: () => undefined,
  });
  cleanup(() => reporter.close());
  expect(await reporter.report()).toBeUndefined();
  expect(asked.length).toBe(100);
  expect(await reporter.report()).toBeUndefined();
  expect(new Set(asked)).toEqual(new Set(Array.from({ length: 150 }, (_, i) => String(i + 1))));
  expect(asked.length).toBe(150);
});

/** A proxy whose management this host may use for everything, and a way to call it. */
async function proxyHere() {
  const { port, manageUrl } = await satellite({
    domain: 'localhost',
    internalNetworks: ['127.0.0.0/8'],
    jobStateNetworks: ['127.0.0.0/8'],
  });
  const call = (method: string, path: string, body?: unknown) =>
    apiOf(port, method, path, body, undefined, 'manage.localhost');
  return { manageUrl, call };
}

test('a job that somebody begins to wait for is reported before the next round, and asked for once', async () => {
  const { manageUrl, call } = await proxyHere();
  const link = async (jobId: string) => {
    const { token } = (await call('POST', '/tokens')).json<{ token: string }>();
    await call('PUT', `/tokens/${token}/job`, { jobId });
    return token;
  };
  const queue: string[] = [];
  let looks = 0;
  let looked = Promise.withResolvers<void>();
  const reporter = new JobReporter({
    scheduler: {
      queue: async () => {
        looks += 1;
        looked.resolve();
        looked = Promise.withResolvers();
        const more = { state: 'PENDING', position: 1, estimatedStart: null, reason: null };
        return { ok: true, jobs: queue.map((id) => ({ id, ...more })) };
      },
      finalState: async () => ({ ok: false, why: 'not in the accounting yet' }),
    },
    to: new URL(manageUrl),
    log: () => undefined,
  });
  const stop = new AbortController();
  const first = looked.promise;
  const running = reporter.run(3600_000, stop.signal);
  cleanup(async () => {
    stop.abort();
    await running;
    await reporter.close();
  });
  await first;
  // One that the scheduler never heard of costs it one question.
  const second = looked.promise;
  await link('nonsense');
  await second;
  queue.push('4711');
  const third = looked.promise;
  const token = await link('4711');
  await third;
  await expect
    .poll(async () => (await call('GET', `/tokens/${token}`)).json().job)
    .toMatchObject({ state: 'PENDING', position: 1 });
  expect(looks).toBe(3);
});

test('a job that is submitted and linked while the scheduler still lists the others is not over', async () => {
  const { manageUrl, call } = await proxyHere();
  const { token } = (await call('POST', '/tokens')).json<{ token: string }>();
  const reporter = new JobReporter({
    scheduler: {
      // Its list was made before the job came.
      queue: async () => {
        await call('PUT', `/tokens/${token}/job`, { jobId: '4711' });
        return { ok: true, jobs: [] };
      },
      // Only jobs that have ended are in the accounting.
      finalState: async () => ({ ok: true, state: null }),
    },
    to: new URL(manageUrl),
    log: () => undefined,
  });
  cleanup(() => reporter.close());
  expect(await reporter.report()).toBeUndefined();
  expect((await call('GET', `/tokens/${token}`)).json()).toMatchObject({ state: 'pending', phase: null });
});

test('a job in a state that only a newer scheduler knows is alive, and its state not known', async () => {
  const { manageUrl, call } = await proxyHere();
  const { token } = (await call('POST', '/tokens')).json<{ token: string }>();
  await call('PUT', `/tokens/${token}/job`, { jobId: '4711' });
  const job = { id: '4711', state: 'HIBERNATING', position: null, estimatedStart: null, reason: null };
  const reporter = new JobReporter({
    scheduler: {
      queue: async () => ({ ok: true, jobs: [job] }),
      finalState: async () => ({ ok: false, why: 'it is in the queue' }),
    },
    to: new URL(manageUrl),
    log: () => undefined,
  });
  cleanup(() => reporter.close());
  expect(await reporter.report()).toBeUndefined();
  expect((await call('GET', `/tokens/${token}`)).json()).toMatchObject({
    state: 'pending',
    job: { id: '4711', state: 'UNKNOWN' },
  });
});

describe('several schedulers as one', () => {
  const job = (id: string) => ({ id, state: 'RUNNING', position: null, estimatedStart: null, reason: null });
  const one = (id: string, state: string | null = null): Scheduler => ({
    queue: async () => ({ ok: true, jobs: [job(id)] }),
    finalState: async () => ({ ok: true, state }),
  });
  const away: Scheduler = {
    queue: async () => ({ ok: false, why: 'away' }),
    finalState: async () => ({ ok: false, why: 'away' }),
  };

  test('know the jobs of all, and what became of them', async () => {
    expect(await several([one('1'), one('2.pbs')]).queue()).toEqual({
      ok: true,
      jobs: [job('1'), job('2.pbs')],
    });
    expect(await several([one('1'), one('2', 'FAILED')]).finalState('3')).toEqual({
      ok: true,
      state: 'FAILED',
    });
    expect(await several([one('1'), one('2')]).finalState('3')).toEqual({ ok: true, state: null });
  });

  test('say nothing while one of them is away', async () => {
    expect(await several([one('1'), away]).queue()).toEqual({ ok: false, why: 'away' });
    expect(await several([one('1'), away]).finalState('3')).toEqual({ ok: false, why: 'away' });
  });
});

/** A scheduler whose commands say what the test has written down, and a proxy that listens to reports about it. */
async function cluster() {
  const folder = await scratch();
  const command = async (name: string, stdout: string, code = 0, stderr = '') => {
    for (const [suffix, text] of Object.entries({ out: stdout, err: stderr })) {
      await writeFile(join(folder, `${name}.${suffix}`), text);
    }
    const script = `#!/bin/sh\necho "$@" >> "$0.calls"\ncat "$0.out"\ncat "$0.err" >&2\nexit ${code}\n`;
    await writeFile(join(folder, name), script);
    await chmod(join(folder, name), 0o755);
  };
  await command('squeue', HEADING);
  await command('scontrol', '', 1, 'slurm_load_jobs error: Invalid job id specified\n');
  await command('sacct', '');
  const path = process.env.PATH;
  process.env.PATH = `${folder}:${path}`;
  cleanup(() => {
    process.env.PATH = path;
  });
  const proxy = await satellite({
    domain: 'localhost',
    internalNetworks: ['127.0.0.0/8'],
    jobStateNetworks: ['127.0.0.0/8'],
  });
  const log: LogEntry[] = [];
  const newReporter = () => {
    const reporter = new JobReporter({
      scheduler: slurm,
      to: new URL(proxy.manageUrl),
      log: (entry) => log.push(entry),
    });
    cleanup(() => reporter.close());
    return reporter;
  };
  const api = async (method: string, path: string, body?: unknown) => {
    const text = body === undefined ? {} : { body: JSON.stringify(body) };
    return (
      await ask(proxy.port, { host: 'manage.localhost', method, path: `/api/v1${path}`, ...text })
    ).json();
  };
  const session = async (jobId: string) => {
    const { token } = await api('POST', '/tokens');
    await api('PUT', `/tokens/${token}/job`, { jobId });
    return () => api('GET', `/tokens/${token}`);
  };
  return { folder, command, newReporter, session, log };
}

/** The same with a session whose job, 7, has been reported to run. */
async function clusterWithJob() {
  const { command, newReporter, session } = await cluster();
  const look = await session('7');
  const reporter = newReporter();
  await command('squeue', `${HEADING}7|RUNNING|debug|10|N/A|None\n`);
  await reporter.report();
  return { command, reporter, look };
}

describe('reports', () => {
  test('tell what changed, and only that', async () => {
    const { command, newReporter, session, log } = await cluster();
    const look = await session('7');
    const reporter = newReporter();
    await command(
      'squeue',
      `${HEADING}7|PENDING|debug|10|2031-05-06T07:08:09|Priority\n8|PENDING|debug|20|N/A|Resources\n`,
    );
    expect(await reporter.report()).toBeUndefined();
    expect((await look()).job).toEqual({
      id: '7',
      state: 'PENDING',
      position: 2,
      estimatedStart: '2031-05-06T07:08:09.000Z',
      reason: 'Priority',
    });
    await reporter.report();
    await command(
      'squeue',
      `${HEADING}7|PENDING|debug|10|2031-05-06T07:08:09|Priority\n8|RUNNING|debug|20|N/A|None\n`,
    );
    await reporter.report();
    expect(log.filter(({ event }) => event === 'reported')).toEqual([
      { event: 'reported', jobs: 2, inQueue: 2 },
      // 8 runs, and 7 is next.
      { event: 'reported', jobs: 2, inQueue: 2 },
    ]);
    expect((await look()).job).toMatchObject({ state: 'PENDING', position: 1 });
  });

  test.each([
    [
      'the controller remembers',
      'scontrol',
      'JobId=7 JobName=x JobState=TIMEOUT Reason=TimeLimit\n',
      'The time limit was reached.',
    ],
    ['the accounting remembers', 'sacct', 'CANCELLED by 1000\n', 'The job was cancelled.'],
    ['nobody remembers', 'sacct', '', 'The job ended before Jupyter was ready.'],
  ])('a job that vanished, and %s', async (_what, name, output, reason) => {
    const { command, reporter, look } = await clusterWithJob();
    await command('squeue', HEADING);
    await command(name, output);
    await reporter.report();
    expect(await look()).toMatchObject({ state: 'gone', phase: 'failed', reason });
  });

  test('a job that ended while no reporter ran, also with --once', async () => {
    const { command, newReporter, session } = await cluster();
    const look = await session('7');
    await command('scontrol', 'JobId=7 JobState=OUT_OF_MEMORY\n');
    await newReporter().report();
    expect(await look()).toMatchObject({ state: 'gone', reason: 'The job ran out of memory.' });
  });

  test.each([
    ['fails', 1, 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n'],
    ['fails and exits with 0', 0, 'slurm_load_jobs error: Socket timed out on send/recv operation\n'],
  ])('a squeue that %s ends nothing', async (_what, code, stderr) => {
    const { command, reporter, look } = await clusterWithJob();
    await command('squeue', '', code, stderr);
    expect(await reporter.report()).toEqual({
      by: 'scheduler',
      message: expect.stringContaining(stderr.trim()),
    });
    expect(await look()).toMatchObject({ state: 'pending', job: { state: 'RUNNING' } });
  });

  test('a squeue whose lines are garbage ends nothing, and is told with how many', async () => {
    const { command, reporter, look } = await clusterWithJob();
    await command('squeue', `${HEADING}garbage\n7|RUN\n`);
    expect(await reporter.report()).toEqual({
      by: 'scheduler',
      message: expect.stringMatching(/no list of jobs: 2 of its 2 lines can't be read/),
    });
    expect(await look()).toMatchObject({ state: 'pending', job: { state: 'RUNNING' } });
  });

  test('a controller that stops answering between two questions ends nothing', async () => {
    const { command, reporter, look } = await clusterWithJob();
    await command('squeue', HEADING);
    await command('scontrol', '', 1, 'slurm_load_jobs error: Unable to contact slurm controller\n');
    await reporter.report();
    expect(await look()).toMatchObject({ state: 'pending' });
    await command('scontrol', 'JobId=7 JobState=NODE_FAIL\n');
    await reporter.report();
    expect(await look()).toMatchObject({ state: 'gone', reason: 'The compute node failed.' });
  });

  test('a proxy that is away hears everything when it is back', async () => {
    const config = {
      ...{ domain: 'localhost', listen: `${OUTSIDE}:${await freePort(OUTSIDE)}` },
      ...{ internalNetworks: ['127.0.0.0/8'], jobStateNetworks: ['127.0.0.0/8'] },
    };
    const proxy = await satellite(config);
    const { command } = await cluster();
    await command('squeue', `${HEADING}7|RUNNING|debug|10|N/A|None\n`);
    const to = new URL(proxy.manageUrl);
    await proxy.close();
    const reporter = new JobReporter({ scheduler: slurm, to, log: () => undefined });
    cleanup(() => reporter.close());
    expect(await reporter.report()).toMatchObject({ by: 'proxy', message: expect.stringContaining(to.host) });
    const again = await satellite(config);
    expect(await reporter.report()).toBeUndefined();
    const wrongNetwork = await apiOf(again.port, 'GET', '/jobs');
    expect(wrongNetwork.status).toBe(421);
  });

  test('a proxy whose answer has no end is given up', async () => {
    const { command } = await cluster();
    await command('squeue', HEADING);
    const piece = Buffer.alloc(1024 * 1024, ' ');
    const { port } = await notebook((_request, response) => {
      const write = (): void => {
        while (response.write(piece));
      };
      response.on('drain', write);
      write();
    }, OUTSIDE);
    const to = new URL(`http://${OUTSIDE}:${port}/`);
    const reporter = new JobReporter({ scheduler: slurm, to, log: () => undefined });
    cleanup(() => reporter.close());
    expect(await reporter.report()).toMatchObject({
      by: 'proxy',
      message: expect.stringContaining('too long'),
    });
  });
});
