import { setTimeout as pause } from 'node:timers/promises';
import type { TokenStore } from '../tokens/store.ts';
import { type Keys, randomId } from './keys.ts';
import { Sealed } from './sealed.ts';

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
  /** When one of several satellites began to ask it. */
  readonly askedAt?: number;
}

/** Until another satellite asks, where the one that had begun to has said nothing. */
const ASKING_MS = 30_000;
/** How often who waits for what it hears looks. */
const LOOK_MS = 20;

/** Everybody who is signed in; kept sealed in the state, so that a restart signs nobody out. */
export class SignIns {
  readonly #store: TokenStore;
  readonly #sealed: Sealed<SignIn>;

  constructor(store: TokenStore, keys: Keys) {
    this.#store = store;
    this.#sealed = new Sealed(store, keys, 'sign-in');
  }

  /** One that isn't over. */
  find(id: string): SignIn | undefined {
    const signIn = this.#sealed.get(id);
    return signIn && this.#store.clock.now() < signIn.until ? signIn : undefined;
  }

  /** For `duration` milliseconds. Rejects with a StoreError. */
  async add(given: Pick<SignIn, 'user' | 'proof' | 'provider'>, duration: number): Promise<SignIn> {
    const now = this.#store.clock.now();
    const signIn = { ...given, id: randomId(), until: now + duration, checkedAt: now };
    await this.#sealed.change(signIn.id, () => signIn);
    return signIn;
  }

  /**
   * Is it this satellite that asks the provider about a sign-in that is due? A refresh token can often be used only once.
   * Resolves to the sign-in as it is by then, or undefined. Rejects with a StoreError.
   */
  async claim(id: string, isDue: (current: SignIn) => boolean): Promise<SignIn | undefined> {
    if (!this.#store.isShared) return this.find(id);
    const now = this.#store.clock.now();
    return this.#sealed.change(id, (current) => {
      return current && !isAsked(current, now) && isDue(current) ? { ...current, askedAt: now } : undefined;
    });
  }

  /** Whether the provider has said yes since, once another satellite that has begun to ask it is done or given up. */
  async outcome({ id, checkedAt }: SignIn): Promise<boolean> {
    for (;;) {
      const current = this.find(id);
      if (current === undefined) return false;
      if (current.checkedAt > checkedAt) return true;
      if (!isAsked(current, this.#store.clock.now())) return false;
      await pause(LOOK_MS);
    }
  }

  /** The provider has said nothing: another satellite may ask. Rejects with a StoreError. */
  async release({ id }: SignIn): Promise<void> {
    if (!this.#store.isShared) return;
    await this.#sealed.change(id, (current) => current && { ...current, askedAt: 0 });
  }

  /** The provider has said yes again. One that has ended meanwhile stays so. Rejects with a StoreError. */
  async renew({ id }: SignIn, provider: ProviderTokens): Promise<void> {
    const checkedAt = this.#store.clock.now();
    await this.#sealed.change(id, (current) => current && { ...current, provider, checkedAt, askedAt: 0 });
  }

  /** Rejects with a StoreError where a restart would bring it back. */
  end(id: string): Promise<void> {
    return this.#sealed.forget([id]);
  }

  /** Forgets those whose time is over. */
  sweep(): Promise<void> {
    return this.#sealed.forget(this.#sealed.ids().filter((id) => this.find(id) === undefined));
  }
}

function isAsked({ askedAt = 0 }: SignIn, now: number): boolean {
  return now - askedAt < ASKING_MS;
}
