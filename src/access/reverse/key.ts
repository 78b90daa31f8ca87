/**
 * The key of this workstation for one thing: to bring one port to the forwarding server and to reach the satellite there.
 * It opens no shell, so it needs no passphrase, and a connection can come back while nobody is there.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { ConfigurationError } from '../../errors.ts';
import { makeDirectory, systemWords } from '../../file-system.ts';
import { userDirectory } from '../../user-directories.ts';
import { shown } from '../../values.ts';

export interface ReverseKey {
  /** The private half, readable by its owner only. */
  readonly file: string;
  /** `ssh-ed25519 AAAA…` */
  readonly publicKey: string;
  /** The one port on the server's loopback that belongs to this key. */
  readonly sitePort: number;
}

const lowestPort = 20_000;
const highestPort = 29_999;

/**
 * The key, made where there is none yet.
 * @throws ConfigurationError where it can't be made or read
 */
export async function reverseKey(): Promise<ReverseKey> {
  const file = path.join(userDirectory('XDG_CONFIG_HOME'), 'reverse_ed25519');
  try {
    if (!existsSync(file)) {
      makeDirectory(path.dirname(file));
      const comment = `start-jupyter on ${os.hostname().replace(/[^\w.-]/g, '')}`;
      await promisify(execFile)('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', comment, '-f', file]);
    }
    const publicKey = readFileSync(`${file}.pub`, 'utf8').trim();
    return { file, publicKey, sitePort: portOf(publicKey) };
  } catch (error) {
    const isProgramMissing = (error as NodeJS.ErrnoException).syscall === 'spawn ssh-keygen';
    throw new ConfigurationError(
      `The key ${shown(file, 200)} can't be made or read: ${isProgramMissing ? 'there is no ssh-keygen' : shown(systemWords(error), 200)}.`,
      'Install the OpenSSH client; remove both files of the key to have a new one made.',
    );
  }
}

/** Two keys have the same one rarely, and the server gives it to the first then. */
function portOf(publicKey: string): number {
  const [, blob = ''] = publicKey.split(' ');
  const number = createHash('sha256').update(blob).digest().readUInt32BE();
  return lowestPort + (number % (highestPort - lowestPort + 1));
}

/**
 * The line of `authorized_keys` that lets the key do what it is for, and nothing else: see sshd(8), AUTHORIZED_KEYS FILE
 * FORMAT. `restrict` forbids forwarding, terminals and agents, but no commands: `command` stands in place of each.
 */
export function authorizedKeysLine({ publicKey, sitePort }: ReverseKey, managePort: number): string {
  return `restrict,port-forwarding,permitlisten="127.0.0.1:${sitePort}",permitopen="127.0.0.1:${managePort}",command="false" ${publicKey}`;
}
