import { firstLine, run } from './command.ts';
import { type ListedJob, parseQacct, parseQstat, type Stage, stageOf } from './gridengine.ts';
import type { QueuedJob, Scheduler } from './scheduler.ts';

/**
 * In words that say the same to everybody: on their own, some letters mean something else elsewhere (PBS's T waits).
 * A job in error or on hold is said to be just that.
 */
const words: Readonly<Record<Exclude<Stage, 'finished' | 'unknown'>, string>> = {
  error: 'Eqw',
  held: 'hqw',
  waiting: 'PENDING',
  leaving: 'COMPLETING',
  suspended: 'SUSPENDED',
  running: 'RUNNING',
};

/**
 * Every job in the queue. Those that wait are listed in the order in which the scheduler considers them, whatever queue
 * they want; one with priority 0 can't start yet. Grid Engine estimates no start.
 */
export function queuedJobs(jobs: readonly ListedJob[]): QueuedJob[] {
  let considered = 0;
  return jobs.flatMap(({ id, state, priority }) => {
    const stage = stageOf(state);
    if (stage === 'finished') return [];
    const mayStart = stage === 'waiting' && priority > 0;
    if (mayStart) considered += 1;
    return [
      {
        id,
        // One that nobody has told us about is passed on as it is: it ends nothing.
        state: stage === 'unknown' ? state : words[stage],
        position: mayStart ? considered : null,
        estimatedStart: null,
        reason: null,
      },
    ];
  });
}

export const sge: Scheduler = {
  async queue(stop) {
    const { code, stdout, stderr } = await run('qstat', ['-u', '*', '-xml'], { stop });
    if (code !== 0) return { ok: false, why: complaint(stderr) ?? `qstat exited with ${code}` };
    const jobs = parseQstat(stdout);
    return jobs === undefined
      ? { ok: false, why: complaint(stderr) ?? 'what qstat prints is no list of jobs' }
      : { ok: true, jobs: queuedJobs(jobs) };
  },

  /** The accounting file knows; on hosts that can't read it, nobody does. Jobs deleted before they ran aren't in it. */
  async finalState(id, stop) {
    const [job = '', task] = id.split('.');
    // Anything else qacct would take for the name of a job.
    if (!/^\d+$/.test(job)) return { ok: true, state: null };
    const { code, stdout } = await run('qacct', ['-j', job, ...(task === undefined ? [] : ['-t', task])], {
      stop,
    });
    return { ok: true, state: code === 0 ? (parseQacct(stdout) ?? null) : null };
  },
};

/** What is wrong, without the line about the library that noticed. */
function complaint(stderr: string): string | undefined {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  const said = lines.find((line) => !line.includes('commlib error')) ?? lines[0];
  return said && firstLine(said).replace(/^(?:error|critical error): /, '');
}
