import { readFileSync, statSync } from 'node:fs';
import { parse } from 'yaml';
import { ConfigError, parseConfig, type SatelliteConfig } from './config.ts';
import { fileFault } from './file-fault.ts';
import { isReadableByEverybody } from './secret-file.ts';
import { hasPassword, isDatabase } from './tokens/postgres-url.ts';

/** Would whoever can read this know the password of a database? */
export function isPasswordIn(state: unknown): boolean {
  return typeof state === 'string' && isDatabase(state) && hasPassword(state);
}

/** What a configuration file says, as it stands there. Throws a ConfigError. */
export function readConfigFile(file: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new ConfigError(`${file} can't be read: ${fileFault(error)}`);
  }
  if (value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value))
    throw new ConfigError(`${file} must hold keys and values`);
  if ('state' in value && isPasswordIn(value.state) && isReadableByEverybody(statSync(file)))
    throw new ConfigError(`${file} has a password in it and can be used by everybody; chmod 600 it`);
  return value as Record<string, unknown>;
}

/** Reads and checks a configuration file. Throws a ConfigError that names it in each line. */
export function parseConfigFile(file: string): SatelliteConfig {
  const keys = readConfigFile(file);
  return namingFile(
    file,
    () => true,
    () => parseConfig(keys),
  );
}

/** Does what may throw a ConfigError, whose lines begin with keys, and names the file in those about keys that are its own. */
export function namingFile<T>(file: string, isItsKey: (key: string) => boolean, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const lines = error.message.split('\n');
    const isItsLine = (line: string): boolean => isItsKey(/^\w*/.exec(line)?.[0] ?? '');
    throw new ConfigError(lines.map((line) => (isItsLine(line) ? `${file}: ${line}` : line)).join('\n'));
  }
}
