import { tokenPattern } from '../tokens/words.ts';
import type { Edits } from './engine.ts';

/*
 * Sites that share a host name (siteStyle: path) are one origin to browsers, and only paths keep them apart. This is what
 * a proxy can do about it; what it can't is in docs/security.md.
 */

/**
 * Fields by which one site would speak for all of the host name: a service worker beyond its path, what browsers have
 * stored, other servers for the same name, reports on every address that is visited, passwords asked for in one name,
 * what is HTTPS only (with the names below it, management's among them), who is signed in.
 */
const forTheWholeOrigin: ReadonlySet<string> = new Set([
  'service-worker-allowed',
  'clear-site-data',
  'alt-svc',
  'nel',
  'report-to',
  'strict-transport-security',
  'set-login',
  'www-authenticate',
]);

/** The changes on the way to and from a site below `prefix` (`/<words>`). */
export function sharedOriginEdits(prefix: string): Edits {
  return { request: ownCookies, response: (fields) => ownFields(fields, `${prefix}/`) };
}

function ownFields(fields: readonly string[], path: string): string[] {
  const kept: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    const lower = name.toLowerCase();
    if (forTheWholeOrigin.has(lower)) continue;
    kept.push(name, lower === 'set-cookie' ? cookieForPath(value, path) : value);
  }
  return kept;
}

/** A Set-Cookie field whose cookie goes to this host and below this path, and nowhere else. */
function cookieForPath(field: string, path: string): string {
  const [pair = '', ...attributes] = field.split(';');
  let own = path;
  const kept = attributes.filter((attribute) => {
    const [, name = '', value = ''] = /^\s*([^=\s]*)\s*=?\s*(.*?)\s*$/s.exec(attribute) ?? [];
    const lower = name.toLowerCase();
    // RFC 6265 section 5.3: the last one counts.
    if (lower === 'path') own = value.startsWith(path) ? value : path;
    return lower !== 'path' && lower !== 'domain';
  });
  return [pair, ...kept, ` Path=${own}`].join(';');
}

/**
 * The cookies that can be a site's own. Another site's script may set cookies for every path: browsers put those with
 * the longest path first (RFC 6265 section 5.4), many servers believe the last, so that only the first of a name stays.
 * `__Host-` ones are for every path by definition.
 */
function ownCookies(fields: readonly string[]): string[] {
  const seen = new Set<string>();
  const kept: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    if (name.length !== 6 || name.toLowerCase() !== 'cookie') {
      kept.push(name, value);
      continue;
    }
    const own = value.split(';').filter((cookie) => {
      const cookieName = (cookie.split('=', 1)[0] ?? '').trim();
      if (seen.has(cookieName) || /^__host-/i.test(cookieName)) return false;
      seen.add(cookieName);
      return true;
    });
    if (own.length > 0) kept.push(name, own.join(';').trimStart());
  }
  return kept;
}

/**
 * Does a page of another site on the same host name ask? By its Referer, which that page can change or leave out: this
 * stops mistakes and the careless, not somebody who knows both addresses.
 */
export function comesFromSibling(
  referer: string | undefined,
  hostName: string | undefined,
  label: string,
): boolean {
  const from = referer === undefined ? null : URL.parse(referer);
  if (from === null || from.hostname !== hostName) return false;
  const first = from.pathname.split('/', 2)[1] ?? '';
  return tokenPattern.test(first) && first !== label;
}
