/** `start-jupyter systems`: the known systems, and which one this machine is and why; `init` begins a description. */
import { builtInFile, type LoadedFile, loadFiles } from '../config/files.ts';
import {
  environmentLayers,
  fileLayer,
  mergeLayers,
  mergeSystems,
  readOption,
  type Setting,
} from '../config/layers.ts';
import type { SystemEntry } from '../config/schema.ts';
import { ConfigurationError, SchedulerError, UsageError } from '../errors.ts';
import { suggestion } from '../nearest.ts';
import type { OptionValues } from '../options.ts';
import { schedulers } from '../schedulers/registry.ts';
import {
  checkRules,
  findSystem,
  type MachineFacts,
  machineFacts,
  type RuleResult,
  shownSchedulers,
} from '../systems/detect.ts';
import { draft } from '../systems/draft.ts';
import type { System } from '../systems/system.ts';
import { paint } from '../ui/style.ts';
import { alignColumns } from '../ui/table.ts';
import { printable, shown } from '../values.ts';

interface KnownSystem {
  readonly name: string;
  readonly title: string;
  readonly scheduler: string | null;
  readonly proxy: string | null;
  /** Where it is described, lowest first; a later place overrides keys of an earlier one. */
  readonly from: readonly string[];
  /** True where all of its rules match; one that has none is taken only by name. */
  readonly matches: boolean;
  readonly rules: readonly RuleResult[];
}

/** @throws UsageError for an action that there isn't */
export async function run({ json, config }: OptionValues, operands: readonly string[]): Promise<number> {
  const [action, name] = operands;
  if (action === 'init') return await init(name, Boolean(json));
  if (action !== undefined)
    throw new UsageError(
      `"systems" knows no "${shown(action)}".${suggestion(action, ['init'])}`,
      'Write "start-jupyter systems", or "start-jupyter systems init NAME".',
    );
  const files = await loadFiles(process.env, process.cwd(), config);
  const entries = mergeSystems(files);
  const facts = machineFacts(process.env, { offline: false });
  const { system: named } = mergeLayers([...files.map(fileLayer), ...environmentLayers(process.env)]);
  const systems = await Promise.all(
    [...entries].map(([name, entry]) => knownSystem(name, entry, files, facts)),
  );
  const { system, problem } = await thisSystem(entries, named, facts);
  const found = await shownSchedulers(facts);
  if (json) {
    process.stdout.write(
      `${JSON.stringify({
        this: system ? { name: system.name, title: system.title, scheduler: system.scheduler } : null,
        problem: problem?.message ?? null,
        namedBy: named?.origin ?? null,
        machine: {
          hostnames: facts.hostnames,
          clusterName: (await facts.clusterName()) ?? null,
          schedulers: found,
        },
        systems,
      })}\n`,
    );
    return 0;
  }
  const lines = [
    ...catalogue(systems, system?.name),
    '',
    ...verdict(system, problem, named, found),
    ...reasons(systems, named, facts),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  return 0;
}

/** Prints what an unknown system's description can begin with. */
async function init(name: string | undefined, json: boolean): Promise<number> {
  if (name !== undefined) readOption('system', name, 'systems init');
  const facts = machineFacts(process.env, { offline: false });
  const [schedulerName] = await shownSchedulers(facts);
  if (schedulerName === undefined || schedulerName === 'none')
    throw new ConfigurationError(
      'No scheduler was found on this machine, so there is nothing to describe.',
      'Start it on a login node of the cluster.',
    );
  const scheduler = schedulers[schedulerName];
  const offers = await scheduler.offers();
  if ('kind' in offers)
    throw new SchedulerError(`${scheduler.title} does not answer: ${offers.message}.`, 'Try again later.');
  const clusterName = schedulerName === 'slurm' ? await facts.clusterName() : undefined;
  const description = draft({
    name: name ?? clusterName ?? 'mycluster',
    scheduler: schedulerName,
    schedulerTitle: scheduler.title,
    hostname: facts.hostnames[0] ?? '',
    clusterName,
    partitions: offers.partitions,
    findings: (await scheduler.findings?.()) ?? {},
  });
  process.stdout.write(json ? `${JSON.stringify({ description })}\n` : description);
  return 0;
}

async function knownSystem(
  name: string,
  entry: SystemEntry,
  files: readonly LoadedFile[],
  facts: MachineFacts,
): Promise<KnownSystem> {
  const rules = await checkRules(entry.detect, facts);
  return {
    name,
    title: entry.title ?? name,
    scheduler: entry.scheduler ?? null,
    proxy: entry.proxy?.endpoint ?? null,
    from: files
      .filter(({ content }) => Object.hasOwn(content.systems ?? {}, name))
      .map((file) => (file.path === builtInFile ? 'built in' : file.path)),
    matches: rules.length > 0 && rules.every(({ matched }) => matched),
    rules,
  };
}

/** The system that a launch would be for, or what it would be refused for. */
async function thisSystem(
  entries: ReadonlyMap<string, SystemEntry>,
  named: Setting<'system'> | undefined,
  facts: MachineFacts,
): Promise<{ readonly system?: System; readonly problem?: ConfigurationError }> {
  try {
    return { system: await findSystem(entries, named, facts) };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return { problem: error };
  }
}

/** All systems, those of one place together; this one has a mark. */
function catalogue(systems: readonly KnownSystem[], own: string | undefined): string[] {
  const rows = systems.map(({ name, title, scheduler, proxy }) => [
    `${name === own ? '*' : ' '} ${printable(name)}`,
    shown(title, 24),
    scheduler ?? '-',
    proxy ?? '-',
  ]);
  const [header = '', ...lines] = alignColumns([['  NAME', 'TITLE', 'SCHEDULER', 'PROXY'], ...rows]);
  const output = [paint(process.stdout, 'bold', header)];
  let place = 'built in';
  systems.forEach(({ name, from }, index) => {
    if (from.join() !== place)
      output.push(paint(process.stdout, 'dim', `  ${printable(from.join(', then '))}:`));
    place = from.join();
    const line = lines[index] ?? '';
    output.push(name === own ? paint(process.stdout, 'green', line) : line);
  });
  return output;
}

function verdict(
  system: System | undefined,
  problem: ConfigurationError | undefined,
  named: Setting<'system'> | undefined,
  found: readonly string[],
): string[] {
  if (system === undefined) return [problem?.message ?? '', ...(problem?.hint ? [problem.hint] : [])];
  const title = `${printable(system.name)} (${shown(system.title)})`;
  if (named !== undefined) return [`This is taken for ${title}: ${printable(named.origin)} says so.`];
  if (!system.name.startsWith('generic-')) return [`This is ${title}.`];
  const [first, ...others] = found;
  if (first === undefined)
    return [
      "No known system's rules all match, and no scheduler was found:",
      'a launch runs on this machine itself.',
    ];
  return [
    `This is ${title}: no known system's rules all match, and it has ${first}.`,
    ...(others.length > 0 ? [`It has ${others.join(' and ')} too; ${first} counts.`] : []),
    '"start-jupyter systems init" begins a description of it.',
  ];
}

/** The rules of every system for which anything speaks, each with what was seen; a file or setting that names one needs none. */
function reasons(
  systems: readonly KnownSystem[],
  named: Setting<'system'> | undefined,
  facts: MachineFacts,
): string[] {
  const candidates = systems.filter(({ rules }) => rules.some(({ matched }) => matched));
  if (candidates.length === 0 && named === undefined)
    return [
      `Its name is ${printable(facts.hostnames.join(', '))}; no rule of any system matches (--json shows all).`,
    ];
  return candidates.flatMap(({ name, matches, rules }) => [
    '',
    `${printable(name)} ${matches ? 'matches' : "doesn't match"}:`,
    ...rules.flatMap(({ rule, wanted, seen, matched }) => [
      `  ${paint(process.stdout, matched ? 'green' : 'red', matched ? 'yes' : 'no ')} ${printable(rule)}: ${seen === null ? 'nothing here' : shown(seen, 60)}`,
      `      wanted: ${shown(wanted, 66)}`,
    ]),
  ]);
}
