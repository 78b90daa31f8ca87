import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ConfigError } from '../../config.ts';
import type { Account } from './account.ts';

/** What is in the folder between satellite and HAProxy. */
export function fileNames(folder: string) {
  const file = (name: string): string => path.join(folder, name);
  return {
    /** Where satellite listens, for visitors and for lines about requests. */
    satellite: file('satellite.sock'),
    log: file('log.sock'),
    /** Where HAProxy listens for its own lines, and for whoever is to wait. */
    lines: file('lines.sock'),
    pause: file('pause.sock'),
    /** The map of live sites. */
    sites: file('sites.map'),
    /** Certificate, chain and key of the pair with this number. */
    certificate: (number: number): string => file(`certificate-${number}.pem`),
  };
}

/**
 * The same as HAProxy names it: what it reaches from within its jail, if it goes into one, and the sockets that it binds before
 * that, for `account` where it is somebody else than whoever starts it.
 */
export function namedForHaproxy(
  { satellite, log, lines, pause, sites }: Omit<ReturnType<typeof fileNames>, 'certificate'>,
  jail: string | undefined,
  account: Account | undefined,
) {
  const seen = (file: string): string => (jail === undefined ? file : `/${path.relative(jail, file)}`);
  const bound = (file: string): string => (account === undefined ? file : `${file} uid ${account.uid}`);
  return {
    files: { satellite: seen(satellite), log: seen(log), lines: seen(lines), pause: seen(pause), sites },
    bound: { lines: bound(lines), pause: bound(pause) },
  };
}

/** All that are in a folder: there may have been more of them when it was last used. */
export function removeCertificates(folder: string): void {
  for (const name of readdirSync(folder))
    if (/^certificate-\d+\.pem$/.test(name)) rmSync(path.join(folder, name));
}

/** Writes a file that nobody but us may read. Throws a ConfigError where that can't be done. */
export function writeOwn(file: string, text: string): void {
  try {
    writeFileSync(file, text, { mode: 0o600 });
  } catch (error) {
    throw new ConfigError(`haproxy.directory: ${file} can't be written: ${(error as Error).message}`);
  }
}
