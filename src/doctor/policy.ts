/** What a scheduler's rules mean for one user's launch. */
import { execa } from 'execa';
import type { Resources } from '../launch-spec.ts';
import type { Association, Node, Policy, Reservation } from '../schedulers/scheduler.ts';
import { formatDuration } from '../values.ts';

/** What one user's job would be refused for, or never start for; empty where it is taken. */
export function userProblems(
  user: string,
  groups: readonly string[],
  resources: Resources,
  policy: Policy,
): string[] {
  const { reservation } = policy;
  const account = resources.account ?? policy.defaultAccounts.get(user);
  const problems: string[] = [];
  if (reservation === null) problems.push(`there is no reservation ${resources.reservation}`);
  if (reservation) problems.push(...reservationProblems(reservation, user, account, groups));
  problems.push(...partitionProblems(resources, account, groups, policy));
  if (policy.associations !== undefined)
    problems.push(...associationProblems(user, account, resources, policy));
  return problems;
}

function reservationProblems(
  { name, users, accounts, groups: reservedGroups }: Reservation,
  user: string,
  account: string | undefined,
  groups: readonly string[],
): string[] {
  // Each kind that is given must let the job in, see "Reservations" in scontrol(1).
  if (!letsIn(users, [user])) return [`not among the users of reservation ${name}`];
  if (account !== undefined && !letsIn(accounts, [account]))
    return [`account ${account} is not in reservation ${name}`];
  if (!letsIn(reservedGroups, groups)) return [`in no group of reservation ${name}`];
  return [];
}

/** @param list names that are let in, or, with a minus before them, kept out */
function letsIn(list: readonly string[], names: readonly string[]): boolean {
  const keptOut = list.filter((each) => each.startsWith('-')).map((each) => each.slice(1));
  const letIn = list.filter((each) => !each.startsWith('-'));
  return (
    !names.some((name) => keptOut.includes(name)) &&
    (letIn.length === 0 || names.some((name) => letIn.includes(name)))
  );
}

function partitionProblems(
  { partition, qos, reservation }: Resources,
  account: string | undefined,
  groups: readonly string[],
  policy: Policy,
): string[] {
  const names =
    partition?.split(',') ?? policy.partitions.filter(({ isDefault }) => isDefault).map(({ name }) => name);
  const rules = policy.partitions.filter(({ name }) => names.includes(name));
  return rules.flatMap(({ name, access, qualities, groups: allowedGroups, needsReservation }) => {
    if (needsReservation && reservation === undefined) return [`partition ${name} wants a reservation (-R)`];
    if (account !== undefined && access && access.accounts.includes(account) !== (access.kind === 'only'))
      return [`partition ${name} does not take account ${account}`];
    if (qos !== undefined && qualities && !qualities.includes(qos))
      return [`partition ${name} does not take QOS ${qos}`];
    if (allowedGroups && !allowedGroups.some((group) => groups.includes(group)))
      return [`partition ${name} is for groups ${allowedGroups.join(', ')}`];
    return [];
  });
}

function associationProblems(
  user: string,
  account: string | undefined,
  { partition, qos, timeLimit }: Resources,
  { associations = [], qualities }: Policy,
): string[] {
  const own = associations.filter((each) => each.user === user);
  if (own.length === 0) return ['no association in the accounting'];
  const charged = own.filter((each) => account === undefined || each.account === account);
  if (charged.length === 0)
    return [`may not charge ${account} (but ${[...new Set(own.map((each) => each.account))].join(', ')})`];
  const names = partition?.split(',');
  const usable = charged.filter(
    (each) => each.partition === undefined || !names || names.includes(each.partition),
  );
  const [association] = usable;
  if (association === undefined)
    return [`may charge ${account} in ${charged.map((each) => each.partition).join(', ')} only`];
  if (qos !== undefined && !usable.some((each) => each.qualities.includes(qos)))
    return [`may not use QOS ${qos} (but ${association.qualities.join(', ') || 'none'})`];
  return limitProblems(
    association,
    qualities.find(({ name }) => name === qos),
    timeLimit,
  );
}

function limitProblems(
  association: Association,
  quality: Policy['qualities'][number] | undefined,
  timeLimit: number | undefined,
): string[] {
  return [association, ...(quality ? [quality] : [])].flatMap((limits) => {
    const where = 'name' in limits ? `QOS ${limits.name}` : `account ${limits.account}`;
    if (limits.maxJobs === 0 || limits.maxSubmit === 0) return [`${where} takes no jobs (limit 0)`];
    return timeLimit !== undefined && limits.maxSeconds !== undefined && timeLimit > limits.maxSeconds
      ? [
          `${where} allows ${formatDuration(limits.maxSeconds)}, and ${formatDuration(timeLimit)} is asked for`,
        ]
      : [];
  });
}

/**
 * When a reservation is, and what that means for a job of this length. One that would go on after it starts all the same,
 * and is ended with it (ResvOverRun in slurm.conf(5); seen with 22.05).
 * @param timeLimit seconds
 */
export function reservationWindow(
  { name, start, end }: Reservation,
  timeLimit: number | undefined,
  now: Date,
): { readonly words: string; readonly isOver: boolean; readonly cut: string | undefined } {
  const words = `${name}, ${localTime(start)} to ${localTime(end)}`;
  const left = (end.getTime() - Math.max(start.getTime(), now.getTime())) / 1000;
  const isCut = left > 0 && timeLimit !== undefined && timeLimit > left;
  return {
    words,
    isOver: left <= 0,
    cut: isCut
      ? `a job of ${formatDuration(timeLimit)} is ended with it, after at most ${formatDuration(left)}`
      : undefined,
  };
}

function localTime(date: Date): string {
  const two = (part: number) => String(part).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** How many such jobs fit on these nodes at the same time, when nobody else is there. */
export function jobsThatFit(
  { nodes: count = 1, cpus = 1, memory = 0, gpu }: Resources,
  nodes: readonly Node[],
): number {
  const gpus = gpu?.count ?? 0;
  const available = nodes.filter((node) => node.available);
  const onOne = ({ cpus: cores, memory: mebibytes, gpus: cards }: Node) =>
    Math.floor(
      Math.min(
        cores / cpus,
        memory === 0 ? Number.POSITIVE_INFINITY : mebibytes / memory,
        gpus === 0 ? Number.POSITIVE_INFINITY : cards / Math.ceil(gpus / count),
      ),
    );
  const places = available.reduce((sum, node) => sum + onOne(node), 0);
  return Math.floor(places / count);
}

/** The Unix groups of a user; none where this machine doesn't know the user. */
export async function groupsOf(user: string): Promise<string[]> {
  const { stdout, exitCode } = await execa('id', ['-Gn', '--', user], { reject: false, stdin: 'ignore' });
  return exitCode === 0 ? stdout.split(' ').filter(Boolean) : [];
}
