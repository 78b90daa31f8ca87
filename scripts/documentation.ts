/** The programs' manual pages and completion scripts, from the declarations that `--help` shows, as packages hold them. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import { program as satellite } from '../satellite/src/cli.ts';
import { declare } from '../src/cli.ts';
import { completionScript } from '../src/commands/completion.ts';
import { version } from '../src/installation.ts';
import { environmentVariable, flagOf, isSetting, optionKeys } from '../src/options.ts';
import { manualPage } from './manual.ts';

export interface DocumentedProgram {
  readonly program: Command;
  /** Its manual page. @param date `YYYY-MM-DD` */
  manual(date: string): string;
}

export function programs(): DocumentedProgram[] {
  const launcher = declare([], async () => undefined);
  const variables = optionKeys
    .filter(isSetting)
    .map((key) => [environmentVariable(key), flagOf(key)] as const);
  return [
    {
      program: launcher,
      manual: (date) => manualPage(launcher, { version, date, variables, seeAlso: ['satellite(1)'] }),
    },
    {
      program: satellite,
      manual: (date) => manualPage(satellite, { version, date, seeAlso: ['start-jupyter(1)'] }),
    },
  ];
}

/** Where the shells look below `share/`. */
const completionFiles: Readonly<Record<string, (name: string) => string>> = {
  bash: (name) => `bash-completion/completions/${name}`,
  zsh: (name) => `zsh/site-functions/_${name}`,
  fish: (name) => `fish/vendor_completions.d/${name}.fish`,
};

/** Writes `man/` and the shells' directories below a `share` directory, in place of what stands there. */
export function writeDocumentation(share: string, date: string): void {
  rmSync(share, { recursive: true, force: true });
  for (const { program, manual } of programs()) {
    write(path.join(share, 'man/man1', `${program.name()}.1`), manual(date));
    for (const [shell, place] of Object.entries(completionFiles))
      write(path.join(share, place(program.name())), completionScript(shell, program) as string);
  }
}

function write(file: string, text: string): void {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
}
