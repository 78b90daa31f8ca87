import type { SatelliteConfig } from '../config.ts';
import { tokenPattern } from '../tokens/words.ts';
import { decideHost } from './host.ts';

/** Where a request goes, by its Host and, where one host has several sites, its path. */
export type Destination =
  | { readonly kind: 'manage' }
  | {
      readonly kind: 'site';
      readonly label: string;
      /** What every path of the site begins with: nothing, or `/<words>` where sites share a host name. */
      readonly prefix: string;
    }
  | { readonly kind: 'apex' }
  /** A site's path without the slash that relative links need; `path` is the one with it. */
  | { readonly kind: 'unslashed'; readonly path: string }
  /** A path of a host of ours that leads nowhere; `name` is its first segment. */
  | { readonly kind: 'nowhere'; readonly name: string };

/** Names that aren't ours, and what can't be a name. */
export type Stranger = { readonly kind: 'foreign' | 'invalid' };

const APEX: Destination = { kind: 'apex' };

/**
 * Decides exactly, by the bytes of the path: nothing is decoded or resolved, so that what is behind the proxy gets the
 * very path that was decided on.
 */
export function findDestination(
  { domain, siteStyle }: SatelliteConfig,
  name: string | undefined,
  url: string,
): Destination | Stranger {
  const host = decideHost(name, domain);
  if (siteStyle === 'host') return host.kind === 'site' ? { ...host, prefix: '' } : host;
  // There are no names for sites: a request for one was meant for somebody else.
  if (host.kind === 'site') return { kind: 'foreign' };
  return host.kind === 'apex' ? siteByPath(url) : host;
}

/** `/<words>/…`, in lower case and spelled out. */
function siteByPath(url: string): Destination {
  const [, label = '', next = ''] = /^\/([^/?#]*)([/?#]?)/.exec(url) ?? [];
  if (label === '' && next !== '/') return APEX;
  if (!tokenPattern.test(label)) return { kind: 'nowhere', name: label };
  if (next === '/') return { kind: 'site', label, prefix: `/${label}` };
  return { kind: 'unslashed', path: `/${label}/${url.slice(label.length + 1)}` };
}
