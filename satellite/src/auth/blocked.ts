import { ConfigError } from '../config.ts';
import { fileFault } from '../file-fault.ts';
import { WatchedFile } from './watched-file.ts';

/**
 * Is this one of the users who may not come in, as they are in the file at the moment? Nobody is, where there is no file.
 * Throws a ConfigError where it can't be read.
 */
export function blockedUsers(
  path: string | undefined,
  onTrouble: (message: string) => void,
): (user: string) => boolean {
  if (path === undefined) return () => false;
  try {
    // A file that is away for a moment lets nobody back in.
    const file = new WatchedFile(path, parseNames, (last) => last, onTrouble);
    return (user) => file.value.has(user);
  } catch (error) {
    throw new ConfigError(`auth.blocked: ${path}: ${fileFault(error)}`);
  }
}

function parseNames(text: string): ReadonlySet<string> {
  const lines = text.split('\n').map((line) => line.trim());
  return new Set(lines.filter((line) => line !== '' && !line.startsWith('#')));
}
