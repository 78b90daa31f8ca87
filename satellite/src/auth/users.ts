import type { AuthConfig } from '../config.ts';
import type { Log } from '../log.ts';
import type { StateClock } from '../tokens/clock.ts';
import { Htpasswd } from './htpasswd.ts';
import type { Keys } from './keys.ts';
import { NotAllowedError, OidcProvider } from './oidc.ts';
import type { SignIn, SignIns } from './sign-ins.ts';

/** A provider that is away turns nobody out for so many rounds of asking. */
const ROUNDS_OF_GRACE = 10;

interface Parts {
  readonly config: AuthConfig;
  readonly keys: Keys;
  readonly signIns: SignIns;
  readonly clock: StateClock;
  /** The public address of the host on which people sign in. */
  readonly authUrl: () => string;
  /** Hears of a state that can't be read or written, and of bugs. */
  readonly onError: (error: unknown) => void;
  readonly log: Log;
}

/** Who there is: the users of a file, or of a provider. Neither, where a front knows them. */
export class Users {
  readonly htpasswd: Htpasswd | undefined;
  readonly provider: OidcProvider | undefined;
  readonly #parts: Parts;
  /** The hashes that sign-ins were found to be made with. */
  readonly #proven = new WeakMap<SignIn, string>();
  /** Questions to the provider that are under way, by sign-in. */
  readonly #asked = new Map<string, Promise<boolean>>();
  /** When the provider was last asked in vain. */
  readonly #failedAt = new Map<string, number>();

  /** Throws a ConfigError. */
  constructor(parts: Parts) {
    this.#parts = parts;
    const { config, authUrl, log } = parts;
    this.htpasswd = config.htpasswd
      ? new Htpasswd(config.htpasswd, (message) => log({ event: 'auth-file', message }))
      : undefined;
    this.provider = config.oidc && new OidcProvider(config.oidc, () => `${authUrl()}callback`);
  }

  /** What tells one password of a user from the next, without telling anything else. Undefined for who is no user. */
  proofOf(user: string): string | undefined {
    const hash = this.htpasswd?.hashOf(user);
    return hash === undefined ? undefined : this.#parts.keys.mac(proofText(user, hash));
  }

  /** Does a sign-in still hold? Resolves later where the provider has to be asked. */
  standing(signIn: SignIn): boolean | Promise<boolean> {
    if (this.htpasswd) {
      const hash = this.htpasswd.hashOf(signIn.user);
      if (hash === undefined || signIn.proof === null) return false;
      // A signature takes longer than all the rest, and nothing changes between two requests.
      if (this.#proven.get(signIn) === hash) return true;
      const isProven = this.#parts.keys.verifies(proofText(signIn.user, hash), signIn.proof);
      if (isProven) this.#proven.set(signIn, hash);
      return isProven;
    }
    if (this.provider === undefined || signIn.provider === null) return false;
    return this.#isDue(signIn) ? this.#ask(signIn) : this.#isInGrace(signIn);
  }

  /** Forgets what was about sign-ins that are over: theirs may end while the provider is away. */
  sweep(): void {
    for (const id of this.#failedAt.keys())
      if (this.#parts.signIns.find(id) === undefined) this.#failedAt.delete(id);
  }

  async close(): Promise<void> {
    await this.htpasswd?.close();
  }

  #isDue({ id, checkedAt }: SignIn): boolean {
    const pause = this.#parts.config.oidc?.recheck ?? 0;
    const last = Math.max(checkedAt, this.#failedAt.get(id) ?? 0);
    return this.#parts.clock.now() - last >= pause;
  }

  /** Has the provider said yes lately enough, in case that it is away? */
  #isInGrace({ checkedAt }: SignIn): boolean {
    const { clock, config } = this.#parts;
    return clock.now() - checkedAt < ROUNDS_OF_GRACE * (config.oidc?.recheck ?? 0);
  }

  /** One question at a time for each, since a refresh token can often be used only once. */
  #ask(signIn: SignIn): Promise<boolean> {
    const asked = this.#asked.get(signIn.id) ?? this.#recheckOnce(signIn);
    this.#asked.set(signIn.id, asked);
    return asked.finally(() => this.#asked.delete(signIn.id));
  }

  /**
   * Of several satellites one asks; the others believe what was said last until they hear, and wait for that where it is too
   * long ago: a laptop that wakes up asks all of them at once.
   */
  async #recheckOnce(signIn: SignIn): Promise<boolean> {
    try {
      const { signIns } = this.#parts;
      const claimed = await signIns.claim(signIn.id, (current) => this.#isDue(current));
      if (claimed) return await this.#recheck(claimed);
      return this.#isInGrace(signIn) || (await signIns.outcome(signIn));
    } catch (error) {
      this.#parts.onError(error);
      return this.#isInGrace(signIn);
    }
  }

  async #recheck(signIn: SignIn): Promise<boolean> {
    const { signIns, clock, onError, log } = this.#parts;
    const { id, user, provider } = signIn;
    if (provider === null || this.provider === undefined) return false;
    try {
      const renewed = await this.provider.recheck(user, provider);
      this.#failedAt.delete(id);
      await signIns.renew(signIn, renewed);
      return true;
    } catch (error) {
      if (error instanceof NotAllowedError) {
        log({ event: 'signed-out', user, why: error.message });
        this.#failedAt.delete(id);
        await signIns.end(id).catch(onError);
        return false;
      }
      log({ event: 'provider-away', message: (error as Error).message });
      this.#failedAt.set(id, clock.now());
      await signIns.release(signIn);
      return this.#isInGrace(signIn);
    }
  }
}

function proofText(user: string, hash: string): string {
  return `password ${user} ${hash}`;
}
