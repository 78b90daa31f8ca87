/** The accounts of a class: as they are typed, from a file, and what this machine knows of them. */
import { readFileSync, statfsSync, statSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { UsageError } from '../errors.ts';
import { fileProblem, systemWords } from '../file-system.ts';
import { shown } from '../values.ts';

/**
 * `alice,bob`, `train[01-60]`, or a file with one of these a line.
 * @throws UsageError for what can't be names of users, and a file that can't be read
 */
export function classAccounts(typed: string): string[] {
  const isFile = typed.includes('/') || fileProblem(typed) === undefined;
  const problem = isFile ? fileProblem(typed) : undefined;
  if (problem !== undefined)
    throw new UsageError(
      `--class: ${shown(typed)}: ${problem}.`,
      'Write the path of a file with one user a line.',
    );
  const text = isFile ? readFileSync(typed, 'utf8') : typed;
  const names = text
    .split('\n')
    .map((line) => line.replace(/#.*/, ''))
    .flatMap((line) => line.split(/[\s,]+/))
    .filter((name) => name !== '')
    .flatMap(expanded);
  if (names.length === 0) throw new UsageError(`--class: ${shown(typed)} names nobody.`, wanted);
  return [...new Set(names)];
}

const wanted =
  'Write user names with commas between, a range such as train[01-60], or the path of a file with them.';
/** What no class has; a slip of the finger would ask the scheduler for ever. */
const most = 5000;

function expanded(name: string): string[] {
  const range = /^([a-z_][\w.-]*)\[(\d{1,6})-(\d{1,6})\]$/i.exec(name);
  if (range === null) {
    if (/^[a-z_][\w.@-]{0,63}$/i.test(name)) return [name];
    throw new UsageError(`--class: "${shown(name)}" can't be the name of a user.`, wanted);
  }
  const [, prefix = '', first = '', last = ''] = range;
  const size = Number(last) - Number(first) + 1;
  if (size < 1 || size > most)
    throw new UsageError(`--class: "${shown(name)}" is not a range of users.`, wanted);
  return Array.from(
    { length: size },
    (_, index) => `${prefix}${String(Number(first) + index).padStart(first.length, '0')}`,
  );
}

export interface HomeReport {
  /** Undefined where this machine doesn't know the user. */
  readonly path: string | undefined;
  readonly problem: string | undefined;
}

/**
 * The homes of these users, by user, as far as they can be seen from here.
 * @param directory where Jupyter is to start, below each home; empty for the home itself
 */
export async function homesOf(
  users: readonly string[],
  directory = '',
): Promise<ReadonlyMap<string, HomeReport>> {
  const { stdout } = await execa('getent', ['passwd', '--', ...users], { reject: false, stdin: 'ignore' });
  const paths = new Map(
    stdout.split('\n').map((line): [string, string] => {
      const fields = line.split(':');
      return [fields[0] ?? '', fields[5] ?? ''];
    }),
  );
  return new Map(users.map((user) => [user, homeReport(paths.get(user), directory)]));
}

function homeReport(home: string | undefined, directory: string): HomeReport {
  if (home === undefined) return { path: undefined, problem: 'this machine does not know the user' };
  const start = path.join(home, directory);
  const problem = visibleProblem(home) ?? (directory === '' ? undefined : visibleProblem(start));
  if (problem !== undefined) return { path: home, problem };
  return { path: home, problem: isFull(home) ? `the file system of ${home} is full` : undefined };
}

/** Above the homes of others there may be a door that only they can open: what is behind it can't be held against them. */
function visibleProblem(directory: string): string | undefined {
  try {
    return statSync(directory).isDirectory() ? undefined : `${directory} is not a directory`;
  } catch (error) {
    const isHidden = ['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '');
    return isHidden ? undefined : `${directory} ${systemWords(error)}`;
  }
}

function isFull(directory: string): boolean {
  try {
    const { bavail, files, ffree } = statfsSync(directory);
    return bavail === 0 || (files > 0 && ffree === 0);
  } catch {
    return false; // behind that door
  }
}
