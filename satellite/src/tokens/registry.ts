import { jobStage } from '../jobs/states.ts';
import { isProven } from './claim.ts';
import { type TokenEvent, transitions } from './machine.ts';
import type { GoneBy, JobRecord, Phase, TokenRecord, TokenState } from './record.ts';
import { type Changes, ConflictError, type News, retried, type TokenStore } from './store.ts';
import { verdict } from './verdict.ts';
import { drawToken } from './words.ts';

/** What was asked of a token, done or refused. */
export type Outcome =
  | { readonly ok: true; readonly record: TokenRecord }
  | {
      readonly ok: false;
      readonly why: 'unknown' | 'gone' | 'redeemed' | 'other-host' | 'linked' | 'not-yours';
    };

/** One line of a job report. */
export type JobReport = Omit<JobRecord, 'reportedAt'>;

/** How long a page can still say why a token is gone. */
const TOMBSTONE_MS = 24 * 3600_000;
/** How long the end of a job that no token is linked to is remembered: a link may arrive after a short job's end. */
const FINISHED_JOB_MS = 3600_000;
const MAX_TIMER_MS = 60_000;

const refused = (why: Extract<Outcome, { ok: false }>['why']): Outcome => ({ ok: false, why });

/**
 * All tokens and jobs, in memory for the data path and in the store for good. Every change is committed before its
 * promise resolves and before anybody sees it. Where other proxies share the store, what they change is taken in as they
 * commit it; who was faster has won, and the other one looks again at what he wanted. A token that was issued with a claim
 * is changed only by who proves it with the Jupyter token.
 */
export class TokenRegistry {
  readonly #store: TokenStore;
  readonly #ttl: number;
  readonly #tokens = new Map<string, TokenRecord>();
  readonly #jobs = new Map<string, JobRecord>();
  readonly #tokensOfJob = new Map<string, Set<string>>();
  /** Mapped sites whose notebook has accepted a connection. Not stored: after a restart a site has had its chance. */
  readonly #answering = new Set<string>();
  /** What is being written, for a second request that comes before it is. */
  readonly #tokensAhead = new Map<string, TokenRecord>();
  readonly #jobsAhead = new Map<string, JobRecord>();
  readonly #watchers = new Map<string, Set<() => void>>();
  readonly #listeners = new Set<(record: TokenRecord, isOurs: boolean) => void>();
  readonly #onError: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
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
    store.follow((news) => this.#adopt(news));
    this.#armAt(this.now());
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

  /** For how long nothing may have been heard of what other proxies do, in milliseconds. */
  get newsAge(): number {
    return this.#store.age;
  }

  /** Resolves if the state can be written; rejects with a StoreError. */
  checkStore(): Promise<void> {
    return this.#store.check();
  }

  /**
   * For a name that isn't known: resolves once whatever other proxies have done by now is known here, too, and rejects
   * with a StoreError where that can't be. Undefined where nobody else can know it.
   */
  askOthers(): Promise<void> | undefined {
    return this.#store.isShared ? this.#store.refresh() : undefined;
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

  /** Calls back with every token that was issued or mapped or is gone, once that is committed, here or elsewhere. */
  onTransition(listener: (record: TokenRecord, isOurs: boolean) => void): void {
    this.#listeners.add(listener);
  }

  /** A new pending token; `claim` says who may change anything about it, beside the other rules. */
  issue(claim: string | null = null): Promise<TokenRecord> {
    return retried(() => this.#issue(claim));
  }

  async #issue(claim: string | null): Promise<TokenRecord> {
    let token = drawToken();
    while (this.#latest(token)) token = drawToken();
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
      claim,
      phase: null,
      reason: null,
    };
    await this.#commit([record]);
    return record;
  }

  /** Points the site at host and port, once. */
  redeem(token: string, host: string, port: number, jupyterToken?: string): Promise<Outcome> {
    return retried(async () => {
      const record = this.#current(token);
      if (record === undefined) return refused('unknown');
      if (!isProven(record, jupyterToken)) return refused('not-yours');
      if (record.state === 'gone') return refused('gone');
      if (!can(record, 'redeem')) return refused('redeemed');
      return this.#change({ ...record, state: 'mapped', redeemedAt: this.now(), host, port });
    });
  }

  /**
   * Counts the time of a mapped token anew: whoever redeemed it lives. For sessions that no scheduler reports, such as one at
   * the other end of an ssh connection.
   */
  renew(token: string, byHost: string, jupyterToken?: string): Promise<Outcome> {
    return retried(async () => {
      const record = this.#current(token);
      if (record === undefined) return refused('unknown');
      if (!isProven(record, jupyterToken)) return refused('not-yours');
      if (record.state === 'gone') return refused('gone');
      if (record.host !== byHost) return refused('other-host');
      return this.#change({ ...record, redeemedAt: this.now() });
    });
  }

  /** Gives a token back. A mapped one belongs to the host that redeemed it. */
  destroy(token: string, byHost: string, jupyterToken?: string): Promise<Outcome> {
    return retried(async () => {
      const record = this.#current(token);
      if (record === undefined) return refused('unknown');
      if (!isProven(record, jupyterToken)) return refused('not-yours');
      if (record.host !== null && record.host !== byHost) return refused('other-host');
      if (record.goneBy === 'destroyed') return refused('gone');
      return this.#change(this.#gone(record, 'destroy', 'destroyed'));
    });
  }

  /**
   * Ties a token to a job, once; again for the same job is fine. A mapped token's link may still come from the login
   * host that submitted the job, but ends it at once only in the hands of the host that redeemed it.
   */
  link(token: string, jobId: string, byHost: string, jupyterToken?: string): Promise<Outcome> {
    return retried(async () => {
      const record = this.#current(token);
      if (record === undefined) return refused('unknown');
      if (!isProven(record, jupyterToken)) return refused('not-yours');
      if (record.jobId === jobId) return { ok: true, record };
      if (record.jobId !== null) return refused('linked');
      if (record.state === 'gone') return refused('gone');
      const linked: TokenRecord = { ...record, jobId };
      const job = this.#jobsAhead.get(jobId) ?? this.#jobs.get(jobId);
      if (job === undefined || jobStage(job) !== 'finished') return this.#change(linked);
      if (record.host !== null && record.host !== byHost) return refused('other-host');
      return this.#change(this.#endedByJob(linked, job));
    });
  }

  /**
   * Notes how far the session's start has come, or why it is over. Where the scheduler's report has ended the token, the
   * job's own last words may come after it, once.
   */
  setPhase(
    token: string,
    byHost: string,
    phase: Phase,
    reason: string | null,
    jupyterToken?: string,
  ): Promise<Outcome> {
    return retried(async () => {
      const record = this.#current(token);
      if (record === undefined) return refused('unknown');
      if (!isProven(record, jupyterToken)) return refused('not-yours');
      if (record.host !== null && record.host !== byHost) return refused('other-host');
      if (record.phase === phase && record.reason === reason) return { ok: true, record };
      const last = phase === 'ended' || phase === 'failed';
      if (record.state === 'gone' && !(last && this.#hasOnlyVerdict(record))) return refused('gone');
      return this.#change({ ...record, phase, reason });
    });
  }

  /** Takes in a report: a delta, so that jobs it doesn't mention stay as they were. */
  reportJobs(reports: readonly JobReport[]): Promise<void> {
    return retried(async () => {
      const reportedAt = this.now();
      const jobs: JobRecord[] = [];
      const ended: TokenRecord[] = [];
      for (const report of reports) {
        const job: JobRecord = { ...report, reportedAt };
        jobs.push(job);
        if (jobStage(job) === 'finished') ended.push(...this.#endedBy(job));
      }
      await this.#commit(ended, jobs);
      this.#lastReportAt = Math.max(this.#lastReportAt, reportedAt);
    });
  }

  /** Stops the sweep and writes what waits. */
  close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    return this.#store.close();
  }

  /** The record that a change builds on, committed or about to be. */
  #latest(token: string): TokenRecord | undefined {
    return this.#tokensAhead.get(token) ?? this.#tokens.get(token);
  }

  /** A record whose time isn't over; an expired one that the sweep hasn't met yet counts as gone already. */
  #current(token: string): TokenRecord | undefined {
    const record = this.#latest(token);
    if (record === undefined || this.now() < this.expiresAt(record)) return record;
    return record.state === 'gone' ? undefined : this.#gone(record, 'expire', 'expired');
  }

  #gone(record: TokenRecord, event: TokenEvent, goneBy: GoneBy): TokenRecord {
    const state = transitions[record.state][event];
    if (state === undefined) throw new Error(`a token that is ${record.state} can't ${event}`);
    return { ...record, state, goneBy, goneAt: record.goneAt ?? this.now() };
  }

  /** The tokens that are over with this job, as they will be then. */
  #endedBy(job: JobRecord): TokenRecord[] {
    return [...(this.#tokensOfJob.get(job.id) ?? [])].flatMap((token) => {
      const record = this.#current(token);
      return record === undefined || record.state === 'gone' ? [] : [this.#endedByJob(record, job)];
    });
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
    const replacements = tokens.map((record) => ({ record, before: this.#latest(record.token) }));
    // Known to what follows in the same turn, and to nobody else.
    for (const record of tokens) this.#tokensAhead.set(record.token, record);
    for (const job of jobs) this.#jobsAhead.set(job.id, job);
    try {
      await this.#store.save({ tokens: replacements, jobs, ...forget });
    } finally {
      for (const record of tokens)
        if (this.#tokensAhead.get(record.token) === record) this.#tokensAhead.delete(record.token);
      for (const job of jobs) if (this.#jobsAhead.get(job.id) === job) this.#jobsAhead.delete(job.id);
    }
    this.#take(tokens, jobs, true);
  }

  /** What another proxy has committed. */
  #adopt({ tokens, jobs, forgotten, isWhole }: News): void {
    if (isWhole)
      this.#forgetOthers(new Set(tokens.map(({ token }) => token)), new Set(jobs.map(({ id }) => id)));
    const changed = tokens.filter((record) => !isSame(record, this.#tokens.get(record.token)));
    this.#take(changed, jobs, false);
    for (const { kind, id } of forgotten) {
      if (kind === 'token') this.#place(id, undefined);
      else if (kind === 'job') this.#jobs.delete(id);
    }
  }

  /** The state was restored to something older, or much was forgotten while it was away. */
  #forgetOthers(tokens: ReadonlySet<string>, jobs: ReadonlySet<string>): void {
    for (const [token, record] of this.#tokens) {
      if (tokens.has(token)) continue;
      this.#place(token, undefined);
      // Nothing may lead to it any more.
      if (record.state !== 'gone')
        for (const listener of this.#listeners) listener(this.#gone(record, 'expire', 'expired'), false);
      this.#answering.delete(token);
      this.#notify(token);
    }
    for (const id of this.#jobs.keys()) if (!jobs.has(id)) this.#jobs.delete(id);
  }

  /** Puts what is committed where everybody sees it, and tells those who watch. */
  #take(tokens: readonly TokenRecord[], jobs: readonly JobRecord[], isOurs: boolean): void {
    const touched = new Set<string>();
    for (const job of jobs) {
      this.#jobs.set(job.id, job);
      this.#lastReportAt = Math.max(this.#lastReportAt, job.reportedAt);
      for (const token of this.#tokensOfJob.get(job.id) ?? []) touched.add(token);
    }
    for (const record of tokens) {
      const before = this.#tokens.get(record.token);
      this.#place(record.token, record);
      touched.add(record.token);
      if (record.state !== before?.state) {
        if (record.state === 'gone') this.#answering.delete(record.token);
        for (const listener of this.#listeners) listener(record, isOurs);
      }
      this.#armAt(this.expiresAt(record));
    }
    for (const token of touched) this.#notify(token);
    this.#endOverdue(touched);
  }

  /** One of two proxies took the link, the other the report of the job's end: neither could know that the token is over. */
  #endOverdue(tokens: Iterable<string>): void {
    for (const token of tokens) {
      const record = this.#tokens.get(token);
      const job = this.job(record?.jobId ?? null);
      if (record === undefined || record.state === 'gone' || job === undefined) continue;
      if (jobStage(job) !== 'finished' || this.#tokensAhead.has(token)) continue;
      retried(async () => {
        const ended = this.#endedBy(job);
        if (ended.length > 0) await this.#commit(ended);
      }).catch(this.#onError);
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
      this.sweep().catch((error: unknown) => {
        // What has run out is still to be ended.
        this.#armAt(this.now() + MAX_TIMER_MS);
        this.#onError(error);
      });
    }, delay).unref();
  }

  /** Ends what has run out, and forgets what is long over. Rejects with a StoreError. */
  async sweep(): Promise<void> {
    // Somebody else may have heard of a job that we think forgotten.
    await this.#store.refresh();
    const now = this.now();
    let next = now + MAX_TIMER_MS;
    const expired: TokenRecord[] = [];
    const forgetTokens: TokenRecord[] = [];
    for (const record of this.#tokens.values()) {
      const at = this.expiresAt(record);
      if (at > now) next = Math.min(next, at);
      else if (this.#tokensAhead.has(record.token)) next = now;
      else if (record.state === 'gone') forgetTokens.push(record);
      else expired.push(this.#gone(record, 'expire', 'expired'));
    }
    const forgetJobs: JobRecord[] = [];
    for (const job of this.#jobs.values()) {
      const linked = this.#tokensOfJob.has(job.id);
      const keep = jobStage(job) === 'finished' && !linked ? FINISHED_JOB_MS : this.#ttl + TOMBSTONE_MS;
      if (job.reportedAt + keep < now && !this.#jobsAhead.has(job.id)) forgetJobs.push(job);
    }
    this.#armAt(next);
    if (expired.length + forgetTokens.length + forgetJobs.length === 0) return;
    try {
      await this.#commit(expired, [], { forgetTokens, forgetJobs });
    } catch (error) {
      // Another proxy has done the same, or something else with one of them: what is left comes next time.
      if (!(error instanceof ConflictError)) throw error;
      this.#armAt(now);
      return;
    }
    for (const { token } of forgetTokens) this.#place(token, undefined);
    for (const { id } of forgetJobs) this.#jobs.delete(id);
  }
}

function can(record: TokenRecord, event: TokenEvent): boolean {
  return transitions[record.state][event] !== undefined;
}

function isSame(a: TokenRecord, b: TokenRecord | undefined): boolean {
  const keys = Object.keys(a) as (keyof TokenRecord)[];
  return b !== undefined && keys.every((key) => a[key] === b[key]);
}
