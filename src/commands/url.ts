/** `start-jupyter url [ID]` */
import { SessionError } from '../errors.ts';
import { observeSession, sessionReport } from '../sessions/observe.ts';
import type { SessionRecord } from '../sessions/session.ts';
import { findSession } from '../sessions/store.ts';
import { qrCode } from '../ui/qr.ts';

interface UrlOptions {
  readonly qr?: boolean;
  readonly json?: boolean;
}

/** @throws SessionError where the session is over and has no link any more */
export async function run(id: string | undefined, { qr, json }: UrlOptions): Promise<number> {
  const session = await linkOf(findSession(id));
  if (session.tunnel && !json) process.stderr.write(`${session.tunnel}\n`);
  if (qr) process.stderr.write(qrCode(session.url, process.stderr));
  process.stdout.write(`${json ? JSON.stringify(session) : session.url}\n`);
  return 0;
}

/** @throws SessionError where the session is over and has no link any more */
export async function linkOf(
  record: SessionRecord,
): Promise<{ id: string; url: string; tunnel?: string | null }> {
  const { id, url, tunnel, reason } = sessionReport(await observeSession(record));
  if (url === null)
    throw new SessionError(
      `Session ${id} is over: ${reason ?? 'its link is gone.'}`,
      'Start another one: start-jupyter',
    );
  return { id, url, ...(tunnel === undefined ? {} : { tunnel }) };
}
