import { statSync } from 'node:fs';
import { readRegular } from '../regular-file.ts';

/** A file that was changed so short a time ago may change again without its times telling (the kernel's tick). */
const TICK_MS = 1000;

/**
 * A file whose content counts from the moment it is changed: looked at (stat(2), a few microseconds) whenever it is
 * asked for, and read again only when it is another.
 */
export class WatchedFile<T> {
  readonly #path: string;
  readonly #parse: (text: string) => T;
  readonly #fallback: (last: T) => T;
  readonly #onTrouble: (message: string) => void;
  #seen = '';
  #value: T;

  /**
   * `fallback` says what counts while the file can't be used, and `onTrouble` hears why. Throws what `parse` throws, and the
   * system's error, where it can't be used now.
   */
  constructor(
    path: string,
    parse: (text: string) => T,
    fallback: (last: T) => T,
    onTrouble: (message: string) => void,
  ) {
    this.#path = path;
    this.#parse = parse;
    this.#fallback = fallback;
    this.#onTrouble = onTrouble;
    this.#seen = this.#look();
    this.#value = parse(readRegular(path).toString());
  }

  get value(): T {
    let seen: string;
    try {
      seen = this.#look();
      if (seen === this.#seen && seen !== '') return this.#value;
      this.#value = this.#parse(readRegular(this.#path).toString());
    } catch (error) {
      const { message } = error as Error;
      seen = message;
      this.#value = this.#fallback(this.#value);
      if (this.#seen !== seen) this.#onTrouble(`${this.#path}: ${message}`);
    }
    this.#seen = seen;
    return this.#value;
  }

  /** What tells one content from the next; empty where that is too early to say. */
  #look(): string {
    const { ino, size, mtimeMs, ctimeMs } = statSync(this.#path);
    return Date.now() - ctimeMs < TICK_MS ? '' : `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
  }
}
