import type { TokenStore } from '../tokens/store.ts';
import { type Keys, randomId } from './keys.ts';

/** What is kept of a provider's answer, to ask it again. */
export interface ProviderTokens {
  readonly subject: string;
  readonly accessToken: string;
  readonly refreshToken: string | null;
  readonly idToken: string | null;
}

/** Somebody who has said who he is, in one browser. Times are in milliseconds, as the registry's now() tells it. */
export interface SignIn {
  readonly id: string;
  readonly user: string;
  readonly until: number;
  /** Of the password that he knew; another password ends it. Null where there is none. */
  readonly proof: string | null;
  readonly provider: ProviderTokens | null;
  /** When the provider last said that he may come in. */
  readonly checkedAt: number;
}

/** Everybody who is signed in; kept sealed in the state, so that a restart signs nobody out. */
export class SignIns {
  readonly #store: TokenStore;
  readonly #keys: Keys;
  readonly #known = new Map<string, SignIn>();

  constructor(store: TokenStore, keys: Keys) {
    this.#store = store;
    this.#keys = keys;
    for (const { id, sealed } of store.loadSecrets('sign-in')) {
      const text = keys.unseal(sealed, `sign-in ${id}`);
      if (text !== undefined) this.#known.set(id, JSON.parse(text));
    }
  }

  /** One that isn't over. */
  find(id: string): SignIn | undefined {
    const signIn = this.#known.get(id);
    return signIn && this.#store.clock.now() < signIn.until ? signIn : undefined;
  }

  /** For `duration` milliseconds. Rejects with a StoreError. */
  async add(given: Pick<SignIn, 'user' | 'proof' | 'provider'>, duration: number): Promise<SignIn> {
    const now = this.#store.clock.now();
    const signIn = { ...given, id: randomId(), until: now + duration, checkedAt: now };
    await this.#save(signIn);
    this.#known.set(signIn.id, signIn);
    return signIn;
  }

  /** The provider has said yes again. One that has ended meanwhile stays so. Rejects with a StoreError. */
  async renew(signIn: SignIn, provider: ProviderTokens): Promise<void> {
    if (!this.#known.has(signIn.id)) return;
    const renewed = { ...signIn, provider, checkedAt: this.#store.clock.now() };
    this.#known.set(signIn.id, renewed);
    await this.#save(renewed);
  }

  /** At once; rejects with a StoreError where a restart would bring it back. */
  async end(id: string): Promise<void> {
    if (this.#known.delete(id)) await this.#store.save({ forgetSecrets: [{ kind: 'sign-in', id }] });
  }

  /** Forgets those whose time is over. */
  async sweep(): Promise<void> {
    const over = [...this.#known.keys()].filter((id) => this.find(id) === undefined);
    for (const id of over) this.#known.delete(id);
    if (over.length > 0)
      await this.#store.save({ forgetSecrets: over.map((id) => ({ kind: 'sign-in', id })) });
  }

  #save(signIn: SignIn): Promise<void> {
    const { id } = signIn;
    const sealed = this.#keys.seal(JSON.stringify(signIn), `sign-in ${id}`);
    return this.#store.save({ secrets: [{ kind: 'sign-in', id, sealed }] });
  }
}
