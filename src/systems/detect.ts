/** Which HPC system is this? */
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { besideStrangersFile } from '../config/files.ts';
import type { Setting } from '../config/layers.ts';
import type { SchedulerName, SystemEntry } from '../config/schema.ts';
import { ConfigurationError, UsageError } from '../errors.ts';
import { suggestion } from '../nearest.ts';
import { flagOf } from '../options.ts';
import { runCommand } from '../schedulers/command.ts';
import { commandOnPath } from '../search-path.ts';
import { shown } from '../values.ts';
import type { System } from './system.ts';

/** What can be found out about this machine. Slow facts are asked for only when they decide something. */
export interface MachineFacts {
  /** As the machine calls itself: short or full, as its site has set it. */
  readonly hostnames: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  fileExists(file: string): boolean;
  hasCommand(name: string): boolean;
  /** Slurm's ClusterName; undefined where there is no Slurm or it doesn't answer. */
  clusterName(): Promise<string | undefined>;
}

/**
 * The system of this name, or the one whose `detect` rules all match.
 * A machine that none matches is a generic one of the scheduler whose commands it has.
 * @throws UsageError or ConfigurationError for an unknown name, ConfigurationError where several match
 */
export async function findSystem(
  systems: ReadonlyMap<string, SystemEntry>,
  named: Setting<'system'> | undefined,
  facts: MachineFacts,
): Promise<System> {
  if (named !== undefined) {
    const generic = [...signs, noSign].find(({ scheduler }) => named.value === genericName(scheduler));
    if (generic !== undefined) return genericSystem(systems, generic);
    const entry = systems.get(named.value);
    if (entry === undefined) throw unknownSystem(systems, named);
    return complete(named.value, entry);
  }

  const matching: string[] = [];
  for (const [candidate, entry] of systems) {
    if (await matches(entry.detect, facts)) matching.push(candidate);
  }
  if (matching.length > 1) {
    throw new ConfigurationError(
      `This machine looks like several systems: ${matching.join(', ')}.`,
      `Say which one with --system ${matching[0]}.`,
    );
  }
  const [only] = matching;
  return only === undefined
    ? genericSystem(systems, await firstSign(facts))
    : complete(only, systems.get(only) as SystemEntry);
}

/** Wrong usage where it was typed, a mistake in its file otherwise. */
function unknownSystem(
  systems: ReadonlyMap<string, SystemEntry>,
  { value, origin }: Setting<'system'>,
): UsageError | ConfigurationError {
  const message = `no system "${shown(value)}" is known.${suggestion(value, systems.keys())}`;
  const hint = besideStrangersFile(`Known: ${[...systems.keys()].join(', ')}.`);
  return origin === flagOf('system')
    ? new UsageError(`${origin}: ${message}`, hint)
    : new ConfigurationError(`${origin}: system: ${message}`, hint);
}

async function matches(rules: SystemEntry['detect'], facts: MachineFacts): Promise<boolean> {
  if (rules === undefined || Object.keys(rules).length === 0) return false;
  if (!localRules(rules, facts).every(({ matched }) => matched)) return false;
  return rules.clusterName === undefined || (await facts.clusterName()) === rules.clusterName;
}

/** One rule of an entry, and what this machine has to show for it. */
export interface RuleResult {
  /** As it is written below `detect`: `hostname`, `env.CENTRE`. */
  readonly rule: string;
  readonly wanted: string;
  /** Null where the machine has nothing of the kind. */
  readonly seen: string | null;
  readonly matched: boolean;
}

/** Every rule of an entry, whether it decides something or not; Slurm may be asked for its name. */
export async function checkRules(
  rules: SystemEntry['detect'],
  facts: MachineFacts,
): Promise<readonly RuleResult[]> {
  if (rules === undefined) return [];
  const { clusterName } = rules;
  if (clusterName === undefined) return localRules(rules, facts);
  const seen = (await facts.clusterName()) ?? null;
  return [
    ...localRules(rules, facts),
    { rule: 'clusterName', wanted: clusterName, seen, matched: seen === clusterName },
  ];
}

/** The rules for which nobody must be asked. */
function localRules(
  { hostname, env, file }: NonNullable<SystemEntry['detect']>,
  facts: MachineFacts,
): RuleResult[] {
  const results: RuleResult[] = [];
  if (hostname !== undefined) {
    const matching = facts.hostnames.find((own) => new RegExp(hostname).test(own));
    const seen = matching ?? facts.hostnames[0] ?? null;
    results.push({ rule: 'hostname', wanted: hostname, seen, matched: matching !== undefined });
  }
  for (const [variable, pattern] of Object.entries(env ?? {})) {
    const seen = facts.environment[variable] ?? null;
    results.push({
      rule: `env.${variable}`,
      wanted: pattern,
      seen,
      matched: new RegExp(pattern).test(seen ?? ''),
    });
  }
  if (file !== undefined) {
    const matched = facts.fileExists(file);
    results.push({ rule: 'file', wanted: file, seen: matched ? file : null, matched });
  }
  return results;
}

function complete(name: string, entry: SystemEntry): System {
  if (entry.scheduler === undefined) {
    throw new ConfigurationError(
      `The system "${name}" says nothing of its scheduler.`,
      `Add "scheduler: slurm" (or none) to systems.${name} in its configuration file.`,
    );
  }
  return {
    name,
    title: entry.title ?? name,
    scheduler: entry.scheduler,
    proxy: entry.proxy,
    nodeAddress: entry.nodeAddress,
    ssh: entry.ssh,
    requireAccount: entry.requireAccount ?? false,
    gpuDirective: entry.gpuDirective ?? 'gpus',
    pbs: entry.pbs,
    sge: entry.sge,
    lsf: entry.lsf,
    partitions: entry.partitions ?? {},
  };
}

/** How a machine shows which scheduler it has. Commands without a configuration are a package that somebody installed. */
const signs: readonly {
  readonly scheduler: SchedulerName;
  readonly title: string;
  readonly shows: (facts: MachineFacts) => boolean | Promise<boolean>;
}[] = [
  {
    scheduler: 'slurm',
    title: 'an unknown Slurm cluster',
    shows: async (facts) => facts.hasCommand('sbatch') && (await facts.clusterName()) !== undefined,
  },
  {
    scheduler: 'pbs',
    title: 'an unknown PBS cluster',
    // See pbs.conf(8B): every host of PBS Professional and OpenPBS has it.
    shows: ({ hasCommand, fileExists, environment }) =>
      hasCommand('qsub') && fileExists(environment.PBS_CONF_FILE ?? '/etc/pbs.conf'),
  },
  {
    scheduler: 'torque',
    title: 'an unknown Torque cluster',
    // Names the server to every command; the second place is Debian's.
    shows: ({ hasCommand, fileExists }) =>
      hasCommand('qsub') &&
      ['/var/spool/torque/server_name', '/etc/torque/server_name'].some((file) => fileExists(file)),
  },
  {
    scheduler: 'sge',
    title: 'an unknown Grid Engine cluster',
    // Sites set the variable for every login, see sge_intro(1). Without it there are but packages.
    shows: ({ hasCommand, fileExists, environment: { SGE_ROOT, SGE_CELL = 'default' } }) =>
      hasCommand('qsub') && !!SGE_ROOT && fileExists(`${SGE_ROOT}/${SGE_CELL}/common/act_qmaster`),
  },
  {
    scheduler: 'lsf',
    title: 'an unknown LSF cluster',
    // Set by profile.lsf, which every login reads.
    shows: ({ hasCommand, fileExists, environment: { LSF_ENVDIR } }) =>
      hasCommand('bsub') && !!LSF_ENVDIR && fileExists(`${LSF_ENVDIR}/lsf.conf`),
  },
];

/** The schedulers that this machine shows, in the order in which one of them is taken where no entry matches. */
export async function shownSchedulers(facts: MachineFacts): Promise<readonly SchedulerName[]> {
  const shown: SchedulerName[] = [];
  for (const { scheduler, shows } of signs) if (await shows(facts)) shown.push(scheduler);
  return shown;
}

const noSign = { scheduler: 'none', title: 'this machine' } as const;

type Generic = Pick<(typeof signs)[number], 'scheduler' | 'title'>;

async function firstSign(facts: MachineFacts): Promise<Generic> {
  for (const sign of signs) if (await sign.shows(facts)) return sign;
  return noSign;
}

function genericName(scheduler: SchedulerName): string {
  return `generic-${scheduler}`;
}

/** What files say of an entry of its name counts here too: its proxy, say. */
function genericSystem(systems: ReadonlyMap<string, SystemEntry>, { scheduler, title }: Generic): System {
  const name = genericName(scheduler);
  return complete(name, { title, scheduler, ...systems.get(name) });
}

/** Facts of the machine that this process runs on. */
export interface OwnFacts extends MachineFacts {
  /** True once Slurm's name was wanted and only the controller, which `offline` leaves alone, could have told it. */
  isNameWithheld(): boolean;
}

/** The facts of the machine that this process runs on. With `offline`, nobody is asked over a network. */
export function machineFacts(
  environment: NodeJS.ProcessEnv,
  { offline }: { readonly offline: boolean },
): OwnFacts {
  const hasCommand = (name: string) => commandOnPath(name, environment) !== undefined;
  let clusterName: Promise<string | undefined> | undefined;
  let isNameWithheld = false;
  const findClusterName = async () => {
    const configured = configuredClusterName(environment);
    if (configured !== undefined || !hasCommand('scontrol')) return configured;
    isNameWithheld = offline;
    return offline ? undefined : await reportedClusterName();
  };
  return {
    hostnames: [os.hostname()],
    environment,
    fileExists: existsSync,
    hasCommand,
    clusterName: () => {
      clusterName ??= findClusterName();
      return clusterName;
    },
    isNameWithheld: () => isNameWithheld,
  };
}

const clusterNameLine = /^\s*ClusterName\s*=\s*(\S+)/im;

/** From Slurm's configuration file where this machine has one: that costs nothing and asks nobody. */
function configuredClusterName(environment: NodeJS.ProcessEnv): string | undefined {
  const places = [
    environment.SLURM_CONF,
    '/etc/slurm/slurm.conf',
    '/etc/slurm-llnl/slurm.conf',
    '/run/slurm/conf/slurm.conf',
  ];
  const file = places.find((place) => place !== undefined && existsSync(place));
  if (file === undefined) return undefined;
  try {
    return clusterNameLine.exec(readFileSync(file, 'utf8'))?.[1];
  } catch {
    return undefined; // not readable for users: the controller is asked
  }
}

async function reportedClusterName(): Promise<string | undefined> {
  const { stdout } = await runCommand('scontrol', ['show', 'config'], { timeout: 10_000 });
  return clusterNameLine.exec(stdout)?.[1];
}
