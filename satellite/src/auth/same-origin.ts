import type { IncomingMessage } from 'node:http';

/**
 * Does a page of another site send this, in the browser of somebody who may come in? His cookies come along (sites are
 * siblings, which SameSite takes for one), and Jupyter does not look: to who brings its token it trusts blindly. Only
 * following a link is allowed. Fetch Metadata, and Origin for browsers without it; programs send neither.
 */
export function isCrossSite({ method, headers }: IncomingMessage): boolean {
  const { origin, host, 'sec-fetch-site': site, 'sec-fetch-mode': mode, 'sec-fetch-dest': target } = headers;
  if (site !== undefined && site !== 'same-origin' && site !== 'none')
    return method !== 'GET' || mode !== 'navigate' || target !== 'document';
  return origin !== undefined && !isOriginOf(origin, host ?? '');
}

/** A form of our own, sent from our own page? Every browser says where a POST comes from. */
export function isOwnForm({ headers: { origin, host, 'sec-fetch-site': site } }: IncomingMessage): boolean {
  if (site !== undefined) return site === 'same-origin';
  return origin !== undefined && isOriginOf(origin, host ?? '');
}

function isOriginOf(origin: string, host: string): boolean {
  const own = host
    .toLowerCase()
    .replace(/\.(?=:|$)/, '')
    .replace(/:443$/, '');
  return origin.toLowerCase() === `https://${own}`;
}
