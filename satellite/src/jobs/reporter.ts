import { lookup } from 'node:dns';
import { readFileSync } from 'node:fs';
import type { LookupFunction } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { getCACertificates } from 'node:tls';
import { Agent, request } from 'undici';
import * as z from 'zod';
import { ConfigError } from '../config.ts';
import { fileFault } from '../file-fault.ts';
import type { Log } from '../log.ts';
import { jobIdFrom } from './id.ts';
import type { QueuedJob, Scheduler } from './scheduler.ts';
import { jobState } from './states.ts';

export interface ReporterOptions {
  readonly scheduler: Scheduler;
  /** The proxy's management host. */
  readonly to: URL;
  /** Trusted beside the system's authorities. */
  readonly caFile?: string;
  readonly log: Log;
}

/** Why a report didn't come through. */
export interface ReportFailure {
  readonly by: 'scheduler' | 'proxy';
  readonly message: string;
}

const JOBS_PER_POST = 2000;
/** Everything is told again this often: a job that nobody mentions loses its token in the end. */
const REFRESH_MS = 10 * 60_000;
/** Each costs the scheduler a call: after an outage the rest waits its turn. */
const ASKED_PER_ROUND = 100;
const LONGEST_PAUSE_MS = 15_000;
/** Between two reports the proxy, which is cheaper to ask than the scheduler, is asked this often for new sessions. */
const LOOK_MS = 2000;
const TIMEOUT_MS = 30_000;
/** Bytes that a proxy may answer: more than all the jobs of a centre are. */
const MAX_ANSWER = 32 * 1024 * 1024;

const trackedSchema = z.array(z.object({ id: z.string(), state: z.string().nullable() }));

/** Posts what changed in a scheduler's queue to a proxy. */
export class JobReporter {
  readonly #scheduler: Scheduler;
  readonly #jobsUrl: URL;
  readonly #agent: Agent;
  readonly #log: Log;
  /** What the proxy has been told, by job. */
  #told = new Map<string, string>();
  /** By a clock that nobody sets. */
  #refreshAt = 0;
  /** Jobs that somebody waits for and that no report has had in it, as of the last look. */
  #awaited = new Set<string>();

  /** Throws a ConfigError where the CA file can't be read. */
  constructor({ scheduler, to, caFile, log }: ReporterOptions) {
    this.#scheduler = scheduler;
    this.#jobsUrl = new URL('/api/v1/jobs', to);
    this.#log = log;
    const ca = [...getCACertificates('default'), ...getCACertificates('system')];
    if (caFile !== undefined) ca.push(readCa(caFile));
    this.#agent = new Agent({
      connect: { ca, timeout: TIMEOUT_MS, lookup: lookupLocalhost },
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
    });
  }

  /**
   * Looks at the queue once and posts what changed since the last time. Resolves to why not, if it couldn't.
   * @param stop ends the scheduler's command that is under way; of what isn't known by then nothing is said
   */
  async report(stop?: AbortSignal): Promise<ReportFailure | undefined> {
    const refresh = performance.now() >= this.#refreshAt;
    // Before the scheduler is asked: a job that comes while it still lists the others is missing in its list.
    const tracked = refresh ? await this.#tracked().catch((error: Error) => error) : [];
    const answer = await this.#scheduler.queue(stop);
    if (!answer.ok) return { by: 'scheduler', message: `the scheduler does not answer: ${answer.why}` };
    const told = refresh ? new Map<string, string>() : this.#told;
    const now = new Map<string, string>();
    const changed: QueuedJob[] = [];
    for (const given of answer.jobs) {
      const id = jobIdFrom(given.id);
      // Nobody can have linked a token to it.
      if (id === undefined) continue;
      // A newer scheduler may have words that the proxy would not take.
      const state = jobState(given.state) === undefined ? 'UNKNOWN' : given.state;
      const job = { ...given, id, state };
      const text = JSON.stringify(job);
      now.set(job.id, text);
      if (told.get(job.id) !== text) changed.push(job);
    }
    try {
      if (tracked instanceof Error) throw tracked;
      // What was seen before and, after a start or an hour of failures, what the proxy still waits for.
      const expected = new Set([...this.#told.keys(), ...tracked.map(({ id }) => id)]);
      let asked = 0;
      for (const id of expected) {
        if (now.has(id) || isOver(this.#told.get(id))) continue;
        asked += 1;
        const final =
          asked > ASKED_PER_ROUND || stop?.aborted
            ? { ok: false as const }
            : await this.#scheduler.finalState(id, stop);
        if (!final.ok || stop?.aborted) {
          // Keep it on the list: the next round asks again.
          now.set(id, this.#told.get(id) ?? '');
          continue;
        }
        changed.push({
          id,
          state: final.state ?? 'GONE',
          position: null,
          estimatedStart: null,
          reason: null,
        });
      }
      for (let i = 0; i < changed.length; i += JOBS_PER_POST)
        await this.#post(changed.slice(i, i + JOBS_PER_POST));
    } catch (error) {
      // Nothing is remembered as told, so that the next round tells all of it.
      this.#refreshAt = 0;
      return {
        by: 'proxy',
        message: `${this.#jobsUrl} does not take the report: ${(error as Error).message}`,
      };
    }
    this.#told = now;
    if (refresh) this.#refreshAt = performance.now() + REFRESH_MS;
    if (changed.length > 0)
      this.#log({ event: 'reported', jobs: changed.length, inQueue: answer.jobs.length });
    return undefined;
  }

  /**
   * Reports every `interval` milliseconds until told to stop; less often while something doesn't answer, and sooner when
   * a visitor has begun to wait for a job that no report has had in it.
   */
  async run(interval: number, stop: AbortSignal): Promise<void> {
    let wait = interval;
    while (!stop.aborted) {
      const failure = await this.report(stop);
      if (failure && !stop.aborted) this.#log({ event: 'report-failed', ...failure });
      wait = failure ? Math.min(wait * 2, Math.max(interval, LONGEST_PAUSE_MS)) : interval;
      const until = performance.now() + wait;
      for (let left = wait; left > 0 && !stop.aborted; left = until - performance.now()) {
        await pause(Math.min(left, LOOK_MS), undefined, { signal: stop }).catch(() => undefined);
        if (!failure && !stop.aborted && (await this.#isNewJobAwaited())) break;
      }
    }
  }

  close(): Promise<void> {
    return this.#agent.close();
  }

  /** Is there one more since the last look? What is wrong with the proxy, if anything is, the next report will say. */
  async #isNewJobAwaited(): Promise<boolean> {
    const before = this.#awaited;
    try {
      const unreported = (await this.#tracked()).filter(({ state }) => state === null);
      this.#awaited = new Set(unreported.map(({ id }) => id));
    } catch {
      return false;
    }
    return [...this.#awaited].some((id) => !before.has(id));
  }

  async #tracked(): Promise<z.output<typeof trackedSchema>> {
    const { statusCode, body } = await request(this.#jobsUrl, { dispatcher: this.#agent });
    const text = await wholeText(body);
    if (statusCode !== 200) throw new Error(`it says ${statusCode}: ${text.trim().slice(0, 200)}`);
    // They become arguments of the scheduler's commands.
    return trackedSchema.parse(JSON.parse(text)).filter(({ id }) => jobIdFrom(id) === id);
  }

  async #post(jobs: readonly QueuedJob[]): Promise<void> {
    const { statusCode, body } = await request(this.#jobsUrl, {
      dispatcher: this.#agent,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(jobs),
    });
    const text = await wholeText(body);
    if (statusCode !== 200) throw new Error(`it says ${statusCode}: ${text.trim().slice(0, 200)}`);
  }
}

/** Rejects where it has no end. */
async function wholeText(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > MAX_ANSWER) throw new Error('its answer is too long to be one');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** Was this the last thing to tell about a job? */
function isOver(told: string | undefined): boolean {
  if (!told) return false;
  return jobState((JSON.parse(told) as QueuedJob).state)?.stage === 'finished';
}

function readCa(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError(`the CA file can't be read: ${fileFault(error)}`);
  }
}

/** RFC 6761 section 6.3: names below localhost are this machine, also where the system's resolver doesn't know. */
const lookupLocalhost: LookupFunction = (hostname, options, callback) => {
  lookup(/(^|\.)localhost\.?$/.test(hostname) ? 'localhost' : hostname, options, callback as never);
};
