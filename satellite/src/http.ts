import type { IncomingMessage, ServerResponse } from 'node:http';
import { Http2Request, Http2Response } from './http2/message.ts';

/** Does the request announce a body? (`complete` isn't true yet when a request without one is handed over.) */
export function hasBody(request: IncomingMessage): boolean {
  if (request instanceof Http2Request) return request.hasBody;
  const { headers } = request;
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * Does Content-Length say more than everybody counts exactly? Beyond 2^53 JavaScript changes it, and HAProxy 2.6 takes 2^64 for
 * nothing. Nobody has such bodies.
 */
export function isBeyondCounting(length: string): boolean {
  return length.length > MOST_DIGITS;
}

const MOST_DIGITS = 15;

/** Has the whole request arrived, its body included? */
export function isWhole(request: IncomingMessage): boolean {
  return request instanceof Http2Request ? request.isWhole : request.complete;
}

/** Has the whole answer gone out? Asked when the response has closed. */
export function isAnswered(response: ServerResponse): boolean {
  return response instanceof Http2Response ? response.isAnswered : response.writableFinished;
}

/** Is there a body that hasn't been read to its end, and would be taken for the next request? */
export function hasUnreadBody(request: IncomingMessage): boolean {
  return !isWhole(request) && hasBody(request);
}

/** Does the client hold its body back until it is told to go on? RFC 9110 section 10.1.1: HTTP/1.0 has no such thing. */
export function expectsContinue({ headers, httpVersion }: IncomingMessage): boolean {
  return headers.expect !== undefined && httpVersion !== '1.0';
}

/**
 * For answers of our own; the engine sees to those of notebooks. `hsts` is the value of Strict-Transport-Security, where it is
 * sent.
 */
export function insistOnHttps(response: ServerResponse, hsts: string | undefined): void {
  if (hsts !== undefined) response.setHeader('Strict-Transport-Security', hsts);
}
