import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { temporaryDirectory } from './directories.ts';
import type { Recording } from './recordings.ts';

/** Commands in a directory of their own, to be put first on PATH; each call is written down. */
export interface Stubs {
  readonly directory: string;
  /** Makes a command print and exit as given. What it was told is one line in calls(). */
  add(name: string, answer: Partial<Pick<Recording, 'stdout' | 'stderr' | 'exitCode'>>): void;
  /** Once `name` has been called, `other` answers differently. */
  after(
    name: string,
    other: string,
    answer: Partial<Pick<Recording, 'stdout' | 'stderr' | 'exitCode'>>,
  ): void;
  /** `name argument argument…`, in order. */
  calls(): string[];
}

export function stubCommands(): Stubs {
  const directory = temporaryDirectory();
  const record = path.join(directory, '.calls');
  const add: Stubs['add'] = (name, { stdout = '', stderr = '', exitCode = 0 }) => {
    const file = path.join(directory, name);
    mkdirSync(`${file}.answer`, { recursive: true });
    writeFileSync(path.join(`${file}.answer`, 'stdout'), stdout);
    writeFileSync(path.join(`${file}.answer`, 'stderr'), stderr);
    writeFileSync(path.join(`${file}.answer`, 'exit'), String(exitCode));
    writeFileSync(
      file,
      [
        '#!/bin/sh',
        `echo "${name} $*" >>'${record}'`,
        'cat "$0.answer/stdout"',
        'cat "$0.answer/stderr" >&2',
        'read -r status <"$0.answer/exit" || true',
        'if [ -f "$0.after" ]; then . "$0.after"; fi',
        'exit "$status"',
        '',
      ].join('\n'),
    );
    chmodSync(file, 0o755);
  };
  return {
    directory,
    add,
    after(name, other, answer) {
      add(`${other}.later`, answer);
      const file = path.join(directory, other);
      writeFileSync(
        path.join(directory, `${name}.after`),
        `rm -rf '${file}.before'; mv '${file}.answer' '${file}.before'; mv '${file}.later.answer' '${file}.answer'\n`,
      );
    },
    calls: () => (existsSync(record) ? readFileSync(record, 'utf8').trimEnd().split('\n') : []),
  };
}
