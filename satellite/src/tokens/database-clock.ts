import type { StateClock } from './clock.ts';

/**
 * The database's time, the same for all that share it, as far as it is known here: between two looks our own clock, which nobody
 * sets, counts on.
 */
export class DatabaseClock implements StateClock {
  readonly #read: () => number;
  #offset = Number.NaN;
  #last = 0;

  /** `read` in milliseconds, never going back. */
  constructor(read: () => number = () => performance.now()) {
    this.#read = read;
  }

  /** Now, by our own clock: for `tell`. */
  local(): number {
    return this.#read();
  }

  /** The database has said that it was `time` at some moment between `from` and now, by our own clock. */
  tell(time: number, from: number): void {
    const [least, most] = [time - this.#read(), time - from];
    // What fits with what we know changes nothing, so that a slow answer makes nobody jump.
    this.#offset = Number.isNaN(this.#offset)
      ? (least + most) / 2
      : Math.min(Math.max(this.#offset, least), most);
  }

  now(): number {
    this.#last = Math.max(this.#last, Math.round(this.#read() + this.#offset));
    return this.#last;
  }

  /** People read the database's calendar. */
  skew(): number {
    return 0;
  }
}
