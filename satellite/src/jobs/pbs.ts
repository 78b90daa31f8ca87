import { firstLine, run } from './command.ts';
import { type Attributes, parseQstat, qstatSeconds, qstatTime } from './qstat.ts';
import type { QueuedJob, Scheduler } from './scheduler.ts';

/** States of jobs in the queue, qstat(1B), in words that say the same to everybody. */
const inQueue: Readonly<Record<string, string>> = {
  Q: 'PENDING',
  W: 'PENDING',
  T: 'PENDING',
  H: 'PENDING',
  R: 'RUNNING',
  B: 'RUNNING',
  E: 'COMPLETING',
  S: 'SUSPENDED',
  U: 'SUSPENDED',
};

/** Every job in the queue. PBS knows no place in it that would say when a job's turn comes. */
export function queuedJobs(jobs: ReadonlyMap<string, Attributes>): QueuedJob[] {
  return [...jobs].flatMap(([id, attributes]) => {
    const { job_state: letter = '', comment } = attributes;
    const state = inQueue[letter];
    if (state === undefined) return [];
    const isWaiting = state === 'PENDING';
    return [
      {
        id,
        state,
        position: null,
        estimatedStart: isWaiting
          ? (qstatTime(attributes['estimated.start_time'])?.toISOString() ?? null)
          : null,
        reason: letter === 'H' ? 'JobHeld' : isWaiting ? (comment ?? null) : null,
      },
    ];
  });
}

/** Exit statuses of jobs that PBS killed for a limit (JOB_EXEC_KILL_… in job.h of OpenPBS 23). */
const limitsExceeded: Readonly<Record<number, string>> = {
  [-26]: 'OUT_OF_MEMORY',
  [-27]: 'OUT_OF_MEMORY',
  [-29]: 'TIMEOUT',
};

/** How a job ended; undefined while it hasn't. */
export function finalState(attributes: Attributes): string | undefined {
  if (attributes.job_state !== 'F') return undefined;
  // Deleted before it ran.
  if (attributes.Exit_status === undefined) return 'CANCELLED';
  const status = Number(attributes.Exit_status);
  if (status === 0) return 'COMPLETED';
  const overLimit = limitsExceeded[status];
  if (overLimit !== undefined) return overLimit;
  // Above 256: ended by a signal, which is how a deletion and the time limit come.
  if (status <= 256) return 'FAILED';
  const used = qstatSeconds(attributes['resources_used.walltime']);
  const limit = qstatSeconds(attributes['Resource_List.walltime']);
  return used !== undefined && limit !== undefined && used >= limit ? 'TIMEOUT' : 'CANCELLED';
}

const refused = (stderr: string, code: number | null) => ({
  ok: false as const,
  why: firstLine(stderr) || `qstat exited with ${code}`,
});

/** Every job ends with an empty line in the text of `qstat -f`, and JSON breaks only where there is a job. */
const isWhole = (text: string): boolean => text.endsWith('\n\n');

/** Bytes: with its environment, a job takes 3 kB and more. */
const maxOutput = 256 * 1024 * 1024;

export const pbs: Scheduler = {
  async queue(stop) {
    const asJson = await run('qstat', ['-f', '-F', 'json'], { stop, maxOutput });
    if (asJson.code !== 0) return refused(asJson.stderr, asJson.code);
    let jobs = parseQstat(asJson.stdout);
    if (jobs === undefined) {
      const asText = await run('qstat', ['-f'], { stop, maxOutput });
      if (asText.code !== 0) return refused(asText.stderr, asText.code);
      jobs = isWhole(asText.stdout) ? parseQstat(asText.stdout) : undefined;
    }
    // Without a state it is half a job.
    return jobs === undefined || [...jobs.values()].some(({ job_state }) => job_state === undefined)
      ? { ok: false, why: 'what qstat prints is neither JSON nor a whole list of jobs' }
      : { ok: true, jobs: queuedJobs(jobs) };
  },

  async finalState(id, stop) {
    const { code, stdout, stderr } = await run('qstat', ['-x', '-f', '-F', 'json', id], { stop });
    // 153: not known; 35: finished, and no history kept (the numbers differ between versions, the words don't).
    if (/Unknown Job Id|Job has finished/i.test(stderr)) return { ok: true, state: null };
    if (code !== 0) return refused(stderr, code);
    const [attributes] = parseQstat(stdout)?.values() ?? [];
    const state = attributes && finalState(attributes);
    // The history may lag behind the queue: it is asked again.
    return state === undefined ? { ok: false, why: `${id} has not ended` } : { ok: true, state };
  },
};
