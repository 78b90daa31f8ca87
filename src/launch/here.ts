/** A launch right here: the same job script as a child of this process, in the foreground until Jupyter ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import os from 'node:os';
import { openAccess } from '../access/open.ts';
import { heldToken, type SatelliteClient } from '../access/satellite.ts';
import { InterruptedError, SessionError } from '../errors.ts';
import { systemWords } from '../file-system.ts';
import { pause } from '../interruption.ts';
import { processSpace, removeRuntimesOfKilled } from '../sessions/local-process.ts';
import { type Observation, observeSession, sessionReport } from '../sessions/observe.ts';
import { isOver, type SessionRecord } from '../sessions/session.ts';
import { sessionFiles, settle, writeRecord } from '../sessions/store.ts';
import { describe } from '../ui/describe.ts';
import { type Launch, prepareSession, siteAnswers, untilReported, visitorHasCome } from './launch.ts';
import { presentSession } from './print-session.ts';
import { renewUntilGone } from './renewal.ts';

/** @returns the exit code, once Jupyter has ended */
export async function launchHere(launch: Launch): Promise<number> {
  const { spec, progress, interrupted } = launch;
  progress.status('Starting');
  removeRuntimesOfKilled();
  await using undo = new AsyncDisposableStack();
  const access = await openAccess(spec, launch);
  undo.defer(() => access.close());
  const { record: prepared, client } = await prepareSession(launch, access, undo);

  if (access.proxy === undefined) progress.note(`Session ${prepared.id} begins on this machine.`);
  const { child, pid, ended } = await runScript(prepared.id);
  const record: SessionRecord = { ...prepared, local: { host: os.hostname(), pid, ...processSpace() } };
  writeRecord(record);

  // The session's directory stays, with its log; the script itself gives the token back and removes the secrets.
  undo.move();
  let ready: Observation | undefined;
  const over = new AbortController();
  try {
    ready = await waitUntilReady(launch, record, client, ended);
    if (ready !== undefined) {
      progress.end();
      await presentSession(launch, ready, 'Jupyter is ready:');
      const { secrets } = ready;
      const gone =
        client && secrets
          ? renewUntilGone(client, heldToken(record, secrets), over.signal).then(linkIsGone)
          : new Promise<never>(() => {});
      const visited =
        ready.record.tunnel && launch.settings.wait?.value
          ? noteVisitor(launch, record.id, ended).then(() => ended)
          : ended;
      await untilAborted(Promise.race([visited, gone]), interrupted);
    }
  } catch (error) {
    progress.status('Ending Jupyter');
    child.kill(interrupted.aborted ? 'SIGINT' : 'SIGTERM');
    if (!(error instanceof InterruptedError)) throw error;
  } finally {
    over.abort();
    await ended;
    await client?.close();
    await access.close();
  }
  return conclude(launch, await finalObservation(record, child), { wasReady: ready !== undefined });
}

/**
 * In a process group of its own, so that a Ctrl-C in the terminal reaches it through us and once.
 * @throws SessionError where it can't be started, as where a user has as many processes as he may
 */
async function runScript(
  id: string,
): Promise<{ readonly child: ChildProcess; readonly pid: number; readonly ended: Promise<unknown> }> {
  const { script, log } = sessionFiles(id);
  const logFile = openSync(log, 'a', 0o600);
  // Descriptor 3 is a pipe that nobody writes to: its end tells the script that this process is gone.
  const child = spawn('bash', [script], { stdio: ['ignore', logFile, logFile, 'pipe'], detached: true });
  closeSync(logFile);
  try {
    await once(child, 'spawn');
  } catch (error) {
    throw new SessionError(
      `Jupyter could not be started: bash: ${systemWords(error)}.`,
      'Nothing was left behind. See whether "bash" works here, and how many processes you may have (ulimit -u).',
    );
  }
  return { child, pid: child.pid as number, ended: once(child, 'exit') };
}

/** The session once its site answers; undefined where it ended instead. */
async function waitUntilReady(
  { progress, interrupted }: Launch,
  record: SessionRecord,
  client: SatelliteClient | undefined,
  ended: Promise<unknown>,
): Promise<Observation | undefined> {
  let over = false;
  void ended.then(() => {
    over = true;
  });
  while (!over) {
    const seen = await observeSession(record);
    if (isOver(seen.state)) return undefined;
    if (
      seen.state === 'ready' &&
      seen.secrets !== undefined &&
      (await siteAnswers(client, record, seen.secrets))
    )
      return seen;
    progress.status(describe(seen));
    await pause(100, interrupted);
  }
  return undefined;
}

/** Says so once somebody with the token has come through the tunnel. */
async function noteVisitor(
  { progress, interrupted }: Launch,
  id: string,
  ended: Promise<unknown>,
): Promise<void> {
  let over = false;
  void ended.then(() => {
    over = true;
  });
  while (!over && !visitorHasCome(id)) await untilReported(id, interrupted, 300);
  if (!over) progress.note('The tunnel works.');
}

/** A machine that slept for longer than the proxy keeps a token comes back without its link. */
function linkIsGone(isGone: boolean): void {
  if (!isGone) return;
  throw new SessionError(
    'The proxy does not know the link any more: it was ended there, or nothing was heard from here for too long.',
    'Start again to get another one.',
  );
}

async function untilAborted(ended: Promise<unknown>, interrupted: AbortSignal): Promise<void> {
  interrupted.throwIfAborted();
  await Promise.race([ended, once(interrupted, 'abort')]);
  interrupted.throwIfAborted();
}

/** @param child the script, once it has ended */
async function finalObservation(record: SessionRecord, child: ChildProcess): Promise<Observation> {
  // Over, and removed by "prune" before this process has looked: the script's status tells the rest.
  if (!existsSync(sessionFiles(record.id).directory)) {
    const [state, reason] =
      child.exitCode === 0
        ? (['ended', 'It was ended, and its record has been removed.'] as const)
        : (['failed', 'Its record has been removed, with the reason.'] as const);
    return observeSession({ ...record, outcome: { state, reason, at: new Date().toISOString() } });
  }
  const seen = await observeSession(record);
  if (isOver(seen.state)) return seen;
  settle(record, {
    state: 'failed',
    reason: 'It was ended without a chance to clean up.',
    at: new Date().toISOString(),
  });
  return observeSession(record);
}

function conclude(
  { output, interrupted, progress }: Launch,
  seen: Observation,
  { wasReady }: { readonly wasReady: boolean },
): number {
  progress.end();
  if (interrupted.aborted) {
    throw new InterruptedError('Interrupted; nothing was left running.', undefined, sessionReport(seen));
  }
  if (seen.state === 'failed')
    throw new SessionError(
      `Jupyter did not run: ${seen.reason}`,
      `See the log: start-jupyter logs ${seen.record.id}`,
      sessionReport(seen),
    );
  if (!wasReady)
    throw new SessionError(
      `The session ended before it was ready: ${seen.reason}`,
      `See the log: start-jupyter logs ${seen.record.id}`,
      sessionReport(seen),
    );
  if (!output.quiet && !output.json) process.stderr.write(`${seen.reason}\n`);
  return 0;
}
