/** Who can read what, by permission bits: what a group or an access list adds can't be seen from here. */
import { realpathSync, type Stats, statSync } from 'node:fs';
import path from 'node:path';
import { systemWords } from '../file-system.ts';

const otherRead = 0o004;
const otherSearch = 0o001;

export interface Closed {
  /** The part of the path that keeps others out. */
  readonly path: string;
  /** Completes "PATH …". */
  readonly problem: string;
  /** The command that opens it. */
  readonly mend: string;
}

/** What keeps other users from reading a file or directory; undefined where nothing does. */
export function closedToOthers(file: string): Closed | undefined {
  let real: string;
  try {
    real = realpathSync(file);
  } catch (error) {
    return { path: file, problem: systemWords(error), mend: `ls -ld ${file}` };
  }
  // A link may lead through directories that its own path doesn't have.
  return closedOnTheWay(path.resolve(file)) ?? closedOnTheWay(real);
}

function closedOnTheWay(file: string): Closed | undefined {
  const { root } = path.parse(file);
  const names = file.slice(root.length).split(path.sep).filter(Boolean);
  for (let depth = 0; depth <= names.length; depth++) {
    const part = path.join(root, ...names.slice(0, depth));
    const status = statSync(part);
    const isEnd = depth === names.length;
    const needed = (isEnd ? otherRead : 0) | (status.isDirectory() ? otherSearch : 0);
    if ((status.mode & needed) !== needed)
      return {
        path: part,
        problem: `is closed to other users (mode ${octal(status)})`,
        mend: `chmod o+${isEnd ? 'rX' : 'x'} ${part}`,
      };
  }
  return undefined;
}

/** The nearest directory around a file in which everybody may put another in its place; undefined where there is none. */
export function openDirectoryAround(file: string): string | undefined {
  const replaceable = (mode: number) => (mode & 0o002) !== 0 && (mode & 0o1000) === 0;
  for (let directory = path.dirname(file); ; directory = path.dirname(directory)) {
    if (replaceable(statSync(directory).mode)) return directory;
    if (directory === path.dirname(directory)) return undefined;
  }
}

/** `0750` */
export function octal({ mode }: Pick<Stats, 'mode'>): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}
