import type { SatelliteConfig } from '../config.ts';
import { tokenPattern } from '../tokens/words.ts';
import { type DirectHost, findDirectHost } from './direct.ts';
import { decideHost } from './host.ts';
import { type Route, Routes } from './routes.ts';

/** Where a request goes, by its Host and, where one host has several sites, its path. */
export type Destination =
  | { readonly kind: 'manage' }
  | {
      readonly kind: 'site';
      readonly label: string;
      /** What every path of the site begins with: nothing, or `/<words>` where sites share a host name. */
      readonly prefix: string;
    }
  | { readonly kind: 'route'; readonly route: Route }
  | { readonly kind: 'direct'; readonly direct: DirectHost }
  | { readonly kind: 'apex' }
  /** A site's path without the slash that relative links need; `path` is the one with it. */
  | { readonly kind: 'unslashed'; readonly path: string }
  /** A path of a host of ours that leads nowhere; `name` is what stands where a session's words would. */
  | { readonly kind: 'nowhere'; readonly name?: string };

/** Names that aren't ours, what can't be a name, and paths that lead out of their place. */
export type Stranger = { readonly kind: 'foreign' | 'invalid' | 'way-out' };

const APEX: Destination = { kind: 'apex' };
const NOWHERE: Destination = { kind: 'nowhere' };
const FOREIGN: Stranger = { kind: 'foreign' };

/**
 * Decides exactly, by the bytes of name and path: nothing is decoded or resolved, so that what is behind the proxy gets
 * the very path that was decided on.
 */
export class Destinations {
  readonly #config: SatelliteConfig;
  readonly #routes: Routes;

  constructor(config: SatelliteConfig) {
    this.#config = config;
    this.#routes = new Routes(config.routes);
  }

  /** The label of a name that is a session's site and nothing else, whatever the path. */
  siteLabel(name: string): string | undefined {
    const { domain, siteStyle, directHosts } = this.#config;
    if (siteStyle === 'path' || this.#routes.has(name)) return undefined;
    const host = decideHost(name, domain);
    if (host.kind !== 'site' || findDirectHost(directHosts, host.label)) return undefined;
    return host.label;
  }

  find(name: string | undefined, url: string): Destination | Stranger {
    const { domain, siteStyle, directHosts } = this.#config;
    const host = decideHost(name, domain);
    if (host.kind === 'manage') return host;
    if (host.kind === 'invalid' || name === undefined) return { kind: 'invalid' };
    const byPath = siteStyle === 'path' && host.kind === 'apex' ? siteByPath(url) : undefined;
    if (byPath?.kind === 'site' || byPath?.kind === 'unslashed') return byPath;
    const routed = this.#routes.find(name, url);
    if (routed) return routed;
    if (host.kind === 'apex') return byPath ?? host;
    if (this.#routes.has(name)) return NOWHERE;
    // Without a wildcard there are no names for sites: a request for one was meant for somebody else.
    if (host.kind === 'foreign' || siteStyle === 'path') return FOREIGN;
    const direct = directHosts.length > 0 ? findDirectHost(directHosts, host.label) : undefined;
    return direct ? { kind: 'direct', direct } : { ...host, prefix: '' };
  }
}

/** `/<words>/…`, in lower case and spelled out. */
function siteByPath(url: string): Destination {
  const [, label = '', next = ''] = /^\/([^/?]*)([/?]?)/.exec(url) ?? [];
  if (label === '' && next !== '/') return APEX;
  if (!tokenPattern.test(label)) return { kind: 'nowhere', name: label };
  if (next === '/') return { kind: 'site', label, prefix: `/${label}` };
  return { kind: 'unslashed', path: `/${label}/${url.slice(label.length + 1)}` };
}
