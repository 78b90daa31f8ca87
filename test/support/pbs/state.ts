/** What the stand-in for a PBS server keeps. */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { JobFiles, Refusal } from '../stand-in/job-files.ts';

/** How this server is set up. Tests may change it while jobs run. */
export interface Settings {
  /**
   * What it stands in for: an OpenPBS 23.06 as recorded, or a Torque 6.1 as its manuals and its source have it, of which
   * there are no recordings.
   */
  readonly flavour: 'pbs' | 'torque';
  readonly server: string;
  readonly user: string;
  readonly ncpus: number;
  /** Seconds between TERM and KILL; the manual's default is 10. */
  readonly killDelay: number;
  /** job_history_enable; for Torque whether it still shows jobs that have ended (keep_completed). */
  readonly history: boolean;
  /** Nobody answers. */
  readonly down: boolean;
  /** qstat's JSON is broken, as by a shell function in a job's environment (openpbs issue 2541). */
  readonly brokenJson: boolean;
  /** Milliseconds until the execution host reports a job's session; jobs are in substate 41 until then. */
  readonly report: number;
  readonly queues: Readonly<Record<string, { readonly maxSeconds?: number }>>;
}

export const usualSettings: Settings = {
  flavour: 'pbs',
  server: 'pbs-head',
  user: 'student',
  ncpus: 2,
  killDelay: 10,
  history: true,
  down: false,
  brokenJson: false,
  report: 0,
  queues: { workq: {}, debug: { maxSeconds: 1800 } },
};

/** Times are in seconds since 1970. */
export interface Job {
  readonly id: string;
  readonly name: string;
  readonly state: 'Q' | 'H' | 'R' | 'F';
  readonly substate: number;
  readonly queue: string;
  readonly account?: string;
  readonly hold: 'n' | 'u';
  readonly join: string;
  readonly output: string;
  readonly error: string;
  readonly shell?: string;
  readonly rerunable: boolean;
  readonly umask?: string;
  readonly resources: Readonly<Record<string, string | number>>;
  readonly variables: Readonly<Record<string, string>>;
  readonly submitArguments: string;
  readonly script: string;
  readonly home: string;
  readonly ctime: number;
  readonly mtime: number;
  readonly qtime: number;
  readonly etime?: number;
  readonly stime?: number;
  readonly obittime?: number;
  readonly historyTime?: number;
  readonly execHost?: string;
  readonly execVnode?: string;
  readonly session?: number;
  readonly used?: { readonly walltime: number };
  readonly comment?: string;
  readonly runCount?: number;
  readonly exitStatus?: number;
  readonly stageout?: number;
  /** The process that watches over the job on its host. */
  readonly mom?: number;
}

export class State extends JobFiles<Job, Settings> {
  /** A place for a job's script or output while it runs. */
  spool(id: string, suffix: 'SC' | 'OU' | 'ER'): string {
    return path.join(this.directory, 'spool', `${id}.${suffix}`);
  }

  /** The number of a new job; only under the lock. */
  nextNumber(): number {
    const file = path.join(this.directory, 'last-number');
    const number = (existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0) + 1;
    writeFileSync(file, String(number));
    return number;
  }

  /** A call that nobody has seen a real PBS answer is the test's failure, not something to make up an answer for. */
  unrecorded(what: string): never {
    appendFileSync(path.join(this.directory, 'unrecorded'), `${what}\n`);
    throw new Refusal(`stand-in for PBS: nobody has recorded this: ${what}`, 99);
  }
}

export const now = (): number => Math.floor(Date.now() / 1000);
