import type { Limits, SatelliteConfig } from '../../config.ts';
import { halfClosedTime } from '../../gate/limits.ts';
import { profile } from '../../in-front/plan.ts';
import { STATE_TYPE } from '../../pages/paths.ts';
import { hstsOf } from '../../tls.ts';
import { isDatabase } from '../../tokens/postgres-url.ts';

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

/** Stick tables and maps by the names that the runtime API knows. They may stand beside somebody else's. */
export const TABLES = {
  clients: 'satellite-clients',
  visits: 'satellite-visits',
  connections: 'satellite-connections',
  requests: 'satellite-requests',
  sockets: 'satellite-sockets',
};

const DEFAULTS = 'satellite-defaults';
const VISITORS = 'satellite-visitors';
const RING = 'satellite-log';
const LINES_ON = 'satellite-lines';
const PAUSE = 'satellite-pause';
/** The backend of whatever isn't plain. */
const SATELLITE = 'satellite';
/** The backends that lead to notebooks: with what fills a tab, with WebSockets, with everything else. */
const PAGES = 'satellite-pages';
const WEBSOCKETS = 'satellite-websockets';
const NOTEBOOKS = 'satellite-notebooks';
export const backends = { pages: PAGES, webSockets: WEBSOCKETS, others: NOTEBOOKS };

/** Bytes of lines about requests that wait while satellite is busy, or away: some 60,000 of them. */
const RING_SIZE = 16 * 1024 * 1024;
/**
 * Bytes of a buffer beside a visitor's header: what HAProxy notes of each of 256 fields, the fields for the notebook, and what
 * it keeps back (`tune.maxrewrite`, 1 KB). Larger buffers make every request dearer, since fewer of them stay in caches.
 */
const HEADER_ROOM = 8192;

/** The longest line that HAProxy takes. */
const LONGEST_LINE = 65_535;
/** The form of lines about requests, which are those of this level and above. */
export const LINES = `len ${LONGEST_LINE} format raw local0 err`;

/**
 * Fields by which a request is anything but plain: those of the connection, who a visitor says that he is, and all that are
 * spelled with an underscore, which some servers take for a hyphen.
 */
const ODD_FIELDS =
  '_|(^|,)(expect|forwarded|http2-settings|keep-alive|proxy-[a-z]+|trailer|x-forwarded[^,]*|x-real-ip|x-scheme)(,|$)';

/** Fields by which a request needs a closer look: these, and those of a body and of the connection. */
const SPECIAL_FIELDS = ODD_FIELDS.replace('expect', 'connection|content-length|expect').replace(
  'trailer',
  'trailer|transfer-encoding|upgrade',
);

/**
 * How long a HAProxy waits for a visitor that has no time of its own for TLS handshakes (before 2.9): each of them may take
 * as long.
 */
const MOST_CLIENT_MS = 300_000;

/** The address of whoever has connected; IPv4 as such, also on a socket for both. Not ipmask(): since 2.9 6to4 is IPv4 to it. */
const CLIENT = 'src,concat(),regsub(^::ffff:,)';

/**
 * What is said of a request, in the form of satellite's log: see Front and loggablePath(). Only its path may have letters in
 * it that mean something to JSON: the name of its site is in the map, and methods are tokens (RFC 9110 section 5.6.2).
 */
const requestLine = (method: string): string =>
  '{"time":"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]","event":"request","client":"%[var(sess.client)]",' +
  `"host":"%[var(txn.site),field(5,@)]-…","method":"${method}","path":"%[var(txn.path),json(utf8s)]",` +
  '"status":%ST,"ms":%Ta,"haproxy":"%ts"}';
/** What is said of a connection on which no request could be read. */
const ERROR_LINE = `{"time":"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]","event":"unreadable","client":"%[${CLIENT}]","code":"%[fc_err_str,json(utf8s)]"}`;
const SHORT_PATH = 'path,regsub("([a-z]{1,9})((-|%2d)[a-z]{1,9}){2,5}","\\1-…",gi)';

/** One entry of the map of live sites: its notebook, the port that its visitors use, what a log may say of it. None has an @. */
export const siteEntry = (id: number, host: string, port: number, visited: number, token: string): string =>
  `${id}@${host}@${port}@${visited}@${token.split('-', 1)[0]}`;

const seconds = (milliseconds: number): string => `${milliseconds}ms`;

/**
 * HAProxy's configuration (2.4.4 or later). A request to a live site that is plain in every respect goes to its notebook;
 * whatever isn't goes to satellite, which knows what to do with all of them. So this has to be right only about what it
 * takes, and nothing is wrong while the map is empty.
 */
export function haproxyConfiguration(plan: HaproxyPlan): string {
  const { limits, files, certificates, trustedProxies, proxyProtocol, hsts, isShared } = plan;
  const isSecure = certificates.length > 0;
  const proto = isSecure ? 'https' : 'http';
  const toSatellite = `server satellite unix@${files.satellite} send-proxy-v2 proxy-v2-options ssl,authority`;
  const stays = hsts === undefined ? '' : `hdr Strict-Transport-Security "${hsts}" `;
  const plain = (status: number, text: string, fields = ''): string =>
    `  http-error status ${status} content-type text/plain ${stays}${fields}string "${text}\\n"\n`;
  const isFront = trustedProxies.length > 0 ? `  acl is_front src ${trustedProxies.join(' ')}\n` : '';
  const hasAnnouncers = proxyProtocol.length > 0;
  const isAnnouncer = hasAnnouncers ? `  acl is_announcer src ${proxyProtocol.join(' ')}\n` : '';
  const track = `track-sc0 src,ipmask(32,64) table ${TABLES.clients}`;
  const tooMany = `reject if { sc0_conn_cur gt ${limits.connectionsPerClient} }`;
  const isCounted = `${hasAnnouncers ? ' !is_announcer' : ''}${isFront === '' ? '' : ' !is_front'}`;

  // Mozilla's intermediate profile 5.7, as satellite's own listener has it.
  const tls = [
    ...['ssl-min-ver TLSv1.2', 'prefer-client-ciphers', 'no-tls-tickets'],
    ...[`ciphers ${profile.ciphers.join(':')}`, `ciphersuites ${profile.tls13.join(':')}`],
    `curves ${profile.curves.join(':')}`,
  ].join(' ');

  const bound = (protocols: string): string =>
    `  bind ${plan.bind} ssl ${certificates.map((file) => `crt ${file}`).join(' ')} alpn ${protocols} ${tls}\n`;
  const bind = !isSecure
    ? `  bind ${plan.bind} proto h1\n`
    : !plan.http2
      ? bound('http/1.1')
      : `# Before 2.6 an answer in chunks that breaks off would look whole over HTTP/2, and there is more wrong with that.
.if version_atleast(2.6)
${bound('h2,http/1.1')}.else
${bound('http/1.1')}.endif
`;

  return `global
${plan.global.map((line) => `  ${line}\n`).join('')}  # For headers as large as satellite takes them.
  tune.bufsize ${Math.max(16_384, limits.headerSize + HEADER_ROOM)}
  tune.http.maxhdr 256

# Lines about requests go through satellite into its log.
.if version_atleast(3.3)
.else
ring ${RING}
  format raw
  maxlen ${LONGEST_LINE}
  size ${RING_SIZE}
  timeout connect 5s
  timeout server 24d
  server lines unix@${files.lines} log-proto legacy

# A ring that finds nobody tries again at once, for ever, which takes a whole core; so does HAProxy 2.6 for any other server
# that is missed at once. Here the next try is at one that takes the connection and never says a word of TLS.
defaults ${LINES_ON}
  mode tcp
  timeout client 24d
  timeout server 24d
  # Who has stopped listening takes no more: before its own end HAProxy 2.8 would go on with lines that are lost.
  timeout client-fin 1ms
  timeout connect 1s

listen ${LINES_ON} from ${LINES_ON}
  bind unix@${plan.bound.lines} mode 600
  balance first
  # Half an hour and more. What fails at once, since somebody has removed a socket, must not keep HAProxy busy for so long that
  # it takes itself for stuck, and ends.
  retries 3600
  option redispatch 1
  server satellite unix@${files.log}
  server pause unix@${files.pause} ssl verify none

frontend ${PAUSE} from ${LINES_ON}
  bind unix@${plan.bound.pause} mode 600
  tcp-request inspect-delay 24d
  tcp-request content reject if WAIT_END
.endif

defaults ${DEFAULTS}
  mode http
.if version_atleast(3.3)
  log ${plan.log}
.else
  log ring@${RING} ${LINES}
.endif
  option dontlognull
  # Lines about requests and connections are "errors": what HAProxy says in between of itself is less.
  option log-separate-errors
  option http-no-delay
  # Who leaves is nobody to work for.
  option abortonclose
  option clitcpka
  option srvtcpka
  timeout http-request ${seconds(limits.headerTime)}
  timeout http-keep-alive ${seconds(limits.idleTime)}
.if version_atleast(2.9)
  timeout client-hs ${seconds(limits.headerTime)}
  timeout client ${seconds(limits.stallTime)}
.else
  # For TLS handshakes, too.
  timeout client ${seconds(Math.min(limits.stallTime, MOST_CLIENT_MS))}
.endif
  timeout server ${seconds(limits.stallTime)}
  timeout connect ${seconds(limits.connectTime)}
  # WebSockets; the longest that HAProxy can count. One that is closed on one side is soon closed.
  timeout tunnel 24d
  timeout client-fin ${seconds(halfClosedTime(limits))}
  timeout server-fin ${seconds(halfClosedTime(limits))}
${plain(400, 'This request could not be read.')}${plain(408, 'This request could not be read.')}${plain(500, 'This request could not be answered.')}${plain(502, 'This request could not be answered.')}${plain(
  503,
  'This service starts again. Please try once more in a moment.',
  'hdr Retry-After 2 ',
)}${plain(504, 'This service does not answer.')}
frontend ${VISITORS} from ${DEFAULTS}
  # HTTP/2 is agreed upon in the handshake or not spoken.
  option disable-h2-upgrade
.if version_atleast(2.5)
  log-format '${requestLine('%[method]')}'
  error-log-format '${ERROR_LINE}'
.else
  # For connections without a request as well, of which "method" must not be asked there.
  log-format '${requestLine('%HM')}'
.endif
${bind}${isAnnouncer}${isFront}${hasAnnouncers ? '  tcp-request connection expect-proxy layer4 if is_announcer\n' : ''}  tcp-request connection ${track}${isCounted === '' ? '' : ` if${isCounted}`}
  tcp-request connection ${tooMany}
${
  hasAnnouncers
    ? `  # Whose a connection is that began with a header is known only now.
  tcp-request session ${track} if !{ sc0_tracked }${isFront === '' ? '' : ' !is_front'}
  tcp-request session ${tooMany}
`
    : ''
}  tcp-request session set-var(sess.port) src_port
  tcp-request session track-sc1 src,concat(:,sess.port) table ${TABLES.connections}
  tcp-request session set-var(sess.client) ${CLIENT}
  # As RFC 7239 section 6 wants it.
  tcp-request session set-var(sess.node) var(sess.client)
  tcp-request session set-var(sess.node) 'str(),concat("\\"[",sess.client,"]\\"")' if { var(sess.client) -m sub : }
${isSecure ? '  tcp-request session set-var(sess.name) ssl_fc_sni,lower\n' : ''}
  # Names with everything that belongs to them, by their bytes: what isn't in the map is satellite's to read.
  http-request set-var(txn.site) req.hdr(host),lower,map_str(${files.sites})
  http-request set-var(txn.id) var(txn.site),field(1,@)
  acl is_http2 fc_http_major 2
  acl has_upgrade req.hdr(upgrade) -m found
  acl is_websocket req.fhdr(upgrade) -m str -i websocket
  # Satellite, which they reach over HTTP/1.1, could not tell these from others.
  http-request deny deny_status 400 if is_http2 !{ url -m reg '^(https://[^/]+)?/[!-~]*$' }
  http-request deny deny_status 400 if is_http2 has_upgrade !is_websocket
  # Somebody's first visit to a site is satellite's, which counts who guesses names. Once a connection, and for the site that
  # it has last asked for: what is open for a site is found by that.
  acl is_known var(sess.known),strcmp(txn.id) eq 0
  acl is_visitor var(sess.client),concat(@,txn.id),in_table(${TABLES.visits}) -m bool
${isSecure ? '  acl is_name req.hdr(host),lower,field(1,:),strcmp(sess.name) eq 0\n' : ''}  http-request sc-set-gpt0(1) var(txn.id) if !is_known is_visitor${isSecure ? ' is_name' : ''}
  http-request set-var(sess.known) var(txn.id) if !is_known is_visitor${isSecure ? ' is_name' : ''}
  acl is_version req.ver 1.1 2.0
  acl is_path url_beg /
  acl is_path fc_http_major 2
  acl has_fragment url -m sub "#"
  acl is_odd req.hdr_names -m reg '${ODD_FIELDS}'
  acl is_special req.hdr_names -m reg '${SPECIAL_FIELDS}'
  # Over HTTP/2 HAProxy itself takes none (RFC 9113 section 8.2.1).
  acl has_zero req.hdrs -m reg '\\x00'
  acl has_connection req.fhdr(connection) -m found
  acl is_connection req.fhdr(connection) -m str -i keep-alive close upgrade "keep-alive, upgrade" "upgrade, keep-alive"
  acl has_length req.hdr(content-length) -m found
  acl is_length req.fhdr(content-length) -m reg ^(0|[1-9][0-9]*)$
  acl has_chunks req.hdr(transfer-encoding) -m found
  acl takes_body method POST PUT PATCH
  acl takes_none method GET HEAD OPTIONS DELETE
  acl is_get method GET
  acl is_page req.hdr(accept) -m beg text/html ${STATE_TYPE}

  use_backend ${SATELLITE} unless is_known is_version is_path
${isFront === '' ? '' : `  use_backend ${SATELLITE} if is_front\n`}  use_backend ${SATELLITE} if has_fragment
  use_backend ${SATELLITE} if !is_http2 has_zero
  # What most are needs no closer look.
  use_backend ${NOTEBOOKS} if takes_none !is_page !is_special
  use_backend ${SATELLITE} if is_odd
  use_backend ${SATELLITE} if has_connection !is_connection
  # Chunks may have trailers behind them, which HAProxy would pass on.
  use_backend ${SATELLITE} if has_chunks
  use_backend ${SATELLITE} unless takes_none !has_length or takes_body is_length
  use_backend ${SATELLITE} if has_upgrade !is_websocket or has_upgrade !is_get
  use_backend ${WEBSOCKETS} if has_upgrade
  use_backend ${PAGES} if is_get is_page
  default_backend ${NOTEBOOKS}

backend ${SATELLITE} from ${DEFAULTS}
  # One connection here for each of a visitor's: what satellite counts is what there is.
  http-reuse never
  # What comes of it is in satellite's own log.
  http-request set-log-level silent
  http-request set-var(txn.upgrade) int(1) if { req.hdr(upgrade) -m found }
  http-response del-header keep-alive
  # Behind an upgrade that was refused nobody's request begins.
  http-after-response set-header Connection close if { var(txn.upgrade) -m found } !{ status 101 }
  ${toSatellite}${isShared ? ' check check-send-proxy inter 1s downinter 50ms rise 1 fall 3' : ''}
${[PAGES, WEBSOCKETS, NOTEBOOKS].map((name) => notebooks(name)).join('')}
${table(TABLES.clients, 'ipv6', 100_000, '1m', 'conn_cur')}
${table(TABLES.connections, 'string len 64', 200_000, '10s', 'gpt0')}
${table(TABLES.visits, 'string len 64', 1_000_000, '24h', 'gpt0')}
${table(TABLES.requests, 'integer', 200_000, '1h', 'conn_cur,http_req_cnt,bytes_in_cnt,bytes_out_cnt')}
${table(TABLES.sockets, 'integer', 200_000, '1h', 'conn_cur,http_req_cnt,bytes_in_cnt,bytes_out_cnt')}`;

  function notebooks(name: string): string {
    const isSockets = name === WEBSOCKETS;
    const most = isSockets ? limits.webSocketsPerSite : limits.requestsPerSite;
    const tooMany = `This site has too many ${isSockets ? 'WebSockets open' : 'requests under way'}.`;
    return `
backend ${name} from ${DEFAULTS}
  http-request set-log-level err
  http-request set-var(txn.path) path
  http-request set-var(txn.path) '${SHORT_PATH}' if { path -m sub -- - %2d %2D }
  http-request track-sc2 var(txn.id) table ${isSockets ? TABLES.sockets : TABLES.requests}
  http-request return status 503 content-type text/plain hdr Retry-After 1 string "${tooMany}\\n" if { sc2_conn_cur gt ${most} }
  http-request set-dst var(txn.site),field(2,@)
  http-request set-dst-port var(txn.site),field(3,@)
  # Whoever brings one of these has been sent to satellite.
  http-request del-header te
  # A notebook may answer before it has read a body, and take the rest of that for a request: nobody else's is to follow.
  http-request set-header Connection close if { method POST PUT PATCH }
  http-request add-header X-Forwarded-For %[var(sess.client)]
  http-request add-header X-Forwarded-Proto ${proto}
  http-request add-header X-Forwarded-Host %[req.hdr(host)]
  http-request add-header X-Forwarded-Port %[var(txn.site),field(4,@)]
  http-request add-header X-Real-IP %[var(sess.client)]
  http-request add-header Forwarded "for=%[var(sess.node)];proto=${proto};host=\\"%[req.hdr(host)]\\""
  http-response return status 502 content-type text/plain string "The connection to the compute node broke off.\\n" unless { status 100:599 }
  http-response del-header '^(keep-alive|proxy-.*|te|trailer)$' -m reg
${hsts === undefined ? '' : `  http-response set-header Strict-Transport-Security "${hsts}"\n`}${isSockets ? '  http-after-response set-header Connection close unless { status 101 }\n' : ''}  timeout server ${seconds(Math.min(limits.answerTime, limits.stallTime))}
  # What a notebook doesn't take satellite tries once more, and has the honest page for.
  retries 1
  option redispatch 1
${name === PAGES ? '  # To keep what was asked costs a copy of a whole buffer: for pages alone.\n  retry-on conn-failure empty-response junk-response\n' : ''}${plain(502, 'The connection to the compute node broke off.', 'hdr Retry-After 5 ')}${plain(504, 'The compute node does not answer.', 'hdr Retry-After 5 ')}  use-server notebook if { always_true }
${isShared ? `  # Without a satellite nobody hears of sites that end at others.\n` : ''}  server notebook 0.0.0.0:0 weight 0${isShared ? ` track ${SATELLITE}/satellite on-marked-down shutdown-sessions` : ''}
  ${toSatellite}
`;
  }
}

function table(name: string, type: string, size: number, expire: string, store: string): string {
  return `backend ${name} from ${DEFAULTS}
  stick-table type ${type} size ${size} expire ${expire} store ${store}
`;
}
