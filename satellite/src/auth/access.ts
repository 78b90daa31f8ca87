import { timingSafeEqual } from 'node:crypto';
import type { TokenRecord } from '../tokens/record.ts';
import type { TokenStore } from '../tokens/store.ts';
import type { Keys } from './keys.ts';
import { Sealed } from './sealed.ts';

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
  readonly #sealed: Sealed<Access>;

  constructor(store: TokenStore, keys: Keys) {
    this.#sealed = new Sealed(store, keys, 'access');
  }

  of({ token, issuedAt }: TokenRecord): Access | undefined {
    const access = this.#sealed.get(token);
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
    const access = await this.#sealed.change(token, (known) => {
      const current = known?.issuedAt === issuedAt ? known : undefined;
      const owner = wanted.owner ?? current?.owner;
      const isHis =
        current === undefined || (isSame(current.jupyterToken, jupyterToken) && owner === current.owner);
      if (!isHis || owner === undefined) throw new NotYoursError();
      const sharedWith = wanted.sharedWith ?? current?.sharedWith ?? [];
      return { issuedAt, owner, sharedWith, jupyterToken };
    });
    return access as Access;
  }

  /** Forgets the sites that are no more. */
  sweep(exists: (token: string) => boolean): Promise<void> {
    return this.#sealed.forget(this.#sealed.ids().filter((token) => !exists(token)));
  }
}

function isSame(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
