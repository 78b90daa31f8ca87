/** Declares commands and options; each command is loaded when it is called. */
import { Command, CommanderError, type HelpContext, Option } from 'commander';
import { nearest } from 'satellite/nearest';
import { readOption } from './config/layers.ts';
import { PersonError, UsageError } from './errors.ts';
import { version } from './installation.ts';
import { suggestion } from './nearest.ts';
import { type OptionDefinition, type OptionKey, type OptionValues, optionKeys, options } from './options.ts';
import { homeDirectory, workingDirectory } from './user-directories.ts';
import { shown } from './values.ts';

const examples = `
Examples:
  start-jupyter                         this system's defaults, 30 minutes
  start-jupyter --gpu 1 --lab -t 2h     one GPU for two hours
  start-jupyter -A abc123 -p debug -w   an account; stay until the link works
  start-jupyter --interactive           asks for what matters
  start-jupyter --here                  on this machine, ended with Ctrl-C

Settings can stand in ~/.config/start-jupyter/config.yaml (partition: debug)
or in the environment (START_JUPYTER_PARTITION=debug); --info shows what counts.`;

/** Runs the program; sets the exit code, and leaves the process to end by itself so that all output is written. */
export async function main(argv: readonly string[]): Promise<number> {
  // What stands after "--" is for the scheduler, whatever it looks like.
  const separator = argv.indexOf('--');
  const own = separator === -1 ? argv : argv.slice(0, separator);
  const schedulerArguments = separator === -1 ? [] : argv.slice(separator + 1);
  let exitCode = 0;
  const done: Done = async (running) => {
    exitCode = await running;
  };
  // Declaring what nobody typed would take longer than all the rest.
  const showsAll = own.some((word) => /^(?:help|--help|-[^-]*h.*|completion)$/s.test(word));
  const named = keysNamedIn(own);
  const program = declare(
    schedulerArguments,
    done,
    (key, command) =>
      showsAll || ((command === undefined || own.includes(command)) && (named?.has(key) ?? true)),
  );
  const isLaunch = !program.commands.some(
    (command) => command.name() !== 'launch' && command.name() === own[0],
  );
  try {
    await program.parseAsync(own, { from: 'user' });
    return exitCode;
  } catch (error) {
    // --help and --version come this way too; commander has said what there was to say.
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    if (own.includes('--json') && isLaunch) await printFailedLaunch(error);
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === 'commander.unknownOption' && isLaunch && !error.message.includes('Did you mean'))
      process.stderr.write(
        '  An option of the scheduler itself stands after "--"; "start-jupyter --help" lists all others.\n',
      );
    return 2;
  }
}

/**
 * The launch options in a command line. Undefined where a word may be something else (a mistake, several letters in one word,
 * a value that begins with a dash): commander, which finds that out, has to know all of them.
 */
function keysNamedIn(words: readonly string[]): ReadonlySet<OptionKey> | undefined {
  const keys = new Map(
    optionKeys.flatMap((key) =>
      spellings(options[key])
        .flat()
        .map((name) => [name, key]),
    ),
  );
  const named = words
    .filter((word) => word.startsWith('-'))
    .map((word) => keys.get(word.startsWith('--') ? (word.split('=', 1)[0] as string) : word));
  return named.every((key) => key !== undefined) ? new Set(named) : undefined;
}

/** How an option can be typed: `-g` and `--gpu`; then each other spelling, which stands alone. */
function spellings({ short, flag, aliases = [] }: OptionDefinition): string[][] {
  const usual = short === undefined ? [`--${flag}`] : [`-${short}`, `--${flag}`];
  return [usual, ...aliases.map((alias) => [`${alias.length === 1 ? '-' : '--'}${alias}`])];
}

/** A launch with `--json` prints its object whatever becomes of it, also when it was refused for its options. */
async function printFailedLaunch(error: unknown): Promise<void> {
  const { printFailure } = await import('./launch/print-session.ts');
  if (error instanceof PersonError) printFailure(error);
  if (error instanceof CommanderError) printFailure(new UsageError(error.message.replace(/^error: /, '')));
}

/** Commands that have nothing to look for in anybody's home. */
const homeless: ReadonlySet<string> = new Set(['completion', 'templates']);

/** Commands that ask nothing of the directory that they are called in: they read no project's file, no relative path. */
const placeless: ReadonlySet<string> = new Set([
  'list',
  'status',
  'url',
  'open',
  'logs',
  'stop',
  'share',
  'prune',
  'completion',
]);

type Done = (running: Promise<number>) => Promise<void>;

/** Names what was meant also where a value hangs on a mistyped option: `--partion=debug`. */
class OwnCommand extends Command {
  override createCommand(name?: string): Command {
    return new OwnCommand(name);
  }
  unknownOption(flag: string): void {
    const [first] = this.args;
    // A command that was mistyped comes first: its options are no launch's.
    if (this.parent === null && first !== undefined && !first.startsWith('-')) throw this.unknownName(first);
    const [name = flag] = flag.startsWith('--') ? flag.split('=', 1) : [flag];
    if (name !== flag && this.options.some(({ long }) => long === name))
      this.error(`error: option '${name}' takes no value`, { code: 'start-jupyter.switchWithValue' });
    const near = name.startsWith('--') ? this.#nearestOption(name.slice(2)) : undefined;
    const question = near === undefined ? '' : `\n(Did you mean --${near}?)`;
    this.error(`error: unknown option '${name}'${question}`, { code: 'commander.unknownOption' });
  }
  /** Commander has the whole help for a name that it doesn't know, as an error without a word. */
  override help(context?: HelpContext | ((text: string) => string)): never {
    const [, name] = this.args;
    if (typeof context === 'object' && context.error && name !== undefined && name !== 'help')
      throw this.unknownName(name);
    super.help();
  }
  unknownName(name: string): UsageError {
    const names = this.commands.map((command) => command.name());
    return new UsageError(
      `There is no command "${shown(name)}".${suggestion(name, names)}`,
      `Commands: ${names.join(', ')}. "start-jupyter --help" shows more.`,
    );
  }
  /** Other spellings count, too, and so does a beginning. */
  #nearestOption(typed: string): string | undefined {
    const names = this.options.flatMap(({ long }) => (long ? [long.slice(2)] : []));
    const begun = typed.length < 3 ? undefined : names.find((name) => name.startsWith(typed));
    return begun ?? nearest(typed, names);
  }
}

/**
 * The program with all its commands and options.
 * @param done gets what the command that is called does
 * @param isWanted tells of a launch option whether somebody may ask for it, in front of all commands or for one of them
 */
export function declare(
  schedulerArguments: readonly string[],
  done: Done,
  isWanted: (key: OptionKey, command?: string) => boolean = () => true,
): Command {
  const program = new OwnCommand('start-jupyter')
    .description('Starts Jupyter on a compute node and prints one secure link to it.')
    .usage('[launch] [options] [-- scheduler options]\n       start-jupyter COMMAND [ID] [options]')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .configureOutput({
      outputError: (text, write) =>
        write(
          text
            .replace(/^error: (.)/, (_, first: string) => `start-jupyter: ${first.toUpperCase()}`)
            .replace(/[^\n]+/g, (line) => shown(line, 250)),
        ),
    })
    .configureHelp({ helpWidth: 80, showGlobalOptions: false })
    .exitOverride()
    .addHelpText('after', examples)
    // Before anything is loaded: a library looks home up in the moment that it is.
    .hook('preAction', (_program, command) => {
      if (!homeless.has(command.name())) homeDirectory();
      if (!placeless.has(command.name())) workingDirectory();
    });

  const declareFor: typeof declareOptions = (command, keys, ...about) => {
    const name = command === program ? undefined : command.name();
    declareOptions(
      command,
      keys.filter((key) => isWanted(key, name)),
      ...about,
    );
  };

  declareFor(program.argument('[COMMAND]'), optionKeys, async (typed, [name]) => {
    if (name !== undefined) throw program.unknownName(name);
    const { run } = await import('./commands/launch.ts');
    await done(run(typed, schedulerArguments));
  });

  program.hook('preAction', (_, command) => {
    // A library asks for it when it is loaded, and has no words for its absence.
    homeDirectory();
    if (
      schedulerArguments.length > 0 &&
      command !== program &&
      command.name() !== 'launch' &&
      command.name() !== 'tunnel'
    ) {
      throw new UsageError(
        `"${command.name()}" submits nothing, so there is nobody for what stands after "--".`,
        'Leave it out.',
      );
    }
  });
  program.commandsGroup('Commands:').helpCommand('help [COMMAND]', 'show how a command is used');
  declareFor(
    program.command('launch').description('start Jupyter and print its link (the default)'),
    optionKeys,
    async (typed) => {
      const { run } = await import('./commands/launch.ts');
      await done(run(typed, schedulerArguments));
    },
  );
  program
    .command('list')
    .description('list your sessions')
    .option('-a, --all', 'ended ones too')
    .option('--json', 'print JSON, with those that ended')
    .action(async (flags) => done((await import('./commands/list.ts')).run(flags)));
  program
    .command('status [ID]')
    .description('show what a session is doing (without ID: the latest)')
    .option('--json', 'print JSON')
    .action(async (id, flags) => done((await import('./commands/status.ts')).run(id, flags)));
  program
    .command('url [ID]')
    .description("print a session's link (without ID: the latest's)")
    .option('--qr', 'as a QR code, too')
    .option('--json', 'print JSON')
    .action(async (id, flags) => done((await import('./commands/url.ts')).run(id, flags)));
  program
    .command('open [ID]')
    .description("open a session's link in a browser on this machine")
    .option('--json', 'print JSON')
    .action(async (id, flags) => done((await import('./commands/open.ts')).run(id, flags)));
  program
    .command('logs [ID]')
    .description("show a session's log (without ID: the latest's)")
    .option('-f, --follow', 'go on until the session ends')
    .option('--json', 'print JSON')
    .action(async (id, flags) => done((await import('./commands/logs.ts')).run(id, flags)));
  program
    .command('stop [ID]')
    .description('end a session: its job, its link, its secrets')
    .option('--all', 'all of your sessions')
    .option('--json', 'print JSON')
    .action(async (id, flags) => done((await import('./commands/stop.ts')).run(id, flags)));
  program
    .command('share <ID> [USER...]')
    .description('let others into a session, where the proxy asks who visits')
    .option('--remove', 'let them in no more')
    .option('--json', 'print JSON')
    .action(async (id, users, flags) => done((await import('./commands/share.ts')).run(id, users, flags)));
  const tunnel = program
    .command('tunnel <LOGIN>')
    .description('on your own machine: launch over ssh, open the tunnel and the browser')
    .option('--remote-command <PATH>', 'start-jupyter there, where it is not on PATH', 'start-jupyter')
    .option('--jump <HOST>', 'host to go through, as "ssh -J" takes it')
    .option('--port <N>', 'port on this machine (the one that is proposed there, if it is free)')
    .option('--keep', 'Ctrl-C ends the tunnel and leaves the session running')
    .option('--no-open', 'print the link and open no browser')
    .option('--json', 'print one JSON object');
  const forwarded: string[] = [];
  declareFor(
    tunnel,
    tunnelKeys,
    async (_typed, [login]) =>
      done(
        (await import('./commands/tunnel.ts')).run(
          login as string,
          tunnel.opts(),
          forwarded,
          schedulerArguments,
        ),
      ),
    (words) => forwarded.push(...words),
  );
  program
    .command('prune')
    .description('remove scripts and logs of sessions that are over')
    .option('--older-than <DURATION>', 'only of those that ended so long ago')
    .option('--json', 'print JSON')
    .action(async (flags) => done((await import('./commands/prune.ts')).run(flags)));
  declareFor(
    program.command('config').description('show the configuration and where each value comes from'),
    ['system', 'profile', 'config', 'json'],
    async (typed) => done((await import('./commands/config.ts')).run(typed)),
  );
  const doctor = program
    .command('doctor')
    .description('check everything that a launch with these options needs, and say what to do')
    .option('--class [USERS|FILE]', 'what a class would meet: train[01-60], names with commas, or a file');
  declareFor(doctor, doctorKeys, async (typed) =>
    done((await import('./commands/doctor.ts')).run(typed, doctor.opts().class)),
  );
  declareFor(
    program
      .command('systems [ACTION] [NAME]')
      .description('show the known systems, which one this is, and why; "systems init" describes it'),
    ['config', 'json'],
    async (typed, operands) => done((await import('./commands/systems.ts')).run(typed, operands)),
  );
  declareFor(
    program
      .command('service')
      .description('print a systemd unit (of your own, no root) for a notebook that stays'),
    serviceKeys,
    async (typed) => done((await import('./commands/service.ts')).run(typed)),
  );
  program
    .command('templates [ACTION] [DIR]')
    .description('show the job script templates; "templates eject DIR" copies them')
    .option('--json', 'print JSON')
    .action(async (action, directory, flags) =>
      done((await import('./commands/templates.ts')).run(action, directory, flags)),
    );
  program
    .command('completion <SHELL>')
    .description('print the completion script for bash, zsh or fish')
    .option('--json', 'print JSON')
    .action(async (shell, flags) =>
      done((await import('./commands/completion.ts')).run(shell, program, flags)),
    );
  // What follows a command that nobody knows is no matter. Commands that are declared after this would take more, too.
  return program.allowExcessArguments();
}

/** What says what is to be started and where; how it would be asked for or shown is no matter. */
const doctorKeys = optionKeys.filter(
  (key) => key === 'json' || (options[key].group !== 'Output' && key !== 'yes' && key !== 'interactive'),
);

/** What start-jupyter at the other end is given; the rest is decided on this side. */
const tunnelKeys = optionKeys.filter(
  (key) => options[key].group !== 'Output' && !['access', 'via', 'keepLink', 'interactive'].includes(key),
);

/** What a launch on this machine has a use for when nobody looks at it. */
const serviceKeys = optionKeys.filter(
  (key) =>
    key === 'json' ||
    (options[key].group !== 'Output' && options[key].group !== 'Resources' && key !== 'interactive'),
);

type LaunchAction = (typed: OptionValues, operands: readonly string[]) => Promise<void>;

/**
 * Gives a command launch options, each from its one declaration.
 * @param hear is told of every option as it was typed, by its own name
 */
function declareOptions(
  command: Command,
  keys: readonly OptionKey[],
  action: LaunchAction,
  hear: (words: readonly string[]) => void = () => {},
): void {
  const typed: { [K in OptionKey]?: unknown } = {};
  for (const key of keys) {
    const definition: OptionDefinition = options[key];
    const take = (input: unknown) => {
      const value = readOption(key, input);
      typed[key] =
        definition.repeatable && Array.isArray(typed[key]) && Array.isArray(value)
          ? [...typed[key], ...value]
          : value;
      return value;
    };
    spellings(definition).forEach((words, index) => {
      const name = words.join(', ');
      const option = new Option(
        definition.argument === undefined ? name : `${name} ${bracketed(definition.argument)}`,
        definition.help,
      ).helpGroup(`${definition.group}:`);
      command.addOption(index === 0 ? option : option.hideHelp());
      command.on(`option:${option.name()}`, (text: string | null | undefined) => {
        take(text ?? true);
        hear([`--${definition.flag}${text == null ? '' : `=${text}`}`]);
      });
    });
  }
  command.action(() => action(typed as OptionValues, command.args));
}

/** Commander's way to write what an option takes: `<NAME>`, or `[NAME]` where it may be left out. */
function bracketed(argument: string): string {
  return argument.startsWith('[') ? argument : `<${argument}>`;
}
