/** The contract of a scheduler. Each is one file: its dialect as data, the commands it runs, pure functions that read their output. */
import type { LaunchSpec } from '../launch-spec.ts';
import type { OptionKey } from '../options.ts';
import type { System } from '../systems/system.ts';
import type { Unfit } from './arguments.ts';
import type { Capacity } from './capacity.ts';

export interface JobScript {
  readonly file: string;
  /** What is in it. */
  readonly text: string;
}

export type SubmitOutcome =
  | {
      readonly kind: 'submitted';
      readonly jobId: string;
      /** Where the job was sent to another cluster, or to one by name: every later question about it goes there. */
      readonly cluster?: string;
    }
  | {
      readonly kind: 'rejected';
      readonly message: string;
      /** The options that it may be about, where that is known. */
      readonly about?: readonly OptionKey[] | undefined;
    }
  /** It ended well and named no job, or named one and failed, or was killed: perhaps it has taken one. */
  | {
      readonly kind: 'unclear';
      readonly message: string;
      /** The job that it named all the same. */
      readonly jobId?: string;
    }
  | { readonly kind: 'unreachable'; readonly message: string };

/** What is known of one job. *Unreachable* is not *gone*: nothing may be concluded from it. */
export type JobReport =
  | {
      readonly kind: 'queued';
      /** The scheduler's own word for why it waits, such as `Resources`. */
      readonly reason: string | undefined;
      /** The scheduler's estimate, never a promise. */
      readonly estimatedStart: Date | undefined;
    }
  | {
      readonly kind: 'running';
      readonly node: string | undefined;
      readonly startedAt: Date | undefined;
      readonly endsAt: Date | undefined;
    }
  | { readonly kind: 'ended'; readonly failed: boolean /** In people's words. */; readonly reason: string }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'unreachable'; readonly message: string };

/** The reason of a job of which a scheduler knows no more than that its script came to an end by itself. */
export const endedByItself = 'The job ended.';

export type CancelOutcome =
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'gone' }
  | { readonly kind: 'refused'; readonly message: string }
  | { readonly kind: 'unreachable'; readonly message: string };

/** What the scheduler lets this user ask for; undefined where it doesn't say. */
export interface Offers {
  readonly partitions:
    | readonly {
        readonly name: string;
        readonly available: boolean;
        readonly maxSeconds: number | undefined;
        readonly isDefault: boolean;
      }[]
    | undefined;
  readonly accounts: readonly string[] | undefined;
}

/** What the nodes have and how much of it is free at the moment, for people who choose. */
export interface Vacancies {
  readonly all: Capacity;
  /** Of the partitions whose nodes the scheduler names; the others' are anywhere. */
  readonly partitions: ReadonlyMap<string, Capacity>;
  /** Partitions that are not for every account. */
  readonly access?: ReadonlyMap<string, AccountAccess>;
}

/** Which accounts may use a partition: these only, or all but these. */
export interface AccountAccess {
  readonly kind: 'only' | 'allBut';
  readonly accounts: readonly string[];
}

/** What users may ask for, and what there is for them; a limit that is undefined is none. For `doctor`. */
export interface Policy {
  /** What each user may charge; undefined where there is no accounting that would say. */
  readonly associations: readonly Association[] | undefined;
  /** By user: the account of a job that names none. */
  readonly defaultAccounts: ReadonlyMap<string, string>;
  /** By account: limits on all of its jobs together, whoever's they are. */
  readonly groupLimits: ReadonlyMap<string, GroupLimit>;
  readonly qualities: readonly Quality[];
  readonly partitions: readonly PartitionPolicy[];
  /** Undefined where none was asked about, null where there is none of that name. */
  readonly reservation: Reservation | null | undefined;
  /** Those of the reservation, else of the partition. */
  readonly nodes: readonly Node[];
}

export interface Association {
  readonly user: string;
  readonly account: string;
  /** Undefined: any. */
  readonly partition: string | undefined;
  readonly qualities: readonly string[];
  readonly maxJobs: number | undefined;
  readonly maxSubmit: number | undefined;
  /** Seconds. */
  readonly maxSeconds: number | undefined;
}

export interface GroupLimit {
  /** That run at the same time; others wait. */
  readonly jobs: number | undefined;
  /** That are known at the same time; others are refused. */
  readonly submitted: number | undefined;
}

/** A quality of service; its group limits are those of all of its jobs together. */
export interface Quality {
  readonly name: string;
  readonly maxJobs: number | undefined;
  readonly maxSubmit: number | undefined;
  /** Seconds. */
  readonly maxSeconds: number | undefined;
  readonly groupJobs: number | undefined;
}

/** Who is let in; undefined: everybody. */
export interface PartitionPolicy {
  readonly name: string;
  readonly isDefault: boolean;
  readonly nodes: string;
  readonly access: AccountAccess | undefined;
  readonly qualities: readonly string[] | undefined;
  readonly groups: readonly string[] | undefined;
  readonly needsReservation: boolean;
}

export interface Reservation {
  readonly name: string;
  readonly start: Date;
  readonly end: Date;
  readonly nodes: string;
  readonly partition: string | undefined;
  /** Names that are let in, of each kind that is given; with a minus before them, names that are kept out. */
  readonly users: readonly string[];
  readonly accounts: readonly string[];
  readonly groups: readonly string[];
}

export interface Node {
  readonly name: string;
  /** False where it takes no jobs at the moment: down, drained, failing. */
  readonly available: boolean;
  readonly cpus: number;
  /** MiB */
  readonly memory: number;
  readonly gpus: number;
}

export interface Findings {
  /** Partitions whose nodes have GPUs. */
  readonly gpuPartitions?: readonly string[];
  /** Grid Engine's; see sge_pe(5). */
  readonly parallelEnvironments?: readonly string[];
}

/** A setting that a scheduler has no words for. */
export interface Unsupported {
  readonly option: OptionKey;
  /** Completes "-g, --gpu: …". */
  readonly message: string;
  /** What to do instead. */
  readonly hint: string;
}

/** The first of these settings, for which only Slurm has words, that is asked for. */
export function wordOfSlurm(
  resources: LaunchSpec['resources'],
  options: readonly ('gres' | 'qos' | 'constraint')[],
  { title, submit }: { readonly title: string /** The command. */; readonly submit: string },
): Unsupported | undefined {
  const option = options.find((name) => resources[name] !== undefined);
  return (
    option && {
      option,
      message: `this is a word of Slurm, and the system has ${title}`,
      hint: `Leave it out, or give ${submit} words of its own after "--".`,
    }
  );
}

export interface Scheduler {
  readonly title: string;
  /** Commands that must be on PATH. */
  readonly commands: readonly string[];
  /** Those of these arguments that can't be passed on, in their order. */
  unfit(schedulerArguments: readonly string[]): readonly Unfit[];
  /** The first setting that can't be asked of this scheduler, or not of this system's; undefined where all can. */
  unsupported(spec: LaunchSpec): Unsupported | undefined;
  /** Directive lines of the job script. */
  directives(spec: LaunchSpec, files: { readonly log: string }): string[];
  /**
   * @param script is called for before it is there: what takes a while and submits nothing may be begun meanwhile. Where it
   *   never comes, the launch is over, and with it the commands that it has started.
   */
  submit(script: Promise<JobScript>, extraArguments: readonly string[]): Promise<SubmitOutcome>;
  /** The clusters that these arguments send a job to; undefined where they leave it at this one. Slurm's alone have names. */
  clusters?(schedulerArguments: readonly string[]): string | undefined;
  /**
   * This user's jobs in the queue, by the path of their log; undefined while it can't be reached.
   * @param patience milliseconds
   */
  jobsByLog?(patience?: number): Promise<ReadonlyMap<string, string> | undefined>;
  /** Reports on several jobs of one cluster with as few commands as the scheduler needs. */
  jobs(jobIds: readonly string[], cluster?: string): Promise<ReadonlyMap<string, JobReport>>;
  cancel(jobId: string, cluster?: string): Promise<CancelOutcome>;
  /**
   * @param patience milliseconds for each command, where somebody waits for the answer
   * @param clusters those that a job is sent to
   * @param launch whose account alone somebody asks about, if it has one: the accounting can be slow to name all
   */
  offers(
    patience?: number,
    clusters?: string,
    launch?: { readonly account?: string | undefined },
  ): Promise<Offers | { readonly kind: 'unreachable'; readonly message: string }>;
  /**
   * What is free; undefined where the scheduler doesn't say.
   * @param patience milliseconds
   */
  vacancies(system: System, patience: number): Promise<Vacancies | undefined>;
  /** Prints what this is and its version. */
  readonly versionCommand?: readonly [command: string, ...args: string[]];
  /** What these users may do with a partition and a reservation. */
  policy?(
    users: readonly string[],
    wanted: Pick<LaunchSpec['resources'], 'account' | 'partition' | 'reservation'>,
  ): Promise<Policy | { readonly kind: 'unreachable'; readonly message: string }>;
  /** What a description of the system can hold beside what is offered; what it doesn't say is left out. */
  findings?(): Promise<Findings>;
}
