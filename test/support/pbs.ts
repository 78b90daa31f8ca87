import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, vi } from 'vitest';
import { temporaryDirectory } from './directories.ts';
import { type Settings, State, usualSettings } from './pbs/state.ts';

export interface Pbs {
  /** To be put first on PATH. */
  readonly commands: string;
  readonly state: State;
  /** Changes how the server is set up, at once. */
  set(change: Partial<Settings>): void;
}

const program = path.join(import.meta.dirname, 'pbs', 'stand-in.ts');

/**
 * A PBS of one test's own that runs jobs on this machine. Once the test is over its jobs are ended, and a call that nobody
 * has recorded fails the test.
 */
export function standInForPbs(settings: Partial<Settings> = {}): Pbs {
  const directory = temporaryDirectory();
  const commands = path.join(directory, 'bin');
  for (const name of ['bin', 'jobs', 'spool']) mkdirSync(path.join(directory, name), { mode: 0o700 });
  for (const name of ['qsub', 'qstat', 'qdel', 'qrls', 'pbsnodes']) {
    const file = path.join(commands, name);
    writeFileSync(file, `#!/bin/sh\nexec '${process.execPath}' '${program}' ${name} '${directory}' "$@"\n`);
    chmodSync(file, 0o755);
  }
  const state = new State(directory);
  let current: Settings = { ...usualSettings, ...settings };
  const set = (change: Partial<Settings>) => {
    current = { ...current, ...change };
    writeFileSync(path.join(directory, 'settings.json'), JSON.stringify(current));
  };
  set({});
  onTestFinished(async () => {
    set({ killDelay: 0 });
    // What waits must not be started by the end of what runs.
    state.locked(() => {
      for (const job of state.jobs()) if (job.state === 'Q') state.save({ ...job, state: 'H' });
    });
    await vi.waitFor(
      () => {
        const running = state.jobs().filter(({ state: letter }) => letter === 'R');
        for (const { mom } of running) if (mom !== undefined) kill(mom);
        expect(running).toEqual([]);
      },
      { timeout: 60_000, interval: 100 },
    );
    const unrecorded = path.join(directory, 'unrecorded');
    expect(existsSync(unrecorded) ? readFileSync(unrecorded, 'utf8') : '').toBe('');
  }, 60_000);
  return { commands, state, set };
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch {
    // The job has ended.
  }
}
