import { ConfigError, parseConfig, parseListen, type SatelliteConfig } from '../config.ts';
import { decideHost } from '../gate/host.ts';
import { tlsOptions } from '../tls.ts';

interface Address {
  readonly host: string;
  readonly port: number;
}

/** Another site on the front's port. */
export interface OtherSite {
  readonly name: string;
  readonly upstream: Address;
  readonly certificate: string;
  readonly key: string;
}

/** What a front has to do, whichever program it is. Everything in it may be written into a configuration as it is. */
export interface FrontPlan {
  readonly domain: string;
  /** Host names that are satellite's; `*.<domain>` among them where sites have names of their own. */
  readonly names: readonly string[];
  /** Where visitors come in; host `::` is every address, IPv4 and IPv6. */
  readonly listen: Address;
  readonly redirectFrom: Address;
  /** Where satellite listens. */
  readonly satellite: Address;
  /** From where it sees the front: what `trustedProxies` must hold. */
  readonly seenFrom: string;
  /** Chain and key, PEM. They may be one file. */
  readonly certificate: string;
  readonly key: string;
  /** Seconds; undefined where browsers are not to insist on HTTPS. */
  readonly hsts: number | undefined;
  /** The field in which satellite takes a user's name from the front, and that no visitor may bring. */
  readonly userField: string | undefined;
  readonly otherSites: readonly OtherSite[];
  /** Where answers to ACME challenges are: a directory, or for HAProxy, which serves no files, a server. */
  readonly acme: string;
}

/** As the command line has them. */
export interface FrontOptions {
  readonly domain?: string;
  readonly listen?: string;
  readonly redirectHttpFrom?: string;
  readonly certificate?: string;
  readonly key?: string;
  readonly otherSite?: readonly string[];
  readonly acme?: string;
}

export const frontPrograms = ['nginx', 'apache', 'haproxy', 'caddy'] as const;
export type FrontProgram = (typeof frontPrograms)[number];

/** Mozilla's intermediate profile, version 5.7, in the words of OpenSSL; see tls.ts. */
const suites = tlsOptions.ciphers.split(':');
export const profile = {
  ciphers: suites.filter((name) => !name.startsWith('TLS_')),
  tls13: suites.filter((name) => name.startsWith('TLS_')),
  curves: ['X25519', 'prime256v1', 'secp384r1'],
} as const;

/** Seconds for which a request or a WebSocket may stand still, and for the beginning of a request. */
export const PATIENCE = { socket: 86_400, request: 3600, header: 20, connect: 10, idle: 65 } as const;

/** Shorter than satellite's `idleTime`: a connection that it closes at this moment must not get a request. */
export const KEPT_SECONDS = 50;

/** Bytes in the header of a request; satellite's own limit (`headerSize`). */
export const HEADER_SIZE = 65_536;

/** Where challenges of RFC 8555 section 8.3 are asked for. */
export const CHALLENGES = '/.well-known/acme-challenge/';

const ANYWHERE = '::';
const INSIDE: Address = { host: '127.0.0.1', port: 8080 };

/**
 * Works out what a front has to do from satellite's configuration (as it is in the file, or nothing) and the command
 * line. Throws a ConfigError that says what to write instead.
 */
export function planFront(
  program: FrontProgram,
  given: Readonly<Record<string, unknown>>,
  options: FrontOptions,
): FrontPlan {
  const config = parseConfig({
    tls: 'off',
    ...given,
    ...(options.domain !== undefined && { domain: options.domain }),
  });
  const isBehind = config.tls === 'off';
  const satellite = isBehind && given.listen !== undefined ? inside(config.listen) : INSIDE;
  const { certificate, key } = certificateOf(config, options);
  return {
    domain: config.domain,
    names: namesOf(config),
    listen:
      address('--listen', options.listen) ??
      (!isBehind && given.listen !== undefined ? addressOf('listen', config.listen) : anywhere(443)),
    redirectFrom:
      address('--redirect-http-from', options.redirectHttpFrom) ??
      (config.redirectHttpFrom ? addressOf('redirectHttpFrom', config.redirectHttpFrom) : anywhere(80)),
    satellite,
    seenFrom: sourceTowards(satellite.host),
    certificate,
    key,
    hsts: config.hsts === 'off' ? undefined : Math.round(config.hsts / 1000),
    userField: config.auth?.header,
    otherSites: (options.otherSite ?? []).map((text) => otherSite(text, config, { certificate, key })),
    acme: acmeOf(program, options.acme),
  };
}

const anywhere = (port: number): Address => ({ host: ANYWHERE, port });

/** As it stands in a URL, and in a list of addresses to bind: `127.0.0.1:8080`, `[::1]:8080`. */
export function written({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** For a URL that leads to HTTPS: nothing where it is the usual port. */
export const portSuffix = ({ port }: Address): string => (port === 443 ? '' : `:${port}`);

/** Letters, digits, dots and hyphens, or an IPv6 address: nothing that would mean something to a configuration. */
const SAFE_HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$/;

function addressOf(what: string, { host, port }: Address): Address {
  if (SAFE_HOST.test(host) && port > 0) return { host, port };
  throw new ConfigError(`${what}: "${host}:${port}" is not an address with a port; write HOST:PORT`);
}

function address(what: string, text: string | undefined): Address | undefined {
  if (text === undefined) return undefined;
  const parsed = parseListen(text);
  if (parsed) return addressOf(what, parsed);
  throw new ConfigError(`${what}: "${text}" is not an address; write HOST:PORT, such as 0.0.0.0:443`);
}

/** Where to connect to for what listens there. */
function inside(listen: Address): Address {
  const { host, port } = addressOf('listen', listen);
  if (host === '0.0.0.0') return { host: '127.0.0.1', port };
  return host === '::' ? { host: '::1', port } : { host, port };
}

/** The address that a connection to one of this machine's own addresses comes from (ip-route(8), "src"). */
function sourceTowards(host: string): string {
  if (host.startsWith('127.') || host === 'localhost') return '127.0.0.1/32';
  return host.includes(':') ? `${host}/128` : `${host}/32`;
}

function namesOf({ domain, siteStyle, routes }: SatelliteConfig): string[] {
  const own = siteStyle === 'host' ? [domain, `*.${domain}`] : [domain, `manage.${domain}`];
  const fixed = routes.map(({ host }) => host);
  const covered = (name: string): boolean =>
    own.includes(name) || (siteStyle === 'host' && decideHost(name, domain).kind === 'site');
  return [...own, ...new Set(fixed.filter((name) => !covered(name)))];
}

/** Absolute, and nothing that a shell or one of the configurations would read as more than a letter of a name. */
const SAFE_PATH = /^\/[A-Za-z0-9._/@+,=~-]*$/;

function path(what: string, text: string): string {
  if (SAFE_PATH.test(text)) return text;
  throw new ConfigError(
    `${what}: "${text}" can't stand in a front's configuration; write an absolute path of letters, digits and ._@+,=~-`,
  );
}

function certificateOf({ domain, tls }: SatelliteConfig, options: FrontOptions) {
  const pairs = tls !== 'off' && 'pairs' in tls ? tls.pairs : [];
  if (options.key !== undefined && options.certificate === undefined)
    throw new ConfigError('--key: is the key of which certificate? Write --certificate, too');
  if (options.certificate !== undefined) {
    const certificate = path('--certificate', options.certificate);
    return { certificate, key: path('--key', options.key ?? certificate) };
  }
  const [pair, ...more] = pairs;
  if (pair && more.length > 0)
    throw new ConfigError(
      'tls: has several certificates; write with --certificate and --key which one the front shows. It must cover every name',
    );
  if (pair) return { certificate: path('tls.cert', pair.cert), key: path('tls.key', pair.key) };
  const live = `/etc/letsencrypt/live/${domain}`;
  return { certificate: `${live}/fullchain.pem`, key: `${live}/privkey.pem` };
}

const HOST_NAME = /^(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))+$/;

/** `NAME=http://HOST:PORT`, and after commas a certificate and its key where they are not satellite's. */
function otherSite(
  text: string,
  { domain, routes }: SatelliteConfig,
  satellites: { certificate: string; key: string },
): OtherSite {
  const [, name = '', target = '', certificate, key] =
    /^([^=]*)=([^,]*)(?:,([^,]*)(?:,(.*))?)?$/.exec(text) ?? [];
  const what = '--other-site';
  if (!HOST_NAME.test(name))
    throw new ConfigError(
      `${what}: "${name}" is not a host name; write NAME=http://HOST:PORT, NAME in small letters`,
    );
  if (
    decideHost(name, domain).kind !== 'foreign' ||
    name.endsWith(`.${domain}`) ||
    routes.some(({ host }) => host === name)
  )
    throw new ConfigError(
      `${what}: ${name} is satellite's own; a fixed site among its names belongs into its routes`,
    );
  const url = URL.parse(target);
  const host = url?.hostname.replace(/^\[(.*)\]$/, '$1') ?? '';
  if (url?.protocol !== 'http:' || url.href !== `http://${url.host}/` || !SAFE_HOST.test(host))
    throw new ConfigError(
      `${what}: "${target}" is not a server; write it as http://HOST:PORT, without a path`,
    );
  return {
    name,
    upstream: { host, port: Number(url.port || 80) },
    certificate: certificate === undefined ? satellites.certificate : path(what, certificate),
    key: certificate === undefined ? satellites.key : path(what, key ?? certificate),
  };
}

function acmeOf(program: FrontProgram, given: string | undefined): string {
  if (program !== 'haproxy') return path('--acme', given ?? '/var/www/acme').replace(/(?<=.)\/$/, '');
  return written(address('--acme', given) ?? { host: '127.0.0.1', port: 8402 });
}

/** The comment that every configuration begins with: what it is, and what else is to be done. */
export function preamble(plan: FrontPlan, title: string, steps: readonly string[]): string {
  const { domain, names, certificate, key, satellite, seenFrom, otherSites } = plan;
  const lines = [
    `${title}, in front of satellite for ${domain}.`,
    '',
    'satellite.yaml, which then is reached through here alone:',
    `  listen: ${written(satellite)}`,
    '  tls: off',
    `  trustedProxies: [${seenFrom}]   # whose word counts for who a visitor is`,
    'and without redirectHttpFrom. Between the two nothing is encrypted: keep them on one host. internalNetworks and',
    'jobStateNetworks stay as they are: they are compared with the addresses that visitors have here.',
    '',
    `The certificate must cover ${names.join(', ')}:`,
    `  ${certificate}${key === certificate ? ', with its key' : `, key ${key}`}`,
    ...(names.some((name) => name.startsWith('*'))
      ? [
          'ACME gives certificates for *. names to the DNS-01 challenge only; what is let through here is HTTP-01.',
        ]
      : []),
    ...(otherSites.length > 0
      ? []
      : ['', 'Another site on the same port: --other-site www.example.edu=http://127.0.0.1:3000']),
    '',
    ...steps,
    '',
    "TLS is Mozilla's intermediate profile, version 5.7, without its finite-field suites. Requests to satellite are not",
    'logged here: names of sites and queries are secrets, and satellite writes a log without them.',
  ];
  return lines.map((line) => `# ${line}`.trimEnd()).join('\n');
}
