import { readFileSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { endingOf, lsfTime, parseBjobs } from '../src/jobs/bjobs.ts';
import { lsf, queuedJobs } from '../src/jobs/lsf.ts';
import { jobState } from '../src/jobs/states.ts';
import { cleanup, scratch } from './support.ts';

/** What LSF should answer by its manuals, see lsf/README.md. */
function derived(name: string): { command: string; stdout: string; stderr: string; code: number } {
  const text = readFileSync(new URL(`lsf/${name}.txt`, import.meta.url), 'utf8');
  const [, command = '', stdout = '', stderr = '', code] =
    /^\$ (.*)\n--- stdout\n([\s\S]*?)--- stderr\n([\s\S]*?)--- exit (\d+)/.exec(text) ?? [];
  return { command: command.replaceAll("'", ''), stdout, stderr, code: Number(code) };
}

const now = new Date('2026-11-22T10:00:00Z');
const jobs = new Map(
  queuedJobs(parseBjobs(derived('bjobs-states').stdout)?.jobs ?? new Map(), now).map((job) => [job.id, job]),
);

describe("LSF's queue", () => {
  test('states, places in each queue, estimates and reasons', () => {
    expect(jobs.size).toBe(13);
    expect(jobs.get('5010')).toEqual({
      id: '5010',
      state: 'PENDING',
      position: 1,
      estimatedStart: '2026-11-22T12:30:00.000Z',
      reason: 'New job is waiting for scheduling',
    });
    expect(jobs.get('5011')).toMatchObject({
      position: 1,
      estimatedStart: null,
      reason: 'Job slot limit reached',
    });
    expect(jobs.get('5012')).toMatchObject({ position: 2, reason: 'Not enough job slot(s): 2 hosts' });
    expect(jobs.get('5013')).toMatchObject({ state: 'PSUSP', position: null, reason: null });
    expect(jobs.get('5001')).toMatchObject({ state: 'RUNNING', position: null, reason: null });
    // An element of an array: nobody has linked a token to it.
    expect(jobs.has('5014')).toBe(false);
  });

  test.each([
    ['5002', 'running'],
    ['5003', 'running'],
    // LSF's word for not knowing ends nothing.
    ['5004', undefined],
    ['5020', 'finished'],
    ['5021', 'finished'],
  ])('%s is %s to a token', (id, stage) => {
    expect(jobState(jobs.get(id)?.state ?? '')?.stage).toBe(stage);
  });

  test.each([
    ['5020', 'COMPLETED'],
    ['5021', 'FAILED'],
    ['5022', 'CANCELLED'],
    ['5023', 'TIMEOUT'],
    ['5024', 'OUT_OF_MEMORY'],
  ])('%s has ended as %s', (id, state) => {
    expect(jobs.get(id)?.state).toBe(state);
  });

  test('without jobs', () => {
    expect(parseBjobs(derived('bjobs-none').stdout)?.jobs.size).toBe(0);
  });

  test('after a wait for the connection', () => {
    expect(parseBjobs(derived('bjobs-please-wait').stdout)?.jobs.size).toBe(1);
  });

  test.each([
    ['no JSON', 'JOBID STAT\n5001 RUN\n'],
    ['half of it', '{"COMMAND":"bjobs","JOBS":1,"RECORDS":['],
    ['something else', '{"RECORDS":"none"}'],
    ['a record without an id', '{"RECORDS":[{"STAT":"RUN"}]}'],
    ['a record without a state', '{"RECORDS":[{"JOBID":"7"}]}'],
    ['an error that is about no job', derived('bjobs-error-record').stdout],
  ])('is not read from %s', (_, stdout) => {
    expect(parseBjobs(stdout)).toBeUndefined();
  });
});

test.each(['PEND', 'PSUSP', 'WAIT', 'PROV'])('%s waits', (state) => {
  expect(jobState(state)?.stage).toBe('waiting');
});

test.each(['RUN', 'USUSP', 'SSUSP', 'ZOMBI'])('%s runs', (state) => {
  expect(jobState(state)?.stage).toBe('running');
});

test('an end without a keyword that we know is a failure', () => {
  expect(endingOf({ STAT: 'EXIT', EXIT_REASON: 'TERM_NEW: of a later version' })).toBe('FAILED');
  expect(endingOf({ STAT: 'EXIT' })).toBe('FAILED');
  expect(endingOf({ STAT: 'UNKWN' })).toBeUndefined();
});

describe('a time', () => {
  test.each([
    ['Nov 22 02:06', '2026-11-22T02:06:00.000Z'],
    ['Nov  2 02:06', '2026-11-02T02:06:00.000Z'],
    ['Nov 22 02:06:09', '2026-11-22T02:06:09.000Z'],
    ['Nov 22 02:06 L', '2026-11-22T02:06:00.000Z'],
    ['Nov 22 02:06:09 2025', '2025-11-22T02:06:09.000Z'],
    // The nearest: next year's, not last year's.
    ['Jan  3 02:06', '2027-01-03T02:06:00.000Z'],
    ['', undefined],
    ['-', undefined],
    ['tomorrow', undefined],
  ])('%j is %s', (text, iso) => {
    expect(lsfTime(text, now)?.toISOString()).toBe(iso);
  });
});

describe('bjobs', () => {
  /** A bjobs that answers these calls, and complains of every other. */
  async function command(...names: string[]): Promise<void> {
    const folder = await scratch();
    const cases: string[] = [];
    for (const [i, { command: call, stdout, stderr, code }] of names.map(derived).entries()) {
      await writeFile(join(folder, `${i}.out`), stdout);
      await writeFile(join(folder, `${i}.err`), stderr);
      cases.push(`'${call}') cat "$d/${i}.out"; cat "$d/${i}.err" >&2; exit ${code};;`);
    }
    const script = `#!/bin/sh\nd='${folder}'\ncase "bjobs $*" in\n${cases.join('\n')}\nesac\necho "not in this test: $*" >&2\nexit 99\n`;
    await writeFile(join(folder, 'bjobs'), script);
    await chmod(join(folder, 'bjobs'), 0o755);
    const path = process.env.PATH;
    process.env.PATH = `${folder}:${path}`;
    cleanup(() => {
      process.env.PATH = path;
    });
  }

  test('lists the jobs of everybody', async () => {
    await command('bjobs-states');
    expect(await lsf.queue()).toMatchObject({ ok: true, jobs: { length: 13 } });
  });

  test('that has no job to list says so with an error', async () => {
    await command('bjobs-none-text');
    expect(await lsf.queue()).toEqual({ ok: true, jobs: [] });
  });

  test('of a version without estimates is asked without', async () => {
    await command('bjobs-unknown-field');
    expect(await lsf.queue()).toEqual({
      ok: false,
      why: 'not in this test: -a -u all -o jobid jobindex stat queue pend_reason exit_code exit_reason -json',
    });
  });

  test('knows what became of a job, or that nobody knows', async () => {
    await command('bjobs-run-limit', 'bjobs-unknown-record');
    expect(await lsf.finalState('5023')).toEqual({ ok: true, state: 'TIMEOUT' });
    expect(await lsf.finalState('99')).toEqual({ ok: true, state: null });
    expect(await lsf.finalState('7.pbs-head')).toEqual({ ok: true, state: null });
  });

  test('that says it on standard error, or of a job that still runs', async () => {
    await command('bjobs-unknown-text', 'bjobs-running');
    expect(await lsf.finalState('99')).toEqual({ ok: true, state: null });
    expect(await lsf.finalState('5001')).toEqual({ ok: false, why: '5001 has not ended' });
  });

  test('of a cluster that is down, or with an answer that nobody has seen, says nothing about jobs', async () => {
    await command('bjobs-down');
    expect(await lsf.queue()).toEqual({ ok: false, why: 'LSF is down. Please wait ...' });
    expect(await lsf.finalState('5001')).toMatchObject({ ok: false });
    await command('bjobs-error-record');
    expect(await lsf.queue()).toMatchObject({ ok: false, why: expect.stringMatching(/no list of jobs/) });
  });
});
