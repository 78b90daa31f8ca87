/**
 * Torque: qsub(1B), qstat(1B), qdel(1B) as its manuals (4.2, 6.1) describe them and its source (6.1) prints them; not
 * recorded. Commands and messages are those of PBS, requests, states and exit statuses are not.
 * Jobs are read as text. Its XML (`qstat -x`) says the same, and the text has been there in every version.
 */
import { type Attributes, parseQstat, qstatTime } from 'satellite/qstat';
import type { LaunchSpec } from '../launch-spec.ts';
import { capacityOf, mebibytes, type NodeReport } from './capacity.ts';
import { runCommand } from './command.ts';
import {
  cancel,
  complaint,
  type Ending,
  endingWith,
  heldReport,
  nodesRequest,
  outOfMemory,
  outputPath,
  qstatEnvironment,
  queuedReport,
  queueOffers,
  reportFrom,
  runningReport,
  severalQueues,
  submit,
  timeLimitReached,
  unclearReport,
  unfit,
  walltime,
} from './pbs-family.ts';
import type { JobReport, Offers, Scheduler, Unsupported, Vacancies } from './scheduler.ts';

export const torque: Scheduler = {
  title: 'Torque',
  commands: ['qsub', 'qstat', 'qdel'],
  unfit,
  unsupported,
  directives,
  submit,
  jobs,
  cancel,
  offers,
  vacancies: async (_, patience) => vacancies(patience),
  versionCommand: ['qstat', '--version'],
};

// ---- Dialect --------------------------------------------------------------------------------------------------------

/** What can't be asked of Torque. Reservations and the like belong to the scheduler that a site puts beside it. */
export function unsupported({ resources }: LaunchSpec): Unsupported | undefined {
  const foreign = (['gres', 'qos', 'constraint', 'reservation'] as const).find(
    (option) => resources[option] !== undefined,
  );
  if (foreign !== undefined)
    return {
      option: foreign,
      message: 'Torque itself has no word for this',
      hint: 'Leave it out, or give qsub the words of your site after "--", such as "-- -l advres=NAME" of Moab.',
    };
  return severalQueues(resources, 'Torque');
}

/** `#PBS` lines; what isn't asked for is left to the site's defaults. For the reasons of the first five see PBS. */
export function directives({ resources, system }: LaunchSpec, { log }: { readonly log: string }): string[] {
  const { account, partition, timeLimit, nodes, cpus, memory, gpu } = resources;
  const asksForNodes = [nodes, cpus, memory, gpu].some((wanted) => wanted !== undefined);
  return [
    '-S /bin/bash',
    // 15 characters at most, the first one a letter.
    '-N start-jupyter',
    '-j oe',
    `-o ${outputPath(log)}`,
    '-r n',
    ...(account === undefined ? [] : [`-A ${account}`]),
    ...(partition === undefined ? [] : [`-q ${partition}`]),
    ...(asksForNodes ? nodesRequest(resources, system.pbs ?? {}) : []),
    ...(timeLimit === undefined ? [] : [`-l walltime=${walltime(timeLimit)}`]),
  ].map((directive) => `#PBS ${directive}`);
}

// ---- Commands -------------------------------------------------------------------------------------------------------

/** Torque shows jobs that have ended for a while (keep_completed) and then forgets them; it has no history to ask. */
async function jobs(jobIds: readonly string[]): Promise<ReadonlyMap<string, JobReport>> {
  if (jobIds.length === 0) return new Map();
  const output = await runCommand('qstat', ['-f', ...jobIds], { env: qstatEnvironment });
  const shown = output.exitCode === undefined ? undefined : parseQstat(output.stdout);
  if (shown === undefined) {
    const unreachable: JobReport = { kind: 'unreachable', message: complaint(output) };
    return new Map(jobIds.map((id) => [id, unreachable]));
  }
  return new Map(jobIds.map((id) => [id, reportFrom({ shown, output }, id, jobReport)]));
}

async function offers(timeout?: number): Promise<Offers | { kind: 'unreachable'; message: string }> {
  const output = await runCommand('qstat', ['-Q', '-f'], { env: qstatEnvironment, timeout });
  if (output.exitCode !== 0) return { kind: 'unreachable', message: complaint(output) };
  const queues = parseQstat(output.stdout, 'queues');
  return { partitions: queues && queueOffers(queues), accounts: undefined };
}

async function vacancies(timeout: number): Promise<Vacancies | undefined> {
  const { stdout, exitCode } = await runCommand('pbsnodes', ['-a'], { env: qstatEnvironment, timeout });
  return exitCode === 0 ? parseNodes(stdout) : undefined;
}

// ---- What the commands say ------------------------------------------------------------------------------------------

/** One job's attributes; states as in qstat(1B). */
export function jobReport(attributes: Attributes): JobReport {
  const state = attributes.job_state ?? '';
  switch (state) {
    case 'Q':
    case 'W':
    case 'T':
      return queuedReport(attributes, undefined);
    case 'H':
      return heldReport(attributes);
    case 'R':
    case 'E':
    case 'S':
      return runningReport(attributes, qstatTime(attributes.start_time));
    case 'C':
      return { kind: 'ended', ...ending(attributes) };
    default:
      return unclearReport(state);
  }
}

/** Exit statuses that Torque gives a job itself (JOB_EXEC_… in pbs_job.h). */
const ownStatuses: Readonly<Record<number, Ending>> = {
  [-10]: outOfMemory,
  [-11]: timeLimitReached,
  [-12]: { failed: true, reason: "The job used up the CPU time that its queue's jobs may use." },
};

/** A job that was deleted while it waited has a status too, any that the site likes (status_cancel_queue). */
function ending(attributes: Attributes): Ending {
  const { exec_host: node, exit_status: status } = attributes;
  if (node === undefined || status === undefined)
    return { failed: false, reason: 'The job was deleted before it ran.' };
  return endingWith(Number(status), attributes, ownStatuses);
}

/** Reads the text of `pbsnodes -a`: a node's name, then its attributes, then an empty line. Which queue it is for isn't said. */
export function parseNodes(stdout: string): Vacancies | undefined {
  const nodes = stdout.split(/\n\s*\n/).flatMap((section): NodeReport[] => {
    const attribute = (name: string) => new RegExp(`^\\s+${name} = (.*)$`, 'm').exec(section)?.[1];
    const slots = Number(attribute('np'));
    if (!(slots > 0)) return [];
    const used = slotsOf(attribute('jobs') ?? '');
    const gpus = Number(attribute('gpus') ?? 0);
    const unallocated = attribute('gpu_status')?.match(/gpu_state=Unallocated/g)?.length;
    return [
      {
        usable: attribute('state') === 'free',
        idle: used === 0,
        cpus: { free: slots - used, total: slots },
        memory: mebibytes(/(?:^|,)physmem=(\w+)/.exec(attribute('status') ?? '')?.[1]),
        gpus: gpus > 0 ? [{ type: undefined, free: unallocated, total: gpus }] : [],
      },
    ];
  });
  return nodes.length === 0 ? undefined : { all: capacityOf(nodes), partitions: new Map() };
}

/** `0/12.server, 1/12.server` in older versions, `0-3,6/12.server` in newer ones. */
function slotsOf(jobs: string): number {
  const ranges = jobs.split(',').flatMap((part) => part.trim().split('/')[0] || []);
  return ranges.reduce((sum, range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return sum + (last - first + 1);
  }, 0);
}
