import { profile } from '../../../in-front/plan.ts';
import { STATE_TYPE } from '../../../pages/paths.ts';
import type { HaproxyPlan } from '../configuration.ts';
import { DEFAULTS, NOTEBOOKS, PAGES, SATELLITE, TABLES, VISITORS, WEBSOCKETS } from '../names.ts';
import { CLIENT } from './fragments.ts';
import { ERROR_LINE, requestLine } from './log.ts';

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

/** Mozilla's intermediate profile 5.7, as satellite's own listener has it. */
const TLS = [
  ...['ssl-min-ver TLSv1.2', 'prefer-client-ciphers', 'no-tls-tickets'],
  ...[`ciphers ${profile.ciphers.join(':')}`, `ciphersuites ${profile.tls13.join(':')}`],
  `curves ${profile.curves.join(':')}`,
].join(' ');

/** Where visitors come in, and which of their requests are plain. */
export function visitorsSection(plan: HaproxyPlan): string {
  const { limits, files, certificates, trustedProxies, proxyProtocol } = plan;
  const isSecure = certificates.length > 0;
  const isFront = trustedProxies.length > 0 ? `  acl is_front src ${trustedProxies.join(' ')}\n` : '';
  const hasAnnouncers = proxyProtocol.length > 0;
  const isAnnouncer = hasAnnouncers ? `  acl is_announcer src ${proxyProtocol.join(' ')}\n` : '';
  const track = `track-sc0 src,ipmask(32,64) table ${TABLES.clients}`;
  const tooMany = `reject if { sc0_conn_cur gt ${limits.connectionsPerClient} }`;
  const isCounted = `${hasAnnouncers ? ' !is_announcer' : ''}${isFront === '' ? '' : ' !is_front'}`;

  return `frontend ${VISITORS} from ${DEFAULTS}
  # HTTP/2 is agreed upon in the handshake or not spoken.
  option disable-h2-upgrade
.if version_atleast(2.5)
  log-format '${requestLine('%[method]')}'
  error-log-format '${ERROR_LINE}'
.else
  # For connections without a request as well, of which "method" must not be asked there.
  log-format '${requestLine('%HM')}'
.endif
${bindLines(plan)}${isAnnouncer}${isFront}${hasAnnouncers ? '  tcp-request connection expect-proxy layer4 if is_announcer\n' : ''}  tcp-request connection ${track}${isCounted === '' ? '' : ` if${isCounted}`}
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
  # Names with everything that belongs to them, by their bytes: what isn't in the map, as a whole, is satellite's to read.
  http-request set-var(txn.site) req.fhdr(host),lower,map_str(${files.sites})
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
${isSecure ? '  acl is_name req.fhdr(host),lower,field(1,:),strcmp(sess.name) eq 0\n' : ''}  http-request sc-set-gpt0(1) var(txn.id) if !is_known is_visitor${isSecure ? ' is_name' : ''}
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
  acl is_length req.fhdr(content-length) -m reg ^(0|[1-9][0-9]{0,14})$
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
`;
}

function bindLines({ bind, certificates, http2 }: HaproxyPlan): string {
  if (certificates.length === 0) return `  bind ${bind} proto h1\n`;
  const files = certificates.map((file) => `crt ${file}`).join(' ');
  const secure = (protocols: string): string => `  bind ${bind} ssl ${files} alpn ${protocols} ${TLS}\n`;
  if (!http2) return secure('http/1.1');
  return `# Before 2.6 an answer in chunks that breaks off would look whole over HTTP/2, and there is more wrong with that.
.if version_atleast(2.6)
${secure('h2,http/1.1')}.else
${secure('http/1.1')}.endif
`;
}
