import { readFileSync } from 'node:fs';
import { Agent, request } from 'undici';
import { address, caFile, type ExecResult, labExec, type Place } from '../../../lab/lab.ts';

/** What `--json` prints of a launch that came up. */
export interface LaunchReport {
  readonly id: string;
  readonly jobId: string;
  readonly url: string;
  readonly state: string;
  readonly reason?: string;
  readonly log: string;
  readonly script: string;
}

/** Runs `start-jupyter` in the lab as a user on the login host, without throwing when it fails. */
export function startJupyter(
  args: readonly string[],
  place: Place = {},
  program = 'start-jupyter',
): Promise<ExecResult> {
  return labExec([program, ...args], { ...place, reject: false, timeout: 150_000 });
}

/** Launches with `--json` and returns the object; throws with what was said on stderr where that failed. */
export async function launch(
  args: readonly string[],
  place: Place = {},
  program?: string,
): Promise<LaunchReport> {
  const [own, scheduler] = splitAtDashes(args);
  const result = await startJupyter([...own, '--json', ...scheduler], place, program);
  if (result.exitCode !== 0)
    throw new Error(`start-jupyter ended with ${result.exitCode}: ${result.stderr}\n${result.stdout}`);
  return JSON.parse(result.stdout);
}

function splitAtDashes(args: readonly string[]): [string[], string[]] {
  const at = args.indexOf('--');
  return at === -1 ? [[...args], []] : [args.slice(0, at), args.slice(at)];
}

export async function sessionStatus(id: string, place: Place = {}): Promise<LaunchReport> {
  return JSON.parse((await labExec(['start-jupyter', 'status', id, '--json'], place)).stdout);
}

/** Ends every session of a user, so that the next test finds an empty cluster. */
export async function stopAll(...users: string[]): Promise<void> {
  await Promise.all(users.map((user) => labExec(['start-jupyter', 'stop', '--all'], { user })));
}

/** The two secrets in a link. */
export function secretsIn(url: string): { jupyterToken: string; proxyToken: string } {
  const { hostname, searchParams } = new URL(url);
  return { jupyterToken: searchParams.get('token') as string, proxyToken: hostname.split('.')[0] as string };
}

/** Fetches from a site as a browser's first request would, with certificates verified, at the proxy's address. */
export async function fetchSite(
  url: string,
  headers: Record<string, string> = { accept: 'text/html' },
): Promise<{ status: number; text: string }> {
  const dispatcher = new Agent({
    connect: {
      ca: readFileSync(caFile),
      lookup: (_hostname, options, callback) =>
        options.all ? callback(null, [{ address, family: 4 }]) : callback(null, address, 4),
    },
  });
  try {
    const response = await request(url, { dispatcher, headers });
    return { status: response.statusCode, text: await response.body.text() };
  } finally {
    await dispatcher.destroy();
  }
}

/** What a person reads on a page of the proxy. */
export async function pageText(url: string): Promise<string> {
  const { text } = await fetchSite(url);
  return text
    .replace(/<(script|style)[\s\S]*?<\/\1>/g, '')
    .replace(/<[^>]*>/g, ' ')
    .replace(/&#34;|&quot;/g, '"')
    .replace(/&#39;|&apos;/g, "'")
    .replace(/&amp;/g, '&')
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/\s+/g, ' ')
    .trim();
}
