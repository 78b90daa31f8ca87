/** A job's processes as an execution host sees them: those of one session. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Signals one after the other, each followed by `interval` milliseconds, while there is somebody to hear them. */
export async function signals(
  session: number,
  names: readonly NodeJS.Signals[],
  interval: number,
): Promise<void> {
  for (const name of names) {
    signalSession(session, name);
    const deadline = Date.now() + interval;
    while (sessionProcesses(session).length > 0 && Date.now() < deadline) await sleep(50);
  }
}

export function signalSession(session: number, signal: NodeJS.Signals): void {
  for (const pid of sessionProcesses(session)) {
    try {
      process.kill(pid, signal);
    } catch {
      // It ended meanwhile.
    }
  }
}

/** Youngest first; see proc(5), /proc/PID/stat: state is the third field, the session the sixth. */
function sessionProcesses(session: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const [letter, , , id] = readFileSync(`/proc/${pid}/stat`, 'utf8')
          .replace(/^.*\) /s, '')
          .split(' ');
        return Number(id) === session && letter !== 'Z';
      } catch {
        return false;
      }
    })
    .sort((a, b) => b - a);
}
