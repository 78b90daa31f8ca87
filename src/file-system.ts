/** Files and directories of a person's own: how they are made, and what is wrong with them, in words. */
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { NotRegularError, openRegular } from 'satellite/regular-file';

/**
 * Makes a private directory, with what it lies in, one by one: Node 24's own recursive mkdir says that a directory is missing
 * where the file system is read-only, and goes on for ever below /proc, where nothing can be made.
 * @throws the system's error
 */
export function makeDirectory(directory: string): void {
  try {
    makeOne(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    makeDirectory(path.dirname(directory));
    makeOne(directory);
  }
}

/** Another launch may make it in this moment. */
function makeOne(directory: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/**
 * Writes a file that nobody else may read.
 * @throws the system's error
 */
export function writePrivate(file: string, content: string): void {
  writeFileSync(file, content, { mode: 0o600 });
}

/**
 * Replaces a private file as a whole, in one step.
 * @throws the system's error; the old file stays
 */
export function replaceFile(file: string, content: string, { flush } = { flush: true }): void {
  const next = `${file}.${process.pid}`;
  try {
    // On the disk before it takes the other's place: a power cut would leave an empty file.
    writeFileSync(next, content, { mode: 0o600, flush });
    renameSync(next, file);
  } catch (error) {
    rmSync(next, { force: true });
    throw error;
  }
}

/** Bytes of a file that a session keeps: far more than any of them has. */
const most = 1_000_000;

/**
 * The text of a file that a session keeps, which is a small one.
 * @throws the system's error, or its like: see `isNoText`
 */
export function readSmall(file: string): string {
  const descriptor = openRegular(file, constants.O_RDONLY);
  try {
    if (fstatSync(descriptor).size > most)
      throw Object.assign(new Error(`${file} is too large`), { code: 'EFBIG' });
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}

/** Whether `readSmall` has found something that is no such file: a pipe, a directory, a huge one. */
export function isNoText(error: unknown): boolean {
  return (
    error instanceof NotRegularError ||
    ['EISDIR', 'EFBIG'].includes((error as NodeJS.ErrnoException).code ?? '')
  );
}

/** Why nothing can start in a directory; undefined where it is there and may be entered. */
export function directoryProblem(directory: string): string | undefined {
  try {
    if (!statSync(directory).isDirectory()) return 'is not a directory';
    readdirSync(directory);
    return undefined;
  } catch (error) {
    return systemWords(error);
  }
}

/** Why there is no file or directory of this name; undefined where there is. */
export function existenceProblem(file: string): string | undefined {
  try {
    statSync(file);
    return undefined;
  } catch (error) {
    return systemWords(error);
  }
}

/** Why a file can't be read; undefined where it can. */
export function fileProblem(file: string): string | undefined {
  try {
    if (!statSync(file).isFile()) return 'is not a file';
    accessSync(file, constants.R_OK);
    return undefined;
  } catch (error) {
    return systemWords(error);
  }
}

const words: Record<string, string> = {
  ENOENT: 'does not exist',
  ENOTDIR: 'is not a directory',
  EISDIR: 'is a directory',
  EFBIG: 'is too large',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  ENOSPC: 'no space left on device',
  EDQUOT: 'disk quota exceeded',
  EROFS: 'the file system is read-only',
  ENAMETOOLONG: 'the name is too long',
  ELOOP: 'its symbolic links go in a circle',
  ESTALE: 'the file server has lost it (stale file handle)',
};

/** What the system complains of, in words. */
export function systemWords(error: unknown): string {
  if (error instanceof NotRegularError) return 'is not a regular file';
  const { code = '', message } = error as NodeJS.ErrnoException;
  // What Node's recursive rmSync says of errors for which it knows no code.
  const unnamed = /^, Unknown error: (.+) '/.exec(message)?.[1];
  return words[code] ?? unnamed?.toLowerCase() ?? message;
}
