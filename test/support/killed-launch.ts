import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { testWith } from './command.ts';
import { type Home, temporaryDirectory } from './directories.ts';
import { type Ran, type RunOptions, run } from './program.ts';

/** A directory, for the front of PATH, in which a command does its work and then kills who called it: nobody hears its answer. */
function killsItsCaller(command: string): string {
  const directory = temporaryDirectory();
  writeFileSync(
    path.join(directory, path.basename(command)),
    `#!/bin/sh\n'${command}' "$@" >/dev/null\nkill -KILL "$PPID"\n`,
    { mode: 0o755 },
  );
  return directory;
}

/** Makes a home's only session one that was submitted long ago. */
function age({ sessions }: Home): void {
  const [id = ''] = readdirSync(sessions);
  const file = path.join(sessions, id, 'session.json');
  const record = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...record, submittedAt: '2026-01-01T00:00:00.000Z' }));
}

/** A cluster whose scheduler can't be asked which job has a log. */
interface SilentCluster {
  login(): RunOptions;
  call(...args: string[]): Promise<Ran>;
  command(name: string, ...args: string[]): Promise<void>;
  status(): Promise<{ id: string; url: string; state: string }>;
  untilStatus(expected: object): Promise<void>;
  expectNothingLeft(url: string): Promise<void>;
  /** Path of the command that submits. */
  submit(): string;
  /** Of the first job. */
  readonly jobId: string;
  /** Options with which a job is held, and the command that lets it go. */
  readonly held: readonly string[];
  readonly release: string;
}

/** What becomes of the job of a launch that is killed before it has heard its number. */
export function testKilledLaunches(test: ReturnType<typeof testWith>['run'], cluster: SilentCluster): void {
  const { call, command, expectNothingLeft, jobId, status, untilStatus } = cluster;
  const killed = (...args: string[]) => {
    const { path: programs, ...login } = cluster.login();
    return run(args, { ...login, path: `${killsItsCaller(cluster.submit())}:${programs}` });
  };

  test('the job says which it is once it runs, and "stop" ends it', async () => {
    expect((await killed()).exitCode).toBeUndefined();
    await untilStatus({ jobId, state: 'ready' });
    const { id, url } = await status();
    expect(await call('stop', id)).toMatchObject({ exitCode: 0, stdout: '' });
    expect(await status()).toMatchObject({ state: 'ended', reason: expect.stringContaining('Stopped') });
    await expectNothingLeft(url);
  });

  test('a job that waits is not known: after a while the session is over, and the job ends when it begins', async () => {
    await killed(...cluster.held);
    const { id, url, state } = await status();
    expect(state).toBe('submitted');
    const early = await call('stop', id);
    expect(early).toMatchObject({
      exitCode: 5,
      stderr: expect.stringContaining('Try again in a few minutes'),
    });
    age(cluster.login().home);
    expect((await call('stop', id)).exitCode).toBe(0);
    expect(await status()).toMatchObject({
      state: 'failed',
      reason: expect.stringMatching(/^The launch was ended before it had heard of a job\. .* ends by itself/),
      url: null,
    });
    await command(cluster.release, jobId);
    await expectNothingLeft(url);
    expect((await call('logs', id)).stdout).toContain("FAILED: The session's tokens can't be read");
  });
}
