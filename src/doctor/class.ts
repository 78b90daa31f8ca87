/** What a class would meet: whoever teaches looks at it before everybody comes. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { findFiles } from '../config/files.ts';
import { PersonError } from '../errors.ts';
import { jupyterPrograms, type LaunchSpec } from '../launch-spec.ts';
import { isSetting, type OptionValues, optionKeys } from '../options.ts';
import { condaPlaces } from '../preflight.ts';
import { type Resolved, resolve } from '../resolve.ts';
import { type SubmittingScheduler, schedulers } from '../schedulers/registry.ts';
import type { Policy, Reservation } from '../schedulers/scheduler.ts';
import { homeDirectory } from '../user-directories.ts';
import { type HomeReport, homesOf } from './class-accounts.ts';
import { type Finding, fail, ok, skipped, warn } from './finding.ts';
import { closedToOthers } from './permissions.ts';
import { groupsOf, jobsThatFit, userProblems } from './policy.ts';
import { reservationFindings } from './scheduler.ts';

/** One account of the class. */
export interface ClassAccount {
  readonly user: string;
  /** What its jobs are charged to; undefined where nobody says. */
  readonly account: string | undefined;
  readonly home: string | undefined;
  readonly problems: readonly string[];
}

/**
 * Whether what a class needs is where everybody finds it.
 * @param shared the configuration without what is this user's own; undefined where a launch would be refused for it
 */
export async function sharingFindings(typed: OptionValues, shared: Resolved | undefined): Promise<Finding[]> {
  const site = findFiles(process.env, '/').find(({ layer }) => layer === 'site');
  const closed = site && closedToOthers(site.path);
  return [
    ...(site === undefined
      ? [
          warn(
            'For everybody',
            'there is no file of the site, so everybody has the built-in systems only',
            'Make /etc/start-jupyter/config.yaml, or etc/config.yaml beside the global copy.',
          ),
        ]
      : closed === undefined
        ? [ok('For everybody', `${site.path} can be read by everybody`)]
        : [fail('For everybody', `${closed.path} ${closed.problem}`, closed.mend)]),
    ...(process.env.START_JUPYTER_SITE_CONFIG
      ? [
          warn(
            'Set for the class',
            'the file of the site is found through START_JUPYTER_SITE_CONFIG',
            'Set it for the class, too: in the module file, or the profile of the login nodes.',
          ),
        ]
      : []),
    ...(await ownSettingsFinding(typed, shared)),
  ];
}

/** What only this user's files and variables say is what a class runs into. */
async function ownSettingsFinding(typed: OptionValues, shared: Resolved | undefined): Promise<Finding[]> {
  const title = 'Only yours';
  let own: Resolved;
  try {
    own = await resolve(typed, { offline: false });
  } catch (error) {
    if (!(error instanceof PersonError)) throw error;
    return [];
  }
  const move = "Move it to the site's file (systems.NAME.profiles), and choose it with --profile.";
  if (shared === undefined)
    return [
      fail(title, 'with your own files and variables a launch is not refused, without them it is', move),
    ];
  const differing = optionKeys.filter(
    (key) =>
      isSetting(key) &&
      JSON.stringify(own.settings[key]?.value) !== JSON.stringify(shared.settings[key]?.value),
  );
  if (differing.length === 0) return [ok(title, 'nothing: your own settings change nothing here')];
  const named = differing.map((key) => `${key} (${own.settings[key]?.origin})`);
  return [warn(title, `the class will not have ${named.join(', ')}`, move)];
}

/** A profile keeps sixty people from typing. */
export function profileFinding(typed: OptionValues, profiles: readonly string[]): Finding {
  const title = 'Profile';
  if (typed.profile !== undefined) return ok(title, typed.profile);
  return profiles.length === 0
    ? skipped(title, 'this system has none; one would keep everybody from typing options')
    : warn(
        title,
        `none is chosen, and there are ${profiles.join(', ')}`,
        `Say which one: --profile ${profiles[0]}`,
      );
}

/** Everything that the launch names must be open to others: each directory on the way, too. */
export function environmentFindings(
  { environment, directory, template, system, service }: LaunchSpec,
  home: string,
): Finding[] {
  const { venv, conda, container, setup, modulePath } = environment;
  const prefix =
    venv ??
    (conda?.env?.includes('/')
      ? conda.env
      : conda?.env && condaPlaces(conda.env).find((place) => existsSync(place)));
  const inPrefix = prefix
    ? ['bin/python', ...jupyterPrograms(service).map((name) => `bin/${name}`), 'lib'].map((each) =>
        path.join(prefix, each),
      )
    : [];
  const named = [
    ...inPrefix.filter((file) => existsSync(file)),
    conda?.init,
    conda?.yml,
    container?.image.startsWith('/') ? container.image : undefined,
    setup,
    ...modulePath,
    template?.file,
    system.proxy?.caFile,
    // Everybody has a home of their own.
    isBelow(directory, home) ? undefined : directory,
  ].filter((file) => file !== undefined);
  const title = 'Open to everybody';
  if (named.length === 0) return [ok(title, 'nothing is named that would have to be')];
  const closed = named.flatMap((file) => {
    const found = closedToOthers(file);
    return found === undefined ? [] : [found];
  });
  const distinct = [...new Map(closed.map((each) => [each.path, each])).values()];
  return distinct.length === 0
    ? [ok(title, named.join(', '))]
    : distinct.map(({ path: file, problem, mend }) => fail(title, `${file} ${problem}`, mend));
}

function isBelow(directory: string, home: string): boolean {
  return directory === home || directory.startsWith(`${home}/`);
}

/** Where Jupyter starts, from a home; empty where that is the home itself, or elsewhere. */
function belowHome(spec: LaunchSpec | undefined): string {
  const home = homeDirectory();
  return spec !== undefined && isBelow(spec.directory, home) ? path.relative(home, spec.directory) : '';
}

export interface ClassReport {
  readonly findings: readonly Finding[];
  readonly accounts: readonly ClassAccount[];
}

/**
 * The accounts of a class against what the scheduler and this machine know of them.
 * @param named the accounts; empty: those whom the reservation names
 * @param spec undefined where the scheduler is not to be asked
 */
export async function classReport(
  named: readonly string[],
  spec: LaunchSpec | undefined,
): Promise<ClassReport> {
  const scheduler =
    spec === undefined || spec.here ? undefined : schedulers[spec.system.scheduler as SubmittingScheduler];
  if (spec === undefined || scheduler?.policy === undefined) {
    const why =
      spec === undefined
        ? 'it was not asked: see above'
        : `${scheduler?.title ?? 'a machine without a scheduler'} does not say who may do what`;
    const { findings, accounts } = withHomes(
      named,
      await homesOf(named, belowHome(spec)),
      new Map(),
      () => undefined,
    );
    return { findings: [...findings, skipped('Scheduler', why)], accounts };
  }
  const first = await scheduler.policy(named, spec.resources);
  if ('kind' in first)
    return {
      findings: [fail('Scheduler', `does not say: ${first.message}`, 'Try again later.')],
      accounts: [],
    };
  const users = named.length > 0 ? named : reservedUsers(first.reservation);
  if (users.length === 0)
    return {
      findings: [
        skipped('Accounts', 'no account is named: write --class train01,train02, train[01-60] or a file'),
        ...reservationFindings(first, spec.resources.timeLimit),
      ],
      accounts: [],
    };
  const policy = named.length > 0 ? first : await scheduler.policy(users, spec.resources);
  if ('kind' in policy)
    return { findings: [fail('Scheduler', `does not say: ${policy.message}`)], accounts: [] };
  return reportWithPolicy(users, spec, policy);
}

function reservedUsers(reservation: Reservation | null | undefined): string[] {
  return reservation?.users.filter((user) => !user.startsWith('-')) ?? [];
}

async function reportWithPolicy(
  users: readonly string[],
  spec: LaunchSpec,
  policy: Policy,
): Promise<ClassReport> {
  const { resources } = spec;
  const homes = await homesOf(users, belowHome(spec));
  const problems = new Map<string, string[]>();
  for (const user of users) problems.set(user, userProblems(user, await groupsOf(user), resources, policy));
  const { findings, accounts } = withHomes(
    users,
    homes,
    problems,
    (user) => resources.account ?? policy.defaultAccounts.get(user),
  );
  const nobodySeen = policy.associations?.length === 0;
  return {
    accounts,
    findings: [
      ...findings,
      ...(nobodySeen
        ? [
            warn(
              'Accounting',
              'shows none of these accounts to you',
              'If they are in it, it hides them (PrivateData): run this as its operator.',
            ),
          ]
        : []),
      ...reservationFindings(policy, resources.timeLimit),
      capacityFinding(users.length, resources, policy),
      ...accountLimitFindings(accounts, policy),
      ...qualityFinding(users.length, resources, policy),
      ...(spec.access === 'satellite'
        ? [
            skipped(
              'Tokens',
              `${users.length} were not tried; a Satellite gives one host 1200 a minute, unless tokensPerMinute says less`,
            ),
          ]
        : []),
    ],
  };
}

function withHomes(
  users: readonly string[],
  homes: ReadonlyMap<string, HomeReport>,
  problems: ReadonlyMap<string, readonly string[]>,
  accountOf: (user: string) => string | undefined,
): ClassReport {
  const accounts = users.map((user): ClassAccount => {
    const home = homes.get(user);
    return {
      user,
      account: accountOf(user),
      home: home?.path,
      problems: [...(home?.problem === undefined ? [] : [home.problem]), ...(problems.get(user) ?? [])],
    };
  });
  const troubled = accounts.filter((each) => each.problems.length > 0);
  const title = 'Accounts';
  if (users.length === 0) return { findings: [skipped(title, 'no account is named')], accounts };
  return {
    accounts,
    findings: [
      troubled.length === 0
        ? ok(title, `${users.length}, and all of them may launch`)
        : fail(
            title,
            `${troubled.length} of ${users.length} would be refused or stay without a home`,
            'The table below says why.',
          ),
    ],
  };
}

function capacityFinding(size: number, resources: LaunchSpec['resources'], policy: Policy): Finding {
  const title = 'All at once';
  if (policy.nodes.length === 0) return skipped(title, 'the nodes are not known');
  const fit = jobsThatFit(resources, policy.nodes);
  const away = policy.nodes.filter(({ available }) => !available).length;
  const where = policy.reservation ? `reservation ${policy.reservation.name}` : 'the partition';
  const found = `${fit} such jobs fit into ${where}, and ${size} come${away > 0 ? ` (${away} of ${policy.nodes.length} nodes take no jobs)` : ''}`;
  if (fit >= size) return ok(title, found);
  const advice = 'Ask for less (-c, -m, -g), or for more nodes.';
  // Without a reservation others are there as well: some wait in any case.
  return policy.reservation ? fail(title, found, advice) : warn(title, `${found}: the others wait`, advice);
}

/** Limits on all jobs that are charged to one account. */
export function accountLimitFindings(accounts: readonly ClassAccount[], { groupLimits }: Policy): Finding[] {
  const title = 'Limits';
  const charged = Map.groupBy(accounts, ({ account }) => account);
  return [...groupLimits].flatMap(([account, { jobs, submitted }]) => {
    const size = charged.get(account)?.length ?? 0;
    if (submitted !== undefined && submitted < size)
      return [
        fail(
          title,
          `account ${account} takes ${submitted} jobs at a time, and ${size} come: the others are refused`,
          `Ask for GrpSubmitJobs=${size} or more for the time of the class.`,
        ),
      ];
    if (jobs !== undefined && jobs < size)
      return [
        warn(
          title,
          `account ${account} runs ${jobs} jobs at a time, and ${size} come: the others wait`,
          `Ask for GrpJobs=${size} or more for the time of the class.`,
        ),
      ];
    return [];
  });
}

/** Limits on all jobs of a quality of service together. */
function qualityFinding(size: number, { qos }: LaunchSpec['resources'], { qualities }: Policy): Finding[] {
  const quality = qualities.find(({ name }) => name === (qos ?? 'normal'));
  if (quality?.groupJobs === undefined) return [];
  const found = `QOS ${quality.name} runs ${quality.groupJobs} jobs at a time, of everybody together`;
  return [
    quality.groupJobs >= size
      ? ok('Limits', found)
      : warn(
          'Limits',
          found,
          `Ask for GrpJobs=${size} or more for the time of the class, or for another --qos.`,
        ),
  ];
}
