/**
 * What LSF's bjobs(1) prints with `-o … -json` (10.1 Fix Pack 2 and later), for report-jobs and for the launcher. Made from
 * IBM's manuals and from what users have published; nothing was recorded by us.
 */

/** One job as bjobs prints it: fields by their upper-case names, empty where they say nothing. */
export type Fields = Readonly<Record<string, string>>;

/** Jobs by id, and the ids that LSF doesn't know (any more). Elements of job arrays are left out. */
export interface BjobsAnswer {
  readonly jobs: ReadonlyMap<string, Fields>;
  readonly unknown: readonly string[];
}

/**
 * Reads the answer of bjobs. Undefined for anything but that: output without JSON, or a record with an error that isn't
 * about one job's being unknown. Before the JSON there may be `Cannot connect to LSF. Please wait ...`.
 */
export function parseBjobs(stdout: string): BjobsAnswer | undefined {
  const records = recordsOf(stdout);
  if (records === undefined) return undefined;
  const jobs = new Map<string, Fields>();
  const unknown: string[] = [];
  for (const fields of records) {
    const id = fields.JOBID ?? '';
    if (!/^\d+$/.test(id)) return undefined;
    if (fields.ERROR !== undefined) {
      if (!/is not found/i.test(fields.ERROR)) return undefined;
      unknown.push(id);
    } else if (!fields.STAT) return undefined;
    else if (!Number(fields.JOBINDEX)) jobs.set(id, fields);
  }
  return { jobs, unknown };
}

/** The records of a `-json` answer of bjobs or bqueues; undefined where there are none to read. */
export function recordsOf(stdout: string): Fields[] | undefined {
  const from = stdout.indexOf('{');
  try {
    const { RECORDS } = JSON.parse(stdout.slice(from, stdout.lastIndexOf('}') + 1)) as { RECORDS?: unknown };
    if (!Array.isArray(RECORDS)) return undefined;
    return RECORDS.map((record: Record<string, unknown>) =>
      Object.fromEntries(Object.entries(record).map(([name, value]) => [name.toUpperCase(), String(value)])),
    );
  } catch {
    return undefined;
  }
}

/**
 * The format for these fields with an estimated start, and without: older versions don't know the field. It is filled where
 * the site has LSB_ENABLE_ESTIMATION=Y in lsf.conf.
 */
export function bjobsFormats(fields: string): [withEstimate: string, without: string] {
  return [`${fields} estimated_sim_start_time`, fields];
}

/** Did bjobs refuse one of the fields? Its words for that are in no manual. */
export function rejectsField(exitCode: number | null | undefined, stderr: string): boolean {
  return exitCode !== 0 && /field/i.test(stderr);
}

/** That there is nothing to list is an error (exit status 255) and written to standard error. */
export const noJobs = /No (?:unfinished |matching |pending |running |suspended |done )?job found/i;
export const notFound = /Job <[^>]*>(?: is not found|: No matching job found)/i;

/** mbatchd or a daemon on the way to it doesn't answer; commands retry for a long time before they say so. */
export const unreachablePattern =
  /LSF is down|Cannot connect to LSF|Please wait|mbatchd|batch (?:system )?(?:daemon|library)|LIM is down|Failed in an LSF library call|Communication time ?out|Connection refused/i;

const months = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

/**
 * `Nov 22 02:06`, as printed where the time zone is UTC; with seconds, a year (LSB_DISPLAY_YEAR) and a letter for where it
 * comes from (L, E, X) in some versions. Without a year the nearest such time to `now` is meant.
 */
export function lsfTime(text: string | undefined, now = new Date()): Date | undefined {
  const match = /^([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d)(?::(\d\d))?(?: (\d{4}))?(?: [LEX])?$/.exec(
    text?.trim() ?? '',
  );
  const month = months.indexOf(match?.[1] ?? '');
  if (match === null || month === -1) return undefined;
  const [day, hours, minutes, seconds = 0] = match.slice(2, 6).map((part) => Number(part ?? 0));
  const inYear = (year: number) => new Date(Date.UTC(year, month, day, hours, minutes, seconds));
  if (match[6] !== undefined) return inYear(Number(match[6]));
  const years = [-1, 0, 1].map((offset) => inYear(now.getUTCFullYear() + offset));
  return years.toSorted((a, b) => Math.abs(+a - +now) - Math.abs(+b - +now))[0];
}

/** How a job ended, in Slurm's words for the same. */
export type Ending =
  | 'COMPLETED'
  | 'FAILED'
  | 'TIMEOUT'
  | 'CANCELLED'
  | 'OUT_OF_MEMORY'
  | 'PREEMPTED'
  | 'DEADLINE'
  | 'LAUNCH_FAILED';

/** Keywords at the beginning of EXIT_REASON, "Termination reasons" in IBM's administration guide. */
const terminations: Readonly<Record<string, Ending>> = {
  TERM_OWNER: 'CANCELLED',
  TERM_ADMIN: 'CANCELLED',
  TERM_FORCE_OWNER: 'CANCELLED',
  TERM_FORCE_ADMIN: 'CANCELLED',
  TERM_BUCKET_KILL: 'CANCELLED',
  TERM_RUNLIMIT: 'TIMEOUT',
  TERM_MEMLIMIT: 'OUT_OF_MEMORY',
  TERM_SWAP: 'OUT_OF_MEMORY',
  TERM_DEADLINE: 'DEADLINE',
  TERM_WINDOW: 'DEADLINE',
  TERM_PREEMPT: 'PREEMPTED',
  TERM_CWD_NOTEXIST: 'LAUNCH_FAILED',
  TERM_PRE_EXEC_FAIL: 'LAUNCH_FAILED',
};

/** How a job ended; undefined while it hasn't. */
export function endingOf({ STAT, EXIT_REASON = '' }: Fields): Ending | undefined {
  if (STAT === 'DONE') return 'COMPLETED';
  if (STAT !== 'EXIT') return undefined;
  return terminations[/^TERM_[A-Z_]+/.exec(EXIT_REASON.trim())?.[0] ?? ''] ?? 'FAILED';
}
