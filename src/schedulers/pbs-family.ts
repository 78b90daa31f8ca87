/**
 * What PBS and Torque have in common, which split off from it long ago: qsub(1B), qstat(1B) and qdel(1B) take the same words, and
 * say the same ones. Where they differ see pbs.ts and torque.ts.
 */
import { type Attributes, qstatSeconds } from 'satellite/qstat';
import type { LaunchSpec } from '../launch-spec.ts';
import type { PbsDialect } from '../systems/system.ts';
import { readGetopt, type Unfit, unfitAmong } from './arguments.ts';
import { type CommandOutput, lines, runCommand, silentEnd, withoutJob } from './command.ts';
import {
  type CancelOutcome,
  endedByItself,
  type JobReport,
  type JobScript,
  type Offers,
  type SubmitOutcome,
  type Unsupported,
} from './scheduler.ts';

// ---- Dialect --------------------------------------------------------------------------------------------------------

/** Letters of PBS and of Torque; no letter means one thing with a value and another without. */
const letters = 'a:A:b:c:C:d:D:e:EfF:GhIj:J:k:K:l:L:m:M:nN:o:p:P:q:r:R:S:t:T:u:v:Vw:W:xXz';

/**
 * Options of qsub that would take the launcher its single script, its shell or the answer with the job's id: arrays (-J, and
 * Torque's -t), interactive (-I), silent (-z) and blocking jobs (-W block), another prefix of directives (-C).
 */
const ownOptions = /^-[oejkSrJtIXzC]$/;

/** The arguments for qsub that a launch can't do with. */
export function unfit(args: readonly string[]): Unfit[] {
  return unfitAmong(readGetopt(args, { letters }), ({ option, value = '' }) => {
    if (ownOptions.test(option) || (option === '-W' && /(?:^|,)\s*block\s*=/.test(value))) return 'own';
    if (option === '-l' && /(?:^|,)\s*(?:min_|max_)?walltime\s*=/.test(value)) return 'time';
    return /^--(?:version|help)$/.test(option) ? 'answer' : undefined;
  });
}

/** Refuses a list of queues, which Slurm takes. */
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

/** A walltime from seconds; hours are counted without end: `36:00:00`. */
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

/** Hands a script to qsub. Never rejects: a server that does not answer is an outcome. */
export async function submit(
  script: Promise<JobScript>,
  extraArguments: readonly string[],
): Promise<SubmitOutcome> {
  const { file } = await script;
  // A slow server may still take the job after we gave up: better to wait for its word.
  return parseSubmit(await runCommand('qsub', [...extraArguments, file], { timeout: 180_000 }));
}

/** Deletes a job. Never rejects, as above. */
export async function cancel(jobId: string): Promise<CancelOutcome> {
  return parseCancel(await runCommand('qdel', [jobId], { timeout: 60_000 }));
}

// ---- What the commands say ------------------------------------------------------------------------------------------

const unreachablePattern =
  /cannot connect to server|Couldn't connect to cluster|Connection (?:refused|timed out|reset)|No default server name|Unknown Host|Communication failure|Too many open connections|No free connections|End of File|server shutting down|pbs_iff:/i;

/** Job ids are opaque: `1234.server`, `1234[].server`. Login banners and talkative wrappers stand around them. */
export function parseSubmit(output: CommandOutput): SubmitOutcome {
  const jobId = lines(output.stdout).at(-1) ?? '';
  if (output.exitCode === 0 && /^\d+(?:\[\d*\])?(?:\.[\w.-]+)?$/.test(jobId))
    return { kind: 'submitted', jobId };
  if (output.exitCode === 0 || output.killed !== undefined)
    return { kind: 'unclear', message: withoutJob('qsub', output, complaint(output)) };
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

function refusal(said: string): string {
  const words = refusals.find(([pattern]) => pattern.test(said))?.[1];
  return words === undefined ? said : `${words} (${said})`;
}

export interface QstatAnswer {
  /** Jobs or queues by their names. */
  readonly shown: ReadonlyMap<string, Attributes>;
  readonly output: CommandOutput;
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

/** Does qstat say that a job has left the queue, rather than that there was none? */
export function hasFinished({ output }: Pick<QstatAnswer, 'output'>, id: string): boolean {
  return mentions(output, /Job has finished/i, id);
}

function mentions({ stderr }: CommandOutput, what: RegExp, id: string): boolean {
  return lines(stderr).some((line) => what.test(line) && line.split(' ').includes(id));
}

/** A job that waits; its comment is the scheduler's reason. */
export function queuedReport({ comment }: Attributes, estimatedStart: Date | undefined): JobReport {
  return { kind: 'queued', reason: comment?.replace(/^Not Running: /, '') || undefined, estimatedStart };
}

/** A job that waits until somebody lets it go. */
export function heldReport({ Hold_Types: types }: Attributes): JobReport {
  const byOthers = types?.includes('o') ? 'held by an operator' : 'held by you; "qrls" lets it go';
  const reason = types?.includes('s') ? 'held by the system, or for another job' : byOthers;
  return { kind: 'queued', reason, estimatedStart: undefined };
}

/** A state from which nobody could tell whether the job is still there. */
export function unclearReport(state: string): JobReport {
  return {
    kind: 'unreachable',
    message: `job state ${state || '(none)'} says nothing of where the job is`,
  };
}

/** A job that runs, with its first node and, where it has a walltime, its end. */
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

/** How a job ended. */
export interface Ending {
  readonly failed: boolean;
  readonly reason: string;
}

export const timeLimitReached: Ending = { failed: false, reason: 'The time limit was reached.' };
export const outOfMemory: Ending = {
  failed: true,
  reason: 'The job used more memory than it had asked for. Ask for more with -m.',
};

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

/** What became of a deletion. */
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

/** PBS's own words: the line that the command itself wrote, without its name; else the first. */
export function complaint(output: CommandOutput): string {
  const { stderr, stdout } = output;
  const all = [...lines(stderr), ...lines(stdout)];
  const said = all.find((line) => /^q(?:sub|stat|del): /.test(line)) ?? all[0];
  if (said !== undefined)
    return said
      .replace(/^q\w+: /, '')
      .replace(/^submit error \((.*)\)$/, '$1') // Torque
      .replace(/\.$/, '');
  return silentEnd(output);
}
