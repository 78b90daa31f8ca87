import type { StateClock } from './clock.ts';
import type { JobRecord, TokenRecord } from './record.ts';

/** A record, and what it takes the place of: undefined where there is nothing yet. */
export interface Replacement<T> {
  readonly record: T;
  readonly before: T | undefined;
}

/**
 * Changes that belong together: all of them are kept, or none. Where others write, too, they are kept only if everything
 * that they replace or forget is still what is there. What is reported of a job replaces anything.
 */
export interface Changes {
  readonly tokens?: readonly Replacement<TokenRecord>[];
  readonly jobs?: readonly JobRecord[];
  readonly forgetTokens?: readonly TokenRecord[];
  readonly forgetJobs?: readonly JobRecord[];
  readonly secrets?: readonly Replacement<SecretRecord>[];
  readonly forgetSecrets?: readonly SecretRecord[];
}

/** Something that only who has the proxy's keys can read. */
export interface SecretRecord {
  readonly kind: SecretKind;
  readonly id: string;
  readonly sealed: Uint8Array;
}

/**
 * `code`: leads from signing in to a site. `check`: tells whether all have the same keys. `settings`, which alone isn't sealed:
 * whether they have the same settings.
 */
export type SecretKind = 'access' | 'sign-in' | 'code' | 'check' | 'settings';

/** What others have changed, or all there is: then what isn't in it has been forgotten. */
export interface News {
  readonly isWhole: boolean;
  readonly tokens: readonly TokenRecord[];
  readonly jobs: readonly JobRecord[];
  readonly secrets: readonly SecretRecord[];
  readonly forgotten: readonly { readonly kind: 'token' | 'job' | SecretKind; readonly id: string }[];
}

/** Where tokens outlive the process. */
export interface TokenStore {
  /** As it may be logged. */
  readonly name: string;
  /** Do other proxies write to it, too? */
  readonly isShared: boolean;
  /** The time that the records are in. */
  readonly clock: StateClock;
  /** What was there when it was opened. News of what came later begins with the first refresh. */
  load(): { tokens: TokenRecord[]; jobs: JobRecord[] };
  loadSecrets(kind: SecretKind): SecretRecord[];
  /** Resolves once the changes would survive a power cut; rejects with a StoreError, which may be a ConflictError. */
  save(changes: Changes): Promise<void>;
  /** Calls back with what others change from now on. */
  follow(listener: (news: News) => void): void;
  /** How long ago everything that others had done was known here, in milliseconds. */
  readonly age: number;
  /** Resolves once everything that others had changed when it was called is known here; rejects with a StoreError. */
  refresh(): Promise<void>;
  /** Resolves if a change could be saved now; rejects with a StoreError. */
  check(): Promise<void>;
  /** How many others are connected to it, of those that can be seen; rejects with a StoreError. */
  others(): Promise<number>;
  /** Writes what waits, then closes. */
  close(): Promise<void>;
}

/** The state could not be read or written. Nothing that was answered before is lost. */
export class StoreError extends Error {
  override name = 'StoreError';
}

/** Something else is there than the changes were made for; what it is, is known here by now. Nothing was changed. */
export class ConflictError extends StoreError {
  override name = 'ConflictError';
}

/** Whether the changes were kept is not known: the answer got lost. */
export class DoubtError extends StoreError {
  override name = 'DoubtError';
}

/** Enough for all who could want the same thing at once. */
const MAX_TRIES = 50;

/** Does it again, with what is there by then, for as long as somebody else was faster. */
export async function retried<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof ConflictError) || tries === MAX_TRIES) throw error;
    }
  }
}
