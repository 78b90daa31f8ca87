import { execa, type Options } from 'execa';
import { enter } from './hosts.ts';
import type { NodeName } from './paths.ts';

/** Who runs a command in the lab, and where. */
export interface Place {
  /** `alice`, `bob`, `carol`, `root` or a service user; alice unless given. */
  user?: string | undefined;
  /** The login host unless given. */
  node?: NodeName | undefined;
  /** The user's home unless given. */
  cwd?: string | undefined;
  /** Added to what a login there gives. */
  env?: Record<string, string> | undefined;
}

/** What to spawn so that a command runs in the lab. */
export interface LabCommand {
  file: string;
  args: string[];
  /** The whole environment: nothing of the caller's may leak into the lab. */
  env: Record<string, string>;
}

// A shell function such as `module` can't be executed; everything else takes the shell's place, so that signals and
// exit codes are its own.
const login = 'cd -- "$1" && shift || exit; if [[ $(type -t -- "$1") = file ]]; then exec -- "$@"; fi; "$@"';

/** How to run a command as a user on a node, with the environment of a login shell. Throws a LabError when the lab is down. */
export function labCommand(
  argv: string[],
  { user = 'alice', node = 'login', cwd, env = {} }: Place = {},
): LabCommand {
  const home = user === 'root' ? '/root' : `/home/${user}`;
  const identity = ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--init-groups', '--'];
  const [file = '', ...args] = enter(node, [
    ...identity,
    'bash',
    '--login',
    '-c',
    login,
    'bash',
    cwd ?? home,
    ...argv,
  ]);
  const terminal = process.env.TERM ? { TERM: process.env.TERM } : {};
  // PATH is for finding nsenter; the login shell sets its own.
  const basics = {
    HOME: home,
    USER: user,
    LOGNAME: user,
    SHELL: '/bin/bash',
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
  };
  return { file, args, env: { ...basics, ...terminal, ...env } };
}

/** {@link Place} and the options of execa that make sense here. */
export type ExecOptions = Place & Pick<Options, 'input' | 'timeout' | 'reject'>;

export interface ExecResult {
  stdout: string;
  stderr: string;
  /** Undefined when a signal or the time limit ended it. */
  exitCode: number | undefined;
}

/** Runs a command in the lab to its end. Rejects on failure unless `reject` is false; `timeout` is in ms. */
export async function labExec(
  argv: string[],
  { input, timeout, reject, ...place }: ExecOptions = {},
): Promise<ExecResult> {
  const { file, args, env } = labCommand(argv, place);
  const result = await execa(file, args, {
    env,
    extendEnv: false,
    cwd: '/',
    ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
    ...(timeout === undefined ? {} : { timeout }),
    reject: reject ?? true,
  });
  return { stdout: String(result.stdout), stderr: String(result.stderr), exitCode: result.exitCode };
}
