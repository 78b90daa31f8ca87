/** A session as it stands on disk, without its secrets, and the states that it goes through. */
import * as z from 'zod/mini';
import { tunnelPlanSchema } from '../access/ssh.ts';
import { type SchedulerName, schedulerNames } from '../config/schema.ts';
import { type Access, accessWays } from '../options.ts';

/** Where Jupyter listens. */
export interface JupyterAddress {
  /** IPv4, seen from the login node; 127.0.0.1 where a tunnel ends on the node itself. */
  readonly address: string;
  readonly port: number;
  readonly node: string;
}

export type SessionState = 'submitted' | 'queued' | 'starting' | 'ready' | 'ended' | 'failed';

/** What a later version adds is kept when an earlier one writes the record. */
const recordSchema = () =>
  z.looseObject({
    id: z.string(),
    system: z.string(),
    scheduler: z.enum(schedulerNames),
    access: z.enum(accessWays),
    /** Null until the scheduler has taken the job, and where there is none. */
    jobId: z.nullable(z.string()),
    /** The cluster that the job was sent to by name. */
    cluster: z.optional(z.string()),
    /** The machine that it was submitted from. Sessions of version 0.1.0 and later have it. */
    host: z.optional(z.string()),
    /** The job script's process, where it runs without a scheduler. */
    local: z.nullable(
      z.readonly(
        z.object({
          host: z.string(),
          pid: z.int().check(z.positive()),
          /** Which start of which kernel, and among whose process numbers: see `processSpace`. Absent where nobody can tell. */
          boot: z.optional(z.string()),
          pidNamespace: z.optional(z.string()),
        }),
      ),
    ),
    /** Where Jupyter starts. */
    directory: z.string(),
    /** Null where there is no proxy: the browser comes through a tunnel. */
    manageUrl: z.nullable(z.url()),
    /** What the command of its tunnel is made of, see `access/ssh.ts`. */
    tunnel: z.optional(tunnelPlanSchema()),
    caFile: z.nullable(z.string()),
    /** Where the proxy is reached through a connection that its launch holds open. */
    manageSocket: z.optional(z.string()),
    /** The link stays when the session ends: see `sessions/kept.ts`. */
    keptLink: z.optional(z.string()),
    /** The proxy asks who visits, so that the link holds no secret. */
    gated: z._default(z.boolean(), false),
    /** The proxy wants to see the Jupyter token before anything about the link changes: others come from the same address. */
    claimed: z._default(z.boolean(), false),
    /** Seconds; null: none. */
    timeLimit: z.nullable(z.number()),
    submittedAt: z.iso.datetime(),
    /** Known once the session is over. */
    outcome: z.nullable(
      z.readonly(z.object({ state: z.enum(['ended', 'failed']), reason: z.string(), at: z.string() })),
    ),
  });

export type SessionRecord = Readonly<z.output<ReturnType<typeof recordSchema>>>;

let schema: ReturnType<typeof recordSchema> | undefined;

/**
 * A record as it was read. The schema is made for the first one.
 * @throws where it is none
 */
export function parseRecord(read: unknown): SessionRecord {
  schema ??= recordSchema();
  return schema.parse(read);
}

/** What a launch and the session commands print with `--json`. `url` is the one secret in it, where the proxy doesn't ask who visits. */
export interface SessionReport {
  readonly id: string;
  readonly system: string;
  readonly scheduler: SchedulerName;
  readonly access: Access;
  readonly jobId: string | null;
  /** Where the job was sent to a cluster by name. */
  readonly cluster?: string;
  readonly url: string | null;
  /** With access ssh: the command to paste on one's own machine, and where it ends; null until Jupyter is there. */
  readonly tunnel?: string | null;
  readonly jupyter?: (JupyterAddress & { readonly reachedFrom: 'login' | 'node' }) | null;
  readonly state: SessionState;
  readonly directory: string;
  readonly script: string;
  readonly log: string;
  readonly submittedAt: string;
  /** When the time limit ends it; null while that isn't known. */
  readonly expiresAt: string | null;
  readonly reason?: string;
}

/** A job's id, which alone is unique in one cluster only. */
export function jobWords({ jobId, cluster }: SessionRecord): string {
  return cluster === undefined ? String(jobId) : `${jobId} on the cluster ${cluster}`;
}

export function isOver(state: SessionState): state is 'ended' | 'failed' {
  return state === 'ended' || state === 'failed';
}
