import { ConfigError } from '../config.ts';
import { fileFault } from '../file-fault.ts';
import { isAccount } from './account.ts';
import { WatchedFile } from './watched-file.ts';

/**
 * Is this one of the users who may not come in, as they are in the file at the moment? Nobody is, where there is no file.
 * `onTrouble` hears of a file that can't be used any more, and of lines that block nobody: neither the name of an account,
 * nor `known` otherwise. Throws a ConfigError where the file can't be read.
 */
export function blockedUsers(
  path: string | undefined,
  known: Readonly<Record<string, string>> | undefined,
  onTrouble: (message: string) => void,
): (user: string) => boolean {
  if (path === undefined) return () => false;
  let said: string | undefined;
  const parseNames = (text: string): ReadonlySet<string> => {
    const names = namesIn(text);
    const odd = [...names].filter(([name]) => !isAccount(name) && !Object.hasOwn(known ?? {}, name));
    const where = odd.map(([, line]) => line).join(', ');
    // A file that was just changed is read with each request.
    if (where !== '' && where !== said)
      onTrouble(`${path}: line ${where} blocks nobody: it is not a name; a comment needs a line of its own`);
    said = where;
    return new Set(names.keys());
  };
  try {
    // A file that is away for a moment lets nobody back in.
    const file = new WatchedFile(path, parseNames, (last) => last, onTrouble);
    return (user) => file.value.has(user);
  } catch (error) {
    throw new ConfigError(`auth.blocked: ${path}: ${fileFault(error)}`);
  }
}

/** From name to the number of its line. */
function namesIn(text: string): ReadonlyMap<string, number> {
  const lines = text.split('\n').map((line, index): [string, number] => [line.trim(), index + 1]);
  return new Map(lines.filter(([name]) => name !== '' && !name.startsWith('#')));
}
