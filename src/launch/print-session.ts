import type { PersonError } from '../errors.ts';
import { type Observation, sessionReport } from '../sessions/observe.ts';
import { openingPage } from '../sessions/store.ts';
import { writeLink } from '../ui/output.ts';
import { paint } from '../ui/style.ts';
import type { Launch } from './launch.ts';

function portAdvice(tunnel: string): string {
  const port = /-L [\d.]+:(\d+):/.exec(tunnel)?.[1];
  return `If port ${port} is taken there, write another number for it in both lines.`;
}

/** With `--json` a launch prints one object, whatever becomes of it. */
let printedJson = false;

/**
 * Shows a session that has a link in the ways that the launch asked for.
 * @throws OutputError where the link can't be written
 */
export async function presentSession(
  { output, settings, progress }: Launch,
  seen: Observation,
  headline: string,
): Promise<void> {
  await printSession(seen, output, headline);
  const { id, url, tunnel } = sessionReport(seen);
  if (url === null) return;
  if (tunnel) {
    if (settings.open?.value)
      progress.note(
        'The link opens where the tunnel begins: "start-jupyter tunnel", typed there, does all of it.',
      );
    return;
  }
  if (settings.qr?.value && !output.quiet) {
    const { qrCode } = await import('../ui/qr.ts');
    process.stderr.write(qrCode(url, process.stderr));
  }
  if (!settings.open?.value) return;
  const { openInBrowser } = await import('../ui/browser.ts');
  const problem = await openInBrowser(openingPage(id), url);
  if (problem !== undefined) progress.note(`No browser can be opened: ${problem}. Open the link yourself.`);
}

/** The URL alone on stdout, so that it can be piped; what a person wants to know beside it on stderr; with `--json` one object. */
async function printSession(seen: Observation, output: Launch['output'], headline: string): Promise<void> {
  const report = sessionReport(seen);
  if (output.json) {
    printedJson = true;
    await writeLink(`${JSON.stringify(report)}\n`);
    return;
  }
  if (!output.quiet) process.stderr.write(`${paint(process.stderr, 'bold', headline)}\n`);
  if (report.tunnel && !output.quiet)
    process.stderr.write(
      `Paste this into a terminal on your own machine, and leave it there:\n  ${report.tunnel}\nThen open this in a browser there:\n`,
    );
  await writeLink(`${output.quiet || !process.stdout.isTTY ? '' : '  '}${report.url ?? ''}\n`);
  if (output.quiet) return;
  const end =
    report.scheduler === 'none' ? 'Ctrl-C ends it.' : `End it with: start-jupyter stop ${report.id}`;
  for (const line of [
    seen.record.gated
      ? `It opens for you alone, once you have signed in. To let somebody else in: start-jupyter share ${report.id} USER`
      : 'Keep the link to yourself: whoever has it can use your account.',
    ...(report.tunnel ? [portAdvice(report.tunnel)] : []),
    `Session ${report.id}. ${end}`,
  ]) {
    process.stderr.write(`${paint(process.stderr, 'dim', line)}\n`);
  }
}

/** The object of a launch that did not come up: the same keys, null for what was not known yet, or is not there any more. */
export function printFailure({ report, message }: PersonError): void {
  if (printedJson) return;
  const failure = {
    id: null,
    system: null,
    scheduler: null,
    access: null,
    jobId: null,
    url: null,
    directory: null,
    script: null,
    log: null,
    submittedAt: null,
    expiresAt: null,
    ...report,
    state: 'failed',
    reason: report?.reason ?? message,
  };
  process.stdout.write(`${JSON.stringify(failure)}\n`);
}
