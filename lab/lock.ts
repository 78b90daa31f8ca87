import { rmSync, writeFileSync } from 'node:fs';
import { LabError } from './errors.ts';
import type { Say } from './packages.ts';
import { isAlive, readRecord, record, until } from './processes.ts';

// Not in the state directory, which comes and goes under the lock.
const lockFile = '/run/start-jupyter-lab.lock';

/** Runs something while no other process changes the lab; waits up to ten minutes for its turn. */
export async function withLock(say: Say, work: () => Promise<void>): Promise<void> {
  if (!tryLock()) {
    say('waiting for another "up" or "down" of the lab');
    if (!(await until(tryLock, 600_000))) {
      throw new LabError(
        `another process has been busy with the lab for ten minutes; ${lockFile} says which one.`,
      );
    }
  }
  try {
    await work();
  } finally {
    rmSync(lockFile);
  }
}

function tryLock(): boolean {
  try {
    writeFileSync(lockFile, JSON.stringify(record(process.pid)), { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (!isHeld()) rmSync(lockFile, { force: true });
    return false;
  }
}

function isHeld(): boolean {
  try {
    const owner = readRecord(lockFile);
    return owner !== undefined && isAlive(owner);
  } catch {
    // Its owner is still writing it.
    return true;
  }
}
