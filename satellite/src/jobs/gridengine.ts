/**
 * What Grid Engine's qstat(1) and qacct(1) print, for report-jobs and for the launcher. Recorded with 8.1.9; what older
 * versions print differently is noted where it is read.
 */
import sax from 'sax';

/** An element of XML in the order of the document; with its text where it holds nothing else. */
export interface Element {
  readonly name: string;
  readonly text: string | undefined;
}

/**
 * The elements of an XML document with this root; undefined for text that is none, or that breaks off. What is malformed
 * inside is passed over: version 6.2 writes elements without a name, and job names come in any encoding.
 */
export function elements(xml: string, root: string): Element[] | undefined {
  const parser = sax.parser(true);
  const found: { name: string; text: string | undefined }[] = [];
  let innermost: { name: string; text: string | undefined } | undefined;
  let depth = 0;
  parser.onerror = () => {
    parser.resume();
  };
  parser.onopentag = ({ name }) => {
    // What holds an element holds no text that means something.
    if (innermost !== undefined) innermost.text = undefined;
    innermost = { name, text: '' };
    found.push(innermost);
    depth += 1;
  };
  parser.ontext = (more) => {
    if (innermost?.text !== undefined) innermost.text += more.trim();
  };
  parser.onclosetag = () => {
    innermost = undefined;
    depth -= 1;
  };
  parser.write(xml).close();
  return found[0]?.name === root && depth === 0 ? found : undefined;
}

/** A job, or a task of an array job, as `qstat -xml` lists it. */
export interface ListedJob {
  /** With the task's number where it is one of an array: `4711.3`. */
  readonly id: string;
  /** As in sge_status(5): `qw`, `hqw`, `Eqw`, `t`, `r`, `dr`, … */
  readonly state: string;
  /** Between 0 and 1; 0 while it may not start. */
  readonly priority: number;
  /** Where it runs, as `queue@host`. */
  readonly queue: string | undefined;
  /** Undefined while it hasn't begun. */
  readonly startedAt: Date | undefined;
}

/**
 * Reads `qstat -xml`, run where the time zone is UTC; undefined for what it isn't, and where a job has no id or no state.
 * Jobs that wait come in their order.
 */
export function parseQstat(xml: string): ListedJob[] | undefined {
  const rows: Map<string, string>[] = [];
  const all = elements(xml, 'job_info');
  for (const { name, text } of all ?? []) {
    if (name === 'job_list') rows.push(new Map());
    else if (text !== undefined) rows.at(-1)?.set(name, text);
  }
  const jobs = rows.map(listedJob);
  return all && jobs.every((job) => job !== undefined) ? jobs : undefined;
}

function listedJob(row: ReadonlyMap<string, string>): ListedJob | undefined {
  const id = row.get('JB_job_number');
  const state = row.get('state');
  if (!id || !state) return undefined;
  // Tasks that still wait share a line, as `2-5:1`.
  const task = row.get('tasks') ?? '';
  const start = row.get('JAT_start_time');
  return {
    id: /^\d+$/.test(task) ? `${id}.${task}` : id,
    state,
    priority: Number(row.get('JAT_prio')),
    queue: row.get('queue_name') || undefined,
    startedAt: start === undefined ? undefined : utc(start),
  };
}

/**
 * Reads `qstat -j ID,… -xml`: what Grid Engine has to say of each job, errors first. Where schedd_job_info in
 * sched_conf(5) is off, it says nothing of why a job waits.
 */
export function parseMessages(xml: string): ReadonlyMap<string, readonly string[]> {
  const messages = new Map<string, string[]>();
  const add = (id: string, message: string) => messages.set(id, [...(messages.get(id) ?? []), message]);
  let job: string | undefined;
  let meant: string[] = [];
  for (const { name, text } of elements(xml, 'detailed_job_info') ?? []) {
    if (text === undefined) continue;
    if (name === 'JB_job_number') job = text;
    // Begins with time, user and process: `11/22/2026 02:08:10 [2000:32445]: `.
    else if (name === 'QIM_message' && job !== undefined)
      add(job, text.replace(/^[\d/]+ [\d:]+ \[[\d:]+\]: /, ''));
    else if (name === 'ULNG_value') meant.push(text);
    else if (name === 'MES_message') {
      for (const id of meant) add(id, text);
      meant = [];
    }
  }
  return messages;
}

function utc(text: string): Date | undefined {
  const at = new Date(`${text}Z`);
  return Number.isNaN(at.getTime()) ? undefined : at;
}

/** What a state of sge_status(5) says of a job. The letters combine: `dRr`, `Ehqw`, `tS`. */
export type Stage =
  | 'error'
  | 'held'
  | 'waiting'
  | 'leaving'
  | 'suspended'
  | 'running'
  | 'finished'
  | 'unknown';

export function stageOf(state: string): Stage {
  if (!/^[dEhqrRsStTwz]+$/.test(state)) return 'unknown';
  if (state.includes('E')) return 'error';
  if (state.includes('z')) return 'finished';
  if (state.startsWith('d')) return 'leaving';
  if (state.includes('q')) return state.includes('h') ? 'held' : 'waiting';
  if (/[sST]/.test(state)) return 'suspended';
  return /[rt]/.test(state) ? 'running' : 'unknown';
}

/** How a job ended, in Slurm's words for the same; with what was measured where the reason is a guess from that. */
export type Ending = 'COMPLETED' | 'FAILED' | 'TIMEOUT' | 'CANCELLED' | 'OUT_OF_MEMORY' | 'LAUNCH_FAILED';

/** Codes of sge_status(5) for jobs that never ran: something was missing on the node. */
const neverRan: ReadonlySet<number> = new Set([
  1, 3, 4, 6, 7, 8, 9, 10, 11, 26, 27, 28, 29, 31, 32, 33, 34, 35, 36, 38,
]);

/** Seconds: the execution daemon counts towards the limit before the job begins to run on a busy node, and is measured. */
const LIMIT_SLACK = 5;

/** Reads `qacct -j`: how the last run of a job ended; undefined for what isn't a record of one. */
export function parseQacct(text: string): Ending | undefined {
  const record = text.split(/^=+$/m).at(-1) ?? '';
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}\\s+(.*?)\\s*$`, 'm').exec(record)?.[1];
  const failed = Number.parseInt(field('failed') ?? '', 10);
  const status = Number.parseInt(field('exit_status') ?? '', 10);
  if (Number.isNaN(failed) || Number.isNaN(status)) return undefined;
  if (neverRan.has(failed)) return 'LAUNCH_FAILED';
  // 128 and 9: killed, as by qdel, which leaves no other trace, and at a hard limit.
  if (failed !== 37 && status !== 137) return failed === 0 && status === 0 ? 'COMPLETED' : 'FAILED';
  const limits = field('category') ?? '';
  const limit = seconds(/\bh_rt=([\d:]+)/.exec(limits)?.[1]);
  const used = seconds(/^[\d:]+/.exec(field('ru_wallclock') ?? '')?.[0]);
  if (limit !== undefined && used !== undefined && used >= limit - LIMIT_SLACK) return 'TIMEOUT';
  if (failed !== 37) return 'CANCELLED';
  return /\bh_vmem=/.test(limits) ? 'OUT_OF_MEMORY' : 'FAILED';
}

/** `5400` or `1:30:0`, see sge_types(1). */
function seconds(text: string | undefined): number | undefined {
  return text?.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);
}
