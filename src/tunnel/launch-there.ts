/** The launch at the other end of a `tunnel`, until Jupyter is ready there. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ConnectionError, InterruptedError, RemoteError, SessionError } from '../errors.ts';
import { pause, unlessAborted } from '../interruption.ts';
import { shown } from '../values.ts';
import { type RemoteReport, reportOf, startThere } from './remote-session.ts';
import { commandThere, endedWith, lookThere, type Session, sayAfterwards, type Tunnel } from './there.ts';

/** Until Jupyter is ready there. What was begun is ended again where that fails. */
export async function launchThere(tunnel: Tunnel, args: readonly string[]): Promise<Session> {
  const { progress, interrupted, destination, options, survivor, program } = tunnel;
  let id: string | undefined;
  const launch = startThere(tunnel, args, (line) => {
    if (id === undefined) {
      id = /^Session ([a-z][a-z2-9]{5}) /.exec(line)?.[1];
      if (id !== undefined && !options.keep) survivor.shallRun(`${program} stop ${id}`);
    }
    if (!/^start-jupyter: |^ {2}/.test(line)) progress.status(`${destination}: ${shown(line, 200)}`);
  });
  progress.status(`Starting Jupyter at ${destination}`);
  try {
    const answer = await unlessAborted(launch.answer, interrupted);
    // One that runs there without a scheduler does not end before Jupyter does.
    if (answer !== undefined && answer.report === undefined) throw notUnderstood();
    if (answer?.report?.state === 'ready') return sessionOf(answer.report);
    const ended = await unlessAborted(launch.ended, interrupted);
    // A launch goes on without anybody who listens to it.
    if (ended.exitCode === 255 && id !== undefined) return await untilReady(tunnel, id);
    return sessionOf(reportOf(tunnel, ended));
  } catch (error) {
    // Over by itself, or refused.
    if (error instanceof SessionError) throw error;
    if (error instanceof RemoteError && (await launch.ended).exitCode !== 255) throw error;
    progress.status(`Ending what was begun at ${destination}`);
    if (interrupted.aborted) {
      // Too early to be stopped there by its name: that comes within seconds.
      const patience = AbortSignal.timeout(30_000);
      while (id === undefined && !patience.aborted && !(await isOver(launch.ended, 200)));
    }
    if (id !== undefined) throw await endedWith(tunnel, id, error);
    const isStillBeginning = !(await isOver(launch.ended, 0));
    if (
      isStillBeginning ||
      (await launch.ended.then(({ hasBegun, exitCode }) => hasBegun && exitCode === 255))
    ) {
      const look = `See: ${commandThere(tunnel, 'list')}`;
      if (interrupted.aborted)
        throw new InterruptedError(
          `Interrupted; a session may have begun at ${destination} all the same.`,
          look,
        );
      sayAfterwards(tunnel, `A session may have begun at ${destination} all the same. ${look}`);
    }
    throw error;
  }
}

function sessionOf({ id, url, jupyter }: RemoteReport): Session {
  const link = url === null ? undefined : new URL(url);
  const token = link?.searchParams.get('token');
  if (!id || !token || !jupyter) throw notUnderstood();
  return { id, token, proposedPort: Number(link?.port), jupyter };
}

function notUnderstood(): ConnectionError {
  return new ConnectionError(
    'What the start-jupyter there says has no tunnel in it.',
    'It may be older than this one: both should be of the same version.',
    { final: true },
  );
}

/** Asks again and again, also over new connections. */
async function untilReady(tunnel: Tunnel, id: string): Promise<Session> {
  for (;;) {
    const report = await lookThere(tunnel, id);
    if (report.state === 'ready') return sessionOf(report);
    if (report.state === 'ended' || report.state === 'failed')
      throw new SessionError(
        `The session ${id} ${report.state === 'failed' ? 'failed' : 'ended before it was ready'}: ${report.reason}`,
        `See its log: ${commandThere(tunnel, 'logs', id)}`,
      );
    tunnel.progress.status(`${tunnel.destination}: ${report.state}`);
    await pause(5000, tunnel.interrupted);
  }
}

async function isOver(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  return await Promise.race([promise.then(() => true), sleep(milliseconds, false, { ref: false })]);
}
