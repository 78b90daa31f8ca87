import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import type { Client, QueryResult } from 'pg';
import type { Log } from '../log.ts';
import { DatabaseClock } from './database-clock.ts';
import { breakOff, connect, PATIENCE_MS, TIMELINE, within } from './postgres-connection.ts';
import { type Change, changesOf, type Entry, newsOf } from './postgres-entries.ts';
import { isRefusal, isSessionOver, storeFailure } from './postgres-failure.ts';
import { checkVersion, migrate } from './postgres-schema.ts';
import { clientConfigs, databaseName } from './postgres-url.ts';
import type { JobRecord, TokenRecord } from './record.ts';
import {
  type Changes,
  ConflictError,
  DoubtError,
  type News,
  type SecretKind,
  type SecretRecord,
  type StoreError,
  type TokenStore,
} from './store.ts';

/** How often the database is asked for news, in case that a notification got lost. */
const LOOK_MS = 500;
const PATIENCE_PER_CHANGE_MS = 1;
/** How long somebody whose change may or may not have been kept waits for the database to say which. */
const DOUBT_MS = 5000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;
/** Strangers can make us ask: at most so often. */
const REFRESH_PAUSE_MS = 20;
const PURGE_MS = 10 * 60_000;
const PAGE_ROWS = 2000;

const CHANNEL = 'satellite';
const FETCH = `
  SELECT kind, id, value, changed FROM satellite.entries
  WHERE (changed, kind, id) > ($1, $2, $3) ORDER BY changed, kind, id LIMIT ${PAGE_ROWS}`;
/**
 * Whatever is usual there: what is answered has been written, and each statement sees what others have committed. From here on
 * notifications are kept for this connection.
 */
const SETTINGS = `
  SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
  SET default_transaction_isolation = 'read committed';
  LISTEN ${CHANNEL}`;
const SAVE = 'SELECT satellite.save($1, $2, $3) AS result';
const TOUCH = 'UPDATE satellite.sessions SET seen = now() WHERE id = $1';
const HISTORY = `
  SELECT system_identifier || ' ' || 'satellite.meta'::regclass::oid AS tables, ${TIMELINE} FROM pg_control_system()`;
const OTHERS = `
  SELECT count(*)::integer AS others FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = current_setting('application_name') AND pid <> pg_backend_pid()`;
const LOOK = 'SELECT seq, satellite.now_ms() AS now FROM satellite.meta';

interface Waiting {
  readonly changes: readonly Change[];
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** What was sent in one go; `number` within the session. */
interface Batch {
  readonly number: number;
  readonly waiting: readonly Waiting[];
}

interface SaveResult {
  readonly seq: number;
  readonly kept: readonly boolean[];
}

/**
 * What is counted together: the changes of these tables of this cluster, until they are restored from a backup, or a standby
 * takes the primary's place.
 */
interface History {
  readonly tables: string;
  readonly timeline: string | null;
}

/** The changes after an entry in their order, and the last one's place. */
interface Place {
  readonly changed: number;
  readonly kind: string;
  readonly id: string;
}

/**
 * PostgreSQL, shared by several satellites. Each keeps all of it in memory, and takes in what the others commit: it is told
 * by a notification, asks on its own twice a second, and asks once more before it says that something is not there.
 * A change is kept only where what it replaces is still what is there, so that of two proxies that want to redeem a token
 * one finds it redeemed. While the database is away nothing can be changed, and what was live stays live.
 */
export class PostgresStore implements TokenStore {
  readonly isShared = true;
  readonly clock = new DatabaseClock();
  readonly name: string;
  readonly #state: string;
  readonly #log: Log;
  readonly #listeners = new Set<(news: News) => void>();
  readonly #looker: NodeJS.Timeout;
  readonly #purger: NodeJS.Timeout;
  /** Undefined while there is no connection. */
  #client: Client | undefined;
  #session = randomUUID();
  #batch = 0;
  #queue: Waiting[] = [];
  #flushing: Promise<void> | undefined;
  /** The question under way: one at a time, so that each has the server's whole patience to itself. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Sent, and not answered yet. */
  #sent: Batch | undefined;
  /** Up to here everything is known. */
  #seen = 0;
  /** Of what that counts the changes. */
  #history: History | undefined;
  /** When that was last found to be all there is, by the clock's local time. */
  #freshAt = 0;
  /** What there was at the start, until somebody asks for news. */
  #start: News | undefined;
  /** The question for news that is under way, and the one after it for those who came too late for that. */
  #refreshing: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #refreshedAt = Number.NEGATIVE_INFINITY;
  /** Why there is no connection. */
  #why = new Error('there is no connection');
  #hasSchema = false;
  #isClosed = false;

  private constructor(state: string, log: Log) {
    this.#state = state;
    this.#log = log;
    this.name = databaseName(state);
    this.#looker = setInterval(() => void this.#look(), LOOK_MS).unref();
    this.#purger = setInterval(() => void this.#purge(), PURGE_MS).unref();
  }

  /** Connects, and makes or migrates the schema. Rejects with a StoreError. */
  static async open(state: string, log: Log): Promise<PostgresStore> {
    const store = new PostgresStore(state, log);
    try {
      await store.#connect();
      store.#start = await store.#fetchAll();
      return store;
    } catch (error) {
      await store.close();
      throw store.#failure('open', error);
    }
  }

  load(): { tokens: TokenRecord[]; jobs: JobRecord[] } {
    const { tokens = [], jobs = [] } = this.#start ?? {};
    return { tokens: [...tokens], jobs: [...jobs] };
  }

  loadSecrets(kind: SecretKind): SecretRecord[] {
    return (this.#start?.secrets ?? []).filter((record) => record.kind === kind);
  }

  save(given: Changes): Promise<void> {
    const changes = changesOf(given);
    return new Promise((resolve, reject) => {
      this.#queue.push({ changes, resolve, reject });
      // One transaction for all that arrives in this turn of the event loop, and while the one before is under way.
      if (this.#queue.length === 1) setImmediate(() => this.#flush());
    });
  }

  follow(listener: (news: News) => void): void {
    this.#listeners.add(listener);
  }

  /** Those who ask while a question is under way share the next one: the answer to this one may be too old for them. */
  refresh(): Promise<void> {
    const wait = this.#refreshedAt + REFRESH_PAUSE_MS - this.clock.local();
    if (this.#refreshing === undefined && wait <= 0) {
      this.#refreshedAt = this.clock.local();
      this.#refreshing = this.#catchUp().finally(() => {
        this.#refreshing = undefined;
      });
      return this.#refreshing;
    }
    this.#next ??= Promise.allSettled([this.#refreshing, pause(Math.max(0, wait))]).then(() => {
      this.#next = undefined;
      return this.refresh();
    });
    return this.#next;
  }

  async check(): Promise<void> {
    try {
      await this.#touch();
    } catch (error) {
      throw this.#failure('write', error);
    }
  }

  /** How long ago all that others had done was known here, in milliseconds. */
  get age(): number {
    return this.clock.local() - this.#freshAt;
  }

  async others(): Promise<number> {
    try {
      return (await this.#query(OTHERS, [])).rows[0].others;
    } catch (error) {
      throw this.#failure('read', error);
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#looker);
    clearInterval(this.#purger);
    await this.#flush();
    this.#isClosed = true;
    await this.#query('DELETE FROM satellite.sessions WHERE id = $1', [this.#session]).catch(() => undefined);
    const client = this.#client;
    this.#client = undefined;
    await client?.end();
    this.#rejectAll();
  }

  /** Resolves when all that waits is answered, or nobody answers. */
  #flush(): Promise<void> {
    this.#flushing ??= this.#sendAll().finally(() => {
      this.#flushing = undefined;
    });
    return this.#flushing;
  }

  async #sendAll(): Promise<void> {
    while (this.#queue.length > 0) {
      const client = this.#client;
      if (client === undefined) this.#rejectAll();
      else if (this.#sent) return;
      else await this.#send(client);
    }
  }

  async #send(client: Client): Promise<void> {
    const waiting = this.#queue.splice(0);
    this.#batch += 1;
    const batch = { number: this.#batch, waiting };
    this.#sent = batch;
    const sets = JSON.stringify(waiting.map(({ changes }) => changes));
    const size = waiting.reduce((sum, { changes }) => sum + changes.length, 0);
    const patience = PATIENCE_MS + size * PATIENCE_PER_CHANGE_MS;
    try {
      const { rows } = await this.#query(SAVE, [this.#session, batch.number, sets], patience);
      this.#settle(batch, rows[0].result);
    } catch (error) {
      if (isRefusal(error)) {
        this.#sent = undefined;
        for (const { reject } of waiting) reject(this.#failure('write', error));
      }
      // Of what the server has refused nothing was kept. Of what it has not answered only it knows: see #begin.
      if (!isRefusal(error) || isSessionOver(error)) this.#lose(client, error as Error);
    }
  }

  /** Tells everybody in a batch what has become of his change. */
  #settle({ waiting }: Batch, { seq, kept }: SaveResult): void {
    this.#sent = undefined;
    // Nothing of others has come between.
    if (seq === this.#seen + 1) this.#seen = seq;
    const refused = waiting.filter((_one, i) => !kept[i]);
    for (const [i, { resolve }] of waiting.entries()) if (kept[i]) resolve();
    if (refused.length === 0) return;
    const conflict = new ConflictError('Another satellite has changed it in the same moment; try again.');
    this.refresh().then(
      () => {
        for (const { reject } of refused) reject(conflict);
      },
      (error: Error) => {
        for (const { reject } of refused) reject(error);
      },
    );
  }

  #rejectAll(): void {
    const failure = this.#failure('write', this.#why);
    for (const { reject } of this.#queue.splice(0)) reject(failure);
  }

  /** A new connection with a session of its own. Rejects with whatever is in the way. */
  async #connect(): Promise<void> {
    const client = await connect(clientConfigs(this.#state), {
      lost: (lost, error) => this.#lose(lost, error),
      notified: (payload) => this.#hear(payload),
    });
    try {
      await within(client, PATIENCE_MS, async () => {
        await client.query(SETTINGS);
        // Once: a newer satellite may have taken the schema further since, which begin_session tells.
        if (!this.#hasSchema) await migrate(client);
        this.#hasSchema = true;
      });
      await this.#begin(client);
    } catch (error) {
      breakOff(client);
      throw error;
    }
  }

  /** Takes the place of the session before, and hears what became of its last batch. */
  async #begin(client: Client): Promise<void> {
    const last = this.#session;
    const session = randomUUID();
    const history = await this.#historyAt(client);
    const from = this.clock.local();
    const { rows } = await within(client, PATIENCE_MS, () =>
      client.query('SELECT satellite.begin_session($1, $2, $3) AS result', [
        session,
        last,
        `${hostname()} ${process.pid}`,
      ]),
    );
    const { result } = rows[0];
    checkVersion(result.version);
    this.clock.tell(result.now, from);
    this.#session = session;
    this.#client = client;
    const sent = this.#sent;
    // Taken from a backup, or a standby that may not have had everything, and have got other things since: begin anew.
    const { tables, timeline } = this.#history ?? history;
    const isAnother = history.tables !== tables || history.timeline !== timeline || result.seq < this.#seen;
    if (isAnother || result.horizon > this.#seen) this.#seen = 0;
    this.#history = history;
    if (sent !== undefined) {
      this.#sent = undefined;
      if (result.batch === sent.number) this.#settle(sent, result.result);
      else for (const { reject } of sent.waiting) reject(this.#failure('write', this.#why));
    }
    void this.#flush();
  }

  /** Rejects where it is over: what is changed here now is lost. */
  async #historyAt(client: Client): Promise<History> {
    const { rows } = await within(client, PATIENCE_MS, () => client.query(HISTORY));
    const [history] = rows as [History];
    const { tables, timeline } = this.#history ?? history;
    if (history.tables === tables && (history.timeline ?? '') < (timeline ?? ''))
      throw new Error('a standby has taken its place since, and it does not follow that one');
    return history;
  }

  #lose(client: Client, error: Error): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    breakOff(client);
    if (this.#isClosed) return;
    this.#why = error;
    this.#log({ event: 'database-away', message: this.#failure('reach', error).message });
    this.#rejectAll();
    const sent = this.#sent;
    if (sent) setTimeout(() => this.#giveUp(sent), DOUBT_MS).unref();
    void this.#reconnect();
  }

  /** Whoever waits for the answer to a batch has waited long enough. */
  #giveUp(batch: Batch): void {
    if (this.#sent !== batch) return;
    this.#sent = undefined;
    const doubt = new DoubtError(
      `The connection to ${this.name} broke off, and it is not known whether a change was kept: ${this.#why.message}.`,
    );
    for (const { reject } of batch.waiting) reject(doubt);
  }

  async #reconnect(): Promise<void> {
    for (let wait = FIRST_PAUSE_MS; !this.#isClosed; wait = Math.min(wait * 2, LONGEST_PAUSE_MS)) {
      // Not all at once, where several have lost the same server.
      await pause(wait * (0.5 + Math.random() / 2), undefined, { ref: false });
      if (this.#isClosed) return;
      try {
        await this.#connect();
        await this.refresh();
        this.#log({ event: 'database-back' });
        return;
      } catch (error) {
        // Lost again: that has begun a round of its own.
        if (this.#client) return;
        this.#why = error as Error;
      }
    }
  }

  /** A notification: the number of a transaction, and whose it was. */
  #hear(payload: string): void {
    const [seq, session] = payload.split(' ');
    if (session === this.#session || Number(seq) <= this.#seen || this.#start) return;
    this.refresh().catch(() => undefined);
  }

  async #look(): Promise<void> {
    // Whoever is asking something hears it if the database is away.
    if (this.#client === undefined || this.#start || this.#sent || this.#refreshing) return;
    const from = this.clock.local();
    try {
      const { rows } = await this.#query(LOOK, []);
      this.clock.tell(rows[0].now, from);
      if (Number(rows[0].seq) > this.#seen) await this.refresh();
      else this.#freshAt = from;
    } catch {
      // The connection is lost, which is seen to, or the server refuses to say, which the next one hears.
    }
  }

  /** Writes that this satellite is there. */
  async #touch(): Promise<void> {
    const client = this.#client;
    const { rowCount } = await this.#query(TOUCH, [this.#session]);
    if (rowCount === 1) return;
    const error = new Error('this satellite was taken for dead');
    if (client) this.#lose(client, error);
    throw error;
  }

  async #purge(): Promise<void> {
    try {
      await this.#touch();
      await this.#query('SELECT satellite.purge()', []);
    } catch {
      // There will be another time.
    }
  }

  /** Takes in everything that has been committed up to now. */
  async #catchUp(): Promise<void> {
    this.#start = undefined;
    try {
      const from = this.clock.local();
      if (this.#seen === 0) this.#tell(await this.#fetchAll());
      else for await (const page of this.#pages()) this.#tell(newsOf(page, false));
      this.#freshAt = from;
    } catch (error) {
      throw this.#failure('read', error);
    }
  }

  async #fetchAll(): Promise<News> {
    const all: Entry[] = [];
    for await (const page of this.#pages()) all.push(...page);
    return newsOf(all, true);
  }

  /** What has changed since, page by page. */
  async *#pages(): AsyncGenerator<Entry[]> {
    let place: Place = { changed: this.#seen + 1, kind: '', id: '' };
    for (;;) {
      const { rows } = await this.#query(FETCH, [place.changed, place.kind, place.id]);
      const page = rows as Entry[];
      const last = page.at(-1);
      if (last) place = { ...last, changed: Number(last.changed) };
      yield page;
      // A page that is not full ends where the newest transaction does.
      if (page.length < PAGE_ROWS) break;
    }
    if (place.kind !== '') this.#seen = Math.max(this.#seen, place.changed);
  }

  #tell(news: News): void {
    for (const listener of this.#listeners) listener(news);
  }

  /** Rejects with the server's error, or once the connection is lost. */
  #query(sql: string, values: unknown[], patience = PATIENCE_MS): Promise<QueryResult> {
    const answer = this.#turn.then(() => {
      const client = this.#client;
      if (client === undefined) throw this.#why;
      return within(client, patience, () => client.query(sql, values));
    });
    this.#turn = answer.catch(() => undefined);
    return answer;
  }

  #failure(what: string, error: unknown): StoreError {
    return storeFailure(what, this.name, error);
  }
}
