import { z } from 'zod';
import { SIGN_IN_LABEL } from '../auth/label.ts';
import { tokenPattern } from '../tokens/words.ts';
import { decideHost } from './host.ts';
import { normalizeAddress } from './networks.ts';

/** A fixed site: what is asked of a host name, or below a path of it, goes to one other server. */
export interface Route {
  readonly host: string;
  /** `/jhub`, or nothing for the root. */
  readonly path: string;
  /** An origin: scheme, name or address, port. */
  readonly to: URL;
  readonly stripPrefix: boolean;
  /** PEM file of the authority to trust, in place of the system's. */
  readonly caFile?: string | undefined;
}

const upstream = z.string().transform((text, context) => {
  const url = URL.parse(text);
  const isOrigin = url?.pathname === '/' && url.search + url.hash + url.username + url.password === '';
  if (url && isOrigin && /^https?:$/.test(url.protocol)) return url;
  context.addIssue(`"${text}" is not a server; write http://HOST:PORT or https://HOST:PORT, without a path`);
  return z.NEVER;
});

export const routeSchema = z.strictObject({
  to: upstream,
  stripPrefix: z.boolean('is true or false').default(false),
  caFile: z.string().min(1).optional(),
});

/** Written as `host` or `host/path`: one or more segments of plain letters, digits, and `-._~`. */
const PLACE = /^([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)((?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~-]+)*)\/?$/;

/** A URL alone is `{ to: URL }`. */
export const routesSchema = z
  .record(
    z.string(),
    z.preprocess((value) => (typeof value === 'string' ? { to: value } : value), routeSchema),
    'must have a place in each line, with its server: HOST/PATH: http://HOST:PORT',
  )
  .transform((given, context): Route[] =>
    Object.entries(given).flatMap(([place, route]) => {
      const [, host, path = ''] = PLACE.exec(place) ?? [];
      const fault =
        host === undefined
          ? 'is not a place; write HOST or HOST/PATH, in small letters and without a port'
          : path === '' && route.stripPrefix
            ? 'has no path that stripPrefix could take away'
            : route.caFile !== undefined && route.to.protocol === 'http:'
              ? 'has a caFile, and no TLS that it would be for'
              : undefined;
      if (host !== undefined && fault === undefined) return [{ ...route, host, path }];
      context.addIssue({ code: 'custom', path: [place], message: fault ?? '' });
      return [];
    }),
  );

/** Where a fixed site is served. */
export function serverOf({ to }: Route): { readonly host: string; readonly port: number } {
  const port = Number(to.port) || (to.protocol === 'https:' ? 443 : 80);
  return { host: to.hostname.replace(/^\[|\]$/g, ''), port };
}

/** What is wrong with routes of a proxy that listens where `isOwn` says, one line a fault. */
export function loopFaults(
  routes: readonly Route[],
  isOwn: (host: string, port: number) => boolean,
): string[] {
  return routes.flatMap((route) => {
    const { host, port } = serverOf(route);
    if (!addressesOf(host).some((address) => isOwn(address, port))) return [];
    const { host: name, path, to } = route;
    return [`routes.${name}${path}: ${to.origin} is this proxy itself; write where the site is served`];
  });
}

/** What is connected to, as far as that is certain without asking anybody. */
function addressesOf(host: string): readonly string[] {
  // RFC 6761 section 6.3. The unspecified address is this host itself (Linux).
  if (/(^|\.)localhost\.?$/.test(host)) return ['127.0.0.1', '::1'];
  if (host === '0.0.0.0' || host === '::') return [host, '127.0.0.1', '::1'];
  return [normalizeAddress(host) ?? host];
}

/** What is wrong with routes beside the names that are taken already, one line a fault. */
export function routeFaults(
  routes: readonly Route[],
  domain: string,
  siteStyle: 'host' | 'path',
  signsIn: boolean,
): string[] {
  return routes.flatMap(({ host, path }) => {
    const taken = decideHost(host, domain);
    const isSite =
      siteStyle === 'host'
        ? taken.kind === 'site' && tokenPattern.test(taken.label)
        : taken.kind === 'apex' && tokenPattern.test(path.split('/')[1] ?? '');
    if (signsIn && taken.kind === 'site' && taken.label === SIGN_IN_LABEL)
      return [`routes.${host}${path}: this is where people sign in (auth)`];
    if (taken.kind === 'manage') return [`routes.${host}${path}: this name is the management's alone`];
    return isSite ? [`routes.${host}${path}: this could be the address of a session`] : [];
  });
}

/** Segments that another server may take for a way out of the path (RFC 3986 section 5.2.4), however they are spelled. */
const WAY_OUT = /(?:\/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:\/|\\|;|%2f|%5c|%3b|$)/i;

export type Routed =
  | { readonly kind: 'route'; readonly route: Route }
  | { readonly kind: 'unslashed'; readonly path: string }
  | { readonly kind: 'way-out' };

/** The fixed sites, by host name. */
export class Routes {
  /** The longest path of a host first. */
  readonly #byHost: ReadonlyMap<string, readonly Route[]>;

  constructor(routes: readonly Route[]) {
    const sorted = routes.toSorted((a, b) => b.path.length - a.path.length);
    this.#byHost = Map.groupBy(sorted, ({ host }) => host);
  }

  has(name: string): boolean {
    return this.#byHost.has(name);
  }

  /** The fixed site that a path of this host belongs to, by its bytes; undefined where it belongs to none. */
  find(name: string, url: string): Routed | undefined {
    const [path = ''] = url.split('?', 1);
    for (const route of this.#byHost.get(name) ?? []) {
      if (route.path !== '' && !path.startsWith(route.path)) continue;
      const rest = path.slice(route.path.length);
      if (route.path !== '' && rest === '')
        return { kind: 'unslashed', path: `${route.path}/${url.slice(route.path.length)}` };
      if (!rest.startsWith('/')) continue;
      return route.path !== '' && WAY_OUT.test(rest) ? { kind: 'way-out' } : { kind: 'route', route };
    }
    return undefined;
  }
}
