/** How a scheduler's commands are run, and what every reader of their output needs. */
import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import os from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { endProcessGroup } from 'satellite/process-group';
import { withoutUnaskedOptions } from 'satellite/unasked-options';
import { systemWords } from '../file-system.ts';
import { homeDirectory } from '../user-directories.ts';

export interface CommandOutput {
  readonly stdout: string;
  readonly stderr: string;
  /** Undefined where the command could not be run, was ended by a signal, did not answer in time, or did not come to an end of it. */
  readonly exitCode: number | undefined;
  /** What ended it from outside, though not for want of an answer: `sbatch was ended by SIGSEGV`. */
  readonly killed?: string;
}

/** UTF-16 units: more than any cluster's queue. */
const mostOutput = 64 * 1024 * 1024;

/** Each ends one of the commands that have not answered yet. */
const running = new Set<() => Promise<void>>();

/** Ends the commands whose answers nobody waits for any more, since the launch is over. */
export async function endCommands(): Promise<void> {
  await Promise.all([...running].map((end) => end()));
}

/**
 * Runs a scheduler's command with an environment that a job may inherit. One that doesn't answer in time is ended with all
 * that it has started: below a wrapper script, the real command would live on and keep its output open.
 * @param timeout milliseconds; half a minute unless given
 * @param env what the command gets on top
 * @param input what it reads on its standard input; nothing unless given
 */
export async function runCommand(
  command: string,
  args: readonly string[],
  {
    timeout,
    env = {},
    input,
  }: {
    readonly timeout?: number | undefined;
    readonly env?: Readonly<Record<string, string>>;
    readonly input?: string;
  } = {},
): Promise<CommandOutput> {
  return await begin(command, args, env, input === undefined ? 'ignore' : 'pipe').finish(input, timeout);
}

/** A command that waits for what it is to read. */
export interface StartedCommand {
  /**
   * Hands that over, and waits for the answer.
   * @param timeout milliseconds from now; half a minute unless given
   */
  finish(input?: string, timeout?: number): Promise<CommandOutput>;
  /** Ends it instead. */
  end(): Promise<void>;
}

/**
 * The same in two steps. Until `finish` its standard input is open and empty, also while it is being ended: it never comes to
 * an end of what it has not been given, unless this process is killed.
 */
export function startCommand(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): StartedCommand {
  return begin(command, args, env, 'pipe');
}

/** @param stdin a pipe takes a while to make: one that nothing comes through is left out */
function begin(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  stdin: 'pipe' | 'ignore',
): StartedCommand {
  const child = started(command, args, env, stdin);
  if (child === undefined)
    return { finish: async () => notRun(command, 'the home directory is a file'), end: async () => {} };
  // Who ends without having read it has said why.
  child.stdin?.on('error', () => {});
  let ending: Promise<void> | undefined;
  const end = async () => {
    if (child.pid === undefined) return;
    ending ??= endProcessGroup(child.pid).then(() => {
      // Whoever has left the group may hold them open.
      child.stdout.destroy();
      child.stderr.destroy();
    });
    await ending;
  };
  running.add(end);
  const said = { stdout: '', stderr: '' };
  let isTooMuch = false;
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      isTooMuch ||= said.stdout.length + said.stderr.length + text.length > mostOutput;
      if (isTooMuch) void end();
      else said[name] += text;
    });
  const exited = endOf(child);
  void exited.then(() => running.delete(end));
  const finish = async (input?: string, timeout = 30_000): Promise<CommandOutput> => {
    const timer = setTimeout(end, timeout);
    child.stdin?.end(input);
    const { exitCode, signal, error } = await exited;
    clearTimeout(timer);
    await ending;
    if (isTooMuch) return { stdout: '', stderr: `${command} prints without end`, exitCode: undefined };
    if (error !== undefined) return notRun(command, systemWords(error));
    const output = { stdout: withoutLastLineEnd(said.stdout), stderr: withoutLastLineEnd(said.stderr) };
    if (ending !== undefined) return { ...output, exitCode: undefined };
    return { ...output, exitCode, ...(signal && { killed: `${command} was ended by ${signal}` }) };
  };
  return { finish, end };
}

/** Undefined where the home directory is a file, which Node throws instead of telling it as it tells everything else. */
function started(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  stdin: 'pipe' | 'ignore',
) {
  try {
    return spawn(command, args, {
      stdio: [stdin, 'pipe', 'pipe'],
      // A Ctrl-C in the terminal must not end a submission half-way: nobody would know whether there is a job.
      detached: true,
      cwd: homeDirectory(),
      env: { ...withoutUnaskedOptions(command, submissionEnvironment(process.env)), ...env },
    }) as ChildProcessByStdio<Writable | null, Readable, Readable>;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOTDIR') throw error;
    return undefined;
  }
}

function withoutLastLineEnd(text: string): string {
  return text.replace(/\n$/, '');
}

function notRun(command: string, why: string): CommandOutput {
  return { stdout: '', stderr: `${command} can't be run: ${why}`, exitCode: undefined };
}

interface End {
  readonly exitCode?: number | undefined;
  readonly signal?: NodeJS.Signals | undefined;
  /** Why it could not be run. */
  readonly error?: Error;
}

function endOf(child: ChildProcess): Promise<End> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ error }));
    child.once('close', (code, signal) =>
      resolve({ exitCode: code ?? undefined, signal: signal ?? undefined }),
    );
  });
}

const leaking = new RegExp(
  `^(?:${[
    // An outer job's, in whose CPUs, nodes or options the new one would be caught. What says where the scheduler is stays.
    'SLURM_(?!CONF$)',
    'SBATCH_',
    'SALLOC_',
    'SRUN_',
    'PMI',
    'PBS_(?!CONF_FILE$|DEFAULT$|SERVER$|PRIMARY$|SECONDARY$|EXEC$|HOME$|AUTH_METHOD$)',
    'SGE_(?!ROOT$|CELL$|ARCH$|CLUSTER_NAME$|QMASTER_PORT$|EXECD_PORT$)',
    'LSB_(?!DEFAULT)',
    'LS_(?:JOBPID|SUBCWD|EXECCWD|EXEC_T)$',
    // Would keep bsub from saying which job it is.
    'BSUB_',
    // The login session's: sockets and directories that the compute node doesn't have.
    'XDG_RUNTIME_DIR$',
    'XDG_SESSION_',
    'DBUS_SESSION_',
    'DISPLAY$',
    'WAYLAND_',
    'XAUTHORITY$',
    'SSH_',
    // An outer Jupyter's, and our own.
    'JPY_',
    'JUPYTER_(?:TOKEN|PORT|IP|RUNTIME_DIR)',
    'START_JUPYTER_',
  ].join('|')})`,
);

/** The environment that a job may inherit, or that a scheduler may write into its records. */
export function submissionEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !leaking.test(name)));
}

/** Lines that say something, without the space around them. */
export function lines(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

/** What there is to say of a command that has said nothing itself. */
export function silentEnd({ exitCode, killed }: CommandOutput): string {
  if (exitCode !== undefined) return `exit status ${exitCode}`;
  return killed ?? 'the command did not answer in time';
}

/**
 * What a submission did that ended well and named no job, or was killed.
 * @param complaint what it said, in the scheduler's own words
 */
export function withoutJob(
  command: string,
  { stdout, stderr, killed }: CommandOutput,
  complaint: string,
): string {
  if (killed !== undefined) return killed;
  return lines(stdout + stderr).length === 0
    ? `${command} ended with status 0 and said nothing`
    : `what ${command} says names no job: ${complaint}`;
}

/** Who runs this. In a container the user id may have no entry in the password file. */
export function userName(): string {
  try {
    return os.userInfo().username;
  } catch {
    return process.env.USER ?? String(process.getuid?.());
  }
}
