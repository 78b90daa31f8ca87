import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, statSync } from 'node:fs';
import { ConfigError } from '../../config.ts';

/** Who HAProxy is once it has its sockets. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
  /** The name of its primary group. */
  readonly group: string;
}

/** Asks id(1), which knows those of directories, too. Throws a ConfigError where there is no such user. */
export function accountOf(user: string): Account {
  try {
    const text = execFileSync('id', ['--', user], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const [, uid, gid, group] = /^uid=(\d+)\S* gid=(\d+)\((\S+)\)/.exec(text) ?? [];
    if (group !== undefined) return { uid: Number(uid), gid: Number(gid), group };
  } catch {
    // Said below.
  }
  throw new ConfigError(
    `haproxy.user: there is no user ${user} on this host; write which user HAProxy is to be, one that owns nothing`,
  );
}

/** Lets HAProxy use a folder of ours, or a socket, and nobody else. Throws a ConfigError. */
export function letIn({ uid, gid, group }: Account, file: string, mode: number): void {
  if (uid === process.getuid?.()) return;
  try {
    // Below a folder with the setgid bit it is so already, also where a sandbox forbids chown(2).
    const now = statSync(file);
    if (now.gid !== gid) chownSync(file, now.uid, gid);
    if ((now.mode & 0o777) !== mode) chmodSync(file, (now.mode & 0o7000) | mode);
  } catch (error) {
    throw new ConfigError(
      `haproxy: ${file} can't be given to the group ${group}, of which HAProxy is: ${(error as Error).message}. satellite's user must be in that group (usermod -aG, or SupplementaryGroups= in its unit).`,
    );
  }
}
