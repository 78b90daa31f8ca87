/**
 * PBS Professional and OpenPBS: qsub(1B), qstat(1B), qdel(1B). Recorded with 23.06; what the recordings don't show is from
 * the manuals and OpenPBS's source.
 */
import { type Attributes, parseQstat, qstatSeconds, qstatTime } from 'satellite/qstat';
import type { LaunchSpec } from '../launch-spec.ts';
import type { PbsDialect } from '../systems/system.ts';
import { type Capacity, capacityOf, type GpuShare, mebibytes, type NodeReport } from './capacity.ts';
import { type CommandOutput, lines, runCommand } from './command.ts';
import {
  type CancelOutcome,
  endedByItself,
  type JobReport,
  type Offers,
  type Scheduler,
  type SubmitOutcome,
  type Unsupported,
  type Vacancies,
  wordOfSlurm,
} from './scheduler.ts';

export const pbs: Scheduler = {
  title: 'PBS',
  commands: ['qsub', 'qstat', 'qdel'],
  ownOption,
  unsupported,
  directives,
  submit,
  jobs,
  cancel,
  offers,
  vacancies: async ({ pbs: dialect }, patience) => vacancies(dialect, patience),
  versionCommand: ['qstat', '--version'],
};

// ---- Dialect --------------------------------------------------------------------------------------------------------

/**
 * Options of qsub that would take the launcher its single script, its shell or the answer with the job's id: arrays (-J),
 * interactive (-I), silent (-z) and blocking jobs (-W block), another prefix of directives (-C), an executable (--).
 */
const ownOptions = /^(?:--|-[oejkSrJIXzC].*|(?:-W)?(?:.*,)?\s*block=.*)$/s;

export function ownOption(args: readonly string[]): string | undefined {
  return args.find((argument) => ownOptions.test(argument));
}

/** What can't be asked of PBS, or not of this system's. */
export function unsupported({ resources, system: { pbs: dialect } }: LaunchSpec): Unsupported | undefined {
  const refused =
    wordOfSlurm(resources, ['gres', 'qos', 'constraint'], { title: 'PBS', submit: 'qsub' }) ??
    severalQueues(resources, 'PBS');
  if (refused !== undefined) return refused;
  if (resources.gpu?.type !== undefined && dialect?.gpuType === undefined)
    return {
      option: 'gpu',
      message: 'this system has no name for types of GPUs',
      hint: `Write -g ${resources.gpu.count}, or set "pbs: { gpuType: RESOURCE }" for the system.`,
    };
  return undefined;
}

export function severalQueues(
  { partition }: LaunchSpec['resources'],
  title: string,
): Unsupported | undefined {
  if (!partition?.includes(',')) return undefined;
  return {
    option: 'partition',
    message: `${title} takes one queue`,
    hint: `Write -p ${partition.split(',')[0]}.`,
  };
}

/** `#PBS` lines; what isn't asked for is left to the site's defaults. */
export function directives(spec: LaunchSpec, { log }: { readonly log: string }): string[] {
  const { account, partition, reservation, timeLimit } = spec.resources;
  // A reservation is a queue of its own, see pbs_rsub(1B).
  const queue = reservation ?? partition;
  return [
    // The user's own shell may be tcsh, and reads the name of the script as its first command.
    '-S /bin/bash',
    '-N start-jupyter',
    // The script writes its log itself: PBS shows a job's output only when it has ended. What is left for PBS is what the
    // login shell and PBS itself have to say.
    '-j oe',
    `-o ${outputPath(log)}`,
    // A job that is run again would run on another node, and a token is redeemed once.
    '-r n',
    ...(account === undefined ? [] : [`-A ${account}`]),
    ...(queue === undefined ? [] : [`-q ${queue}`]),
    ...resourceRequest(spec),
    ...(timeLimit === undefined ? [] : [`-l walltime=${walltime(timeLimit)}`]),
  ].map((directive) => `#PBS ${directive}`);
}

/** `-l` options for nodes, CPUs, memory and GPUs, in the way that this system wants them; none where nothing is asked for. */
function resourceRequest({ resources, system: { pbs: dialect = {} } }: LaunchSpec): string[] {
  const { nodes, cpus, memory, gpu } = resources;
  if (nodes === undefined && cpus === undefined && memory === undefined && gpu === undefined) return [];
  return dialect.request === 'nodes'
    ? nodesRequest(resources, dialect)
    : [selectRequest(resources, dialect), ...placeRequest(resources, dialect)];
}

/** One chunk a node: all amounts are a node's. */
function selectRequest(
  { nodes, cpus, memory, gpu }: LaunchSpec['resources'],
  { memory: memoryResource = 'mem', gpu: gpuResource = 'ngpus', gpuType }: PbsDialect,
): string {
  const chunk = [
    String(nodes ?? 1),
    cpus && `ncpus=${cpus}`,
    memory && `${memoryResource}=${memory}mb`,
    gpu && `${gpuResource}=${gpu.count}`,
    gpu?.type !== undefined && `${gpuType}=${gpu.type}`,
  ];
  return `-l select=${chunk.filter(Boolean).join(':')}`;
}

/** Chunks may share a host unless they are told not to. PBS refuses a place without a select. */
function placeRequest({ nodes = 1 }: LaunchSpec['resources'], { place }: PbsDialect): string[] {
  const wanted = place ?? (nodes > 1 ? 'scatter' : undefined);
  return wanted === undefined ? [] : [`-l place=${wanted}`];
}

/** The older way, Torque's only one: properties of nodes, and memory for the whole job. */
export function nodesRequest(
  { nodes = 1, cpus, memory, gpu }: LaunchSpec['resources'],
  { memory: memoryResource = 'mem', gpu: gpuResource = 'gpus' }: PbsDialect,
): string[] {
  const properties = [
    String(nodes),
    cpus && `ppn=${cpus}`,
    gpu && `${gpuResource}=${gpu.count}`,
    gpu?.type,
  ].filter(Boolean);
  return [
    `-l nodes=${properties.join(':')}`,
    ...(memory === undefined ? [] : [`-l ${memoryResource}=${memory * nodes}mb`]),
  ];
}

/** PBS counts hours without end: `36:00:00`. */
export function walltime(seconds: number): string {
  return [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), Math.floor(seconds % 60)]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}

/**
 * Where PBS puts what it has collected when the job has ended; it replaces the file, so that it can't be the log itself.
 * qsub splits a directive at spaces, knows quotes and backslashes as a shell does, and takes printable ASCII only.
 */
export function outputPath(log: string): string {
  return /^[\x20-\x7e]+$/.test(log) ? `${log.replace(/[\s"'\\]/g, '\\$&')}.pbs` : '/dev/null';
}

// ---- Commands -------------------------------------------------------------------------------------------------------

/** qstat prints local times without a zone: in UTC they have one. The C locale keeps messages readable for us. */
export const qstatEnvironment = { TZ: 'UTC', LC_ALL: 'C' };

export async function submit(script: string, extraArguments: readonly string[]): Promise<SubmitOutcome> {
  // A slow server may still take the job after we gave up: better to wait for its word.
  return parseSubmit(await runCommand('qsub', [...extraArguments, script], { timeout: 180_000 }));
}

async function jobs(jobIds: readonly string[]): Promise<ReadonlyMap<string, JobReport>> {
  if (jobIds.length === 0) return new Map();
  const queue = await qstat([], jobIds);
  if (queue.kind === 'unreachable') return new Map(jobIds.map((id) => [id, queue]));
  const reports = new Map(jobIds.map((id) => [id, reportFrom(queue, id, jobReport)]));
  // The history is asked only for what has left the queue: where none is kept, asking for it is refused altogether.
  const left = jobIds.filter((id) => reports.get(id)?.kind === 'unknown');
  if (left.length === 0) return reports;
  const history = await qstat(['-x'], left);
  for (const id of left) {
    const report = history.kind === 'unreachable' ? history : reportFrom(history, id, jobReport);
    reports.set(id, report.kind === 'unknown' && hasFinished(queue, id) ? finishedUnseen : report);
  }
  return reports;
}

/** PBS says that it has ended, and not how. */
const finishedUnseen: JobReport = { kind: 'ended', failed: false, reason: endedByItself };

export interface QstatAnswer {
  /** Jobs or queues by their names. */
  readonly shown: ReadonlyMap<string, Attributes>;
  readonly output: CommandOutput;
}

/** As JSON, and as text where that JSON is broken or nothing that this version knows. */
async function qstat(
  options: readonly string[],
  operands: readonly string[],
  kind: 'jobs' | 'queues' = 'jobs',
  timeout?: number,
): Promise<({ kind: 'answered' } & QstatAnswer) | { kind: 'unreachable'; message: string }> {
  for (const format of [['-f', '-F', 'json'], ['-f']]) {
    const output = await runCommand('qstat', [...options, ...format, ...operands], {
      env: qstatEnvironment,
      timeout,
    });
    if (output.exitCode === undefined) return { kind: 'unreachable', message: complaint(output) };
    const isUsage = output.exitCode === 2;
    const shown = isUsage ? undefined : parseQstat(output.stdout, kind);
    if (shown !== undefined) return { kind: 'answered', shown, output };
  }
  return { kind: 'unreachable', message: 'what qstat prints can not be read' };
}

export async function cancel(jobId: string): Promise<CancelOutcome> {
  return parseCancel(await runCommand('qdel', [jobId], { timeout: 60_000 }));
}

async function offers(patience?: number): Promise<Offers | { kind: 'unreachable'; message: string }> {
  const queues = await qstat(['-Q'], [], 'queues', patience);
  if (queues.kind === 'unreachable') return queues;
  if (queues.output.exitCode !== 0) return { kind: 'unreachable', message: complaint(queues.output) };
  // PBS knows no accounts: it writes the name down and leaves it to the site's own bookkeeping.
  return { partitions: queueOffers(queues.shown), accounts: undefined };
}

async function vacancies(dialect: PbsDialect | undefined, timeout: number): Promise<Vacancies | undefined> {
  const { stdout, exitCode } = await runCommand('pbsnodes', ['-a', '-F', 'json'], {
    env: qstatEnvironment,
    timeout,
  });
  return exitCode === 0 ? parseNodes(stdout, dialect) : undefined;
}

// ---- What the commands say ------------------------------------------------------------------------------------------

const unreachablePattern =
  /cannot connect to server|Couldn't connect to cluster|Connection (?:refused|timed out|reset)|No default server name|Unknown Host|Communication failure|Too many open connections|No free connections|End of File|server shutting down|pbs_iff:/i;

/** Job ids are opaque: `1234.server`, `1234[].server`. Login banners and talkative wrappers stand around them. */
export function parseSubmit(output: CommandOutput): SubmitOutcome {
  const jobId = lines(output.stdout).at(-1) ?? '';
  if (output.exitCode === 0 && /^\d+(?:\[\d*\])?(?:\.[\w.-]+)?$/.test(jobId))
    return { kind: 'submitted', jobId };
  return unreachablePattern.test(output.stderr) || output.exitCode === undefined
    ? { kind: 'unreachable', message: complaint(output) }
    : { kind: 'rejected', message: refusal(complaint(output)) };
}

/** What qsub says when it refuses, in words for somebody who has never read its manual. */
const refusals: readonly [pattern: RegExp, words: string][] = [
  [/^Unknown queue/, 'it knows no such queue'],
  [/^Queue is not enabled/, 'the queue takes no jobs at the moment'],
  [/^Access to queue is denied/, 'you may not use this queue'],
  [/^No default queue/, 'it has no default queue, so that one must be named with -p'],
  [/^Unknown resource/, 'it knows no such resource'],
  [
    /^(?:Job (?:violates|exceeds) queue|Resource limit exceeds)/,
    'it asks for more than the queue or the server allows',
  ],
  [/^Illegal attribute or resource value/, 'it can not read what is asked for'],
  [/^(?:Maximum number of jobs|would exceed)/, 'it would be more than you may have at once'],
  [/^Invalid Account/, 'the account is not valid'],
  [/^(?:Bad UID|Unauthorized Request)/, 'your user may not submit jobs here'],
];

export function refusal(said: string): string {
  const words = refusals.find(([pattern]) => pattern.test(said))?.[1];
  return words === undefined ? said : `${words} (${said})`;
}

/** What an answer of qstat says of one job: a job that it neither shows nor disowns has not been answered for. */
export function reportFrom(
  { shown, output }: QstatAnswer,
  id: string,
  read: (attributes: Attributes) => JobReport,
): JobReport {
  const attributes = shown.get(id);
  if (attributes !== undefined) return read(attributes);
  const disowned =
    hasFinished({ output }, id) ||
    mentions(output, /Unknown Job Id/i, id) ||
    /not configured to maintain job history/i.test(output.stderr);
  return disowned ? { kind: 'unknown' } : { kind: 'unreachable', message: complaint(output) };
}

function hasFinished({ output }: Pick<QstatAnswer, 'output'>, id: string): boolean {
  return mentions(output, /Job has finished/i, id);
}

function mentions({ stderr }: CommandOutput, what: RegExp, id: string): boolean {
  return lines(stderr).some((line) => what.test(line) && line.split(' ').includes(id));
}

/** One job's attributes; states as in qstat(1B). */
export function jobReport(attributes: Attributes): JobReport {
  const state = attributes.job_state ?? '';
  switch (state) {
    case 'Q':
    case 'W':
    case 'T':
      return queuedReport(attributes, qstatTime(attributes['estimated.start_time']));
    case 'H':
      return heldReport(attributes);
    // E: exiting. S, U: suspended by the scheduler, by the workstation's user. B: an array that has begun.
    case 'R':
    case 'E':
    case 'S':
    case 'U':
    case 'B':
      return runningReport(attributes, qstatTime(attributes.stime));
    case 'F':
    case 'X':
      return { kind: 'ended', ...ending(attributes) };
    // M: moved to another server, which this one can't speak for.
    default:
      return unclearReport(state);
  }
}

export function queuedReport({ comment }: Attributes, estimatedStart: Date | undefined): JobReport {
  return { kind: 'queued', reason: comment?.replace(/^Not Running: /, '') || undefined, estimatedStart };
}

export function heldReport({ Hold_Types: types }: Attributes): JobReport {
  const byOthers = types?.includes('o') ? 'held by an operator' : 'held by you; "qrls" lets it go';
  const reason = types?.includes('s') ? 'held by the system, or for another job' : byOthers;
  return { kind: 'queued', reason, estimatedStart: undefined };
}

export function unclearReport(state: string): JobReport {
  return {
    kind: 'unreachable',
    message: `job state ${state || '(none)'} says nothing of where the job is`,
  };
}

export function runningReport(attributes: Attributes, startedAt: Date | undefined): JobReport {
  const limit = qstatSeconds(attributes['Resource_List.walltime']);
  return {
    kind: 'running',
    // `c1/0*4+c2/0*4`
    node: attributes.exec_host?.split(/[/+]/)[0] || undefined,
    startedAt,
    endsAt: startedAt && limit !== undefined ? new Date(startedAt.getTime() + limit * 1000) : undefined,
  };
}

export interface Ending {
  readonly failed: boolean;
  readonly reason: string;
}

export const timeLimitReached: Ending = { failed: false, reason: 'The time limit was reached.' };
export const outOfMemory: Ending = {
  failed: true,
  reason: 'The job used more memory than it had asked for. Ask for more with -m.',
};

/** Exit statuses that PBS gives a job itself (JOB_EXEC_… in job.h). */
const ownStatuses: Readonly<Record<number, Ending>> = {
  [-10]: { failed: true, reason: 'The compute node does not know your user.' },
  [-11]: { failed: true, reason: 'The job was to be run again, which it can not.' },
  [-24]: { failed: true, reason: 'The job used more CPUs than it had asked for. Ask for more with -c.' },
  [-25]: { failed: true, reason: 'The job used more CPUs than it had asked for. Ask for more with -c.' },
  [-26]: outOfMemory,
  [-27]: outOfMemory,
  [-28]: { failed: true, reason: "The job used up the CPU time that its queue's jobs may use." },
  [-29]: timeLimitReached,
};

/** How a job ended, from its exit status. */
function ending(attributes: Attributes): Ending {
  const { Exit_status: text } = attributes;
  if (text === undefined) return { failed: false, reason: 'The job was deleted before it ran.' };
  return endingWith(Number(text), attributes, ownStatuses);
}

/**
 * How a job with this exit status ended: negative ones are the scheduler's own, those above 256 are signals.
 * @param own what this scheduler's own statuses mean
 */
export function endingWith(
  status: number,
  attributes: Attributes,
  own: Readonly<Record<number, Ending>>,
): Ending {
  if (status === 0) return { failed: false, reason: endedByItself };
  if (status < 0)
    return (
      own[status] ?? {
        failed: true,
        reason: `The job could not be started on the compute node (exit status ${status}).`,
      }
    );
  if (status <= 256) return { failed: true, reason: `The job failed with exit status ${status}.` };
  const used = qstatSeconds(attributes['resources_used.walltime']);
  const limit = qstatSeconds(attributes['Resource_List.walltime']);
  if (used !== undefined && limit !== undefined && used >= limit) return timeLimitReached;
  const signal = status - 256;
  // TERM is how a deletion comes.
  return signal === 15
    ? { failed: false, reason: 'The job was cancelled.' }
    : { failed: true, reason: `The job was killed by signal ${signal}.` };
}

export function parseCancel(output: CommandOutput): CancelOutcome {
  // qdel's exit status is that of the last server that it asked.
  if (output.exitCode === undefined || unreachablePattern.test(output.stderr))
    return { kind: 'unreachable', message: complaint(output) };
  if (output.exitCode === 0) return { kind: 'cancelled' };
  // In the last of these the job is on its way out already.
  return /Unknown Job Id|Job has finished|Request invalid for state of job/i.test(output.stderr)
    ? { kind: 'gone' }
    : { kind: 'refused', message: complaint(output) };
}

/** Queues with the longest time that one job may ask for there. Which is the default is the server's secret. */
export function queueOffers(queues: ReadonlyMap<string, Attributes>): Offers['partitions'] {
  return [...queues].map(([name, attributes]) => ({
    name,
    isDefault: false,
    available:
      attributes.enabled === 'True' && attributes.started === 'True' && attributes.from_route_only !== 'True',
    maxSeconds: qstatSeconds(attributes['resources_max.walltime']),
  }));
}

interface PbsNode {
  readonly state?: string;
  /** The only queue whose jobs may run there. */
  readonly queue?: string;
  readonly resources_available?: Readonly<Record<string, unknown>>;
  readonly resources_assigned?: Readonly<Record<string, unknown>>;
}

/** Reads `pbsnodes -a -F json`; undefined for what is no JSON. */
export function parseNodes(stdout: string, dialect: PbsDialect = {}): Vacancies | undefined {
  let nodes: PbsNode[];
  try {
    nodes = Object.values((JSON.parse(stdout) as { nodes?: Record<string, PbsNode> }).nodes ?? {});
  } catch {
    return undefined;
  }
  const reports = nodes
    .map(({ queue, ...node }) => ({ queue, report: nodeReport(node, dialect) }))
    // The natural vnode of a host whose parts are vnodes of their own has nothing to give.
    .filter(({ report }) => report.cpus.total > 0);
  const queues = new Set(reports.flatMap(({ queue }) => queue ?? []));
  const of = (wanted: string | undefined): Capacity =>
    capacityOf(reports.filter(({ queue }) => queue === wanted).map(({ report }) => report));
  return { all: of(undefined), partitions: new Map([...queues].map((queue) => [queue, of(queue)])) };
}

/** States as in pbs_node_attributes(7B); several stand together with commas between. */
function nodeReport(
  { state = '', resources_available: has = {}, resources_assigned: given = {} }: PbsNode,
  { gpu = 'ngpus', gpuType }: PbsDialect,
): NodeReport {
  const count = (resources: Readonly<Record<string, unknown>>, name: string) => Number(resources[name] ?? 0);
  const share = (name: string) => ({
    free: count(has, name) - count(given, name),
    total: count(has, name),
  });
  const gpus: GpuShare = {
    ...share(gpu),
    type: gpuType === undefined || has[gpuType] === undefined ? undefined : String(has[gpuType]),
  };
  return {
    usable: state === 'free',
    idle: count(given, 'ncpus') === 0,
    cpus: share('ncpus'),
    memory: mebibytes(String(has.mem ?? '')),
    gpus: gpus.total > 0 ? [gpus] : [],
  };
}

/** PBS's own words: the line that the command itself wrote, without its name; else the first. */
export function complaint({ stderr, stdout, exitCode }: CommandOutput): string {
  const all = [...lines(stderr), ...lines(stdout)];
  const said = all.find((line) => /^q(?:sub|stat|del): /.test(line)) ?? all[0];
  if (said !== undefined)
    return said
      .replace(/^q\w+: /, '')
      .replace(/^submit error \((.*)\)$/, '$1') // Torque
      .replace(/\.$/, '');
  return exitCode === undefined ? 'the command did not answer in time' : `exit status ${exitCode}`;
}
