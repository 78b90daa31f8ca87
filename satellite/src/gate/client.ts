import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { type Networks, normalizeAddress } from './networks.ts';

/** Who sent a request: the address that rules are applied to, and what a trusted proxy says about the connection. */
export interface Client {
  readonly address: string;
  /** The scheme and port that the visitor used, where a trusted proxy in front of us tells. */
  readonly proto?: 'http' | 'https';
  readonly port?: string;
}

/**
 * Decides who the client is. The socket's peer, unless that is a trusted proxy: then X-Forwarded-For is walked from the
 * right, since only its right end was written by somebody we trust. Undefined (refuse) when a trusted proxy hands over
 * something that isn't a list of addresses.
 */
export function identifyClient(request: IncomingMessage, trustedProxies: Networks): Client | undefined {
  const peer = peerOf(request.socket);
  if (peer === undefined) return undefined;
  if (trustedProxies.isEmpty || !trustedProxies.contains(peer)) return { address: peer };
  const { headersDistinct } = request;
  const chain = headersDistinct['x-forwarded-for']?.join(',').split(',') ?? [];
  let address = peer;
  for (const hop of chain.reverse()) {
    const normalized = normalizeAddress(hop.trim());
    if (normalized === undefined) return undefined;
    address = normalized;
    if (!trustedProxies.contains(normalized)) break;
  }
  // The last field is the trusted proxy's, should it have left a stranger's in front of its own.
  const proto = headersDistinct['x-forwarded-proto']?.at(-1)?.toLowerCase();
  const port = headersDistinct['x-forwarded-port']?.at(-1);
  return {
    address,
    ...((proto === 'http' || proto === 'https') && { proto }),
    ...(port !== undefined && /^\d{1,5}$/.test(port) && { port }),
  };
}

const peers = new WeakMap<Socket, string>();

/** The address at the other end, worked out once a connection. */
function peerOf(socket: Socket): string | undefined {
  const known = peers.get(socket);
  if (known !== undefined) return known;
  const peer = normalizeAddress(socket.remoteAddress ?? '');
  if (peer !== undefined) peers.set(socket, peer);
  return peer;
}
