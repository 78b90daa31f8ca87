/**
 * Every launch option, once: flag, configuration key, environment variable, help and validation come from here.
 * An option has no default: the merge of the layers (`config/layers.ts`) is the only place where a value gets its value.
 */
import {
  InvalidValue,
  parseBinds,
  parseCondaEnv,
  parseConstraint,
  parseCount,
  parseDuration,
  parseGpu,
  parseGres,
  parseImage,
  parseKeptName,
  parseMemory,
  parseModules,
  parseName,
  parsePath,
  parseScratchDirectory,
  parseServer,
  parseVariable,
  shown,
} from './values.ts';

export type OptionGroup = 'What to start' | 'Resources' | 'Environment' | 'Where and how' | 'Output';

export interface OptionDefinition {
  /** The long flag without dashes; its camel-cased form is the configuration key. */
  readonly flag: string;
  readonly short?: string;
  /** Other spellings, which the help leaves out; those of one letter come from command lines of galyleo. */
  readonly aliases?: readonly string[];
  /** What the flag takes, as the help shows it; absent for a switch. `[X]` may be left out. */
  readonly argument?: string;
  readonly group: OptionGroup;
  readonly help: string;
  /**
   * Reads what was typed, or what stands in a configuration file. Plain functions: a schema of each of them would be a tenth
   * of what a launch takes until it asks anybody.
   * @throws InvalidValue
   */
  readonly read: (input: unknown) => unknown;
  /** All values that it takes, where they are few. */
  readonly choices?: readonly string[];
  /** The same option given again adds to it. */
  readonly repeatable?: boolean;
  /** Only a command line can say this; it is no setting to keep in a file. */
  readonly commandLineOnly?: boolean;
}

/** For values that are typed as text. */
export function typed<T>(read: (text: string) => T): (input: unknown) => T {
  return (input) => {
    if (typeof input !== 'string' && !Number.isFinite(input))
      throw new InvalidValue('must be a text or a number');
    return read(String(input));
  };
}

/** The words for a switch; true and false themselves are what YAML and JSON make of theirs. */
const switchWords: ReadonlyMap<unknown, boolean> = new Map<unknown, boolean>([
  ...([true, 'true', 'yes', 'on', '1', 1] as const).map((word) => [word, true] as const),
  ...([false, 'false', 'no', 'off', '0', 0] as const).map((word) => [word, false] as const),
]);

function switchOf(input: unknown): boolean | undefined {
  return switchWords.get(typeof input === 'string' ? input.toLowerCase() : input);
}

function readSwitch(input: unknown): boolean {
  const value = switchOf(input);
  if (value === undefined) throw new InvalidValue('must be true or false');
  return value;
}

/** A number is a length of time: 1 is a minute. */
function readWait(input: unknown): boolean | number {
  const value = /^\d/.test(String(input)) ? undefined : switchOf(input);
  if (value !== undefined) return value;
  if (typeof input !== 'string' && !Number.isFinite(input))
    throw new InvalidValue('must be true, false or a length of time');
  return typed(parseDuration)(input);
}

export const services = ['lab', 'notebook', 'voila'] as const;
export type Service = (typeof services)[number];

export const accessWays = ['satellite', 'ssh', 'reverse', 'local'] as const;
export type Access = (typeof accessWays)[number];

/** One of `names`; a message that lists them otherwise. */
function oneOf<const T extends string>(
  names: readonly T[],
  what: string,
  synonyms: Readonly<Record<string, NoInfer<T>>> = {},
): (input: unknown) => T {
  return typed((text) => {
    const meant = Object.hasOwn(synonyms, text) ? synonyms[text] : text;
    const name = names.find((candidate) => candidate === meant);
    if (name === undefined)
      throw new InvalidValue(`"${shown(text)}" is not ${what}; write ${names.join(' or ')}`);
    return name;
  });
}

/** One text, or a list of them; `read` gives what each holds, which may be several. */
function listOf<T>(read: (text: string) => readonly T[], what: string): (input: unknown) => T[] {
  return (input) => {
    const texts: unknown[] = Array.isArray(input) ? input : [input];
    if (!texts.every((text) => typeof text === 'string'))
      throw new InvalidValue(`must be ${what} or a list of them`);
    return texts.flatMap(read);
  };
}

export const options = {
  service: {
    flag: 'service',
    short: 's',
    aliases: ['interface', 'jupyter', 'j'],
    argument: 'NAME',
    group: 'What to start',
    help: 'lab, notebook or voila; without it JupyterLab, or Notebook where JupyterLab is missing',
    choices: services,
    read: oneOf(services, 'a service', { jupyterlab: 'lab' }),
  },
  lab: {
    flag: 'lab',
    group: 'What to start',
    help: 'the same as --service lab',
    read: readSwitch,
    commandLineOnly: true,
  },
  notebook: {
    flag: 'notebook',
    group: 'What to start',
    help: 'the same as --service notebook',
    read: readSwitch,
    commandLineOnly: true,
  },
  voila: {
    flag: 'voila',
    group: 'What to start',
    help: 'the same as --service voila',
    read: readSwitch,
    commandLineOnly: true,
  },
  dir: {
    flag: 'dir',
    short: 'd',
    aliases: ['notebook-dir'],
    argument: 'PATH',
    group: 'What to start',
    help: 'directory to start in (your home directory)',
    read: typed(parsePath),
  },
  idleTimeout: {
    flag: 'idle-timeout',
    argument: 'DURATION',
    group: 'What to start',
    help: 'end Jupyter when nothing has run, been typed or been saved for so long',
    read: typed(parseDuration),
  },

  account: {
    flag: 'account',
    short: 'A',
    argument: 'NAME',
    group: 'Resources',
    help: 'project or allocation to charge',
    read: typed((text) => parseName(text, 'an account')),
  },
  partition: {
    flag: 'partition',
    short: 'p',
    aliases: ['queue'],
    argument: 'NAME',
    group: 'Resources',
    help: 'partition or queue to run in; several with commas between',
    read: typed((text) =>
      text
        .split(',')
        .map((name) => parseName(name, 'a partition'))
        .join(','),
    ),
  },
  time: {
    flag: 'time',
    short: 't',
    aliases: ['time-limit'],
    argument: 'LIMIT',
    group: 'Resources',
    help: 'time limit: 30 (minutes), 02:00:00, 1-12:00:00 or 1h30m',
    read: typed(parseDuration),
  },
  nodes: {
    flag: 'nodes',
    short: 'N',
    argument: 'N',
    group: 'Resources',
    help: 'number of nodes',
    read: typed((text) => parseCount(text, 'nodes', 10_000)),
  },
  cpus: {
    flag: 'cpus',
    short: 'c',
    aliases: ['cpus-per-task'],
    argument: 'N',
    group: 'Resources',
    help: 'number of CPUs',
    read: typed((text) => parseCount(text, 'CPUs', 10_000)),
  },
  memory: {
    flag: 'memory',
    short: 'm',
    aliases: ['memory-per-node', 'M'],
    argument: 'SIZE',
    group: 'Resources',
    help: 'memory: 8 (GB), 512M, 16G',
    read: typed(parseMemory),
  },
  gpu: {
    flag: 'gpu',
    short: 'g',
    aliases: ['gpus', 'G'],
    argument: 'N',
    group: 'Resources',
    help: 'number of GPUs, or TYPE:N such as a100:1',
    read: typed(parseGpu),
  },
  gres: {
    flag: 'gres',
    argument: 'SPEC',
    group: 'Resources',
    help: 'generic resources in the words of Slurm, such as gpu:a100:1',
    read: typed(parseGres),
  },
  reservation: {
    flag: 'reservation',
    short: 'R',
    argument: 'NAME',
    group: 'Resources',
    help: 'reservation to run in',
    read: typed((text) => parseName(text, 'a reservation')),
  },
  qos: {
    flag: 'qos',
    argument: 'NAME',
    group: 'Resources',
    help: 'quality of service',
    read: typed((text) => parseName(text, 'a quality of service')),
  },
  constraint: {
    flag: 'constraint',
    short: 'C',
    argument: 'EXPR',
    group: 'Resources',
    help: 'features of the nodes, such as "skylake&ib"',
    read: typed(parseConstraint),
  },

  module: {
    flag: 'module',
    short: 'e',
    aliases: ['env-modules'],
    argument: 'NAME[,NAME]',
    group: 'Environment',
    help: 'environment modules to load, in order; may be repeated',
    read: listOf(parseModules, 'a name'),
    repeatable: true,
  },
  modulePath: {
    flag: 'module-path',
    aliases: ['append-modulepath'],
    argument: 'DIR',
    group: 'Environment',
    help: 'directory with more modules; several with commas between, or repeated',
    read: listOf((text) => text.split(',').map(parsePath), 'a path'),
    repeatable: true,
  },
  venv: {
    flag: 'venv',
    argument: 'PATH',
    group: 'Environment',
    help: 'Python virtual environment to run Jupyter from',
    read: typed(parsePath),
  },
  condaEnv: {
    flag: 'conda-env',
    argument: 'NAME|PATH',
    group: 'Environment',
    help: 'conda environment to run Jupyter from',
    read: typed(parseCondaEnv),
  },
  condaInit: {
    flag: 'conda-init',
    argument: 'FILE',
    group: 'Environment',
    help: 'bash file that makes conda known, where it is not found by itself',
    read: typed(parsePath),
  },
  condaYml: {
    flag: 'conda-yml',
    argument: 'FILE',
    group: 'Environment',
    help: 'environment.yml to make a conda environment from, for this session',
    read: typed(parsePath),
  },
  mamba: {
    flag: 'mamba',
    group: 'Environment',
    help: 'make the environment of --conda-yml with mamba',
    read: readSwitch,
  },
  cache: {
    flag: 'cache',
    group: 'Environment',
    help: 'keep the environment of --conda-yml packed, and use it while the file is unchanged',
    read: readSwitch,
  },
  image: {
    flag: 'image',
    short: 'i',
    aliases: ['sif'],
    argument: 'PATH|URI',
    group: 'Environment',
    help: 'Apptainer or Singularity image to run Jupyter from',
    read: typed(parseImage),
  },
  bind: {
    flag: 'bind',
    short: 'B',
    argument: 'SPEC',
    group: 'Environment',
    help: 'SOURCE[:TARGET[:ro]] to see inside of the image; may be repeated',
    read: listOf(parseBinds, 'SOURCE[:TARGET[:ro]]'),
    repeatable: true,
  },
  nv: {
    flag: 'nv',
    group: 'Environment',
    help: "the machine's NVIDIA driver inside of the image",
    read: readSwitch,
  },
  rocm: {
    flag: 'rocm',
    group: 'Environment',
    help: "the machine's AMD driver inside of the image",
    read: readSwitch,
  },
  env: {
    flag: 'env',
    argument: 'NAME[=VALUE]',
    group: 'Environment',
    help: 'a variable for Jupyter, with the value that it has here where none is given; may be repeated',
    read: listOf((text) => [parseVariable(text)], 'NAME=VALUE'),
    repeatable: true,
  },
  setup: {
    flag: 'setup',
    argument: 'FILE',
    group: 'Environment',
    help: 'bash file to source last before Jupyter starts',
    read: typed(parsePath),
  },
  scratchDir: {
    flag: 'scratch-dir',
    argument: 'DIR',
    group: 'Environment',
    help: 'where the job keeps temporary files; {user} and {job} are replaced',
    read: typed(parseScratchDirectory),
  },

  batchScript: {
    flag: 'batch-script',
    short: 'b',
    argument: 'FILE',
    group: 'Where and how',
    help: 'your own job script template; "templates eject DIR" gives one to start from',
    read: typed(parsePath),
  },
  force: {
    flag: 'force',
    short: 'f',
    group: 'Where and how',
    help: 'submit the --batch-script with its own directives, adding none',
    read: readSwitch,
  },
  access: {
    flag: 'access',
    argument: 'WAY',
    group: 'Where and how',
    help: 'how the browser gets there: satellite (one https link), ssh (a tunnel), reverse (a workstation brought to a satellite by ssh) or local (this machine only)',
    choices: accessWays,
    read: oneOf(accessWays, 'a way to reach Jupyter'),
  },
  via: {
    flag: 'via',
    argument: 'USER@SERVER',
    group: 'Where and how',
    help: 'with --access reverse: the server that ssh brings this machine to',
    read: typed(parseServer),
  },
  keepLink: {
    flag: 'keep-link',
    argument: 'NAME',
    group: 'Where and how',
    help: 'the same link after a restart, kept under this name; with --here',
    read: typed(parseKeptName),
  },
  here: {
    flag: 'here',
    group: 'Where and how',
    help: 'submit nothing: run in this allocation, container or workstation',
    read: readSwitch,
  },
  system: {
    flag: 'system',
    argument: 'NAME',
    group: 'Where and how',
    help: 'the HPC system this is, where it is not recognised',
    read: typed((text) => parseName(text, 'a system')),
  },
  profile: {
    flag: 'profile',
    argument: 'NAME',
    group: 'Where and how',
    help: 'a named set of options of this system, such as those of a workshop',
    read: typed((text) => parseName(text, 'a profile')),
  },
  config: {
    flag: 'config',
    argument: 'FILE',
    group: 'Where and how',
    help: 'a configuration file to read after all others',
    read: typed(parsePath),
    commandLineOnly: true,
  },
  interactive: {
    flag: 'interactive',
    group: 'Where and how',
    help: 'ask for what matters, and offer what the scheduler has free',
    read: readSwitch,
    commandLineOnly: true,
  },
  yes: {
    flag: 'yes',
    short: 'y',
    group: 'Where and how',
    help: 'take every offer without asking',
    read: readSwitch,
  },

  wait: {
    flag: 'wait',
    short: 'w',
    argument: '[DURATION]',
    group: 'Output',
    help: 'stay until the site answers, or as long as DURATION; on failure nothing is left running',
    read: readWait,
  },
  open: {
    flag: 'open',
    group: 'Output',
    help: 'open the link in a browser on this machine',
    read: readSwitch,
  },
  qr: {
    flag: 'qr',
    group: 'Output',
    help: 'print the link as a QR code, too, for a tablet',
    read: readSwitch,
  },
  quiet: {
    flag: 'quiet',
    short: 'q',
    aliases: ['Q'],
    group: 'Output',
    help: 'print the URL and nothing else',
    read: readSwitch,
  },
  info: {
    flag: 'info',
    short: 'I',
    group: 'Output',
    help: 'print every setting and where it came from; start nothing',
    read: readSwitch,
    commandLineOnly: true,
  },
  json: {
    flag: 'json',
    group: 'Output',
    help: 'print one JSON object',
    read: readSwitch,
    commandLineOnly: true,
  },
  dryRun: {
    flag: 'dry-run',
    group: 'Output',
    help: 'print the script that would be submitted; contact nobody, write nothing',
    read: readSwitch,
    commandLineOnly: true,
  },
} as const satisfies Record<string, OptionDefinition>;

export type OptionKey = keyof typeof options;
export const optionKeys = Object.keys(options) as OptionKey[];

/** The value that an option has once it has been read. */
export type OptionValue<K extends OptionKey> = ReturnType<(typeof options)[K]['read']>;
export type OptionValues = { readonly [K in OptionKey]?: OptionValue<K> };

/** `START_JUPYTER_DRY_RUN` and the like. */
export function environmentVariable(key: OptionKey): string {
  return `START_JUPYTER_${options[key].flag.replaceAll('-', '_').toUpperCase()}`;
}

/** Options that are settings too, in files and in the environment. */
export function isSetting(key: OptionKey): boolean {
  const definition: OptionDefinition = options[key];
  return definition.commandLineOnly !== true;
}

/** `-g, --gpu` for messages. */
export function flagOf(key: OptionKey): string {
  const definition: OptionDefinition = options[key];
  return definition.short === undefined
    ? `--${definition.flag}`
    : `-${definition.short}, --${definition.flag}`;
}
