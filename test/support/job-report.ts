import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { Home } from './directories.ts';

/** Environment modules as Debian installs them, which a batch shell has to find by itself. */
const hasModules = existsSync('/usr/share/modules/init/bash');

/** Everything that a person can bring along, as options, and what the job says of it. */
export interface Baggage {
  readonly options: readonly string[];
  /** The environment in which Jupyter started, and where. */
  report(): Readonly<Record<string, string>>;
  /** What that must be. `job`: the scheduler's name of the job. */
  expected(job: string): Readonly<Record<string, unknown>>;
}

/** Makes a start directory, a virtual environment, a module and a setup file in a home; the setup file reports. */
export function baggage(home: Home): Baggage {
  const at = (...names: string[]) => path.join(home.path, ...names);
  for (const directory of ['work', 'venv/bin', 'modules']) mkdirSync(at(directory), { recursive: true });
  for (const [name, program] of [
    ['python', '/usr/bin/python3'],
    ['jupyter-notebook', '/usr/bin/env PATH=/usr/local/bin:/usr/bin:/bin jupyter-notebook'],
  ] as const)
    writeFileSync(at('venv', 'bin', name), `#!/bin/sh\nexec ${program} "$@"\n`, { mode: 0o755 });
  writeFileSync(at('modules', 'course'), '#%Module\nsetenv COURSE_MODULE loaded\n');
  writeFileSync(at('setup.sh'), `env -0 >'${at('report')}'\n`);
  const modules = hasModules ? ['--module-path', at('modules'), '-e', 'course'] : [];
  return {
    options: [
      ...['-d', at('work'), '--venv', at('venv'), '--setup', at('setup.sh'), '--env', 'GREETING=hello world'],
      ...['--scratch-dir', at('scratch', '{job}'), ...modules],
    ],
    report: () =>
      Object.fromEntries(
        readFileSync(at('report'), 'utf8')
          .split('\0')
          .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
      ),
    expected: (job) => ({
      PWD: at('work'),
      VIRTUAL_ENV: at('venv'),
      GREETING: 'hello world',
      TMPDIR: expect.stringContaining(at('scratch', job, 'sj-')),
      ...(hasModules ? { COURSE_MODULE: 'loaded' } : {}),
    }),
  };
}
