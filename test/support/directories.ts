import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll } from 'vitest';

const made: string[] = [];

afterAll(() => {
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true });
});

/** A directory of this test file's own; it goes when the file's tests are over. */
export function temporaryDirectory(): string {
  const directory = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'start-jupyter-test-')));
  made.push(directory);
  return directory;
}

export interface Home {
  readonly path: string;
  /** The environment of a login that knows only this home: nothing of the tester's own gets in. */
  readonly env: Readonly<Record<string, string>>;
  /** Where sessions are kept. */
  readonly sessions: string;
}

/** An empty home directory with XDG directories inside. */
export function freshHome(name = 'home'): Home {
  const home = path.join(temporaryDirectory(), name);
  mkdirSync(home, { mode: 0o700 });
  return {
    path: home,
    env: { HOME: home, USER: os.userInfo().username, LANG: 'C.UTF-8', PATH: '/usr/bin:/bin' },
    sessions: path.join(home, '.local', 'state', 'start-jupyter', 'sessions'),
  };
}
