/**
 * IBM Spectrum LSF 10.1, Fix Pack 2 and later: bsub(1), bjobs(1), bkill(1), bqueues(1). Made from IBM's manuals and from what
 * users have published of its answers; it has met no real LSF yet. An answer that nobody foresaw is `unreachable`, never
 * `unknown`.
 */
import {
  bjobsFormats,
  type Ending,
  endingOf,
  type Fields,
  lsfTime,
  notFound,
  parseBjobs,
  recordsOf,
  rejectsField,
  unreachablePattern,
} from 'satellite/bjobs';
import type { LaunchSpec } from '../launch-spec.ts';
import { readWords, type Unfit, unfitAmong } from './arguments.ts';
import { capacityOf, type NodeReport } from './capacity.ts';
import { type CommandOutput, lines, runCommand, silentEnd, withoutJob } from './command.ts';
import {
  type CancelOutcome,
  endedByItself,
  type JobReport,
  type JobScript,
  type Offers,
  type Scheduler,
  type SubmitOutcome,
  type Unsupported,
  type Vacancies,
  wordOfSlurm,
} from './scheduler.ts';

export const lsf: Scheduler = {
  title: 'LSF',
  commands: ['bsub', 'bjobs', 'bkill'],
  unfit,
  unsupported,
  directives,
  submit,
  jobs,
  cancel,
  offers,
  vacancies: async (_, patience) => vacancies(patience),
};

// ---- Dialect --------------------------------------------------------------------------------------------------------

/**
 * Options of bsub that would take the launcher its log, its script on standard input, its single job or the answer with the
 * job's id (blocking and interactive jobs, packs), or have the job run again, on another node. Arrays are asked for in -J.
 */
const ownOptions =
  /^-(?:o|oo|e|eo|i|is|I|Is|Ip|IS|ISs|ISp|IX|K|J|Jd|L|r|Q|pack|json|jsdl|jsdl_strict|yaml|Zs)$/;

/** Options of bsub without a value; all others have one. */
const flags = /^-(?:ar|B|datachk|h|H|hl|I\w*|K|N|Ne|r|rn|rnc|ti|tty|ul|V|x|XF|Zs)$/;

function unfit(args: readonly string[]): Unfit[] {
  const read = readWords(args, (option) => (flags.test(option) ? 0 : undefined));
  return unfitAmong(read, ({ option }) => {
    if (ownOptions.test(option)) return 'own';
    if (option === '-W') return 'time';
    return option === '-h' || option === '-V' ? 'answer' : undefined;
  });
}

/** What can't be asked of LSF. */
export function unsupported({ resources }: LaunchSpec): Unsupported | undefined {
  const slurmOnly = wordOfSlurm(resources, ['gres', 'qos'], { title: 'LSF', submit: 'bsub' });
  if (slurmOnly !== undefined) return slurmOnly;
  if (resources.constraint !== undefined && !/^\w+$/.test(resources.constraint))
    return {
      option: 'constraint',
      message: 'with LSF this is the name of one resource',
      hint: `Give bsub its own words instead: -- -R 'select[…]'.`,
    };
  return undefined;
}

/** `#BSUB` lines; what isn't asked for is left to the site's defaults. */
export function directives({ resources, system: { lsf: dialect = {} } }: LaunchSpec): string[] {
  const {
    account,
    partition,
    reservation,
    timeLimit,
    nodes = 1,
    cpus = 1,
    memory,
    gpu,
    constraint,
  } = resources;
  const tasks = nodes * cpus;
  // With its unit, since the default one is the site's (LSF_UNIT_FOR_LIMITS).
  const amount = memory && `${Math.ceil(dialect.memoryPer === 'task' ? memory / cpus : memory)}MB`;
  return [
    '-J start-jupyter',
    // The script writes its log itself; without a file LSF would send a mail.
    '-o /dev/null',
    // A job that is run again would run on another node, and a token is redeemed once.
    '-rn',
    ...(account === undefined ? [] : [`-P ${account}`]),
    ...(partition === undefined ? [] : [`-q "${partition.split(',').join(' ')}"`]),
    ...(reservation === undefined ? [] : [`-U ${reservation}`]),
    ...(timeLimit === undefined ? [] : [`-W ${runLimit(timeLimit)}`]),
    ...(tasks > 1 ? [`-n ${tasks}`, `-R "span[${nodes > 1 ? `ptile=${cpus}` : 'hosts=1'}]"`] : []),
    ...(amount === undefined ? [] : [`-M ${amount}`, `-R "rusage[mem=${amount}]"`]),
    ...(gpu === undefined
      ? []
      : [`-gpu "num=${gpu.count}${gpu.type === undefined ? '' : `:gmodel=${gpu.type}`}"`]),
    ...(constraint === undefined ? [] : [`-R "select[${constraint}]"`]),
  ].map((directive) => `#BSUB ${directive}`);
}

/** Hours and minutes, `36:05`; seconds are rounded up. */
function runLimit(seconds: number): string {
  const minutes = Math.ceil(seconds / 60);
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}`;
}

// ---- Commands -------------------------------------------------------------------------------------------------------

/** bjobs prints local times without a zone: in UTC they have one. */
const queryEnvironment = { TZ: 'UTC', LC_ALL: 'C' };

/** A script that is an argument is a command to bsub, and its directives are not read: it comes on standard input. */
async function submit(script: Promise<JobScript>, extraArguments: readonly string[]): Promise<SubmitOutcome> {
  const { text: input } = await script;
  // A slow mbatchd may still take the job after we gave up: better to wait for its word.
  return parseSubmit(await runCommand('bsub', extraArguments, { input, timeout: 180_000 }));
}

const fields = 'jobid jobindex stat pend_reason exec_host start_time exit_code exit_reason';

async function jobs(jobIds: readonly string[]): Promise<ReadonlyMap<string, JobReport>> {
  if (jobIds.length === 0) return new Map();
  const output = await bjobs(jobIds);
  return new Map(jobIds.map((id) => [id, reportFrom(output, id)]));
}

/** With estimates where this version has them. */
async function bjobs(jobIds: readonly string[]): Promise<CommandOutput> {
  const [withEstimate, without] = bjobsFormats(fields);
  const ask = (format: string) =>
    runCommand('bjobs', ['-a', '-o', format, '-json', ...jobIds], { env: queryEnvironment });
  const output = await ask(withEstimate);
  return rejectsField(output.exitCode, output.stderr) ? ask(without) : output;
}

async function cancel(jobId: string): Promise<CancelOutcome> {
  return parseCancel(await runCommand('bkill', [jobId], { timeout: 60_000, env: queryEnvironment }));
}

async function offers(timeout?: number): Promise<Offers | { kind: 'unreachable'; message: string }> {
  const output = await runCommand('bqueues', ['-o', 'queue_name status', '-json'], {
    env: queryEnvironment,
    timeout,
  });
  if (isUnreachable(output)) return { kind: 'unreachable', message: complaint(output) };
  // Projects are written down by LSF and mean nothing to it.
  return { partitions: parseQueues(output), accounts: undefined };
}

async function vacancies(timeout: number): Promise<Vacancies | undefined> {
  const { stdout, exitCode } = await runCommand('bhosts', ['-w'], { env: queryEnvironment, timeout });
  return exitCode === 0 ? parseHosts(stdout) : undefined;
}

// ---- What the commands say ------------------------------------------------------------------------------------------

function isUnreachable({ exitCode, stdout, stderr }: CommandOutput): boolean {
  return exitCode === undefined || (exitCode !== 0 && unreachablePattern.test(stderr + stdout));
}

/** `Job <930> is submitted to default queue <normal>.`, among what a site's esub may say. */
export function parseSubmit(output: CommandOutput): SubmitOutcome {
  const jobId = /^Job <(\d+)> is submitted to /m.exec(output.stdout)?.[1];
  if (output.exitCode === 0 && jobId !== undefined) return { kind: 'submitted', jobId };
  if (output.exitCode === 0 || output.killed !== undefined)
    return { kind: 'unclear', message: withoutJob('bsub', output, complaint(output)) };
  return { kind: isUnreachable(output) ? 'unreachable' : 'rejected', message: complaint(output) };
}

/** What an answer of bjobs says of one job: a job that it neither shows nor disowns has not been answered for. */
export function reportFrom(output: CommandOutput, id: string, now = new Date()): JobReport {
  const answer = parseBjobs(output.stdout);
  const job = answer?.jobs.get(id);
  if (job !== undefined) return jobReport(job, now);
  const disowned =
    answer?.unknown.includes(id) ||
    lines(output.stderr).some((line) => notFound.test(line) && line.includes(`<${id}>`));
  return disowned ? { kind: 'unknown' } : { kind: 'unreachable', message: complaint(output) };
}

function jobReport(job: Fields, now: Date): JobReport {
  const { STAT: state = '', PEND_REASON = '', EXEC_HOST = '' } = job;
  switch (state) {
    case 'PEND':
    case 'WAIT':
    case 'PROV':
    case 'PSUSP':
      return {
        kind: 'queued',
        reason:
          PEND_REASON.split(';')[0]?.trim() || (state === 'PSUSP' ? 'held; "bresume" lets it go' : undefined),
        estimatedStart: lsfTime(job.ESTIMATED_SIM_START_TIME, now),
      };
    // ZOMBI: killed while its host could not be reached.
    case 'RUN':
    case 'USUSP':
    case 'SSUSP':
    case 'ZOMBI':
      return {
        kind: 'running',
        // `c1`, `c1:c1:c2` or `4*c1:2*c2`
        node: EXEC_HOST.split(':')[0]?.replace(/^\d+\*/, '') || undefined,
        startedAt: lsfTime(job.START_TIME, now),
        endsAt: undefined,
      };
  }
  const ending = endingOf(job);
  if (ending !== undefined) return { kind: 'ended', ...endings[ending] };
  const what =
    state === 'UNKWN' ? 'LSF has lost the host of the job' : `job state ${state} says nothing of where it is`;
  return { kind: 'unreachable', message: what };
}

export function parseCancel(output: CommandOutput): CancelOutcome {
  const said = output.stdout + output.stderr;
  if (/has already finished/i.test(said) || notFound.test(said)) return { kind: 'gone' };
  if (output.exitCode === 0) return { kind: 'cancelled' };
  return { kind: isUnreachable(output) ? 'unreachable' : 'refused', message: complaint(output) };
}

/** Queues by `bqueues -json`; undefined where this version has it not. Which one is the default is LSF's to say. */
export function parseQueues({ exitCode, stdout }: CommandOutput): Offers['partitions'] {
  const records = exitCode === 0 ? recordsOf(stdout) : undefined;
  return records?.flatMap(({ QUEUE_NAME: name, STATUS = '' }) =>
    name === undefined
      ? []
      : [{ name, isDefault: false, available: /^Open:Active/i.test(STATUS), maxSeconds: undefined }],
  );
}

/**
 * Reads `bhosts -w`: job slots of each host, under `HOST_NAME STATUS JL/U MAX NJOBS …`; `-` is no limit. Which queues a host
 * is for, and what GPUs it has, isn't said there.
 */
export function parseHosts(stdout: string): Vacancies | undefined {
  const [header = '', ...rows] = lines(stdout);
  const columns = header.split(/\s+/);
  const [status, max, used] = ['STATUS', 'MAX', 'NJOBS'].map((name) => columns.indexOf(name));
  const hosts = rows.flatMap((row): NodeReport[] => {
    const cells = row.split(/\s+/);
    const slots = Number(cells[max ?? -1]);
    const taken = Number(cells[used ?? -1]);
    if (!(slots > 0) || Number.isNaN(taken)) return [];
    return [
      {
        usable: cells[status ?? -1] === 'ok',
        idle: taken === 0,
        cpus: { free: slots - taken, total: slots },
        memory: undefined,
        gpus: undefined,
      },
    ];
  });
  return hosts.length === 0 ? undefined : { all: capacityOf(hosts), partitions: new Map() };
}

const endings: Readonly<Record<Ending, { readonly failed: boolean; readonly reason: string }>> = {
  COMPLETED: { failed: false, reason: endedByItself },
  FAILED: { failed: true, reason: 'The job failed.' },
  TIMEOUT: { failed: false, reason: 'The time limit was reached.' },
  CANCELLED: { failed: false, reason: 'The job was cancelled.' },
  OUT_OF_MEMORY: {
    failed: true,
    reason: 'The job used more memory than it had asked for. Ask for more with -m.',
  },
  PREEMPTED: { failed: true, reason: 'The job had to make way for one of higher priority.' },
  DEADLINE: { failed: true, reason: "The queue's time for running jobs was over." },
  LAUNCH_FAILED: { failed: true, reason: 'The job could not be started on the compute node.' },
};

/** LSF's own words: `nosuch: No such queue. Job not submitted.` without what goes without saying. */
function complaint(output: CommandOutput): string {
  const { stdout, stderr, exitCode } = output;
  const said = [...lines(stderr), ...lines(stdout)]
    .filter((line) => !/^[{}[\]"]/.test(line))
    .map((line) =>
      line.replace(/(?:Request aborted by esub\. )?Job not submitted\.?$/, '').replace(/[.\s]+$/, ''),
    )
    .find((line) => line !== '');
  if (said !== undefined) return said;
  return exitCode === 0 ? 'the answer can not be read' : silentEnd(output);
}
