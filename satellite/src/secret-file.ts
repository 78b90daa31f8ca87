import { realpathSync } from 'node:fs';
import { dirname } from 'node:path';

const GROUP = 0o070;
const EVERYBODY = 0o007;

/**
 * Can others read a file that is for this user alone? What systemd brings in (LoadCredential= of systemd.exec(5)) is root's, and
 * the service reads it by an ACL, whose mask stands in place of the group's bits.
 */
export function isReadableByOthers(file: string, { mode }: { readonly mode: number }): boolean {
  return (mode & (isCredential(file) ? EVERYBODY : GROUP | EVERYBODY)) !== 0;
}

/** Can everybody read a file that a group may be let in to? */
export function isReadableByEverybody({ mode }: { readonly mode: number }): boolean {
  return (mode & EVERYBODY) !== 0;
}

/** By where it is in the end: a link among the credentials may lead anywhere. */
function isCredential(file: string): boolean {
  const { CREDENTIALS_DIRECTORY: directory } = process.env;
  if (!directory) return false;
  try {
    return dirname(realpathSync(file)) === realpathSync(directory);
  } catch {
    return false;
  }
}
