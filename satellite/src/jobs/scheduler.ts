/** One job as the scheduler shows it now. */
export interface QueuedJob {
  readonly id: string;
  readonly state: string;
  /** Place among the pending jobs of its partition that could start, 1 is next. */
  readonly position: number | null;
  /** ISO 8601, UTC. */
  readonly estimatedStart: string | null;
  readonly reason: string | null;
}

/** A scheduler's queue, or why it can't be seen at the moment: unreachable is not gone. */
export type QueueAnswer =
  | { readonly ok: true; readonly jobs: readonly QueuedJob[] }
  | { readonly ok: false; readonly why: string };

/** What became of a job that has left the queue; null if nobody knows. */
export type FinalAnswer =
  | { readonly ok: true; readonly state: string | null }
  | { readonly ok: false; readonly why: string };

export interface Scheduler {
  /** At the stop, commands under way are ended. */
  queue(stop?: AbortSignal): Promise<QueueAnswer>;
  finalState(id: string, stop?: AbortSignal): Promise<FinalAnswer>;
}
