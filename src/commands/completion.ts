/** `start-jupyter completion bash|zsh|fish`: a completion script, made from the declarations of commands and options. */
import type { Command } from 'commander';
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
  | { readonly kind: 'file' | 'directory' | 'session' | 'anything' };

interface CompletedCommand {
  readonly name: string;
  readonly help: string;
  readonly options: readonly CompletedOption[];
  /** Its first argument. */
  readonly argument: Value | undefined;
}

const shells: Readonly<Record<string, (commands: readonly CompletedCommand[]) => string>> = {
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
  const script = Object.hasOwn(shells, shell) ? shells[shell] : undefined;
  if (script === undefined)
    throw new UsageError(
      `There is no completion for "${shown(shell)}".`,
      `Write one of ${Object.keys(shells).join(', ')}.`,
    );
  const text = script(program.commands.map(completed));
  process.stdout.write(json ? `${JSON.stringify({ shell, script: text })}\n` : text);
  return 0;
}

const shellChoices = { kind: 'choices', choices: ['bash', 'zsh', 'fish'] } as const;

function completed(command: Command): CompletedCommand {
  const argument = command.registeredArguments[0]?.name();
  return {
    name: command.name(),
    help: command.description(),
    options: [
      ...command.options
        .filter((option) => !option.hidden)
        .map((option) => ({
          names: [option.short, option.long].filter((name) => name !== undefined),
          help: option.description,
          value: valueTaken(option.long ?? '', /[<[](.*)[>\]]$/.exec(option.flags)?.[1]),
        })),
      { names: ['-h', '--help'], help: 'print this help', value: undefined },
    ],
    argument:
      argument === 'ID'
        ? { kind: 'session' }
        : argument === 'SHELL'
          ? shellChoices
          : argument === 'ACTION'
            ? { kind: 'choices', choices: ['eject'] }
            : undefined,
  };
}

function valueTaken(flag: string, argument: string | undefined): Value | undefined {
  if (argument === undefined) return undefined;
  const definition: OptionDefinition | undefined = optionKeys
    .map((key): OptionDefinition => options[key])
    .find((each) => `--${each.flag}` === flag);
  if (definition?.choices !== undefined) return { kind: 'choices', choices: definition.choices };
  if (/DIR/.test(argument)) return { kind: 'directory' };
  return { kind: /FILE|PATH/.test(argument) ? 'file' : 'anything' };
}

/** Ids are read from where sessions are kept: asking the scheduler would keep whoever types waiting. */
const sessionsOf = `ls "\${XDG_STATE_HOME:-$HOME/.local/state}/start-jupyter/sessions" 2>/dev/null`;

// ---- bash -----------------------------------------------------------------------------------------------------------

function bash(commands: readonly CompletedCommand[]): string {
  const names = commands.map(({ name }) => name).join('|');
  const generated = (value: Value) =>
    ({
      choices: `COMPREPLY=($(compgen -W '${value.kind === 'choices' ? value.choices.join(' ') : ''}' -- "$current"))`,
      file: 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$current"))',
      directory: 'compopt -o filenames; COMPREPLY=($(compgen -d -- "$current"))',
      session: `COMPREPLY=($(compgen -W "$(${sessionsOf})" -- "$current"))`,
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
  const words = commands.map(({ name, options: all, argument }) => {
    const flags = all.flatMap(({ names: each }) => each).join(' ');
    const rest =
      name === 'launch'
        ? `COMPREPLY=($(compgen -W '${commands.map((each) => each.name).join(' ')}' -- "$current"))`
        : argument === undefined
          ? ':'
          : generated(argument);
    return `    ${name})
      if [[ $current == -* ]]; then COMPREPLY=($(compgen -W '${flags}' -- "$current")); else ${rest}; fi
      ;;`;
  });
  return `# bash completion for start-jupyter: source <(start-jupyter completion bash)
_start_jupyter() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command=launch word
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in ${names}) command=$word; break ;; esac
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
complete -F _start_jupyter start-jupyter
`;
}

// ---- zsh ------------------------------------------------------------------------------------------------------------

function zsh(commands: readonly CompletedCommand[]): string {
  const action = (value: Value) =>
    ({
      choices: `(${value.kind === 'choices' ? value.choices.join(' ') : ''})`,
      file: '_files',
      directory: '_files -/',
      session: `($(${sessionsOf}))`,
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
  const parts = commands.map(({ name, options: all, argument }) => {
    const rest =
      name === 'launch'
        ? [`'1: :{_describe command commands}'`]
        : argument === undefined
          ? []
          : [zshQuoted(`:argument:${action(argument)}`)];
    return `    ${name}) _arguments -s ${[...all.map(spec), ...rest].join(' \\\n      ')} ;;`;
  });
  return `#compdef start-jupyter
# zsh completion for start-jupyter: a file _start-jupyter in $fpath, or source <(start-jupyter completion zsh)
_start_jupyter() {
  local -a commands
  commands=(
${commands.map(({ name, help }) => `    ${zshQuoted(`${name}:${help.replaceAll(':', '\\:')}`)}`).join('\n')}
  )
  local command=launch word
  integer at=2
  for word in "\${(@)words[2,CURRENT-1]}"; do
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
if [[ $funcstack[1] == _start-jupyter ]]; then _start_jupyter "$@"; else compdef _start_jupyter start-jupyter; fi
`;
}

function zshQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

// ---- fish -----------------------------------------------------------------------------------------------------------

function fish(commands: readonly CompletedCommand[]): string {
  const others = commands.filter(({ name }) => name !== 'launch').map(({ name }) => name);
  const inCommand = (name: string) =>
    name === 'launch'
      ? `not __fish_seen_subcommand_from ${others.join(' ')}`
      : `__fish_seen_subcommand_from ${name}`;
  const arguments_ = (value: Value) =>
    ({
      choices: `-x -a '${value.kind === 'choices' ? value.choices.join(' ') : ''}'`,
      file: '-r -F',
      directory: `-x -a '(__fish_complete_directories)'`,
      session: `-x -a '(ls (set -q XDG_STATE_HOME; and echo $XDG_STATE_HOME; or echo $HOME/.local/state)/start-jupyter/sessions 2>/dev/null)'`,
      anything: '-x',
    })[value.kind];
  const quoted = (text: string) => `'${text.replace(/['\\]/g, '\\$&')}'`;
  const lines = commands.flatMap(({ name, help, options: all, argument }) => [
    `complete -c start-jupyter -n __fish_use_subcommand -a ${name} -d ${quoted(help)}`,
    ...all.map(({ names, help: text, value }) => {
      const flags = names.map((flag) =>
        flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
      );
      const rest = value === undefined ? '' : ` ${arguments_(value)}`;
      return `complete -c start-jupyter -n '${inCommand(name)}' ${flags.join(' ')}${rest} -d ${quoted(text)}`;
    }),
    ...(argument === undefined
      ? []
      : [`complete -c start-jupyter -n '${inCommand(name)}' ${arguments_(argument)}`]),
  ]);
  return `# fish completion for start-jupyter: start-jupyter completion fish | source
complete -c start-jupyter -f
${lines.join('\n')}
`;
}
