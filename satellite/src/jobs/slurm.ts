import { firstLine, run } from './command.ts';
import type { QueuedJob, Scheduler } from './scheduler.ts';

// Reasons can hold anything, so they come last.
const FORMAT = '%i|%T|%P|%Q|%S|%r';

/** Reads `squeue --format=%i|%T|%P|%Q|%S|%r`. Lines that aren't jobs (banners of wrappers) are passed over. */
export function parseQueue(output: string): QueuedJob[] {
  const rows: {
    id: string;
    state: string;
    partitions: string[];
    priority: number;
    start: string;
    reason: string;
  }[] = [];
  for (const line of output.split('\n')) {
    const match = /^([^|]+)\|([A-Z_]+)\|([^|]*)\|(\d*)\|([^|]*)\|(.*)$/.exec(line.trim());
    if (!match) continue;
    const [, id = '', state = '', partitions = '', priority = '', start = '', reason = ''] = match;
    rows.push({ id, state, partitions: partitions.split(','), priority: Number(priority), start, reason });
  }
  const positions = new Map<string, number>();
  const ahead = new Map<string, number>();
  const waiting = rows.filter(({ state, reason }) => state === 'PENDING' && mayStart(reason));
  for (const row of waiting.toSorted((a, b) => b.priority - a.priority || compareIds(a.id, b.id))) {
    const places = row.partitions.map((partition) => {
      const place = (ahead.get(partition) ?? 0) + 1;
      ahead.set(partition, place);
      return place;
    });
    positions.set(row.id, Math.min(...places));
  }
  return rows.map(({ id, state, start, reason }) => ({
    id,
    state,
    position: positions.get(id) ?? null,
    estimatedStart:
      state === 'PENDING' &&
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/.test(start) &&
      !Number.isNaN(Date.parse(`${start}Z`))
        ? `${start}Z`
        : null,
    reason: reason === '' || reason === 'None' ? null : reason,
  }));
}

/** A job that is held or waits for another has no place in the queue. */
function mayStart(reason: string): boolean {
  return !/^(JobHeld|Dependency|BeginTime|BadConstraints|Invalid|Partition(Time|Node)Limit)/.test(reason);
}

function compareIds(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

export const slurm: Scheduler = {
  async queue() {
    // --states=all also shows what ended within the controller's MinJobAge, with its final state.
    const { code, stdout, stderr } = await run('squeue', [
      '--all',
      '--array',
      '--states=all',
      '--noheader',
      `--format=${FORMAT}`,
    ]);
    // Some versions exit with 0 when the controller doesn't answer.
    if (code !== 0 || /error/i.test(stderr))
      return { ok: false, why: firstLine(stderr) || `squeue exited with ${code}` };
    return { ok: true, jobs: parseQueue(stdout) };
  },

  async finalState(id) {
    const shown = await run('scontrol', ['--oneliner', 'show', 'job', id]);
    const state = /\bJobState=(\S+)/.exec(shown.stdout)?.[1];
    if (shown.code === 0 && state !== undefined) return { ok: true, state };
    if (!/invalid job id/i.test(shown.stderr + shown.stdout)) {
      return { ok: false, why: firstLine(shown.stderr) || `scontrol exited with ${shown.code}` };
    }
    // Forgotten by the controller; the accounting may remember. Where there is none, nobody knows.
    const accounted = await run('sacct', [
      '-X',
      '--noheader',
      '--parsable2',
      '--format=State',
      `--jobs=${id}`,
    ]);
    const final = accounted.code === 0 ? firstLine(accounted.stdout).split(' ', 1)[0] : '';
    return { ok: true, state: final || null };
  },
};
