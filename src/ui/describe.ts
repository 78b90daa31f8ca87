/** What a session is doing, in one sentence for a person. */
import type { Observation } from '../sessions/observe.ts';
import { jobWords } from '../sessions/session.ts';

const steps: Record<string, string> = {
  environment: 'Starting: preparing the environment',
  jupyter: 'Starting: waiting for Jupyter to answer',
  checking: 'Starting: checking that Jupyter refuses strangers',
  ready: 'Opening the site',
};

/** Slurm's most frequent reasons; see "JOB REASON CODES" in squeue(1). */
const reasons: Record<string, string> = {
  Priority: 'other jobs come first',
  Resources: 'no free node yet',
  Dependency: 'waits for another job',
  BeginTime: 'its begin time has not come',
  JobHeldUser: 'held by you',
  JobHeldAdmin: 'held by an administrator',
  Reservation: 'waits for its reservation',
  ReqNodeNotAvail: 'the nodes it wants are not available',
  PartitionDown: 'the partition is down',
  PartitionTimeLimit: 'it asks for more time than the partition allows',
  PartitionNodeLimit: 'it asks for more nodes than the partition allows',
  AssocGrpCpuLimit: "the account's CPU limit is reached",
  QOSMaxJobsPerUserLimit: 'you have as many jobs as are allowed at once',
  QOSMaxSubmitJobPerUserLimit: 'you have as many jobs as are allowed at once',
};

export function describe({ state, phase, job, reason, record }: Observation): string {
  const where = job?.kind === 'running' && job.node !== undefined ? ` (${job.node})` : '';
  if (job?.kind === 'unreachable') return `The scheduler does not answer right now: ${job.message}`;
  if (job?.kind === 'elsewhere') return `Not known on this machine; submitted from ${job.host}`;
  switch (state) {
    case 'submitted':
      return record.jobId === null ? 'Starting' : `Submitted as job ${jobWords(record)}`;
    case 'queued':
      return describeQueue(job);
    case 'starting':
      return `${describeStep(phase, record)}${where}`;
    case 'ready':
      return 'Ready';
    case 'ended':
    case 'failed':
      return reason ?? '';
  }
}

function describeStep(phase: string | undefined, { scheduler }: Observation['record']): string {
  if (phase === 'allocated')
    return `Starting: on ${scheduler === 'none' ? 'this machine' : 'the compute node'}`;
  return (phase && steps[phase]) ?? 'Starting';
}

function describeQueue(job: Observation['job']): string {
  if (job?.kind !== 'queued') return 'Waiting in the queue';
  const why = job.reason === undefined ? '' : `: ${reasons[job.reason] ?? job.reason}`;
  const when = job.estimatedStart === undefined ? '' : `; estimated start ${clock(job.estimatedStart)}`;
  return `Waiting in the queue${why}${when}`;
}

function clock(time: Date): string {
  const sameDay = time.toDateString() === new Date().toDateString();
  return time.toLocaleString('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    ...(sameDay ? {} : { weekday: 'short', day: 'numeric', month: 'short' }),
  });
}
