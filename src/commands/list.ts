/** `start-jupyter list` */
import { observe, sessionReport } from '../sessions/observe.ts';
import { isOver, type SessionReport } from '../sessions/session.ts';
import { listSessions } from '../sessions/store.ts';
import { tellUnreadable } from '../sessions/unreadable.ts';
import { paint } from '../ui/style.ts';
import { alignColumns } from '../ui/table.ts';
import { formatDuration, printable } from '../values.ts';

export async function run({
  json,
  all,
}: {
  readonly json?: boolean;
  readonly all?: boolean;
}): Promise<number> {
  tellUnreadable();
  const observed = (await observe(listSessions())).map(sessionReport);
  const shown = observed.filter(({ state }) => all || json || !isOver(state)).toSorted(runningFirst);
  if (json) {
    process.stdout.write(`${JSON.stringify(shown)}\n`);
    return 0;
  }
  if (shown.length === 0) {
    const over = observed.length === 0 ? '' : ` ${observed.length} ended: see them with --all.`;
    process.stderr.write(`No session is running.${over}\n`);
    return 0;
  }
  const rows = shown.map((report) => [
    report.id,
    report.state,
    report.cluster === undefined ? (report.jobId ?? '-') : `${report.jobId} (${report.cluster})`,
    report.system,
    timeLeft(report),
    printable(report.directory),
  ]);
  const header = ['SESSION', 'STATE', 'JOB', 'SYSTEM', 'LEFT', 'DIRECTORY'];
  const [titles = '', ...lines] = alignColumns([header, ...rows]);
  process.stdout.write(`${paint(process.stdout, 'bold', titles)}\n${lines.join('\n')}\n`);
  return 0;
}

function runningFirst(a: SessionReport, b: SessionReport): number {
  return Number(isOver(a.state)) - Number(isOver(b.state)) || b.submittedAt.localeCompare(a.submittedAt);
}

function timeLeft({ expiresAt }: SessionReport): string {
  return expiresAt === null ? '-' : formatDuration((Date.parse(expiresAt) - Date.now()) / 1000);
}
