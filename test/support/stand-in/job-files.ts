/** What a stand-in for a scheduler keeps: one directory a scheduler, one file a job, one lock around every change. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export class JobFiles<Job extends { readonly id: string }, Settings> {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Tests may change them while jobs run. */
  get settings(): Settings {
    return JSON.parse(readFileSync(path.join(this.directory, 'settings.json'), 'utf8'));
  }

  /** In the order of their submission. */
  jobs(): Job[] {
    return readdirSync(path.join(this.directory, 'jobs'))
      .filter((name) => name.endsWith('.json'))
      .map((name) => JSON.parse(readFileSync(path.join(this.directory, 'jobs', name), 'utf8')) as Job)
      .sort((a, b) => Number.parseInt(a.id, 10) - Number.parseInt(b.id, 10));
  }

  job(id: string): Job | undefined {
    return this.jobs().find((job) => job.id === id);
  }

  save(job: Job): Job {
    const file = path.join(this.directory, 'jobs', `${job.id}.json`);
    const next = `${file}.${process.pid}`;
    writeFileSync(next, JSON.stringify(job));
    renameSync(next, file);
    return job;
  }

  /** Does something that nobody else may see half done. */
  locked<T>(action: () => T): T {
    const lock = path.join(this.directory, 'lock');
    const deadline = Date.now() + 20_000;
    for (;;) {
      try {
        mkdirSync(lock);
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || Date.now() > deadline) throw error;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      }
    }
    try {
      return action();
    } finally {
      rmdirSync(lock);
    }
  }
}

/** Ends a command: what it says on stderr, and its exit code. */
export class Refusal extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}
