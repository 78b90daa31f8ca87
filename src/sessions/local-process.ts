/** The process of a session without a scheduler, which has a number that others have before and after it. */

import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import type { SessionRecord } from './session.ts';
import { listSessions, removeRuntime, sessionFiles } from './store.ts';

/** Whether it is still that process. On another machine nobody can tell. */
export function localProcess(
  id: string,
  { host, pid }: NonNullable<SessionRecord['local']>,
): 'runs' | 'gone' | 'elsewhere' {
  // By the script's name, which no other session has: this machine may have got another name since.
  if (commandLineOf(pid).includes(sessionFiles(id).script)) return 'runs';
  if (host !== os.hostname()) return 'elsewhere';
  // Without /proc (macOS) the number has to do.
  return !existsSync('/proc/self') && isTaken(pid) ? 'runs' : 'gone';
}

/** Empty where there is none, or it can't be seen. */
function commandLineOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** Does a process of this user have the number? */
function isTaken(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** What sessions that were killed on this host have left in /tmp; they themselves are settled by who asks after them. */
export function removeRuntimesOfKilled(): void {
  for (const { id, local, outcome } of listSessions())
    if (local !== null && outcome === null && localProcess(id, local) === 'gone') removeRuntime(id);
}
