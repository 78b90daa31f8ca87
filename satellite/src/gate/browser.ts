import type { IncomingMessage } from 'node:http';

/**
 * Does a page in a browser send this, rather than a program or a person? Somebody's page, in a browser that is inside
 * and knows nothing of it, must not use what only those inside may. Programs send neither field; every browser says
 * where a request comes from, with "none" for an address that was typed (Fetch Metadata, Sec-Fetch-Site).
 */
export function comesFromPage({ headers }: IncomingMessage): boolean {
  const site = headers['sec-fetch-site'];
  return headers.origin !== undefined || (site !== undefined && site !== 'none');
}
