/** `start-jupyter templates [eject DIR]`: the job scripts that are submitted, to read or to change. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { templatesDirectory } from '../batch/render.ts';
import { ConfigurationError, UsageError } from '../errors.ts';
import { makeDirectory, systemWords } from '../file-system.ts';
import { installedFiles, installedPath, isSelfContained, readInstalled } from '../installation.ts';
import { shown } from '../values.ts';

/** @throws UsageError for an unknown action, or a directory that holds such files already */
export async function run(
  action: string | undefined,
  directory: string | undefined,
  { json }: { readonly json?: boolean },
): Promise<number> {
  if (action !== undefined && (action !== 'eject' || !directory))
    throw new UsageError(
      action === 'eject'
        ? 'Where to? Write a directory: start-jupyter templates eject DIR'
        : `"templates" knows no "${shown(action)}".`,
      action === 'eject'
        ? undefined
        : 'Write "start-jupyter templates", or "start-jupyter templates eject DIR".',
    );
  const files = installedFiles(templatesDirectory);
  const names = files.filter((name) => !name.includes('/'));
  if (directory !== undefined) eject(files, directory);
  const place = directory === undefined ? builtInPlace() : path.resolve(directory);
  if (json) process.stdout.write(`${JSON.stringify({ directory: place, templates: names })}\n`);
  else
    process.stdout.write(names.map((name) => `${place === null ? name : path.join(place, name)}\n`).join(''));
  return 0;
}

/** Null for the executable that has them inside. */
function builtInPlace(): string | null {
  return isSelfContained ? null : installedPath(templatesDirectory);
}

function eject(files: readonly string[], directory: string): void {
  const tops = new Set(files.map((file) => file.split('/', 1)[0] as string));
  const taken = [...tops].find((name) => existsSync(path.join(directory, name)));
  if (taken !== undefined)
    throw new UsageError(
      `${shown(directory, 200)} holds "${taken}" already, and nothing of yours is overwritten.`,
      'Name another directory.',
    );
  try {
    makeDirectory(directory);
    for (const file of files) {
      const copy = path.join(directory, file);
      // Not private: where a site keeps them, everybody's launch has to find the partials, too.
      mkdirSync(path.dirname(copy), { recursive: true });
      writeFileSync(copy, readInstalled(`${templatesDirectory}/${file}`));
    }
  } catch (error) {
    throw new ConfigurationError(`${shown(directory, 200)} can't be written: ${systemWords(error)}.`);
  }
}
