import type { HaproxyPlan } from '../configuration.ts';
import { DEFAULTS, PAGES, SATELLITE, TABLES, WEBSOCKETS } from '../names.ts';
import { errorFile, milliseconds } from './fragments.ts';

/** What a query begins with, or what somebody took for one, encoded or not: see loggablePath(). */
const QUERY = '(;|&|%(25)*(3f|23|3b|26)).*';
const SHORT_PATH = 'var(txn.path),regsub("([a-z]{1,9})((-|%(25)*2d)[a-z]{1,9}){2,}","\\1-…",gi)';

const toSatellite = ({ files }: HaproxyPlan): string =>
  `server satellite unix@${files.satellite} send-proxy-v2 proxy-v2-options ssl,authority`;

/** The way of whatever isn't plain. */
export function satelliteSection(plan: HaproxyPlan): string {
  return `backend ${SATELLITE} from ${DEFAULTS}
  # One connection here for each of a visitor's: what satellite counts is what there is.
  http-reuse never
  # What comes of it is in satellite's own log.
  http-request set-log-level silent
  # HAProxy 2.6 takes 2^64 for nothing, and what comes behind it for a request.
  http-request set-var(txn.huge) int(1) if { req.fhdr(content-length) -m len 16: }
  http-request deny deny_status 400 if { var(txn.huge) -m found }
  http-after-response set-header Connection close if { var(txn.huge) -m found }
  http-request set-var(txn.upgrade) int(1) if { req.hdr(upgrade) -m found }
  http-response del-header keep-alive
  # Behind an upgrade that was refused nobody's request begins.
  http-after-response set-header Connection close if { var(txn.upgrade) -m found } !{ status 101 }
  ${toSatellite(plan)}${plan.isShared ? ' check check-send-proxy inter 1s downinter 50ms rise 1 fall 3' : ''}
`;
}

/** One of the ways to notebooks. */
export function notebooksSection(plan: HaproxyPlan, name: string): string {
  const { limits, certificates, hsts, isShared } = plan;
  const proto = certificates.length > 0 ? 'https' : 'http';
  const isSockets = name === WEBSOCKETS;
  const most = isSockets ? limits.webSocketsPerSite : limits.requestsPerSite;
  const tooMany = `This site has too many ${isSockets ? 'WebSockets open' : 'requests under way'}.`;
  return `backend ${name} from ${DEFAULTS}
  http-request set-log-level err
  http-request set-var(txn.path) path
  http-request set-var(txn.path) 'path,regsub("${QUERY}",,i)' if { path -m sub -- % ; & }
  http-request set-var(txn.path) '${SHORT_PATH}' if { path -m sub -- - 2d 2D }
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
  http-response return status 502 content-type text/plain string "The connection to the compute node broke off.\\n" if !{ status 100:599 } or { res.fhdr(content-length) -m len 16: }
  http-response del-header '^(keep-alive|proxy-.*|te|trailer)$' -m reg
${hsts === undefined ? '' : `  http-response set-header Strict-Transport-Security "${hsts}"\n`}${isSockets ? '  http-after-response set-header Connection close unless { status 101 }\n' : ''}  timeout server ${milliseconds(Math.min(limits.answerTime, limits.stallTime))}
  # What a notebook doesn't take satellite tries once more, and has the honest page for.
  retries 1
  option redispatch 1
${name === PAGES ? '  # To keep what was asked costs a copy of a whole buffer: for pages alone.\n  retry-on conn-failure empty-response junk-response\n' : ''}${errorFile(plan, 502, 'The connection to the compute node broke off.', 'hdr Retry-After 5 ')}${errorFile(plan, 504, 'The compute node does not answer.', 'hdr Retry-After 5 ')}  use-server notebook if { always_true }
${isShared ? `  # Without a satellite nobody hears of sites that end at others.\n` : ''}  server notebook 0.0.0.0:0 weight 0${isShared ? ` track ${SATELLITE}/satellite on-marked-down shutdown-sessions` : ''}
  ${toSatellite(plan)}
`;
}
