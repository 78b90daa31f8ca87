import { closeSync, constants, fdatasync, fsyncSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { NotRegularError, openRegular } from '../regular-file.ts';
import { type Anchor, Clock } from './clock.ts';
import type { JobRecord, TokenRecord } from './record.ts';
import {
  type Changes,
  ConflictError,
  DoubtError,
  type SecretKind,
  type SecretRecord,
  StoreError,
  type TokenStore,
} from './store.ts';

const SCHEMA_VERSION = 1;

/** The last column of the tokens, which came later, too. */
const LATER_COLUMN = 'claim';

const SCHEMA = `
  CREATE TABLE tokens (
    token TEXT PRIMARY KEY, state TEXT NOT NULL, issuedAt INTEGER NOT NULL, redeemedAt INTEGER, goneAt INTEGER,
    goneBy TEXT, host TEXT, port INTEGER, jobId TEXT, phase TEXT, reason TEXT,
    ${LATER_COLUMN} TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE jobs (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, position INTEGER, estimatedStart INTEGER, reason TEXT,
    reportedAt INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** Apart from the schema, since they came later, and a program that doesn't know them does no harm. */
const LATER = `
  CREATE TABLE IF NOT EXISTS clock (
    id INTEGER PRIMARY KEY CHECK (id = 1), time INTEGER NOT NULL, wall INTEGER NOT NULL, uptime INTEGER NOT NULL,
    boot TEXT NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS secrets (
    kind TEXT NOT NULL, id TEXT NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (kind, id)
  ) STRICT, WITHOUT ROWID;
`;
const laterTables: ReadonlySet<string> = new Set(['clock', 'secrets']);
const NEWEST = `
  SELECT max(time) AS time FROM (
    SELECT max(issuedAt, ifnull(redeemedAt, 0), ifnull(goneAt, 0)) AS time FROM tokens UNION SELECT reportedAt FROM jobs
  )
`;

/** The same number again is a page written all the same. */
const TOUCH = `PRAGMA user_version = ${SCHEMA_VERSION}`;
/** A predecessor may still be on its way out. */
const OPEN_PATIENCE_MS = 1000;

const CORRUPT = 11;
const FULL = 13;
const NOT_A_DATABASE = 26;
/** SQLITE_READONLY, _IOERR, _FULL, _CANTOPEN. */
const cannotWrite: ReadonlySet<number> = new Set([8, 10, FULL, 14]);

/** Primary result codes (sqlite.org/rescode.html), and what to do. */
const hints: Readonly<Record<number, string>> = {
  5: ' Another satellite is using it, or another program has locked it.',
  8: ' This user must be able to write to it and its directory, and the file system must not be read-only.',
  10: " The disk or file system has failed; see the kernel's log.",
  [CORRUPT]:
    ' It is damaged. Put a copy back, save what "sqlite3 FILE .recover" finds, or move it away to begin anew.',
  [FULL]: ' Make room: until then nothing can be changed.',
  14: ' Its directory must exist and be writable for this user.',
  [NOT_A_DATABASE]: ' Is this the right file? Put a copy back, or move it away to begin anew.',
};

/** For errors of the file system, which come before SQLite's own. */
const systemHints: Readonly<Record<string, string>> = {
  ENOENT: hints[14] ?? '',
  ENOTDIR: hints[14] ?? '',
  EACCES: hints[14] ?? '',
  EROFS: hints[8] ?? '',
  EISDIR: ' It is a directory: write the name of a file in it, such as state.sqlite.',
  ENOSPC: hints[FULL] ?? '',
  EIO: hints[10] ?? '',
};

/** Changed rows between two turns of the event loop, about a millisecond's worth: a report may hold tens of thousands. */
const SLICE_ROWS = 250;

/** As open() has it for 'a'. */
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT;

const toDisk = promisify(fdatasync);

interface Waiting {
  readonly changes: Changes;
  /** Write something even where nothing has changed. */
  readonly touch?: true;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * SQLite in WAL mode: a commit is on the disk before anybody hears of it. SQLite itself would wait for the disk within our only
 * thread, while nobody is served. So it writes its log (synchronous=NORMAL), and the log is brought to the disk beside it: what
 * SQLite does with synchronous=FULL, at the same place in the order of things. While the disk is at it, the next changes are
 * written, and then share one wait.
 */
export class SqliteStore implements TokenStore {
  readonly isShared = false;
  readonly age = 0;
  readonly #path: string;
  readonly #db: DatabaseSync;
  readonly #putToken: StatementSync;
  readonly #putJob: StatementSync;
  readonly #dropToken: StatementSync;
  readonly #dropJob: StatementSync;
  readonly #putClock: StatementSync;
  readonly #putSecret: StatementSync;
  readonly #dropSecret: StatementSync;
  /** The database and its log, by inode. */
  readonly #files = new Map<string, number>();
  readonly clock: Clock;
  #queue: Waiting[] = [];
  /** Records that could not be written, and that a change which is already on its way may stand on. */
  readonly #lost = new WeakSet<object>();
  /** Committed, and on their way to the disk. */
  #committed: Waiting[] = [];
  #syncing: Promise<void> | undefined;
  /** The log, once there is one. */
  #log: number | undefined;
  /** What the disk has said when it was told to keep something: from then on nobody knows what it keeps. */
  #broken: Error | undefined;
  /** The transaction under way, which goes on where it stopped. */
  #writing: Iterator<void> | undefined;

  /** Opens or creates the file (readable by its owner only), or `:memory:`. Throws a StoreError. */
  constructor(path: string) {
    this.#path = path;
    try {
      // Site names are capabilities: the file must never be born world-readable. WAL files take its mode over.
      if (path !== ':memory:') closeSync(openRegular(path, APPEND, 0o600));
      // Without a lock: to take one of another program's database, and to let go of it, brings its log into it.
      if (path !== ':memory:' && statSync(path).size > 0) checkOwner(path);
      const db = new DatabaseSync(path, { timeout: OPEN_PATIENCE_MS });
      this.#db = db;
      // Ours alone until the end: a second proxy would redeem tokens again, and a stranger's lock would hold up
      // everything here, since SQLite waits within our only thread.
      db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;');
      db.exec('BEGIN EXCLUSIVE; COMMIT;');
      // Once more: another version may have made it since.
      expectOurs(db);
      const version = db.prepare('PRAGMA user_version').get()?.user_version;
      if (version === 0) db.exec(`BEGIN; ${SCHEMA} ${LATER} COMMIT;`);
      else checkPages(db);
      db.exec(LATER);
      if (!columns(db).get('tokens')?.endsWith(`,${LATER_COLUMN}`))
        db.exec(`ALTER TABLE tokens ADD COLUMN ${LATER_COLUMN} TEXT`);
      touch(db);
      this.#checkFiles();
      const last = db.prepare('SELECT time, wall, uptime, boot FROM clock').get() as Anchor | undefined;
      this.clock = new Clock(last, Number(db.prepare(NEWEST).get()?.time ?? 0));
      this.#putToken = db.prepare(
        `INSERT OR REPLACE INTO tokens VALUES
         (:token, :state, :issuedAt, :redeemedAt, :goneAt, :goneBy, :host, :port, :jobId, :phase, :reason, :claim)`,
      );
      this.#putJob = db.prepare(
        'INSERT OR REPLACE INTO jobs VALUES (:id, :state, :position, :estimatedStart, :reason, :reportedAt)',
      );
      this.#dropToken = db.prepare('DELETE FROM tokens WHERE token = ?');
      this.#dropJob = db.prepare('DELETE FROM jobs WHERE id = ?');
      this.#putClock = db.prepare(
        'INSERT OR REPLACE INTO clock (id, time, wall, uptime, boot) VALUES (1, :time, :wall, :uptime, :boot)',
      );
      this.#putSecret = db.prepare('INSERT OR REPLACE INTO secrets VALUES (:kind, :id, :sealed)');
      this.#dropSecret = db.prepare('DELETE FROM secrets WHERE kind = ? AND id = ?');
    } catch (error) {
      throw this.#failure('open', error);
    }
  }

  get name(): string {
    return this.#path;
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

  loadSecrets(kind: SecretKind): SecretRecord[] {
    try {
      return this.#db.prepare('SELECT * FROM secrets WHERE kind = ?').all(kind) as unknown as SecretRecord[];
    } catch (error) {
      throw this.#failure('read', error);
    }
  }

  save(changes: Changes): Promise<void> {
    return this.#enqueue({ changes });
  }

  /** Nobody else writes: there is never any news. */
  follow(): void {}

  async refresh(): Promise<void> {}

  check(): Promise<void> {
    return this.#enqueue({ changes: {}, touch: true });
  }

  #enqueue(write: Pick<Waiting, 'changes' | 'touch'>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ ...write, resolve, reject });
      // One commit for all requests that arrived in this turn of the event loop: the disk is the bottleneck.
      if (this.#queue.length === 1 && !this.#writing) setImmediate(() => this.#flush());
    });
  }

  /** Writes a slice of what waits; the data path has its turn before the next. */
  #flush(): void {
    if (this.#queue.length === 0 && !this.#writing) return;
    this.#writing ??= this.#write(this.#queue.splice(0));
    if (this.#writing.next().done) this.#writing = undefined;
    if (this.#writing || this.#queue.length > 0) setImmediate(() => this.#flush());
  }

  /** All of a batch in one transaction, a slice at a time. */
  *#write(batch: readonly Waiting[]): Generator<void> {
    const sound = batch.filter((one) => this.#isSound(one));
    if (sound.length === 0) return;
    let rows = 0;
    try {
      if (this.#broken) throw this.#broken;
      this.#checkFiles();
      this.#db.exec('BEGIN IMMEDIATE');
      for (const { changes, touch } of sound) {
        if (touch) this.#db.exec(TOUCH);
        for (const _ of this.#apply(changes)) {
          rows += 1;
          if (rows % SLICE_ROWS === 0) yield;
        }
      }
      this.#putClock.run({ ...this.clock.anchor() });
      this.#db.exec('COMMIT');
    } catch (error) {
      this.#rollBack();
      const failure = this.#failure('write', error);
      for (const { changes, reject } of sound) {
        for (const { record } of [...(changes.tokens ?? []), ...(changes.secrets ?? [])])
          this.#lost.add(record);
        reject(failure);
      }
      return;
    }
    this.#committed.push(...sound);
    this.#sync();
  }

  /** Brings what is committed to the disk, and tells those who wait for it. */
  #sync(): void {
    this.#syncing ??= this.#syncAll().finally(() => {
      this.#syncing = undefined;
    });
  }

  async #syncAll(): Promise<void> {
    while (this.#committed.length > 0) {
      const group = this.#committed.splice(0);
      try {
        if (this.#path !== ':memory:') await toDisk(this.#openLog());
        for (const { resolve } of group) resolve();
      } catch (error) {
        this.#doubt(group, error as Error);
      }
    }
  }

  #doubt(group: readonly Waiting[], error: Error): void {
    this.#broken ??= error;
    for (const { reject } of group)
      reject(new DoubtError(this.#failure('write', error).message, { cause: error }));
  }

  #openLog(): number {
    if (this.#log !== undefined) return this.#log;
    this.#log = openSync(`${this.#path}-wal`, 'r');
    // A new file is there after a power cut only if its directory says so.
    const directory = openSync(dirname(this.#path), 'r');
    fsyncSync(directory);
    closeSync(directory);
    return this.#log;
  }

  /** False for a change, which is refused here, of something that was never written. */
  #isSound({ changes: { tokens = [], secrets = [] }, reject }: Waiting): boolean {
    const all = [...tokens, ...secrets];
    if (!all.some(({ before }) => before !== undefined && this.#lost.has(before))) return true;
    for (const { record } of all) this.#lost.add(record);
    reject(new ConflictError('What was to be changed could not be written.'));
    return false;
  }

  *#apply({
    tokens = [],
    jobs = [],
    forgetTokens = [],
    forgetJobs = [],
    secrets = [],
    forgetSecrets = [],
  }: Changes): Generator<unknown> {
    for (const { record } of tokens) yield this.#putToken.run({ ...record });
    for (const record of jobs) yield this.#putJob.run({ ...record });
    for (const { token } of forgetTokens) yield this.#dropToken.run(token);
    for (const { id } of forgetJobs) yield this.#dropJob.run(id);
    for (const { record } of secrets) yield this.#putSecret.run({ ...record });
    for (const { kind, id } of forgetSecrets) yield this.#dropSecret.run(kind, id);
  }

  /** What is written to files that have been taken away would be lost with the process. */
  #checkFiles(): void {
    if (this.#path === ':memory:') return;
    for (const path of [this.#path, `${this.#path}-wal`]) {
      const inode = statSync(path, { throwIfNoEntry: false })?.ino;
      const known = this.#files.get(path) ?? inode;
      if (known !== inode) throw new Error(`${path} was removed or replaced while in use; restart the proxy`);
      if (inode !== undefined) this.#files.set(path, inode);
    }
  }

  /** Nobody: it is locked. */
  async others(): Promise<number> {
    return 0;
  }

  async close(): Promise<void> {
    while (this.#writing || this.#queue.length > 0) this.#flush();
    await this.#syncing;
    this.#db.close();
    if (this.#log !== undefined) closeSync(this.#log);
  }

  #rollBack(): void {
    try {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
    } catch {
      // Where the disk is gone even that fails; what matters is the error from before, and that it is heard.
    }
  }

  #failure(what: string, error: unknown): StoreError {
    const why = error instanceof Error ? error.message : String(error);
    return new StoreError(`Could not ${what} the state in ${this.#path}: ${why}.${hintFor(error)}`, {
      cause: error,
    });
  }
}

function resultCode(error: unknown): number {
  // The lower byte of an extended result code.
  return ((error as { errcode?: number }).errcode ?? 0) & 0xff;
}

function hintFor(error: unknown): string {
  if (error instanceof NotRegularError) return ' Write the name of a file, such as state.sqlite.';
  const { code = '' } = error as NodeJS.ErrnoException;
  return hints[resultCode(error)] ?? systemHints[code] ?? '';
}

/** Throws, and has changed nothing, where a file isn't one of ours, or of a version that this one doesn't know. */
function checkOwner(path: string): void {
  const hasLog = Boolean(statSync(`${path}-wal`, { throwIfNoEntry: false })?.size);
  try {
    look(path, hasLog);
  } catch (error) {
    // A log can't be read where nothing can be written. The file alone tells enough,
    if (!hasLog || !cannotWrite.has(resultCode(error))) throw error;
    try {
      look(path, false);
    } catch (alone) {
      // unless there was no more room while the log was being brought into it: then it is torn without that.
      if (resultCode(alone) !== CORRUPT) throw alone;
    }
  }
}

/** The same, with what is in the log or without. */
function look(path: string, withLog: boolean): void {
  const url = pathToFileURL(path);
  // Or else even a reader leaves a log behind.
  if (!withLog) url.searchParams.set('immutable', '1');
  const db = new DatabaseSync(url, { readOnly: true, timeout: OPEN_PATIENCE_MS });
  try {
    expectOurs(db);
  } finally {
    db.close();
  }
}

/** Throws where it isn't one of ours, or of a version that this one doesn't know. */
function expectOurs(db: DatabaseSync): void {
  const ours = new DatabaseSync(':memory:');
  try {
    ours.exec(`${SCHEMA} ${LATER}`);
    const version = db.prepare('PRAGMA user_version').get()?.user_version;
    const applicationId = db.prepare('PRAGMA application_id').get()?.application_id;
    const tables = columns(db);
    const isNew = version === 0 && tables.size === 0;
    const isOther = version !== 0 && version !== SCHEMA_VERSION && tables.has('tokens') && tables.has('jobs');
    if (isOther && applicationId === 0) {
      throw new Error(
        `it was written by another version of satellite (schema ${version}, this one knows ${SCHEMA_VERSION})`,
      );
    }
    const isOurs =
      version === SCHEMA_VERSION &&
      [...columns(ours)].every(
        ([table, known]) =>
          (tables.get(table) ?? (laterTables.has(table) && known)) === known ||
          `${tables.get(table)},${LATER_COLUMN}` === known,
      );
    if (applicationId !== 0 || !(isNew || isOurs)) {
      throw Object.assign(new Error('it is the database of another program'), { errcode: NOT_A_DATABASE });
    }
  } finally {
    ours.close();
  }
}

/** The names of the columns of each table. */
function columns(db: DatabaseSync): Map<string, string> {
  const rows = db
    .prepare(
      `SELECT t.name AS name, (SELECT group_concat(c.name) FROM pragma_table_info(t.name) AS c) AS columns
       FROM sqlite_schema AS t WHERE t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'`,
    )
    .all();
  return new Map(rows.map((row) => [String(row.name), String(row.columns)]));
}

/** A damaged page would be met only when it is needed, and by then others rely on this state. */
function checkPages(db: DatabaseSync): void {
  const fault = db.prepare('PRAGMA quick_check(1)').get()?.quick_check;
  // Its first line is a heading: "*** in database main ***".
  const text = String(fault).split('\n').at(-1);
  if (fault !== 'ok') throw Object.assign(new Error(text), { errcode: CORRUPT });
}

/** Makes sure that the log is there and can be written. A full disk is no reason not to serve what there is. */
function touch(db: DatabaseSync): void {
  try {
    db.exec(TOUCH);
  } catch (error) {
    if (resultCode(error) !== FULL) throw error;
  }
}
