/** Sessions whose record says nothing to this version: they can't be observed or stopped, but nobody may overlook them. */
import { lstatSync } from 'node:fs';
import path from 'node:path';
import {
  listSessions,
  type RecordProblem,
  readEvents,
  recordProblem,
  removeSession,
  sessionDirectoryNames,
  sessionFiles,
  waysToEnd,
} from './store.ts';

export interface UnreadableSession extends RecordProblem {
  readonly id: string;
}

/** A job that has not told its end may still run while anything changes; nothing runs for so long. */
const untouchedDays = 30;

export function unreadableSessions(): UnreadableSession[] {
  const readable = new Set(listSessions().map(({ id }) => id));
  return sessionDirectoryNames()
    .filter((id) => !readable.has(id))
    .flatMap((id) => {
      const found = recordProblem(id);
      return found === undefined ? [] : [{ id, ...found }];
    });
}

/** A line on stderr for each, where sessions are told of: what nobody sees, nobody stops. */
export function tellUnreadable(): void {
  for (const { id, ...found } of unreadableSessions())
    process.stderr.write(
      `Session ${id} can't be shown: its record ${found.problem}. ${waysToEnd(found)}${found.isDamaged ? '; "start-jupyter prune" removes what is left' : ''}.\n`,
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
