import { Worker } from 'node:worker_threads';

/** Starts the thread that compares passwords. A bundle has another one of these, with the thread's program in it (scripts/bundle.mjs). */
export function startHashThread(): Worker {
  return new Worker(new URL('./hash-worker.ts', import.meta.url));
}
