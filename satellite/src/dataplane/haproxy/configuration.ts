import type { Limits, SatelliteConfig } from '../../config.ts';
import { halfClosedTime } from '../../gate/limits.ts';
import { hstsOf } from '../../tls.ts';
import { isDatabase } from '../../tokens/postgres-url.ts';
import { DEFAULTS, NOTEBOOKS, PAGES, TABLES, WEBSOCKETS } from './names.ts';
import { notebooksSection, satelliteSection } from './sections/backends.ts';
import { errorFile, milliseconds } from './sections/fragments.ts';
import { LOG_TO, logSection } from './sections/log.ts';
import { visitorsSection } from './sections/visitors.ts';

/** What HAProxy has to do, and where everything is. All of it may be written into a configuration as it is. */
export interface HaproxyPlan {
  /** The address that HAProxy binds, or the file descriptor that it has been given. */
  readonly bind: string;
  /** Files with a certificate, its chain and its key, the default one first; empty without TLS. */
  readonly certificates: readonly string[];
  readonly http2: boolean;
  /** Networks of IPv6 in CIDR notation: whoever comes from there may speak for others, and satellite looks at it. */
  readonly trustedProxies: readonly string[];
  /** Networks of IPv6 in CIDR notation: connections from there begin with a header of the PROXY protocol. */
  readonly proxyProtocol: readonly string[];
  /** The value of Strict-Transport-Security in every answer; the notebook's own stays where it is undefined. */
  readonly hsts: string | undefined;
  readonly limits: Limits;
  /** Is the state shared? Then a site may end without a satellite here that would tell HAProxy. */
  readonly isShared: boolean;
  readonly files: HaproxyFiles;
  /** The latter two as for "bind": before HAProxy goes into a jail, and whose they are to be. */
  readonly bound: { readonly lines: string; readonly pause: string };
  /** Where lines about requests go with HAProxy 3.3 and later, whose rings lead to no UNIX sockets any more. */
  readonly log: string;
  /** Lines for the `global` section beside those of the data path: how this HAProxy is run. */
  readonly global: readonly string[];
}

/** What of it is said by satellite's configuration, however HAProxy is run. */
export function settingsOf(config: SatelliteConfig) {
  const networks = (list: SatelliteConfig['trustedProxies']): string[] =>
    list.toString().split(' ').filter(Boolean).map(mapped);
  return {
    http2: config.http2,
    trustedProxies: networks(config.trustedProxies),
    proxyProtocol: networks(config.proxyProtocol),
    hsts: hstsOf(config),
    limits: config.limits,
    isShared: isDatabase(config.state),
  };
}

/**
 * A network of IPv4 as IPv6 maps it (RFC 4291 section 2.5.5.2), which HAProxy finds IPv4 in, too. Written as IPv4 it would
 * also be whoever has such an address of 6to4 (2002::/16).
 */
function mapped(network: string): string {
  const [address = '', bits] = network.split('/');
  return address.includes(':') ? network : `::ffff:${address}/${96 + Number(bits ?? 32)}`;
}

export interface HaproxyFiles {
  /** Where satellite itself listens, for visitors and for lines about requests, as HAProxy sees it. */
  readonly satellite: string;
  readonly log: string;
  /** Where HAProxy itself listens, for such lines, to pass them on, and for whoever is to wait. */
  readonly lines: string;
  readonly pause: string;
  /** Live sites: empty on the disk, filled over the runtime API. */
  readonly sites: string;
}

/**
 * Bytes of a buffer beside a visitor's header: what HAProxy notes of each of 256 fields, the fields for the notebook, and what
 * it keeps back (`tune.maxrewrite`, 1 KB). Larger buffers make every request dearer, since fewer of them stay in caches.
 */
const HEADER_ROOM = 8192;

/**
 * Bytes of memory that is free and stays with its thread (`tune.memory.hot-size`): the usual half megabyte or megabyte is some
 * tens of buffers, and to hand the others on is 5 % of a small request.
 */
const KEPT_MEMORY = 8 * 1024 * 1024;

/**
 * How long a HAProxy waits for a visitor that has no time of its own for TLS handshakes (before 2.9): each of them may take
 * as long.
 */
const MOST_CLIENT_MS = 300_000;

/**
 * HAProxy's configuration (2.4.4 or later). A request to a live site that is plain in every respect goes to its notebook;
 * whatever isn't goes to satellite, which knows what to do with all of them. So this has to be right only about what it
 * takes, and nothing is wrong while the map is empty.
 */
export function haproxyConfiguration(plan: HaproxyPlan): string {
  return [
    globalSection(plan),
    logSection(plan),
    defaultsSection(plan),
    visitorsSection(plan),
    satelliteSection(plan),
    ...[PAGES, WEBSOCKETS, NOTEBOOKS].map((name) => notebooksSection(plan, name)),
    ...tableSections(),
  ].join('\n');
}

function globalSection({ global, limits }: HaproxyPlan): string {
  return `global
${global.map((line) => `  ${line}\n`).join('')}  # For headers as large as satellite takes them.
  tune.bufsize ${Math.max(16_384, limits.headerSize + HEADER_ROOM)}
  tune.http.maxhdr 256
.if version_atleast(2.8)
  tune.memory.hot-size ${KEPT_MEMORY}
.endif
`;
}

/** What is the same for visitors, for satellite and for notebooks. */
function defaultsSection(plan: HaproxyPlan): string {
  const { limits } = plan;
  const unread = 'This request could not be read.';
  const unanswered = 'This request could not be answered.';
  const again = 'This service starts again. Please try once more in a moment.';
  const errors = [
    errorFile(plan, 400, unread),
    errorFile(plan, 408, unread),
    errorFile(plan, 500, unanswered),
    errorFile(plan, 502, unanswered),
    errorFile(plan, 503, again, 'hdr Retry-After 2 '),
    errorFile(plan, 504, 'This service does not answer.'),
  ];
  return `defaults ${DEFAULTS}
  mode http
.if version_atleast(3.3)
  log ${plan.log}
.else
  log ${LOG_TO}
.endif
  option dontlognull
  # Lines about requests and connections are "errors": what HAProxy says in between of itself is less.
  option log-separate-errors
  option http-no-delay
  # Who leaves is nobody to work for.
  option abortonclose
  option clitcpka
  option srvtcpka
  timeout http-request ${milliseconds(limits.headerTime)}
  timeout http-keep-alive ${milliseconds(limits.idleTime)}
.if version_atleast(2.9)
  timeout client-hs ${milliseconds(limits.headerTime)}
  timeout client ${milliseconds(limits.stallTime)}
.else
  # For TLS handshakes, too.
  timeout client ${milliseconds(Math.min(limits.stallTime, MOST_CLIENT_MS))}
.endif
  timeout server ${milliseconds(limits.stallTime)}
  timeout connect ${milliseconds(limits.connectTime)}
  # WebSockets; the longest that HAProxy can count. One that is closed on one side is soon closed.
  timeout tunnel 24d
  timeout client-fin ${milliseconds(halfClosedTime(limits))}
  timeout server-fin ${milliseconds(halfClosedTime(limits))}
${errors.join('')}`;
}

function tableSections(): string[] {
  const counts = 'conn_cur,http_req_cnt,bytes_in_cnt,bytes_out_cnt';
  return [
    table(TABLES.clients, 'ipv6', 100_000, '1m', 'conn_cur'),
    table(TABLES.connections, 'string len 64', 200_000, '10s', 'gpt0'),
    table(TABLES.visits, 'string len 64', 1_000_000, '24h', 'gpt0'),
    table(TABLES.requests, 'integer', 200_000, '1h', counts),
    table(TABLES.sockets, 'integer', 200_000, '1h', counts),
  ];
}

function table(name: string, type: string, size: number, expire: string, store: string): string {
  return `backend ${name} from ${DEFAULTS}
  stick-table type ${type} size ${size} expire ${expire} store ${store}
`;
}
