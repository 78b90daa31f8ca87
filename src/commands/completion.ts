/** `start-jupyter completion bash|zsh|fish`: a completion script, made from the declarations of commands and options. */
import type { Command, Option } from 'commander';
import { builtInSystemNames } from '../config/files.ts';
import { UsageError } from '../errors.ts';
import { type OptionDefinition, optionKeys, options } from '../options.ts';
import { shown } from '../values.ts';

interface CompletedOption {
  /** `-p`, `--partition`; hidden aliases are left out. */
  readonly names: readonly string[];
  readonly help: string;
  readonly value: Value | undefined;
}

/** What comes after an option, or stands on its own. */
type Value =
  | { readonly kind: 'choices'; readonly choices: readonly string[] }
  | { readonly kind: 'file' | 'directory' | 'session' | 'live session' | 'anything' };

interface CompletedCommand {
  /** Empty for the program itself. */
  readonly name: string;
  /** Whether it is meant where no command is named. */
  readonly isDefault: boolean;
  readonly help: string;
  readonly options: readonly CompletedOption[];
  /** Its arguments, as far as there is something to say of them. */
  readonly arguments: readonly Value[];
}

interface CompletedProgram {
  readonly name: string;
  /** Without dashes, as a part of a shell function's name. */
  readonly identifier: string;
  /** The default one among them. */
  readonly commands: readonly CompletedCommand[];
}

const shells: Readonly<Record<string, (program: CompletedProgram) => string>> = {
  bash,
  zsh,
  fish,
};

/** @throws UsageError for a shell that there is no script for */
export async function run(
  shell: string,
  program: Command,
  { json }: { readonly json?: boolean },
): Promise<number> {
  const text = completionScript(shell, program);
  if (text === undefined)
    throw new UsageError(
      `There is no completion for "${shown(shell)}".`,
      `Write one of ${Object.keys(shells).join(', ')}.`,
    );
  process.stdout.write(json ? `${JSON.stringify({ shell, script: text })}\n` : text);
  return 0;
}

/** The completion script of a program; undefined for a shell that there is none for. */
export function completionScript(shell: string, program: Command): string | undefined {
  if (!Object.hasOwn(shells, shell)) return undefined;
  const commands = program.commands.filter((command) => command.name() !== 'help').map(completed);
  const hasDefault = commands.some(({ isDefault }) => isDefault);
  return shells[shell]?.({
    name: program.name(),
    identifier: program.name().replaceAll('-', '_'),
    commands: hasDefault ? commands : [{ ...completed(program), name: '', isDefault: true }, ...commands],
  });
}

const shellChoices = { kind: 'choices', choices: ['bash', 'zsh', 'fish'] } as const;

/** Commands for which a session that is over has nothing. */
const liveOnly: ReadonlySet<string> = new Set(['stop', 'open', 'url', 'share']);

function completed(command: Command): CompletedCommand {
  return {
    name: command.name(),
    isDefault: command.name() === 'launch',
    help: command.description(),
    options: [
      ...command.options
        .filter((option) => !option.hidden)
        .map((option) => ({
          names: [option.short, option.long].filter((name) => name !== undefined),
          help: option.description,
          value: valueTaken(option),
        })),
      { names: ['-h', '--help'], help: 'print this help', value: undefined },
    ],
    arguments: argumentsOf(command),
  };
}

function argumentsOf(command: Command): readonly Value[] {
  switch (command.registeredArguments[0]?.name()) {
    case 'ID':
      return [{ kind: liveOnly.has(command.name()) ? 'live session' : 'session' }];
    case 'SHELL':
      return [shellChoices];
    case 'ACTION':
      return command.name() === 'systems'
        ? [{ kind: 'choices', choices: ['init'] }]
        : [{ kind: 'choices', choices: ['eject'] }, { kind: 'directory' }];
    case 'file':
      return [{ kind: 'file' }];
    default:
      return [];
  }
}

function valueTaken({ flags, long, argChoices }: Option): Value | undefined {
  const argument = /[<[](.*)[>\]]$/.exec(flags)?.[1];
  if (argument === undefined) return undefined;
  if (argChoices !== undefined) return { kind: 'choices', choices: argChoices };
  const definition: OptionDefinition | undefined = optionKeys
    .map((key): OptionDefinition => options[key])
    .find((each) => `--${each.flag}` === long);
  if (definition?.choices !== undefined) return { kind: 'choices', choices: definition.choices };
  if (long === '--system') return { kind: 'choices', choices: builtInSystemNames() };
  if (/DIR/i.test(argument)) return { kind: 'directory' };
  return { kind: /FILE|PATH/i.test(argument) ? 'file' : 'anything' };
}

/**
 * A shell's commands that list the ids of sessions. They are read from where sessions are kept: asking the scheduler would
 * keep whoever types waiting. Live are those whose record knows no outcome yet.
 */
function sessionLists(stateHome: string): Readonly<Record<'sessions' | 'live', string>> {
  const records = `find "${stateHome}/start-jupyter/sessions" -mindepth 2 -maxdepth 2 -name session.json`;
  const ids = `2>/dev/null | sed 's,/session.json$,,; s,.*/,,'`;
  return {
    sessions: `${records} ${ids}`,
    live: `${records} -exec grep -l '"outcome":[^{]*null' {} + ${ids}`,
  };
}

/** The same as functions for bash and zsh. */
function sessionFunctions(identifier: string): string {
  const { sessions, live } = sessionLists('\u0024{XDG_STATE_HOME:-$HOME/.local/state}');
  return `_${identifier}_sessions() { ${sessions}; }\n_${identifier}_live() { ${live}; }\n`;
}

// ---- bash -----------------------------------------------------------------------------------------------------------

function bash({ name: program, identifier, commands }: CompletedProgram): string {
  const named = commands.map(({ name }) => name).filter(Boolean);
  const generated = (value: Value) =>
    ({
      choices: `COMPREPLY=($(compgen -W '${value.kind === 'choices' ? value.choices.join(' ') : ''}' -- "$current"))`,
      file: 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$current"))',
      directory: 'compopt -o filenames; COMPREPLY=($(compgen -d -- "$current"))',
      session: `COMPREPLY=($(compgen -W "$(_${identifier}_sessions)" -- "$current"))`,
      'live session': `COMPREPLY=($(compgen -W "$(_${identifier}_live)" -- "$current"))`,
      anything: 'COMPREPLY=()',
    })[value.kind];
  // The name of a command and of its option decide: one letter may mean different things.
  const values = commands.flatMap(({ name, options: all }) =>
    all.flatMap(({ names: flags, value }) =>
      value === undefined
        ? []
        : [`    ${flags.map((flag) => `${name}/${flag}`).join('|')}) ${generated(value)}; return ;;`],
    ),
  );
  const takingValues = commands.flatMap(({ name, options: all }) =>
    all.flatMap(({ names: flags, value }) =>
      value === undefined ? [] : flags.map((flag) => `${name}/${flag}`),
    ),
  );
  const words = commands.map(({ name, isDefault, options: all, arguments: values }) => {
    const flags = all.flatMap(({ names: each }) => each).join(' ');
    const rest = isDefault
      ? [`COMPREPLY=($(compgen -W '${named.join(' ')}' -- "$current"))`]
      : values.map(generated);
    return `    ${name || "''"})
      if [[ $current == -* ]]; then COMPREPLY=($(compgen -W '${flags}' -- "$current"))
      else case $given in ${rest.map((each, index) => `${index}) ${each} ;; `).join('')}esac; fi
      ;;`;
  });
  return `# bash completion for ${program}, a file ${program} in share/bash-completion/completions, or to be sourced
${sessionFunctions(identifier)}_${identifier}() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command=${defaultName(commands)} word before= given=0
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    # What follows is for the scheduler.
    [[ $word == -- ]] && return
    case $command/$before in
      ${takingValues.join('|')}|*/=) ;;
      *) case $word in
        -*|=) ;;
        ${named.join('|')}) if [[ $command == ${defaultName(commands) || "''"} && $given == 0 ]]; then command=$word; else given=$((given + 1)); fi ;;
        *) given=$((given + 1)) ;;
      esac ;;
    esac
    before=$word
  done
  # bash takes --option=value for three words.
  if [[ $current == = ]]; then current=''; elif [[ $previous == = ]]; then previous=\${COMP_WORDS[COMP_CWORD - 2]}; fi
  case $command/$previous in
${values.join('\n')}
  esac
  case $command in
${words.join('\n')}
  esac
}
complete -F _${identifier} ${program}
`;
}

function defaultName(commands: readonly CompletedCommand[]): string {
  return commands.find(({ isDefault }) => isDefault)?.name ?? '';
}

// ---- zsh ------------------------------------------------------------------------------------------------------------

function zsh({ name: program, identifier, commands }: CompletedProgram): string {
  const action = (value: Value) =>
    ({
      choices: `(${value.kind === 'choices' ? value.choices.join(' ') : ''})`,
      file: '_files',
      directory: '_files -/',
      session: `($(_${identifier}_sessions))`,
      'live session': `($(_${identifier}_live))`,
      anything: ' ',
    })[value.kind];
  const spec = ({ names, help, value }: CompletedOption) => {
    const text = `[${help.replace(/[[\]:\\]/g, '\\$&')}]`;
    // Both ways of a value: as the next word and behind "=".
    const each = names.map((name) =>
      zshQuoted(
        `(${names.join(' ')})${name}${value !== undefined && name.startsWith('--') ? '=' : ''}${text}${value === undefined ? '' : `:value:${action(value)}`}`,
      ),
    );
    return each.join(' ');
  };
  const parts = commands.map(({ name, isDefault, options: all, arguments: values }) => {
    const rest = isDefault
      ? [`'1: :{_describe command commands}'`]
      : values.map((value) => zshQuoted(`:argument:${action(value)}`));
    return `    ${name || "''"}) _arguments -s -S ${[...all.map(spec), ...rest].join(' \\\n      ')} ;;`;
  });
  return `#compdef ${program}
# zsh completion for ${program}: a file _${program} in $fpath, or to be sourced
${sessionFunctions(identifier)}_${identifier}() {
  local -a commands
  commands=(
${commands
  .filter(({ name }) => name !== '')
  .map(({ name, help }) => `    ${zshQuoted(`${name}:${help.replaceAll(':', '\\:')}`)}`)
  .join('\n')}
  )
  local command=${defaultName(commands)} word
  integer at=2
  for word in "\${(@)words[2,CURRENT-1]}"; do
    # What follows is for the scheduler.
    [[ $word == -- ]] && return 1
    if (( \${commands[(I)$word:*]} )); then
      command=$word
      words=("\${(@)words[1]}" "\${(@)words[at+1,-1]}")
      (( CURRENT -= at - 1 ))
      break
    fi
    (( at++ ))
  done
  case $command in
${parts.join('\n')}
  esac
}
if [[ $funcstack[1] == _${program} ]]; then _${identifier} "$@"; else compdef _${identifier} ${program}; fi
`;
}

function zshQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

// ---- fish -----------------------------------------------------------------------------------------------------------

function fish({ name: program, identifier, commands }: CompletedProgram): string {
  const others = commands.filter(({ isDefault }) => !isDefault).map(({ name }) => name);
  // What follows "--" is for the scheduler.
  const own = 'not contains -- -- (commandline -opc)';
  const inCommand = ({ name, isDefault }: CompletedCommand) =>
    `${isDefault ? `not __fish_seen_subcommand_from ${others.join(' ')}` : `__fish_seen_subcommand_from ${name}`}; and ${own}`;
  /** The first word of several is said once; the next argument follows it. */
  const afterWords = (values: readonly Value[], index: number) => {
    const value = values[index];
    const before = values[index - 1];
    return [
      ...(value?.kind === 'choices' ? [`not __fish_seen_subcommand_from ${value.choices.join(' ')}`] : []),
      ...(before?.kind === 'choices' ? [`__fish_seen_subcommand_from ${before.choices.join(' ')}`] : []),
    ].map((condition) => `; and ${condition}`);
  };
  const arguments_ = (value: Value) =>
    ({
      choices: `-x -a '${value.kind === 'choices' ? value.choices.join(' ') : ''}'`,
      file: '-r -F',
      directory: `-x -a '(__fish_complete_directories)'`,
      session: `-x -a '(__${identifier}_sessions)'`,
      'live session': `-x -a '(__${identifier}_live)'`,
      anything: '-x',
    })[value.kind];
  const { sessions, live } = sessionLists('$state');
  const quoted = (text: string) => `'${text.replace(/['\\]/g, '\\$&')}'`;
  const lines = commands.flatMap((command) => [
    ...(command.name === ''
      ? []
      : [
          `complete -c ${program} -n '__fish_use_subcommand; and ${own}' -a ${command.name} -d ${quoted(command.help)}`,
        ]),
    ...command.options.map(({ names, help: text, value }) => {
      const flags = names.map((flag) =>
        flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
      );
      const rest = value === undefined ? '' : ` ${arguments_(value)}`;
      return `complete -c ${program} -n '${inCommand(command)}' ${flags.join(' ')}${rest} -d ${quoted(text)}`;
    }),
    ...command.arguments.map(
      (value, index, all) =>
        `complete -c ${program} -n '${inCommand(command)}${afterWords(all, index).join('')}' ${arguments_(value)}`,
    ),
  ]);
  return `# fish completion for ${program}, a file ${program}.fish in vendor_completions.d, or to be sourced
function __${identifier}_state; set -q XDG_STATE_HOME; and echo $XDG_STATE_HOME; or echo $HOME/.local/state; end
function __${identifier}_sessions; set -l state (__${identifier}_state); ${sessions}; end
function __${identifier}_live; set -l state (__${identifier}_state); ${live}; end
complete -c ${program} -f
${lines.join('\n')}
`;
}
