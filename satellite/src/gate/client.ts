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

/** What the nearest proxy says about its visitor, by the name of the field; each may come several times. */
export type Claims = Readonly<
  Partial<Record<'x-forwarded-for' | 'x-forwarded-proto' | 'x-forwarded-port', readonly string[]>>
>;

/**
 * Decides who the client is. The socket's peer, unless that is a trusted proxy: then X-Forwarded-For is walked from the
 * right, since only its right end was written by somebody we trust. Undefined (refuse) when a trusted proxy hands over
 * something that isn't a list of addresses.
 */
export function identifyClient(request: IncomingMessage, trustedProxies: Networks): Client | undefined {
  const { socket } = request;
  return speaksForOthers(socket, trustedProxies)
    ? clientBehind(socket, request.headersDistinct, trustedProxies)
    : clientAt(socket);
}

/** Is a trusted proxy at the other end? */
export function speaksForOthers(socket: Socket, trustedProxies: Networks): boolean {
  if (trustedProxies.isEmpty) return false;
  const peer = peerOf(socket);
  return peer !== undefined && trustedProxies.contains(peer);
}

/** The client at the other end itself; undefined where it is gone already. */
export function clientAt(socket: Socket): Client | undefined {
  const peer = peerOf(socket);
  return peer === undefined ? undefined : { address: peer };
}

/** The client that a trusted proxy speaks for; undefined where that is unclear. */
export function clientBehind(socket: Socket, claims: Claims, trustedProxies: Networks): Client | undefined {
  const peer = peerOf(socket);
  if (peer === undefined) return undefined;
  const list = (name: keyof Claims): string[] =>
    claims[name]
      ?.join(',')
      .split(',')
      .map((part) => part.trim()) ?? [];
  const chain = list('x-forwarded-for');
  let address = peer;
  let hops = 0;
  for (const hop of chain.toReversed()) {
    const normalized = normalizeAddress(withoutPort(hop));
    if (normalized === undefined) return undefined;
    address = normalized;
    hops += 1;
    if (!trustedProxies.contains(normalized)) break;
  }
  // Where every proxy has added its own, the client's is as far from the right as its address; a stranger's claims are
  // further left. Otherwise the right end is what the nearest proxy says.
  const beside = (values: string[]): string | undefined =>
    values.at(hops > 0 && values.length === chain.length ? -hops : -1);
  const proto = beside(list('x-forwarded-proto'))?.toLowerCase();
  const port = beside(list('x-forwarded-port'));
  return {
    address,
    ...((proto === 'http' || proto === 'https') && { proto }),
    ...(port !== undefined && /^\d{1,5}$/.test(port) && { port }),
  };
}

/** Some proxies write "192.0.2.1:51234" and "[2001:db8::1]:51234". */
function withoutPort(hop: string): string {
  const [, v6, v4] = /^(?:\[([^\]]+)\](?::\d+)?|([\d.]+):\d+)$/.exec(hop) ?? [];
  return v6 ?? v4 ?? hop;
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
