import { jobStage, jobState, waitingReason } from '../jobs/states.ts';
import type { TokenRecord } from '../tokens/record.ts';
import type { TokenRegistry } from '../tokens/registry.ts';

export const steps = ['allocated', 'environment', 'jupyter', 'checking'] as const;
export type Step = (typeof steps)[number];

/** What a visitor's page has to show. Times are milliseconds since the epoch. */
export type View =
  | { readonly kind: 'waiting' }
  | {
      readonly kind: 'queued';
      readonly jobId: string;
      readonly state: string;
      readonly position: number | null;
      readonly estimatedStart: number | null;
      readonly reason: string | null;
    }
  | { readonly kind: 'starting'; readonly step: Step; readonly jobId: string | null }
  | { readonly kind: 'live' }
  | { readonly kind: 'ended'; readonly reason: string | null }
  | { readonly kind: 'failed'; readonly reason: string | null; readonly wasLive: boolean };

/** What there is to show about a token. */
export function viewOf(registry: TokenRegistry, record: TokenRecord): View {
  const { state, phase, reason, jobId } = record;
  if (state === 'mapped' && registry.isAnswering(record.token)) return { kind: 'live' };
  if (phase === 'failed') return { kind: 'failed', reason, wasLive: record.redeemedAt !== null };
  if (phase === 'ended') return { kind: 'ended', reason };
  if (state === 'gone') {
    return {
      kind: 'ended',
      reason: record.goneBy === 'expired' ? 'Its time was over.' : null,
    };
  }
  if (state === 'mapped') return { kind: 'starting', step: 'checking', jobId };
  if (phase !== null) return { kind: 'starting', step: phase, jobId };
  const job = registry.job(jobId);
  if (jobId === null || job === undefined) return { kind: 'waiting' };
  if (jobStage(job) === 'running') return { kind: 'starting', step: 'allocated', jobId };
  return {
    kind: 'queued',
    jobId,
    state: jobState(job.state)?.text ?? job.state,
    position: job.position,
    estimatedStart: job.estimatedStart,
    reason: waitingReason(job.reason) ?? null,
  };
}
