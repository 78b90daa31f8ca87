/**
 * What Grid Engine's qstat(1) and qacct(1) print, for report-jobs and for the launcher. Recorded with 8.1.9; what older
 * versions print differently is noted where it is read.
 */
import sax from 'sax';

/** One element of XML: the text of the elements in it that hold nothing but text; of several with one name, each. */
export type Leaves = ReadonlyMap<string, readonly string[]>;

/**
 * Every `element` of an XML document; undefined for text that isn't XML with this root. What is malformed inside is
 * passed over: version 6.2 writes elements without a name, and job names come in any encoding.
 */
export function elements(xml: string, root: string, element: string): Leaves[] | undefined {
  const parser = sax.parser(true);
  const found: Map<string, string[]>[] = [];
  const open: string[] = [];
  let outermost: string | undefined;
  let within: Map<string, string[]> | undefined;
  let depth = 0;
  let text: string | undefined;
  parser.onerror = () => {
    parser.resume();
  };
  parser.onopentag = ({ name }) => {
    outermost ??= name;
    open.push(name);
    text = '';
    if (within === undefined && name === element) {
      within = new Map();
      depth = open.length;
      found.push(within);
    }
  };
  parser.ontext = (more) => {
    if (text !== undefined) text += more;
  };
  parser.onclosetag = (name) => {
    if (within !== undefined && text !== undefined && open.length > depth)
      within.set(name, [...(within.get(name) ?? []), text.trim()]);
    if (open.length === depth) within = undefined;
    open.pop();
    text = undefined;
  };
  parser.write(xml).close();
  return outermost === root ? found : undefined;
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

/** Reads `qstat -xml`, run where the time zone is UTC; undefined for what it isn't. Jobs that wait come in their order. */
export function parseQstat(xml: string): ListedJob[] | undefined {
  return elements(xml, 'job_info', 'job_list')?.flatMap((leaves) => {
    const [id] = leaves.get('JB_job_number') ?? [];
    const [state] = leaves.get('state') ?? [];
    if (id === undefined || state === undefined) return [];
    // Tasks that still wait share a line, as `2-5:1`.
    const [task = ''] = leaves.get('tasks') ?? [];
    const [start] = leaves.get('JAT_start_time') ?? [];
    return [
      {
        id: /^\d+$/.test(task) ? `${id}.${task}` : id,
        state,
        priority: Number(leaves.get('JAT_prio')?.[0]),
        queue: leaves.get('queue_name')?.[0] || undefined,
        startedAt: start === undefined ? undefined : utc(start),
      },
    ];
  });
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
  if (limit !== undefined && used !== undefined && used >= limit) return 'TIMEOUT';
  if (failed !== 37) return 'CANCELLED';
  return /\bh_vmem=/.test(limits) ? 'OUT_OF_MEMORY' : 'FAILED';
}

/** `5400` or `1:30:0`, see sge_types(1). */
function seconds(text: string | undefined): number | undefined {
  return text?.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);
}
