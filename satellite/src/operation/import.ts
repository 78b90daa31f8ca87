import { closeSync, constants, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import type { SatelliteConfig } from '../config.ts';
import { normalizeAddress } from '../gate/networks.ts';
import { isPort } from '../gate/ports.ts';
import { jobIdFrom } from '../jobs/id.ts';
import { type Log, shortToken } from '../log.ts';
import { cleanText, MAX_STATE } from '../management/text.ts';
import { openRegular } from '../regular-file.ts';
import { openStore } from '../tokens/open.ts';
import type { JobRecord, TokenRecord } from '../tokens/record.ts';
import { StoreError } from '../tokens/store.ts';
import { tokenPattern } from '../tokens/words.ts';

/** What was taken over, and what was not and why. */
export interface Imported {
  readonly pending: number;
  readonly mapped: number;
  readonly jobs: number;
  readonly leftOut: readonly string[];
}

/** SQLITE_BUSY. */
const BUSY = 5;

/** Of what is said about a row, in UTF-16 units. */
const MAX_REMARK = 200;

/** A row of the original's table `proxy`; `modified` is when it got its state. */
interface ProxyRow {
  readonly alias: string;
  readonly modified: string | number;
  readonly dsthost: string | null;
  readonly dstport: number | null;
  readonly state: string;
  readonly jobid: string | null;
}

interface JobRow {
  readonly jobid: string;
  readonly state: string;
  readonly lastseen: string | number;
}

/**
 * Takes over the sites, tokens and jobs in a `state.sqlite` of SDSC's Satellite, into the state that the configuration
 * names. What is there already stays as it is, so that it may be done again. Throws a StoreError, also while a proxy
 * uses that state.
 */
export async function importOriginal(
  file: string,
  config: SatelliteConfig,
  log: Log = () => undefined,
): Promise<Imported> {
  if (isSameFile(file, config.state))
    throw new StoreError(`${file} is the state of this satellite itself: nothing has to be imported.`);
  const { proxies, jobs } = readOriginal(file);
  const store = await openStore(config.state, log);
  try {
    const skew = store.clock.skew();
    const known = store.load();
    const knownTokens = new Set(known.tokens.map(({ token }) => token));
    const knownJobs = new Set(known.jobs.map(({ id }) => id));
    const leftOut: string[] = [];
    const records: TokenRecord[] = [];
    for (const [name, [row, ...more]] of Map.groupBy(proxies, ({ alias }) => alias)) {
      if (row === undefined || knownTokens.has(name)) continue;
      const record =
        // The original serves none of them, either.
        more.length > 0
          ? `${shortToken(String(name))}: the name is there more than once`
          : tokenOf(row, config, skew);
      if (typeof record === 'string') leftOut.push(cleanText(record, MAX_REMARK));
      else records.push(record);
    }
    const jobRecords = jobs.flatMap((row) => jobOf(row, skew) ?? []).filter(({ id }) => !knownJobs.has(id));
    const tokens = records.map((record) => ({ record, before: undefined }));
    await store.save({ tokens, jobs: jobRecords });
    const mapped = records.filter(({ state }) => state === 'mapped').length;
    return { pending: records.length - mapped, mapped, jobs: jobRecords.length, leftOut };
  } finally {
    await store.close();
  }
}

/** By whatever path. What can't be looked at is met again where it is opened, with more to say. */
function isSameFile(one: string, other: string): boolean {
  try {
    const [a, b] = [statSync(one), statSync(other)];
    return a.ino === b.ino && a.dev === b.dev;
  } catch {
    return false;
  }
}

function readOriginal(file: string): { proxies: ProxyRow[]; jobs: JobRow[] } {
  try {
    closeSync(openRegular(file, constants.O_RDONLY));
    const db = new DatabaseSync(file, { readOnly: true });
    try {
      if (db.prepare("SELECT 1 FROM pragma_table_info('tokens') WHERE name = 'redeemedAt'").get())
        throw new StoreError(
          `${file} is a state of this satellite already, not of the original. "satellite copy-state" brings one to another place.`,
        );
      // The first ones knew of no jobs.
      const knowsJobs = db.prepare("SELECT 1 FROM pragma_table_info('proxy') WHERE name = 'jobid'").get();
      const jobId = knowsJobs ? 'jobid' : 'NULL AS jobid';
      const proxies = db
        .prepare(`SELECT alias, modified, dsthost, dstport, state, ${jobId} FROM proxy`)
        .all();
      const jobs = knowsJobs ? db.prepare('SELECT jobid, state, lastseen FROM jobstates').all() : [];
      return { proxies: proxies as unknown as ProxyRow[], jobs: jobs as unknown as JobRow[] };
    } finally {
      db.close();
    }
  } catch (error) {
    if (error instanceof StoreError) throw error;
    if ((error as { errcode?: number }).errcode === BUSY)
      throw new StoreError(
        `${file} can't be read while another program uses it. Stop the original first; a state of a satellite such as this one is for "satellite copy-state".`,
      );
    throw new StoreError(`${file} is not a state of the original Satellite: ${(error as Error).message}.`);
  }
}

/** The row as a record of ours, or why not; the token is named by its first word only. */
function tokenOf(row: ProxyRow, { internalNetworks }: SatelliteConfig, skew: number): TokenRecord | string {
  const name = shortToken(String(row.alias));
  const at = time(row.modified, skew);
  if (!tokenPattern.test(row.alias)) return `${name}: its name is not a token's`;
  if (at === undefined) return `${name}: its time can't be read`;
  const record: TokenRecord = {
    token: row.alias,
    state: 'pending',
    issuedAt: at,
    redeemedAt: null,
    goneAt: null,
    goneBy: null,
    host: null,
    port: null,
    jobId: jobIdFrom(row.jobid ?? '') ?? null,
    claim: null,
    phase: null,
    reason: null,
  };
  if (row.state === 'pending') return record;
  // "proxied" is a mapped one that the original's cron job has already told Apache of.
  if (row.state !== 'mapped' && row.state !== 'proxied') return `${name}: its state is "${row.state}"`;
  const host = normalizeAddress(row.dsthost ?? '');
  if (host === undefined || !internalNetworks.contains(host))
    return `${name}: it points to ${row.dsthost}, which is not in the internal networks`;
  if (row.dstport === null) return `${name}: it has no port; a reverse tunnel can't be taken over`;
  if (!isPort(row.dstport)) return `${name}: it points to port ${row.dstport}`;
  return { ...record, state: 'mapped', redeemedAt: at, host, port: row.dstport };
}

function jobOf({ jobid, state, lastseen }: JobRow, skew: number): JobRecord | undefined {
  const id = jobIdFrom(jobid);
  const reportedAt = time(lastseen, skew);
  const word = cleanText(state, MAX_STATE);
  if (id === undefined || reportedAt === undefined || word === '') return undefined;
  return { id, state: word, position: null, estimatedStart: null, reason: null, reportedAt };
}

/** SQLite's CURRENT_TIMESTAMP, which is UTC, or seconds since the epoch, in the time of our clock. */
function time(value: string | number, skew: number): number | undefined {
  const text = String(value);
  const at = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(`${text.replace(' ', 'T')}Z`);
  // What a clock that was wrong has dated ahead would live for ever.
  return Number.isNaN(at) ? undefined : Math.min(at, Date.now()) - skew;
}
