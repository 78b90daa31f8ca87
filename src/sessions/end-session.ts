/** Ends a session and sees it through: no job, no token, no secret. */
import os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { SchedulerError } from '../errors.ts';
import { schedulers } from '../schedulers/registry.ts';
import { localProcess } from './local-process.ts';
import { type Observation, observeSession } from './observe.ts';
import { withProxy } from './proxy.ts';
import { isOver, jobWords, type SessionRecord } from './session.ts';
import { readEvents, requestStop } from './store.ts';

/** Slurm gives a job 30 s between TERM and KILL by default; sites give more. */
const patience = 90_000;
/** Milliseconds for what the page says: the job goes on meanwhile. */
const announcePatience = 3000;

/**
 * Cancels a session's job and waits until it is gone, so that what the job cleans up is cleaned up.
 * @param reason for the person who looks at the page or at `status` later
 * @throws SchedulerError where the scheduler refuses, can't be reached, or the job doesn't end; where it runs without one on
 *   another machine
 */
export async function endSession(written: SessionRecord, reason: string): Promise<Observation> {
  const record = await withItsJob(written);
  if (record.outcome !== null) return observeSession(record);
  const { id, local } = record;
  if (local !== null && localProcess(record, local) === 'elsewhere') {
    const seen = await observeSession(record);
    if (isOver(seen.state)) return seen;
    throw local.host === os.hostname()
      ? new SchedulerError(
          `Session ${id} runs on ${local.host}, but not here: in another container, say, or on another machine of that name.`,
          `It can't be ended from here: type "start-jupyter stop ${id}" where it was started.`,
        )
      : new SchedulerError(
          `Session ${id} runs on ${local.host} itself, so it can't be ended from here.`,
          `Log in there and type "start-jupyter stop ${id}".`,
        );
  }
  try {
    requestStop(record.id, reason);
  } catch {
    // Only the words of the reason depend on it: a full disk must not keep a job running.
  }
  await announceEnd(record, reason);
  await cancel(record);

  const deadline = Date.now() + patience;
  for (let delay = 200; ; delay = Math.min(delay * 1.5, 2000)) {
    const seen = await observeSession(record);
    if (isOver(seen.state)) return seen;
    if (seen.job?.kind === 'unreachable')
      throw new SchedulerError(
        `The scheduler took the request and then stopped answering: ${seen.job.message}.`,
        `Look again with "start-jupyter status ${record.id}".`,
      );
    if (seen.job?.kind === 'elsewhere')
      throw new SchedulerError(
        `The scheduler of this machine does not know job ${jobWords(record)}, which was submitted from ${seen.job.host}.`,
        `Log in there and type "start-jupyter stop ${record.id}".`,
      );
    if (Date.now() > deadline)
      throw new SchedulerError(
        'The job was asked to end and still runs.',
        `Look again with "start-jupyter status ${record.id}".`,
      );
    await sleep(delay);
  }
}

/** Nothing can be cancelled while the launch that made the session has not heard of its job. */
async function withItsJob(record: SessionRecord): Promise<SessionRecord> {
  if (record.scheduler === 'none' || record.jobId !== null) return record;
  const seen = await observeSession(record);
  if (seen.record.jobId !== null || isOver(seen.state)) return seen.record;
  if (seen.phase === undefined)
    throw new SchedulerError(
      `Session ${record.id} has no job yet: its launch is submitting it, or was ended while it did.`,
      'Try again in a few minutes.',
    );
  throw new SchedulerError(
    `The job of session ${record.id} runs, and its launch was ended before it had heard which one that is.`,
    `"start-jupyter logs ${record.id}" tells at its beginning; end it with "${schedulers[record.scheduler].commands.at(-1)}".`,
  );
}

/**
 * Tells the waiting page why, before the scheduler's "cancelled" gets there. Only for a job that has not begun: one that
 * runs says it itself, from the host that the proxy takes it from.
 */
async function announceEnd(record: SessionRecord, reason: string): Promise<void> {
  if (readEvents(record.id).length > 0) return;
  await withProxy(
    record,
    (client, token) => client.reportPhase(token, 'ended', reason),
    AbortSignal.timeout(announcePatience),
  );
}

async function cancel(record: SessionRecord): Promise<void> {
  const { local } = record;
  if (record.scheduler === 'none' || record.jobId === null) {
    if (local !== null && localProcess(record, local) === 'runs') tellProcess(local.pid);
    return;
  }
  const outcome = await schedulers[record.scheduler].cancel(record.jobId, record.cluster);
  if (outcome.kind === 'unreachable')
    throw new SchedulerError(
      `The scheduler can't be reached: ${outcome.message}.`,
      `The job was not stopped. Try again in a minute: start-jupyter stop ${record.id}`,
    );
  if (outcome.kind === 'refused')
    throw new SchedulerError(
      `The scheduler refuses to stop job ${record.jobId}: ${outcome.message}.`,
      `It goes on. To try again: start-jupyter stop ${record.id}`,
    );
}

function tellProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
