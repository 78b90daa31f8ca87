/** The session at the other end, as start-jupyter there tells of it. */
import * as z from 'zod/mini';
import { ConfigurationError, ConnectionError, type PersonError, RemoteError } from '../errors.ts';
import { shown } from '../values.ts';
import { canShare } from './connection.ts';
import { remoteWord } from './remote-word.ts';
import type { Ended, SshClient } from './ssh-client.ts';
import { sshProblem } from './ssh-problem.ts';

/** What is taken of the object that start-jupyter prints there with `--json`. */
const reportSchema = z.looseObject({
  id: z.nullable(z.string().check(z.regex(/^[a-z][a-z2-9]{5}$/))),
  state: z.enum(['submitted', 'queued', 'starting', 'ready', 'ended', 'failed']),
  reason: z.optional(z.string()),
  url: z.nullable(z.url({ protocol: /^http$/, hostname: /^localhost$/ })),
  jupyter: z.nullish(
    z.object({
      address: z.ipv4(),
      port: z.int().check(z.minimum(1), z.maximum(65_535)),
      node: z.string().check(z.regex(/^[A-Za-z0-9][A-Za-z0-9.-]*$/)),
      reachedFrom: z.enum(['login', 'node']),
    }),
  ),
});

export type RemoteReport = z.output<typeof reportSchema>;

export interface RemoteProgram {
  readonly client: SshClient;
  readonly destination: string;
  /** A word for the shell there. */
  readonly program: string;
}

/** What start-jupyter printed there. */
export interface Answer {
  /** Undefined where this version does not understand it. */
  readonly report: RemoteReport | undefined;
}

export interface RemoteEnd extends Ended {
  /** Whether the shell there got as far as start-jupyter. */
  readonly hasBegun: boolean;
  /** It was not waited for any longer. */
  readonly isGivenUp: boolean;
  readonly answer: Answer | undefined;
  /** What was printed last beside the answer, by the shell's start-up files or by what was run. */
  readonly noise: string;
}

export interface RemoteRun {
  /** Undefined where it ends without one. */
  readonly answer: Promise<Answer | undefined>;
  readonly ended: Promise<RemoteEnd>;
}

/** A line in front of the answer: start-up files of the shell there may print what they like before it. */
const answerFollows = 'start-jupyter-answers';

/** Milliseconds that start-up files are given; those that load modules from a slow file system take a while. */
const startUpTime = 120_000;

/** Starts start-jupyter there. `echo` and `;` mean the same to sh, bash, zsh, csh, tcsh and fish. */
export function startThere(
  { client, program }: RemoteProgram,
  args: readonly string[],
  onComplaint?: (line: string) => void,
): RemoteRun {
  const first = Promise.withResolvers<Answer | undefined>();
  let hasBegun = false;
  let isGivenUp = false;
  let answer: Answer | undefined;
  let noise = '';
  const onOutput = (line: string) => {
    if (hasBegun) {
      if (answer !== undefined) return;
      if (!line.startsWith('{')) {
        noise = line;
        return;
      }
      answer = { report: readReport(line) };
      first.resolve(answer);
    } else if (line.endsWith(answerFollows)) {
      hasBegun = true;
      noise = '';
      clearTimeout(patience);
    } else noise = line;
  };
  const command = [`echo ${answerFollows};`, program, ...args.map(remoteWord)];
  const process = client.start(command, { onOutput, ...(onComplaint && { onComplaint }) });
  const giveUp = () => {
    isGivenUp = true;
    process.kill();
  };
  // Where connections can't be shared, somebody may still be typing a password.
  const patience = canShare ? setTimeout(giveUp, startUpTime) : undefined;
  const ended = process.ended.then((end) => {
    clearTimeout(patience);
    first.resolve(answer);
    return { ...end, hasBegun, isGivenUp, answer, noise };
  });
  return { answer: first.promise, ended };
}

/**
 * What it said of a session.
 * @throws RemoteError with its own words and exit code; ConnectionError, ConfigurationError where it never ran
 */
export function reportOf({ destination, program }: RemoteProgram, end: RemoteEnd): RemoteReport {
  const { exitCode, stderr } = end;
  const report = end.answer?.report;
  if (report !== undefined && exitCode === 0) return report;
  if (end.isEndless)
    throw new ConnectionError(
      `What runs at ${destination} as start-jupyter prints without end.`,
      `Check --remote-command, and that "ssh ${destination} true" prints little.`,
      { final: true },
    );
  if (end.isGivenUp)
    throw new ConnectionError(
      `The shell at ${destination} did not get as far as start-jupyter within ${startUpTime / 60_000} minutes.`,
      `One of its start-up files may wait for something: "ssh ${destination} true" must end by itself.`,
      { final: false },
    );
  if (exitCode === 255) throw sshProblem(destination, stderr);
  if (!end.hasBegun) {
    const said = lastLine(stderr) || end.noise;
    throw new ConnectionError(
      `The shell at ${destination} ended before it had run start-jupyter${said === '' ? '' : ` (${shown(said, 160)})`}.`,
      `One of its start-up files may end it, or the account is for other things only: try "ssh ${destination} true".`,
      { final: false },
    );
  }
  const isOwnComplaint = /^start-jupyter: /m.test(stderr);
  if (
    exitCode === 127 ||
    exitCode === 126 ||
    (report === undefined && !isOwnComplaint && /not found|Unknown command/i.test(stderr))
  )
    throw new ConfigurationError(
      `There is no start-jupyter at ${destination} (${shown(lastLine(stderr) || program, 160)}).`,
      'Logins without a terminal often load no modules: name it by its path, --remote-command PATH.',
    );
  throw complaintOf(destination, end);
}

function readReport(line: string): RemoteReport | undefined {
  try {
    return reportSchema.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}

/** It prints what went wrong in one or two lines, the first of which begins with its name. */
function complaintOf(destination: string, { exitCode, stderr, noise, answer }: RemoteEnd): PersonError {
  const lines = stderr.trim().split('\n');
  const first = lines.findLastIndex((line) => line.startsWith('start-jupyter: '));
  if (first === -1) {
    const reason = answer?.report?.reason;
    if (exitCode !== 0 && reason !== undefined)
      return new RemoteError(`At ${destination}: ${reason}`, undefined, exitCode);
    const said = lastLine(stderr) || noise;
    return new ConnectionError(
      `What runs at ${destination} as start-jupyter was no launch: it ended with status ${exitCode}${said === '' ? ' and said nothing' : `: ${shown(said, 160)}`}.`,
      'Check --remote-command; the start-jupyter there may also be older than this one.',
      { final: true },
    );
  }
  const message = (lines[first] as string).slice('start-jupyter: '.length);
  const hint = lines[first + 1]?.startsWith('  ') ? lines[first + 1]?.trim() : undefined;
  return new RemoteError(`At ${destination}: ${message}`, hint, exitCode);
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
