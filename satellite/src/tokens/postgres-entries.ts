import type { JobRecord, TokenRecord } from './record.ts';
import type { Changes, News, SecretKind, SecretRecord } from './store.ts';

/** What an entry of `satellite.entries` is. */
export type Kind = 'token' | 'job' | SecretKind;

/** A row of `satellite.entries`. */
export interface Entry {
  readonly kind: Kind;
  readonly id: string;
  /** The record; of a secret what is sealed, in Base64; null for what was removed. */
  readonly value: TokenRecord | JobRecord | string | null;
  readonly changed: string;
}

/** What `satellite.save` is told of one entry. */
export interface Change {
  readonly kind: Kind;
  readonly id: string;
  readonly value: unknown;
  /** What must be there; null for nothing. */
  readonly before?: unknown;
  /** Whatever is there. */
  readonly blind?: true;
}

/** What `satellite.save` is told, all or nothing of it. */
export function changesOf({
  tokens = [],
  jobs = [],
  forgetTokens = [],
  forgetJobs = [],
  secrets = [],
  forgetSecrets = [],
}: Changes): Change[] {
  return [
    ...tokens.map(({ record, before = null }) => entry('token', record.token, record, before)),
    ...forgetTokens.map((record) => entry('token', record.token, null, record)),
    ...jobs.map((job) => ({ kind: 'job' as const, id: job.id, value: job, blind: true as const })),
    ...forgetJobs.map((job) => entry('job', job.id, null, job)),
    ...secrets.map(({ record, before }) => entry(record.kind, record.id, text(record), text(before))),
    ...forgetSecrets.map((record) => entry(record.kind, record.id, null, text(record))),
  ];
}

function entry(kind: Kind, id: string, value: unknown, before: unknown): Change {
  return { kind, id, value, before };
}

function text(record: SecretRecord | undefined): string | null {
  return record === undefined ? null : Buffer.from(record.sealed).toString('base64');
}

/** What entries say; `isWhole` where they are all there are. */
export function newsOf(entries: readonly Entry[], isWhole: boolean): News {
  const tokens: TokenRecord[] = [];
  const jobs: JobRecord[] = [];
  const secrets: SecretRecord[] = [];
  const forgotten: { kind: Kind; id: string }[] = [];
  for (const { kind, id, value } of entries) {
    if (value === null) forgotten.push({ kind, id });
    else if (kind === 'token') tokens.push(value as TokenRecord);
    else if (kind === 'job') jobs.push(value as JobRecord);
    else secrets.push({ kind, id, sealed: Buffer.from(value as string, 'base64') });
  }
  return { tokens, jobs, secrets, forgotten, isWhole };
}
