import { closeSync, openSync, statSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { JobRecord, TokenRecord } from './record.ts';

/** Changes that belong together: all of them are kept, or none. */
export interface Changes {
  readonly tokens?: readonly TokenRecord[];
  readonly jobs?: readonly JobRecord[];
  readonly forgetTokens?: readonly string[];
  readonly forgetJobs?: readonly string[];
}

/** Where tokens outlive the process. */
export interface TokenStore {
  load(): { tokens: TokenRecord[]; jobs: JobRecord[] };
  /** Resolves once the changes would survive a power cut; rejects with a StoreError. */
  save(changes: Changes): Promise<void>;
  /** Resolves if a change could be saved now; rejects with a StoreError. */
  check(): Promise<void>;
  close(): void;
}

/** The state could not be read or written. Nothing that was answered before is lost. */
export class StoreError extends Error {
  override name = 'StoreError';
}

const SCHEMA_VERSION = 1;

const SCHEMA = `
  CREATE TABLE tokens (
    token TEXT PRIMARY KEY, state TEXT NOT NULL, issuedAt INTEGER NOT NULL, redeemedAt INTEGER, goneAt INTEGER,
    goneBy TEXT, host TEXT, port INTEGER, jobId TEXT, phase TEXT, reason TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE jobs (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, position INTEGER, estimatedStart INTEGER, reason TEXT,
    reportedAt INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** The same number again is a page written all the same. */
const TOUCH = `PRAGMA user_version = ${SCHEMA_VERSION}`;
/** A predecessor may still be on its way out. */
const OPEN_PATIENCE_MS = 1000;

interface Waiting {
  readonly changes: Changes;
  /** Write something even where nothing has changed. */
  readonly touch?: true;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** SQLite in WAL mode with synchronous=FULL: a commit is on the disk before anybody hears of it. */
export class SqliteStore implements TokenStore {
  readonly #path: string;
  readonly #db: DatabaseSync;
  readonly #putToken: StatementSync;
  readonly #putJob: StatementSync;
  readonly #dropToken: StatementSync;
  readonly #dropJob: StatementSync;
  /** The database and its log, by inode. */
  readonly #files: readonly (readonly [path: string, inode: number])[];
  #queue: Waiting[] = [];

  /** Opens or creates the file (readable by its owner only), or `:memory:`. Throws a StoreError. */
  constructor(path: string) {
    this.#path = path;
    try {
      // Site names are capabilities: the file must never be born world-readable. WAL files take its mode over.
      if (path !== ':memory:') closeSync(openSync(path, 'a', 0o600));
      const db = new DatabaseSync(path, { timeout: OPEN_PATIENCE_MS });
      this.#db = db;
      // Ours alone until the end: a second proxy would redeem tokens again, and a stranger's lock would hold up
      // everything here, since SQLite waits within our only thread.
      db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
      db.exec('BEGIN EXCLUSIVE; COMMIT;');
      const version = db.prepare('PRAGMA user_version').get()?.user_version;
      if (version === 0) db.exec(`BEGIN; ${SCHEMA} COMMIT;`);
      else if (version !== SCHEMA_VERSION)
        throw new Error(`its schema version ${version} is not known to this program`);
      // Makes sure that the log is there.
      db.exec(TOUCH);
      const paths = path === ':memory:' ? [] : [path, `${path}-wal`];
      this.#files = paths.map((file) => [file, statSync(file).ino] as const);
      this.#putToken = db.prepare(
        `INSERT OR REPLACE INTO tokens VALUES
         (:token, :state, :issuedAt, :redeemedAt, :goneAt, :goneBy, :host, :port, :jobId, :phase, :reason)`,
      );
      this.#putJob = db.prepare(
        'INSERT OR REPLACE INTO jobs VALUES (:id, :state, :position, :estimatedStart, :reason, :reportedAt)',
      );
      this.#dropToken = db.prepare('DELETE FROM tokens WHERE token = ?');
      this.#dropJob = db.prepare('DELETE FROM jobs WHERE id = ?');
    } catch (error) {
      const locked = /locked|busy/.test((error as Error).message);
      throw this.#failure(
        'open',
        error,
        locked
          ? ' Another satellite is using it.'
          : ' Its directory must exist and be writable for this user.',
      );
    }
  }

  load(): { tokens: TokenRecord[]; jobs: JobRecord[] } {
    try {
      const tokens = this.#db.prepare('SELECT * FROM tokens').all() as unknown as TokenRecord[];
      const jobs = this.#db.prepare('SELECT * FROM jobs').all() as unknown as JobRecord[];
      return { tokens, jobs };
    } catch (error) {
      throw this.#failure('read', error);
    }
  }

  save(changes: Changes): Promise<void> {
    return this.#enqueue({ changes });
  }

  check(): Promise<void> {
    return this.#enqueue({ changes: {}, touch: true });
  }

  #enqueue(write: Pick<Waiting, 'changes' | 'touch'>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ ...write, resolve, reject });
      // One commit for all requests that arrived in this turn of the event loop: the disk is the bottleneck.
      if (this.#queue.length === 1) setImmediate(() => this.#flush());
    });
  }

  #flush(): void {
    const batch = this.#queue;
    this.#queue = [];
    if (batch.length === 0) return;
    try {
      this.#checkFiles();
      this.#db.exec('BEGIN IMMEDIATE');
      for (const { changes, touch } of batch) {
        if (touch) this.#db.exec(TOUCH);
        for (const record of changes.tokens ?? []) this.#putToken.run({ ...record });
        for (const record of changes.jobs ?? []) this.#putJob.run({ ...record });
        for (const token of changes.forgetTokens ?? []) this.#dropToken.run(token);
        for (const id of changes.forgetJobs ?? []) this.#dropJob.run(id);
      }
      this.#db.exec('COMMIT');
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      const failure = this.#failure('write', error);
      for (const { reject } of batch) reject(failure);
      return;
    }
    for (const { resolve } of batch) resolve();
  }

  /** What is written to files that have been taken away would be lost with the process. */
  #checkFiles(): void {
    for (const [path, inode] of this.#files) {
      if (statSync(path, { throwIfNoEntry: false })?.ino !== inode)
        throw new Error(`${path} was removed or replaced while in use; restart the proxy`);
    }
  }

  /** Writes what waits, then closes. */
  close(): void {
    this.#flush();
    this.#db.close();
  }

  #failure(what: string, error: unknown, hint = ''): StoreError {
    const why = error instanceof Error ? error.message : String(error);
    return new StoreError(`Could not ${what} the state in ${this.#path}: ${why}.${hint}`, { cause: error });
  }
}
