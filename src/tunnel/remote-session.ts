/** The session at the other end, as start-jupyter there tells of it. */
import * as z from 'zod';
import { ConfigurationError, ConnectionError, type PersonError, RemoteError } from '../errors.ts';
import { shown } from '../values.ts';
import { remoteWord } from './remote-word.ts';
import type { Ended, RemoteProcess, SshClient } from './ssh-client.ts';
import { sshProblem } from './ssh-problem.ts';

/** What is taken of the object that start-jupyter prints there with `--json`. */
const reportSchema = z.looseObject({
  id: z
    .string()
    .regex(/^[a-z][a-z2-9]{5}$/)
    .nullable(),
  state: z.enum(['submitted', 'queued', 'starting', 'ready', 'ended', 'failed']),
  reason: z.string().optional(),
  url: z.url({ protocol: /^http$/, hostname: /^localhost$/ }).nullable(),
  jupyter: z
    .object({
      address: z.ipv4(),
      port: z.int().min(1).max(65_535),
      node: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.-]*$/),
      reachedFrom: z.enum(['login', 'node']),
    })
    .nullish(),
});

export type RemoteReport = z.output<typeof reportSchema>;

export interface RemoteProgram {
  readonly client: SshClient;
  readonly destination: string;
  /** A word for the shell there. */
  readonly program: string;
}

/** Starts start-jupyter there. */
export function startThere(
  { client, program }: RemoteProgram,
  args: readonly string[],
  onLine?: (line: string) => void,
): RemoteProcess {
  return client.start([program, ...args.map(remoteWord)], onLine);
}

/**
 * What it said of a session.
 * @throws RemoteError with its own words and exit code; ConnectionError, ConfigurationError where it never ran
 */
export function reportOf(
  { destination, program }: RemoteProgram,
  { exitCode, stdout, stderr }: Ended,
): RemoteReport {
  const report = readReport(stdout.split('\n')[0]);
  if (report !== undefined && exitCode === 0) return report;
  if (exitCode === 255) throw sshProblem(destination, stderr);
  if (
    exitCode === 127 ||
    exitCode === 126 ||
    (report === undefined && /not found|Unknown command/i.test(stderr))
  )
    throw new ConfigurationError(
      `There is no start-jupyter at ${destination} (${shown(lastLine(stderr) || program, 160)}).`,
      'Logins without a terminal often load no modules: name it by its path, --remote-command PATH.',
    );
  throw complaintOf(destination, exitCode, stderr, report);
}

export function readReport(line: string | undefined): RemoteReport | undefined {
  try {
    return reportSchema.parse(JSON.parse(line ?? ''));
  } catch {
    return undefined;
  }
}

/** It prints what went wrong in one or two lines, the first of which begins with its name. */
function complaintOf(
  destination: string,
  exitCode: number,
  stderr: string,
  report: RemoteReport | undefined,
): PersonError {
  const lines = stderr.trim().split('\n');
  const first = lines.findLastIndex((line) => line.startsWith('start-jupyter: '));
  if (first === -1)
    return exitCode === 0
      ? new ConnectionError(
          `What ${destination} answered was no session: ${shown(lastLine(stderr), 160)}`,
          'A start-up file of the shell there may print something; it must not where there is no terminal.',
          { final: true },
        )
      : new RemoteError(
          `At ${destination}: ${report?.reason ?? shown(lastLine(stderr), 300)}`,
          undefined,
          exitCode,
        );
  const message = (lines[first] as string).slice('start-jupyter: '.length);
  const hint = lines[first + 1]?.startsWith('  ') ? lines[first + 1]?.trim() : undefined;
  return new RemoteError(`At ${destination}: ${message}`, hint, exitCode);
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
