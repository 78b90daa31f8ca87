import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { ConfigError } from '../../config.ts';

/** A predecessor may still be on its way out. */
const PATIENCE_MS = 1000;

/** SQLITE_BUSY, as sqlite.org/rescode.html has it. */
const BUSY = 5;

/**
 * Keeps a folder for one satellite: a second one would take over the sockets in it, and HAProxy with them. Ends with the
 * process, however that does, so that a successor never waits for a dead one. Node has no locks of files; SQLite does.
 */
export class FolderLock {
  readonly #db: DatabaseSync;

  /** Throws a ConfigError where another satellite has it. */
  constructor(folder: string) {
    // To make the file beforehand would be to close it, by which a process loses all locks that it has on a file.
    const before = process.umask(0o177);
    try {
      this.#db = new DatabaseSync(path.join(folder, 'lock'), { timeout: PATIENCE_MS });
      // Nothing is ever written: the file stays empty.
      this.#db.exec('BEGIN EXCLUSIVE');
    } catch (error) {
      const { errcode, message } = error as Error & { errcode?: number };
      throw new ConfigError(
        errcode === BUSY
          ? `haproxy.directory: another satellite uses ${folder}; stop that one, or give this one a folder of its own`
          : `haproxy.directory: ${folder}/lock can't be locked: ${message}`,
      );
    } finally {
      process.umask(before);
    }
  }

  release(): void {
    this.#db.close();
  }
}
