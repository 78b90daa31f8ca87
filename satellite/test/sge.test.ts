import { readFileSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { elements, parseQacct, parseQstat, stageOf } from '../src/jobs/gridengine.ts';
import { queuedJobs, sge } from '../src/jobs/sge.ts';
import { jobState } from '../src/jobs/states.ts';
import { cleanup, scratch } from './support.ts';

/** What a real Grid Engine 8.1.9 answered. */
function recorded(name: string): { stdout: string; stderr: string; code: number } {
  const text = readFileSync(new URL(`sge/${name}.txt`, import.meta.url), 'utf8');
  const [, stdout = '', stderr = '', code] =
    /--- stdout\n([\s\S]*?)--- stderr\n([\s\S]*?)--- exit (\d+)/.exec(text) ?? [];
  return { stdout, stderr, code: Number(code) };
}

const jobsOf = (name: string) =>
  new Map(queuedJobs(parseQstat(recorded(name).stdout) ?? []).map((job) => [job.id, job]));

/** Every state in the table of sge_status(5). */
const everyState = `qw Rq hqw hRwq r hr t Rr Rt s ts S tS T tT Rs Rts RS RtS RT RtT Eqw Ehqw EhRqw
  dr dt dRr dRt ds dS dT dRs dRS dRT z`.split(/\s+/);

describe("Grid Engine's queue", () => {
  test('states and places of a real one', () => {
    const jobs = jobsOf('qstat-states');
    expect(jobs.size).toBe(8);
    const nothingElse = { estimatedStart: null, reason: null };
    expect(jobs.get('700019')).toEqual({ id: '700019', state: 'RUNNING', position: null, ...nothingElse });
    expect(jobs.get('700018')).toEqual({ id: '700018', state: 'PENDING', position: 1, ...nothingElse });
    expect(jobs.get('700016')).toEqual({ id: '700016', state: 'hqw', position: null, ...nothingElse });
    expect(jobs.get('700023')).toMatchObject({ state: 'Eqw', position: null });
    // Its earliest start time has not come.
    expect(jobs.get('700017')).toMatchObject({ state: 'PENDING', position: null });
  });

  test('places are counted over the whole list', () => {
    const job = (id: string, state: string, priority: number) =>
      ({ id, state, priority, queue: undefined, startedAt: undefined }) as const;
    const list = [job('9', 'qw', 0.7), job('5', 'hqw', 0), job('7', 'Rq', 0.6), job('8', 'qw', 0.5)];
    expect(queuedJobs(list).map(({ position }) => position)).toEqual([1, null, 2, 3]);
  });

  test('tasks of an array, and names that need escaping', () => {
    const jobs = jobsOf('qstat-array');
    expect([...jobs.keys()]).toEqual(['700025', '700026', '700027.1', '700027.2', '700027.3']);
    expect(jobs.get('700025')?.state).toBe('COMPLETING');
    const names = elements(recorded('qstat-array').stdout, 'job_info')?.filter(
      ({ name }) => name === 'JB_name',
    );
    expect(names?.[2]?.text).toBe('a&b');
  });

  test('a queue without jobs, and what is no queue', () => {
    expect(jobsOf('qstat-none').size).toBe(0);
    expect(parseQstat('')).toBeUndefined();
    expect(parseQstat('Welcome to the cluster!\n')).toBeUndefined();
    expect(
      parseQstat("<?xml version='1.0'?>\n<comunication_error ><AN_status>11</AN_status>"),
    ).toBeUndefined();
  });

  test('a start is a time in UTC', () => {
    const [running] = parseQstat(recorded('qstat-deleting').stdout) ?? [];
    expect(running).toMatchObject({ startedAt: new Date('2026-11-22T02:11:10Z'), queue: 'compute@c1' });
  });

  test('malformed parts, as version 6.2 writes them, hide nothing that stands beside them', () => {
    const xml = `<job_info><queue_info><job_list state="running"><JB_job_number>7</JB_job_number><JB_name>a & b <></JB_name>
      <state>r</state></job_list><></></queue_info><job_info><job_list><JB_job_number>8</JB_job_number><state>qw</state></job_list></job_info></job_info>`;
    expect(parseQstat(xml)?.map(({ id, state }) => `${id} ${state}`)).toEqual(['7 r', '8 qw']);
  });
});

describe('half of a queue', () => {
  test('cut off anywhere is no queue', () => {
    const xml = recorded('qstat-states').stdout.trimEnd();
    expect(parseQstat(xml)).toBeDefined();
    for (let end = 0; end < xml.length; end += 1) {
      if (parseQstat(xml.slice(0, end)) !== undefined) expect.unreachable(`cut off after ${end}`);
    }
  });

  test.each(['<state>r</state>', '<JB_job_number>7</JB_job_number>'])(
    'with nothing of a job but %s is no queue',
    (field) => {
      const whole = '<job_list><JB_job_number>8</JB_job_number><state>qw</state></job_list>';
      expect(parseQstat(`<job_info>${whole}<job_list>${field}</job_list></job_info>`)).toBeUndefined();
    },
  );
});

describe('a state', () => {
  test.each(everyState)('%s is known, and report-jobs says the same with it', (state) => {
    expect(stageOf(state)).not.toBe('unknown');
    if (state === 'T' || state === 'RS') return; // other schedulers have them too: never reported as they are
    const [reported] = queuedJobs([{ id: '1', state, priority: 1, queue: undefined, startedAt: undefined }]);
    expect(jobState(state)?.stage).toBe(
      reported === undefined ? 'finished' : jobState(reported.state)?.stage,
    );
  });

  test('that is not in the table is passed on and ends nothing', () => {
    expect(stageOf('xyz')).toBe('unknown');
    const [job] = queuedJobs([
      { id: '1', state: 'xyz', priority: 1, queue: undefined, startedAt: undefined },
    ]);
    expect(job?.state).toBe('xyz');
    expect(jobState('xyz')).toBeUndefined();
  });

  test('differs by the case of its letters', () => {
    expect(jobState('t')?.stage).toBe('running');
    expect(jobState('T')?.stage).toBe('waiting'); // PBS's
    expect(jobState('s')).toEqual(jobState('S'));
    expect(jobState('EQW')?.text).toBe('In error, and held');
  });
});

describe('how a job ended', () => {
  test.each([
    ['qacct-completed', 'COMPLETED'],
    ['qacct-failed', 'FAILED'],
    ['qacct-time-limit', 'TIMEOUT'],
    ['qacct-deleted-running', 'CANCELLED'],
    ['qacct-unknown', undefined],
  ])('%s', (name, state) => {
    expect(parseQacct(recorded(name).stdout)).toBe(state);
  });

  const record = (failed: string, status: string, wallclock: string, category: string) =>
    `==\nfailed       ${failed}\nexit_status  ${status}\nru_wallclock ${wallclock}\ncategory     ${category}\n`;

  test.each([
    ['26  : opening input/output file', '0', '0s', 'NONE', 'LAUNCH_FAILED'],
    ['100 : assumedly after job', '137', '601', '-U users -l h_rt=0:10:0', 'TIMEOUT'],
    ['37  : qmaster enforced h_rt, h_cpu, or h_vmem limit', '137', '57s', '-l h_rt=60', 'TIMEOUT'],
    ['100 : assumedly after job', '137', '50s', '-l h_rt=60', 'CANCELLED'],
    ['100 : assumedly after job', '137', '601', 'NONE', 'CANCELLED'],
    ['100 : assumedly after job', '139', '6s', 'NONE', 'FAILED'],
    [
      '37  : qmaster enforced h_rt, h_cpu, or h_vmem limit',
      '137',
      '9s',
      '-l h_rt=60,h_vmem=1G',
      'OUT_OF_MEMORY',
    ],
    ['37  : qmaster enforced h_rt, h_cpu, or h_vmem limit', '137', '9s', '-l h_cpu=5', 'FAILED'],
  ])('failed %s, status %s, after %s of %s: %s', (failed, status, wallclock, category, state) => {
    expect(parseQacct(record(failed, status, wallclock, category))).toBe(state);
  });

  test('of several runs the last one counts', () => {
    const runs = record('25 : rescheduling', '0', '1s', 'NONE') + record('0', '3', '1s', 'NONE');
    expect(parseQacct(runs)).toBe('FAILED');
  });
});

describe('the commands', () => {
  /** Commands that answer as recorded, each to one call only. */
  async function commands(answers: Record<string, ReturnType<typeof recorded>>): Promise<void> {
    const folder = await scratch();
    for (const name of ['qstat', 'qacct']) {
      const cases: string[] = [];
      for (const [i, [call, { stdout, stderr, code }]] of Object.entries(answers).entries()) {
        await writeFile(join(folder, `${i}.out`), stdout);
        await writeFile(join(folder, `${i}.err`), stderr);
        if (call.startsWith(name))
          cases.push(`'${call}') cat "$d/${i}.out"; cat "$d/${i}.err" >&2; exit ${code};;`);
      }
      await writeFile(
        join(folder, name),
        `#!/bin/sh\nd='${folder}'\ncase "${name} $*" in\n${cases.join('\n')}\nesac\nexit 99\n`,
      );
      await chmod(join(folder, name), 0o755);
    }
    const path = process.env.PATH;
    process.env.PATH = `${folder}:${path}`;
    cleanup(() => {
      process.env.PATH = path;
    });
  }

  test('ask for every job of everybody, and for what became of one', async () => {
    await commands({
      'qstat -u * -xml': recorded('qstat-states'),
      'qacct -j 700001': recorded('qacct-time-limit'),
      'qacct -j 700027 -t 3': recorded('qacct-completed'),
      'qacct -j 999999': recorded('qacct-unknown'),
    });
    expect(await sge.queue()).toMatchObject({ ok: true, jobs: { length: 8 } });
    expect(await sge.finalState('700001')).toEqual({ ok: true, state: 'TIMEOUT' });
    expect(await sge.finalState('700027.3')).toEqual({ ok: true, state: 'COMPLETED' });
    expect(await sge.finalState('999999')).toEqual({ ok: true, state: null });
    // qacct would look for jobs of that name.
    expect(await sge.finalState('somebodys-job')).toEqual({ ok: true, state: null });
  });

  test('that can not reach the qmaster say nothing about jobs', async () => {
    await commands({ 'qstat -u * -xml': recorded('qstat-unreachable-refused') });
    expect(await sge.queue()).toEqual({
      ok: false,
      why: 'unable to send message to qmaster using port 6444 on host "login": got send error',
    });
  });

  test.each([
    ['something else than a queue', 'Maintenance today\n'],
    [
      'the beginning of a queue',
      '<?xml version="1.0"?><job_info><queue_info><job_list state="running"><JB_job_number>19</JB_job_number>',
    ],
  ])('that print %s say nothing about jobs', async (_, stdout) => {
    await commands({ 'qstat -u * -xml': { stdout, stderr: '', code: 0 } });
    expect(await sge.queue()).toEqual({ ok: false, why: 'what qstat prints is no list of jobs' });
  });
});
