import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** A process that can't be mistaken for a later one with the same number. */
export interface ProcessRecord {
  pid: number;
  /** Field 22 of /proc/PID/stat (proc(5)): clock ticks after boot. */
  started: string;
}

/** Start time of a process, or undefined when it is gone or a zombie. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command's name is in parentheses and may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** Remembers a running process; throws when it is already gone. */
export function record(pid: number): ProcessRecord {
  const started = startTime(pid);
  if (started === undefined) throw new Error(`process ${pid} has already ended`);
  return { pid, started };
}

/** Whether the recorded process still runs. */
export function isAlive(process: ProcessRecord): boolean {
  return startTime(process.pid) === process.started;
}

/** Reads a record written with {@link writeRecord}; undefined when there is none. */
export function readRecord(file: string): ProcessRecord | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as ProcessRecord;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Saves a record. */
export function writeRecord(file: string, process: ProcessRecord): void {
  writeFileSync(file, JSON.stringify(process), { mode: 0o600 });
}

/** Sends a signal to a recorded process; one that has ended is no error. */
export function signal(process: ProcessRecord, name: NodeJS.Signals): void {
  if (!isAlive(process)) return;
  try {
    globalThis.process.kill(process.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Polls until the condition holds; false when it does not within `timeout` ms. */
export async function until(condition: () => boolean | Promise<boolean>, timeout: number): Promise<boolean> {
  const end = Date.now() + timeout;
  for (;;) {
    if (await condition()) return true;
    if (Date.now() > end) return false;
    await delay(50);
  }
}

/**
 * Every process whose `/` is this directory, which is how the kernel knows the lab's processes, whoever started them
 * and whatever became of those.
 */
export function processesUnder(root: string): ProcessRecord[] {
  // mountinfo (proc_pid_mountinfo(5)) names the directory as the file system that it is on does.
  const name = root.split('/').slice(-2).join('/');
  const found: ProcessRecord[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const started = startTime(Number(entry));
    if (started && rootOf(entry).endsWith(`/${name}`)) found.push({ pid: Number(entry), started });
  }
  return found;
}

/** What is mounted as `/` for a process; empty when the process is gone. */
function rootOf(pid: string): string {
  try {
    const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split('\n');
    return mounts.map((line) => line.split(' ')).find((fields) => fields[4] === '/')?.[3] ?? '';
  } catch {
    return '';
  }
}
