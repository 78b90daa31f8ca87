/** `start-jupyter stop ID|--all` */
import { PersonError, SchedulerError, UsageError } from '../errors.ts';
import { endSession } from '../sessions/end-session.ts';
import { observe, sessionReport } from '../sessions/observe.ts';
import { isOver, type SessionRecord } from '../sessions/session.ts';
import { findSession, listSessions } from '../sessions/store.ts';
import { createProgress } from '../ui/progress.ts';

/** @throws UsageError without ID and --all; SchedulerError where a session could not be ended */
export async function run(
  id: string | undefined,
  { all, json }: { readonly all?: boolean; readonly json?: boolean },
): Promise<number> {
  const records = await wanted(id, all ?? false);
  const progress = createProgress(process.stderr, json ?? false);
  try {
    if (records.length > 0) progress.status(`Ending ${records.map((record) => record.id).join(', ')}`);
    const results = await Promise.allSettled(
      records.map((record) => endSession(record, 'Stopped with "start-jupyter stop".')),
    );
    const ended = results
      .filter((result) => result.status === 'fulfilled')
      .map((result) => sessionReport(result.value));
    progress.end();
    if (json) process.stdout.write(`${JSON.stringify(id === undefined ? ended : (ended[0] ?? null))}\n`);
    else
      for (const report of ended)
        process.stderr.write(`Session ${report.id} ${report.state}: ${report.reason}\n`);
    const failure = results.find((result) => result.status === 'rejected')?.reason;
    if (failure !== undefined)
      throw failure instanceof PersonError ? failure : new SchedulerError(String(failure));
    if (records.length === 0 && !json) process.stderr.write('No session is running.\n');
    return 0;
  } finally {
    progress.end();
  }
}

async function wanted(id: string | undefined, all: boolean): Promise<SessionRecord[]> {
  if (all && id !== undefined) throw new UsageError('Name one session or write --all, not both.');
  if (id !== undefined) return [findSession(id)];
  if (!all) throw new UsageError('Which session? Write its ID, or --all.', 'See "start-jupyter list".');
  return (await observe(listSessions())).filter(({ state }) => !isOver(state)).map(({ record }) => record);
}
