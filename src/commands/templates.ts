/** `start-jupyter templates [eject DIR]`: the job scripts that are submitted, to read or to change. */
import { cpSync, existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { templatesDirectory } from '../batch/render.ts';
import { ConfigurationError, UsageError } from '../errors.ts';
import { makeDirectory, systemWords } from '../sessions/store.ts';
import { shown } from '../values.ts';

/** @throws UsageError for an unknown action, or a directory that holds such files already */
export async function run(
  action: string | undefined,
  directory: string | undefined,
  { json }: { readonly json?: boolean },
): Promise<number> {
  if (action !== undefined && (action !== 'eject' || directory === undefined))
    throw new UsageError(
      action === 'eject'
        ? 'Where to? Write a directory: start-jupyter templates eject DIR'
        : `"templates" knows no "${shown(action)}".`,
      action === 'eject'
        ? undefined
        : 'Write "start-jupyter templates", or "start-jupyter templates eject DIR".',
    );
  const names = readdirSync(templatesDirectory).filter((name) => name.endsWith('.sh'));
  const place = directory === undefined ? templatesDirectory : path.resolve(directory);
  if (directory !== undefined) eject([...names, 'partials'], place);
  if (json) process.stdout.write(`${JSON.stringify({ directory: place, templates: names })}\n`);
  else process.stdout.write(names.map((name) => `${path.join(place, name)}\n`).join(''));
  return 0;
}

function eject(names: readonly string[], directory: string): void {
  const taken = names.find((name) => existsSync(path.join(directory, name)));
  if (taken !== undefined)
    throw new UsageError(
      `${shown(directory, 200)} holds "${taken}" already, and nothing of yours is overwritten.`,
      'Name another directory.',
    );
  try {
    makeDirectory(directory);
    for (const name of names)
      cpSync(path.join(templatesDirectory, name), path.join(directory, name), { recursive: true });
  } catch (error) {
    throw new ConfigurationError(`${shown(directory, 200)} can't be written: ${systemWords(error)}.`);
  }
}
