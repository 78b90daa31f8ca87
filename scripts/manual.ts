/** Manual pages in the language of man(7), made from the declarations that `--help` shows. */
import type { Command, Help } from 'commander';

export interface ManualFacts {
  readonly version: string;
  /** `YYYY-MM-DD`. */
  readonly date: string;
  /** Variables that stand for options, with the option's flag. */
  readonly variables?: readonly (readonly [variable: string, flag: string])[];
  readonly seeAlso: readonly string[];
}

/** The page of section 1 for a program. */
export function manualPage(
  program: Command,
  { version, date, variables = [], seeAlso }: ManualFacts,
): string {
  const name = program.name();
  const help = program.createHelp();
  const commands = help.visibleCommands(program).filter((command) => command.name() !== 'help');
  const after = textAfterHelp(program);
  return [
    `.TH ${name.toUpperCase()} 1 ${date} "${name} ${roff(version)}" "User Commands"`,
    '.SH NAME',
    `${roff(name)} \\-`,
    ...paragraph(help.commandDescription(program).replace(/\.$/, '')),
    '.SH SYNOPSIS',
    ...synopsis(program),
    '.SH DESCRIPTION',
    ...paragraph(help.commandDescription(program)),
    '.SH OPTIONS',
    ...optionList(program, help),
    '.SH COMMANDS',
    ...commands.flatMap((command) => [
      `.SS "${quotedArgument(usageOf(command))}"`,
      ...paragraph(sentence(help.subcommandDescription(command))),
      ...(isDefault(command, program)
        ? ['.PP', 'Its options are those above.']
        : optionList(command, command.createHelp())),
    ]),
    ...(variables.length === 0
      ? []
      : [
          '.SH ENVIRONMENT',
          ...variables.flatMap(([variable, flag]) => [
            '.TP',
            `\\fB${roff(variable)}\\fR`,
            `The same as \\fB${roff(flag)}\\fR.`,
          ]),
        ]),
    ...(after === '' ? [] : ['.SH NOTES', '.nf', ...after.split('\n').map(roff), '.fi']),
    '.SH SEE ALSO',
    seeAlso.map((page) => roffReference(page)).join(', '),
    '',
  ].join('\n');
}

/** Options in their groups, as the help has them. */
function optionList(command: Command, help: Help): string[] {
  const groups = help.groupItems(
    [...command.options],
    help.visibleOptions(command),
    (option) => option.helpGroupHeading ?? 'Options:',
  );
  return [...groups].flatMap(([heading, options]) => [
    ...(groups.size > 1 ? [`.SS "${quotedArgument(heading.replace(/:$/, ''))}"`] : []),
    ...options.flatMap((option) => [
      '.TP',
      term(help.optionTerm(option)),
      ...paragraph(sentence(help.optionDescription(option))),
    ]),
  ]);
}

/** Whether it is the command that is meant where none is named: then the program has all of its options. */
function isDefault(command: Command, program: Command): boolean {
  const own = new Set(program.options.map(({ flags }) => flags));
  return command.options.length > 1 && command.options.every(({ flags }) => own.has(flags));
}

/** `-p, --partition <NAME>`: what is typed in bold, what is put in its place in italics. */
function term(text: string): string {
  return text
    .split(/(<[^>]*>|\[[^\]]*\])/)
    .map((part) =>
      part === ''
        ? ''
        : part.startsWith('<')
          ? `\\fI${roff(part.slice(1, -1))}\\fR`
          : part.startsWith('[')
            ? `[\\fI${roff(part.slice(1, -1))}\\fR]`
            : part.replace(/[^ ,]+/g, (word) => `\\fB${roff(word)}\\fR`),
    )
    .join('');
}

function synopsis(program: Command): string[] {
  const name = program.name();
  return program
    .usage()
    .split('\n')
    .flatMap((line, index) => [
      ...(index > 0 ? ['.br'] : []),
      `\\fB${roff(name)}\\fR ${roff(line.trim().replace(new RegExp(`^${name} `), ''))}`,
    ]);
}

function usageOf(command: Command): string {
  const operands = command.registeredArguments.map((argument) =>
    argument.required ? argument.name() : `[${argument.name()}]`,
  );
  return [command.name(), ...operands].join(' ');
}

/** What was declared to follow the help, such as examples. */
function textAfterHelp(program: Command): string {
  let text = '';
  const write = (more: string) => {
    text += more;
  };
  // @ts-expect-error commander's types leave out that it is an EventEmitter.
  program.emit('afterHelp', { error: false, command: program, write });
  return text.trim();
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function roffReference(page: string): string {
  const [, name = page, section = ''] = /^(.*)(\(\d\))$/.exec(page) ?? [];
  return `\\fB${roff(name)}\\fR${section}`;
}

/** Text in lines that are as short as mandoc(1) wants them; they are filled again when the page is shown. */
function paragraph(text: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (roff(longer).length <= 78) line = longer;
    else {
      lines.push(roff(line));
      line = word;
    }
  }
  return [...lines, roff(line)];
}

/**
 * A line of text for roff(7): a backslash would begin an escape, a dot or an apostrophe at a line's beginning a request;
 * a bare hyphen may be printed as a dash that can't be copied into a shell; what isn't ASCII depends on who formats it.
 */
export function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replace(/[^\0-\x7f]/gu, (character) => `\\[u${hexadecimal(character)}]`)
    .replace(/\s*\n\s*/g, ' ')
    .replace(/^[.']/, '\\&$&');
}

function hexadecimal(character: string): string {
  return (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
}

/** The same inside the quotation marks of a request's argument. */
function quotedArgument(text: string): string {
  return roff(text).replaceAll('"', '\\(dq');
}
