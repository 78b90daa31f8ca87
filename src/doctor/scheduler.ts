/** The scheduler: is it here, does it answer, and does it take what this launch asks for? */
import type { Settings } from '../config/layers.ts';
import type { LaunchSpec } from '../launch-spec.ts';
import { machineChecks, schedulerChecks } from '../preflight.ts';
import { runCommand, userName } from '../schedulers/command.ts';
import { type SubmittingScheduler, schedulers } from '../schedulers/registry.ts';
import type { Offers, Policy, Scheduler } from '../schedulers/scheduler.ts';
import type { System } from '../systems/system.ts';
import { formatDuration, shown } from '../values.ts';
import { type Finding, fail, ok, skipped, warn } from './finding.ts';
import { groupsOf, reservationWindow, userProblems } from './policy.ts';
import { preflightFinding } from './preflight.ts';

/** The title under which it is said whether the scheduler answers. */
export const schedulerAnswers = 'Answers';

/** @param spec a launch that is to become a job */
export async function schedulerFindings(
  spec: LaunchSpec,
  settings: Settings,
  {
    asUser,
  }: { /** False: whoever runs this isn't one of those who will launch. */ readonly asUser: boolean },
): Promise<Finding[]> {
  const scheduler = schedulers[spec.system.scheduler as SubmittingScheduler];
  const commands = machineChecks
    .filter(({ about }) => about === 'scheduler')
    .flatMap((check) => preflightFinding(check, spec, settings) ?? []);
  if (commands.some(({ result }) => result === 'fail'))
    return [...commands, skipped(schedulerAnswers, "without its commands it can't be asked")];
  const [version, offers, findings] = await Promise.all([
    versionOf(scheduler),
    scheduler.offers(),
    scheduler.findings?.(),
  ]);
  if ('kind' in offers)
    return [
      ...commands,
      fail(
        schedulerAnswers,
        `${scheduler.title} can't be reached: ${offers.message}`,
        'Try again in a few minutes, or ask your site.',
      ),
    ];
  const checks = schedulerChecks.filter(({ title }) => asUser || title !== 'Account');
  return [
    ...commands,
    ok(schedulerAnswers, version ?? scheduler.title),
    ...checks.flatMap((check) => preflightFinding(check, spec, settings, scheduler, offers) ?? []),
    ...partitionFindings(spec.system, offers, spec.resources.partition),
    ...gpuFindings(spec, findings?.gpuPartitions),
    ...(asUser ? await permissionFindings(spec, scheduler) : []),
  ];
}

async function versionOf({ versionCommand }: Scheduler): Promise<string | undefined> {
  if (versionCommand === undefined) return undefined;
  const [command, ...args] = versionCommand;
  const { stdout, exitCode } = await runCommand(command, args, { timeout: 10_000 });
  const line = stdout.split('\n').find((each) => /\d/.test(each));
  return exitCode === 0 && line !== undefined ? shown(line.trim()) : undefined;
}

/** Whether the partition takes jobs, and what the description of the system says of partitions is true. */
export function partitionFindings(
  system: System,
  { partitions }: Pick<Offers, 'partitions'>,
  wanted: string | undefined,
): Finding[] {
  if (partitions === undefined) return [skipped('Partitions', 'the scheduler does not list them')];
  const findings: Finding[] = [];
  const chosen =
    wanted?.split(',') ?? partitions.filter(({ isDefault }) => isDefault).map(({ name }) => name);
  if (chosen.length === 0)
    findings.push(
      warn(
        'Partition',
        'none is named, and the scheduler has no default',
        'Name one: -p NAME, or "partition: NAME" in a file.',
      ),
    );
  else if (wanted === undefined)
    findings.push(ok('Partition', `none is named: ${chosen.join(', ')} by default`));
  const closed = partitions.filter(({ name, available }) => chosen.includes(name) && !available);
  if (closed.length > 0)
    findings.push(
      warn(
        'Takes jobs',
        `${closed.map(({ name }) => name).join(', ')}: not at the moment, jobs wait`,
        'Choose another partition (-p), or wait until it is opened.',
      ),
    );
  const wrong = Object.entries(system.partitions).flatMap(([name, { maxTime }]) => {
    const real = partitions.find((each) => each.name === name);
    if (real === undefined) return [`${name} does not exist`];
    return maxTime !== undefined && real.maxSeconds !== undefined && maxTime > real.maxSeconds
      ? [`${name} allows ${formatDuration(real.maxSeconds)}, not ${formatDuration(maxTime)}`]
      : [];
  });
  if (wrong.length > 0)
    findings.push(
      warn(
        'Description',
        `of partitions is out of date: ${wrong.join('; ')}`,
        `Correct systems.${system.name}.partitions; "start-jupyter systems" shows in which file.`,
      ),
    );
  return findings;
}

/** @param reported partitions that have GPUs, as the scheduler says; undefined where it doesn't */
export function gpuFindings(
  { resources, system }: LaunchSpec,
  reported: readonly string[] | undefined,
): Finding[] {
  const title = 'GPUs';
  const described = Object.keys(system.partitions).filter((name) => system.partitions[name]?.gpu);
  if (reported === undefined)
    return resources.gpu ? [skipped(title, 'the scheduler does not say where they are')] : [];
  const chosen = resources.partition?.split(',') ?? [];
  if (resources.gpu && chosen.length > 0 && !chosen.some((name) => reported.includes(name)))
    return [
      fail(
        title,
        `asked for, and ${chosen.join(', ')} has none`,
        reported.length === 0
          ? 'No partition has any: leave -g out.'
          : `Choose one with -p: ${reported.join(', ')}.`,
      ),
    ];
  const without = described.filter((name) => !reported.includes(name));
  if (without.length > 0)
    return [
      warn(
        title,
        `${without.join(', ')}: described with GPUs, and the scheduler reports none there`,
        `Correct systems.${system.name}.partitions; "start-jupyter systems" shows in which file.`,
      ),
    ];
  return [ok(title, reported.length === 0 ? 'the scheduler reports none' : `in ${reported.join(', ')}`)];
}

/** Associations, quality of service and reservation, for the user who asks. */
async function permissionFindings({ resources }: LaunchSpec, scheduler: Scheduler): Promise<Finding[]> {
  if (scheduler.policy === undefined) return [];
  const title = 'You may';
  const user = userName();
  const policy = await scheduler.policy([user], resources);
  if ('kind' in policy) return [skipped(title, `nobody says: ${policy.message}`)];
  const problems = userProblems(user, await groupsOf(user), resources, policy);
  return [
    ...(problems.length > 0
      ? [fail(title, problems.join('; '), 'Choose what is yours (-A, -p, -R, --qos), or ask your site.')]
      : policy.associations === undefined
        ? [skipped(title, 'there is no accounting that would say')]
        : [ok(title, `submit as ${user}`)]),
    ...reservationFindings(policy, resources.timeLimit),
  ];
}

/** @param timeLimit seconds */
export function reservationFindings({ reservation }: Policy, timeLimit: number | undefined): Finding[] {
  if (!reservation) return [];
  const { words, isOver, cut } = reservationWindow(reservation, timeLimit, new Date());
  const title = 'Reservation';
  if (isOver) return [fail(title, `${words}: it is over`, 'Leave -R out, or ask for another one.')];
  return cut === undefined
    ? [ok(title, words)]
    : [warn(title, `${words}: ${cut}`, 'Write a shorter -t, so that everybody sees the true end.')];
}
