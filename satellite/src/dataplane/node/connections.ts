/** What is open for each site, so that it can all be closed at once. */
export class Connections {
  readonly #open = new Map<string, Set<() => void>>();

  /** Remembers how to end something that belongs to a site, until the returned function is called. */
  add(token: string, end: () => void): () => void {
    const set = this.#open.get(token) ?? new Set();
    this.#open.set(token, set.add(end));
    return () => {
      set.delete(end);
      if (set.size === 0 && this.#open.get(token) === set) this.#open.delete(token);
    };
  }

  /** Ends everything that is open for a site. */
  drop(token: string): void {
    const set = this.#open.get(token);
    this.#open.delete(token);
    for (const end of set ?? []) end();
  }

  dropAll(): void {
    for (const token of [...this.#open.keys()]) this.drop(token);
  }
}
