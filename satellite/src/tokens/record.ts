/** Steps of a session's start in their order, then the two ways in which it is over. */
export const phases = ['allocated', 'environment', 'jupyter', 'checking', 'ended', 'failed'] as const;
export type Phase = (typeof phases)[number];

export type TokenState = 'pending' | 'mapped' | 'gone';

/** Why a token is gone. */
export type GoneBy = 'destroyed' | 'expired' | 'job';

/** Everything known about one token. Immutable; times are in milliseconds, as the registry's now() tells it. */
export interface TokenRecord {
  readonly token: string;
  readonly state: TokenState;
  readonly issuedAt: number;
  readonly redeemedAt: number | null;
  readonly goneAt: number | null;
  readonly goneBy: GoneBy | null;
  /** Where the site points: the address that redeemed the token, and the port it gave. */
  readonly host: string | null;
  readonly port: number | null;
  readonly jobId: string | null;
  /** Where only who knows its Jupyter token may change anything: what that is known by. */
  readonly claim: string | null;
  readonly phase: Phase | null;
  /** Why the session ended or failed, in words for people. */
  readonly reason: string | null;
}

/** What was last reported about one job of the scheduler. Times are in milliseconds. */
export interface JobRecord {
  readonly id: string;
  /** As reported. */
  readonly state: string;
  /** Place among the pending jobs of its partition, 1 is next. */
  readonly position: number | null;
  /** By the scheduler's own clock, since the epoch. */
  readonly estimatedStart: number | null;
  /** The scheduler's reason for the state, as reported. */
  readonly reason: string | null;
  /** As the registry's now() told it. */
  readonly reportedAt: number;
}
