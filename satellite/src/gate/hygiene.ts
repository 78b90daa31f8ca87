import type { IncomingMessage } from 'node:http';

/** Why a request is refused before anybody looks at what it wants. */
export interface Refusal {
  readonly status: 400 | 421 | 501;
  readonly message: string;
}

/**
 * Refuses requests that two parsers could read differently. Node's strict parser has already refused bare LF, obs-fold,
 * Content-Length beside Transfer-Encoding and contradicting lengths; this is what it lets through.
 */
export function inspectRequest(request: IncomingMessage): Refusal | undefined {
  // RFC 9112 section 3.2: absolute-form names a second host, and nobody needs it here.
  if (request.url?.charCodeAt(0) !== 47)
    return { status: 400, message: 'The request target must be a path.' };
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
      // CGI, and with it WSGI, has one name for both (RFC 3875 section 4.1.18).
      if (spelled === 'content_length' || spelled === 'transfer_encoding')
        return { status: 400, message: 'This header field is spelled with a hyphen.' };
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
