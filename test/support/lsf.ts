import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, vi } from 'vitest';
import { temporaryDirectory } from './directories.ts';
import { Cluster, type Settings } from './lsf/stand-in.ts';

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
  const commands = path.join(directory, 'bin');
  for (const name of ['bin', 'jobs']) mkdirSync(path.join(directory, name), { mode: 0o700 });
  for (const name of ['bsub', 'bjobs', 'bkill', 'bresume', 'bqueues']) {
    const file = path.join(commands, name);
    writeFileSync(file, `#!/bin/sh\nexec '${process.execPath}' '${program}' ${name} '${directory}' "$@"\n`);
    chmodSync(file, 0o755);
  }
  const cluster = new Cluster(directory);
  let current: Settings = { down: false, estimates: true, minute: 60_000, interval: 10_000 };
  const set = (change: Partial<Settings>) => {
    current = { ...current, ...change };
    writeFileSync(path.join(directory, 'settings.json'), JSON.stringify(current));
  };
  set({});
  onTestFinished(async () => {
    await vi.waitFor(
      () => {
        const running = cluster.jobs().filter(({ stat }) => stat === 'RUN');
        for (const { sbatchd } of running) if (sbatchd !== undefined) kill(sbatchd);
        expect(running).toEqual([]);
      },
      { timeout: 60_000, interval: 100 },
    );
    const unforeseen = path.join(directory, 'unforeseen');
    expect(existsSync(unforeseen) ? readFileSync(unforeseen, 'utf8') : '').toBe('');
  }, 60_000);
  return { commands, cluster, set };
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch {
    // The job has ended.
  }
}
