import { hashSync } from 'bcryptjs';
import type { SatelliteConfigInput } from '../src/config.ts';
import {
  type Answer,
  api,
  ask,
  DOMAIN,
  issue,
  NODE1,
  OUTSIDE,
  siteHost,
  type TestSatellite,
} from './support.ts';

export const JUPYTER_TOKEN = '5ecre75ecre75ecre75ecre75ecre75ecre75ecre75ecre7';
export const SIGN_IN_HOST = `auth.${DOMAIN}`;

/** Visitors come through a front that does TLS, so that cookies are Secure and tests need no certificates. */
export const behindFront = { trustedProxies: [`${OUTSIDE}/32`] } satisfies Partial<SatelliteConfigInput>;

/** A line of an htpasswd file, cheap to check. */
export const line = (user: string, password = `${user}'s password`): string =>
  `${user}:${hashSync(password, 4)}\n`;

/** What a browser sends along when somebody follows a link or types an address. */
export const navigation = {
  Accept: 'text/html,application/xhtml+xml',
  'Sec-Fetch-Site': 'none',
  'Sec-Fetch-Mode': 'navigate',
  'Sec-Fetch-Dest': 'document',
};

/** Everything that was said to a visitor on the way. */
export interface Visited extends Answer {
  readonly url: URL;
  readonly trail: readonly Answer[];
}

/** Somebody with a browser: keeps cookies for each host, and follows redirects. */
export class Person {
  readonly #proxy: Pick<TestSatellite, 'port'>;
  readonly #cookies = new Map<string, Map<string, string>>();

  /** A proxy whose port is another one each time is several behind one address. */
  constructor(proxy: Pick<TestSatellite, 'port'>) {
    this.#proxy = proxy;
  }

  cookie(host: string): string {
    return [...(this.#cookies.get(host) ?? [])].map(([name, value]) => `${name}=${value}`).join('; ');
  }

  setCookie(host: string, field: string): void {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(field) ?? [];
    const jar = this.#cookies.get(host) ?? new Map();
    this.#cookies.set(host, jar);
    if (/; Max-Age=0(;|$)/.test(field)) jar.delete(name);
    else jar.set(name, value);
  }

  /** One request, as a page's own script or an address that was typed. */
  async ask(
    url: string | URL,
    options: { method?: string; headers?: Record<string, string>; body?: string } = {},
  ): Promise<Answer> {
    const { hostname: host, pathname, search } = new URL(url);
    const cookie = this.cookie(host);
    const headers = { ...(cookie && { Cookie: cookie }), ...options.headers };
    const path = `${pathname}${search}`;
    const answer = await ask(this.#proxy.port, { ...options, host, path, headers, from: OUTSIDE });
    for (const field of answer.headers['set-cookie'] ?? []) this.setCookie(host, field);
    return answer;
  }

  /** Opens an address and goes where it leads; away from this proxy's domain only with `elsewhere`. */
  async open(
    url: string | URL,
    options: { method?: string; headers?: Record<string, string>; body?: string } = {},
    elsewhere?: (url: URL) => Promise<URL>,
  ): Promise<Visited> {
    const trail: Answer[] = [];
    let at = new URL(url);
    let answer = await this.ask(at, { ...options, headers: { ...navigation, ...options.headers } });
    trail.push(answer);
    while (answer.headers.location !== undefined && answer.status === 303 && trail.length < 12) {
      at = new URL(answer.headers.location, at);
      if (!at.hostname.endsWith(`.${DOMAIN}`)) {
        if (elsewhere === undefined) throw new Error(`sent to ${at}`);
        at = await elsewhere(at);
      }
      answer = await this.ask(at, { headers: navigation });
      trail.push(answer);
    }
    return { ...answer, url: at, trail };
  }

  /** Fills in the form on a sign-in page. */
  async signIn(page: Visited, user: string, password = `${user}'s password`): Promise<Visited> {
    const hidden = [...page.body.matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)">/g)].map(
      ([, name = '', value = '']) => [name, unescaped(value)] as [string, string],
    );
    const body = new URLSearchParams([...hidden, ['user', user], ['password', password]]).toString();
    return this.open(`https://${SIGN_IN_HOST}/sign-in`, {
      method: 'POST',
      body,
      headers: {
        Origin: `https://${SIGN_IN_HOST}`,
        'Sec-Fetch-Site': 'same-origin',
        'Content-Type': 'application/x-www-form-urlencoded',
      },
    });
  }

  signOut(): Promise<Visited> {
    return this.open(`https://${SIGN_IN_HOST}/sign-out`, {
      method: 'POST',
      headers: { Origin: `https://${SIGN_IN_HOST}`, 'Sec-Fetch-Site': 'same-origin' },
    });
  }
}

function unescaped(html: string): string {
  return html.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)));
}

/** A live site of alice's, on a port of NODE1. */
export async function gated(
  { port }: TestSatellite,
  target: number,
  { owner = 'alice', sharedWith = [] as string[], jupyterToken = JUPYTER_TOKEN } = {},
): Promise<{ token: string; url: string }> {
  const token = await issue(port);
  const access = await api(port, 'PUT', `/tokens/${token}/access`, { jupyterToken, owner, sharedWith });
  const redeemed = await api(port, 'POST', `/tokens/${token}/redeem`, { port: target, jupyterToken }, NODE1);
  if (access.status !== 200 || redeemed.status !== 200) throw new Error(access.body + redeemed.body);
  return { token, url: `https://${siteHost(token)}/` };
}
