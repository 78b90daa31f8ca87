/** `start-jupyter status [ID]` */
import { observeSession, sessionReport } from '../sessions/observe.ts';
import { isOver, jobWords } from '../sessions/session.ts';
import { findSession } from '../sessions/store.ts';
import { tellUnreadable } from '../sessions/unreadable.ts';
import { describe } from '../ui/describe.ts';
import { paint } from '../ui/style.ts';
import { formatDuration, printable } from '../values.ts';

export async function run(id: string | undefined, { json }: { readonly json?: boolean }): Promise<number> {
  if (id === undefined) tellUnreadable();
  const seen = await observeSession(findSession(id));
  const report = sessionReport(seen);
  if (json) {
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return 0;
  }
  const rows: [string, string | null][] = [
    ['session', report.id],
    ['state', isOver(report.state) ? `${report.state}: ${report.reason}` : describe(seen)],
    ['system', report.system],
    ['job', report.jobId && jobWords(seen.record)],
    ['tunnel', report.tunnel ?? null],
    ['directory', printable(report.directory)],
    ['submitted', new Date(report.submittedAt).toLocaleString('sv-SE')],
    ['time left', report.expiresAt && formatDuration((Date.parse(report.expiresAt) - Date.now()) / 1000)],
    ['log', report.log],
  ];
  for (const [name, value] of rows) {
    if (value !== null) process.stdout.write(`${paint(process.stdout, 'bold', name.padEnd(10))}${value}\n`);
  }
  return 0;
}
