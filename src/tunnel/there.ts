/** What `tunnel` asks of, and says about, the start-jupyter at the other end. */
import { shellQuote } from '../batch/quote.ts';
import { ConnectionError, InterruptedError, PersonError } from '../errors.ts';
import { pause, unlessAborted } from '../interruption.ts';
import type { Progress } from '../ui/progress.ts';
import { type RemoteProgram, type RemoteReport, reportOf, startThere } from './remote-session.ts';
import type { Survivor } from './survivor.ts';

/** What was typed, beside the options for start-jupyter there. */
export interface TunnelOptions {
  /** Switches as commander has them: `open` is true unless `--no-open` was typed. */
  readonly open: boolean;
  readonly keep?: boolean;
  readonly json?: boolean;
  readonly port?: string;
  readonly jump?: string;
  readonly remoteCommand: string;
}

/** Milliseconds that a session is given to end: more than start-jupyter there gives its job. */
const endingTime = 120_000;

/** Everything that its steps share. */
export interface Tunnel extends RemoteProgram {
  readonly options: TunnelOptions;
  /** Private to this user. */
  readonly directory: string;
  readonly progress: Progress;
  readonly interrupted: AbortSignal;
  readonly survivor: Survivor;
}

/** A session that is ready there. */
export interface Session {
  readonly id: string;
  readonly token: string;
  /** On this machine. */
  readonly proposedPort: number;
  readonly jupyter: NonNullable<RemoteReport['jupyter']>;
}

/**
 * Logs in, unless that is done.
 * @throws ConnectionError; what `interrupted` was aborted with
 */
export async function connect({ client, destination, progress, interrupted }: Tunnel): Promise<void> {
  if (client.isConnected) return;
  // It may ask for a password here.
  progress.rest();
  progress.note(`Connecting to ${destination}`);
  await client.connect(interrupted);
}

/**
 * How the session is doing, asked over a connection that is made anew where it broke, however long that takes.
 * @throws ConnectionError where it would be the same the next time
 */
export async function lookThere(tunnel: Tunnel, id: string): Promise<RemoteReport> {
  const { progress, interrupted } = tunnel;
  for (let delay = 1000; ; delay = Math.min(delay * 2, 30_000)) {
    try {
      await connect(tunnel);
      return reportOf(
        tunnel,
        await unlessAborted(startThere(tunnel, ['status', id, '--json']).ended, interrupted),
      );
    } catch (error) {
      if (!(error instanceof ConnectionError) || error.final) throw error;
      progress.status(`${error.message} Trying again in ${Math.round(delay / 1000)} s`);
    }
    await pause(delay, interrupted);
  }
}

/** Ends the session at the other end, over a new connection if it must be; says what to do where that is impossible. */
export async function endedWith(tunnel: Tunnel, id: string, error: unknown): Promise<unknown> {
  if (await endThere(tunnel, id)) return error;
  if (tunnel.interrupted.aborted)
    return new InterruptedError(
      `Interrupted; the session ${id} could not be ended from here.`,
      `End it yourself: ${commandThere(tunnel, 'stop', id)}`,
    );
  sayItGoesOn(tunnel, id);
  return error;
}

/** @returns whether it is over */
async function endThere(tunnel: Tunnel, id: string): Promise<boolean> {
  try {
    await tunnel.client.connect(AbortSignal.timeout(20_000));
    const { ended } = startThere(tunnel, ['stop', id]);
    return (await unlessAborted(ended, AbortSignal.timeout(endingTime))).exitCode === 0;
  } catch (error) {
    if (error instanceof PersonError || error instanceof DOMException) return false;
    throw error;
  }
}

/** And how it is ended by hand. */
export function sayItGoesOn(tunnel: Tunnel, id: string): void {
  sayAfterwards(
    tunnel,
    `The session ${id} goes on at ${tunnel.destination}. End it yourself: ${commandThere(tunnel, 'stop', id)}`,
  );
}

/** What must be known also where nothing else is shown. */
export function sayAfterwards({ progress }: Tunnel, text: string): void {
  progress.end();
  process.stderr.write(`${text}\n`);
}

/** For a person, to be pasted. */
export function commandThere({ destination, program, options }: Tunnel, ...words: string[]): string {
  const jump = options.jump === undefined ? [] : ['-J', options.jump];
  return ['ssh', ...jump, destination, shellQuote(program), ...words].join(' ');
}
