import os from 'node:os';
import path from 'node:path';

/** What the XDG Base Directory Specification calls the user's directories, with their places below home. */
const places = {
  XDG_CACHE_HOME: '.cache',
  XDG_CONFIG_HOME: '.config',
  XDG_DATA_HOME: '.local/share',
  XDG_STATE_HOME: '.local/state',
} as const;

/** Our own directory in one of them; a variable that isn't an absolute path counts as unset, as the specification says. */
export function userDirectory(variable: keyof typeof places, environment = process.env): string {
  const base = environment[variable];
  const parent =
    base !== undefined && path.isAbsolute(base) ? base : path.join(os.homedir(), places[variable]);
  return path.join(parent, 'start-jupyter');
}
