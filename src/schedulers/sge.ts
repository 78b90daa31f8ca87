/**
 * Grid Engine: qsub(1), qstat(1), qacct(1), qdel(1), qconf(1), sge_status(5). Recorded with Son of Grid Engine 8.1.9; what
 * other versions do differently is noted where it matters.
 */
import { type Ending, parseMessages, parseQacct, parseQstat, stageOf } from 'satellite/gridengine';
import type { LaunchSpec } from '../launch-spec.ts';
import { commandOnPath } from '../search-path.ts';
import { readWords, type Unfit, unfitAmong } from './arguments.ts';
import { unknownCapacity } from './capacity.ts';
import { type CommandOutput, lines, runCommand, silentEnd, userName, withoutJob } from './command.ts';
import {
  type CancelOutcome,
  endedByItself,
  type Findings,
  type JobReport,
  type JobScript,
  type Offers,
  type Scheduler,
  type SubmitOutcome,
  type Unsupported,
  type Vacancies,
  wordOfSlurm,
} from './scheduler.ts';

export const sge: Scheduler = {
  title: 'Grid Engine',
  commands: ['qsub', 'qstat', 'qdel'],
  unfit,
  unsupported,
  directives,
  submit,
  jobs,
  cancel,
  offers,
  vacancies: async (_, patience) => vacancies(patience),
  findings,
};

// ---- Dialect --------------------------------------------------------------------------------------------------------

/**
 * Options of qsub that would take the launcher its log, its single script, its shell or the answer with the job's id, or
 * have the job run again, on another node.
 */
const ownOptions: ReadonlySet<string> = new Set(
  '-o -e -j -i -t -S -C -b -r -ckpt -terse -sync -now -clear -shell'.split(' '),
);

/** Those that have no value, and those that have several. */
const flags = new Set('-clear -cwd -h -hard -help -notify -soft -terse -V -verbose -verify'.split(' '));
const several = new Map([
  ['-pe', 2],
  ['-clears', 2],
  ['-adds', 3],
  ['-mods', 3],
]);

function valuesOf(option: string, next = ''): number | undefined {
  if (flags.has(option)) return 0;
  // `-binding linear:2`, `-binding set linear:2`
  return option === '-binding' && /^(?:env|pe|set)$/.test(next) ? 2 : several.get(option);
}

function unfit(args: readonly string[]): Unfit[] {
  return unfitAmong(readWords(args, valuesOf), ({ option, value = '' }) => {
    if (ownOptions.has(option)) return 'own';
    if (option === '-l' && /(?:^|,)[hs]_rt=/.test(value)) return 'time';
    return option === '-help' || option === '-verify' ? 'answer' : undefined;
  });
}

/** What can't be asked of Grid Engine, or not of this system's: nearly every name of a resource is the site's own. */
export function unsupported({
  resources,
  system: { title, sge: dialect = {} },
}: LaunchSpec): Unsupported | undefined {
  const { nodes = 1, cpus = 1, memory, gpu, reservation } = resources;
  const slurmOnly = wordOfSlurm(resources, ['gres', 'qos'], { title: 'Grid Engine', submit: 'qsub' });
  if (slurmOnly !== undefined) return slurmOnly;
  if (nodes > 1)
    return {
      option: 'nodes',
      message: 'Grid Engine gives slots, not nodes',
      hint: 'Leave it out, or ask for more CPUs with -c.',
    };
  if (reservation !== undefined && !/^\d+$/.test(reservation))
    return {
      option: 'reservation',
      message: 'reservations of Grid Engine have numbers',
      hint: 'See "qrstat" for the number of yours.',
    };
  const unnamed = (
    option: Unsupported['option'],
    what: string,
    key: string,
    command: string,
  ): Unsupported => ({
    option,
    message: `nobody has said what ${title} calls ${what}`,
    hint: `Add "sge: { ${key}: NAME }" to the system's configuration; "${command}" lists the names.`,
  });
  if (cpus > 1 && dialect.parallelEnvironment === undefined)
    return unnamed('cpus', 'the parallel environment for several CPUs', 'parallelEnvironment', 'qconf -spl');
  if (memory !== undefined && dialect.memory === undefined)
    return unnamed('memory', 'memory', 'memory', 'qconf -sc');
  if (gpu !== undefined && dialect.gpu === undefined) return unnamed('gpu', 'GPUs', 'gpu', 'qconf -sc');
  if (gpu?.type !== undefined && dialect.gpuType === undefined)
    return unnamed('gpu', 'types of GPUs', 'gpuType', 'qconf -sc');
  return undefined;
}

/** `#$` lines; what isn't asked for is left to the site's defaults. */
export function directives({ resources, system: { sge: dialect = {} } }: LaunchSpec): string[] {
  const { account, partition, reservation, timeLimit, cpus = 1, memory, gpu, constraint } = resources;
  const requests = [
    timeLimit && `h_rt=${timeLimit}`,
    // Counted for every slot, and asked for as the whole job's.
    memory && `${dialect.memory}=${Math.ceil(memory / cpus)}M`,
    gpu && `${dialect.gpu}=${gpu.count}`,
    gpu?.type !== undefined && `${dialect.gpuType}=${gpu.type}`,
    constraint,
  ].filter((request) => typeof request === 'string');
  return [
    // The queue's own shell is csh where nobody has changed it.
    '-S /bin/bash',
    '-N start-jupyter',
    // The script writes its log itself: a name with a colon, a comma or a space is none to -o.
    '-j y',
    '-o /dev/null',
    // USR2 before the KILL of qdel and of the time limit, sooner by the queue's "notify" seconds.
    ...(dialect.notify === false ? [] : ['-notify']),
    // A job that is run again would run on another node, and a token is redeemed once.
    '-r n',
    ...(account === undefined ? [] : [`-P ${account}`]),
    ...(partition === undefined ? [] : [`-q ${partition}`]),
    ...(reservation === undefined ? [] : [`-ar ${reservation}`]),
    ...(cpus > 1 ? [`-pe ${dialect.parallelEnvironment} ${cpus}`] : []),
    ...requests.map((request) => `-l ${quoted(request)}`),
  ].map((directive) => `#$ ${directive}`);
}

/** qsub splits a directive at spaces and knows quotes. */
function quoted(value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : `"${value}"`;
}

// ---- Commands -------------------------------------------------------------------------------------------------------

/** qstat prints local times without a zone: in UTC they have one. */
const queryEnvironment = { TZ: 'UTC', LC_ALL: 'C' };

async function submit(script: Promise<JobScript>, extraArguments: readonly string[]): Promise<SubmitOutcome> {
  const { file } = await script;
  // A slow qmaster may still take the job after we gave up: better to wait for its word.
  return parseSubmit(await runCommand('qsub', ['-terse', ...extraArguments, file], { timeout: 180_000 }));
}

async function jobs(jobIds: readonly string[]): Promise<ReadonlyMap<string, JobReport>> {
  if (jobIds.length === 0) return new Map();
  const queue = parseQueue(await runCommand('qstat', ['-u', userName(), '-xml'], { env: queryEnvironment }));
  if (queue.kind === 'unreachable') return new Map(jobIds.map((id) => [id, queue]));
  const reports = new Map<string, JobReport>();
  for (const id of jobIds) reports.set(id, queue.jobs.get(id) ?? (await endedJob(id)));
  return withReasons(reports);
}

/**
 * The accounting file knows how jobs ended. It isn't readable everywhere and never knows a job that was deleted before it
 * ran: as the queue has answered, such a job is gone.
 */
async function endedJob(jobId: string): Promise<JobReport> {
  const { exitCode, stdout } = await runCommand('qacct', ['-j', jobId], { env: queryEnvironment });
  const ending = exitCode === 0 ? parseQacct(stdout) : undefined;
  return ending === undefined ? { kind: 'unknown' } : { kind: 'ended', ...endings[ending] };
}

/** Why jobs wait takes another question; an answer that doesn't come is no reason to know less. */
async function withReasons(reports: Map<string, JobReport>): Promise<ReadonlyMap<string, JobReport>> {
  const waiting = [...reports].flatMap(([id, { kind }]) => (kind === 'queued' ? [id] : []));
  if (waiting.length === 0) return reports;
  const { stdout } = await runCommand('qstat', ['-j', waiting.join(','), '-xml'], { env: queryEnvironment });
  for (const [id, messages] of parseMessages(stdout)) {
    const report = reports.get(id);
    if (report?.kind === 'queued') reports.set(id, { ...report, reason: waitingReason(messages) });
  }
  return reports;
}

async function cancel(jobId: string): Promise<CancelOutcome> {
  return parseCancel(await runCommand('qdel', [jobId], { timeout: 60_000, env: queryEnvironment }));
}

async function offers(
  timeout?: number,
  _clusters?: string,
  launch?: { readonly account?: string | undefined },
): Promise<Offers | { kind: 'unreachable'; message: string }> {
  // Sites may keep qconf from their users, or not even install it for them.
  if (commandOnPath('qconf', process.env) === undefined)
    return { partitions: undefined, accounts: undefined };
  const qconf = (...args: string[]) => runCommand('qconf', args, { env: queryEnvironment, timeout });
  const [queues, projects] = await Promise.all([
    qconf('-sq', '*'),
    launch === undefined || launch.account !== undefined ? qconf('-sprjl') : undefined,
  ]);
  if (isUnreachable(queues)) return { kind: 'unreachable', message: complaint(queues) };
  const names = projects?.exitCode === 0 ? lines(projects.stdout) : [];
  return {
    partitions: queues.exitCode === 0 ? parseQueues(queues.stdout) : undefined,
    accounts: names.length === 0 ? undefined : names,
  };
}

async function vacancies(timeout: number): Promise<Vacancies | undefined> {
  const { stdout, exitCode } = await runCommand('qstat', ['-g', 'c'], { env: queryEnvironment, timeout });
  return exitCode === 0 ? parseSlots(stdout) : undefined;
}

async function findings(): Promise<Findings> {
  if (commandOnPath('qconf', process.env) === undefined) return {};
  const { stdout, exitCode } = await runCommand('qconf', ['-spl'], { env: queryEnvironment });
  return exitCode === 0 ? { parallelEnvironments: lines(stdout) } : {};
}

// ---- What the commands say ------------------------------------------------------------------------------------------

const unreachablePattern =
  /unable to (?:send message to|contact) qmaster|commlib error|got (?:send|read) error|can't get configuration from qmaster|act_qmaster|qmaster is (?:down|not running)|(?:SGE_ROOT|cell) directory .* doesn't exist|timeout/i;

function isUnreachable(output: CommandOutput): boolean {
  return output.exitCode === undefined || unreachablePattern.test(output.stderr + output.stdout);
}

/** Submit filters (JSVs) and wrappers may talk before the job's id. */
export function parseSubmit(output: CommandOutput): SubmitOutcome {
  const jobId = lines(output.stdout).at(-1) ?? '';
  if (output.exitCode === 0 && /^\d+$/.test(jobId)) return { kind: 'submitted', jobId };
  if (output.killed !== undefined || (output.exitCode === 0 && !isUnreachable(output)))
    return { kind: 'unclear', message: withoutJob('qsub', output, complaint(output)) };
  return { kind: isUnreachable(output) ? 'unreachable' : 'rejected', message: complaint(output) };
}

export function parseQueue(
  output: CommandOutput,
): { kind: 'jobs'; jobs: Map<string, JobReport> } | { kind: 'unreachable'; message: string } {
  const listed = output.exitCode === 0 ? parseQstat(output.stdout) : undefined;
  if (listed === undefined) return { kind: 'unreachable', message: complaint(output) };
  return {
    kind: 'jobs',
    jobs: new Map(
      listed.map(({ id, state, queue, startedAt }) => [id, jobReport(state, queue, startedAt)] as const),
    ),
  };
}

function jobReport(state: string, queue: string | undefined, startedAt: Date | undefined): JobReport {
  const stage = stageOf(state);
  if (stage === 'unknown')
    return {
      kind: 'unreachable',
      message: `job state ${state || '(none)'} says nothing of where the job is`,
    };
  if (stage === 'finished') return { kind: 'ended', ...endings.COMPLETED };
  // A job that is being deleted may still wait: dqw.
  if (state.includes('q')) return { kind: 'queued', reason: undefined, estimatedStart: undefined };
  // The list doesn't hold the time limit.
  return { kind: 'running', node: queue?.split('@')[1], startedAt, endsAt: undefined };
}

/**
 * The one of Grid Engine's messages that says most. It goes through queues and hosts one by one, those too that the job
 * doesn't want.
 */
export function waitingReason(messages: readonly string[]): string | undefined {
  const isFull = messages.some((message) => /dropped because it is (?:full|overloaded)/.test(message));
  const telling = messages.find((message) => !/^queue instance|hard queue list/.test(message));
  const reason = isFull ? 'no free slots yet' : (telling ?? messages[0]);
  return reason && (reasons[reason] ?? reason);
}

const reasons: Readonly<Record<string, string>> = {
  'Job is in hold state': 'held; "qrls" lets it go',
  'job dropped because of job dependencies': 'waits for another job',
  'execution time not reached': 'its begin time has not come',
};

/** qdel says everything on its standard output. */
export function parseCancel(output: CommandOutput): CancelOutcome {
  if (isUnreachable(output)) return { kind: 'unreachable', message: complaint(output) };
  if (/does not exist/.test(output.stdout)) return { kind: 'gone' };
  return output.exitCode === 0 ? { kind: 'cancelled' } : { kind: 'refused', message: complaint(output) };
}

/** Reads `qconf -sq`: queues with their time limits. Which one a job gets that names none is for the scheduler to say. */
export function parseQueues(stdout: string): NonNullable<Offers['partitions']> {
  // Long values go on in the next line, after a backslash.
  const settings = stdout
    .replaceAll(/\\\n\s*/g, '')
    .split(/^qname\s+/m)
    .slice(1);
  return settings.map((text) => ({
    name: lines(text)[0] ?? '',
    isDefault: false,
    available: true,
    maxSeconds: longest(/^h_rt\s+(.*)$/m.exec(text)?.[1]),
  }));
}

/** Reads `qstat -g c`: slots of each cluster queue. Queues share hosts, so that they can't be added up. */
export function parseSlots(stdout: string): Vacancies | undefined {
  const [header = '', ...rows] = lines(stdout).filter((line) => !line.startsWith('---'));
  const columns = header.replace(/^CLUSTER QUEUE/, 'QUEUE').split(/\s+/);
  const [free, total] = [columns.indexOf('AVAIL'), columns.indexOf('TOTAL')];
  if (free === -1 || total === -1) return undefined;
  return {
    all: unknownCapacity,
    partitions: new Map(
      rows.flatMap((row) => {
        const cells = row.split(/\s+/);
        const [name = ''] = cells;
        const cpus = { free: Number(cells[free]), total: Number(cells[total]) };
        return Number.isNaN(cpus.free + cpus.total) ? [] : [[name, { ...unknownCapacity, cpus }]];
      }),
    ),
  };
}

/** `0:30:0`, or with exceptions for hosts `INFINITY,[@short=1:0:0]`: a job goes where it may run longest. */
function longest(limits: string | undefined): number | undefined {
  const values = limits?.match(/INFINITY|\d[\d:]*(?=[\],\s]|$)/gi) ?? [];
  if (values.length === 0 || values.some((value) => /^I/i.test(value))) return undefined;
  return Math.max(
    ...values.map((value) => value.split(':').reduce((sum, part) => sum * 60 + Number(part), 0)),
  );
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
  LAUNCH_FAILED: { failed: true, reason: 'The job could not be started on the compute node.' },
};

/** Grid Engine's own words without its prefixes, and without the line about the library that noticed. */
function complaint(output: CommandOutput): string {
  const { stdout, stderr } = output;
  const all = [...lines(stderr), ...lines(stdout)].filter(
    (line) => !line.startsWith('<') && line !== 'Exiting.',
  );
  const said = all.find((line) => !line.includes('commlib error')) ?? all[0];
  if (said === undefined) return silentEnd(output);
  return said
    .replace(/^q\w+: /, '')
    .replace(/^(?:critical )?error: /, '')
    .replace(/^Unable to run job: /, '')
    .replace(/^(?:job rejected|denied): /, '')
    .replace(/\.$/, '');
}
