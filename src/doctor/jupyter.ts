/** Where Jupyter comes from. Nothing of it is run: the compute node's CPU may be another. */
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';
import type { Settings } from '../config/layers.ts';
import { privateEnvironment } from '../jupyter-offer.ts';
import { jupyterPrograms, type LaunchSpec } from '../launch-spec.ts';
import { machineChecks } from '../preflight.ts';
import { commandOnPath } from '../search-path.ts';
import { shown } from '../values.ts';
import { type Finding, fail, ok, skipped, warn } from './finding.ts';
import { preflightFinding } from './preflight.ts';

export function jupyterFindings(
  spec: LaunchSpec,
  settings: Settings,
  environment: NodeJS.ProcessEnv,
): Finding[] {
  const chosen = machineChecks
    .filter(({ about }) => about === 'jupyter')
    .flatMap((check) => preflightFinding(check, spec, settings) ?? []);
  return [
    ...chosen,
    ...modulesFinding(spec, environment),
    ...pathFinding(spec, environment),
    ...versionsFinding(spec, environment),
  ];
}

function modulesFinding(
  { environment: { modules, modulePath } }: LaunchSpec,
  environment: NodeJS.ProcessEnv,
): Finding[] {
  if (modules.length === 0) return [];
  const title = 'Modules';
  const places = [...modulePath, ...(environment.MODULEPATH ?? '').split(':')].filter(Boolean);
  if (places.length === 0)
    return [
      warn(
        title,
        `${modules.join(', ')}: this login has no MODULEPATH, so they can't be looked for`,
        "Start from a login shell; jobs load the site's modules by themselves.",
      ),
    ];
  const missing = modules.filter(
    (name) => !places.some((place) => ['', '.lua'].some((end) => existsSync(path.join(place, name + end)))),
  );
  if (missing.length === 0) return [ok(title, modules.join(', '))];
  return [
    warn(
      title,
      `${missing.map((name) => shown(name)).join(', ')}: not in MODULEPATH, unless another module brings it`,
      'Look for the name with "module avail" or "module spider"; --module-path DIR adds a directory.',
    ),
  ];
}

/** Nothing is chosen: Jupyter is taken from PATH. */
function pathFinding(
  { environment: chosen, service, here }: LaunchSpec,
  environment: NodeJS.ProcessEnv,
): Finding[] {
  if (chosen.modules.length > 0 || chosen.venv || chosen.conda || chosen.container || chosen.setup) return [];
  const title = 'Jupyter on PATH';
  const programs = jupyterPrograms(service);
  const found = programs.flatMap((program) => commandOnPath(program, environment) ?? [])[0];
  if (found !== undefined) return [ok(title, found)];
  const nothing = `no ${programs.join(' or ')}`;
  const name = 'name an environment with -e, --venv, --conda-env or --image';
  if (!here)
    return [
      warn(
        title,
        `${nothing} here; a job fails unless the nodes have one`,
        `${name[0]?.toUpperCase()}${name.slice(1)}.`,
      ),
    ];
  const own = privateEnvironment();
  if (programs.some((program) => existsSync(path.join(own, 'bin', program))))
    return [ok(title, `${nothing}; that in ${own} is taken, from an earlier offer`)];
  if (commandOnPath('python3', environment) === undefined)
    return [fail(title, `${nothing}, and no python3 to install it with`, `Install Jupyter, or ${name}.`)];
  return [
    warn(
      title,
      `${nothing}; a launch offers to install ${service ?? 'JupyterLab'} from PyPI into ${own}`,
      `Take the offer with --yes, or ${name}.`,
    ),
  ];
}

/** What this launcher is tried with, from the oldest; earlier ones are configured in other ways. */
const oldest: Readonly<Record<string, { readonly title: string; readonly major: number }>> = {
  jupyterlab: { title: 'JupyterLab', major: 3 },
  notebook: { title: 'Notebook', major: 6 },
  jupyter_server: { title: 'Jupyter Server', major: 1 },
  voila: { title: 'Voilà', major: 0 },
};

/** From the names of packages' metadata, where the environment is a directory. */
function versionsFinding(spec: LaunchSpec, environment: NodeJS.ProcessEnv): Finding[] {
  const prefix = prefixOf(spec, environment);
  if (prefix === undefined) return [];
  const title = 'Versions';
  const versions = installedVersions(prefix);
  const names = Object.keys(oldest).filter((name) => versions[name] !== undefined);
  if (names.length === 0) return [skipped(title, `no packages' metadata below ${prefix}`)];
  const text = names.map((name) => `${oldest[name]?.title} ${versions[name]}`).join(', ');
  const old = names.find((name) => Number.parseInt(versions[name] ?? '', 10) < (oldest[name]?.major ?? 0));
  return [
    old === undefined
      ? ok(title, text)
      : warn(
          title,
          text,
          `Upgrade ${oldest[old]?.title}: ${oldest[old]?.major} is the oldest that is known to work.`,
        ),
  ];
}

function prefixOf(
  { environment: chosen, service }: LaunchSpec,
  environment: NodeJS.ProcessEnv,
): string | undefined {
  if (chosen.venv !== undefined) return chosen.venv;
  if (chosen.conda !== undefined) return chosen.conda.env?.startsWith('/') ? chosen.conda.env : undefined;
  if (chosen.modules.length > 0 || chosen.container || chosen.setup) return undefined;
  const program = jupyterPrograms(service).flatMap((name) => commandOnPath(name, environment) ?? [])[0];
  return program && path.dirname(path.dirname(realpathSync(program)));
}

/** Versions by name of the distribution, from `NAME-VERSION.dist-info` (or the older .egg-info). */
export function installedVersions(prefix: string): Readonly<Record<string, string>> {
  const libraries = entries(path.join(prefix, 'lib'))
    .filter((name) => /^python3/.test(name))
    .flatMap((python) =>
      ['site-packages', 'dist-packages'].map((name) => path.join(prefix, 'lib', python, name)),
    );
  const found = libraries.flatMap(entries).flatMap((name) => {
    const match =
      /^(jupyterlab|notebook|jupyter_server|voila)-(\d[\w.]*?)(?:-py[\d.]+)?\.(?:dist|egg)-info$/.exec(name);
    return match ? [[match[1] as string, match[2] as string] as const] : [];
  });
  return Object.fromEntries(found);
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Settings that open a Jupyter to strangers. Sessions started here have a configuration of their own, which wins. */
const loose: readonly (readonly [RegExp, string])[] = [
  [/\.token\s*=\s*u?(''|"")|"token"\s*:\s*""/, 'an empty token'],
  [/\.(?:hashed_)?password\s*=\s*u?(''|"")|"(?:hashed_)?password"\s*:\s*""/, 'an empty password'],
  [/\.allow_origin(?:_pat)?\s*=\s*u?['"]\.?\*|"allow_origin(?:_pat)?"\s*:\s*"\.?\*/, 'any origin'],
  [/\.disable_check_xsrf\s*=\s*True|"disable_check_xsrf"\s*:\s*true/, 'no XSRF check'],
  [
    /\.allow_unauthenticated_access\s*=\s*True|"allow_unauthenticated_access"\s*:\s*true/,
    'unauthenticated access',
  ],
  [
    /\.ip\s*=\s*u?['"](?:0\.0\.0\.0|\*|::)?['"]|"ip"\s*:\s*"(?:0\.0\.0\.0|\*|::)?"/,
    'every address of the machine',
  ],
];

/** @param directories where Jupyter looks for its configuration files */
export function looseConfigurationFinding(directories: readonly string[]): Finding {
  const title = "Jupyter's own files";
  const files = directories.flatMap((directory) =>
    entries(directory)
      .filter((name) =>
        /^jupyter_(?:config|server_config|notebook_config|lab_config|voila_config)\.(?:py|json)$/.test(name),
      )
      .map((name) => path.join(directory, name)),
  );
  const complaints = files.flatMap((file) => {
    const text = readText(file)
      .split('\n')
      .filter((line) => !/^\s*#/.test(line))
      .join('\n');
    const found = loose.filter(([pattern]) => pattern.test(text)).map(([, words]) => words);
    return found.length === 0 ? [] : [`${file}: ${found.join(', ')}`];
  });
  if (complaints.length === 0) return ok(title, files.length === 0 ? 'there are none' : files.join(', '));
  return warn(
    title,
    `${complaints.join('; ')}. Harmless here: sessions have settings of their own`,
    'Take it out all the same: a Jupyter that is started by hand is open to everybody.',
  );
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** jupyter_core's search path, without the environment's own. */
export function jupyterConfigDirectories(environment: NodeJS.ProcessEnv, home: string): string[] {
  return [
    environment.JUPYTER_CONFIG_DIR || path.join(home, '.jupyter'),
    ...(environment.JUPYTER_CONFIG_PATH ?? '').split(':').filter(Boolean),
    '/usr/local/etc/jupyter',
    '/etc/jupyter',
  ];
}
