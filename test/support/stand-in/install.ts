import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, vi } from 'vitest';

/**
 * Makes commands that call a stand-in: `stand-in.ts COMMAND DIRECTORY ARGUMENT…`.
 * @returns the directory to be put first on PATH
 */
export function installCommands(directory: string, program: string, names: readonly string[]): string {
  const commands = path.join(directory, 'bin');
  for (const name of ['bin', 'jobs']) mkdirSync(path.join(directory, name), { mode: 0o700 });
  for (const name of names) {
    const file = path.join(commands, name);
    writeFileSync(file, `#!/bin/sh\nexec '${process.execPath}' '${program}' ${name} '${directory}' "$@"\n`);
    chmodSync(file, 0o755);
  }
  return commands;
}

/** Resolves once no job runs any more. `watchers`: the processes that watch over those that do. */
export async function endJobs(watchers: () => readonly (number | undefined)[]): Promise<void> {
  await vi.waitFor(
    () => {
      const running = watchers();
      for (const pid of running) if (pid !== undefined) kill(pid);
      expect(running).toEqual([]);
    },
    { timeout: 60_000, interval: 100 },
  );
}

/** A call that the stand-in wrote down, since it knows no answer, is the test's failure. */
export function expectNoCalls(file: string): void {
  expect(existsSync(file) ? readFileSync(file, 'utf8') : '').toBe('');
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch {
    // The job has ended.
  }
}
