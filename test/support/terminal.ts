import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { execa } from 'execa';
import { expect, onTestFinished } from 'vitest';
import { shellQuote } from '../../src/batch/quote.ts';
import { temporaryDirectory } from './directories.ts';
import { program, type RunOptions } from './program.ts';

export const keys = {
  enter: '\r',
  down: '\u001b[B',
  escape: '\u001b',
  backspace: '\u007f',
  'Ctrl-C': '\u0003',
  'Ctrl-D': '\u0004',
} as const;

export interface Terminal {
  /** Once this stands on the screen after what was typed last, types what is given. */
  answer(question: string | RegExp, ...typed: readonly string[]): Promise<void>;
  /** All that came to the terminal so far, as it came. */
  raw(): string;
  /** The end of the program: its exit code, what it printed on stdout, and how it left the terminal. */
  readonly ended: Promise<{
    readonly exitCode: number;
    readonly stdout: string;
    readonly settingsBefore: string;
    readonly settingsAfter: string;
  }>;
}

/** Runs the built program on a terminal of 80 columns, as script(1) makes one, with its stdout in a file. */
export function onTerminal(args: readonly string[], { home, path: searchPath, env }: RunOptions): Terminal {
  const directory = temporaryDirectory();
  const file = (name: string) => path.join(directory, name);
  writeFileSync(
    file('session.sh'),
    [
      'stty cols 80 rows 40',
      `stty -a >${shellQuote(file('before'))}`,
      `${[program, ...args].map(shellQuote).join(' ')} >${shellQuote(file('stdout'))}`,
      `echo "$?" >${shellQuote(file('exit'))}`,
      `stty -a >${shellQuote(file('after'))}`,
      '',
    ].join('\n'),
  );
  const child = execa('script', ['-qfec', `/bin/bash ${file('session.sh')}`, '/dev/null'], {
    cwd: home.path,
    extendEnv: false,
    env: {
      ...home.env,
      TERM: 'xterm-256color',
      ...env,
      ...(searchPath === undefined ? {} : { PATH: searchPath }),
    },
    reject: false,
    stripFinalNewline: false,
  });
  let raw = '';
  let seen = 0;
  child.stdout.on('data', (chunk) => {
    raw += chunk;
  });
  onTestFinished(async () => {
    child.kill('SIGHUP');
    await child;
  });
  return {
    raw: () => raw,
    async answer(question, ...typed) {
      const since = () => stripVTControlCharacters(raw.slice(seen));
      await expect
        .poll(since, { timeout: 30_000, interval: 20 })
        .toEqual(
          typeof question === 'string' ? expect.stringContaining(question) : expect.stringMatching(question),
        );
      seen = raw.length;
      child.stdin.write(typed.join(''));
    },
    ended: (async () => {
      await child;
      const read = (name: string) => readFileSync(file(name), 'utf8');
      return {
        exitCode: Number(read('exit')),
        stdout: read('stdout'),
        settingsBefore: read('before'),
        settingsAfter: read('after'),
      };
    })(),
  };
}
