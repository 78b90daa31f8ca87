import { firstLine, run } from './command.ts';
import type { QueuedJob, Scheduler } from './scheduler.ts';

/** A job's attributes as qstat names them; those in groups as `Resource_List.walltime`. */
type Attributes = Readonly<Record<string, string>>;

/**
 * Reads `qstat -f -F json`, or the text of `qstat -f` where that isn't JSON (functions in a job's environment break it,
 * openpbs issue 2541). Undefined for what is neither.
 */
export function parseJobs(output: string): Map<string, Attributes> | undefined {
  try {
    const { Jobs = {} } = JSON.parse(output) as { Jobs?: Record<string, Record<string, unknown>> };
    return new Map(Object.entries(Jobs).map(([id, attributes]) => [id, flat(attributes)]));
  } catch {
    return parseText(output);
  }
}

function flat(attributes: Record<string, unknown>): Attributes {
  const pairs = Object.entries(attributes).flatMap(([name, value]) =>
    typeof value === 'object' && value !== null
      ? Object.entries(value).map(([part, inner]) => [`${name}.${part}`, String(inner)])
      : [[name, String(value)]],
  );
  return Object.fromEntries(pairs);
}

function parseText(output: string): Map<string, Attributes> | undefined {
  const jobs = new Map<string, Attributes>();
  // Long values go on in lines that begin with a tab.
  for (const section of output
    .replaceAll('\n\t', '')
    .split(/^Job Id: /m)
    .slice(1)) {
    const [id = '', ...lines] = section.split('\n');
    const pairs = lines.flatMap((line) => {
      const [, name, value] = /^ {4}([\w.]+) = (.*)$/.exec(line) ?? [];
      return name === undefined ? [] : [[name, value]];
    });
    jobs.set(id.trim(), Object.fromEntries(pairs));
  }
  return jobs.size > 0 || output.trim() === '' ? jobs : undefined;
}

/** States of jobs in the queue, qstat(1B), in words that say the same to everybody. */
const inQueue: Readonly<Record<string, string>> = {
  Q: 'PENDING',
  W: 'PENDING',
  T: 'PENDING',
  H: 'PENDING',
  R: 'RUNNING',
  B: 'RUNNING',
  E: 'COMPLETING',
  S: 'SUSPENDED',
  U: 'SUSPENDED',
};

/** Every job in the queue. PBS knows no place in it that would say when a job's turn comes. */
export function queuedJobs(jobs: ReadonlyMap<string, Attributes>): QueuedJob[] {
  return [...jobs].flatMap(([id, attributes]) => {
    const { job_state: letter = '', comment } = attributes;
    const state = inQueue[letter];
    if (state === undefined) return [];
    const isWaiting = state === 'PENDING';
    return [
      {
        id,
        state,
        position: null,
        estimatedStart: isWaiting ? time(attributes['estimated.start_time']) : null,
        reason: letter === 'H' ? 'JobHeld' : isWaiting ? (comment ?? null) : null,
      },
    ];
  });
}

/** "Sat Nov 21 21:04:48 2026", as printed where the time zone is UTC; seconds since the epoch in some versions. */
function time(text: string | undefined): string | null {
  if (text === undefined) return null;
  const at = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(`${text} UTC`);
  return Number.isNaN(at) ? null : new Date(at).toISOString();
}

/** How a job ended; undefined while it hasn't. */
export function finalState(attributes: Attributes): string | undefined {
  if (attributes.job_state !== 'F') return undefined;
  // Deleted before it ran.
  if (attributes.Exit_status === undefined) return 'CANCELLED';
  const status = Number(attributes.Exit_status);
  if (status === 0) return 'COMPLETED';
  // Above 256: ended by a signal, which is how a deletion and the time limit come.
  if (status <= 256) return 'FAILED';
  const used = seconds(attributes['resources_used.walltime']);
  const limit = seconds(attributes['Resource_List.walltime']);
  return used !== undefined && limit !== undefined && used >= limit ? 'TIMEOUT' : 'CANCELLED';
}

function seconds(text: string | undefined): number | undefined {
  const [, hours, minutes, rest] = /^(\d+):(\d\d):(\d\d)$/.exec(text ?? '') ?? [];
  return hours === undefined ? undefined : Number(hours) * 3600 + Number(minutes) * 60 + Number(rest);
}

const refused = (stderr: string, code: number | null) => ({
  ok: false as const,
  why: firstLine(stderr) || `qstat exited with ${code}`,
});

export const pbs: Scheduler = {
  async queue() {
    const asJson = await run('qstat', ['-f', '-F', 'json']);
    if (asJson.code !== 0) return refused(asJson.stderr, asJson.code);
    let jobs = parseJobs(asJson.stdout);
    if (jobs === undefined) {
      const asText = await run('qstat', ['-f']);
      if (asText.code !== 0) return refused(asText.stderr, asText.code);
      jobs = parseJobs(asText.stdout);
    }
    return jobs === undefined
      ? { ok: false, why: 'what qstat prints is neither JSON nor a list of jobs' }
      : { ok: true, jobs: queuedJobs(jobs) };
  },

  async finalState(id) {
    const { code, stdout, stderr } = await run('qstat', ['-x', '-f', '-F', 'json', id]);
    // 153: not known; 35: finished, and no history kept (the numbers differ between versions, the words don't).
    if (/Unknown Job Id|Job has finished/i.test(stderr)) return { ok: true, state: null };
    if (code !== 0) return refused(stderr, code);
    const [attributes] = parseJobs(stdout)?.values() ?? [];
    const state = attributes && finalState(attributes);
    // The history may lag behind the queue: it is asked again.
    return state === undefined ? { ok: false, why: `${id} has not ended` } : { ok: true, state };
  },
};
