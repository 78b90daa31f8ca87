/** Slurm: sbatch(1), squeue(1), sacct(1), scontrol(1), scancel(1). Recorded with 22.05. */
import type { LaunchSpec } from '../launch-spec.ts';
import { capacityOf, type GpuShare, type NodeReport } from './capacity.ts';
import { type CommandOutput, lines, runCommand, userName } from './command.ts';
import {
  type AccountAccess,
  type Association,
  type CancelOutcome,
  endedByItself,
  type Findings,
  type GroupLimit,
  type JobReport,
  type Node,
  type Offers,
  type PartitionPolicy,
  type Policy,
  type Quality,
  type Reservation,
  type Scheduler,
  type SubmitOutcome,
  type Vacancies,
} from './scheduler.ts';

/** Seconds before the time limit at which the job is told. */
const warningSeconds = 300;

/** Options of sbatch that would take the job's log, its single script or its answer away from the launcher. */
const ownOptions = /^(?:--(?:output|error|array|wrap|test-only|wait|requeue|input)(?:=.*)?|-[oeaWi].*)$/s;

export const slurm: Scheduler = {
  title: 'Slurm',
  ownOption: (args) => args.find((argument) => ownOptions.test(argument)),
  clusters,
  commands: ['sbatch', 'squeue', 'scancel'],
  unsupported: () => undefined,
  directives,
  submit,
  jobsByScript,
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
export function directives({ resources, system }: LaunchSpec, { log }: { readonly log: string }): string[] {
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

/** Query commands print times as seconds since 1970; sbatch hands its environment on to the job and gets nothing extra. */
function run(command: string, args: readonly string[], timeout?: number): Promise<CommandOutput> {
  return runCommand(command, args, {
    ...(timeout === undefined ? {} : { timeout }),
    env: command === 'sbatch' ? {} : { SLURM_TIME_FORMAT: '%s' },
  });
}

async function submit(script: string, extraArguments: readonly string[]): Promise<SubmitOutcome> {
  const args = ['--parsable', ...at(clusters(extraArguments)), ...extraArguments, script];
  // A slow controller may still take the job after we gave up: better to wait for its word.
  return parseSubmit(await run('sbatch', args, 180_000));
}

/**
 * `-M` and `--clusters`, as sbatch(1) reads them: in one word or two, shortened, the last one counts; or SLURM_CLUSTERS, which
 * the commands themselves don't get: a question about a job that is here would go elsewhere.
 */
function clusters(args: readonly string[]): string | undefined {
  const named = args.flatMap((argument, index) => {
    const match = /^(?:-M|--cl(?:u(?:s(?:t(?:e(?:r(?:s)?)?)?)?)?)?(?:=|$))(.*)$/s.exec(argument);
    if (match === null) return [];
    return [match[1] || (args[index + 1] ?? '')];
  });
  return named.at(-1) ?? (process.env.SLURM_CLUSTERS || undefined);
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

async function jobsByScript(): Promise<ReadonlyMap<string, string> | undefined> {
  const output = await run('squeue', ['--noheader', ...mine(), '--format=%i|%o']);
  if (output.exitCode !== 0 || unreachablePattern.test(output.stderr)) return undefined;
  return new Map(
    lines(output.stdout).flatMap((line): [string, string][] => {
      const [, jobId, script] = /^(\d+)\|(.+)$/.exec(line) ?? [];
      return jobId === undefined || script === undefined ? [] : [[script, jobId]];
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

// ---- What the commands say ------------------------------------------------------------------------------------------

const unreachablePattern =
  /Unable to contact slurm controller|Socket timed out|Connection refused|Connection timed out|Zero Bytes were transmitted|Unable to establish (?:controller|configuration)|slurm_persist_conn_open|Transport endpoint/i;

/**
 * The job id is the last line's first field, after login banners; `;cluster` follows where one was named. A site's wrapper
 * may know nothing of --parsable. A success that names no job may have been one.
 */
export function parseSubmit(output: CommandOutput): SubmitOutcome {
  const answer = lines(output.stdout).at(-1) ?? '';
  const [, jobId, cluster] =
    /^(\d+)(?:;(.*))?$/.exec(answer) ?? /^Submitted batch job (\d+)(?: on cluster (.*))?$/.exec(answer) ?? [];
  if (output.exitCode === 0 && jobId !== undefined)
    return { kind: 'submitted', jobId, ...(cluster ? { cluster } : {}) };
  const message = complaint(output);
  if (output.exitCode === 0) return { kind: 'unreachable', message: `its answer names no job: ${message}` };
  return unreachablePattern.test(output.stderr) || output.exitCode === undefined
    ? { kind: 'unreachable', message }
    : { kind: 'rejected', message };
}

export function parseQueue(
  output: CommandOutput,
): { kind: 'jobs'; jobs: Map<string, JobReport> } | { kind: 'unreachable'; message: string } {
  // Some versions exit 0 on an error, and a job that isn't known any more is an error of its own.
  if (/Invalid job id specified/i.test(output.stderr)) return { kind: 'jobs', jobs: new Map() };
  if (output.exitCode !== 0 || unreachablePattern.test(output.stderr))
    return { kind: 'unreachable', message: complaint(output) };
  const jobs = lines(output.stdout).flatMap((line): [string, JobReport][] => {
    const [id, state, reason, start, end, node] = line.split('|');
    return id === undefined || state === undefined ? [] : [[id, jobReport(state, reason, start, end, node)]];
  });
  return { kind: 'jobs', jobs: new Map(jobs) };
}

function jobReport(
  state: string,
  reason: string | undefined,
  start: string | undefined,
  end: string | undefined,
  node: string | undefined,
): JobReport {
  const ending = endings[stateWord(state)];
  if (ending !== undefined) return { kind: 'ended', ...ending };
  if (/^(PENDING|CONFIGURING|REQUEUED|REQUEUE_HOLD|SPECIAL_EXIT|RESV_DEL_HOLD)$/.test(state)) {
    return {
      kind: 'queued',
      reason: reason === 'None' || !reason ? undefined : reason,
      estimatedStart: epoch(start),
    };
  }
  return { kind: 'running', node: node || undefined, startedAt: epoch(start), endsAt: epoch(end) };
}

/**
 * The jobs that have ended, `7|CANCELLED by 1000` each; none where there is no accounting. Where ids have begun anew, the last
 * of several jobs is the latest.
 */
export function parseAccounting(output: CommandOutput): Map<string, JobReport> {
  if (output.exitCode !== 0) return new Map();
  return new Map(
    lines(output.stdout).flatMap((line): [string, JobReport][] => {
      const [id = '', state = ''] = line.split('|');
      const ending = endings[stateWord(state)];
      return ending === undefined ? [] : [[id, { kind: 'ended', ...ending }]];
    }),
  );
}

export function parseCancel(output: CommandOutput): CancelOutcome {
  if (/Invalid job id|Job\/step already complet/i.test(output.stderr)) return { kind: 'gone' };
  if (unreachablePattern.test(output.stderr) || output.exitCode === undefined)
    return { kind: 'unreachable', message: complaint(output) };
  return output.exitCode === 0 ? { kind: 'cancelled' } : { kind: 'refused', message: complaint(output) };
}

export function parsePartitions(stdout: string): NonNullable<Offers['partitions']> {
  return lines(stdout).flatMap((line) => {
    const [name = '', available, limit = ''] = line.split('|');
    // With several clusters a line names each of them.
    return available === undefined
      ? []
      : [
          {
            name: name.replace(/\*$/, ''),
            isDefault: name.endsWith('*'),
            available: available === 'up',
            maxSeconds: timeLimit(limit),
          },
        ];
  });
}

/** One line for each kind of node in a partition: `gpu*|gpu:a100:4(S:0-1),nvme:1`, `compute|(null)`. */
export function parseGpuPartitions(stdout: string): string[] {
  const withGpus = lines(stdout)
    .map((line) => line.split('|'))
    .filter(([, gres = '']) => /(?:^|,)gpu:/.test(gres))
    .map(([name = '']) => name.replace(/\*$/, ''));
  return [...new Set(withGpus)];
}

/**
 * One line for each node in each of its partitions: `c1 compute* mixed 4/12/0/16 32000 gpu:v100:4(S:0-1) gpu:v100:1(IDX:0)`.
 * None of the fields holds a space; undefined where nothing can be read.
 */
export function parseNodes(stdout: string): Vacancies | undefined {
  const nodes = lines(stdout).flatMap((line) => {
    const [name, partition, state = '', cpus = '', memory, gres = '', used = ''] = line.split(/\s+/);
    const [, idleCpus, allCpus] = /^\d+\/(\d+)\/\d+\/(\d+)$/.exec(cpus) ?? [];
    if (partition === undefined || allCpus === undefined) return [];
    const report: NodeReport = {
      // The rest is down, drained, in maintenance or reserved; "*" is for nodes that do not respond.
      usable: /^(?:idle|mixed|allocated|completing|planned)/.test(state) && !state.includes('*'),
      idle: state.startsWith('idle'),
      cpus: { free: Number(idleCpus), total: Number(allCpus) },
      memory: Number(memory) || undefined,
      gpus: gpuShares(gres, used),
    };
    return [{ name, partition: partition.replace(/\*$/, ''), report }];
  });
  if (nodes.length === 0) return undefined;
  const names = [...new Set(nodes.map(({ partition }) => partition))];
  return {
    all: capacityOf([...new Map(nodes.map(({ name, report }) => [name, report])).values()]),
    partitions: new Map(
      names.map((name) => [
        name,
        capacityOf(nodes.filter(({ partition }) => partition === name).map(({ report }) => report)),
      ]),
    ),
  };
}

/** `PartitionName=long AllowGroups=ALL DenyAccounts=student AllowQos=ALL …`, one line each; those for all are left out. */
export function parseAccess(stdout: string): Map<string, AccountAccess> {
  const limited = lines(stdout).flatMap((line): [string, AccountAccess][] => {
    const [, name] = /^PartitionName=(\S+)/.exec(line) ?? [];
    const [, word, accounts = ''] = / (Allow|Deny)Accounts=(\S+)/.exec(line) ?? [];
    if (name === undefined || word === undefined || accounts === 'ALL') return [];
    return [[name, { kind: word === 'Allow' ? 'only' : 'allBut', accounts: accounts.split(',') }]];
  });
  return new Map(limited);
}

/** A node's GPUs by type, from its generic resources and those in use. */
function gpuShares(gres: string, used: string): GpuShare[] {
  const inUse = gpuCounts(used);
  // Where types are not told apart in what is used, neither can they be in what is free.
  return [...gpuCounts(gres)].map(([type, total]) => ({
    type,
    total,
    free: total - (inUse.get(type) ?? inUse.get(undefined) ?? 0),
  }));
}

/** `gpu:a100:4(S:0-1),gpu:2,nvme:1` by type; what stands in parentheses are sockets and indices. */
function gpuCounts(gres: string): Map<string | undefined, number> {
  const counts = new Map<string | undefined, number>();
  for (const item of gres.replace(/\([^)]*\)/g, '').split(',')) {
    const match = /^gpu(?::([^:]+))??(?::(\d+))?$/.exec(item);
    if (match === null) continue;
    const [, type, count = '1'] = match;
    counts.set(type, (counts.get(type) ?? 0) + Number(count));
  }
  return counts;
}

/** `30:00`, `1-00:00:00`, `infinite`. */
function timeLimit(text: string): number | undefined {
  const match = /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$/.exec(text);
  if (!match) return undefined;
  const [days = '0', hours = '0', minutes = '0', seconds = '0'] = match.slice(1);
  return ((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds);
}

/** How a job in an ended state ended; both of Slurm's spellings, see "JOB STATE CODES" in squeue(1). */
const endings: Record<string, { readonly failed: boolean; readonly reason: string } | undefined> = {
  COMPLETED: { failed: false, reason: endedByItself },
  CANCELLED: { failed: false, reason: 'The job was cancelled.' },
  TIMEOUT: { failed: false, reason: 'The time limit was reached.' },
  DEADLINE: { failed: true, reason: 'The job could not start before its deadline.' },
  FAILED: { failed: true, reason: 'The job failed.' },
  OUTOFMEMORY: { failed: true, reason: 'The job ran out of memory. Ask for more with -m.' },
  NODEFAIL: { failed: true, reason: 'The compute node failed.' },
  BOOTFAIL: { failed: true, reason: 'The compute node could not boot.' },
  LAUNCHFAILED: { failed: true, reason: 'Slurm could not start the job on the compute node.' },
  RECONFIGFAIL: { failed: true, reason: 'The compute node could not be set up.' },
  PREEMPTED: { failed: true, reason: 'The job had to make way for one of higher priority.' },
  REVOKED: { failed: true, reason: 'The job was revoked.' },
};

function stateWord(state: string): string {
  return (state.split(' ')[0] ?? '').replaceAll('_', '').replace(/\+$/, '');
}

/** Times come as seconds since 1970, see SLURM_TIME_FORMAT in squeue(1); `N/A` and `Unknown` are none. */
function epoch(text: string | undefined): Date | undefined {
  return text !== undefined && /^\d{5,}$/.test(text) ? new Date(Number(text) * 1000) : undefined;
}

/** Slurm's own words without its prefixes: what it says of the submission, else the first thing that it complains of. */
function complaint({ stdout, stderr, exitCode }: CommandOutput): string {
  const all = [...lines(stderr), ...lines(stdout)];
  const submission = all.find((line) => line.includes('Batch job submission failed: '));
  const said = submission ?? all.find((line) => /error|unrecognized|invalid|unable/i.test(line)) ?? all[0];
  if (said !== undefined)
    return said
      .replace(/^\w+: (?:error: )?/, '')
      .replace(/^Batch job submission failed: /, '')
      .replace(/\.$/, '');
  return exitCode === undefined ? 'the command did not answer in time' : `exit status ${exitCode}`;
}

// ---- What users may do ----------------------------------------------------------------------------------------------

const accounting = ['--noheader', '--parsable2', '--readonly', 'show'];

/** A job needs an association, a partition and, where one is named, a reservation that take it: see sacctmgr(1), scontrol(1). */
async function policy(
  users: readonly string[],
  wanted: Pick<LaunchSpec['resources'], 'account' | 'partition' | 'reservation'>,
): Promise<Policy | { kind: 'unreachable'; message: string }> {
  const names = users.join(',');
  const fields =
    'cluster,account,user,partition,qos,defaultqos,maxjobs,maxsubmitjobs,maxwall,grptres,maxtres';
  const limits = 'name,priority,maxjobsperuser,maxsubmitjobsperuser,maxwall,maxtresperuser,grpjobs';
  const [partitions, reservation, associations, defaults, qualities] = await Promise.all([
    run('scontrol', ['show', 'partition', '--oneliner']),
    wanted.reservation === undefined
      ? undefined
      : run('scontrol', ['show', 'reservation', wanted.reservation, '--oneliner']),
    run('sacctmgr', [...accounting, 'associations', `user=${names}`, `format=${fields}`]),
    run('sacctmgr', [...accounting, 'user', `name=${names}`, 'format=user,defaultaccount']),
    run('sacctmgr', [...accounting, 'qos', `format=${limits}`]),
  ]);
  if (partitions.exitCode !== 0) return { kind: 'unreachable', message: complaint(partitions) };
  const known = parsePartitionPolicies(partitions.stdout);
  const reserved = reservation && parseReservation(reservation);
  if (reserved && 'kind' in reserved) return reserved;
  const partition =
    reserved?.partition ?? wanted.partition?.split(',')[0] ?? known.find(({ isDefault }) => isDefault)?.name;
  const list = reserved?.nodes ?? known.find(({ name }) => name === partition)?.nodes;
  const defaultAccounts = parseDefaultAccounts(defaults.stdout);
  const accounts = [...new Set(wanted.account === undefined ? defaultAccounts.values() : [wanted.account])];
  const [nodes, groups] = await Promise.all([
    list && run('scontrol', ['show', 'node', list, '--oneliner']),
    accounts.length > 0 &&
      run('sacctmgr', [
        ...accounting,
        'associations',
        `account=${accounts.join(',')}`,
        'format=cluster,account,user,grpjobs,grpsubmitjobs',
      ]),
  ]);
  const answered = associations.exitCode === 0;
  return {
    associations: answered ? parseAssociations(associations.stdout) : undefined,
    defaultAccounts,
    groupLimits: parseGroupLimits(groups ? groups.stdout : ''),
    qualities: answered ? parseQualities(qualities.stdout) : [],
    partitions: known,
    reservation: reserved,
    nodes: nodes ? parseNodeRecords(nodes.stdout) : [],
  };
}

export function parseAssociations(stdout: string): Association[] {
  return lines(stdout).flatMap((line) => {
    const [, account = '', user = '', partition, qualities, , maxJobs, maxSubmit, maxWall] = line.split('|');
    return account === '' || user === ''
      ? []
      : [
          {
            user,
            account,
            partition: partition || undefined,
            qualities: list(qualities),
            maxJobs: limit(maxJobs),
            maxSubmit: limit(maxSubmit),
            maxSeconds: timeLimit(maxWall ?? ''),
          },
        ];
  });
}

/** Those of an account stand in the line without a user; lines with one are that user's alone. */
export function parseGroupLimits(stdout: string): Map<string, GroupLimit> {
  return new Map(
    lines(stdout).flatMap((line): [string, GroupLimit][] => {
      const [, account = '', user, jobs, submitted] = line.split('|');
      return account === '' || user ? [] : [[account, { jobs: limit(jobs), submitted: limit(submitted) }]];
    }),
  );
}

export function parseDefaultAccounts(stdout: string): Map<string, string> {
  return new Map(
    lines(stdout).flatMap((line): [string, string][] => {
      const [user = '', account = ''] = line.split('|');
      return account === '' ? [] : [[user, account]];
    }),
  );
}

export function parseQualities(stdout: string): Quality[] {
  return lines(stdout).map((line) => {
    const [name = '', , maxJobs, maxSubmit, maxWall, , groupJobs] = line.split('|');
    return {
      name,
      maxJobs: limit(maxJobs),
      maxSubmit: limit(maxSubmit),
      maxSeconds: timeLimit(maxWall ?? ''),
      groupJobs: limit(groupJobs),
    };
  });
}

export function parsePartitionPolicies(stdout: string): PartitionPolicy[] {
  const access = parseAccess(stdout);
  return records(stdout).map((record) => ({
    name: record.PartitionName ?? '',
    isDefault: record.Default === 'YES',
    nodes: record.Nodes ?? '',
    access: access.get(record.PartitionName ?? ''),
    qualities: allowed(record.AllowQos),
    groups: allowed(record.AllowGroups),
    needsReservation: record.ReqResv === 'YES',
  }));
}

/** Null where there is no reservation of this name. */
export function parseReservation(
  output: CommandOutput,
): Reservation | null | { kind: 'unreachable'; message: string } {
  if (/^Reservation .* not found|^No reservations in the system/m.test(output.stdout + output.stderr))
    return null;
  const [record] = records(output.stdout);
  const [start, end] = [epoch(record?.StartTime), epoch(record?.EndTime)];
  if (output.exitCode !== 0 || record === undefined || start === undefined || end === undefined)
    return { kind: 'unreachable', message: complaint(output) };
  return {
    name: record.ReservationName ?? '',
    start,
    end,
    nodes: record.Nodes ?? '',
    partition: list(record.PartitionName)[0],
    users: list(record.Users),
    accounts: list(record.Accounts),
    groups: list(record.Groups),
  };
}

export function parseNodeRecords(stdout: string): Node[] {
  return records(stdout).map(({ NodeName = '', State = '', CPUTot, RealMemory, Gres = '' }) => ({
    name: NodeName,
    available: !/DOWN|DRAIN|FAIL|NOT_RESPONDING|MAINT|UNKNOWN|FUTURE|REBOOT|POWERED_DOWN/.test(State),
    cpus: Number(CPUTot ?? 0),
    memory: Number(RealMemory ?? 0),
    gpus: [...gpuCounts(Gres).values()].reduce((sum, each) => sum + each, 0),
  }));
}

/** `Name=value Name=value` on one line each; of a value with spaces in it only the first word is kept. */
function records(stdout: string): Record<string, string>[] {
  return lines(stdout)
    .filter((line) => /^\w+=/.test(line))
    .map((line) =>
      Object.fromEntries(
        [...line.matchAll(/(?:^| )(\w+)=(\S*)/g)].map(([, name, value]) => [name as string, value as string]),
      ),
    );
}

function list(text: string | undefined): string[] {
  return text === undefined || text === '(null)' ? [] : text.split(',').filter((each) => each !== '');
}

/** `ALL` is everybody. */
function allowed(text: string | undefined): string[] | undefined {
  return text === undefined || text === 'ALL' ? undefined : list(text);
}

/** Accounting leaves out what has no limit. */
function limit(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}
