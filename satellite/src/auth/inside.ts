import type { Edits } from '../dataplane/engine.ts';
import { OWN_COOKIES } from './cookies.ts';

/** The cookie in which Jupyter keeps who has logged in: `username-` and the host. */
const LOGIN_COOKIE = 'username-';
/** Fields of a request that are not the visitor's to say. */
const replaced: ReadonlySet<string> = new Set(['authorization', 'accept-encoding']);
/** Of Jupyter's cookies that are kept for one visitor. */
const MAX_KEPT = 8;
const MAX_COOKIE = 4096;

/**
 * What passes between a visitor who has been let in and a notebook: the Jupyter token is added on the way in, and taken
 * out of what comes back. Jupyter's login cookies are kept here: it takes a visitor without one for somebody new.
 */
export class Inside implements Edits {
  readonly secret: Buffer;
  readonly #token: string;
  /** As it would be in the name of a field: case does not count there, and HTTP/2 makes names lower case. */
  readonly #tokenInNames: string;
  readonly #header: string | undefined;
  readonly #kept = new Map<string, string>();
  /** In the place of the token: as long, and of a character that no token has. */
  readonly #blank: string;

  /** `header` is the field, in lower case, in which a front says who the visitor is. */
  constructor(jupyterToken: string, header: string | undefined) {
    this.#token = jupyterToken;
    this.#tokenInNames = jupyterToken.toLowerCase();
    this.secret = Buffer.from(jupyterToken);
    this.#header = header;
    this.#blank = '.'.repeat(jupyterToken.length);
  }

  /** Without the parameter that Jupyter would believe before anything else. */
  target(url: string): string {
    const at = url.indexOf('?');
    return at < 0 ? url : withoutToken(url, at);
  }

  request(fields: readonly string[]): string[] {
    const kept: string[] = [];
    const cookies: string[] = [];
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i] as string;
      const value = fields[i + 1] as string;
      const lower = name.toLowerCase();
      if (lower === 'cookie') cookies.push(...value.split(';').map((pair) => pair.trim()));
      else if (!(replaced.has(lower) || lower === this.#header)) kept.push(name, value);
    }
    const theirs = cookies.filter((pair) => pair !== '' && !isOurs(pair));
    const all = [...theirs, ...[...this.#kept].map(([name, value]) => `${name}=${value}`)];
    // What is compressed can't be looked through.
    kept.push('Authorization', `token ${this.#token}`, 'Accept-Encoding', 'identity');
    if (all.length > 0) kept.push('Cookie', all.join('; '));
    return kept;
  }

  response(fields: readonly string[]): string[] {
    const shown: string[] = [];
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i] as string;
      const value = fields[i + 1] as string;
      const lower = name.toLowerCase();
      if (lower.includes(this.#tokenInNames) || (lower === 'set-cookie' && this.#takes(value))) continue;
      shown.push(name, value.replaceAll(this.#token, this.#blank));
    }
    return shown;
  }

  #takes(field: string): boolean {
    if (!isOurs(field)) return false;
    const [, name = '', value = ''] = /^\s*([^=;]*?)\s*=\s*([^;]*)/.exec(field) ?? [];
    if (!name.startsWith(LOGIN_COOKIE) || field.length > MAX_COOKIE) return true;
    if (value === '' || value === '""') this.#kept.delete(name);
    else if (this.#kept.size < MAX_KEPT || this.#kept.has(name)) this.#kept.set(name, value.trim());
    return true;
  }
}

/** Cookies that neither side may give the other: those of the proxy, and Jupyter's logins. */
function isOurs(cookie: string): boolean {
  // Tornado strips what Python takes for white space, U+0085 for one.
  const name = cookie.replace(/^[^!-~]+/, '').toLowerCase();
  return name.startsWith(OWN_COOKIES.toLowerCase()) || name.startsWith(LOGIN_COOKIE);
}

/** Python before 3.10 takes a semicolon for an ampersand, too. */
function withoutToken(url: string, at: number): string {
  const parts = url.slice(at + 1).split(/(?<=[&;])/);
  const kept = parts.filter((part) => !isToken(part));
  if (kept.length === parts.length) return url;
  const query = kept.join('').replace(/[&;]$/, '');
  return query === '' ? url.slice(0, at) : `${url.slice(0, at)}?${query}`;
}

function isToken(part: string): boolean {
  const name = part.split(/[=&;]/, 1)[0] ?? '';
  try {
    return decodeURIComponent(name.replaceAll('+', ' ')).trim() === 'token';
  } catch {
    return false;
  }
}
