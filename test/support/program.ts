import { readdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { execa, type Options } from 'execa';
import { type Home, temporaryDirectory } from './directories.ts';

export const program = path.join(import.meta.dirname, '../../bin/start-jupyter');

export interface RunOptions {
  readonly home: Home;
  readonly path?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Another copy of the program. */
  readonly program?: string;
}

/** Starts the built program as its user would, with nothing of the tester's environment. */
export function start(
  args: readonly string[],
  { home, path: searchPath, env, cwd, program: copy = program }: RunOptions,
) {
  return execa(copy, args, {
    ...options,
    cwd: cwd ?? home.path,
    env: { ...home.env, ...env, ...(searchPath === undefined ? {} : { PATH: searchPath }) },
  });
}

const options = {
  reject: false,
  extendEnv: false,
  stdin: 'ignore',
  stripFinalNewline: false,
  cleanup: true,
} as const satisfies Options;

export interface Ran {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the program to its end. */
export async function run(args: readonly string[], how: RunOptions): Promise<Ran> {
  const { exitCode, stdout, stderr } = await start(args, how);
  return { exitCode, stdout, stderr };
}

/** Runs the program to its end with a device or file in the place of its standard output. */
export function runInto(file: string, args: readonly string[], how: RunOptions): Promise<Ran> {
  const words = `exec "$0" "$@" >'${file}'`;
  return run(['-c', words, how.program ?? program, ...args], { ...how, program: '/bin/sh' });
}

/**
 * A directory with the machine's usual programs, to be PATH.
 * @param without names of programs that this machine is to do without
 */
export function usualPrograms({ without }: { readonly without: RegExp }): string {
  const made = programDirectories.get(without.source);
  if (made !== undefined) return made;
  const directory = temporaryDirectory();
  const seen = new Set<string>();
  for (const place of ['/usr/local/bin', '/usr/bin', '/bin']) {
    for (const name of readdirSync(place)) {
      if (seen.has(name) || without.test(name)) continue;
      seen.add(name);
      symlinkSync(path.join(place, name), path.join(directory, name));
    }
  }
  programDirectories.set(without.source, directory);
  return directory;
}

const programDirectories = new Map<string, string>();

/** Programs that make a machine look like a cluster's login node. */
export const slurmPrograms = /^(?:sbatch|squeue|sinfo|sacct|sacctmgr|scancel|scontrol|srun|salloc)$/;
