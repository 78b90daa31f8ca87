/**
 * The execution host: starts queued jobs, and for each that runs one process that watches over it as pbs_mom does
 * (start_exec.c, mom_main.c and linux/mom_start.c of OpenPBS):
 *
 * - the user's login shell, or that of -S, gets the name of the script on its standard input, in a session of its own;
 * - a deletion, and the end of the walltime, are a TERM to every process of the session and, where some remain after
 *   kill_delay, a KILL; until then the job runs, also when its first shell is gone;
 * - otherwise what remains of the session when the first shell ends is killed at once;
 * - output is spooled and copied over the user's file at the end.
 *
 * Torque's (mom_start.c, mom_mach.c) waits for nothing: once the first shell has gone, all that remains is killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, copyFileSync, openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { signalSession, signals } from '../stand-in/sessions.ts';
import { seconds } from './qsub.ts';
import { type Job, now, type State } from './state.ts';

const program = fileURLToPath(new URL('stand-in.ts', import.meta.url));

/** Starts what fits; leaves the others waiting with a comment that says why. */
export function schedule(state: State): void {
  state.locked(() => {
    const { ncpus, server } = state.settings;
    for (const job of state.jobs().filter(({ state: letter }) => letter === 'Q')) {
      const running = state.jobs().filter(({ state: letter }) => letter === 'R');
      const free = ncpus - running.reduce((sum, { resources }) => sum + Number(resources.ncpus), 0);
      const wanted = Number(job.resources.ncpus);
      if (wanted > free) {
        // What can never run was measured against an empty host.
        const [why, available] = wanted > ncpus ? ['Can Never Run', ncpus] : ['Not Running', free];
        state.save({
          ...job,
          comment: `${why}: Insufficient amount of resource: ncpus (R: ${wanted} A: ${available} T: ${ncpus})`,
        });
        continue;
      }
      const started = now();
      const memory = job.resources.mem;
      const vnode = `(${server}:ncpus=${wanted}${memory === undefined ? '' : `:mem=${Number.parseInt(String(memory), 10) * 1024}kb`})`;
      const when = new Date(started * 1000);
      const day = when.toLocaleDateString('en-US', { weekday: 'short', timeZone: 'UTC' });
      const date = when.toLocaleDateString('en-US', { month: 'short', day: '2-digit', timeZone: 'UTC' });
      state.save({
        ...job,
        state: 'R',
        substate: 41,
        stime: started,
        mtime: started,
        execHost: `${server}/${running.length}`,
        execVnode: vnode,
        runCount: (job.runCount ?? 0) + 1,
        comment: `Job run at ${day} ${date} at ${when.toISOString().slice(11, 16)} on ${vnode}`,
      });
      // A daemon has nothing of the environment of whoever submits.
      spawn(process.execPath, [program, 'mom', state.directory, job.id], {
        detached: true,
        stdio: 'ignore',
        cwd: '/',
        env: {},
      }).unref();
    }
  });
}

/** Deletes a job, at the request of its owner. */
export function deleteJob(state: State, job: Job): void {
  const { user, server } = state.settings;
  if (job.state === 'R') {
    const terminated = state.save({
      ...job,
      mtime: now(),
      comment: `${job.comment} and terminated by ${user}@${server}`,
    });
    if (terminated.mom !== undefined) process.kill(terminated.mom, 'SIGTERM');
    return;
  }
  state.save({
    ...job,
    state: 'F',
    substate: 91,
    mtime: now(),
    historyTime: now(),
    ...(job.comment === undefined ? {} : { comment: `${job.comment} and terminated` }),
  });
}

/** Everything below runs in the process that watches over one job. */
export async function mom(state: State, id: string): Promise<void> {
  // A deletion may come before there is anything to signal.
  let deletion: () => void = () => {};
  const deleted = new Promise<'deleted'>((resolve) => {
    deletion = () => resolve('deleted');
  });
  process.on('SIGTERM', () => deletion());

  const shell = state.locked(() => {
    const job = state.job(id) as Job;
    if (/ and terminated by /.test(job.comment ?? '')) deletion();
    const child = startShell(state, job);
    state.save({ ...job, mom: process.pid });
    return child;
  });
  const session = shell.pid as number;
  const job = state.job(id) as Job;
  const exited = once(shell, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  setTimeout(() => report(state, id, session), state.settings.report).unref();

  const limit = job.resources.walltime;
  const waking = new AbortController();
  const over = limit === undefined ? new Promise<never>(() => {}) : timeout(seconds(limit), waking.signal);
  const first = await Promise.race([exited.then(() => 'exited' as const), deleted, over]);
  waking.abort();
  // It looks at its processes at once, in case they take no notice.
  if (first !== 'exited') {
    report(state, id, session);
    if (state.settings.flavour === 'torque')
      await terminateAsTorque(session, exited, state.settings.killDelay);
    else await signals(session, ['SIGTERM', 'SIGKILL'], state.settings.killDelay * 1000);
  }
  const [code, signal] = await exited;
  signalSession(session, 'SIGKILL');
  finish(
    state,
    id,
    first === 'over' ? overLimit[state.settings.flavour] : exitStatus(code, signal),
    first === 'over',
  );
  schedule(state);
}

/** JOB_EXEC_KILL_WALLTIME and JOB_EXEC_OVERLIMIT_WT */
const overLimit = { pbs: -29, torque: -11 } as const;

async function timeout(limit: number, cancelled: AbortSignal): Promise<'over'> {
  await sleep(limit * 1000, undefined, { signal: cancelled, ref: true }).catch(() => {});
  return 'over';
}

/** Of a signal, 256 and its number. */
function exitStatus(code: number | null, signal: NodeJS.Signals | null): number {
  const numbers: Partial<Record<NodeJS.Signals, number>> = { SIGKILL: 9, SIGTERM: 15, SIGHUP: 1, SIGINT: 2 };
  return code ?? 256 + (numbers[signal as NodeJS.Signals] ?? 0);
}

function startShell(state: State, job: Job): ChildProcess {
  const output = openSync(state.spool(job.id, 'OU'), 'a', 0o600);
  const error = job.join === 'oe' ? output : openSync(state.spool(job.id, 'ER'), 'a', 0o600);
  const script = state.spool(job.id, 'SC');
  chmodSync(script, 0o700);
  const shell = job.shell ?? '/bin/sh';
  const child = spawn(shell, [], {
    argv0: `-${shell.split('/').at(-1)}`,
    cwd: job.home,
    detached: true,
    stdio: ['pipe', output, error],
    env: {
      ...job.variables,
      HOME: job.home,
      LOGNAME: state.settings.user,
      USER: state.settings.user,
      SHELL: '/bin/sh',
      PATH: '/usr/bin:/bin',
      PBS_ENVIRONMENT: 'PBS_BATCH',
      PBS_JOBID: job.id,
      PBS_JOBNAME: job.name,
      PBS_QUEUE: job.queue,
      PBS_JOBDIR: job.home,
    },
  });
  child.stdin?.on('error', () => {});
  child.stdin?.end(`${script}\n`);
  closeSync(output);
  if (error !== output) closeSync(error);
  return child;
}

function report(state: State, id: string, session: number): void {
  state.locked(() => {
    const job = state.job(id);
    if (job?.state === 'R')
      state.save({ ...job, substate: 42, session, used: { walltime: now() - (job.stime ?? now()) } });
  });
}

/** TERM to everything; the first shell's end, or the end of the delay, is everything's end. */
async function terminateAsTorque(
  session: number,
  exited: Promise<unknown>,
  killDelay: number,
): Promise<void> {
  const waking = new AbortController();
  signalSession(session, 'SIGTERM');
  await Promise.race([exited, timeout(killDelay, waking.signal)]);
  waking.abort();
  signalSession(session, 'SIGKILL');
}

function finish(state: State, id: string, status: number, isOverLimit: boolean): void {
  state.locked(() => {
    const job = state.job(id) as Job;
    const ended = now();
    const deleted = / and terminated by /.test(job.comment ?? '');
    const outcome = isOverLimit
      ? ' and exceeded resource walltime'
      : status === 0
        ? ' and finished'
        : ' and failed';
    const { mom: _, ...rest } = job;
    const copied = deliver(state, job, isOverLimit);
    state.save({
      ...rest,
      state: 'F',
      substate: deleted ? 91 : status === 0 ? 92 : 93,
      session: job.session ?? 1,
      mtime: ended,
      obittime: ended,
      historyTime: ended,
      used: { walltime: ended - (job.stime ?? ended) },
      stageout: copied ? 1 : 0,
      exitStatus: status,
      comment: `${job.comment}${deleted ? '' : outcome}`,
    });
  });
}

/** Puts the spooled output over the user's file, whatever was there. */
function deliver(state: State, job: Job, isOverLimit: boolean): boolean {
  if (isOverLimit) {
    const spool = openSync(state.spool(job.id, job.join === 'oe' ? 'OU' : 'ER'), 'a');
    const limit = seconds(job.resources.walltime);
    writeSync(spool, `=>> PBS: job killed: walltime ${limit + 1} exceeded limit ${limit}\n`);
    closeSync(spool);
  }
  const parts: ['OU' | 'ER', string][] = [['OU', job.output]];
  if (job.join !== 'oe') parts.push(['ER', job.error]);
  for (const [suffix, target] of parts) {
    try {
      copyFileSync(state.spool(job.id, suffix), target.slice(target.indexOf(':') + 1));
    } catch {
      return false;
    }
  }
  return true;
}
