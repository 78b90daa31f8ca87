import { readFileSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { finalState, pbs, queuedJobs } from '../src/jobs/pbs.ts';
import { parseQstat } from '../src/jobs/qstat.ts';
import { jobState } from '../src/jobs/states.ts';
import { cleanup, scratch } from './support.ts';

/** What a real OpenPBS 23.06 answered. */
function recorded(name: string): { stdout: string; stderr: string; code: number } {
  const text = readFileSync(new URL(`openpbs/${name}.txt`, import.meta.url), 'utf8');
  const [, stdout = '', stderr = '', code] =
    /--- stdout\n([\s\S]*?)--- stderr\n([\s\S]*?)--- exit (\d+)/.exec(text) ?? [];
  return { stdout, stderr, code: Number(code) };
}

const jobsOf = (name: string) => queuedJobs(parseQstat(recorded(name).stdout) ?? new Map());

describe("PBS's queue", () => {
  test.each([
    ['qstat-running-json', '1.pbs-head', 'RUNNING', null],
    ['qstat-running-full', '1.pbs-head', 'RUNNING', null],
    ['qstat-held-json', '6.pbs-head', 'PENDING', 'JobHeld'],
    [
      'qstat-queued-json',
      '5.pbs-head',
      'PENDING',
      'Can Never Run: Insufficient amount of resource: ncpus (R: 4000 A: 2 T: 2)',
    ],
  ])('%s', (name, id, state, reason) => {
    expect(jobsOf(name)).toEqual([{ id, state, position: null, estimatedStart: null, reason }]);
  });

  test('an estimated start, as text or as a number', () => {
    for (const start of ['"Sat Nov 21 21:04:48 2026"', '1795295088']) {
      const output = `{"Jobs":{"1":{"job_state":"Q","estimated":{"start_time":${start}}}}}`;
      expect(queuedJobs(parseQstat(output) ?? new Map())[0]?.estimatedStart).toBe('2026-11-21T21:04:48.000Z');
    }
  });

  test('a queue without jobs, and what is no queue', () => {
    expect(jobsOf('qstat-unknown-job')).toEqual([]);
    for (const text of ['Welcome to the cluster!\n', '42', '[]', '{}', '{"error":"busy"}', '{"Jobs":"none"}'])
      expect(parseQstat(text)).toBeUndefined();
  });
});

describe('how a job ended', () => {
  const outcome = (name: string) => {
    const [attributes = {}] = parseQstat(recorded(name).stdout)?.values() ?? [];
    return finalState(attributes);
  };
  test('as recorded', () => {
    expect(outcome('qstat-deleted-history')).toBe('CANCELLED');
    expect(outcome('qstat-exit3-history')).toBe('FAILED');
    // Killed a moment ago, and the history doesn't know yet.
    expect(outcome('qstat-killed-history')).toBeUndefined();
  });

  test.each([
    ['0', '00:05:00', 'COMPLETED'],
    ['-3', '00:00:00', 'FAILED'],
    ['-27', '00:05:00', 'OUT_OF_MEMORY'],
    ['-29', '00:10:01', 'TIMEOUT'],
    ['271', '00:05:00', 'CANCELLED'],
    ['271', '00:10:01', 'TIMEOUT'],
    ['265', '00:10:00', 'TIMEOUT'],
  ])('with status %s after %s: %s', (status, used, state) => {
    expect(
      finalState({
        job_state: 'F',
        Exit_status: status,
        'resources_used.walltime': used,
        'Resource_List.walltime': '00:10:00',
      }),
    ).toBe(state);
  });
});

describe('qstat', () => {
  /** A qstat that answers as recorded. */
  async function command(answers: Record<string, ReturnType<typeof recorded>>): Promise<void> {
    const folder = await scratch();
    const cases: string[] = [];
    for (const [i, [args, { stdout, stderr, code }]] of Object.entries(answers).entries()) {
      await writeFile(join(folder, `${i}.out`), stdout);
      await writeFile(join(folder, `${i}.err`), stderr);
      cases.push(`'${args}') cat "$d/${i}.out"; cat "$d/${i}.err" >&2; exit ${code};;`);
    }
    const script = `#!/bin/sh\nd='${folder}'\ncase "$*" in\n${cases.join('\n')}\nesac\nexit 99\n`;
    await writeFile(join(folder, 'qstat'), script);
    await chmod(join(folder, 'qstat'), 0o755);
    const path = process.env.PATH;
    process.env.PATH = `${folder}:${path}`;
    cleanup(() => {
      process.env.PATH = path;
    });
  }

  test('whose JSON is broken is read as text', async () => {
    await command({
      '-f -F json': { stdout: '{"Jobs":{"1.pbs-head":{"Variable_List":{"f":() {}}', stderr: '', code: 0 },
      '-f': recorded('qstat-running-full'),
    });
    expect(await pbs.queue()).toMatchObject({ ok: true, jobs: [{ id: '1.pbs-head', state: 'RUNNING' }] });
  });

  test.each([
    ['in the middle of a job', (text: string) => text.slice(0, text.indexOf('job_state'))],
    ['at the end of a line', (text: string) => text.slice(0, text.indexOf('    Submit_Host'))],
    ['before its first job', () => ''],
  ])('whose JSON is broken and whose text breaks off %s says nothing about jobs', async (_, cut) => {
    await command({
      '-f -F json': { stdout: '{"Jobs":{"1.pbs-head":{"Variable_List":{"f":() {}}', stderr: '', code: 0 },
      '-f': { stdout: cut(recorded('qstat-running-full').stdout), stderr: '', code: 0 },
    });
    expect(await pbs.queue()).toMatchObject({
      ok: false,
      why: expect.stringMatching(/nor a whole list of jobs/),
    });
  });

  test('that can not reach its server says nothing about jobs', async () => {
    const stderr = 'Connection refused\nqstat: cannot connect to server pbs-head (errno=15010)\n';
    await command({
      '-f -F json': { stdout: '', stderr, code: 255 },
      '-x -f -F json 1.pbs-head': { stdout: '', stderr, code: 255 },
    });
    expect(await pbs.queue()).toEqual({ ok: false, why: 'Connection refused' });
    expect(await pbs.finalState('1.pbs-head')).toEqual({ ok: false, why: 'Connection refused' });
  });

  test('knows what became of a job, or that nobody knows', async () => {
    await command({
      '-x -f -F json 7.pbs-head': recorded('qstat-exit3-history'),
      '-x -f -F json 99999.pbs-head': recorded('qstat-unknown-job'),
      '-x -f -F json 5.pbs-head': recorded('qstat-deleted-default'),
      '-x -f -F json 1.pbs-head': recorded('qstat-killed-history'),
    });
    expect(await pbs.finalState('7.pbs-head')).toEqual({ ok: true, state: 'FAILED' });
    expect(await pbs.finalState('99999.pbs-head')).toEqual({ ok: true, state: null });
    expect(await pbs.finalState('5.pbs-head')).toEqual({ ok: true, state: null });
    expect(await pbs.finalState('1.pbs-head')).toMatchObject({ ok: false });
  });
});

test('letters and words of other schedulers are known', () => {
  const stage = (state: string) => jobState(state)?.stage;
  for (const state of ['Q', 'H', 'W', 'T', 'qw', 'hqw', 'Eqw', 'PEND', 'PSUSP'])
    expect(stage(state)).toBe('waiting');
  for (const state of ['R', 'E', 'S', 'U', 'B', 'dr', 'RUN', 'USUSP', 'SSUSP'])
    expect(stage(state)).toBe('running');
  for (const state of ['C', 'DONE', 'EXIT']) expect(stage(state)).toBe('finished');
  // LSF's word for not knowing is one, and no reason to end anything.
  expect(jobState('UNKWN')).toEqual({ text: 'Its state is not known at the moment' });
  expect(jobState('BANANA')).toBeUndefined();
});
