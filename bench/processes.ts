import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** sysconf(_SC_CLK_TCK) is 100 on every Linux that Node runs on. */
const MS_PER_TICK = 10;

/** A process and all its descendants that live. */
function family(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean);
  return [pid, ...children.flatMap((child) => family(Number(child)))];
}

/**
 * CPU time that a process and its descendants have used so far, user and system, as the kernel counts it (proc(5));
 * milliseconds. The TCP stack's work in their system calls is in it. Descendants that have ended count from when their
 * parent has waited for them.
 */
export function cpuOf(pid: number): number {
  let ticks = 0;
  for (const one of family(pid)) {
    const stat = readFileSync(`/proc/${one}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // utime, stime, cutime and cstime are the 14th to the 17th field; the third was the first after the name.
    for (const field of fields.slice(11, 15)) ticks += Number(field);
  }
  return ticks * MS_PER_TICK;
}

/** Time that all processors have been busy so far, with whatever; milliseconds (proc(5): user, nice, system, irq, softirq, steal). */
function machineBusy(): number {
  const [total = ''] = readFileSync('/proc/stat', 'latin1').split('\n', 1);
  const [, user, nice, system, , , irq, softirq, steal] = total.split(/ +/).map(Number);
  const fields = [user, nice, system, irq, softirq, steal];
  return fields.reduce<number>((sum, field) => sum + (field ?? 0), 0) * MS_PER_TICK;
}

/** Begins to count what others than this process and its descendants use; the function ends it, and tells how many cores. */
export function watchOthers(): () => number {
  const [busy, own, started] = [machineBusy(), cpuOf(process.pid), performance.now()];
  return () => Math.max(0, machineBusy() - busy - (cpuOf(process.pid) - own)) / (performance.now() - started);
}

/** Resident memory of a process and its descendants, with what they share counted once (proc(5): Pss); bytes. */
export function memoryOf(pid: number): number {
  let kilobytes = 0;
  for (const one of family(pid)) {
    const rollup = readFileSync(`/proc/${one}/smaps_rollup`, 'latin1');
    kilobytes += Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1]);
  }
  return kilobytes * 1024;
}

/** How many files a process may have open at most: the hard limit (`ulimit -Hn`). */
export function openFilesLimit(): number {
  const limits = readFileSync('/proc/self/limits', 'latin1');
  return Number(/^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1]);
}

/** WebSockets: each takes two files, and an eighth of those that there can be is what satellite keeps for the rest of its work. */
export const heldWith = (files: number): number => Math.floor((files * 7) / 8 / 2) - 100;

/** The last processor for the proxy, the others for what surrounds it. With one alone they share it. */
const cores = availableParallelism();
const cpus = { proxy: String(cores - 1), others: cores > 1 ? `0-${cores - 2}` : '0' };

/** A command, started on the processor of the proxy or on the others, with as many files as there can be. */
export function placed(where: keyof typeof cpus, command: readonly string[]): [string, string[]] {
  const limit = openFilesLimit();
  return ['taskset', ['-c', cpus[where], 'prlimit', `--nofile=${limit}:${limit}`, ...command]];
}
