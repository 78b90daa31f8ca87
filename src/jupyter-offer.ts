/** Where Jupyter runs right here and there is none, offers to install one into a directory of its own. */
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { ConfigurationError } from './errors.ts';
import { jupyterPrograms, type LaunchSpec } from './launch-spec.ts';
import type { Service } from './options.ts';
import { commandOnPath } from './search-path.ts';
import type { Progress } from './ui/progress.ts';
import { prompted } from './ui/prompt.ts';
import { homeDirectory, userDirectory } from './user-directories.ts';
import { shown } from './values.ts';

/** Where an offer that was taken has put Jupyter. */
export function privateEnvironment(): string {
  return path.join(userDirectory('XDG_DATA_HOME'), 'jupyter');
}

interface Circumstances {
  /** Take the offer without asking. */
  readonly accept: boolean;
  readonly progress: Progress;
  readonly interrupted: AbortSignal;
}

/**
 * The launch with an environment that holds Jupyter: what is there already, a private environment from an earlier
 * offer, or one that is made now.
 * @throws ConfigurationError where there is none and none can be made, or the offer isn't taken
 */
export async function offerJupyter(spec: LaunchSpec, circumstances: Circumstances): Promise<LaunchSpec> {
  const { modules, venv, conda, container, setup } = spec.environment;
  if (modules.length > 0 || venv || conda || container || setup) return spec;
  const programs = jupyterPrograms(spec.service);
  if (programs.some((program) => commandOnPath(program, process.env) !== undefined)) return spec;

  const directory = privateEnvironment();
  const hasJupyter = () => programs.some((program) => existsSync(path.join(directory, 'bin', program)));
  if (!hasJupyter()) {
    await askFirst(spec.service, directory, circumstances);
    await install(spec.service, directory, circumstances);
  }
  return hasJupyter() ? { ...spec, environment: { ...spec.environment, venv: directory } } : spec;
}

async function askFirst(
  service: Service | undefined,
  directory: string,
  { accept, progress, interrupted }: Circumstances,
): Promise<void> {
  if (accept) return;
  const what = titles[service ?? 'lab'];
  if (process.stdin.isTTY && process.stderr.isTTY) {
    progress.end();
    const { confirm } = await import('@inquirer/prompts');
    const question = `${what} is not installed here. Install it into ${tilde(directory)}?`;
    const isTaken = await prompted(
      (context) => confirm({ message: question, default: true }, context),
      interrupted,
      'Interrupted; nothing was installed.',
    );
    if (isTaken) return;
  }
  throw new ConfigurationError(
    `${what} is not installed on this machine.`,
    `Install it (pip install ${packageOf(service)}), name an environment with --venv, or add --yes to have it installed into ${tilde(directory)}.`,
  );
}

/** A path below the home directory as people write it. */
function tilde(file: string): string {
  const below = path.relative(homeDirectory(), file);
  return below.startsWith('..') ? file : path.join('~', below);
}

const titles: Readonly<Record<Service, string>> = {
  lab: 'JupyterLab',
  notebook: 'Jupyter Notebook',
  voila: 'Voilà',
};

function packageOf(service: Service | undefined): string {
  return service === 'notebook' || service === 'voila' ? service : 'jupyterlab';
}

async function install(
  service: Service | undefined,
  directory: string,
  circumstances: Circumstances,
): Promise<void> {
  const fromPyPI = await installFromPyPI(packageOf(service), directory, circumstances);
  if (fromPyPI === undefined) return;
  const fromDebian = await installFromDebian(service, circumstances);
  if (fromDebian === undefined) return;
  throw new ConfigurationError(
    `Jupyter could not be installed: ${fromPyPI}.`,
    `${fromDebian} Name an environment that has it with --venv PATH.`,
  );
}

/** @returns why it did not work */
async function installFromPyPI(
  packageName: string,
  directory: string,
  circumstances: Circumstances,
): Promise<string | undefined> {
  const { progress } = circumstances;
  if (commandOnPath('python3', process.env) === undefined) return 'there is no python3';
  progress.status(`Making a Python environment in ${tilde(directory)}`);
  // An environment from a Python that has gone, or half of one, is made anew.
  let problem = await attempt('python3', ['-m', 'venv', '--clear', directory], circumstances);
  if (problem === undefined) {
    progress.status(`Installing ${packageName} from PyPI (a minute or two)`);
    const pip = path.join(directory, 'bin', 'python');
    problem = await attempt(
      pip,
      ['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', packageName],
      circumstances,
    );
  }
  if (problem !== undefined) rmSync(directory, { recursive: true, force: true });
  return problem;
}

/** Debian's packages bring the classic Notebook. @returns why it can't be */
async function installFromDebian(
  service: Service | undefined,
  circumstances: Circumstances,
): Promise<string | undefined> {
  if (commandOnPath('apt-get', process.env) === undefined) return 'There are no Debian packages here either.';
  if (service === 'lab' || service === 'voila')
    return "Debian's packages have the classic Notebook: try --notebook.";
  if (process.getuid?.() !== 0)
    return 'Ask an administrator for the package jupyter-notebook, or try again when PyPI can be reached.';
  circumstances.progress.status(
    "PyPI can't be reached; installing Debian's jupyter-notebook (a few minutes)",
  );
  const update = await attempt('apt-get', ['update', '-qq'], circumstances);
  const problem =
    update ??
    (await attempt(
      'apt-get',
      ['install', '-y', '-qq', '--no-install-recommends', 'jupyter-notebook'],
      circumstances,
    ));
  return problem && `Debian's package could not be installed either: ${problem}.`;
}

/** @returns the command's last words where it failed */
async function attempt(
  command: string,
  args: readonly string[],
  { interrupted }: Circumstances,
): Promise<string | undefined> {
  const result = await execa(command, args, {
    reject: false,
    all: true,
    stdin: 'ignore',
    cancelSignal: interrupted,
    env: { DEBIAN_FRONTEND: 'noninteractive' },
  });
  interrupted.throwIfAborted();
  if (!result.failed) return undefined;
  const lines = (result.all ?? '').split('\n').filter((line) => line.trim() !== '');
  const complaint =
    lines.findLast((line) => /error/i.test(line)) ??
    lines.at(-1) ??
    result.shortMessage ??
    'it failed without a word';
  return shown(complaint.replace(/^(ERROR|E|Error): /, ''));
}
