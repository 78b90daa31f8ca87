import type { IncomingMessage, ServerResponse } from 'node:http';
import type { SatelliteConfig } from '../config.ts';
import { normalizeAddress } from '../gate/networks.ts';
import { type Log, shortToken } from '../log.ts';
import type { Content } from '../pages/content.ts';
import { pageHeaders, renderPage } from '../pages/page.ts';
import { OWN_PREFIX } from '../pages/paths.ts';
import { acceptsPage } from '../pages/respond.ts';
import { send, sendError } from '../send.ts';
import type { TokenRecord } from '../tokens/record.ts';
import type { TokenRegistry } from '../tokens/registry.ts';
import type { TokenStore } from '../tokens/store.ts';
import { Accesses } from './access.ts';
import { blockedUsers } from './blocked.ts';
import { cookieOf, SITE_COOKIE, setCookie, VISIT_COOKIE } from './cookies.ts';
import { Inside } from './inside.ts';
import { Keys, randomId } from './keys.ts';
import { ownerlessContent, refusedContent, tryAgainContent } from './pages.ts';
import { redirect } from './redirect.ts';
import { isCrossSite } from './same-origin.ts';
import { agreeOnKeys } from './shared-keys.ts';
import { returnPath, SignInHost, stateOf } from './sign-in-host.ts';
import { type SignIn, SignIns } from './sign-ins.ts';
import { Users } from './users.ts';

/** On a site, ours also when it is live: where a visitor comes back from signing in. */
const ENTER_PATH = `${OWN_PREFIX}enter`;
/** Until somebody who must not be here any more has lost what he has open. */
const SWEEP_MS = 1000;
/** Until what belongs to nobody any more is forgotten. */
const FORGET_MS = 60_000;
/** How long a browser may take to sign in, in seconds. */
const VISIT_S = 900;

/** Somebody who may come in to a site. */
export interface Pass {
  readonly record: TokenRecord;
  readonly user: string;
  /** Undefined where a front vouches for him with every request. */
  readonly signIn: string | undefined;
}

/** What becomes of a request to a site. */
export type Verdict =
  | { readonly pass: Pass; readonly inside: Inside }
  | {
      readonly status: 303 | 401 | 403 | 503;
      readonly message: string;
      /** The same as a whole answer. */
      readonly answer: (request: IncomingMessage, response: ServerResponse) => void;
    };

export interface AuthParts {
  readonly store: TokenStore;
  readonly registry: TokenRegistry;
  /** The public address of the host on which people sign in. */
  readonly signInUrl: () => string;
  /** Hears of a state that can't be read or written, and of bugs. */
  readonly onError: (error: unknown) => void;
  readonly log: Log;
}

/** The gate in front of every site: who is there, and is this site open to him? */
export class Auth {
  readonly accesses: Accesses;
  /** The host on which people sign in. */
  readonly host: SignInHost;
  readonly #config: SatelliteConfig;
  readonly #store: TokenStore;
  readonly #registry: TokenRegistry;
  readonly #keys: Keys;
  readonly #signIns: SignIns;
  readonly #users: Users;
  readonly #isBlocked: (user: string) => boolean;
  readonly #header: string | undefined;
  readonly #log: Log;
  readonly #open = new Map<() => void, Pass>();
  /** By token and user. */
  readonly #insides = new Map<string, { readonly jupyterToken: string; readonly inside: Inside }>();
  readonly #timers: readonly NodeJS.Timeout[];

  /** Throws a ConfigError. */
  constructor(
    config: SatelliteConfig & { readonly auth: NonNullable<SatelliteConfig['auth']> },
    { store, registry, signInUrl, onError, log }: AuthParts,
  ) {
    const { auth, state } = config;
    this.#config = config;
    this.#registry = registry;
    this.#log = log;
    this.#header = auth.header?.toLowerCase();
    this.#keys = Keys.open(state, auth.keyFile);
    this.#store = store;
    this.accesses = new Accesses(store, this.#keys);
    this.#signIns = new SignIns(store, this.#keys);
    this.#isBlocked = blockedUsers(auth.blocked, auth.users, (message) =>
      log({ event: 'auth-file', message }),
    );
    this.#users = new Users({
      config: auth,
      keys: this.#keys,
      signIns: this.#signIns,
      clock: store.clock,
      authUrl: signInUrl,
      onError,
      log,
    });
    this.host = new SignInHost({
      config,
      keys: this.#keys,
      signIns: this.#signIns,
      users: this.#users,
      mayComeIn: (user) => this.#accountOf(user) !== undefined,
      store,
      onError,
      log,
    });
    this.#timers = [
      setInterval(() => this.#sweep(), SWEEP_MS).unref(),
      setInterval(() => this.#forget().catch(onError), FORGET_MS).unref(),
    ];
  }

  /** Where others share the state, makes sure that their keys are ours. Rejects with a ConfigError or a StoreError. */
  async begin(): Promise<void> {
    if (this.#store.isShared) await agreeOnKeys(this.#store, this.#keys);
  }

  /** Who sends this, and may he? Resolves later only where a provider, or other satellites, have to be asked first. */
  judge(request: IncomingMessage, record: TokenRecord): Verdict | Promise<Verdict> {
    if (isCrossSite(request)) return this.#refuse(403, 'Pages of other sites may not use this one.');
    const path = request.url?.split('?', 1)[0];
    if (path === ENTER_PATH) return this.#entering(request, record).catch(() => this.#unsure());
    if (this.#header !== undefined) return this.#judgeHeader(request, record, this.#header);
    // He may have signed in at another satellite just now.
    const isStrange =
      this.#signInOf(request, record) === undefined && cookieOf(request, SITE_COOKIE) !== undefined;
    const asked = isStrange ? this.#registry.askOthers() : undefined;
    if (asked === undefined) return this.#judgeSignIn(request, record);
    return asked.then(
      () => this.#judgeSignIn(request, record),
      () => this.#unsure(),
    );
  }

  #judgeSignIn(request: IncomingMessage, record: TokenRecord): Verdict | Promise<Verdict> {
    const signIn = this.#signInOf(request, record);
    if (signIn === undefined) return this.#unknown(request, record);
    const standing = this.#users.standing(signIn);
    const conclude = (isGood: boolean): Verdict =>
      isGood ? this.#admit(request, record, signIn.user, signIn.id) : this.#unknown(request, record);
    return typeof standing === 'boolean' ? conclude(standing) : standing.then(conclude);
  }

  /** Ends what a visitor has open once he must not be here any more. Returns what to call when it has ended by itself. */
  follow(pass: Pass, end: () => void): () => void {
    this.#open.set(end, pass);
    return () => this.#open.delete(end);
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#users.close();
  }

  #judgeHeader(request: IncomingMessage, record: TokenRecord, header: string): Verdict {
    const peer = normalizeAddress(request.socket.remoteAddress ?? '');
    const values = request.headersDistinct[header] ?? [];
    const [user] = values;
    const isVouched = peer !== undefined && this.#config.trustedProxies.contains(peer);
    if (!isVouched || values.length !== 1 || user === undefined || !/^[\x21-\x7e]{1,200}$/.test(user))
      return this.#refuse(401, 'Nobody has said who you are.');
    return this.#admit(request, record, user, undefined);
  }

  #admit(request: IncomingMessage, record: TokenRecord, user: string, signIn: string | undefined): Verdict {
    const access = this.accesses.of(record);
    if (access === undefined)
      return this.#refuse(403, 'Nobody has said whose session this is.', ownerlessContent);
    if (!this.#isOpenTo(record, user)) {
      const signOut = signIn === undefined ? undefined : this.host.url(request);
      const content = refusedContent(user, 'It belongs to somebody else.', signOut);
      return this.#refuse(403, 'This session is not open to you.', content);
    }
    return {
      pass: { record, user, signIn },
      inside: this.#insideOf(record.token, user, access.jupyterToken),
    };
  }

  #accountOf(user: string): string | undefined {
    if (this.#isBlocked(user)) return undefined;
    const users = this.#config.auth?.users;
    if (users === undefined) return user;
    return Object.hasOwn(users, user) ? users[user] : undefined;
  }

  #isOpenTo(record: TokenRecord, user: string): boolean {
    const access = this.accesses.of(record);
    const account = this.#accountOf(user);
    if (access === undefined || account === undefined) return false;
    return access.owner === account || access.sharedWith.includes(account);
  }

  /** The same one for all that a visitor does, since it keeps Jupyter's cookies for him. */
  #insideOf(token: string, user: string, jupyterToken: string): Inside {
    const key = `${token} ${user}`;
    const known = this.#insides.get(key);
    if (known?.jupyterToken === jupyterToken) return known.inside;
    const inside = new Inside(jupyterToken, this.#header);
    this.#insides.set(key, { jupyterToken, inside });
    return inside;
  }

  #signInOf(request: IncomingMessage, { token }: TokenRecord): SignIn | undefined {
    const [id = '', mac = ''] = cookieOf(request, SITE_COOKIE)?.split('.') ?? [];
    const signIn = this.#signIns.find(id);
    if (signIn === undefined || !this.#keys.verifies(siteText(token, signIn), mac)) return undefined;
    return signIn;
  }

  /** Nobody we know: a person is sent to sign in, a program is told. */
  #unknown(request: IncomingMessage, record: TokenRecord): Verdict {
    const message = 'Sign in to visit this session.';
    return {
      status: 401,
      message,
      answer: (_request, response) => {
        if (!acceptsPage(request)) {
          sendError(request, response, 401, 'sign-in', message);
          return;
        }
        const known = cookieOf(request, VISIT_COOKIE);
        const visit = known !== undefined && /^[\w-]{32}$/.test(known) ? known : randomId();
        const url = this.host.url(request, {
          site: record.token,
          state: stateOf(visit),
          path: returnPath(request.url ?? '/'),
        });
        redirect(request, response, url, [setCookie(VISIT_COOKIE, visit, VISIT_S)]);
      },
    };
  }

  /** Back from signing in, with a code for this browser and this site. */
  async #entering(request: IncomingMessage, record: TokenRecord): Promise<Verdict> {
    const code = new URLSearchParams(request.url?.split('?')[1]).get('code') ?? '';
    const visit = cookieOf(request, VISIT_COOKIE);
    const handed = await this.host.redeem(code);
    const signIn = handed && this.#signIns.find(handed.signIn);
    if (handed?.site !== record.token || visit === undefined || stateOf(visit) !== handed.state || !signIn) {
      const heading = 'You were not signed in';
      const status = 'The way back from signing in took too long, or went through another browser.';
      return this.#refuse(403, status, tryAgainContent(heading, status));
    }
    const seconds = (signIn.until - this.#registry.now()) / 1000;
    const value = `${signIn.id}.${this.#keys.mac(siteText(record.token, signIn))}`;
    return {
      status: 303,
      message: 'Come in.',
      answer: (_request, response) =>
        redirect(request, response, handed.path, [
          setCookie(SITE_COOKIE, value, seconds),
          setCookie(VISIT_COOKIE, '', 0),
        ]),
    };
  }

  /** The state can't say who is signed in. */
  #unsure(): Verdict {
    const message = 'The proxy can not look up who you are at the moment. Try again later.';
    return this.#refuse(503, message, tryAgainContent('One moment, please', message));
  }

  #refuse(status: 401 | 403 | 503, message: string, content?: Content): Verdict {
    const page = content ?? refusedContent(undefined, message, undefined);
    return {
      status,
      message,
      answer: (request, response) => {
        if (!acceptsPage(request)) sendError(request, response, status, 'refused', message);
        else send(request, response, status, pageHeaders('rest'), renderPage(page, 'rest', this.#config));
      },
    };
  }

  #isStillOpen({ record, user, signIn: id }: Pass): boolean | Promise<boolean> {
    if (!this.#isOpenTo(record, user)) return false;
    if (id === undefined) return true;
    const signIn = this.#signIns.find(id);
    return signIn !== undefined && this.#users.standing(signIn);
  }

  #sweep(): void {
    for (const [end, pass] of this.#open) {
      const isOpen = this.#isStillOpen(pass);
      if (isOpen === false) this.#turnOut(end, pass);
      else if (isOpen !== true) {
        void isOpen.then((is) => {
          if (!is && this.#open.has(end)) this.#turnOut(end, pass);
        });
      }
    }
  }

  async #forget(): Promise<void> {
    await this.#registry.askOthers();
    const exists = (token: string): boolean => this.#registry.find(token) !== undefined;
    for (const key of this.#insides.keys())
      if (!exists(key.split(' ', 1)[0] ?? '')) this.#insides.delete(key);
    this.#users.sweep();
    await Promise.all([this.#signIns.sweep(), this.accesses.sweep(exists), this.host.sweep()]);
  }

  #turnOut(end: () => void, { record, user }: Pass): void {
    this.#open.delete(end);
    this.#log({ event: 'turned-out', host: shortToken(record.token), user });
    end();
  }
}

/** What a site's cookie is signed for. */
function siteText(token: string, { id, user, until }: SignIn): string {
  return `site ${token} ${id} ${until} ${user}`;
}
