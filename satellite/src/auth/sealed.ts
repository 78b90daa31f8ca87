import {
  type Replacement,
  retried,
  type SecretKind,
  type SecretRecord,
  type TokenStore,
} from '../tokens/store.ts';
import type { Keys } from './keys.ts';

interface Entry<T> {
  readonly value: T;
  readonly record: SecretRecord;
}

/** Things of one kind that are kept sealed in the state, by name. */
export class Sealed<T> {
  readonly #store: TokenStore;
  readonly #keys: Keys;
  readonly #kind: SecretKind;
  readonly #known = new Map<string, Entry<T>>();
  /** What is being written, for a second request that comes before it is. */
  readonly #ahead = new Map<string, Entry<T>>();
  /** What was taken away while it was being written. */
  readonly #over = new WeakSet<Entry<T>>();

  constructor(store: TokenStore, keys: Keys, kind: SecretKind) {
    this.#store = store;
    this.#keys = keys;
    this.#kind = kind;
    for (const record of store.loadSecrets(kind)) this.#open(record);
    store.follow(({ secrets, forgotten, isWhole }) => {
      if (isWhole) this.#known.clear();
      for (const record of secrets) if (record.kind === kind) this.#open(record);
      for (const one of forgotten) if (one.kind === kind) this.#known.delete(one.id);
    });
  }

  get(id: string): T | undefined {
    return this.#known.get(id)?.value;
  }

  /** Takes one away, for whoever comes first. Rejects with a StoreError. */
  take(id: string): Promise<T | undefined> {
    return retried(async () => {
      if (!this.#known.has(id) && this.#store.isShared) await this.#store.refresh();
      const value = this.#known.get(id)?.value;
      await this.#forget(id);
      return value;
    });
  }

  /** The names that there are. */
  ids(): string[] {
    return [...this.#known.keys()];
  }

  /**
   * Puts in the place of what has this name what `next` makes of it; undefined leaves it as it is. Where somebody else was faster
   * it is asked again. Rejects with a StoreError, or with what `next` throws.
   */
  change(id: string, next: (current: T | undefined) => T | undefined): Promise<T | undefined> {
    return retried(async () => {
      const before = this.#ahead.get(id) ?? this.#known.get(id);
      const value = next(before?.value);
      if (value === undefined) return undefined;
      const sealed = this.#keys.seal(JSON.stringify(value), this.#place(id));
      const entry = { value, record: { kind: this.#kind, id, sealed } };
      const replacement: Replacement<SecretRecord> = { record: entry.record, before: before?.record };
      this.#ahead.set(id, entry);
      try {
        await this.#store.save({ secrets: [replacement] });
      } finally {
        if (this.#ahead.get(id) === entry) this.#ahead.delete(id);
      }
      if (!this.#over.has(entry)) this.#known.set(id, entry);
      return value;
    });
  }

  /** Takes these away, here at once. Rejects with a StoreError where a restart would bring one back. */
  async forget(ids: readonly string[]): Promise<void> {
    await Promise.all(ids.map((id) => retried(() => this.#forget(id))));
  }

  async #forget(id: string): Promise<void> {
    const entry = this.#ahead.get(id) ?? this.#known.get(id);
    if (entry === undefined) return;
    this.#over.add(entry);
    this.#ahead.delete(id);
    this.#known.delete(id);
    await this.#store.save({ forgetSecrets: [entry.record] });
  }

  #open(record: SecretRecord): void {
    const text = this.#keys.unseal(record.sealed, this.#place(record.id));
    // Sealed with a key that is there no more: as if it were not there.
    if (text === undefined) this.#known.delete(record.id);
    else this.#known.set(record.id, { value: JSON.parse(text), record });
  }

  #place(id: string): string {
    return `${this.#kind} ${id}`;
  }
}
