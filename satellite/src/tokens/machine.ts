import type { TokenState } from './record.ts';

export type TokenEvent = 'redeem' | 'destroy' | 'expire' | 'job-ended';

/**
 * The life of a token. What isn't in the table isn't possible. `gone` still takes `destroy`: the exit trap of a job
 * often gives its token back after the scheduler's report has already ended it, and is right to do so.
 */
export const transitions: Readonly<Record<TokenState, Readonly<Partial<Record<TokenEvent, TokenState>>>>> = {
  pending: { redeem: 'mapped', destroy: 'gone', expire: 'gone', 'job-ended': 'gone' },
  mapped: { destroy: 'gone', expire: 'gone', 'job-ended': 'gone' },
  gone: { destroy: 'gone' },
};
