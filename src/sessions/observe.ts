/** What a session is doing now: from what its job reported, what the scheduler says and, for reasons, what the proxy knows. */
import os from 'node:os';
import { type TunnelPlan, tunnelCommand } from '../access/ssh.ts';
import { type SubmittingScheduler, schedulers } from '../schedulers/registry.ts';
import { endedByItself, type JobReport } from '../schedulers/scheduler.ts';
import { localProcess } from './local-process.ts';
import { withProxy } from './proxy.ts';
import { isOver, type SessionRecord, type SessionReport, type SessionState } from './session.ts';
import {
  notedJobId,
  readEvents,
  readSecrets,
  removeRuntime,
  type SessionSecrets,
  sessionFiles,
  settle,
  stopReason,
  writeRecord,
} from './store.ts';

/** The scheduler of this machine doesn't know the job, which another machine submitted: nothing may be concluded from it. */
interface Elsewhere {
  readonly kind: 'elsewhere';
  readonly host: string;
}

export interface Observation {
  readonly record: SessionRecord;
  readonly state: SessionState;
  /** Why it is over. */
  readonly reason: string | undefined;
  /** The step that a starting session is at. */
  readonly phase: string | undefined;
  /** What the scheduler said this time; undefined where it wasn't asked. */
  readonly job: JobReport | Elsewhere | undefined;
  readonly secrets: SessionSecrets | undefined;
}

type Outcome = NonNullable<SessionRecord['outcome']>;

/** Observes several sessions, asking each scheduler once. Sessions found over are settled: no secret of them stays. */
export async function observe(written: readonly SessionRecord[]): Promise<Observation[]> {
  const records = await withTheirJobs(written);
  const reports = await jobReports(
    records.filter(({ id, outcome }) => outcome === null && !reportedOutcome(id)?.reason),
  );
  return Promise.all(records.map((record) => observeOne(record, reports.get(record.id))));
}

/** Observes one session. */
export async function observeSession(record: SessionRecord): Promise<Observation> {
  return ((await observe([record])) as [Observation])[0];
}

/** What is known of a session without asking its scheduler. */
export function observeFiles(record: SessionRecord): Promise<Observation> {
  return observeOne(record, undefined);
}

/** How long a launch may take from its record to its job's id: what a scheduler is given to answer, and some. */
const submissionSeconds = 300;

/** What becomes of a job that nobody knows of: without its session's secrets it ends at once. */
export const endsByItself = 'A job that was taken all the same ends by itself when it begins';

/**
 * A launch that was killed in the moment of its submission has left a session without a job's id. Where there is a job all the
 * same, Slurm finds it by its log (not if its script has directives of its own, which may name another); with the others it
 * says itself which it is, once it runs. Where nothing is heard of one for a while, nobody waits for it.
 */
async function withTheirJobs(written: readonly SessionRecord[]): Promise<SessionRecord[]> {
  const records = written.map((record) => {
    const jobId = isWithoutJob(record) ? notedJobId(record.id) : undefined;
    return jobId === undefined ? record : withJob(record, jobId);
  });
  const unfinished = records.filter((record) => isWithoutJob(record) && record.host === os.hostname());
  const queues = new Map(
    await Promise.all(
      [...new Set(unfinished.map(({ scheduler }) => scheduler as SubmittingScheduler))].map(
        async (name) => [name, await queueByLog(name)] as const,
      ),
    ),
  );
  return Promise.all(
    records.map(async (record) => {
      const queue = unfinished.includes(record) && queues.get(record.scheduler as SubmittingScheduler);
      if (!queue) return record;
      const jobId = queue.jobs.get(sessionFiles(record.id).log);
      if (jobId !== undefined) return withJob(record, jobId);
      const isRecent = Date.now() - Date.parse(record.submittedAt) < submissionSeconds * 1000;
      if (isRecent || readEvents(record.id).length > 0) return record;
      const reason = queue.isWhole
        ? 'The launch was ended before it had submitted the job.'
        : `The launch was ended before it had heard of a job. ${endsByItself}.`;
      return settle(
        record,
        await closeAtProxy(record, { state: 'failed', reason, at: new Date().toISOString() }),
      );
    }),
  );
}

function isWithoutJob({ jobId, local, scheduler, outcome }: SessionRecord): boolean {
  return jobId === null && local === null && scheduler !== 'none' && outcome === null;
}

function withJob(record: SessionRecord, jobId: string): SessionRecord {
  const found = { ...record, jobId };
  writeRecord(found);
  return found;
}

interface QueueByLog {
  readonly jobs: ReadonlyMap<string, string>;
  /** A job that is not among them is not in the queue. */
  readonly isWhole: boolean;
}

/** Undefined while the scheduler can't be reached. */
async function queueByLog(name: SubmittingScheduler): Promise<QueueByLog | undefined> {
  const scheduler = schedulers[name];
  if (scheduler.jobsByLog === undefined) return { jobs: new Map(), isWhole: false };
  const jobs = await scheduler.jobsByLog();
  return jobs && { jobs, isWhole: true };
}

/** By session: job ids are unique in one cluster only. */
async function jobReports(
  records: readonly SessionRecord[],
): Promise<ReadonlyMap<string, JobReport | Elsewhere>> {
  const reports = new Map<string, JobReport | Elsewhere>();
  const queues = Map.groupBy(records, ({ scheduler, cluster = '' }) => `${scheduler} ${cluster}`);
  await Promise.all(
    [...queues.values()].map(async (group) => {
      const [{ scheduler, cluster }] = group as [SessionRecord];
      if (scheduler === 'none') return;
      const jobIds = group.map(({ jobId }) => jobId).filter((jobId) => jobId !== null);
      const byJob = await schedulers[scheduler].jobs(jobIds, cluster);
      for (const record of group) {
        // One that has begun and never said which it is, too, is not waited for for ever.
        const withoutId: JobReport | undefined = isLongOver(record) ? { kind: 'unknown' } : undefined;
        const report = record.jobId === null ? withoutId : byJob.get(record.jobId);
        if (report !== undefined)
          reports.set(record.id, report.kind === 'unknown' ? unknownHere(record) : report);
      }
    }),
  );
  return reports;
}

/** Several clusters may share a home: only where a job was submitted does it mean something that nobody knows it. */
function unknownHere(record: SessionRecord): JobReport | Elsewhere {
  const { host = os.hostname() } = record;
  return host === os.hostname() || isLongOver(record) ? { kind: 'unknown' } : { kind: 'elsewhere', host };
}

function isLongOver(record: SessionRecord): boolean {
  const limit = limitReachedAt(record);
  return limit !== undefined && Date.now() - limit.getTime() > 24 * 3600_000;
}

async function observeOne(record: SessionRecord, job: Observation['job']): Promise<Observation> {
  const reported = reportedOutcome(record.id);
  const outcome =
    record.outcome ??
    (reported && withSchedulersReason(reported, job)) ??
    (await outcomeWithoutReport(record, job));
  if (outcome !== undefined) {
    const isFinal = reported?.reason !== '' || job?.kind === 'ended' || job?.kind === 'unknown';
    return {
      record: record.outcome === null && isFinal ? settle(record, outcome) : record,
      state: outcome.state,
      reason: outcome.reason,
      phase: undefined,
      job,
      secrets: undefined,
    };
  }
  const phase = readEvents(record.id).at(-1)?.phase;
  return {
    record,
    state: liveState(phase, job),
    reason: undefined,
    phase,
    job,
    secrets: readSecrets(record.id),
  };
}

/** The end that the job itself reported. */
function reportedOutcome(id: string): Outcome | undefined {
  const end = readEvents(id).find(({ phase }) => phase === 'ended' || phase === 'failed');
  return end && { state: end.phase as Outcome['state'], reason: end.reason, at: end.at.toISOString() };
}

/**
 * A job that was told to end by its scheduler can't know why (cancelled, preempted, the node drained): it reports no
 * reason, and the scheduler's own is taken as soon as it says that the job has ended.
 */
function withSchedulersReason(reported: Outcome, job: Observation['job']): Outcome {
  if (reported.reason !== '') return reported;
  // Some see no more than that the script ended, as it does when it is told to.
  if (job?.kind !== 'ended' || job.reason === endedByItself)
    return { ...reported, reason: 'The job was cancelled.' };
  return { ...reported, state: job.failed ? 'failed' : 'ended', reason: job.reason };
}

/** A job that is gone without having reported its end: it never ran, was killed, or could not write. */
async function outcomeWithoutReport(
  record: SessionRecord,
  job: Observation['job'],
): Promise<Outcome | undefined> {
  const at = new Date().toISOString();
  if (record.local !== null) {
    if (localProcess(record, record.local) !== 'gone') return undefined;
    removeRuntime(record.id);
    return closeAtProxy(record, {
      state: 'failed',
      reason: 'It was ended without a chance to clean up.',
      at,
    });
  }
  if (job?.kind !== 'ended' && job?.kind !== 'unknown') return undefined;
  // The job may have reported between our two looks.
  const reported = reportedOutcome(record.id);
  if (reported !== undefined) return withSchedulersReason(reported, job);
  const requested = stopReason(record.id);
  if (requested !== undefined) return closeAtProxy(record, { state: 'ended', reason: requested, at });
  if (job.kind === 'unknown')
    return closeAtProxy(record, {
      state: 'ended',
      reason: 'The scheduler does not know the job any more.',
      at,
    });
  return closeAtProxy(record, { state: job.failed ? 'failed' : 'ended', reason: job.reason, at });
}

/**
 * Tells the proxy how a session ended that could not tell it itself, and gives the token back. What the job reported
 * there (it may have had nowhere else to write) is the truer story. A link that is kept stays.
 */
async function closeAtProxy(record: SessionRecord, outcome: Outcome): Promise<Outcome> {
  if (record.keptLink !== undefined) return outcome;
  const told = await withProxy<Outcome | undefined>(record, async (client, token) => {
    const status = await client.tokenStatus(token.token);
    const state = status?.phase === 'ended' || status?.phase === 'failed' ? status.phase : undefined;
    if (state === undefined) await client.reportPhase(token, outcome.state, outcome.reason);
    await client.destroyToken(token);
    return state && { state, reason: status?.reason ?? outcome.reason, at: outcome.at };
  });
  return told ?? outcome;
}

/** Whether Jupyter answers, as the phase that the job reported last tells; `connected` comes after a tunnel's first visitor. */
export function isReady(phase: string | undefined): boolean {
  return phase === 'ready' || phase === 'connected';
}

function liveState(phase: string | undefined, job: Observation['job']): SessionState {
  if (isReady(phase)) return 'ready';
  if (phase !== undefined) return 'starting';
  if (job?.kind === 'running') return 'starting';
  return job?.kind === 'queued' ? 'queued' : 'submitted';
}

/** The link for the browser: the one place where the Jupyter token is put into words, unless the proxy adds it itself. */
function sessionUrl({ gated }: SessionRecord, { site, jupyterToken }: SessionSecrets): string {
  const url = new URL(site);
  if (gated) return url.href;
  url.searchParams.set('token', jupyterToken);
  return url.href;
}

export function sessionReport({ record, state, reason, job, secrets }: Observation): SessionReport {
  const files = sessionFiles(record.id);
  return {
    id: record.id,
    system: record.system,
    scheduler: record.scheduler,
    access: record.access,
    jobId: record.jobId,
    ...(record.cluster === undefined ? {} : { cluster: record.cluster }),
    url: secrets === undefined || isOver(state) ? null : sessionUrl(record, secrets),
    ...(record.tunnel === undefined ? {} : tunnelReport(record.tunnel, state, secrets)),
    state,
    directory: record.directory,
    script: files.script,
    log: files.log,
    submittedAt: record.submittedAt,
    expiresAt: isOver(state) ? null : expiresAt(record, job),
    ...(reason === undefined ? {} : { reason }),
  };
}

function tunnelReport(
  plan: TunnelPlan,
  state: SessionState,
  secrets: SessionSecrets | undefined,
): Pick<SessionReport, 'tunnel' | 'jupyter'> {
  const address = isOver(state) ? undefined : secrets?.address;
  if (address === undefined) return { tunnel: null, jupyter: null };
  const reachedFrom = plan.throughNode ? 'node' : 'login';
  return { tunnel: tunnelCommand(plan, address), jupyter: { ...address, reachedFrom } };
}

function expiresAt(record: SessionRecord, job: Observation['job']): string | null {
  if (job?.kind === 'running' && job.endsAt !== undefined) return job.endsAt.toISOString();
  return limitReachedAt(record)?.toISOString() ?? null;
}

/** When the time limit ends a job that has begun. */
function limitReachedAt({ id, timeLimit }: SessionRecord): Date | undefined {
  const started = readEvents(id)[0]?.at;
  return started === undefined || timeLimit === null
    ? undefined
    : new Date(started.getTime() + timeLimit * 1000);
}
