import type { Log } from '../log.ts';
import type { TokenRegistry } from '../tokens/registry.ts';
import type { StoreError } from '../tokens/store.ts';

/** Anybody may ask, and each look writes to the disk: askers within this time share one. */
const FRESH_MS = 1000;
/** How long after a failure it is looked whether the state can be written again. */
const RETRY_MS = 1000;

/** What an engine says of itself, in words for people. */
interface EngineHealth {
  /** Why nobody should come here. */
  readonly trouble: string | undefined;
  /** What is to be mended, and no reason to go elsewhere. */
  readonly warning: string | undefined;
}

/** Whether this proxy should be given new work: its state can be written, its engine runs, and it is not about to stop. */
export class Health {
  readonly #registry: TokenRegistry;
  readonly #log: Log;
  readonly #engine: () => EngineHealth | undefined;
  #lastAt = Number.NEGATIVE_INFINITY;
  #last: Promise<boolean> = Promise.resolve(false);
  #isWritable = true;
  #isStopping = false;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;

  /**
   * The log hears of it when the state can no longer be written, and when it can again, once each, whoever has noticed.
   * `engine` is one that may fail apart from us.
   */
  constructor(registry: TokenRegistry, log: Log, engine: () => EngineHealth | undefined) {
    this.#registry = registry;
    this.#log = log;
    this.#engine = engine;
  }

  /** Somebody could not change the state, or not hear what others have made of it. Said once, until it works again. */
  failed(error: StoreError): void {
    if (!this.#isWritable) return;
    this.#isWritable = false;
    this.#log({ event: 'state-error', message: error.message });
    this.#lookAgain();
  }

  /** From now on there is a reason not to come here. */
  stopping(): void {
    this.#isStopping = true;
  }

  /** The state is about to be closed. */
  close(): void {
    this.#isClosed = true;
  }

  /** What is wrong, in words for people; undefined if nothing is. */
  async trouble(): Promise<string | undefined> {
    if (this.#isStopping) return 'The proxy is about to stop.';
    const now = performance.now();
    if (now - this.#lastAt >= FRESH_MS) {
      this.#lastAt = now;
      this.#last = this.#look();
    }
    return (await this.#last)
      ? this.#engine()?.trouble
      : 'The state can not be written; see the log. Live sites go on, nothing can be changed.';
  }

  /** What is to be mended, and no reason to go elsewhere, in words for people; undefined if nothing is. */
  get warning(): string | undefined {
    return this.#engine()?.warning;
  }

  async #look(): Promise<boolean> {
    try {
      await this.#registry.checkStore();
      if (!this.#isWritable) this.#log({ event: 'state-recovered' });
      this.#isWritable = true;
    } catch (error) {
      this.failed(error as StoreError);
    }
    return this.#isWritable;
  }

  #lookAgain(): void {
    this.#timer ??= setTimeout(async () => {
      this.#timer = undefined;
      if (!this.#isClosed && !(await this.#look())) this.#lookAgain();
    }, RETRY_MS).unref();
  }
}

interface HealthReply {
  readonly status: 200 | 503;
  readonly body: string;
}

/**
 * The answer to a GET of one of the health checks, undefined for another path. `/healthz`: should this proxy be given
 * work (load balancers, monitoring)? `/livez`: is it serving at all (who would restart it)? A full disk is no reason for
 * a restart, which would drop everybody and mend nothing.
 */
export async function healthReply(health: Health, path: string): Promise<HealthReply | undefined> {
  if (path === '/livez') return { status: 200, body: 'ok\n' };
  if (path !== '/healthz') return undefined;
  const trouble = await health.trouble();
  if (trouble !== undefined) return { status: 503, body: `${trouble}\n` };
  return { status: 200, body: health.warning === undefined ? 'ok\n' : `ok\n${health.warning}\n` };
}
