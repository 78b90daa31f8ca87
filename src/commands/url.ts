/** `start-jupyter url [ID]` */
import { SessionError } from '../errors.ts';
import { observeSession, sessionReport } from '../sessions/observe.ts';
import { findSession } from '../sessions/store.ts';

/** @throws SessionError where the session is over and has no link any more */
export async function run(id: string | undefined, { json }: { readonly json?: boolean }): Promise<number> {
  const seen = await observeSession(findSession(id));
  const report = sessionReport(seen);
  if (report.url === null)
    throw new SessionError(
      `Session ${report.id} is over: ${report.reason ?? 'its link is gone.'}`,
      'Start another one: start-jupyter',
    );
  process.stdout.write(`${json ? JSON.stringify({ id: report.id, url: report.url }) : report.url}\n`);
  return 0;
}
