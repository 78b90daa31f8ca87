/**
 * What can be checked cheaply before anyone is contacted; then what the scheduler knows. A launch is refused by the first
 * check that finds something, `doctor` tells of all.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Settings } from './config/layers.ts';
import { ConfigurationError, type PersonError, SchedulerError, UsageError } from './errors.ts';
import { directoryProblem, existenceProblem, fileProblem } from './file-system.ts';
import { commandLineOrigin, jupyterPrograms, type LaunchSpec } from './launch-spec.ts';
import { suggestion } from './nearest.ts';
import type { OptionKey } from './options.ts';
import { builtIn } from './resolve.ts';
import { schedulers } from './schedulers/registry.ts';
import type { Offers, Scheduler } from './schedulers/scheduler.ts';
import { commandOnPath } from './search-path.ts';
import { probeHome, sessionsDirectory } from './sessions/store.ts';
import { homeDirectory } from './user-directories.ts';
import { formatDuration, shown } from './values.ts';

/** One thing that a launch needs. */
export interface LaunchCheck<Known extends readonly unknown[] = []> {
  readonly title: string;
  readonly about: 'machine' | 'jupyter' | 'scheduler';
  /** What this launch wants of it, in words; undefined where it wants nothing. */
  readonly wanted: (spec: LaunchSpec) => string | undefined;
  readonly problem: (spec: LaunchSpec, settings: Settings, ...known: Known) => PersonError | undefined;
}

/** What a launch needs of this machine: nobody is asked. */
export const machineChecks: readonly LaunchCheck[] = [
  {
    title: 'Start directory',
    about: 'machine',
    wanted: ({ directory }) => directory,
    problem: directoryComplaint,
  },
  {
    title: 'Virtual environment',
    about: 'jupyter',
    wanted: ({ environment }) => environment.venv,
    problem: venvComplaint,
  },
  {
    title: 'Conda environment',
    about: 'jupyter',
    wanted: ({ environment }) => environment.conda?.env,
    problem: condaComplaint,
  },
  {
    title: 'Files to use',
    about: 'jupyter',
    wanted: (spec) =>
      filesToUse(spec)
        .flatMap(([, file]) => file ?? [])
        .join(', ') || undefined,
    problem: filesComplaint,
  },
  { title: 'Home directory', about: 'machine', wanted: () => sessionsDirectory(), problem: probeHome },
  {
    title: 'Scheduler commands',
    about: 'scheduler',
    wanted: ({ here, system: { scheduler } }) =>
      here || scheduler === 'none' ? undefined : schedulers[scheduler].commands.join(', '),
    problem: commandsComplaint,
  },
  {
    title: 'bash',
    about: 'machine',
    wanted: (spec) => (runsHere(spec) ? 'the job script runs here' : undefined),
    problem: bashComplaint,
  },
];

/** @throws UsageError, ConfigurationError: what was asked for isn't there */
export function checkThisMachine(spec: LaunchSpec, settings: Settings): void {
  for (const { problem } of machineChecks) {
    const found = problem(spec, settings);
    if (found !== undefined) throw found;
  }
}

function directoryComplaint({ directory }: LaunchSpec, settings: Settings): PersonError | undefined {
  const problem = directoryProblem(directory);
  if (problem === undefined) return undefined;
  if (settings.dir?.origin === builtIn.origin) {
    // Node.js reads bytes that are not UTF-8 as U+FFFD, and finds nothing of that name.
    const [fault, advice] = directory.includes('\ufffd')
      ? ['its name is not UTF-8', 'another name of the same directory, such as a link to it']
      : [problem, 'your own home directory'];
    return new ConfigurationError(
      `Jupyter would start in your home directory, ${shown(directory)}: ${fault}.`,
      `Set HOME to ${advice}.`,
    );
  }
  return complaint(
    settings,
    'dir',
    `${shown(directory)}: ${problem}`,
    'Write the path of a directory that exists.',
  );
}

function runsHere({ here, system }: LaunchSpec): boolean {
  return here || system.scheduler === 'none';
}

function bashComplaint(spec: LaunchSpec): PersonError | undefined {
  if (!runsHere(spec) || commandOnPath('bash', process.env) !== undefined) return undefined;
  return new ConfigurationError(
    'Jupyter is started by a bash script, and bash is not here.',
    'Install bash and try again.',
  );
}

function commandsComplaint({ here, system }: LaunchSpec): PersonError | undefined {
  if (here || system.scheduler === 'none') return undefined;
  const scheduler = schedulers[system.scheduler];
  const missing = scheduler.commands.filter((command) => commandOnPath(command, process.env) === undefined);
  if (missing.length === 0) return undefined;
  return new ConfigurationError(
    `${system.title} uses ${scheduler.title}, and ${missing.join(', ')} can't be found here.`,
    'Start on a login node, load its module, or add --here to run on this machine.',
  );
}

/** Existence only: the login node's CPU is not the compute node's, so nothing is run. */
function venvComplaint(
  { environment: { venv }, service }: LaunchSpec,
  settings: Settings,
): PersonError | undefined {
  if (venv === undefined) return undefined;
  if (!existsSync(path.join(venv, 'bin', 'python')))
    return complaint(
      settings,
      'venv',
      `${shown(venv)} is not a virtual environment`,
      'It should hold bin/python; make one with "python3 -m venv PATH".',
    );
  const programs = jupyterPrograms(service);
  if (programs.some((program) => existsSync(path.join(venv, 'bin', program)))) return undefined;
  return complaint(
    settings,
    'venv',
    `${shown(venv)} has no ${programs.join(' or ')}`,
    `Install it: ${path.join(venv, 'bin', 'pip')} install ${service === undefined || service === 'lab' ? 'jupyterlab' : service}`,
  );
}

/** The same for an environment of conda: by name, where it is found without asking conda. */
function condaComplaint(
  { environment: { conda, modules }, service }: LaunchSpec,
  settings: Settings,
): PersonError | undefined {
  if (conda?.env === undefined) return undefined;
  const isEnvironment = (directory: string) => existsSync(path.join(directory, 'conda-meta'));
  if (!conda.env.includes('/')) {
    // What the site's modules, a file or conda itself know of can't be told from here.
    if (modules.length > 0 || conda.init !== undefined || hasConda()) return undefined;
    const found = condaPlaces(conda.env).find(isEnvironment);
    return found === undefined
      ? complaint(
          settings,
          'condaEnv',
          `there is no conda environment "${shown(conda.env)}" in any usual place`,
          'Name it by its path, or say how conda is found: --conda-init FILE.',
        )
      : programsComplaint(found, service, settings);
  }
  return isEnvironment(conda.env)
    ? programsComplaint(conda.env, service, settings)
    : complaint(
        settings,
        'condaEnv',
        `${shown(conda.env)} is not a conda environment`,
        'It should hold conda-meta/ and bin/python.',
      );
}

function programsComplaint(
  prefix: string,
  service: LaunchSpec['service'],
  settings: Settings,
): PersonError | undefined {
  const programs = jupyterPrograms(service);
  if (programs.some((program) => existsSync(path.join(prefix, 'bin', program)))) return undefined;
  const wanted = service === undefined || service === 'lab' ? 'jupyterlab' : service;
  return complaint(
    settings,
    'condaEnv',
    `${shown(prefix)} has no ${programs.join(' or ')}`,
    `Install it: conda install --prefix ${shown(prefix)} ${wanted}`,
  );
}

function hasConda(): boolean {
  return ['conda', 'mamba', 'micromamba'].some((name) => commandOnPath(name, process.env) !== undefined);
}

/** Where environments usually are; the job script looks there, too. */
export function condaPlaces(name: string): string[] {
  const { CONDA_EXE, MAMBA_ROOT_PREFIX, CONDA_ENVS_PATH = '', CONDA_ENVS_DIRS = '' } = process.env;
  const home = homeDirectory();
  const roots = [
    CONDA_EXE && path.dirname(path.dirname(CONDA_EXE)),
    MAMBA_ROOT_PREFIX,
    ...['miniforge3', 'miniconda3', 'anaconda3', 'mambaforge', 'micromamba'].map((each) =>
      path.join(home, each),
    ),
    ...['/opt/conda', '/opt/miniforge3', '/opt/miniconda3'],
  ].filter((root) => root !== undefined && root !== '') as string[];
  const listed = readIfThere(path.join(home, '.conda', 'environments.txt')).split('\n');
  return [
    ...roots.map((root) => (name === 'base' ? root : path.join(root, 'envs', name))),
    ...[...CONDA_ENVS_PATH.split(':'), ...CONDA_ENVS_DIRS.split(':'), path.join(home, '.conda', 'envs')]
      .filter((directory) => directory !== '')
      .map((directory) => path.join(directory, name)),
    ...listed.filter((prefix) => path.basename(prefix) === name),
  ];
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // conda writes it with the first environment
  }
}

/** Files that the launch names, each with what must be true of it. */
function filesToUse({ environment: { setup, conda, container } }: LaunchSpec) {
  const image = container?.image.startsWith('/') ? container.image : undefined;
  return [
    ['setup', setup, fileProblem, 'Write the path of a bash file.'],
    [
      'condaInit',
      conda?.init,
      fileProblem,
      'Write the path of a bash file, such as etc/profile.d/conda.sh of an installation.',
    ],
    ['condaYml', conda?.yml, fileProblem, 'Write the path of an environment.yml.'],
    ['image', image, existenceProblem, 'Write the path of an image, or a URI such as docker://NAME.'],
  ] as const;
}

function filesComplaint(spec: LaunchSpec, settings: Settings): PersonError | undefined {
  for (const [key, file, problemOf, hint] of filesToUse(spec)) {
    const problem = file === undefined ? undefined : problemOf(file);
    if (file !== undefined && problem !== undefined)
      return complaint(settings, key, `${shown(file)}: ${problem}`, hint);
  }
  return undefined;
}

/** What a launch needs of the scheduler, held against what it reports. */
export const schedulerChecks: readonly LaunchCheck<[scheduler: Scheduler, offers: Offers]>[] = [
  {
    title: 'Partition',
    about: 'scheduler',
    wanted: ({ resources }) => resources.partition,
    problem: partitionComplaint,
  },
  {
    title: 'Time limit',
    about: 'scheduler',
    wanted: ({ resources: { timeLimit } }) =>
      timeLimit === undefined ? undefined : formatDuration(timeLimit),
    problem: timeComplaint,
  },
  {
    title: 'Account',
    about: 'scheduler',
    wanted: ({ resources }) => resources.account,
    problem: accountComplaint,
  },
];

/**
 * Holds partition, account and time against what the scheduler reports.
 * @param clusters the ones that the job is sent to; undefined: this one
 * @throws UsageError, ConfigurationError; SchedulerError where it can't be reached
 */
export async function checkWithScheduler(
  spec: LaunchSpec,
  settings: Settings,
  scheduler: Scheduler,
  clusters: string | undefined,
): Promise<void> {
  const offers = await scheduler.offers(undefined, clusters, spec.resources);
  if ('kind' in offers)
    throw new SchedulerError(
      `${scheduler.title} can't be reached: ${offers.message}.`,
      'Nothing was submitted. Try again in a few minutes, or ask your site.',
    );
  for (const { problem } of schedulerChecks) {
    const found = problem(spec, settings, scheduler, offers);
    if (found !== undefined) throw found;
  }
}

function partitionComplaint(
  { resources: { partition } }: LaunchSpec,
  settings: Settings,
  _scheduler: Scheduler,
  { partitions }: Offers,
): PersonError | undefined {
  const names = partitions?.map(({ name }) => name);
  const unknown = partition?.split(',').find((name) => names !== undefined && !names.includes(name));
  if (unknown === undefined || names === undefined) return undefined;
  return complaint(
    settings,
    'partition',
    `there is no partition "${shown(unknown)}"`,
    `${suggestion(unknown, names).trim()} Known: ${names.join(', ')}.`.trim(),
  );
}

function timeComplaint(
  { resources: { partition, timeLimit } }: LaunchSpec,
  settings: Settings,
  _scheduler: Scheduler,
  { partitions }: Offers,
): PersonError | undefined {
  if (partition === undefined || timeLimit === undefined) return undefined;
  for (const name of partition.split(',')) {
    const most = partitions?.find((candidate) => candidate.name === name)?.maxSeconds;
    if (most !== undefined && timeLimit > most)
      return complaint(
        settings,
        'time',
        `the partition "${name}" allows ${formatDuration(most)} at most, and ${formatDuration(timeLimit)} is more`,
        `Write -t ${Math.floor(most / 60)}, or choose another partition.`,
      );
  }
  return undefined;
}

function accountComplaint(
  { resources: { account } }: LaunchSpec,
  settings: Settings,
  scheduler: Scheduler,
  { accounts }: Offers,
): PersonError | undefined {
  if (account === undefined || accounts === undefined || accounts.length === 0) return undefined;
  if (accounts.includes(account)) return undefined;
  return complaint(
    settings,
    'account',
    `${scheduler.title} does not let you use the account "${shown(account)}"`,
    `${suggestion(account, accounts).trim()} Yours: ${accounts.join(', ')}.`.trim(),
  );
}

/** Wrong usage where it was typed, a mistake in its file otherwise. */
function complaint(
  settings: Settings,
  key: OptionKey,
  message: string,
  hint: string,
): UsageError | ConfigurationError {
  const origin = settings[key]?.origin;
  if (origin === undefined || origin === commandLineOrigin(key))
    return new UsageError(`${commandLineOrigin(key)}: ${message}.`, hint);
  return new ConfigurationError(`${origin}: ${key}: ${message}.`, hint);
}
