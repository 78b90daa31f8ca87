/** The process of a session without a scheduler, which has a number that others have before and after it. */

import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import os from 'node:os';
import type { SessionRecord } from './session.ts';
import { listSessions, removeRuntime, sessionFiles } from './store.ts';

type LocalProcess = NonNullable<SessionRecord['local']>;

/**
 * Where process numbers mean what they mean here: containers may share a host name and a home with the machine that they are on,
 * and machines with one another. From random(4) and pid_namespaces(7); empty elsewhere than on Linux.
 */
export function processSpace(): Pick<LocalProcess, 'boot' | 'pidNamespace'> {
  try {
    return {
      boot: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
      pidNamespace: readlinkSync('/proc/self/ns/pid'),
    };
  } catch {
    return {};
  }
}

/** Whether it is still that process. On another machine, or in another container, nobody can tell. */
export function localProcess(
  { id, submittedAt }: Pick<SessionRecord, 'id' | 'submittedAt'>,
  { host, pid, boot, pidNamespace }: LocalProcess,
): 'runs' | 'gone' | 'elsewhere' {
  const here = processSpace();
  const isNoted = boot !== undefined && pidNamespace !== undefined && here.boot !== undefined;
  if (isNoted && pidNamespace !== here.pidNamespace) return 'elsewhere';
  if (isNoted && boot !== here.boot) {
    // This machine after a restart, or another one of the same name, which was running already.
    const startedAt = Date.now() - os.uptime() * 1000;
    return host === os.hostname() && startedAt > Date.parse(submittedAt) ? 'gone' : 'elsewhere';
  }
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
  for (const record of listSessions()) {
    const { id, local, outcome } = record;
    if (local !== null && outcome === null && localProcess(record, local) === 'gone') removeRuntime(id);
  }
}
