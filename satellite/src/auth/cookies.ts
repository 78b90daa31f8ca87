import type { IncomingMessage } from 'node:http';

/**
 * Our own cookies. `__Host-` (RFC 6265bis section 4.1.3.2): set by this host alone over HTTPS and sent to it alone, so
 * that no sibling site can set one for another.
 */
export const OWN_COOKIES = '__Host-satellite';
/** On a site: who visits it. */
export const SITE_COOKIE = `${OWN_COOKIES}-site`;
/** On a site: which browser has asked to be let in. */
export const VISIT_COOKIE = `${OWN_COOKIES}-visit`;
/** On the host where people sign in: who they are. */
export const USER_COOKIE = `${OWN_COOKIES}-user`;
/** There, too: which browser was sent to the provider, and what it must come back with. */
export const PROVIDER_COOKIE = `${OWN_COOKIES}-provider`;

/** The value of a cookie; undefined where it is missing, or there twice. */
export function cookieOf({ headers }: IncomingMessage, name: string): string | undefined {
  const values = (headers.cookie ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
  return values.length === 1 ? values[0] : undefined;
}

/** A Set-Cookie field; `seconds` of 0 take the cookie away. */
export function setCookie(name: string, value: string, seconds: number): string {
  return `${name}=${value}; Path=/; Max-Age=${Math.floor(seconds)}; Secure; HttpOnly; SameSite=Lax`;
}
