import {
  bjobsFormats,
  endingOf,
  type Fields,
  lsfTime,
  noJobs,
  notFound,
  parseBjobs,
  rejectsField,
} from './bjobs.ts';
import { firstLine, type Ran, run } from './command.ts';
import type { QueuedJob, Scheduler } from './scheduler.ts';

const fields = 'jobid jobindex stat queue pend_reason exit_code exit_reason';

/** Words of bjobs(1) that mean the same as one of Slurm's; the others are passed on. */
const words: Readonly<Record<string, string>> = { PEND: 'PENDING', RUN: 'RUNNING' };

/**
 * Every job that LSF still knows. Those that wait are listed in the order in which they are considered, see "Default
 * display" in bjobs(1), queue by queue.
 */
export function queuedJobs(jobs: ReadonlyMap<string, Fields>, now = new Date()): QueuedJob[] {
  const waitingIn = new Map<string, number>();
  return [...jobs].map(([id, job]) => {
    const { STAT = '', QUEUE = '', PEND_REASON = '' } = job;
    const isWaiting = STAT === 'PEND';
    if (isWaiting) waitingIn.set(QUEUE, (waitingIn.get(QUEUE) ?? 0) + 1);
    return {
      id,
      state: endingOf(job) ?? words[STAT] ?? STAT,
      position: isWaiting ? (waitingIn.get(QUEUE) ?? null) : null,
      estimatedStart: isWaiting ? (lsfTime(job.ESTIMATED_SIM_START_TIME, now)?.toISOString() ?? null) : null,
      reason: (isWaiting && PEND_REASON.split(';')[0]?.trim()) || null,
    };
  });
}

const refused = ({ stdout, stderr, code }: Ran) => ({
  ok: false as const,
  why:
    firstLine(stderr) ||
    (code === 0
      ? `what bjobs prints is no list of jobs: ${firstLine(stdout).slice(0, 200)}`
      : `bjobs exited with ${code}`),
});

/** With estimates where this version has them. */
async function bjobs(
  options: readonly string[],
  ids: readonly string[],
  stop: AbortSignal | undefined,
): Promise<Ran> {
  const [withEstimate, without] = bjobsFormats(fields);
  const ask = (format: string) => run('bjobs', [...options, '-o', format, '-json', ...ids], { stop });
  const answer = await ask(withEstimate);
  return rejectsField(answer.code, answer.stderr) ? ask(without) : answer;
}

export const lsf: Scheduler = {
  async queue(stop) {
    const answer = await bjobs(['-a', '-u', 'all'], [], stop);
    if (answer.code !== 0 && noJobs.test(answer.stderr)) return { ok: true, jobs: [] };
    const parsed = answer.code === 0 ? parseBjobs(answer.stdout) : undefined;
    return parsed === undefined ? refused(answer) : { ok: true, jobs: queuedJobs(parsed.jobs) };
  },

  /** LSF forgets a job after CLEAN_PERIOD (lsb.params), an hour by default. */
  async finalState(id, stop) {
    if (!/^\d+$/.test(id)) return { ok: true, state: null };
    const answer = await bjobs(['-a'], [id], stop);
    const parsed = parseBjobs(answer.stdout);
    if (parsed?.unknown.includes(id) || notFound.test(answer.stderr)) return { ok: true, state: null };
    const job = parsed?.jobs.get(id);
    if (job === undefined) return refused(answer);
    const state = endingOf(job);
    return state === undefined ? { ok: false, why: `${id} has not ended` } : { ok: true, state };
  },
};
