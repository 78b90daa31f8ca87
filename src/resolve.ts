/** From the command line to settings with their origins, and the system that they are for. */

import {
  besideStrangersFile,
  builtInFile,
  type FoundFile,
  loadFiles,
  strangersSiteFile,
} from './config/files.ts';
import {
  environmentLayers,
  fileLayer,
  type Layer,
  mergeLayers,
  mergeSystems,
  misspeltVariables,
  type Setting,
  type Settings,
} from './config/layers.ts';
import type { SystemEntry } from './config/schema.ts';
import { ConfigurationError, UsageError } from './errors.ts';
import { commandLineOrigin } from './launch-spec.ts';
import { suggestion } from './nearest.ts';
import { type OptionKey, type OptionValues, optionKeys } from './options.ts';
import { findSystem, machineFacts } from './systems/detect.ts';
import type { System } from './systems/system.ts';
import { createProgress } from './ui/progress.ts';
import { printable, shown } from './values.ts';

export interface Resolved {
  readonly settings: Settings;
  readonly system: System;
  /** Configuration files that were read, lowest first. */
  readonly files: readonly string[];
}

/**
 * @param typed the options as read from the command line
 * @param offline asks nobody over the network, and says on stderr where that may have led to another system
 * @param shared leaves out what nobody but this user has: own and project's files, variables
 * @throws UsageError, ConfigurationError
 */
export async function resolve(
  typed: OptionValues,
  { offline, shared = false }: { readonly offline: boolean; readonly shared?: boolean },
): Promise<Resolved> {
  refuseConflicts(typed);
  const isTaken = ({ layer }: FoundFile) => !shared || (layer !== 'user' && layer !== 'project');
  const files = await loadFiles(process.env, process.cwd(), typed.config, isTaken);
  const lower = files.map(fileLayer);
  const upper = [...(shared ? [] : environmentLayers(process.env)), ...typedLayers(typed)];
  const systems = mergeSystems(files);
  const { system: named, profile, quiet } = mergeLayers([...lower, ...upper]);
  const facts = machineFacts(process.env, { offline });
  const isTold = !quiet?.value && !typed.json;
  const system = await tellingWait(findSystem(systems, named, facts), isTold);
  // Before anything is refused that the other system may have: a profile, partitions.
  if (facts.isNameWithheld() && !quiet?.value) sayNameWithheld(system);
  const entry = systems.get(system.name);
  const defaults = files.map(({ path, content }): Layer => {
    const of = defaultsOrigin(system);
    return {
      origin: path === builtInFile ? of : `${of} (${path})`,
      values: (content.systems?.[system.name]?.defaults ?? {}) as OptionValues,
    };
  });
  const chosen = profile === undefined ? [] : [profileLayer(entry?.profiles ?? {}, profile, system)];
  return {
    settings: mergeLayers([builtIn, ...defaults, ...lower, ...chosen, ...upper]),
    system,
    files: files.map((file) => file.path),
  };
}

/** Milliseconds after which people wonder. */
const longWait = 2000;

/** Tells a person at a terminal what takes so long; mostly nobody is asked, or answers at once. */
async function tellingWait<T>(system: Promise<T>, isTold: boolean): Promise<T> {
  if (!isTold || !process.stderr.isTTY) return await system;
  const progress = createProgress(process.stderr, false);
  const timer = setTimeout(() => progress.status('Asking Slurm for its name'), longWait);
  try {
    return await system;
  } finally {
    clearTimeout(timer);
    progress.end();
  }
}

/** Login nodes of a configless Slurm (`enable_configless` in slurm.conf(5)) have no file that tells the cluster's name. */
function sayNameWithheld({ name }: System): void {
  process.stderr.write(
    `Slurm was not asked for its name, so a launch may find another system than ${printable(name)}: "start-jupyter systems" asks, --system NAME decides.\n`,
  );
}

/** What a misspelt variable says changes nothing, nor what a stranger's file does. */
export function sayIgnored({ quiet }: Settings): void {
  if (quiet?.value) return;
  const unused = strangersSiteFile(process.env);
  if (unused !== undefined) process.stderr.write(`${unused}.\n`);
  for (const { name, meant } of misspeltVariables(process.env))
    process.stderr.write(
      `${shown(name)} is no setting of start-jupyter and is ignored. Did you mean ${meant}?\n`,
    );
}

function defaultsOrigin({ name }: System): string {
  return `defaults of ${name}`;
}

/** Whether a setting is what holds where nobody says anything: built in, or one of the system's defaults. */
export function isDefault({ origin }: Setting, system: System): boolean {
  const ofSystem = defaultsOrigin(system);
  return origin === builtIn.origin || origin === ofSystem || origin.startsWith(`${ofSystem} (`);
}

/** The settings of a profile. They go before those of files, and what is typed beside it goes before them. */
function profileLayer(
  profiles: NonNullable<SystemEntry['profiles']>,
  { value: name, origin }: Setting<'profile'>,
  system: System,
): Layer {
  const values = Object.hasOwn(profiles, name) ? profiles[name] : undefined;
  if (values !== undefined) return { origin: `profile ${name}`, values: values as OptionValues };
  const names = Object.keys(profiles);
  const message = `${system.title} has no profile "${shown(name)}".${suggestion(name, names)}`;
  const hint = besideStrangersFile(
    names.length > 0
      ? `It has ${names.join(', ')}.`
      : `Add "systems: { ${system.name}: { profiles: { ${name}: … } } }" to a configuration file, or leave it out.`,
  );
  throw origin === commandLineOrigin('profile')
    ? new UsageError(`${origin}: ${message}`, hint)
    : new ConfigurationError(`${origin}: ${message}`, hint);
}

/** What holds where nobody says anything. */
export const builtIn: Layer = { origin: 'built in', values: { dir: '~', time: 30 * 60 } };

/** One layer an option, since each has an origin of its own; `--lab` and the like are ways to say `--service`. */
export function typedLayers(typed: OptionValues): Layer[] {
  const { lab, notebook, voila, ...rest } = typed;
  const values: OptionValues = {
    ...rest,
    ...(lab ? { service: 'lab' as const } : {}),
    ...(notebook ? { service: 'notebook' as const } : {}),
    ...(voila ? { service: 'voila' as const } : {}),
  };
  return optionKeys
    .filter((key) => values[key] !== undefined)
    .map((key) => ({ origin: commandLineOrigin(key), values: { [key]: values[key] } }));
}

const conflicts: readonly (readonly [OptionKey, OptionKey, string])[] = [
  ['lab', 'notebook', 'Keep the one that you want.'],
  ['lab', 'voila', 'Keep the one that you want.'],
  ['notebook', 'voila', 'Keep the one that you want.'],
  ['quiet', 'json', '--json alone is silent too.'],
  ['quiet', 'info', 'Leave one of them out.'],
  ['json', 'dryRun', '--dry-run prints a script; leave --json out.'],
  ['info', 'dryRun', 'Leave one of them out.'],
  ['batchScript', 'service', 'The script says itself what it starts; leave one of them out.'],
  ['batchScript', 'lab', 'The script says itself what it starts; leave one of them out.'],
  ['batchScript', 'notebook', 'The script says itself what it starts; leave one of them out.'],
  ['batchScript', 'voila', 'The script says itself what it starts; leave one of them out.'],
  ['interactive', 'quiet', 'Questions need somebody who reads them; leave one of them out.'],
  ['interactive', 'json', 'Questions need somebody who reads them; leave one of them out.'],
  ['interactive', 'info', 'Leave one of them out.'],
  ['interactive', 'dryRun', 'The questions ask the scheduler, and --dry-run contacts nobody.'],
  ['interactive', 'force', 'The script asks for what it needs by itself; leave one of them out.'],
  ['quiet', 'qr', '--quiet prints the URL alone; leave one of them out.'],
  ['open', 'dryRun', 'Nothing starts with --dry-run, so there is nothing to open.'],
  ['open', 'info', 'Nothing starts with --info, so there is nothing to open.'],
  ['wait', 'dryRun', 'Nothing starts with --dry-run, so there is nothing to wait for.'],
  ['wait', 'info', 'Nothing starts with --info, so there is nothing to wait for.'],
];

/** @throws UsageError for options that can't be meant together */
export function refuseConflicts(typed: OptionValues): void {
  for (const [one, other, hint] of conflicts) {
    if (typed[one] && typed[other])
      throw new UsageError(
        `${commandLineOrigin(one)} and ${commandLineOrigin(other)} contradict each other.`,
        hint,
      );
  }
  const shorthand = (['lab', 'notebook', 'voila'] as const).find((name) => typed[name]);
  if (shorthand !== undefined && typed.service !== undefined && typed.service !== shorthand) {
    throw new UsageError(
      `--${shorthand} and --service ${typed.service} contradict each other.`,
      'Keep the one that you want.',
    );
  }
}
