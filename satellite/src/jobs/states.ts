import type { JobRecord } from '../tokens/record.ts';

/** Where a job is in its life, as far as a token cares. */
export type JobStage = 'waiting' | 'running' | 'finished';

interface JobState {
  /** Left out where nobody can say, which is no reason to end anything. */
  readonly stage?: JobStage;
  /** For waiting and running: what to show. For finished: why, as a sentence. */
  readonly text: string;
  /** A live session that ends so has ended; any other finish is a failure. */
  readonly clean?: true;
  /** Says nothing about why a session that never was live has ended. */
  readonly bare?: true;
}

/**
 * Slurm's job states, compact and long (squeue(1), "JOB STATE CODES"). Long names are looked up without underscores,
 * since the original's reporting script strips them.
 */
const slurm: readonly [compact: string, long: string, state: JobState][] = [
  ['PD', 'PENDING', { stage: 'waiting', text: 'Waiting in the queue' }],
  ['CF', 'CONFIGURING', { stage: 'waiting', text: 'The compute node is being made ready' }],
  ['RD', 'RESV_DEL_HOLD', { stage: 'waiting', text: 'Held: its reservation was deleted' }],
  ['RF', 'REQUEUE_FED', { stage: 'waiting', text: 'Being queued again by the federation' }],
  ['RH', 'REQUEUE_HOLD', { stage: 'waiting', text: 'Queued again, and held' }],
  ['RQ', 'REQUEUED', { stage: 'waiting', text: 'Queued again' }],
  ['SE', 'SPECIAL_EXIT', { stage: 'waiting', text: 'Queued again after a special exit, and held' }],
  ['R', 'RUNNING', { stage: 'running', text: 'Running' }],
  // Not finished yet: the job's own last words may still come.
  ['CG', 'COMPLETING', { stage: 'running', text: 'Coming to its end' }],
  ['RS', 'RESIZING', { stage: 'running', text: 'Changing its size' }],
  ['SI', 'SIGNALING', { stage: 'running', text: 'Being signalled' }],
  ['SO', 'STAGE_OUT', { stage: 'running', text: 'Moving its files out' }],
  ['ST', 'STOPPED', { stage: 'running', text: 'Stopped by a signal' }],
  ['S', 'SUSPENDED', { stage: 'running', text: 'Suspended by the scheduler' }],
  ['CD', 'COMPLETED', { stage: 'finished', text: 'The job has ended.', clean: true, bare: true }],
  ['CA', 'CANCELLED', { stage: 'finished', text: 'The job was cancelled.', clean: true }],
  ['TO', 'TIMEOUT', { stage: 'finished', text: 'The time limit was reached.', clean: true }],
  ['DL', 'DEADLINE', { stage: 'finished', text: 'The job reached its deadline.', clean: true }],
  ['OOM', 'OUT_OF_MEMORY', { stage: 'finished', text: 'The job ran out of memory.' }],
  ['F', 'FAILED', { stage: 'finished', text: 'The job failed.' }],
  ['NF', 'NODE_FAIL', { stage: 'finished', text: 'The compute node failed.' }],
  ['BF', 'BOOT_FAIL', { stage: 'finished', text: 'The compute node could not be started.' }],
  ['LF', 'LAUNCH_FAILED', { stage: 'finished', text: 'The job could not be started on its compute node.' }],
  [
    'RCF',
    'RECONFIG_FAIL',
    { stage: 'finished', text: 'The compute node could not be reconfigured for the job.' },
  ],
  [
    'PR',
    'PREEMPTED',
    { stage: 'finished', text: 'The job was preempted by one with a higher priority.', clean: true },
  ],
  [
    'RV',
    'REVOKED',
    { stage: 'finished', text: 'The job was started on another cluster of the federation.', clean: true },
  ],
  // Not Slurm's word but report-jobs's, for a job that has left the queue and the accounting.
  [
    'GONE',
    'GONE',
    { stage: 'finished', text: 'The job is no longer in the queue.', clean: true, bare: true },
  ],
];

const held: JobState = { stage: 'waiting', text: 'Held' };
const waiting: JobState = { stage: 'waiting', text: 'Waiting in the queue' };
const running: JobState = { stage: 'running', text: 'Running' };
const suspended: JobState = { stage: 'running', text: 'Suspended by the scheduler' };
const leaving: JobState = { stage: 'running', text: 'Coming to its end' };
const inError: JobState = { stage: 'waiting', text: 'In error, and held' };
const unsure: JobState = { text: 'Its state is not known at the moment' };
const ended: JobState = { stage: 'finished', text: 'The job has ended.', clean: true, bare: true };

/**
 * What the reporting scripts of other schedulers may send: qstat(1B) of PBS and Torque, bjobs(1) of LSF. Where they say
 * the same as Slurm it isn't repeated. PBS's F is any end, Slurm's is a failure:
 * report-jobs says which.
 */
const others: Readonly<Record<string, JobState>> = {
  Q: waiting,
  W: waiting,
  T: waiting,
  H: held,
  B: running,
  E: leaving,
  C: ended,
  U: suspended,
  PEND: waiting,
  WAIT: waiting,
  PROV: { stage: 'waiting', text: 'Its compute node is being woken up' },
  PSUSP: held,
  RUN: running,
  USUSP: suspended,
  SSUSP: suspended,
  // Killed while its host could not be reached.
  ZOMBI: leaving,
  DONE: ended,
  EXIT: { stage: 'finished', text: 'The job failed.' },
  // LSF has lost sight of the job's host.
  UNKWN: unsure,
  // Of report-jobs, for a word of the scheduler's that isn't known here.
  UNKNOWN: unsure,
  // Flags of Slurm's that have no compact form (https://slurm.schedmd.com/job_state_codes.html).
  POWERUPNODE: { stage: 'waiting', text: 'The compute node is being made ready' },
  UPDATEDB: leaving,
};

/**
 * sge_status(5), where letters that differ in their case only mean different things. Left out are T, PBS's word for a job
 * that moves between servers, and RS, which Slurm has for another that runs.
 */
const gridEngine: readonly [reported: string, state: JobState][] = [
  ['qw Rq', waiting],
  ['hqw hRwq hRqw', held],
  ['Eqw Ehqw EhRqw', inError],
  ['r hr t Rr Rt', running],
  ['s ts S tS tT Rs Rts RtS RT RtT', suspended],
  ['dr dt dRr dRt ds dts dS dtS dT dtT dRs dRS dRT dqw dhqw dEqw', leaving],
  ['z', ended],
];

const states = new Map<string, JobState>(Object.entries(others));
for (const [compact, long, state] of slurm) {
  states.set(compact, state);
  states.set(long.replaceAll('_', ''), state);
}

const caseMatters = new Map(
  gridEngine.flatMap(([reported, state]) => reported.split(' ').map((word) => [word, state] as const)),
);
for (const [word, state] of caseMatters) {
  if (!states.has(word.toUpperCase())) states.set(word.toUpperCase(), state);
}

/** What a reported state means; undefined for one that nobody has told us about, which is no reason to end anything. */
export function jobState(reported: string): JobState | undefined {
  // Looked up for every token at every sweep, and nearly always spelled like this.
  const known = states.get(reported);
  if (known) return known;
  // sacct prints "CANCELLED by 1000", and cuts long names with a "+".
  const word = reported.trim().split(/[\s+]/, 1)[0] ?? '';
  return caseMatters.get(word) ?? states.get(word.toUpperCase().replaceAll('_', ''));
}

export function jobStage(job: JobRecord): JobStage | undefined {
  return jobState(job.state)?.stage;
}

/** Slurm's reasons for a job that waits (squeue(1), "JOB REASON CODES"), in words for people. */
const waitingReasons: readonly [pattern: RegExp, text: string][] = [
  [/^Priority$/, 'Jobs with a higher priority are ahead of it.'],
  [/^Resources$/, 'It is next, and waits for resources to become free.'],
  [/^Dependency/, 'It waits for another job.'],
  [/^BeginTime$/, 'Its earliest start time has not come yet.'],
  [/^JobHeldUser$/, 'You are holding it; "scontrol release" lets it go.'],
  [/^JobHeld(Admin)?$/, 'An administrator is holding it.'],
  [/^Licenses$/, 'It waits for a licence.'],
  [/^Reservation$/, 'It waits for its reservation to begin.'],
  [/^ReservationDeleted$/, 'Its reservation was deleted.'],
  [/^(ReqNodeNotAvail|Nodes?Down|.*DOWN.*DRAINED)/, 'The nodes it needs are down, drained or reserved.'],
  [/^PartitionTimeLimit$/, 'It asks for more time than its partition allows.'],
  [/^PartitionNodeLimit$/, 'It asks for more nodes than its partition allows.'],
  [/^Partition(Down|Inactive|Config)/, 'Its partition takes no jobs at the moment.'],
  [/^BadConstraints$/, 'No node can meet what it asks for.'],
  [/^InvalidAccount$/, 'Its account is not valid.'],
  [/^InvalidQOS$/, 'Its QOS is not valid.'],
  [
    /^(QOS|Assoc|Association|MaxJobs|MaxCpu|MaxMem|MaxTRES|MaxGRES|MaxNode|Grp)/i,
    'A limit of your account or QOS holds it back.',
  ],
  [/^(Prolog|Burst|Cleaning|ReqNode|NodeBoot|Boot)/, 'Its node is being made ready.'],
];

/** Why a job waits, as a sentence; the scheduler's own word in it where there is no better one; undefined for no reason. */
export function waitingReason(reported: string | null): string | undefined {
  const reason = reported?.trim().replace(/^\((.*)\)$/, '$1') ?? '';
  if (reason === '' || reason === 'None') return undefined;
  const known = waitingReasons.find(([pattern]) => pattern.test(reason));
  return known ? `${known[1]} (${reason})` : `The scheduler says: ${reason}.`;
}
