import { setTimeout as pause } from 'node:timers/promises';

/** For a command to come to its end by itself. */
const GRACE_MS = 2000;

/**
 * Ends a command with everything that it has started: schedulers' commands are often wrapper scripts, whose children
 * would live on. SIGTERM first, SIGKILL for what is still there after 2 s. Never rejects.
 * @param leader process id of a command that was started as the leader of a group (`detached`)
 */
export async function endProcessGroup(leader: number): Promise<void> {
  signal(leader, 'SIGTERM');
  const until = performance.now() + GRACE_MS;
  while (signal(leader, 0)) {
    if (performance.now() >= until) {
      signal(leader, 'SIGKILL');
      return;
    }
    await pause(20);
  }
}

/** Is there anybody in the group who could be told? */
function signal(leader: number, what: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-leader, what);
  } catch {
    return false;
  }
}
