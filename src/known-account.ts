/** The account that the accounting has named last, by system, in `accounts.json` of the user's cache directory. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { makeDirectory, replaceFile } from './sessions/store.ts';
import { userDirectory } from './user-directories.ts';

/** Milliseconds for which it counts: who loses an account meanwhile is told by the scheduler when the job is submitted. */
const lifetime = 24 * 3600_000;

type Known = Readonly<Record<string, { readonly account: string; readonly until: number } | undefined>>;

function file(): string {
  return path.join(userDirectory('XDG_CACHE_HOME'), 'accounts.json');
}

/** Whether the accounting of a system has named this account within a day. Whatever is wrong with the file, it hasn't. */
export function isKnownAccount(system: string, account: string, now = Date.now()): boolean {
  const entry = readAll()[system];
  return entry?.account === account && entry.until > now && entry.until <= now + lifetime;
}

/** Best effort: where it can't be kept, the accounting is asked again. */
export function rememberAccount(system: string, account: string, now = Date.now()): void {
  try {
    makeDirectory(path.dirname(file()));
    replaceFile(
      file(),
      `${JSON.stringify({ ...readAll(), [system]: { account, until: now + lifetime } })}\n`,
    );
  } catch {
    // A full or read-only home is complained of where something is lost by it.
  }
}

function readAll(): Known {
  try {
    const all: unknown = JSON.parse(readFileSync(file(), 'utf8'));
    return typeof all === 'object' && all !== null ? (all as Known) : {};
  } catch {
    return {}; // none yet, or damaged
  }
}
