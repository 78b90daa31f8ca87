import type { HaproxyPlan } from '../configuration.ts';
import { CLIENT } from './fragments.ts';

const RING = 'satellite-log';
const LINES_ON = 'satellite-lines';
const PAUSE = 'satellite-pause';
/** Bytes of lines about requests that wait while satellite is busy, or away: some 60,000 of them. */
export const RING_SIZE = 16 * 1024 * 1024;
/** The longest line that HAProxy takes. */
const LONGEST_LINE = 65_535;
/** The form of lines about requests, which are those of this level and above. */
export const LINES = `len ${LONGEST_LINE} format raw local0 err`;

/** As in satellite's own lines, to the second. */
const TIME = '%[date,utime(%Y-%m-%dT%H:%M:%SZ)]';

/**
 * What is said of a request, in the form of satellite's log: see visits/accounting.ts and loggablePath(). Only its path may
 * have letters in it that mean something to JSON: the name of its site is in the map, and methods are tokens (RFC 9110 section
 * 5.6.2).
 */
export const requestLine = (method: string): string =>
  `{"time":"${TIME}","event":"request","client":"%[var(sess.client)]",` +
  `"host":"%[var(txn.site),field(5,@)]-…","method":"${method}","path":"%[var(txn.path),json(utf8s)]",` +
  '"status":%ST,"ms":%Ta,"haproxy":"%ts"}';
/** What is said of a connection on which no request could be read. */
export const ERROR_LINE = `{"time":"${TIME}","event":"unreadable","client":"%[${CLIENT}]","code":"%[fc_err_str,json(utf8s)]"}`;

/** Where the lines of all other sections go. */
export const LOG_TO = `ring@${RING} ${LINES}`;

/** How lines about requests come to satellite, until HAProxy 3.3, whose rings lead to no UNIX sockets any more. */
export function logSection({ files, bound }: HaproxyPlan): string {
  return `# Lines about requests go through satellite into its log.
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
  bind unix@${bound.lines} mode 600
  balance first
  # Half an hour and more. What fails at once, since somebody has removed a socket, must not keep HAProxy busy for so long that
  # it takes itself for stuck, and ends.
  retries 3600
  option redispatch 1
  server satellite unix@${files.log}
  server pause unix@${files.pause} ssl verify none

frontend ${PAUSE} from ${LINES_ON}
  bind unix@${bound.pause} mode 600
  tcp-request inspect-delay 24d
  tcp-request content reject if WAIT_END
.endif
`;
}
