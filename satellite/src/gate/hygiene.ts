import type { IncomingMessage } from 'node:http';
import { isBeyondCounting } from '../http.ts';
import { Http2Request } from '../http2/message.ts';

/** Why a request is refused before anybody looks at what it wants. */
export interface Refusal {
  readonly status: 400 | 421 | 501;
  readonly message: string;
}

/** CGI, and with it WSGI, has one name for these and for those with hyphens (RFC 3875 section 4.1.18). */
const misspelt: ReadonlySet<string> = new Set(['content_length', 'transfer_encoding']);
const MISSPELT: Refusal = { status: 400, message: 'This header field is spelled with a hyphen.' };
const BEYOND_COUNTING: Refusal = { status: 400, message: 'This Content-Length is too large.' };

/**
 * Refuses requests that two parsers could read differently. Node's strict parser has already refused bare LF, obs-fold,
 * Content-Length beside Transfer-Encoding and contradicting lengths; this is what it lets through.
 */
export function inspectRequest(request: IncomingMessage): Refusal | undefined {
  if (isBeyondCounting(request.headers['content-length'] ?? '')) return BEYOND_COUNTING;
  if (request instanceof Http2Request) {
    const { fault, rawHeaders } = request;
    if (fault !== undefined) return { status: 400, message: fault };
    return rawHeaders.some((text, i) => i % 2 === 0 && misspelt.has(text)) ? MISSPELT : undefined;
  }
  // RFC 9112 section 3.2: absolute-form names a second host, and nobody needs it here.
  if (request.url?.charCodeAt(0) !== 47)
    return { status: 400, message: 'The request target must be a path.' };
  // Section 3.2.1: there is no fragment in it. Some servers read on where others, and we, take the path to end.
  if (request.url.includes('#')) return { status: 400, message: 'The request target has no fragment.' };
  if (request.httpVersionMajor !== 1)
    return { status: 400, message: 'This HTTP version is not spoken here.' };
  const raw = request.rawHeaders;
  let hosts = 0;
  let lengths = 0;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (name.length === 4) {
      if (name.toLowerCase() === 'host') hosts += 1;
    } else if (name.length === 14 || name.length === 17) {
      const spelled = name.toLowerCase();
      if (misspelt.has(spelled)) return MISSPELT;
      if (spelled === 'content-length') lengths += 1;
      if (spelled !== 'transfer-encoding') continue;
      if (request.httpVersionMinor === 0) {
        return { status: 400, message: 'HTTP/1.0 has no transfer codings.' };
      }
      // A coding under chunked would reach the upstream without the header that says so.
      if ((raw[i + 1] as string).toLowerCase() !== 'chunked') {
        return { status: 501, message: 'Only the chunked transfer coding is understood.' };
      }
    }
  }
  if (hosts !== 1) return { status: 400, message: 'Exactly one Host header is needed.' };
  if (
    request.headers.upgrade !== undefined &&
    (lengths > 0 || request.headers['transfer-encoding'] !== undefined)
  ) {
    // Its body or its tunnel's first bytes? Nobody needs to ask.
    return { status: 400, message: 'An upgrade has no body.' };
  }
  if (lengths > 1) return { status: 400, message: 'More than one Content-Length header.' };
  return undefined;
}
