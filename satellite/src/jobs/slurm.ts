import { firstLine, run } from './command.ts';
import type { QueueAnswer, Scheduler } from './scheduler.ts';

// Reasons can hold anything, so they come last.
const FORMAT = '%i|%T|%P|%Q|%S|%r';

/** The heading says that squeue has had its answer; wrappers may print a banner before it. */
const heading = /^JOBID\|/;
/** With SLURM_CLUSTERS in the environment, above each cluster's heading. */
const clusterName = /^CLUSTER: /;

/**
 * Reads `squeue --format=%i|%T|%P|%Q|%S|%r`. A list without its heading, with lines that are no jobs or with half a last
 * line is none: a job that is missing in it would be taken for one that has ended.
 */
export function parseQueue(output: string): QueueAnswer {
  const refused = (what = '') => ({
    ok: false as const,
    why: `what squeue prints is no list of jobs${what}`,
  });
  const rows: {
    id: string;
    state: string;
    partitions: string[];
    priority: number;
    start: string;
    reason: string;
  }[] = [];
  let isList = false;
  let unreadable = 0;
  for (const line of linesOf(output)) {
    if (heading.test(line)) isList = true;
    else if (isList && line !== '' && !clusterName.test(line)) {
      const match = /^([^|]+)\|([A-Z_]+)\|([^|]*)\|(\d*)\|([^|]*)\|(.*)$/.exec(line);
      const [, id = '', state = '', partitions = '', priority = '', start = '', reason = ''] = match ?? [];
      if (match === null) unreadable += 1;
      else
        rows.push({
          id,
          state,
          partitions: partitions.split(','),
          priority: Number(priority),
          start,
          reason,
        });
    }
  }
  if (!isList) return refused();
  if (unreadable > 0)
    return refused(`: ${unreadable} of its ${rows.length + unreadable} lines can't be read`);
  if (!output.endsWith('\n')) return refused(': it breaks off in the middle of a line');
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
  const jobs = rows.map(({ id, state, start, reason }) => ({
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
  return { ok: true, jobs };
}

/** One after the other: an array of them would take several times the memory of the text. */
function* linesOf(text: string): Generator<string> {
  for (let from = 0; from < text.length; ) {
    const end = text.indexOf('\n', from);
    yield text.slice(from, end === -1 ? undefined : end).trim();
    from = end === -1 ? text.length : end + 1;
  }
}

/** A job that is held or waits for another has no place in the queue. */
function mayStart(reason: string): boolean {
  return !/^(JobHeld|Dependency|BeginTime|BadConstraints|Invalid|Partition(Time|Node)Limit)/.test(reason);
}

function compareIds(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

export const slurm: Scheduler = {
  async queue(stop) {
    // --states=all also shows what ended within the controller's MinJobAge, with its final state.
    const { code, stdout, stderr } = await run(
      'squeue',
      ['--all', '--array', '--states=all', `--format=${FORMAT}`],
      { stop },
    );
    // Some versions exit with 0 when the controller doesn't answer.
    if (code !== 0 || /error/i.test(stderr))
      return { ok: false, why: firstLine(stderr) || `squeue exited with ${code}` };
    return parseQueue(stdout);
  },

  async finalState(id, stop) {
    const shown = await run('scontrol', ['--oneliner', 'show', 'job', id], { stop });
    const state = /\bJobState=(\S+)/.exec(shown.stdout)?.[1];
    if (shown.code === 0 && state !== undefined) return { ok: true, state };
    if (!/invalid job id/i.test(shown.stderr + shown.stdout)) {
      return { ok: false, why: firstLine(shown.stderr) || `scontrol exited with ${shown.code}` };
    }
    // Forgotten by the controller; the accounting may remember. Where there is none, nobody knows.
    const accounted = await run(
      'sacct',
      ['-X', '--noheader', '--parsable2', '--format=State', `--jobs=${id}`],
      { stop },
    );
    const final = accounted.code === 0 ? firstLine(accounted.stdout).split(' ', 1)[0] : '';
    return { ok: true, state: final || null };
  },
};
