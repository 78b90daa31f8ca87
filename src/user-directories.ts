import os from 'node:os';
import path from 'node:path';
import { ConfigurationError } from './errors.ts';

/** What the XDG Base Directory Specification calls the user's directories, with their places below home. */
const places = {
  XDG_CACHE_HOME: '.cache',
  XDG_CONFIG_HOME: '.config',
  XDG_DATA_HOME: '.local/share',
  XDG_STATE_HOME: '.local/state',
} as const;

/**
 * The user's home directory: `HOME`, or what the password file says.
 * @throws ConfigurationError where neither says anything, as for the made-up user ids of containers
 */
export function homeDirectory(): string {
  const home = homeIfKnown();
  if (home !== undefined && path.isAbsolute(home)) return home;
  throw new ConfigurationError(
    process.env.HOME
      ? 'HOME is not the path of a directory: it does not begin with "/".'
      : `You have no home directory: HOME is not set, and the password file has none for user ${process.getuid?.()}.`,
    'Set HOME to a directory that you can write.',
  );
}

/**
 * The directory that the program was called in.
 * @throws ConfigurationError where it has been removed meanwhile: getcwd(2) knows no name for it
 */
export function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    throw new ConfigurationError(
      'The directory that you are in has been removed.',
      'Go to one that exists, such as your home directory (cd), and try again.',
    );
  }
}

function homeIfKnown(): string | undefined {
  try {
    // An empty HOME counts as unset, which Node takes for an answer.
    return process.env.HOME === '' ? os.userInfo().homedir : os.homedir();
  } catch {
    return undefined;
  }
}

/** Our own directory in one of them; a variable that isn't an absolute path counts as unset, as the specification says. */
export function userDirectory(variable: keyof typeof places, environment = process.env): string {
  const base = environment[variable];
  const parent =
    base !== undefined && path.isAbsolute(base) ? base : path.join(homeDirectory(), places[variable]);
  return path.join(parent, 'start-jupyter');
}
