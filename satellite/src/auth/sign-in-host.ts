import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { BodyError, readBody } from '../body.ts';
import type { SatelliteConfig } from '../config.ts';
import type { Client } from '../gate/client.ts';
import { RateLimit, shareOf } from '../gate/limits.ts';
import type { Log } from '../log.ts';
import type { Content } from '../pages/content.ts';
import { formPageHeaders, renderPage } from '../pages/page.ts';
import { send } from '../send.ts';
import { StoreError, type TokenStore } from '../tokens/store.ts';
import { tokenPattern } from '../tokens/words.ts';
import { cookieOf, PROVIDER_COOKIE, setCookie, USER_COOKIE } from './cookies.ts';
import { BusyError } from './htpasswd.ts';
import { type Keys, randomId } from './keys.ts';
import { SIGN_IN_LABEL } from './label.ts';
import { NotAllowedError, ProviderError, type Transaction } from './oidc.ts';
import {
  type Destination,
  frontContent,
  signedInContent,
  signedOutContent,
  signInContent,
  tryAgainContent,
} from './pages.ts';
import { redirect } from './redirect.ts';
import { isCrossSite, isOwnForm } from './same-origin.ts';
import { Sealed } from './sealed.ts';
import type { SignIn, SignIns } from './sign-ins.ts';
import type { Users } from './users.ts';

const CODE_MS = 60_000;
const MAX_CODES = 10_000;
const MAX_PATH = 1500;
const MAX_FORM_BYTES = 8192;
const TRIES_PER_MINUTE = { ofUser: 6, ofAddress: 60 };
/** At the provider, in seconds. */
const TRANSACTION_S = 900;

/** Somebody who has signed in, on his way back to a site. */
interface Handed extends Destination {
  readonly signIn: string;
  readonly until: number;
}

interface Parts {
  readonly config: SatelliteConfig;
  readonly keys: Keys;
  readonly signIns: SignIns;
  readonly users: Users;
  readonly mayComeIn: (user: string) => boolean;
  readonly store: TokenStore;
  /** Hears of a state that can't be read or written, and of bugs. */
  readonly onError: (error: unknown) => void;
  readonly log: Log;
}

/**
 * `auth.<domain>`: the one host on which passwords are asked for, and to which a provider sends people back. A site is
 * whatever its notebook makes of it, and must never be where one signs in. From here a visitor is handed to a site by a
 * code that works once, for one site and in one browser.
 */
export class SignInHost {
  readonly #parts: Parts;
  readonly #codes: Sealed<Handed>;
  readonly #triesOfUser = new RateLimit(TRIES_PER_MINUTE.ofUser);
  readonly #triesOfAddress = new RateLimit(TRIES_PER_MINUTE.ofAddress);

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#codes = new Sealed(parts.store, parts.keys, 'code');
  }

  /** Its public address, as seen from a site that was asked for in this way. */
  url(request: IncomingMessage, to?: Destination): string {
    const query = to === undefined ? '' : `?${new URLSearchParams({ ...to })}`;
    return `https://${SIGN_IN_LABEL}.${this.#parts.config.domain}${portOf(request)}/${query}`;
  }

  /** Who was handed over with this code; once. Rejects with a StoreError. */
  async redeem(code: string): Promise<Handed | undefined> {
    const handed = await this.#codes.take(code);
    return handed && this.#parts.store.clock.now() < handed.until ? handed : undefined;
  }

  /** Forgets codes that nobody has come back with. Rejects with a StoreError. */
  sweep(): Promise<void> {
    const now = this.#parts.store.clock.now();
    return this.#codes.forget(this.#codes.ids().filter((code) => (this.#codes.get(code)?.until ?? 0) <= now));
  }

  /** Answers a request to this host. */
  async answer(request: IncomingMessage, response: ServerResponse, client: Client): Promise<void> {
    const [path = '', query = ''] = (request.url ?? '').split(/\?(.*)/s);
    const reads = request.method === 'GET' || request.method === 'HEAD';
    try {
      // A page of a site could fill the browser with cookies of this host, and this host with codes.
      if (reads && isCrossSite(request)) {
        const fault = 'Pages of other sites may only lead here.\n';
        send(request, response, 403, { 'Content-Type': 'text/plain' }, fault);
      } else if (path === '/' && reads) await this.#home(request, response, new URLSearchParams(query));
      else if (path === '/callback' && reads) await this.#back(request, response, query, client);
      else if (path === '/sign-in' && request.method === 'POST')
        await this.#signIn(request, response, client);
      else if (path === '/sign-out' && request.method === 'POST') await this.#signOut(request, response);
      else send(request, response, 404, { 'Content-Type': 'text/plain' }, 'There is nothing here.\n');
    } catch (error) {
      this.#fail(request, response, error);
    }
  }

  async #home(request: IncomingMessage, response: ServerResponse, query: URLSearchParams): Promise<void> {
    const { users, log } = this.#parts;
    const to = destinationIn(query);
    const signIn = await this.#signedIn(request);
    if (signIn && to) await this.#handOver(request, response, signIn, to, []);
    else if (signIn) this.#page(request, response, 200, signedInContent(signIn.user));
    else if (users.htpasswd) this.#page(request, response, 200, signInContent(to, '', undefined));
    else if (users.provider === undefined) this.#page(request, response, 200, frontContent);
    else {
      const { url, transaction } = await users.provider.begin();
      const sealed = this.#parts.keys.seal(JSON.stringify({ transaction, to }), 'provider');
      const cookie = setCookie(
        providerCookie(transaction.state),
        sealed.toString('base64url'),
        TRANSACTION_S,
      );
      log({ event: 'sent-to-provider' });
      redirect(request, response, url, [cookie]);
    }
  }

  /** Back from the provider. */
  async #back(
    request: IncomingMessage,
    response: ServerResponse,
    query: string,
    client: Client,
  ): Promise<void> {
    const { users, keys } = this.#parts;
    const name = providerCookie(new URLSearchParams(query).get('state') ?? '');
    const sealed = Buffer.from(cookieOf(request, name) ?? '', 'base64url');
    const text = keys.unseal(sealed, 'provider');
    if (users.provider === undefined || text === undefined) {
      const status = 'You have come back from signing in too late, or with another browser.';
      this.#page(request, response, 403, tryAgainContent('You were not signed in', status));
      return;
    }
    const { transaction, to } = JSON.parse(text) as { transaction: Transaction; to?: Destination };
    const { user, provider } = await users.provider.finish(query, transaction);
    await this.#welcome(request, response, client, { user, proof: null, provider }, to, [
      setCookie(name, '', 0),
    ]);
  }

  async #signIn(request: IncomingMessage, response: ServerResponse, client: Client): Promise<void> {
    const { users, config, log } = this.#parts;
    const form = new URLSearchParams(await readBody(request, MAX_FORM_BYTES, config.limits.headerTime));
    const to = destinationIn(form);
    const user = form.get('user')?.trim() ?? '';
    const again = (status: number, fault: string): void => {
      log({ event: 'sign-in-refused', client: client.address, why: fault });
      this.#page(request, response, status, signInContent(to, user, fault));
    };
    if (users.htpasswd === undefined) {
      send(request, response, 404, { 'Content-Type': 'text/plain' }, 'There is nothing here.\n');
    } else if (!isOwnForm(request)) {
      again(403, 'This did not come from this page. Type your name and password here.');
    } else if (!this.#mayTry(client.address, user)) {
      again(429, 'Too many tries. Wait a minute before the next one.');
    } else if (!(await users.htpasswd.verify(user, form.get('password') ?? ''))) {
      again(403, 'Name and password do not belong together.');
    } else {
      const proof = users.proofOf(user) ?? null;
      await this.#welcome(request, response, client, { user, proof, provider: null }, to, []);
    }
  }

  async #welcome(
    request: IncomingMessage,
    response: ServerResponse,
    client: Client,
    who: Pick<SignIn, 'user' | 'proof' | 'provider'>,
    to: Destination | undefined,
    cookies: readonly string[],
  ): Promise<void> {
    const { config, signIns, keys, mayComeIn, log } = this.#parts;
    const { user } = who;
    if (!mayComeIn(user)) throw new NotAllowedError('You are not one of the users of this service.');
    const duration = config.auth?.signInTime ?? 0;
    const signIn = await signIns.add(who, duration);
    log({ event: 'signed-in', client: client.address, user });
    const value = `${signIn.id}.${keys.mac(userText(signIn))}`;
    const all = [...cookies, setCookie(USER_COOKIE, value, duration / 1000)];
    if (to) await this.#handOver(request, response, signIn, to, all);
    else redirect(request, response, '/', all);
  }

  async #signOut(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { users, signIns, log } = this.#parts;
    request.resume();
    if (!isOwnForm(request)) {
      send(request, response, 403, { 'Content-Type': 'text/plain' }, 'This did not come from this page.\n');
      return;
    }
    const signIn = await this.#signedIn(request);
    if (signIn) {
      await signIns.end(signIn.id);
      log({ event: 'signed-out', user: signIn.user });
    }
    const cookies = [setCookie(USER_COOKIE, '', 0)];
    const elsewhere =
      signIn?.provider && (await users.provider?.signOutUrl(signIn.provider, this.url(request)));
    if (elsewhere) redirect(request, response, elsewhere, cookies);
    else this.#page(request, response, 200, signedOutContent, cookies);
  }

  /** Sends a browser to a site with a code. */
  async #handOver(
    request: IncomingMessage,
    response: ServerResponse,
    signIn: SignIn,
    to: Destination,
    cookies: readonly string[],
  ): Promise<void> {
    const code = randomId();
    const until = this.#parts.store.clock.now() + CODE_MS;
    await this.#codes.change(code, () => ({ ...to, signIn: signIn.id, until }));
    // The oldest come first.
    await this.#codes.forget(this.#codes.ids().slice(0, -MAX_CODES));
    const { domain } = this.#parts.config;
    const url = `https://${to.site}.${domain}${portOf(request)}/.well-known/satellite/enter?code=${code}`;
    redirect(request, response, url, cookies);
  }

  /** Who this browser has signed in as, if that still holds. Rejects with a StoreError where others can't be asked. */
  async #signedIn(request: IncomingMessage): Promise<SignIn | undefined> {
    const { signIns, keys, users, mayComeIn, store } = this.#parts;
    const [id = '', mac = ''] = cookieOf(request, USER_COOKIE)?.split('.') ?? [];
    // It may have been at another satellite, just now.
    if (id !== '' && store.isShared && signIns.find(id) === undefined) await store.refresh();
    const signIn = signIns.find(id);
    if (signIn === undefined || !keys.verifies(userText(signIn), mac)) return undefined;
    return mayComeIn(signIn.user) && (await users.standing(signIn)) ? signIn : undefined;
  }

  /** Counts a try of this user from this address, and one from this address. */
  #mayTry(address: string, user: string): boolean {
    const pair = createHash('sha256')
      .update(`${shareOf(address)} ${user}`)
      .digest('hex');
    return this.#triesOfAddress.take(address) && this.#triesOfUser.take(pair);
  }

  #page(
    request: IncomingMessage,
    response: ServerResponse,
    status: number,
    content: Content,
    cookies: readonly string[] = [],
  ): void {
    const { domain } = this.#parts.config;
    // Where the answer to the form leads on to counts, too (CSP 3, form-action).
    const headers = {
      ...formPageHeaders(`'self' https://*.${domain}${portOf(request)}`),
      ...(cookies.length > 0 && { 'Set-Cookie': [...cookies] }),
    };
    send(request, response, status, headers, renderPage(content, 'rest', this.#parts.config));
  }

  #fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const { log, onError } = this.#parts;
    const { status, heading, text } = failureOf(error);
    if (status === 500 || error instanceof StoreError) onError(error);
    if (status !== 500) {
      const why = error instanceof Error ? error.message : '';
      log({ event: 'sign-in-refused', client: request.socket.remoteAddress, why });
    }
    if (!response.headersSent) this.#page(request, response, status, tryAgainContent(heading, text));
  }
}

function failureOf(error: unknown): { status: number; heading: string; text: string } {
  const heading = 'You were not signed in';
  if (error instanceof NotAllowedError) return { status: 403, heading, text: error.message };
  if (error instanceof BodyError) return { status: error.status, heading, text: error.message };
  if (error instanceof ProviderError)
    return { status: 503, heading, text: 'The provider that knows you does not answer at the moment.' };
  if (error instanceof BusyError)
    return { status: 503, heading, text: 'Very many people are signing in. Try again in a minute.' };
  if (error instanceof StoreError)
    return { status: 503, heading, text: 'The proxy can not keep its state at the moment. Try again later.' };
  return { status: 500, heading, text: 'Something went wrong inside the proxy.' };
}

/** The port that a browser has come to, with its colon; nothing for the usual one. */
function portOf({ headers }: IncomingMessage): string {
  return /:\d+$/.exec(headers.host ?? '')?.[0] ?? '';
}

/** What a site tells of a browser's visit, from which nobody can tell the visit. */
export function stateOf(visit: string): string {
  return createHash('sha256').update(visit).digest('base64url');
}

/** Where a visitor wanted to go, without what Jupyter would take for its token. */
export function returnPath(url: string): string {
  const [path = '/', query] = url.split(/\?(.*)/s);
  const kept = (query ?? '').split('&').filter((part) => part !== '' && !/^token(=|$)/i.test(part));
  const whole = kept.length > 0 ? `${path}?${kept.join('&')}` : path;
  return isPath(whole) ? whole : '/';
}

/** Of the same host, whatever a browser makes of slashes. */
function isPath(text: string): boolean {
  return text.length <= MAX_PATH && /^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(text);
}

/** Where to go on, as far as it makes sense. */
function destinationIn(query: URLSearchParams): Destination | undefined {
  const [site, state, path] = ['site', 'state', 'path'].map((name) => query.get(name) ?? '') as [
    string,
    string,
    string,
  ];
  if (!tokenPattern.test(site) || !/^[\w-]{43}$/.test(state) || !isPath(path)) return undefined;
  return { site, state, path };
}

function providerCookie(state: string): string {
  return `${PROVIDER_COOKIE}-${createHash('sha256').update(state).digest('hex').slice(0, 8)}`;
}

/** What the cookie of this host is signed for. */
function userText({ id, user, until }: SignIn): string {
  return `user ${id} ${until} ${user}`;
}
