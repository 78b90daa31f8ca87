import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { JobScript } from '../../src/schedulers/scheduler.ts';
import { temporaryDirectory } from './directories.ts';
import type { Recording } from './recordings.ts';

type Answer = Partial<Pick<Recording, 'stdout' | 'stderr' | 'exitCode'>>;

/** A script that stands in its file, or would. */
export function writtenScript(file: string, text = '#!/bin/bash\n'): Promise<JobScript> {
  return Promise.resolve({ file, text });
}

/** Commands in a directory of their own, to be put first on PATH; each call is written down. */
export interface Stubs {
  readonly directory: string;
  /** Makes a command print and exit as given. What it was told is one line in calls(). */
  add(name: string, answer: Answer): void;
  /** Makes a command answer each of these calls (`name argument argument…`) as given, and fail at any other. */
  answer(name: string, calls: Readonly<Record<string, Answer>>): void;
  /** Once `name` has been called, `other` answers differently. */
  after(name: string, other: string, answer: Answer): void;
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
    answer(name, calls) {
      const answers = path.join(directory, `${name}.calls`);
      rmSync(answers, { recursive: true, force: true });
      for (const [call, { stdout = '', stderr = '', exitCode = 0 }] of Object.entries(calls)) {
        const place = path.join(answers, call.replaceAll('/', '|'));
        mkdirSync(place, { recursive: true });
        for (const [file, text] of Object.entries({ stdout, stderr, exit: String(exitCode) }))
          writeFileSync(path.join(place, file), text);
      }
      const file = path.join(directory, name);
      writeFileSync(
        file,
        [
          '#!/bin/sh',
          `echo "${name} $*" >>'${record}'`,
          `place='${answers}'/$(printf %s "${name} $*" | tr / '|')`,
          `[ -d "$place" ] || { echo "${name}: this test has no answer to: $*" >&2; exit 70; }`,
          'cat "$place/stdout"',
          'cat "$place/stderr" >&2',
          'exit "$(cat "$place/exit")"',
          '',
        ].join('\n'),
      );
      chmodSync(file, 0o755);
    },
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
