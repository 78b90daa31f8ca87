/** Slurm: sbatch(1), squeue(1), sacct(1), scontrol(1), scancel(1). Recorded with 22.05. */
import type { LaunchSpec } from '../launch-spec.ts';
import { lines, userName } from './command.ts';
import type {
  CancelOutcome,
  Findings,
  JobReport,
  JobScript,
  Offers,
  Scheduler,
  SubmitOutcome,
  Vacancies,
} from './scheduler.ts';
import { clusters, unfit } from './slurm/arguments.ts';
import { complaint, run, start, unreachablePattern } from './slurm/command.ts';
import { parseAccounting, parseCancel, parseQueue, parseSubmit } from './slurm/jobs.ts';
import { parseAccess, parseGpuPartitions, parseNodes, parsePartitions } from './slurm/partitions.ts';
import { policy } from './slurm/policy.ts';

/** Seconds before the time limit at which the job is told. */
const warningSeconds = 300;

export const slurm: Scheduler = {
  title: 'Slurm',
  unfit,
  clusters,
  commands: ['sbatch', 'squeue', 'scancel'],
  unsupported: () => undefined,
  directives,
  submit,
  jobsByLog,
  jobs,
  cancel,
  offers,
  vacancies: async (_, patience) => vacancies(patience),
  findings,
  versionCommand: ['sbatch', '--version'],
  policy,
};

// ---- Dialect --------------------------------------------------------------------------------------------------------

/** `#SBATCH` lines; what isn't asked for is left to the site's defaults. */
function directives({ resources, system }: LaunchSpec, { log }: { readonly log: string }): string[] {
  const { account, partition, timeLimit, nodes, cpus, memory, gpu, gres, reservation, qos, constraint } =
    resources;
  const gpuRequest = gpu && (gpu.type === undefined ? String(gpu.count) : `${gpu.type}:${gpu.count}`);
  const wanted: [option: string, value: string | number | undefined][] = [
    ['job-name', 'start-jupyter'],
    ['output', outputPattern(log)],
    ['open-mode', 'append'],
    ['account', account],
    ['partition', partition],
    ['reservation', reservation],
    ['qos', qos],
    ['constraint', constraint],
    ['time', timeLimit && walltime(timeLimit)],
    ['nodes', nodes],
    ['cpus-per-task', cpus],
    ['mem', memory && `${memory}M`],
    ['gpus', system.gpuDirective === 'gpus' ? gpuRequest : undefined],
    [
      'gres',
      [gres, system.gpuDirective === 'gres' ? gpuRequest && `gpu:${gpuRequest}` : undefined]
        .filter(Boolean)
        .join(',') || undefined,
    ],
    // To the batch shell only: it passes the warning on.
    ['signal', timeLimit && timeLimit > warningSeconds ? `B:USR1@${warningSeconds}` : undefined],
  ];
  return [
    ...wanted.flatMap(([option, value]) =>
      value === undefined ? [] : [`#SBATCH --${option}=${quoted(String(value))}`],
    ),
    // A requeued job would run on another node, and a token is redeemed once.
    '#SBATCH --no-requeue',
  ];
}

/** Slurm counts in minutes; seconds are rounded up. */
function walltime(seconds: number): string {
  const minutes = Math.ceil(seconds / 60);
  const clock = [Math.floor((minutes % 1440) / 60), minutes % 60, 0]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
  return minutes >= 1440 ? `${Math.floor(minutes / 1440)}-${clock}` : clock;
}

/** `%` starts a pattern in a file name of sbatch, and a backslash turns patterns off: double both. */
function outputPattern(file: string): string {
  return file.replaceAll('%', '%%');
}

/** sbatch splits a directive at spaces, and knows quotes and backslashes as a shell does. */
function quoted(value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : `"${value.replace(/["\\]/g, '\\$&')}"`;
}

// ---- Commands -------------------------------------------------------------------------------------------------------

/** Bytes that a command's standard input surely takes in one piece. */
const onePiece = 64 * 1024;

/**
 * sbatch is started at once, and reads the script from its standard input when that is there: it takes as long to start as the
 * proxy takes to answer. Where this process is killed first it finds nothing there, and submits nothing ("Batch script is
 * empty!", get_script_buffer in its source). It would submit the beginning of a script: a long one is given by its path.
 */
async function submit(script: Promise<JobScript>, extraArguments: readonly string[]): Promise<SubmitOutcome> {
  const args = ['--parsable', ...at(clusters(extraArguments)), ...extraArguments];
  // A slow controller may still take the job after we gave up: better to wait for its word.
  const patience = 180_000;
  const sbatch = start('sbatch', args);
  const { file, text } = await script;
  if (Buffer.byteLength(text) <= onePiece) return parseSubmit(await sbatch.finish(text, patience));
  await sbatch.end();
  return parseSubmit(await run('sbatch', [...args, file], patience));
}

/** The option that sends a question to another cluster. */
function at(cluster: string | undefined): string[] {
  return cluster === undefined ? [] : [`--clusters=${cluster}`];
}

/** Where several clusters share a home, somebody else's job here may have the number of one's own there. */
function mine(): string[] {
  return [`--user=${process.getuid?.()}`];
}

async function jobs(jobIds: readonly string[], cluster?: string): Promise<ReadonlyMap<string, JobReport>> {
  if (jobIds.length === 0) return new Map();
  const queue = parseQueue(
    await run('squeue', [
      '--noheader',
      '--states=all',
      ...at(cluster),
      ...mine(),
      `--jobs=${jobIds.join(',')}`,
      '--format=%i|%T|%r|%S|%e|%N',
    ]),
  );
  if (queue.kind === 'unreachable') return new Map(jobIds.map((id) => [id, queue]));
  const isOver = (id: string) => (queue.jobs.get(id)?.kind ?? 'ended') === 'ended';
  const ended = await endedJobs(jobIds.filter(isOver), cluster);
  return new Map(jobIds.map((id) => [id, ended.get(id) ?? queue.jobs.get(id) ?? { kind: 'unknown' }]));
}

/** Widths, since a field is cut to twenty characters without one; no path is longer (MAXPATHLEN in slurmctld). */
async function jobsByLog(patience?: number): Promise<ReadonlyMap<string, string> | undefined> {
  const output = await run('squeue', ['--noheader', ...mine(), '--Format=JobID:20,StdOut:4096'], patience);
  if (output.exitCode !== 0 || unreachablePattern.test(output.stderr)) return undefined;
  return new Map(
    lines(output.stdout).flatMap((line): [string, string][] => {
      const [, jobId, log] = /^(\d+) +(.+)$/.exec(line) ?? [];
      return jobId === undefined || log === undefined ? [] : [[log.replaceAll('%%', '%'), jobId]];
    }),
  );
}

/** The queue forgets ended jobs after a while; accounting, where there is one, remembers them and knows more. */
async function endedJobs(jobIds: readonly string[], cluster?: string): Promise<Map<string, JobReport>> {
  if (jobIds.length === 0) return new Map();
  return parseAccounting(
    await run('sacct', [
      '--allocations',
      '--noheader',
      '--parsable2',
      ...at(cluster),
      ...mine(),
      `--jobs=${jobIds.join(',')}`,
      '--format=JobIDRaw,State',
    ]),
  );
}

async function cancel(jobId: string, cluster?: string): Promise<CancelOutcome> {
  return parseCancel(await run('scancel', [...at(cluster), jobId], 60_000));
}

async function offers(
  patience?: number,
  clusters?: string,
  launch?: { readonly account?: string | undefined },
): Promise<Offers | { kind: 'unreachable'; message: string }> {
  const asked = launch?.account;
  const [partitions, accounts] = await Promise.all([
    run('sinfo', ['--noheader', ...at(clusters), '--format=%P|%a|%l'], patience),
    launch === undefined || asked !== undefined ? ownAccounts(patience, clusters, asked) : undefined,
  ]);
  // It is not for us to say so: sbatch says it of the job.
  if (/No cluster '.*' known/.test(partitions.stderr)) return { partitions: undefined, accounts: undefined };
  if (partitions.exitCode !== 0) return { kind: 'unreachable', message: complaint(partitions) };
  return {
    partitions: parsePartitions(partitions.stdout),
    accounts,
  };
}

/** All that the accounting names, or `asked` alone where that is one of them. Undefined where there is no accounting. */
async function ownAccounts(
  patience: number | undefined,
  clusters: string | undefined,
  asked: string | undefined,
): Promise<string[] | undefined> {
  if (asked !== undefined && clusters === undefined && (await controllerKnows(asked, patience)))
    return [asked];
  const there = clusters === undefined || clusters === 'all' ? [] : [`cluster=${clusters}`];
  const associations = ['show', 'associations', `user=${userName()}`, ...there, 'format=account'];
  const all = await run('sacctmgr', ['--noheader', '--parsable2', '--readonly', ...associations], patience);
  // No accounting is no reason to refuse an account. One cluster a line: an account may have several.
  return all.exitCode === 0 ? [...new Set(lines(all.stdout))] : undefined;
}

/**
 * Whether the controller's copy of the accounting, which jobs are held against, lets this user charge an account. It answers
 * within milliseconds; sacctmgr, which asks the database, takes a fifth of a second and more.
 */
async function controllerKnows(account: string, patience: number | undefined): Promise<boolean> {
  const user = userName();
  const filter = [`users=${user}`, `accounts=${account}`, 'flags=assoc'];
  const { stdout } = await run('scontrol', ['--oneliner', 'show', 'assoc_mgr', ...filter], patience);
  // Those of the account itself, which belong to no user, come along.
  return lines(stdout).some((line) => line.includes(` Account=${account} UserName=${user}(`));
}

/** Widths, since a field is cut to twenty characters without one. */
const nodeFields = [
  'NodeHost:80',
  'Partition:100',
  'StateLong:20',
  'CPUsState:40',
  'Memory:20',
  'Gres:400',
  'GresUsed:400',
];

async function vacancies(patience: number): Promise<Vacancies | undefined> {
  const args = ['--noheader', '--Node', `--Format=${nodeFields.join(',')}`];
  const [nodes, partitions] = await Promise.all([
    run('sinfo', args, patience),
    run('scontrol', ['show', 'partition', '--oneliner'], patience),
  ]);
  const vacancies = nodes.exitCode === 0 ? parseNodes(nodes.stdout) : undefined;
  return vacancies && { ...vacancies, access: parseAccess(partitions.stdout) };
}

async function findings(): Promise<Findings> {
  const { stdout, exitCode } = await run('sinfo', ['--noheader', '--format=%P|%G']);
  return exitCode === 0 ? { gpuPartitions: parseGpuPartitions(stdout) } : {};
}
