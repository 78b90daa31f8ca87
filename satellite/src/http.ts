import type { IncomingMessage } from 'node:http';

/** Does the request announce a body? (`complete` isn't true yet when a request without one is handed over.) */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Is there a body that hasn't been read to its end, and would be taken for the next request? */
export function hasUnreadBody(request: IncomingMessage): boolean {
  return !request.complete && hasBody(request);
}

/** Does the client hold its body back until it is told to go on? RFC 9110 section 10.1.1: HTTP/1.0 has no such thing. */
export function expectsContinue({ headers, httpVersionMinor }: IncomingMessage): boolean {
  return headers.expect !== undefined && httpVersionMinor > 0;
}
