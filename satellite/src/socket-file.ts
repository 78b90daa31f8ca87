import { rmSync, statSync } from 'node:fs';
import type { Server } from 'node:net';
import { BACKLOG } from './gate/limits.ts';
import type { Log } from './log.ts';

/** How often it is looked whether a socket's file is still there. */
const LOOK_MS = 1000;

export interface SocketFile {
  readonly file: string;
  readonly log: Log;
  /** Says how somebody who has put another socket in its place gets one of his own. */
  readonly advice: string;
  /** Makes its folder, should that be gone, too. May throw. */
  readonly folder?: () => void;
  /** Lets others than this user in, once it listens. May throw. */
  readonly opened?: () => void;
}

/**
 * Has a server listen on a socket in the file system, in place of whatever has that name; nobody can open it but this user. Where
 * the file is taken away while the server listens, by hand or by what cleans up, it is made again within a moment: who comes
 * by its name would find nobody for ever. Rejects with the system's error.
 */
export async function listenOnFile(server: Server, socket: SocketFile): Promise<void> {
  await listen(server, socket);
  watch(server, socket);
}

async function listen(server: Server, { file, opened }: SocketFile): Promise<void> {
  // Left by one that was killed.
  rmSync(file, { force: true });
  const before = process.umask(0o177);
  const listening = new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path: file, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  process.umask(before);
  await listening;
  opened?.();
}

/** Until the server is closed. */
function watch(server: Server, socket: SocketFile): void {
  const { file, log, advice, folder } = socket;
  let ours = inodeOf(file);
  let fault = '';
  const timer = setInterval(async () => {
    if (!server.listening) {
      clearInterval(timer);
      return;
    }
    try {
      const found = inodeOf(file);
      if (found === ours) return;
      if (found !== undefined) throw new Error(`another one is in its place; ${advice}`);
      folder?.();
      // Only its listener: connections go on.
      server.close();
      ours = undefined;
      await listen(server, socket);
      ours = inodeOf(file);
      fault = '';
      log({ event: 'socket-restored', message: `${file} was taken away, and has been made again` });
    } catch (error) {
      const { message } = error as Error;
      if (message !== fault)
        log({ event: 'socket-lost', message: `${file} was taken away: ${message}. Restart satellite` });
      fault = message;
    }
  }, LOOK_MS).unref();
}

/** Undefined where there is no socket of this name. */
function inodeOf(file: string): number | undefined {
  const found = statSync(file, { throwIfNoEntry: false });
  return found?.isSocket() ? found.ino : undefined;
}
