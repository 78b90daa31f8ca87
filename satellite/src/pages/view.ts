import { jobStage, jobState, waitingReason } from '../jobs/states.ts';
import type { Phase, TokenRecord } from '../tokens/record.ts';
import type { TokenRegistry } from '../tokens/registry.ts';
import { verdict } from '../tokens/verdict.ts';

export const steps = ['allocated', 'environment', 'jupyter', 'checking'] as const;
export type Step = (typeof steps)[number];

/** What a visitor's page has to show. Times are milliseconds since the epoch; `since` is when it was asked for. */
export type View =
  | { readonly kind: 'waiting'; readonly since: number }
  | {
      readonly kind: 'queued';
      readonly since: number;
      readonly jobId: string;
      /** Null where the scheduler's first report is still to come. */
      readonly state: string | null;
      readonly position: number | null;
      readonly estimatedStart: number | null;
      readonly reason: string | null;
    }
  | {
      readonly kind: 'starting';
      readonly since: number;
      readonly step: Step;
      readonly jobId: string | null;
    }
  | { readonly kind: 'live' }
  | { readonly kind: 'ended'; readonly jobId: string | null; readonly reason: string | null }
  | {
      readonly kind: 'failed';
      readonly jobId: string | null;
      readonly reason: string | null;
      readonly wasLive: boolean;
    };

/** What there is to show about a token. */
export function viewOf(registry: TokenRegistry, record: TokenRecord): View {
  const { state, phase, reason, jobId, issuedAt: since } = record;
  if (state === 'mapped' && registry.isAnswering(record.token)) return { kind: 'live' };
  if (phase === 'failed' || phase === 'ended') return endOf(record, phase, reason);
  if (state === 'gone') return endWithoutWords(registry, record);
  if (state === 'mapped') return { kind: 'starting', since, step: 'checking', jobId };
  if (phase !== null) return { kind: 'starting', since, step: phase, jobId };
  if (jobId === null) return { kind: 'waiting', since };
  const job = registry.job(jobId);
  if (job && jobStage(job) === 'running') return { kind: 'starting', since, step: 'allocated', jobId };
  return {
    kind: 'queued',
    since,
    jobId,
    state: job ? (jobState(job.state)?.text ?? job.state) : null,
    position: job?.position ?? null,
    estimatedStart: job?.estimatedStart ?? null,
    reason: waitingReason(job?.reason ?? null) ?? null,
  };
}

function endOf(
  { jobId, redeemedAt }: TokenRecord,
  phase: Phase | null,
  reason: string | null,
): Extract<View, { kind: 'ended' | 'failed' }> {
  if (phase === 'failed') return { kind: 'failed', jobId, reason, wasLive: redeemedAt !== null };
  return { kind: 'ended', jobId, reason };
}

/** The job has given its token back and not said why, or could not: the scheduler may have the word by now. */
function endWithoutWords(registry: TokenRegistry, record: TokenRecord): View {
  if (record.goneBy === 'expired') return endOf(record, 'ended', expired(record));
  const job = registry.job(record.jobId);
  if (job === undefined || jobStage(job) !== 'finished') return endOf(record, 'ended', null);
  const { phase, reason } = verdict(job, record.redeemedAt !== null);
  return endOf(record, phase, reason);
}

function expired({ redeemedAt }: TokenRecord): string {
  return redeemedAt === null
    ? 'Nothing was started at this address in time.'
    : 'The time that this address was given out for is over.';
}
