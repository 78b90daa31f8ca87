/** A session as it stands on disk, without its secrets, and the states that it goes through. */
import type { SchedulerName } from '../config/schema.ts';
import type { Access } from '../options.ts';

export type SessionState = 'submitted' | 'queued' | 'starting' | 'ready' | 'ended' | 'failed';

export interface SessionRecord {
  readonly id: string;
  readonly system: string;
  readonly scheduler: SchedulerName;
  readonly access: Access;
  /** Null until the scheduler has taken the job, and where there is none. */
  readonly jobId: string | null;
  /** The job script's process, where it runs without a scheduler. */
  readonly local: { readonly host: string; readonly pid: number } | null;
  /** Where Jupyter starts. */
  readonly directory: string;
  readonly manageUrl: string;
  readonly caFile: string | null;
  /** Seconds; null: none. */
  readonly timeLimit: number | null;
  readonly submittedAt: string;
  /** Known once the session is over. */
  readonly outcome: {
    readonly state: 'ended' | 'failed';
    readonly reason: string;
    readonly at: string;
  } | null;
}

/** What a launch and the session commands print with `--json`. `url` is the one secret in it. */
export interface SessionReport {
  readonly id: string;
  readonly system: string;
  readonly scheduler: SchedulerName;
  readonly access: Access;
  readonly jobId: string | null;
  readonly url: string | null;
  readonly state: SessionState;
  readonly directory: string;
  readonly script: string;
  readonly log: string;
  readonly submittedAt: string;
  /** When the time limit ends it; null while that isn't known. */
  readonly expiresAt: string | null;
  readonly reason?: string;
}

export function isOver(state: SessionState): state is 'ended' | 'failed' {
  return state === 'ended' || state === 'failed';
}
