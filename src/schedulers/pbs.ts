/**
 * PBS Professional and OpenPBS: qsub(1B), qstat(1B), qdel(1B). Recorded with 23.06; what the recordings don't show is from
 * the manuals and OpenPBS's source.
 */
import { type Attributes, parseQstat, qstatTime } from 'satellite/qstat';
import type { LaunchSpec } from '../launch-spec.ts';
import type { PbsDialect } from '../systems/system.ts';
import { type Capacity, capacityOf, type GpuShare, mebibytes, type NodeReport } from './capacity.ts';
import { runCommand } from './command.ts';
import {
  cancel,
  complaint,
  type Ending,
  endingWith,
  hasFinished,
  heldReport,
  nodesRequest,
  outOfMemory,
  outputPath,
  type QstatAnswer,
  qstatEnvironment,
  queuedReport,
  queueOffers,
  reportFrom,
  runningReport,
  severalQueues,
  submit,
  timeLimitReached,
  unclearReport,
  unfit,
  walltime,
} from './pbs-family.ts';
import {
  endedByItself,
  type JobReport,
  type Offers,
  type Scheduler,
  type Unsupported,
  type Vacancies,
  wordOfSlurm,
} from './scheduler.ts';

export const pbs: Scheduler = {
  title: 'PBS',
  commands: ['qsub', 'qstat', 'qdel'],
  unfit,
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

// ---- Commands -------------------------------------------------------------------------------------------------------

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
