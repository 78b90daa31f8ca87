import { existsSync, readFileSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { run } from '../src/jobs/command.ts';
import { isAlive } from './alive.ts';
import { cleanup, scratch } from './support.ts';

/** A scheduler's command below a wrapper script that leaves a process in the background, too. */
async function wrapper(script: string): Promise<{ command: string; pids: () => number[] }> {
  const folder = await scratch();
  const command = join(folder, 'squeue');
  await writeFile(command, `#!/bin/bash\nd='${folder}'\n${script}\n`);
  await chmod(command, 0o755);
  const pids = () =>
    existsSync(join(folder, 'pids'))
      ? readFileSync(join(folder, 'pids'), 'utf8').split('\n').filter(Boolean).map(Number)
      : [];
  cleanup(() => {
    for (const pid of pids().filter(isAlive)) process.kill(pid, 'SIGKILL');
  });
  return { command, pids };
}

afterEach(() => {
  vi.unstubAllEnvs();
});

const alive = (pids: readonly number[]) => pids.filter(isAlive);

const hanging = 'sleep 1000 & echo $! >>"$d/pids"; sleep 1000 & echo $! >>"$d/pids"; wait';
const stubborn = `bash -c 'trap "" TERM; echo $$ >>"$0/pids"; while :; do sleep 1000; done' "$d" >/dev/null 2>&1 &
echo half a list; ${hanging}`;

test('a command gets no option that nobody typed, and is told where the scheduler is', async () => {
  vi.stubEnv('SQUEUE_NAMES', 'x');
  vi.stubEnv('SLURM_TIME_FORMAT', 'relative');
  vi.stubEnv('SLURM_CONF', '/etc/slurm/slurm.conf');
  const { command } = await wrapper('printenv SQUEUE_NAMES SLURM_TIME_FORMAT SLURM_CONF');
  expect((await run(command, [])).stdout).toBe('standard\n/etc/slurm/slurm.conf\n');
});

test('a command that takes too long is ended with all that it has started, and that is said', async () => {
  const { command, pids } = await wrapper(hanging);
  // Until the time was enough to start all of it.
  let started = 0;
  for (let seconds = 1; started < 2; seconds *= 2) {
    const before = pids().length;
    expect(await run(command, [], { timeout: seconds * 1000 })).toEqual({
      code: null,
      stdout: '',
      stderr: `${command} timed out after ${seconds} s`,
    });
    started = pids().length - before;
  }
  await expect.poll(() => alive(pids())).toEqual([]);
});

test('a stop ends what is under way, also what does not want to, and nothing is begun after it', async () => {
  const { command, pids } = await wrapper(stubborn);
  const stop = new AbortController();
  const ran = run(command, [], { stop: stop.signal });
  await expect.poll(() => pids().length).toBe(3);
  stop.abort();
  const stopped = { code: null, stdout: '', stderr: `${command} was ended: the reporter stops` };
  expect(await ran).toEqual(stopped);
  await expect.poll(() => alive(pids())).toEqual([]);
  const before = pids().length;
  expect(await run(command, [], { stop: stop.signal })).toEqual(stopped);
  expect(pids()).toHaveLength(before);
});

test('a command that prints without end is ended', async () => {
  const { command, pids } = await wrapper('echo $$ >>"$d/pids"; yes | cat');
  expect(await run(command, [], { maxOutput: 1024 * 1024 })).toMatchObject({
    code: null,
    stderr: `${command} printed more than 1 MiB`,
  });
  await expect.poll(() => alive(pids())).toEqual([]);
});

test('a command says what it says, and that there is none', async () => {
  const { command } = await wrapper('echo out; echo err >&2; exit 3');
  expect(await run(command, [])).toEqual({ code: 3, stdout: 'out\n', stderr: 'err\n' });
  expect(await run(`${command}-that-is-none`, [])).toMatchObject({
    code: null,
    stderr: expect.stringMatching(/ENOENT/),
  });
});
