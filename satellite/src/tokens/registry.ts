import { jobStage, jobState } from '../jobs/states.ts';
import { type TokenEvent, transitions } from './machine.ts';
import type { GoneBy, JobRecord, Phase, TokenRecord, TokenState } from './record.ts';
import type { Changes, TokenStore } from './store.ts';
import { drawToken } from './words.ts';

/** What was asked of a token, done or refused. */
export type Outcome =
  | { readonly ok: true; readonly record: TokenRecord }
  | { readonly ok: false; readonly why: 'unknown' | 'gone' | 'redeemed' | 'other-host' | 'linked' };

/** One line of a job report. */
export type JobReport = Omit<JobRecord, 'reportedAt'>;

/** A record that is in memory but not in the store yet, and what it took the place of. */
interface Replaced<T> {
  readonly record: T;
  before: T | undefined;
}

/** Takes a record back that something newer stands on: should that fail too, what was before both is true. */
function undo<T>({ record, before }: Replaced<T>, uncommitted: Iterable<Replaced<T>>): void {
  for (const newer of uncommitted) if (newer.before === record) newer.before = before;
}

/** How long a page can still say why a token is gone. */
const TOMBSTONE_MS = 24 * 3600_000;
/** How long the end of a job that no token is linked to is remembered: a link may arrive after a short job's end. */
const FINISHED_JOB_MS = 3600_000;
const MAX_TIMER_MS = 60_000;

const refused = (why: Extract<Outcome, { ok: false }>['why']): Outcome => ({ ok: false, why });

/**
 * All tokens and jobs, in memory for the data path and in the store for good. Every change is committed before its
 * promise resolves and before anybody who watches hears of it.
 */
export class TokenRegistry {
  readonly #store: TokenStore;
  readonly #ttl: number;
  readonly #tokens = new Map<string, TokenRecord>();
  readonly #jobs = new Map<string, JobRecord>();
  readonly #tokensOfJob = new Map<string, Set<string>>();
  /** Mapped sites whose notebook has accepted a connection. Not stored: after a restart a site has had its chance. */
  readonly #answering = new Set<string>();
  readonly #watchers = new Map<string, Set<() => void>>();
  readonly #listeners = new Set<(record: TokenRecord) => void>();
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  readonly #uncommitted = new Set<Replaced<TokenRecord>>();
  readonly #uncommittedJobs = new Set<Replaced<JobRecord>>();
  #closed = false;
  #lastReportAt: number;

  /** `ttl` in milliseconds. `onError` hears of failures in the sweep, which nobody else waits for. */
  constructor(store: TokenStore, ttl: number, onError: (error: unknown) => void) {
    this.#store = store;
    this.#ttl = ttl;
    this.#onError = onError;
    this.#lastReportAt = store.clock.now();
    const { tokens, jobs } = store.load();
    for (const job of jobs) this.#jobs.set(job.id, job);
    for (const record of tokens) {
      this.#place(record.token, record);
      if (record.state === 'mapped') this.#answering.add(record.token);
    }
    // What ran out while nobody was looking is over before the first visitor comes.
    const now = this.now();
    const expired = tokens.filter((record) => record.state !== 'gone' && this.expiresAt(record) <= now);
    if (expired.length > 0)
      this.#commit(expired.map((record) => this.#gone(record, 'expire', 'expired'))).catch(onError);
    this.#armAt(now);
  }

  /** The record of a token, also of one that is gone but not forgotten. Its time may just be over: the sweep comes then. */
  find(token: string): TokenRecord | undefined {
    // A Map compares keys only after their full seeded hashes agree, so how long this takes says nothing about how
    // much of a guess was right.
    return this.#tokens.get(token);
  }

  /** Every token that isn't gone. */
  live(): TokenRecord[] {
    return [...this.#tokens.values()].filter(({ state }) => state !== 'gone');
  }

  /** How many tokens there are in each state. */
  counts(): Record<TokenState, number> {
    const counts = { pending: 0, mapped: 0, gone: 0 };
    for (const { state } of this.#tokens.values()) counts[state] += 1;
    return counts;
  }

  /** How long ago jobs were last reported to this process, or it was started; milliseconds. */
  get reportAge(): number {
    return this.now() - this.#lastReportAt;
  }

  /** The time that tokens live in. See Clock for how it differs from the calendar's. */
  now(): number {
    return this.#store.clock.now();
  }

  /** Resolves if the state can be written; rejects with a StoreError. */
  checkStore(): Promise<void> {
    return this.#store.check();
  }

  job(id: string | null): JobRecord | undefined {
    return id === null ? undefined : this.#jobs.get(id);
  }

  /** Jobs that a live token waits for or runs in, and that nobody has reported as finished. */
  trackedJobs(): { id: string; state: string | null }[] {
    const tracked: { id: string; state: string | null }[] = [];
    for (const [id, tokens] of this.#tokensOfJob) {
      const job = this.#jobs.get(id);
      if (job && jobStage(job) === 'finished') continue;
      for (const token of tokens) {
        if (this.#tokens.get(token)?.state === 'gone') continue;
        tracked.push({ id, state: job?.state ?? null });
        break;
      }
    }
    return tracked;
  }

  /** The same by the calendar, for people. */
  expiresByCalendar(record: TokenRecord): number {
    return this.expiresAt(record) + this.#store.clock.skew();
  }

  /** When the token expires, or is forgotten if it is gone; in the time of now(). */
  expiresAt(record: TokenRecord): number {
    if (record.state === 'gone') return (record.goneAt ?? record.issuedAt) + TOMBSTONE_MS;
    const since = record.redeemedAt ?? record.issuedAt;
    const job = this.job(record.jobId);
    // While the job lives the reporter mentions it now and then, which carries the token along.
    const alive = job && jobStage(job) !== 'finished' ? job.reportedAt : 0;
    return Math.max(since, alive) + this.#ttl;
  }

  /** True once the notebook behind a mapped token has accepted a connection. */
  isAnswering(token: string): boolean {
    return this.#answering.has(token);
  }

  markAnswering(token: string): void {
    if (this.#answering.has(token) || this.#tokens.get(token)?.state !== 'mapped') return;
    this.#answering.add(token);
    this.#notify(token);
  }

  /** Calls back at every change of a token or its job until the returned function is called. */
  watch(token: string, callback: () => void): () => void {
    const set = this.#watchers.get(token) ?? new Set();
    this.#watchers.set(token, set.add(callback));
    return () => {
      set.delete(callback);
      if (set.size === 0 && this.#watchers.get(token) === set) this.#watchers.delete(token);
    };
  }

  /** Calls back with every token that was issued or mapped or is gone, once that is committed. */
  onTransition(listener: (record: TokenRecord) => void): void {
    this.#listeners.add(listener);
  }

  /** A new pending token. */
  async issue(): Promise<TokenRecord> {
    let token = drawToken();
    while (this.#tokens.has(token)) token = drawToken();
    const record: TokenRecord = {
      token,
      state: 'pending',
      issuedAt: this.now(),
      redeemedAt: null,
      goneAt: null,
      goneBy: null,
      host: null,
      port: null,
      jobId: null,
      phase: null,
      reason: null,
    };
    await this.#commit([record]);
    return record;
  }

  /** Points the site at host and port, once. */
  async redeem(token: string, host: string, port: number): Promise<Outcome> {
    const record = this.#current(token);
    if (record === undefined) return refused('unknown');
    if (record.state === 'gone') return refused('gone');
    if (!can(record, 'redeem')) return refused('redeemed');
    return this.#change({ ...record, state: 'mapped', redeemedAt: this.now(), host, port });
  }

  /**
   * Counts the time of a mapped token anew: whoever redeemed it lives. For sessions that no scheduler reports, such as one at
   * the other end of an ssh connection.
   */
  async renew(token: string, byHost: string): Promise<Outcome> {
    const record = this.#current(token);
    if (record === undefined) return refused('unknown');
    if (record.state === 'gone') return refused('gone');
    if (record.host !== byHost) return refused('other-host');
    return this.#change({ ...record, redeemedAt: this.now() });
  }

  /** Gives a token back. A mapped one belongs to the host that redeemed it. */
  async destroy(token: string, byHost: string): Promise<Outcome> {
    const record = this.#current(token);
    if (record === undefined) return refused('unknown');
    if (record.host !== null && record.host !== byHost) return refused('other-host');
    if (record.goneBy === 'destroyed') return refused('gone');
    return this.#change(this.#gone(record, 'destroy', 'destroyed'));
  }

  /**
   * Ties a token to a job, once; again for the same job is fine. A mapped token's link may still come from the login
   * host that submitted the job, but ends it at once only in the hands of the host that redeemed it.
   */
  async link(token: string, jobId: string, byHost: string): Promise<Outcome> {
    const record = this.#current(token);
    if (record === undefined) return refused('unknown');
    if (record.jobId === jobId) return { ok: true, record };
    if (record.jobId !== null) return refused('linked');
    if (record.state === 'gone') return refused('gone');
    const linked: TokenRecord = { ...record, jobId };
    const job = this.#jobs.get(jobId);
    if (job === undefined || jobStage(job) !== 'finished') return this.#change(linked);
    if (record.host !== null && record.host !== byHost) return refused('other-host');
    return this.#change(this.#endedByJob(linked, job));
  }

  /**
   * Notes how far the session's start has come, or why it is over. Where the scheduler's report has ended the token, the
   * job's own last words may come after it, once.
   */
  async setPhase(token: string, byHost: string, phase: Phase, reason: string | null): Promise<Outcome> {
    const record = this.#current(token);
    if (record === undefined) return refused('unknown');
    if (record.host !== null && record.host !== byHost) return refused('other-host');
    if (record.phase === phase && record.reason === reason) return { ok: true, record };
    const last = phase === 'ended' || phase === 'failed';
    if (record.state === 'gone' && !(last && this.#hasOnlyVerdict(record))) return refused('gone');
    return this.#change({ ...record, phase, reason });
  }

  /** Takes in a report: a delta, so that jobs it doesn't mention stay as they were. */
  async reportJobs(reports: readonly JobReport[]): Promise<void> {
    const reportedAt = this.now();
    const jobs: JobRecord[] = [];
    const ended: TokenRecord[] = [];
    const touched = new Set<string>();
    for (const report of reports) {
      const job: JobRecord = { ...report, reportedAt };
      jobs.push(job);
      for (const token of this.#tokensOfJob.get(job.id) ?? []) {
        const record = this.#current(token);
        if (record === undefined || record.state === 'gone') continue;
        if (jobStage(job) === 'finished') ended.push(this.#endedByJob(record, job));
        else touched.add(token);
      }
    }
    await this.#commit(ended, jobs);
    this.#lastReportAt = reportedAt;
    for (const token of touched) this.#notify(token);
  }

  /** Stops the sweep and writes what waits. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#store.close();
  }

  /** A record whose time isn't over; an expired one that the sweep hasn't met yet counts as gone already. */
  #current(token: string): TokenRecord | undefined {
    const record = this.#tokens.get(token);
    if (record === undefined || this.now() < this.expiresAt(record)) return record;
    return record.state === 'gone' ? undefined : this.#gone(record, 'expire', 'expired');
  }

  #gone(record: TokenRecord, event: TokenEvent, goneBy: GoneBy): TokenRecord {
    const state = transitions[record.state][event];
    if (state === undefined) throw new Error(`a token that is ${record.state} can't ${event}`);
    return { ...record, state, goneBy, goneAt: record.goneAt ?? this.now() };
  }

  #endedByJob(record: TokenRecord, job: JobRecord): TokenRecord {
    const gone = this.#gone(record, 'job-ended', 'job');
    // What the job itself said is nearer to the truth than the scheduler's generic words.
    if (gone.phase === 'failed' || gone.phase === 'ended') return gone;
    return { ...gone, ...verdict(job, record.redeemedAt !== null) };
  }

  /** Does the page of a token that is gone have nothing better than the scheduler's word? */
  #hasOnlyVerdict(record: TokenRecord): boolean {
    const job = this.job(record.jobId);
    if (record.goneBy !== 'job' || job === undefined) return false;
    const { phase, reason } = verdict(job, record.redeemedAt !== null);
    return record.phase === phase && record.reason === reason;
  }

  async #change(record: TokenRecord): Promise<Outcome> {
    await this.#commit([record]);
    return { ok: true, record };
  }

  async #commit(
    tokens: readonly TokenRecord[],
    jobs: readonly JobRecord[] = [],
    forget: Changes = {},
  ): Promise<void> {
    // In memory at once, so that a second request in the same turn sees the first one's doing.
    const replaced = tokens.map((record) => ({ record, before: this.#tokens.get(record.token) }));
    const replacedJobs = jobs.map((job) => ({ record: job, before: this.#jobs.get(job.id) }));
    for (const record of tokens) this.#place(record.token, record);
    for (const job of jobs) this.#jobs.set(job.id, job);
    for (const one of replaced) this.#uncommitted.add(one);
    for (const one of replacedJobs) this.#uncommittedJobs.add(one);
    try {
      await this.#store.save({ tokens, jobs, ...forget });
    } catch (error) {
      for (const one of replaced) {
        if (this.#tokens.get(one.record.token) === one.record) this.#place(one.record.token, one.before);
        else undo(one, this.#uncommitted);
      }
      for (const one of replacedJobs) {
        if (this.#jobs.get(one.record.id) !== one.record) undo(one, this.#uncommittedJobs);
        else if (one.before) this.#jobs.set(one.record.id, one.before);
        else this.#jobs.delete(one.record.id);
      }
      throw error;
    } finally {
      for (const one of replaced) this.#uncommitted.delete(one);
      for (const one of replacedJobs) this.#uncommittedJobs.delete(one);
    }
    for (const { record, before } of replaced) {
      if (record.state !== before?.state) {
        if (record.state === 'gone') this.#answering.delete(record.token);
        for (const listener of this.#listeners) listener(record);
      }
      this.#notify(record.token);
      this.#armAt(this.expiresAt(record));
    }
  }

  /** Puts a record where it belongs, in the place of the token's old one, or takes that away. */
  #place(token: string, record: TokenRecord | undefined): void {
    const oldJob = this.#tokens.get(token)?.jobId ?? null;
    const newJob = record?.jobId ?? null;
    if (record) this.#tokens.set(token, record);
    else this.#tokens.delete(token);
    if (oldJob === newJob) return;
    if (oldJob !== null) {
      const set = this.#tokensOfJob.get(oldJob);
      set?.delete(token);
      if (set?.size === 0) this.#tokensOfJob.delete(oldJob);
    }
    if (newJob !== null) {
      const set = this.#tokensOfJob.get(newJob) ?? new Set();
      this.#tokensOfJob.set(newJob, set.add(token));
    }
  }

  #notify(token: string): void {
    for (const callback of this.#watchers.get(token) ?? []) callback();
  }

  #armAt(time: number): void {
    if (this.#closed || time >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = time;
    const delay = Math.min(Math.max(time - this.now(), 50), MAX_TIMER_MS);
    this.#timer = setTimeout(() => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.#sweep().catch(this.#onError);
    }, delay).unref();
  }

  async #sweep(): Promise<void> {
    const now = this.now();
    let next = now + MAX_TIMER_MS;
    const expired: TokenRecord[] = [];
    const forgetTokens: string[] = [];
    for (const record of this.#tokens.values()) {
      const at = this.expiresAt(record);
      if (at > now) next = Math.min(next, at);
      else if (record.state === 'gone') forgetTokens.push(record.token);
      else expired.push(this.#gone(record, 'expire', 'expired'));
    }
    const forgetJobs: string[] = [];
    for (const job of this.#jobs.values()) {
      const linked = this.#tokensOfJob.has(job.id);
      const keep = jobStage(job) === 'finished' && !linked ? FINISHED_JOB_MS : this.#ttl + TOMBSTONE_MS;
      if (job.reportedAt + keep < now) forgetJobs.push(job.id);
    }
    this.#armAt(next);
    if (expired.length + forgetTokens.length + forgetJobs.length === 0) return;
    await this.#commit(expired, [], { forgetTokens, forgetJobs });
    for (const token of forgetTokens) this.#place(token, undefined);
    for (const id of forgetJobs) this.#jobs.delete(id);
  }
}

/** What the end of a job says about its session. */
function verdict(job: JobRecord, wasMapped: boolean): Pick<TokenRecord, 'phase' | 'reason'> {
  const state = jobState(job.state);
  if (state?.clean && wasMapped) return { phase: 'ended', reason: state.text };
  const reason = state?.bare ? 'The job ended before Jupyter was ready.' : (state?.text ?? null);
  return { phase: 'failed', reason };
}

function can(record: TokenRecord, event: TokenEvent): boolean {
  return transitions[record.state][event] !== undefined;
}
