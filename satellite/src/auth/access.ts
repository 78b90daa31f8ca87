import { timingSafeEqual } from 'node:crypto';
import type { TokenRecord } from '../tokens/record.ts';
import type { TokenStore } from '../tokens/store.ts';
import type { Keys } from './keys.ts';

/** Whose site it is, and what opens its notebook. */
export interface Access {
  /** Names are drawn anew one day: it belongs to the token that was issued then. */
  readonly issuedAt: number;
  /** The account that the session runs under. */
  readonly owner: string;
  /** Other accounts that may come in. */
  readonly sharedWith: readonly string[];
  readonly jupyterToken: string;
}

/** Somebody else has already said whose site it is, with another Jupyter token. */
export class NotYoursError extends Error {
  override name = 'NotYoursError';
}

/** Who may come in, site by site; kept sealed in the state. */
export class Accesses {
  readonly #store: TokenStore;
  readonly #keys: Keys;
  readonly #known = new Map<string, Access>();

  constructor(store: TokenStore, keys: Keys) {
    this.#store = store;
    this.#keys = keys;
    for (const { id, sealed } of store.loadSecrets('access')) {
      const text = keys.unseal(sealed, `access ${id}`);
      // Sealed with a key that is there no more: nobody's site, until its owner says anew whose it is.
      if (text !== undefined) this.#known.set(id, JSON.parse(text));
    }
  }

  of({ token, issuedAt }: TokenRecord): Access | undefined {
    const access = this.#known.get(token);
    return access?.issuedAt === issuedAt ? access : undefined;
  }

  /**
   * May who knows this point the site at a notebook? The Jupyter token will be brought there. Anybody may where nobody has
   * said whose site it is: nobody is let in there.
   */
  mayRedeem(record: TokenRecord, jupyterToken: string | undefined): boolean {
    const access = this.of(record);
    return access === undefined || (jupyterToken !== undefined && isSame(access.jupyterToken, jupyterToken));
  }

  /**
   * Notes whose site it is, or with whom it is shared from now on. The first to speak has the word: from then on it
   * takes the Jupyter token, which nobody but its owner's account knows. Rejects with a NotYoursError or a StoreError.
   */
  async put(
    record: TokenRecord,
    jupyterToken: string,
    wanted: { readonly owner?: string | undefined; readonly sharedWith?: readonly string[] | undefined },
  ): Promise<Access> {
    const { token, issuedAt } = record;
    const before = this.#known.get(token);
    const current = this.of(record);
    const owner = wanted.owner ?? current?.owner;
    const isHis =
      current === undefined || (isSame(current.jupyterToken, jupyterToken) && owner === current.owner);
    if (!isHis || owner === undefined) throw new NotYoursError();
    const access = {
      issuedAt,
      owner,
      sharedWith: wanted.sharedWith ?? current?.sharedWith ?? [],
      jupyterToken,
    };
    // At once, so that a second request in the same turn sees the first one's doing.
    this.#known.set(token, access);
    const sealed = this.#keys.seal(JSON.stringify(access), `access ${token}`);
    try {
      await this.#store.save({ secrets: [{ kind: 'access', id: token, sealed }] });
    } catch (error) {
      if (this.#known.get(token) === access) {
        if (before) this.#known.set(token, before);
        else this.#known.delete(token);
      }
      throw error;
    }
    return access;
  }

  /** Forgets the sites that are no more. */
  async sweep(exists: (token: string) => boolean): Promise<void> {
    const gone = [...this.#known.keys()].filter((token) => !exists(token));
    for (const token of gone) this.#known.delete(token);
    if (gone.length > 0)
      await this.#store.save({ forgetSecrets: gone.map((id) => ({ kind: 'access', id })) });
  }
}

function isSame(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
