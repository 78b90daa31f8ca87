/**
 * Links that outlive the sessions behind them: `~/.local/state/start-jupyter/kept/NAME.json` (0600). The token stays redeemed
 * while Jupyter is down, and leads to the same port when it is there again.
 */
import path from 'node:path';
import * as z from 'zod/mini';
import { ConfigurationError } from '../errors.ts';
import { makeDirectory, readSmall, replaceFile } from '../file-system.ts';
import { userDirectory } from '../user-directories.ts';
import { shown } from '../values.ts';

const keptLinkSchema = z.object({
  /** The proxy that has given the link. */
  manageUrl: z.string(),
  proxyToken: z.string(),
  jupyterToken: z.string(),
  site: z.string(),
  gated: z.boolean(),
  claimed: z._default(z.boolean(), false),
  /** Where Jupyter listened: the link leads there, unless the other end of a connection has a port of its own. */
  jupyterPort: z.int(),
});

export type KeptLink = Readonly<z.output<typeof keptLinkSchema>>;

function fileOf(name: string): string {
  return path.join(userDirectory('XDG_STATE_HOME'), 'kept', `${name}.json`);
}

/**
 * Undefined where there is none of this proxy's yet.
 * @throws ConfigurationError where the file can't be read
 */
export function readKeptLink(name: string, manageUrl: string): KeptLink | undefined {
  const file = fileOf(name);
  try {
    const link = keptLinkSchema.parse(JSON.parse(readSmall(file)));
    return link.manageUrl === manageUrl ? link : undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    const problem = code === undefined ? 'it holds something else' : message;
    throw new ConfigurationError(
      `The kept link ${shown(file, 200)} can't be read: ${shown(problem, 200)}.`,
      'Remove the file to get a new link.',
    );
  }
}

/** @throws ConfigurationError where home can't be written */
export function writeKeptLink(name: string, link: KeptLink): void {
  const file = fileOf(name);
  try {
    makeDirectory(path.dirname(file));
    replaceFile(file, `${JSON.stringify(link)}\n`);
  } catch (error) {
    throw new ConfigurationError(
      `The link can't be kept in ${shown(file, 200)}: ${shown((error as Error).message, 200)}.`,
      'Make room in your home directory, or leave --keep-link out.',
    );
  }
}
