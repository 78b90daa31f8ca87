/** What the questions of `--interactive` go by: the settings so far, and what the scheduler has for this user. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Settings } from '../config/layers.ts';
import { jupyterPrograms, type LaunchSpec } from '../launch-spec.ts';
import { type Service, services } from '../options.ts';
import { type Capacity, unknownCapacity } from '../schedulers/capacity.ts';
import { type SubmittingScheduler, schedulers } from '../schedulers/registry.ts';
import type { AccountAccess, Offers, Vacancies } from '../schedulers/scheduler.ts';
import { commandOnPath } from '../search-path.ts';
import type { Partition, System } from '../systems/system.ts';
import { parseGpu, parseName, shown } from '../values.ts';

export interface PartitionFacts {
  readonly name: string;
  readonly isDefault: boolean;
  /** Whether it takes jobs at the moment. */
  readonly available: boolean;
  /** Seconds. */
  readonly maxSeconds: number | undefined;
  /** Of the nodes that are known to be its own. */
  readonly capacity: Capacity | undefined;
  /** Undefined where all accounts may use it, or nobody says. */
  readonly access: AccountAccess | undefined;
}

export interface Facts {
  readonly system: System;
  readonly settings: Settings;
  /** True where nothing is submitted. */
  readonly here: boolean;
  /** The scheduler's name for people; undefined where nothing is submitted. */
  readonly scheduler: string | undefined;
  /** Those that the user may charge; undefined where nobody says. */
  readonly accounts: readonly string[] | undefined;
  /** The usual one first. */
  readonly partitions: readonly PartitionFacts[];
  /** False where the list is the description's, which may lack some. */
  readonly partitionsAreAll: boolean;
  /** Of all nodes together. */
  readonly capacity: Capacity;
  /** Which interfaces an environment has; undefined where that can't be told from here. */
  servicesIn(venv: string | undefined): readonly Service[] | undefined;
}

/** Milliseconds for which somebody in front of a terminal is kept waiting. */
const patience = 5000;

export interface Asked {
  readonly offers: Offers | { readonly kind: 'unreachable'; readonly message: string };
  readonly vacancies: Vacancies | undefined;
}

/** Asks the scheduler what there is. */
export async function askScheduler(system: System): Promise<Asked> {
  const scheduler = schedulers[system.scheduler as SubmittingScheduler];
  const [offers, vacancies] = await Promise.all([
    scheduler.offers(patience),
    scheduler.vacancies(system, patience),
  ]);
  return { offers, vacancies };
}

/** Puts the facts together; what the scheduler doesn't say is taken from the description of the system. */
export function factsFrom(spec: LaunchSpec, settings: Settings, asked: Asked | undefined): Facts {
  const { system, here } = spec;
  const offers = asked === undefined || 'kind' in asked.offers ? undefined : asked.offers;
  const vacancies = asked?.vacancies;
  const reported = offers?.partitions
    ?.filter(({ name }) => reads(() => parseName(name, 'a partition')))
    .map((partition) => ({
      ...partition,
      maxSeconds: least(partition.maxSeconds, described(system, partition.name)?.maxTime),
      capacity: withUsableTypes(vacancies?.partitions.get(partition.name)),
      access: vacancies?.access?.get(partition.name),
    }));
  const usual = settings.partition?.value ?? reported?.find(({ isDefault }) => isDefault)?.name;
  const partitions = (reported ?? fromDescription(system)).map((each) => ({
    ...each,
    isDefault: each.name === usual,
  }));
  return {
    system,
    settings,
    here,
    scheduler: here ? undefined : schedulers[system.scheduler as SubmittingScheduler].title,
    accounts: offers?.accounts && [
      ...new Set(offers.accounts.filter((name) => reads(() => parseName(name, 'an account')))),
    ],
    partitions: partitions.toSorted((one, other) => Number(other.isDefault) - Number(one.isDefault)),
    partitionsAreAll: reported !== undefined,
    capacity: withUsableTypes(vacancies?.all) ?? unknownCapacity,
    servicesIn: (venv) => servicesIn(venv, spec),
  };
}

/** The description's entry of a partition; names are a scheduler's, and may be those of an object's own methods. */
export function described({ partitions }: System, name: string): Partition | undefined {
  return Object.hasOwn(partitions, name) ? partitions[name] : undefined;
}

function fromDescription({ partitions }: System): PartitionFacts[] {
  return Object.entries(partitions).map(([name, { maxTime }]) => ({
    name,
    isDefault: false,
    available: true,
    maxSeconds: maxTime,
    capacity: undefined,
    access: undefined,
  }));
}

/** Types that no request can name are GPUs all the same. */
function withUsableTypes(capacity: Capacity | undefined): Capacity | undefined {
  if (capacity?.gpus === undefined) return capacity;
  const gpus = capacity.gpus.map((gpu) =>
    gpu.type !== undefined && reads(() => parseGpu(`${gpu.type}:1`)) ? gpu : { ...gpu, type: undefined },
  );
  return { ...capacity, gpus };
}

function reads(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch {
    return false;
  }
}

function least(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.min(one, other);
}

/** By the programs that can be seen from here: in a virtual environment, or on the PATH where Jupyter runs right here. */
function servicesIn(venv: string | undefined, { here, environment }: LaunchSpec): Service[] | undefined {
  const { modules, conda, container, setup } = environment;
  const elsewhere = modules.length > 0 || conda || container || setup;
  if (venv === undefined && (!here || elsewhere)) return undefined;
  const isThere = (program: string) =>
    venv === undefined
      ? commandOnPath(program, process.env) !== undefined
      : existsSync(path.join(venv, 'bin', program));
  return services.filter((service) => jupyterPrograms(service).every(isThere));
}

/** Why the questions know less than they could, in a sentence for the person; undefined where all was said. */
export function whatIsMissing(facts: Facts, asked: Asked | undefined): string | undefined {
  if (asked === undefined) return undefined;
  const instead =
    facts.partitions.length > 0
      ? 'the choices below are those of the description of the system'
      : 'what it has must be typed';
  if ('kind' in asked.offers)
    return `${facts.scheduler} does not answer (${shown(asked.offers.message)}): ${instead}.`;
  if (!facts.partitionsAreAll) return `${facts.scheduler} does not say what it has: ${instead}.`;
  return undefined;
}
