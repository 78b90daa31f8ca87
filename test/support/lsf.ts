import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryDirectory } from './directories.ts';
import { Cluster, type Settings } from './lsf/stand-in.ts';
import { endJobs, expectNoCalls, installCommands } from './stand-in/install.ts';

export interface Lsf {
  /** To be put first on PATH. */
  readonly commands: string;
  readonly cluster: Cluster;
  /** Changes how the cluster is set up, at once. */
  set(change: Partial<Settings>): void;
}

const program = path.join(import.meta.dirname, 'lsf', 'stand-in.ts');

/**
 * An LSF of one test's own that runs jobs on this machine. Once the test is over its jobs are ended, and a call that nobody
 * foresaw fails the test.
 */
export function standInForLsf(): Lsf {
  const directory = temporaryDirectory();
  const commands = installCommands(directory, program, ['bsub', 'bjobs', 'bkill', 'bresume', 'bqueues']);
  const cluster = new Cluster(directory);
  let current: Settings = { down: false, estimates: true, minute: 60_000, interval: 10_000 };
  const set = (change: Partial<Settings>) => {
    current = { ...current, ...change };
    writeFileSync(path.join(directory, 'settings.json'), JSON.stringify(current));
  };
  set({});
  onTestFinished(async () => {
    await endJobs(() => cluster.jobs().flatMap(({ stat, sbatchd }) => (stat === 'RUN' ? [sbatchd] : [])));
    expectNoCalls(path.join(directory, 'unforeseen'));
  }, 60_000);
  return { commands, cluster, set };
}
