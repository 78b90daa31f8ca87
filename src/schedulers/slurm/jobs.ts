/** What sbatch(1), squeue(1), sacct(1) and scancel(1) say of jobs. */
import { type CommandOutput, lines, withoutJob } from '../command.ts';
import { type CancelOutcome, endedByItself, type JobReport, type SubmitOutcome } from '../scheduler.ts';
import { complaint, epoch, unreachablePattern } from './command.ts';
import { aboutOf } from './refusals.ts';

/**
 * The job id is the last line's first field, after login banners; `;cluster` follows where one was named. A site's wrapper
 * may know nothing of --parsable.
 */
export function parseSubmit(output: CommandOutput): SubmitOutcome {
  const answer = lines(output.stdout).at(-1) ?? '';
  const [, jobId, cluster] =
    /^(\d+)(?:;(.*))?$/.exec(answer) ?? /^Submitted batch job (\d+)(?: on cluster (.*))?$/.exec(answer) ?? [];
  if (output.exitCode === 0 && jobId !== undefined)
    return { kind: 'submitted', jobId, ...(cluster ? { cluster } : {}) };
  // Where sbatch itself complains, the digits are a banner's. Otherwise a site's wrapper has failed after the submission.
  if (jobId !== undefined && !/^sbatch: error: /m.test(output.stderr)) {
    const problem = complaint({ ...output, stdout: '' });
    return { kind: 'unclear', message: `sbatch names job ${jobId}, and fails: ${problem}`, jobId };
  }
  const message = complaint(output);
  if (output.exitCode === 0 || output.killed !== undefined)
    return { kind: 'unclear', message: withoutJob('sbatch', output, message) };
  return unreachablePattern.test(output.stderr) || output.exitCode === undefined
    ? { kind: 'unreachable', message }
    : { kind: 'rejected', message, about: aboutOf(message) };
}

export function parseQueue(
  output: CommandOutput,
): { kind: 'jobs'; jobs: Map<string, JobReport> } | { kind: 'unreachable'; message: string } {
  // Some versions exit 0 on an error, and a job that isn't known any more is an error of its own.
  if (/Invalid job id specified/i.test(output.stderr)) return { kind: 'jobs', jobs: new Map() };
  if (output.exitCode !== 0 || unreachablePattern.test(output.stderr))
    return { kind: 'unreachable', message: complaint(output) };
  const jobs = lines(output.stdout).flatMap((line): [string, JobReport][] => {
    const [id, state, reason, start, end, node] = line.split('|');
    return id === undefined || state === undefined ? [] : [[id, jobReport(state, reason, start, end, node)]];
  });
  return { kind: 'jobs', jobs: new Map(jobs) };
}

function jobReport(
  state: string,
  reason: string | undefined,
  start: string | undefined,
  end: string | undefined,
  node: string | undefined,
): JobReport {
  const ending = endings[stateWord(state)];
  if (ending !== undefined) return { kind: 'ended', ...ending };
  if (/^(PENDING|CONFIGURING|REQUEUED|REQUEUE_HOLD|SPECIAL_EXIT|RESV_DEL_HOLD)$/.test(state)) {
    return {
      kind: 'queued',
      reason: reason === 'None' || !reason ? undefined : reason,
      estimatedStart: epoch(start),
    };
  }
  return { kind: 'running', node: node || undefined, startedAt: epoch(start), endsAt: epoch(end) };
}

/**
 * The jobs that have ended, `7|CANCELLED by 1000` each; none where there is no accounting. Where ids have begun anew, the last
 * of several jobs is the latest.
 */
export function parseAccounting(output: CommandOutput): Map<string, JobReport> {
  if (output.exitCode !== 0) return new Map();
  return new Map(
    lines(output.stdout).flatMap((line): [string, JobReport][] => {
      const [id = '', state = ''] = line.split('|');
      const ending = endings[stateWord(state)];
      return ending === undefined ? [] : [[id, { kind: 'ended', ...ending }]];
    }),
  );
}

export function parseCancel(output: CommandOutput): CancelOutcome {
  if (/Invalid job id|Job\/step already complet/i.test(output.stderr)) return { kind: 'gone' };
  if (unreachablePattern.test(output.stderr) || output.exitCode === undefined)
    return { kind: 'unreachable', message: complaint(output) };
  return output.exitCode === 0 ? { kind: 'cancelled' } : { kind: 'refused', message: complaint(output) };
}

/** How a job in an ended state ended; both of Slurm's spellings, see "JOB STATE CODES" in squeue(1). */
const endings: Record<string, { readonly failed: boolean; readonly reason: string } | undefined> = {
  COMPLETED: { failed: false, reason: endedByItself },
  CANCELLED: { failed: false, reason: 'The job was cancelled.' },
  TIMEOUT: { failed: false, reason: 'The time limit was reached.' },
  DEADLINE: { failed: true, reason: 'The job could not start before its deadline.' },
  FAILED: { failed: true, reason: 'The job failed.' },
  OUTOFMEMORY: { failed: true, reason: 'The job ran out of memory. Ask for more with -m.' },
  NODEFAIL: { failed: true, reason: 'The compute node failed.' },
  BOOTFAIL: { failed: true, reason: 'The compute node could not boot.' },
  LAUNCHFAILED: { failed: true, reason: 'Slurm could not start the job on the compute node.' },
  RECONFIGFAIL: { failed: true, reason: 'The compute node could not be set up.' },
  PREEMPTED: { failed: true, reason: 'The job had to make way for one of higher priority.' },
  REVOKED: { failed: true, reason: 'The job was revoked.' },
};

function stateWord(state: string): string {
  return (state.split(' ')[0] ?? '').replaceAll('_', '').replace(/\+$/, '');
}
