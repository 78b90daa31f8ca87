import type { Worker } from 'node:worker_threads';
import { ConfigError } from '../config.ts';
import { fileFault } from '../file-fault.ts';
import { startHashThread } from './hash-thread.ts';
import type { Comparison } from './hash-worker.ts';
import { WatchedFile } from './watched-file.ts';

/** From user to bcrypt hash. */
type Users = ReadonlyMap<string, string>;

/** crypt(5): the three prefixes are one algorithm; 16 is a minute's work. */
const BCRYPT = /^\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$/;
/** What is asked at a time; more are told to come again. */
const MAX_WAITING = 50;

const NO_USERS: Users = new Map();

/** More wait for an answer than can be given soon. */
export class BusyError extends Error {
  override name = 'BusyError';
}

/**
 * Reads what Apache's `htpasswd -B` writes: `user:hash`, one a line. Throws a ConfigError that names the line for hashes
 * other than bcrypt, which can be tried out by the million.
 */
function parseHtpasswd(text: string): Users {
  const users = new Map<string, string>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const colon = line.indexOf(':');
    const user = line.slice(0, colon);
    const hash = line.slice(colon + 1).trim();
    if (colon < 1 || !BCRYPT.test(hash)) {
      throw new ConfigError(
        `line ${index + 1} is not "user:hash" with a bcrypt hash of cost 4 to 15; make it with: htpasswd -B FILE USER`,
      );
    }
    if (users.has(user)) throw new ConfigError(`line ${index + 1}: this user has a line already`);
    users.set(user, hash);
  }
  return users;
}

/** Users and their passwords, as they are in the file at the moment. */
export class Htpasswd {
  readonly #file: WatchedFile<Users>;
  #worker: Worker | undefined;
  #next = 0;
  readonly #waiting = new Map<
    number,
    { resolve: (matches: boolean) => void; reject: (error: Error) => void }
  >();

  /** `onTrouble` hears of a file that can't be used any more; then nobody is let in. Throws a ConfigError. */
  constructor(path: string, onTrouble: (message: string) => void) {
    try {
      this.#file = new WatchedFile(path, parseHtpasswd, () => NO_USERS, onTrouble);
    } catch (error) {
      throw new ConfigError(`auth.htpasswd: ${path}: ${fileFault(error)}`);
    }
  }

  /** The hash of a user's password, as long as there is one. */
  hashOf(user: string): string | undefined {
    return this.#file.value.get(user);
  }

  /**
   * Is this the user's password? Takes as long for a user who doesn't exist as for one who does. Rejects with a BusyError.
   */
  async verify(user: string, password: string): Promise<boolean> {
    const users = this.#file.value;
    const hash = users.get(user);
    const matches = await this.#compare(password, hash ?? decoy(users));
    // Who was removed meanwhile is removed.
    return matches && hash !== undefined && this.hashOf(user) === hash;
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #compare(password: string, hash: string): Promise<boolean> {
    if (this.#waiting.size >= MAX_WAITING) return Promise.reject(new BusyError());
    return new Promise((resolve, reject) => {
      const id = this.#next;
      this.#next += 1;
      this.#waiting.set(id, { resolve, reject });
      this.#thread().postMessage({ id, password, hash } satisfies Comparison);
    });
  }

  #thread(): Worker {
    if (this.#worker) return this.#worker;
    const worker = startHashThread();
    worker.unref();
    worker.on('message', ({ id, matches }: { id: number; matches: boolean }) => {
      this.#waiting.get(id)?.resolve(matches);
      this.#waiting.delete(id);
    });
    worker.on('error', (error) => {
      this.#worker = undefined;
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
    this.#worker = worker;
    return worker;
  }
}

/** A hash that nothing matches, and that costs as much as most others of the file. */
function decoy(users: Users): string {
  const costs = [...users.values()].map((hash) => hash.slice(4, 6)).sort();
  return `$2b$${costs[Math.floor(costs.length / 2)] ?? '10'}$${'.'.repeat(53)}`;
}
