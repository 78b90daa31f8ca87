import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { endProcessGroup } from './process-group.ts';
import { withoutUnaskedOptions } from './unasked-options.ts';

/** What a command said. `code` is null where it could not be run or was ended; then `stderr` says just that. */
export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const MIB = 1024 * 1024;

/**
 * Runs a scheduler's command; never rejects. One that takes too long, or prints too much, is ended with all that it has
 * started, and so is one under way at a stop.
 * @param timeout milliseconds
 * @param maxOutput bytes
 */
export async function run(
  command: string,
  args: readonly string[],
  {
    stop,
    timeout = 30_000,
    maxOutput = 64 * MIB,
  }: {
    readonly stop?: AbortSignal | undefined;
    readonly timeout?: number;
    readonly maxOutput?: number;
  } = {},
): Promise<Ran> {
  const refused = (why: string): Ran => ({ code: null, stdout: '', stderr: why });
  const stopped = `${command} was ended: the reporter stops`;
  if (stop?.aborted) return refused(stopped);
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    // Schedulers print local times without a zone: in UTC they have one. The C locale keeps messages readable for us.
    env: {
      ...withoutUnaskedOptions(command, process.env),
      TZ: 'UTC',
      LC_ALL: 'C',
      SLURM_TIME_FORMAT: 'standard',
    },
  });
  const givenUp = Promise.withResolvers<string>();
  const onStop = () => givenUp.resolve(stopped);
  stop?.addEventListener('abort', onStop);
  const timer = setTimeout(() => {
    givenUp.resolve(`${command} timed out after ${timeout / 1000} s`);
  }, timeout);
  let printed = 0;
  const textOf = (stream: Readable): (() => string) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => {
      printed += chunk.length;
      if (printed <= maxOutput) chunks.push(chunk);
      else givenUp.resolve(`${command} printed more than ${maxOutput / MIB} MiB`);
    });
    return () => Buffer.concat(chunks).toString();
  };
  const [stdout, stderr] = [textOf(child.stdout), textOf(child.stderr)];
  const ended = once(child, 'close').then(
    ([code]: (number | null)[]): Ran => ({ code: code ?? null, stdout: stdout(), stderr: stderr() }),
    (error: Error) => refused(error.message),
  );
  const outcome = await Promise.race([ended, givenUp.promise]);
  clearTimeout(timer);
  stop?.removeEventListener('abort', onStop);
  if (typeof outcome !== 'string') return outcome;
  if (child.pid !== undefined) await endProcessGroup(child.pid);
  // Whoever has left the group may hold them open.
  child.stdout.destroy();
  child.stderr.destroy();
  return refused(outcome);
}

/** The line of an error message that people need. */
export const firstLine = (text: string): string => text.trim().split('\n', 1)[0] ?? '';
