/**
 * A stand-in for LSF: `stand-in.ts COMMAND STATE-DIRECTORY ARGUMENT…`. It runs jobs, holds them to their run limit, and
 * answers as IBM's manuals of LSF 10.1 say (satellite/test/lsf tells from what). A call that the launcher was not made for
 * ends with status 99 and a line in the file "unforeseen".
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { JobFiles, Refusal } from '../stand-in/job-files.ts';
import { signalSession, signals } from '../stand-in/sessions.ts';

/** How this cluster is set up. Tests may change it while jobs run. */
export interface Settings {
  /** Nobody answers. */
  readonly down: boolean;
  /** bjobs knows the field for estimated starts. */
  readonly estimates: boolean;
  /** Milliseconds that a minute of a run limit lasts. */
  readonly minute: number;
  /** Milliseconds between INT, TERM and KILL: JOB_TERMINATE_INTERVAL, ten seconds by default. */
  readonly interval: number;
}

export interface Job {
  readonly id: string;
  readonly stat: 'PEND' | 'PSUSP' | 'RUN' | 'DONE' | 'EXIT';
  /** As given to bsub and in the script: option and value, or the option alone. */
  readonly options: Readonly<Record<string, string>>;
  readonly environment: Readonly<Record<string, string>>;
  readonly startedAt?: number;
  /** The process that watches over it. */
  readonly sbatchd?: number;
  /** The job's own processes are a session of this number. */
  readonly session?: number;
  readonly exitCode?: number;
  readonly exitReason?: string;
}

const queues = ['normal', 'short'];
/** Options of bsub with a value, and without. */
const withValue = new Set('-J -o -P -q -U -W -n -R -M -gpu'.split(' '));
const alone = new Set(['-rn', '-H']);

const program = fileURLToPath(import.meta.url);

export class Cluster extends JobFiles<Job, Settings> {
  shell(id: string): string {
    return path.join(this.directory, 'jobs', `${id}.shell`);
  }
}

async function main([command = '', directory = '', ...args]: readonly string[]): Promise<void> {
  const cluster = new Cluster(directory);
  const unforeseen = (): never => {
    const call = [command, ...args].join(' ');
    appendFileSync(path.join(directory, 'unforeseen'), `${call}\n`);
    throw new Refusal(`stand-in for LSF: nobody foresaw this: ${call}`, 99);
  };
  const commands: Readonly<Record<string, () => unknown>> = {
    bsub: () => bsub(cluster, args, unforeseen),
    bjobs: () => bjobs(cluster, args, unforeseen),
    bkill: () => bkill(cluster, args[0] ?? unforeseen()),
    bresume: () => bresume(cluster, args[0] ?? unforeseen()),
    bqueues: () => (args.join(' ') === '-o queue_name status -json' ? bqueues() : unforeseen()),
    sbatchd: () => sbatchd(cluster, args[0] as string),
  };
  try {
    if (command !== 'sbatchd' && cluster.settings.down)
      throw new Refusal('LSF is down. Please wait ...', 255);
    await (commands[command] ?? unforeseen)();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = error.exitCode;
  }
}

/** Reads the script on standard input, and its directives; what is typed wins. */
function bsub(cluster: Cluster, typed: readonly string[], unforeseen: () => never): void {
  const script = readFileSync(0, 'utf8');
  const embedded = script
    .split('\n')
    .filter((line) => line.startsWith('#BSUB '))
    .flatMap((line) => line.slice(6).match(/"[^"]*"|\S+/g) ?? [])
    .map((word) => word.replaceAll('"', ''));
  const options: Record<string, string> = {};
  for (const words of [embedded, [...typed]]) {
    while (words.length > 0) {
      const option = words.shift() as string;
      if (alone.has(option)) options[option] = 'yes';
      // Of several -R all hold.
      else if (withValue.has(option))
        options[option] = [option === '-R' ? options[option] : undefined, words.shift() ?? unforeseen()]
          .filter(Boolean)
          .join(' ');
      else unforeseen();
    }
  }
  const queue = options['-q'];
  if (queue !== undefined && !queues.includes(queue))
    throw new Refusal(`${queue}: No such queue. Job not submitted.`, 255);
  const id = cluster.locked(() => {
    const next = String(Number(cluster.jobs().at(-1)?.id ?? 100) + 1);
    writeFileSync(cluster.shell(next), script, { mode: 0o700 });
    cluster.save({
      id: next,
      stat: options['-H'] === undefined ? 'PEND' : 'PSUSP',
      options,
      environment: process.env as Record<string, string>,
    });
    return next;
  });
  process.stdout.write(
    queue === undefined
      ? `Job <${id}> is submitted to default queue <normal>.\n`
      : `Job <${id}> is submitted to queue <${queue}>.\n`,
  );
  if (options['-H'] === undefined) dispatch(cluster, id);
}

function dispatch(cluster: Cluster, id: string): void {
  spawn(process.execPath, [program, 'sbatchd', cluster.directory, id], {
    detached: true,
    stdio: 'ignore',
    cwd: '/',
    env: {},
  }).unref();
}

function bjobs(cluster: Cluster, args: readonly string[], unforeseen: () => never): void {
  const [all, o, format = '', json, ...ids] = args;
  if (all !== '-a' || o !== '-o' || json !== '-json' || ids.length === 0) unforeseen();
  const names = format.split(' ');
  if (!cluster.settings.estimates && names.includes('estimated_sim_start_time'))
    throw new Refusal('bjobs: unknown field name "estimated_sim_start_time".', 255);
  const records = ids.map((id) => {
    const job = cluster.job(id);
    return job === undefined
      ? { JOBID: id, ERROR: `Job <${id}> is not found` }
      : Object.fromEntries(names.map((name) => [name.toUpperCase(), field(job, name) ?? unforeseen()]));
  });
  process.stdout.write(
    `${JSON.stringify({ COMMAND: 'bjobs', JOBS: records.length, RECORDS: records }, null, 2)}\n`,
  );
}

function field({ id, stat, startedAt, exitCode, exitReason }: Job, name: string): string | undefined {
  const values: Record<string, string> = {
    jobid: id,
    jobindex: '0',
    stat,
    pend_reason: stat === 'PEND' ? 'New job is waiting for scheduling;' : '',
    exec_host: startedAt === undefined ? '' : '1*lsf-host',
    start_time: startedAt === undefined ? '' : lsfClock(startedAt),
    exit_code: exitCode ? String(exitCode) : '',
    exit_reason: exitReason ?? '',
    estimated_sim_start_time: '',
  };
  return values[name];
}

/** `Nov 22 02:06`, in the time zone of whoever asks. */
function lsfClock(milliseconds: number): string {
  const [, month, day, , clock] = new Date(milliseconds).toString().split(' ');
  return `${month} ${String(Number(day)).padStart(2)} ${clock?.slice(0, 5)}`;
}

function bkill(cluster: Cluster, id: string): void {
  cluster.locked(() => {
    const job = cluster.job(id);
    if (job === undefined) throw new Refusal(`Job <${id}>: No matching job found`, 255);
    if (job.stat === 'DONE' || job.stat === 'EXIT')
      throw new Refusal(`Job <${id}>: Job has already finished`, 255);
    const exitReason = 'TERM_OWNER: job killed by owner';
    if (job.stat === 'RUN') {
      cluster.save({ ...job, exitReason });
      process.kill(job.sbatchd as number, 'SIGTERM');
    } else cluster.save({ ...job, stat: 'EXIT', exitCode: 143, exitReason });
  });
  process.stdout.write(`Job <${id}> is being terminated\n`);
}

function bresume(cluster: Cluster, id: string): void {
  const job = cluster.job(id);
  if (job?.stat !== 'PSUSP') throw new Refusal(`Job <${id}>: No matching job found`, 255);
  cluster.save({ ...job, stat: 'PEND' });
  process.stdout.write(`Job <${id}> is being resumed\n`);
  dispatch(cluster, id);
}

function bqueues(): void {
  const records = queues.map((name) => ({ QUEUE_NAME: name, STATUS: 'Open:Active' }));
  process.stdout.write(
    `${JSON.stringify({ COMMAND: 'bqueues', QUEUES: records.length, RECORDS: records })}\n`,
  );
}

/** Watches over one job on its host. */
async function sbatchd(cluster: Cluster, id: string): Promise<void> {
  const killed = new Promise<'killed'>((resolve) => {
    process.on('SIGTERM', () => resolve('killed'));
  });
  const child = cluster.locked(() => {
    const job = cluster.job(id) as Job;
    if (job.stat !== 'PEND') return undefined;
    const { environment } = job;
    const shell = spawn(cluster.shell(id), [], {
      cwd: environment.HOME,
      detached: true,
      stdio: 'ignore',
      // LSF hands the environment of the submission on.
      env: { ...environment, LSB_JOBID: id, LSB_QUEUE: job.options['-q'] ?? 'normal', LSB_HOSTS: 'lsf-host' },
    });
    cluster.save({
      ...job,
      stat: 'RUN',
      startedAt: Date.now(),
      sbatchd: process.pid,
      session: shell.pid as number,
    });
    return shell;
  });
  if (child === undefined) return process.exit();
  const session = child.pid as number;
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const { minute, interval } = cluster.settings;
  const [hours = 0, minutes = 0] = (cluster.job(id)?.options['-W'] ?? '').split(':').map(Number);
  const limit = (hours * 60 + minutes) * minute;
  const over = limit === 0 ? new Promise<never>(() => {}) : sleep(limit, 'over' as const);
  const first = await Promise.race([exited.then(() => 'exited' as const), killed, over]);
  if (first === 'killed') await signals(session, ['SIGINT', 'SIGTERM', 'SIGKILL'], interval);
  if (first === 'over') await signals(session, ['SIGUSR2', 'SIGKILL'], 10 * minute);
  const [code, signal] = await exited;
  signalSession(session, 'SIGKILL');
  const status = code ?? 128 + (signal === 'SIGKILL' ? 9 : 15);
  cluster.locked(() => {
    const { sbatchd: _, ...job } = cluster.job(id) as Job;
    const exitReason =
      first === 'over' ? 'TERM_RUNLIMIT: job killed after reaching LSF run time limit' : job.exitReason;
    cluster.save({
      ...job,
      stat: status === 0 && exitReason === undefined ? 'DONE' : 'EXIT',
      exitCode: status,
      ...(exitReason === undefined ? {} : { exitReason }),
    });
  });
  process.exit();
}

if (process.argv[1] === program && existsSync(process.argv[3] ?? '')) await main(process.argv.slice(2));
