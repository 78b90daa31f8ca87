import { parentPort } from 'node:worker_threads';
import { compareSync } from 'bcryptjs';

/*
 * A thread of its own: a hash takes a tenth of a second and more, in which nobody else would be served.
 */

export interface Comparison {
  readonly id: number;
  readonly password: string;
  readonly hash: string;
}

parentPort?.on('message', ({ id, password, hash }: Comparison) => {
  parentPort?.postMessage({ id, matches: compareSync(password, hash) });
});
