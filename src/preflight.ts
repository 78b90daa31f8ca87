/** What can be checked cheaply before anyone is contacted; then what the scheduler knows. */
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Settings } from './config/layers.ts';
import { ConfigurationError, SchedulerError, UsageError } from './errors.ts';
import { commandLineOrigin, jupyterPrograms, type LaunchSpec } from './launch-spec.ts';
import { suggestion } from './nearest.ts';
import type { OptionKey } from './options.ts';
import { schedulers } from './schedulers/registry.ts';
import type { Offers, Scheduler } from './schedulers/scheduler.ts';
import { directoryProblem, existenceProblem, fileProblem, probeHome } from './sessions/store.ts';
import { commandOnPath } from './systems/detect.ts';
import { formatDuration, shown } from './values.ts';

/** @throws UsageError, ConfigurationError: what was asked for isn't there */
export function checkThisMachine(spec: LaunchSpec, settings: Settings): void {
  const problem = directoryProblem(spec.directory);
  if (problem !== undefined)
    throw complaint(
      settings,
      'dir',
      `${shown(spec.directory)}: ${problem}`,
      'Write the path of a directory that exists.',
    );
  checkVenv(spec, settings);
  checkConda(spec, settings);
  checkFiles(spec, settings);
  probeHome();
  if (spec.system.scheduler === 'none' || spec.here) {
    if (commandOnPath('bash', process.env) === undefined)
      throw new ConfigurationError(
        'Jupyter is started by a bash script, and bash is not here.',
        'Install bash and try again.',
      );
    return;
  }
  const scheduler = schedulers[spec.system.scheduler];
  const missing = scheduler.commands.filter((command) => commandOnPath(command, process.env) === undefined);
  if (missing.length > 0) {
    throw new ConfigurationError(
      `${spec.system.title} uses ${scheduler.title}, and ${missing.join(', ')} can't be found here.`,
      'Start on a login node, load its module, or add --here to run on this machine.',
    );
  }
}

/** Existence only: the login node's CPU is not the compute node's, so nothing is run. */
function checkVenv({ environment: { venv }, service }: LaunchSpec, settings: Settings): void {
  if (venv === undefined) return;
  if (!existsSync(path.join(venv, 'bin', 'python')))
    throw complaint(
      settings,
      'venv',
      `${shown(venv)} is not a virtual environment`,
      'It should hold bin/python; make one with "python3 -m venv PATH".',
    );
  const programs = jupyterPrograms(service);
  if (!programs.some((program) => existsSync(path.join(venv, 'bin', program)))) {
    throw complaint(
      settings,
      'venv',
      `${shown(venv)} has no ${programs.join(' or ')}`,
      `Install it: ${path.join(venv, 'bin', 'pip')} install ${service === undefined || service === 'lab' ? 'jupyterlab' : service}`,
    );
  }
}

/** The same for an environment of conda: by name, where it is found without asking conda. */
function checkConda({ environment: { conda, modules }, service }: LaunchSpec, settings: Settings): void {
  if (conda?.env === undefined) return;
  const isEnvironment = (directory: string) => existsSync(path.join(directory, 'conda-meta'));
  if (!conda.env.includes('/')) {
    const places = condaPlaces(conda.env);
    const found = places.find(isEnvironment);
    // What the site's modules, a file or conda itself know of can't be told from here.
    const isUnknowable = modules.length > 0 || conda.init !== undefined || hasConda();
    if (found === undefined && !isUnknowable)
      throw complaint(
        settings,
        'condaEnv',
        `there is no conda environment "${shown(conda.env)}" in any usual place`,
        'Name it by its path, or say how conda is found: --conda-init FILE.',
      );
    if (found !== undefined && !isUnknowable) checkPrograms(found, service, settings);
    return;
  }
  if (!isEnvironment(conda.env))
    throw complaint(
      settings,
      'condaEnv',
      `${shown(conda.env)} is not a conda environment`,
      'It should hold conda-meta/ and bin/python.',
    );
  checkPrograms(conda.env, service, settings);
}

function checkPrograms(prefix: string, service: LaunchSpec['service'], settings: Settings): void {
  const programs = jupyterPrograms(service);
  if (programs.some((program) => existsSync(path.join(prefix, 'bin', program)))) return;
  const wanted = service === undefined || service === 'lab' ? 'jupyterlab' : service;
  throw complaint(
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
function condaPlaces(name: string): string[] {
  const { CONDA_EXE, MAMBA_ROOT_PREFIX, CONDA_ENVS_PATH = '', CONDA_ENVS_DIRS = '' } = process.env;
  const home = os.homedir();
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

function checkFiles({ environment }: LaunchSpec, settings: Settings): void {
  const { setup, conda, container } = environment;
  const image = container?.image.startsWith('/') ? container.image : undefined;
  const files = [
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
  for (const [key, file, problemOf, hint] of files) {
    const problem = file === undefined ? undefined : problemOf(file);
    if (file !== undefined && problem !== undefined)
      throw complaint(settings, key, `${shown(file)}: ${problem}`, hint);
  }
}

/**
 * Holds partition, account and time against what the scheduler reports.
 * @throws UsageError, ConfigurationError; SchedulerError where it can't be reached
 */
export async function checkWithScheduler(
  spec: LaunchSpec,
  settings: Settings,
  scheduler: Scheduler,
): Promise<void> {
  const offers = await scheduler.offers();
  if ('kind' in offers)
    throw new SchedulerError(
      `${scheduler.title} can't be reached: ${offers.message}.`,
      'Nothing was submitted. Try again in a few minutes, or ask your site.',
    );
  checkPartition(spec, settings, offers);
  const { account } = spec.resources;
  if (
    account !== undefined &&
    offers.accounts !== undefined &&
    offers.accounts.length > 0 &&
    !offers.accounts.includes(account)
  ) {
    throw complaint(
      settings,
      'account',
      `${scheduler.title} does not let you use the account "${shown(account)}"${suggestion(account, offers.accounts).replace(/^\./, '')}`,
      `Yours: ${offers.accounts.join(', ')}.`,
    );
  }
}

function checkPartition(
  { resources: { partition, timeLimit } }: LaunchSpec,
  settings: Settings,
  { partitions }: Offers,
): void {
  if (partition === undefined || partitions === undefined) return;
  for (const name of partition.split(',')) {
    const known = partitions.find((candidate) => candidate.name === name);
    const names = partitions.map((candidate) => candidate.name);
    if (known === undefined)
      throw complaint(
        settings,
        'partition',
        `there is no partition "${shown(name)}"`,
        `${suggestion(name, names).trim()} Known: ${names.join(', ')}.`.trim(),
      );
    if (known.maxSeconds !== undefined && timeLimit !== undefined && timeLimit > known.maxSeconds) {
      throw complaint(
        settings,
        'time',
        `the partition "${name}" allows ${formatDuration(known.maxSeconds)} at most, and ${formatDuration(timeLimit)} is more`,
        `Write -t ${Math.floor(known.maxSeconds / 60)}, or choose another partition.`,
      );
    }
  }
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
