/** A launch as a batch job: token, session, submission, and, with `--wait`, the way until the site answers. */
import { openAccess } from '../access/open.ts';
import type { SatelliteClient } from '../access/satellite.ts';
import { InterruptedError, PersonError, SchedulerError, SessionError } from '../errors.ts';
import { pause, unlessAborted } from '../interruption.ts';
import { checkWithScheduler } from '../preflight.ts';
import { endCommands } from '../schedulers/command.ts';
import { type SubmittingScheduler, schedulers } from '../schedulers/registry.ts';
import type { JobScript, Scheduler, SubmitOutcome } from '../schedulers/scheduler.ts';
import { endSession } from '../sessions/end-session.ts';
import {
  endsByItself,
  isReady,
  type Observation,
  observeFiles,
  observeSession,
  sessionReport,
} from '../sessions/observe.ts';
import { isOver, jobWords, type SessionRecord } from '../sessions/session.ts';
import {
  flushRecord,
  readEvents,
  readSecrets,
  type SessionEvent,
  type SessionSecrets,
  sessionFiles,
  writeRecord,
} from '../sessions/store.ts';
import { describe } from '../ui/describe.ts';
import { formatDuration } from '../values.ts';
import { type Launch, prepareSession, siteAnswers, untilReported, visitorHasCome } from './launch.ts';
import { presentSession } from './print-session.ts';
import { aboutOptions } from './refusal.ts';

/** Milliseconds after an interruption in which the scheduler may say which job it has taken, so that it can be cancelled. */
const submitGrace = 10_000;
/** … and in which it may then say whether one is in its queue. */
const lookPatience = 10_000;
/** … and in which the proxy may still take the number. */
const linkGrace = 2000;

/** @returns the exit code */
export async function launchJob(launch: Launch, schedulerArguments: readonly string[]): Promise<number> {
  const { spec, settings, progress, interrupted } = launch;
  const scheduler = schedulers[spec.system.scheduler as SubmittingScheduler];
  progress.status(`Asking ${scheduler.title} what is there`);
  const checked = checkWithScheduler(spec, settings, scheduler, scheduler.clusters?.(schedulerArguments));
  // Until somebody waits for it below.
  checked.catch(() => {});

  await using undo = new AsyncDisposableStack();
  undo.defer(endCommands);
  const announce = () => progress.status('Interrupted; ending what was begun');
  interrupted.addEventListener('abort', announce);
  const access = await openAccess(spec, launch);
  undo.defer(() => access.close());
  const script = Promise.withResolvers<JobScript>();
  const submission = Promise.withResolvers<SubmitOutcome>();
  submission.promise.catch(() => {});
  const prepared = await prepareSession(launch, access, undo, checked, () =>
    submission.resolve(scheduler.submit(script.promise, schedulerArguments)),
  );
  const { client } = prepared;

  progress.status(`Submitting the job to ${scheduler.title}`);
  script.resolve(prepared.script);
  const submitted = unlessAborted(submission.promise, interrupted, submitGrace);
  const outcome = await submitted.catch(async (error: unknown): Promise<SubmitOutcome> => {
    if (!interrupted.aborted) throw error;
    await endCommands();
    const jobId = await unheardJob(scheduler, prepared.record);
    if (jobId !== undefined) return { kind: 'submitted', jobId };
    throw new InterruptedError(`Interrupted before ${scheduler.title} had answered. ${endsByItself}.`);
  });
  if (outcome.kind === 'rejected')
    throw new SchedulerError(
      `${scheduler.title} refuses the job: ${outcome.message}.`,
      `${aboutOptions(outcome.about ?? [], settings, schedulerArguments)}Nothing was submitted. "--dry-run" shows the script with its directives.`,
    );
  if (outcome.kind === 'unclear')
    throw new SchedulerError(
      `Whether ${scheduler.title} has taken the job is unclear: ${outcome.message}.`,
      `No session was started. ${outcome.jobId === undefined ? '' : `To end that job: ${scheduler.commands.at(-1)} ${outcome.jobId}. `}${endsByItself}. Ask your site what it means.`,
    );
  if (outcome.kind === 'unreachable')
    throw new SchedulerError(
      `${scheduler.title} can't be reached: ${outcome.message}.`,
      `No session was started. ${endsByItself}. Try again in a few minutes.`,
    );

  // From here on a job has the token: the session is ended as a session, no longer unmade step by step.
  const { jobId, cluster } = outcome;
  const record: SessionRecord = { ...prepared.record, jobId, ...(cluster === undefined ? {} : { cluster }) };
  undo.move();
  try {
    writeRecord(record, { flush: false });
    interrupted.throwIfAborted();
    const wait = settings.wait?.value || undefined;
    // A tunnel's command can't be told before Jupyter is somewhere.
    const isShownNow = wait === undefined && client !== undefined;
    // Nobody has to wait for the link until the proxy knows of the job.
    if (isShownNow) {
      await presentSubmitted(launch, record);
      interrupted.removeEventListener('abort', announce);
    }
    // For a power cut alone: the link need not wait for the disk.
    flushRecord(record.id);
    if (client !== undefined) await linkJob(client, record, launch);
    // Whoever has the link has a session.
    if (isShownNow) return 0;
    interrupted.throwIfAborted();
    if (client === undefined) progress.note(`Session ${record.id} is job ${jobWords(record)}.`);
    const seconds = wait === true ? undefined : wait;
    const ready = await unlessAborted(waitUntilReady(launch, record, client, seconds), interrupted);
    await presentSession(launch, ready, 'Jupyter is ready:');
    if (client === undefined && wait !== undefined) await waitForVisitor(launch, record, seconds);
    return 0;
  } catch (error) {
    if (error instanceof SessionOver) throw sessionError(error.seen);
    progress.status('Ending the job again');
    const reason = interrupted.aborted
      ? 'The launch was interrupted.'
      : error instanceof PersonError
        ? error.message
        : 'The launch did not work out.';
    const report = sessionReport(await endJob(record, reason));
    if (error instanceof PersonError) error.report = report;
    throw error;
  } finally {
    await client?.close();
    await endCommands();
  }
}

/** The job that a scheduler has taken without having said so. */
async function unheardJob(scheduler: Scheduler, { id }: SessionRecord): Promise<string | undefined> {
  const jobs = await scheduler.jobsByLog?.(lookPatience);
  return jobs?.get(sessionFiles(id).log);
}

/** @throws SchedulerError, with the session that is left, where it can't be ended */
async function endJob(record: SessionRecord, reason: string): Promise<Observation> {
  try {
    return await endSession(record, reason);
  } catch (error) {
    if (error instanceof PersonError) error.report = sessionReport(await observeFiles(record));
    throw error;
  }
}

async function presentSubmitted(launch: Launch, record: SessionRecord): Promise<void> {
  // What the scheduler says of a job that it took a moment ago is for programs that read the object.
  const seen = await (launch.output.json ? observeSession(record) : observeFiles(record));
  if (isOver(seen.state)) throw new SessionOver(seen);
  launch.interrupted.throwIfAborted();
  await presentSession(
    launch,
    seen,
    `Submitted as job ${jobWords(record)}. The page at this link shows how it goes, and turns into Jupyter:`,
  );
}

/** Without the link the waiting page knows less; that is no reason to give the job up, or to wait once it is to end. */
async function linkJob(
  client: SatelliteClient,
  { id, jobId, cluster }: SessionRecord,
  { progress, interrupted }: Launch,
): Promise<void> {
  const token = readSecrets(id)?.proxyToken;
  if (jobId === null || token === undefined) return;
  if (cluster !== undefined) {
    // An id is unique in one cluster only: news of another job would be taken for news of this one.
    progress.note(`The waiting page will not show the queue of another cluster: ${cluster}.`);
    return;
  }
  try {
    await unlessAborted(client.linkJob(token, jobId), interrupted, linkGrace);
  } catch (error) {
    if (!(error instanceof PersonError)) throw error;
    if (!interrupted.aborted) progress.note(`The waiting page will not show the queue: ${error.message}`);
  }
}

/** Thrown inside the wait when the session ended by itself. */
class SessionOver extends Error {
  readonly seen: Observation;
  constructor(seen: Observation) {
    super(seen.reason);
    this.seen = seen;
  }
}

function sessionError(seen: Observation): SessionError {
  const what = seen.state === 'failed' ? 'failed' : 'ended before it was ready';
  return new SessionError(
    `The session ${what}: ${seen.reason}`,
    `See the log: start-jupyter logs ${seen.record.id}`,
    sessionReport(seen),
  );
}

/** When the job said that Jupyter answers. */
function readySince(reported: readonly SessionEvent[]): number {
  return reported.find(({ phase }) => phase === 'ready')?.at.getTime() ?? Date.now();
}

/** Jupyter answers on its node, and from here it can't be reached, so that no tunnel from here could either. */
function unreachableNode({ system }: SessionRecord, secrets: SessionSecrets | undefined): SessionError {
  const { address, port, node } = secrets?.address ?? {};
  return new SessionError(
    `Jupyter answers on ${node ?? 'its node'}, but this machine can't reach it there (${address}, port ${port}), so the job was ended.`,
    `If compute nodes take ssh, say "systems: { ${system}: { ssh: { computeNodes: true } } }" in ~/.config/start-jupyter/config.yaml; if they have another address for this machine, nodeAddress (docs/access.md).`,
  );
}

/** Stays until somebody with the token has come through the tunnel. */
async function waitForVisitor(
  { progress, interrupted }: Launch,
  record: SessionRecord,
  seconds: number | undefined,
): Promise<void> {
  const started = Date.now();
  while (!visitorHasCome(record.id)) {
    progress.status('Waiting for the first visit through the tunnel. Ctrl-C ends the session');
    const seen = await observeSession(record);
    if (isOver(seen.state)) throw new SessionOver(seen);
    if (seconds !== undefined && Date.now() - started > seconds * 1000)
      throw new SessionError(
        `Nobody came through the tunnel within ${formatDuration(seconds)}, so the job was ended.`,
        'Wait longer (-w 2h), or leave --wait out.',
      );
    await untilReported(record.id, interrupted, 15_000);
  }
  progress.note('The tunnel works.');
}

/** The job reports through a file: cheap to look at. The scheduler is asked less and less often. */
async function waitUntilReady(
  launch: Launch,
  record: SessionRecord,
  client: SatelliteClient | undefined,
  seconds: number | undefined,
): Promise<Observation> {
  const { progress, interrupted } = launch;
  const started = Date.now();
  let askSchedulerEvery = 2000;
  let askedSchedulerAt = 0;
  let events = -1;
  for (;;) {
    const now = Date.now();
    const reported = readEvents(record.id);
    if (reported.length !== events || now - askedSchedulerAt >= askSchedulerEvery) {
      if (reported.length === events) askSchedulerEvery = Math.min(askSchedulerEvery * 1.3, 15_000);
      events = reported.length;
      askedSchedulerAt = now;
      const seen = await observeSession(record);
      if (isOver(seen.state)) throw new SessionOver(seen);
      progress.status(describe(seen));
    }
    const secrets = readSecrets(record.id);
    if (
      isReady(reported.at(-1)?.phase) &&
      secrets !== undefined &&
      (await siteAnswers(client, record, secrets))
    ) {
      return observeSession(record);
    }
    if (client === undefined && isReady(reported.at(-1)?.phase) && now - readySince(reported) > 30_000)
      throw unreachableNode(record, secrets);
    if (seconds !== undefined && now - started > seconds * 1000) {
      throw new SessionError(
        `Jupyter was not ready within ${formatDuration(seconds)}, so the job was ended.`,
        client === undefined
          ? 'Wait longer: -w 2h.'
          : 'Wait longer (-w 2h), or leave --wait out and watch the page at the link.',
      );
    }
    await pause(300, interrupted);
  }
}
