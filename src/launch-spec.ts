/** One launch as one immutable record, and the rules that it must satisfy before anyone is contacted. */
import path from 'node:path';
import type { Settings } from './config/layers.ts';
import type { SchedulerName } from './config/schema.ts';
import { ConfigurationError, UsageError } from './errors.ts';
import { type Access, flagOf, type OptionKey, type Service } from './options.ts';
import { schedulers } from './schedulers/registry.ts';
import type { System } from './systems/system.ts';
import { homeDirectory } from './user-directories.ts';
import { formatDuration, type GpuRequest } from './values.ts';

export interface LaunchSpec {
  readonly system: System;
  readonly access: Access;
  /** `[USER@]HOST[:PORT]` with a satellite, where this machine is brought there with ssh; undefined with other ways. */
  readonly via: string | undefined;
  /** The name under which the link is kept for the next launch. */
  readonly keepLink: string | undefined;
  /** True where nothing is submitted: the job script runs on this machine, in the foreground. */
  readonly here: boolean;
  /** Undefined: lab, or notebook where lab is missing; the job finds out. */
  readonly service: Service | undefined;
  /** Absolute. */
  readonly directory: string;
  readonly resources: Resources;
  readonly environment: {
    readonly modules: readonly string[];
    /** Directories, absolute, searched for modules after the site's own. */
    readonly modulePath: readonly string[];
    /** Absolute. */
    readonly venv: string | undefined;
    readonly conda: Conda | undefined;
    readonly container: Container | undefined;
    /** `NAME=VALUE` each. */
    readonly variables: readonly string[];
    /** A bash file, absolute. */
    readonly setup: string | undefined;
    /** Absolute; `{user}` and `{job}` in it are replaced where the job runs. */
    readonly scratchDirectory: string | undefined;
  };
  /** Seconds without activity after which Jupyter ends itself. */
  readonly idleTimeout: number | undefined;
  /** The user's own job script template (absolute); `ownDirectives`: it asks the scheduler by itself for what it needs. */
  readonly template:
    | {
        readonly file: string;
        readonly ownDirectives: boolean;
        /** Where it was named, for complaints. */
        readonly origin: string;
      }
    | undefined;
}

export interface Conda {
  /** A name, or an absolute path; undefined where `yml` makes it. */
  readonly env: string | undefined;
  /** A bash file, absolute. */
  readonly init: string | undefined;
  /** Absolute. */
  readonly yml: string | undefined;
  readonly program: 'conda' | 'mamba';
  readonly cache: boolean;
}

export interface Container {
  /** Absolute, or a URI. */
  readonly image: string;
  /** As `apptainer exec --bind` takes them, with absolute sources. */
  readonly binds: readonly string[];
  readonly flags: readonly ('--nv' | '--rocm')[];
}

/** The scheduler that gets the job, or none. */
export function schedulerOf({ here, system }: LaunchSpec): SchedulerName {
  return here ? 'none' : system.scheduler;
}

/** The programs that can be the service, in the order in which they are tried. */
export function jupyterPrograms(service: Service | undefined): string[] {
  if (service === 'voila') return ['voila'];
  return service === undefined ? ['jupyter-lab', 'jupyter-notebook'] : [`jupyter-${service}`];
}

export interface Resources {
  readonly account: string | undefined;
  readonly partition: string | undefined;
  /** Seconds. */
  readonly timeLimit: number | undefined;
  readonly nodes: number | undefined;
  readonly cpus: number | undefined;
  /** MiB. */
  readonly memory: number | undefined;
  readonly gpu: GpuRequest | undefined;
  readonly gres: string | undefined;
  readonly reservation: string | undefined;
  readonly qos: string | undefined;
  /** Features of the nodes, as an expression in the words of the scheduler. */
  readonly constraint: string | undefined;
}

const resourceKeys: readonly OptionKey[] = [
  'account',
  'partition',
  'time',
  'nodes',
  'cpus',
  'memory',
  'gpu',
  'gres',
  'reservation',
  'qos',
  'constraint',
];

/**
 * Puts the record together and checks its rules.
 * @param workingDirectory what relative paths start from
 * @throws UsageError for what was typed and can't be meant, ConfigurationError for the same in a file
 */
export function launchSpec(settings: Settings, system: System, workingDirectory: string): LaunchSpec {
  // Where there is no scheduler, "here: false" from elsewhere (another machine with the same home) has no other place to mean.
  const here = settings.here?.value || system.scheduler === 'none';
  const access = accessOf(settings, system, here);
  if ((access === 'local' || access === 'reverse') && !here) {
    refuse(
      settings,
      'access',
      `${access} access needs Jupyter on this machine`,
      'Add --here, or leave --access out.',
    );
  }
  if (access === 'reverse' && settings.via === undefined)
    refuse(
      settings,
      'access',
      'it takes a server to bring this machine to',
      'Add --via USER@SERVER, one with a satellite.',
    );
  if (access !== 'reverse' && isTyped(settings, 'via'))
    refuse(settings, 'via', `with ${access} access nothing goes through ssh`, 'Write --access reverse.');
  if (settings.keepLink !== undefined && !here)
    refuse(settings, 'keepLink', 'a link is kept with --here only', 'Leave it out.');
  if (settings.keepLink !== undefined && (access === 'local' || access === 'ssh'))
    refuse(
      settings,
      'keepLink',
      `a proxy keeps it, and with ${access} access there is none`,
      'Go through one (--access satellite, or --via USER@SERVER), or leave it out.',
    );
  if (access === 'satellite' && system.proxy === undefined) {
    throw new ConfigurationError(
      `No Satellite proxy is known for ${system.title}, so there is no link to open.`,
      `Use an ssh tunnel: --access ssh. If your site runs a proxy, add "systems: { ${system.name}: { proxy: { endpoint: HOST } } }" to ~/.config/start-jupyter/config.yaml; its staff can set one up (docs/satellite.md).`,
    );
  }
  const ownDirectives = settings.force?.value ?? false;
  if (ownDirectives && settings.batchScript === undefined)
    refuse(settings, 'force', 'there is no script to submit as it is', 'Name one with -b FILE.');
  if (here) refuseResourcesHere(settings);
  else if (ownDirectives)
    refuseResources(settings, `with ${flagOf('force')} none are added to the script's own`);

  const spec: LaunchSpec = {
    system,
    access,
    via: access === 'reverse' ? settings.via?.value : undefined,
    keepLink: settings.keepLink?.value,
    here,
    service: settings.service?.value,
    directory: absolute(settings.dir?.value ?? homeDirectory(), workingDirectory),
    resources: ownDirectives ? nothingAskedFor : resourcesOf(settings, here),
    environment: {
      modules: settings.module?.value ?? [],
      modulePath: (settings.modulePath?.value ?? []).map((directory) =>
        absolute(directory, workingDirectory),
      ),
      ...pythonOf(settings, workingDirectory),
      variables: variables(settings, process.env),
      setup: settings.setup && absolute(settings.setup.value, workingDirectory),
      scratchDirectory: settings.scratchDir && absolute(settings.scratchDir.value, workingDirectory),
    },
    idleTimeout: settings.idleTimeout?.value,
    template: settings.batchScript && {
      file: absolute(settings.batchScript.value, workingDirectory),
      ownDirectives: ownDirectives && !here,
      origin: settings.batchScript.origin,
    },
  };
  if (!here && !ownDirectives) checkResources(spec, settings);
  return Object.freeze(spec);
}

/** A server that was typed says how as well as where. */
function accessOf(settings: Settings, system: System, here: boolean): Access {
  if (settings.access !== undefined) return settings.access.value;
  if (isTyped(settings, 'via')) return 'reverse';
  return system.proxy === undefined && here ? 'local' : 'satellite';
}

function resourcesOf(settings: Settings, here: boolean): Resources {
  return {
    account: settings.account?.value,
    partition: settings.partition?.value,
    timeLimit: here ? undefined : settings.time?.value,
    nodes: settings.nodes?.value,
    cpus: settings.cpus?.value,
    memory: settings.memory?.value,
    gpu: settings.gpu?.value,
    gres: settings.gres?.value,
    reservation: settings.reservation?.value,
    qos: settings.qos?.value,
    constraint: settings.constraint?.value,
  };
}

const nothingAskedFor = resourcesOf({}, false);

/** Ways to say where Jupyter comes from. */
const pythonKeys = ['venv', 'condaEnv', 'condaYml', 'image'] as const;

/** What means something beside one of them only. */
const belongsTo = {
  condaInit: ['condaEnv', 'condaYml'],
  mamba: ['condaYml'],
  cache: ['condaYml'],
  bind: ['image'],
  nv: ['image'],
  rocm: ['image'],
} as const satisfies Partial<Record<OptionKey, readonly (typeof pythonKeys)[number][]>>;

/** Where Jupyter comes from: one way that was typed stands instead of others from files. */
function pythonOf(
  settings: Settings,
  workingDirectory: string,
): Pick<LaunchSpec['environment'], 'venv' | 'conda' | 'container'> {
  const given = pythonKeys.filter((key) => settings[key] !== undefined);
  const typed = given.filter((key) => isTyped(settings, key));
  const [first, second] = typed.length === 1 ? typed : given;
  if (first !== undefined && second !== undefined)
    refuse(
      settings,
      second,
      `Jupyter comes from one place, and ${flagOf(first)}${isTyped(settings, first) ? '' : ` (${settings[first]?.origin})`} names another`,
      'Keep one of them.',
    );
  for (const [key, owners] of Object.entries(belongsTo) as [keyof typeof belongsTo, readonly OptionKey[]][])
    if (isTyped(settings, key) && !owners.some((owner) => owner === first)) {
      const names = owners.map(flagOf).join(' or ');
      refuse(settings, key, `it means something with ${names} only`, `Add ${names}, or leave it out.`);
    }
  const file = (key: 'venv' | 'condaInit' | 'condaYml') =>
    settings[key] && absolute(settings[key].value, workingDirectory);
  const env = settings.condaEnv?.value;
  return {
    venv: first === 'venv' ? file('venv') : undefined,
    conda:
      first === 'condaEnv' || first === 'condaYml'
        ? {
            env:
              first === 'condaYml' ? undefined : env?.includes('/') ? absolute(env, workingDirectory) : env,
            init: file('condaInit'),
            yml: first === 'condaYml' ? file('condaYml') : undefined,
            program: settings.mamba?.value ? 'mamba' : 'conda',
            cache: settings.cache?.value ?? false,
          }
        : undefined,
    container:
      first === 'image' && settings.image
        ? {
            image: /^[a-z][a-z0-9-]*:\/\//.test(settings.image.value)
              ? settings.image.value
              : absolute(settings.image.value, workingDirectory),
            binds: (settings.bind?.value ?? []).map((spec) => boundFrom(spec, workingDirectory)),
            flags: [settings.nv?.value && '--nv', settings.rocm?.value && '--rocm'].filter(
              (flag) => flag === '--nv' || flag === '--rocm',
            ),
          }
        : undefined,
  };
}

/** A bind with its source made absolute; its target is where the source is, unless it is given. */
function boundFrom(spec: string, workingDirectory: string): string {
  const [source = '', ...rest] = spec.split(':');
  return [absolute(source, workingDirectory), ...rest].join(':');
}

function isTyped(settings: Settings, key: OptionKey): boolean {
  return settings[key]?.origin === commandLineOrigin(key);
}

/** Each with its value; a name alone takes the one that it has in this environment. */
function variables(settings: Settings, environment: NodeJS.ProcessEnv): string[] {
  return (settings.env?.value ?? []).map((text) => {
    if (text.includes('=')) return text;
    const value = environment[text];
    if (value === undefined)
      refuse(settings, 'env', `${text} has no value here`, `Write ${text}=VALUE, or export it first.`);
    if (value.includes('\ufffd'))
      refuse(settings, 'env', `${text} can only hold UTF-8`, `Write ${text}=VALUE, or leave it out.`);
    return `${text}=${value}`;
  });
}

function checkResources(spec: LaunchSpec, settings: Settings): void {
  const { resources, system } = spec;
  if (resources.gpu && resources.gres && /(^|,)gpu\b/.test(resources.gres)) {
    refuse(settings, 'gpu', '--gpu and --gres both ask for GPUs', 'Keep one of them.');
  }
  if (system.requireAccount && resources.account === undefined) {
    throw new UsageError(
      `${system.title} charges every job to an account, and none is named.`,
      'Add -A NAME, or "account: NAME" in ~/.config/start-jupyter/config.yaml.',
    );
  }
  const unsupported =
    system.scheduler === 'none' ? undefined : schedulers[system.scheduler].unsupported(spec);
  if (unsupported) refuse(settings, unsupported.option, unsupported.message, unsupported.hint);
  if (system.scheduler === 'pbs' && isTyped(settings, 'partition') && isTyped(settings, 'reservation'))
    refuse(
      settings,
      'partition',
      `a reservation of PBS is a queue of its own, and ${flagOf('reservation')} names one`,
      'Keep one of them.',
    );
  refuseGpusWithoutPartition(spec, settings);
  if (resources.partition === undefined) return;
  for (const name of resources.partition.split(',')) {
    const partition = system.partitions[name];
    if (partition === undefined) continue;
    const { maxTime, maxGpus } = partition;
    if (maxTime !== undefined && resources.timeLimit !== undefined && resources.timeLimit > maxTime) {
      if (!isTyped(settings, 'partition') && !isTyped(settings, 'time'))
        refuse(
          settings,
          'partition',
          `"${name}" allows ${formatDuration(maxTime)} at most, and the time of ${formatDuration(resources.timeLimit)} (${settings.time?.origin}) is more`,
          `Write "time: ${Math.floor(maxTime / 60)}" there; for this once, type -t ${Math.floor(maxTime / 60)}, or another partition.`,
        );
      throw new UsageError(
        `The partition "${name}" allows ${formatDuration(maxTime)} at most, and ${formatDuration(resources.timeLimit)} (${settings.time?.origin}) is more.`,
        `Write -t ${Math.floor(maxTime / 60)}, or choose another partition.`,
      );
    }
    if (maxGpus !== undefined && resources.gpu && resources.gpu.count > maxGpus) {
      refuse(
        settings,
        'gpu',
        `the partition "${name}" gives ${maxGpus} GPUs at most`,
        `Write -g ${maxGpus}, or choose another partition.`,
      );
    }
  }
}

/** Where GPUs come with a partition's nodes, one that is not known to have any would start without, and say nothing. */
function refuseGpusWithoutPartition({ resources, system }: LaunchSpec, settings: Settings): void {
  if (resources.gpu === undefined || system.scheduler !== 'slurm' || system.gpuDirective !== 'none') return;
  const chosen = resources.partition?.split(',') ?? [];
  if (chosen.length > 0 && chosen.every((name) => system.partitions[name]?.gpu)) return;
  const withGpus = Object.keys(system.partitions).filter((name) => system.partitions[name]?.gpu);
  refuse(
    settings,
    'gpu',
    `on ${system.title} GPUs come with whole nodes of a partition that has them`,
    withGpus.length > 0
      ? `Choose one with -p: ${withGpus.join(', ')}.`
      : 'Choose one with -p, and leave -g out.',
  );
}

/** Without a submission nobody would grant them; a file's or the system's defaults are simply not used. */
function refuseResourcesHere(settings: Settings): void {
  refuseResources(
    settings,
    settings.here?.value
      ? 'with --here nothing is submitted'
      : 'no scheduler was found on this machine, so Jupyter would run right here',
    'Leave it out, or start on a login node of your cluster.',
  );
}

function refuseResources(settings: Settings, why: string, hint = 'Leave it out.'): void {
  const first = resourceKeys.find((key) => settings[key]?.origin === commandLineOrigin(key));
  if (first === undefined) return;
  throw new UsageError(`${flagOf(first)} asks a scheduler for resources, but ${why}.`, hint);
}

/** The origin of a value that was typed. */
export function commandLineOrigin(key: OptionKey): string {
  return flagOf(key);
}

/** Refuses one setting's value: as wrong usage where it was typed, as a mistake in its file otherwise. */
function refuse(settings: Settings, key: OptionKey, message: string, hint: string): never {
  const origin = settings[key]?.origin ?? '';
  if (origin === commandLineOrigin(key) || origin === '')
    throw new UsageError(`${flagOf(key)}: ${message}.`, hint);
  throw new ConfigurationError(`${origin}: ${key}: ${message}.`, hint);
}

function absolute(typed: string, workingDirectory: string): string {
  const expanded =
    typed === '~' || typed.startsWith('~/') ? path.join(homeDirectory(), typed.slice(1)) : typed;
  return path.resolve(workingDirectory, expanded);
}
