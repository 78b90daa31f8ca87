import type { TokenRegistry } from '../tokens/registry.ts';

/** Anybody may ask, and each look writes to the disk: askers within this time share one. */
const FRESH_MS = 1000;

/** Whether this proxy does its work: the state can be written. */
export class Health {
  readonly #registry: TokenRegistry;
  #lastAt = Number.NEGATIVE_INFINITY;
  #last: Promise<boolean> = Promise.resolve(false);

  constructor(registry: TokenRegistry) {
    this.#registry = registry;
  }

  isWell(): Promise<boolean> {
    const now = performance.now();
    if (now - this.#lastAt >= FRESH_MS) {
      this.#lastAt = now;
      this.#last = this.#registry.checkStore().then(
        () => true,
        () => false,
      );
    }
    return this.#last;
  }
}

/** What a load balancer reads. */
export async function healthReply(health: Health): Promise<{ status: 200 | 503; body: string }> {
  return (await health.isWell())
    ? { status: 200, body: 'ok\n' }
    : { status: 503, body: 'The state can not be written; see the log.\n' };
}
