import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { temporaryDirectory } from './directories.ts';
import type { Recording } from './recordings.ts';

/** Commands in a directory of their own, to be put first on PATH; each call is written down. */
export interface Stubs {
  readonly directory: string;
  /** Makes a command print and exit as given. What it was told is one line in calls(). */
  add(name: string, answer: Partial<Pick<Recording, 'stdout' | 'stderr' | 'exitCode'>>): void;
  /** `name argument argument…`, in order. */
  calls(): string[];
}

export function stubCommands(): Stubs {
  const directory = temporaryDirectory();
  const record = path.join(directory, '.calls');
  return {
    directory,
    add(name, { stdout = '', stderr = '', exitCode = 0 }) {
      const file = path.join(directory, name);
      writeFileSync(`${file}.stdout`, stdout);
      writeFileSync(`${file}.stderr`, stderr);
      writeFileSync(
        file,
        `#!/bin/sh\necho "\${0##*/} $*" >>"\${0%/*}/.calls"\ncat "$0.stdout"\ncat "$0.stderr" >&2\nexit ${exitCode}\n`,
      );
      chmodSync(file, 0o755);
    },
    calls: () => (existsSync(record) ? readFileSync(record, 'utf8').trimEnd().split('\n') : []),
  };
}
