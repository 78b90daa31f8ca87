/** Sessions whose record says nothing to this version: they can't be observed or stopped, but nobody may overlook them. */
import { lstatSync } from 'node:fs';
import path from 'node:path';
import { isNoText, readSmall, systemWords } from '../file-system.ts';
import { listSessions, readEvents, removeSession, sessionDirectoryNames, sessionFiles } from './store.ts';

export interface UnreadableSession {
  readonly id: string;
  /** What is wrong, as the end of a sentence about its record. */
  readonly problem: string;
  /** No version of this program can have meant it so; others may be a later version's. */
  readonly isDamaged: boolean;
}

/** A job that has not told its end may still run while anything changes; nothing runs for so long. */
const untouchedDays = 30;

export function unreadableSessions(): UnreadableSession[] {
  const readable = new Set(listSessions().map(({ id }) => id));
  return sessionDirectoryNames()
    .filter((id) => !readable.has(id))
    .flatMap((id) => {
      const found = problemOf(id);
      return found === undefined ? [] : [{ id, ...found }];
    });
}

/** Undefined where there is no record at all, as while a launch begins. */
function problemOf(id: string): Omit<UnreadableSession, 'id'> | undefined {
  let text: string;
  try {
    text = readSmall(path.join(sessionFiles(id).directory, 'session.json'));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? undefined
      : { problem: systemWords(error), isDamaged: isNoText(error) };
  }
  try {
    if (JSON.parse(text)?.id === id) return { problem: "is another version's", isDamaged: false };
  } catch {
    // Half a file, or nothing.
  }
  return { problem: text === '' ? 'is empty' : 'is damaged', isDamaged: true };
}

/** A line on stderr for each, where sessions are told of: what nobody sees, nobody stops. */
export function tellUnreadable(): void {
  for (const { id, problem, isDamaged } of unreadableSessions())
    process.stderr.write(
      `Session ${id} can't be shown: its record ${problem}.${isDamaged ? ' If it runs, end it where it was started (--here), or with the scheduler\'s own commands; "start-jupyter prune" removes what is left.' : ''}\n`,
    );
}

/** Removes damaged sessions, with their secrets, that no running job can belong to; returns their names. */
export function removeDamaged(now: Date): string[] {
  const limit = now.getTime() - untouchedDays * 24 * 3600_000;
  const over = unreadableSessions().filter(
    ({ id, isDamaged }) =>
      isDamaged &&
      (readEvents(id).some(({ phase }) => phase === 'ended' || phase === 'failed') || lastChange(id) < limit),
  );
  for (const { id } of over) removeSession(id);
  return over.map(({ id }) => id);
}

/** When anything was last written by or for its job, in milliseconds since 1970. */
function lastChange(id: string): number {
  const { directory, log } = sessionFiles(id);
  const files = [directory, log, path.join(directory, 'events'), path.join(directory, 'session.json')];
  return Math.max(...files.map((file) => lstatSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0));
}
