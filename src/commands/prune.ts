/** `start-jupyter prune`: removes what is kept of sessions that are over. */
import { readOption } from '../config/layers.ts';
import { observe } from '../sessions/observe.ts';
import { isOver } from '../sessions/session.ts';
import { listSessions, removeRemains, removeSession } from '../sessions/store.ts';
import { removeDamaged } from '../sessions/unreadable.ts';

/** A launch that is just beginning has a directory without a record for a moment. */
const remainsSeconds = 24 * 3600;

/** @throws UsageError for an `olderThan` that is no length of time */
export async function run({
  olderThan,
  json,
}: {
  readonly olderThan?: string;
  readonly json?: boolean;
}): Promise<number> {
  const seconds = olderThan === undefined ? undefined : readOption('time', olderThan, '--older-than');
  // Those that are found to be over just now are over, too.
  const newest = seconds === undefined ? Number.POSITIVE_INFINITY : Date.now() - seconds * 1000;
  const over = (await observe(listSessions())).filter(
    ({ state, record }) => isOver(state) && Date.parse(record.outcome?.at ?? record.submittedAt) <= newest,
  );
  for (const { record } of over) removeSession(record.id);
  const remains = removeRemains(new Date(Date.now() - remainsSeconds * 1000));
  const removed = [...over.map(({ record }) => record.id), ...remains, ...removeDamaged(new Date())];
  if (json) process.stdout.write(`${JSON.stringify({ removed })}\n`);
  else
    process.stderr.write(
      removed.length === 0 ? 'There is nothing to remove.\n' : `Removed: ${removed.join(', ')}\n`,
    );
  return 0;
}
