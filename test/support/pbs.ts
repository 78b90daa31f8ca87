import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryDirectory } from './directories.ts';
import { type Settings, State, usualSettings } from './pbs/state.ts';
import { endJobs, expectNoCalls, installCommands } from './stand-in/install.ts';

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
  const commands = installCommands(directory, program, ['qsub', 'qstat', 'qdel', 'qrls', 'pbsnodes']);
  mkdirSync(path.join(directory, 'spool'), { mode: 0o700 });
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
    await endJobs(() => state.jobs().flatMap(({ state: letter, mom }) => (letter === 'R' ? [mom] : [])));
    expectNoCalls(path.join(directory, 'unrecorded'));
  }, 60_000);
  return { commands, state, set };
}
