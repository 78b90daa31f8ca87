/** What users may do: sacctmgr(1), scontrol(1). */
import type { LaunchSpec } from '../../launch-spec.ts';
import { type CommandOutput, lines } from '../command.ts';
import type {
  Association,
  GroupLimit,
  Node,
  PartitionPolicy,
  Policy,
  Quality,
  Reservation,
} from '../scheduler.ts';
import { complaint, epoch, run, timeLimit } from './command.ts';
import { gpuCounts, parseAccess } from './partitions.ts';

const accounting = ['--noheader', '--parsable2', '--readonly', 'show'];

/** A job needs an association, a partition and, where one is named, a reservation that take it: see sacctmgr(1), scontrol(1). */
export async function policy(
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
