/**
 * A stand-in for PBS: `stand-in.ts COMMAND STATE-DIRECTORY ARGUMENT…`. It runs jobs, holds them to their walltime, and
 * answers as an OpenPBS 23.06 was recorded (test/recordings/openpbs-23.06). What is in no recording and in no manual
 * ends with status 99 and a line in the file "unrecorded".
 */

import { Refusal } from '../stand-in/job-files.ts';
import { deleteJob, mom, schedule } from './mom.ts';
import {
  estimates,
  jobAttributes,
  jsonAnswer,
  nodes,
  queueAttributes,
  table,
  text,
  torqueJobAttributes,
} from './print.ts';
import { qsub } from './qsub.ts';
import { type Job, now, State } from './state.ts';

const [command = '', directory = '', ...args] = process.argv.slice(2);
const state = new State(directory);
const isTorque = state.settings.flavour === 'torque';
const asTyped = [command, ...args].join(' ');

const commands: Readonly<Record<string, () => unknown>> = {
  qsub: () => reached() && qsub(state, args),
  qstat: isTorque ? torqueQstat : qstat,
  qdel,
  qrls,
  pbsnodes: () =>
    reached() && args.join(' ') === '-a -F json'
      ? process.stdout.write(jsonAnswer(state, { nodes: nodes(state) }))
      : state.unrecorded(asTyped),
  mom: () => mom(state, args[0] as string),
};

try {
  await (commands[command] ?? (() => state.unrecorded(asTyped)))();
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = error.exitCode;
}

/** Not recorded; as cnt2server.c, qstat.c and qdel.c say it. */
function reached(): true {
  const { down, server } = state.settings;
  if (!down) return true;
  throw new Refusal(
    command === 'qdel'
      ? `Couldn't connect to cluster: ${server}`
      : `Connection refused\n${command}: cannot connect to server ${server} (errno=111)`,
    command === 'qstat' ? 255 : 111,
  );
}

function qstat(): void {
  const line = args.join(' ');
  if (line === '--version') {
    process.stdout.write('pbs_version = 23.06.06\n');
    return;
  }
  reached();
  const { queues } = state.settings;
  if (line === '-Q -f -F json') {
    const all = Object.keys(queues).map((name) => [name, Object.fromEntries(queueAttributes(state, name))]);
    printJson({ Queue: Object.fromEntries(all) });
    return;
  }
  const [, options = '', ids = ''] =
    /^((?:-x )?-f(?: -F json)?|-T|(?=\d))((?: ?\d[\w.-]*)+)$/.exec(line) ?? state.unrecorded(asTyped);
  const found = ids
    .trim()
    .split(' ')
    .map((id) => statusOf(id, options.includes('-x')));
  const jobs = found.filter((job): job is Job => typeof job === 'object');
  if (options.includes('json')) {
    const shown = jobs.map((job) => [job.id, Object.fromEntries(jobAttributes(state, job))]);
    printJson(jobs.length === 0 ? {} : { Jobs: Object.fromEntries(shown) });
  } else if (options.includes('-f')) {
    for (const job of jobs) process.stdout.write(text(`Job Id: ${job.id}`, jobAttributes(state, job)));
  } else if (jobs.length > 0) {
    process.stdout.write(options === '-T' ? estimates(jobs, state) : table(jobs, state));
  }
  process.exitCode = found.findLast((job) => typeof job === 'number') ?? 0;
}

/** `qstat -f ID…` and `qstat -Q -f` of Torque: text only, and jobs that have ended for as long as they are kept. */
function torqueQstat(): void {
  const line = args.join(' ');
  reached();
  if (line === '-Q -f') {
    for (const name of Object.keys(state.settings.queues))
      process.stdout.write(text(`Queue: ${name}`, queueAttributes(state, name)));
    return;
  }
  const [, ids = ''] = /^-f((?: \d[\w.-]*)+)$/.exec(line) ?? state.unrecorded(asTyped);
  for (const id of ids.trim().split(' ')) {
    const job = state.job(id);
    if (job === undefined || (job.state === 'F' && !state.settings.history)) {
      process.stderr.write(`qstat: Unknown Job Id Error ${id}\n`);
      process.exitCode = 153;
    } else process.stdout.write(text(`Job Id: ${id}`, torqueJobAttributes(state, job)));
  }
}

/** The job, or the exit code of a complaint about it. */
function statusOf(id: string, withHistory: boolean): Job | number {
  const { history } = state.settings;
  if (withHistory && !history) {
    // Not recorded: msg_job_history_notset in pbs_messages.c; qstat.c ends with 0 then.
    process.stderr.write(`qstat: PBS is not configured to maintain job history ${id}\n`);
    return 0;
  }
  const job = state.job(id);
  if (job === undefined || (job.state === 'F' && !history)) {
    process.stderr.write(`qstat: Unknown Job Id ${id}\n`);
    return 153;
  }
  if (job.state === 'F' && !withHistory) {
    process.stderr.write(
      `qstat: ${id} Job has finished, use -x or -H to obtain historical job information\n`,
    );
    return 35;
  }
  return job.state === 'R' && job.used ? { ...job, used: { walltime: now() - (job.stime ?? now()) } } : job;
}

function printJson(content: Parameters<typeof jsonAnswer>[1]): void {
  const answer = jsonAnswer(state, content);
  process.stdout.write(
    state.settings.brokenJson
      ? answer.replace(
          '"PBS_O_SYSTEM":',
          '"BASH_FUNC_module%%":\t"() { echo "a"\n}",\n\t\t\t\t"PBS_O_SYSTEM":',
        )
      : answer,
  );
}

function qdel(): void {
  reached();
  const [id = ''] = args;
  if (args.length !== 1 || id.startsWith('-')) state.unrecorded(asTyped);
  state.locked(() => {
    const job = state.job(id);
    if (job === undefined || (job.state === 'F' && !state.settings.history)) {
      process.stderr.write(`qdel: Unknown Job Id ${isTorque ? 'Error ' : ''}${id}\n`);
      process.exitCode = 153;
    } else if (job.state === 'F' && isTorque) {
      process.stderr.write(
        `qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE ${id}\n`,
      );
      process.exitCode = 170;
    } else if (job.state === 'F') {
      // Not recorded; process_deljobstat in qdel.c, PBSE_HISTJOBID.
      process.stderr.write(`qdel: Job has finished ${id}\n`);
      process.exitCode = 35;
    } else deleteJob(state, job);
  });
}

/** Not recorded; qrls(1B): without options it releases the user's own hold. */
function qrls(): void {
  reached();
  const [id = ''] = args;
  if (args.length !== 1 || id.startsWith('-')) state.unrecorded(asTyped);
  state.locked(() => {
    const job = state.job(id);
    if (job === undefined) return state.unrecorded(asTyped);
    if (job.state === 'H')
      state.save({ ...job, state: 'Q', substate: 10, hold: 'n', etime: now(), mtime: now() });
  });
  schedule(state);
}
