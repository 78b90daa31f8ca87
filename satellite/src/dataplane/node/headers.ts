import type { IncomingMessage } from 'node:http';
import type { Client } from '../../gate/client.ts';
import type { Visit } from '../engine.ts';

/** RFC 9110 section 7.6.1: fields that belong to one connection. Both halves of a proxy drop them. */
export const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Who the client is, as one proxy tells the next; tornado also reads X-Scheme. */
const forwarding = /^(?:x[-_]forwarded(?:[-_].*)?|x[-_]real[-_]ip|x[-_]scheme|forwarded)$/;

/** Fields that Connection can't take away: they say where a message goes and where it ends. */
export const neverNamed: ReadonlySet<string> = new Set(['host', 'content-length']);

/** The fields that a message's Connection fields name, in lower case. */
function namedByConnection(raw: readonly string[]): ReadonlySet<string> | undefined {
  let named: Set<string> | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue;
    for (const part of (raw[i + 1] as string).toLowerCase().split(',')) {
      const token = part.trim();
      if (token === '' || token === 'close' || hopByHop.has(token) || neverNamed.has(token)) continue;
      named ??= new Set();
      named.add(token);
    }
  }
  return named;
}

/**
 * The header fields for the notebook: the client's in their order and spelling, without the ones that belong to the
 * connection, and with the truth about the client. Flat: name, value, name, value.
 */
export function requestHeaders(request: IncomingMessage, { client, proto, edits }: Visit): string[] {
  const raw = request.rawHeaders;
  const named = namedByConnection(raw);
  const headers: string[] = [];
  let host = '';
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const lower = name.toLowerCase();
    if (hopByHop.has(lower) || lower === 'expect' || named?.has(lower)) continue;
    const first = lower.charCodeAt(0);
    if ((first === 120 || first === 102) && forwarding.test(lower)) continue;
    const value = raw[i + 1] as string;
    if (lower === 'host') host = value;
    headers.push(name, value);
  }
  headers.push(...forwardedFields(client, proto, host));
  return edits?.request?.(headers) ?? headers;
}

/** Who the visitor is, for the notebook, in all the ways that servers look for it. Flat: name, value, name, value. */
export function forwardedFields(client: Client, proto: 'http' | 'https', host: string): string[] {
  const { address } = client;
  const port = client.port ?? /:(\d+)$/.exec(host)?.[1] ?? (proto === 'https' ? '443' : '80');
  const node = address.includes(':') ? `"[${address}]"` : address;
  return [
    'X-Forwarded-For',
    address,
    'X-Forwarded-Proto',
    proto,
    'X-Forwarded-Host',
    host,
    'X-Forwarded-Port',
    port,
    'X-Real-IP',
    address,
    'Forwarded',
    `for=${node};proto=${proto};host="${host}"`,
  ];
}

/** The trailer fields for the visitor: none that would say anew how long the message is or where it goes. */
export function trailerFields(trailers: NodeJS.Dict<string | string[]>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(trailers).filter(([name]) => !hopByHop.has(name) && !neverNamed.has(name)),
  ) as Record<string, string>;
}

const HSTS = 'Strict-Transport-Security';
const HSTS_LOWER = HSTS.toLowerCase();

/**
 * The header fields for the visitor: the notebook's in their order and spelling, without those of the connection. Where
 * `hsts` is given it replaces the notebook's: how the site is reached is ours to say.
 */
export function responseHeaders(
  raw: readonly (Buffer | string)[],
  { edits }: Visit,
  hsts?: string,
  status?: number,
): string[] {
  // RFC 9110 section 5.5: what isn't ASCII is opaque bytes, and Node writes latin1 back as it was.
  const text = raw.map((part) => (typeof part === 'string' ? part : part.toString('latin1')));
  const named = namedByConnection(text);
  const headers: string[] = [];
  for (let i = 0; i < text.length; i += 2) {
    const name = text[i] as string;
    const lower = name.toLowerCase();
    if (hopByHop.has(lower) || named?.has(lower)) continue;
    if (hsts !== undefined && lower === HSTS_LOWER) continue;
    // RFC 9110 sections 8.6 and 15.3.6: a 204 has no length, and a 205 no body that it would be the length of.
    if ((status === 204 || status === 205) && lower === 'content-length') continue;
    headers.push(name, text[i + 1] as string);
  }
  const edited = edits?.response?.(headers) ?? headers;
  if (hsts !== undefined) edited.push(HSTS, hsts);
  return edited;
}
