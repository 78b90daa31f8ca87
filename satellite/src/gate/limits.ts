import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { Limits } from '../config.ts';
import { type Networks, normalizeAddress } from './networks.ts';

/**
 * Connections that wait for their turn: a class opens its links in the same second, each with a dozen of them, and who is
 * turned away by the system comes back after a second. No more than net.core.somaxconn.
 */
export const BACKLOG = 4096;

const HALF_CLOSED_MS = 60_000;

/** How long one side of a WebSocket may be silent once the other has ended it; milliseconds. */
export const halfClosedTime = ({ stallTime }: Pick<Limits, 'stallTime'>): number =>
  Math.min(stallTime, HALF_CLOSED_MS);

const MAX_CLIENTS = 50_000;
const MINUTE_MS = 60_000;

/** Whose share something is: an IPv4 address, or the /64 that an IPv6 subscriber has to himself. */
export function shareOf(address: string): string {
  if (!address.includes(':')) return address;
  return ipaddr.IPv6.parse(address).parts.slice(0, 4).join(':');
}

/** So much a minute for each client, all of it at once if it likes (a token bucket). */
export class RateLimit {
  readonly #perMinute: number;
  readonly #now: () => number;
  readonly #left = new Map<string, { amount: number; at: number }>();

  /** `now` in milliseconds, never going back. */
  constructor(perMinute: number, now: () => number = () => performance.now()) {
    this.#perMinute = perMinute;
    this.#now = now;
  }

  /** Has this client used up what it may have at the moment? */
  isSpent(address: string): boolean {
    const entry = this.#left.get(shareOf(address));
    return entry !== undefined && this.#refilled(entry) < 1;
  }

  /** Takes one from a client's share; false where there is none left. */
  take(address: string): boolean {
    const share = shareOf(address);
    const entry = this.#left.get(share);
    const amount = entry ? this.#refilled(entry) : this.#perMinute;
    if (amount < 1) return false;
    // Last in the map: who has not come for the longest is forgotten first.
    this.#left.delete(share);
    this.#left.set(share, { amount: amount - 1, at: this.#now() });
    if (this.#left.size > MAX_CLIENTS) {
      const [oldest] = this.#left.keys();
      this.#left.delete(oldest as string);
    }
    return true;
  }

  /** Gives back what was taken for what turned out to be nothing. */
  giveBack(address: string): void {
    const entry = this.#left.get(shareOf(address));
    if (entry) entry.amount += 1;
  }

  #refilled({ amount, at }: { amount: number; at: number }): number {
    return Math.min(this.#perMinute, amount + ((this.#now() - at) / MINUTE_MS) * this.#perMinute);
  }
}

/** How many file descriptors this process may have open; undefined where the system doesn't say (proc(5)). */
export function descriptorLimit(): number | undefined {
  try {
    const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

/** What is kept for the connections to notebooks of those who are here already, for the state and for its operator. */
function reserveOf(descriptors: number): number {
  return Math.max(16, Math.ceil(descriptors / 8));
}

/** open(2): a new descriptor is the lowest free one, so that its number says how many are taken. */
function descriptorOf(socket: Socket): number {
  return (socket as Socket & { readonly _handle?: { readonly fd?: number } })._handle?.fd ?? -1;
}

/**
 * Every connection to our ports, from before its TLS handshake. Closes those of a client that already has its share of
 * them; proxies in front of us bring many clients, and have no limit. Closes anybody's before descriptors run out: then
 * nothing would work any more, and Node (libuv) would close connections without a word.
 */
export class ClientConnections {
  readonly #perClient: number;
  readonly #trustedProxies: Networks;
  readonly #lastDescriptor: number;
  readonly #onRefuse: (limit: 'connections' | 'descriptors', address: string) => void;
  readonly #sockets = new Set<Socket>();
  /** By client, without those that have become a tunnel. */
  readonly #open = new Map<string, number>();

  constructor(
    perClient: number,
    descriptors: number | undefined,
    trustedProxies: Networks,
    onRefuse: (limit: 'connections' | 'descriptors', address: string) => void,
  ) {
    this.#perClient = perClient;
    this.#lastDescriptor =
      descriptors === undefined ? Number.POSITIVE_INFINITY : descriptors - reserveOf(descriptors);
    this.#trustedProxies = trustedProxies;
    this.#onRefuse = onRefuse;
  }

  readonly onConnection = (socket: Socket): void => {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    const share = this.#shareOf(socket);
    if (descriptorOf(socket) > this.#lastDescriptor) {
      this.#onRefuse('descriptors', socket.remoteAddress ?? '');
      socket.destroy();
      return;
    }
    if (share === undefined) return;
    const open = this.#count(share, 1);
    socket.once('close', () => this.#count(share, -1));
    if (open <= this.#perClient) return;
    this.#onRefuse('connections', socket.remoteAddress ?? '');
    socket.destroy();
  };

  /**
   * A request that shares its connection with others (HTTP/2) counts like a connection. Returns what to call at its end,
   * or undefined where the client has its share already.
   */
  begin(socket: Socket): (() => void) | undefined {
    const share = this.#shareOf(socket);
    if (share === undefined) return () => undefined;
    if ((this.#open.get(share) ?? 0) >= this.#perClient) {
      this.#onRefuse('connections', socket.remoteAddress ?? '');
      return undefined;
    }
    this.#count(share, 1);
    return () => this.#count(share, -1);
  }

  /**
   * A notebook has taken this connection for a WebSocket, so it knows its visitor: no stranger's any more, and a whole
   * centre may be behind one address.
   */
  readonly onTunnel = (socket: Socket): void => {
    const share = this.#shareOf(socket);
    if (share === undefined) return;
    this.#count(share, -1);
    socket.once('close', () => this.#count(share, 1));
  };

  /** Whose share a connection is taken from; undefined for those that have no limit, or are gone already. */
  #shareOf({ remoteAddress = '' }: Socket): string | undefined {
    const address = normalizeAddress(remoteAddress);
    return address === undefined || this.#trustedProxies.contains(address) ? undefined : shareOf(address);
  }

  #count(share: string, change: 1 | -1): number {
    const open = (this.#open.get(share) ?? 0) + change;
    if (open === 0) this.#open.delete(share);
    else this.#open.set(share, open);
    return open;
  }

  /** Closes all of them, in whatever state they are. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
