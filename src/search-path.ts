import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';

/** Where a command is on PATH; undefined where it isn't. */
export function commandOnPath(name: string, environment: NodeJS.ProcessEnv): string | undefined {
  return (environment.PATH ?? '')
    .split(':')
    .filter((directory) => directory !== '')
    .map((directory) => path.join(directory, name))
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    // A directory that may be entered has the same permission.
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
