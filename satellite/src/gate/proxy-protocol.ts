import type { Server } from 'node:http';
import type { Server as SecureServer } from 'node:https';
import type { Socket } from 'node:net';
import ipaddr from 'ipaddr.js';
import { normalizeAddress } from './networks.ts';

/*
 * The PROXY protocol (doc/proxy-protocol.txt of HAProxy): whose connection this is, before its first byte. Version 1 is a
 * line of text, version 2 binary.
 */

const V1 = Buffer.from('PROXY ', 'latin1');
/** Section 2.1: the longest line, with its end. */
const V1_LONGEST = 107;
const V1_LINE =
  /^PROXY (?:TCP([46]) ([\da-fA-F:.]{2,39}) [\da-fA-F:.]{2,39} (0|[1-9]\d{0,4}) (?:0|[1-9]\d{0,4})|UNKNOWN(?: [^\r\n]*)?)\r\n$/;

const V2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
/** Signature, version and command, family, length of what follows. */
const V2_PREFIX = 16;
/** Section 2.2: a connection of the proxy's own, such as a health check; and one that it relays. */
const LOCAL = 0x20;
const PROXY = 0x21;
/** Bytes of an address, by family: TCP over IPv4 and over IPv6. */
const ADDRESS_BYTES: Readonly<Record<number, number>> = { 17: 4, 33: 16 };
/** Section 2.2: kinds of what may follow the addresses. */
const AUTHORITY = 0x02;
const SSL = 0x20;
/** Section 2.2.6: the client came over TLS. */
const CLIENT_SSL = 0x01;

/** What is said of a visitor's connection. */
export interface Announced {
  readonly address: string;
  readonly port: number;
  readonly isSecure: boolean;
  /** The name of its TLS handshake; '' where it had none. */
  readonly servername: string;
}

/** A header and how long it is. `visitor` is undefined where the proxy speaks for itself. */
interface Read {
  readonly length: number;
  readonly visitor: Announced | undefined;
}

/** The header that these bytes begin with; undefined where it isn't all there yet, null for what is none. */
export function readAnnouncement(bytes: Buffer): Read | undefined | null {
  if (startsLike(bytes, V2)) return readV2(bytes);
  return startsLike(bytes, V1) ? readV1(bytes) : null;
}

/** As far as there is something of it. */
function startsLike(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length);
  return bytes.subarray(0, length).equals(signature.subarray(0, length));
}

function readV1(bytes: Buffer): Read | undefined | null {
  const length = bytes.subarray(0, V1_LONGEST).indexOf('\n') + 1;
  if (length === 0) return bytes.length < V1_LONGEST ? undefined : null;
  const line = V1_LINE.exec(bytes.toString('latin1', 0, length));
  if (line === null) return null;
  const [, family, text, port] = line;
  if (family === undefined) return { length, visitor: undefined };
  const address = normalizeAddress(text ?? '');
  // IPv4 in IPv6 is IPv4 to us, too.
  if (address === undefined || (family === '4') === (text ?? '').includes(':') || Number(port) > 65_535)
    return null;
  return { length, visitor: { address, port: Number(port), isSecure: false, servername: '' } };
}

function readV2(bytes: Buffer): Read | undefined | null {
  if (bytes.length < V2_PREFIX) return undefined;
  const command = bytes[12];
  if (command !== LOCAL && command !== PROXY) return null;
  const length = V2_PREFIX + bytes.readUInt16BE(14);
  if (bytes.length < length) return undefined;
  if (command === LOCAL) return { length, visitor: undefined };
  const size = ADDRESS_BYTES[bytes[13] as number];
  const rest = bytes.subarray(V2_PREFIX, length);
  if (size === undefined || rest.length < 2 * size + 4) return null;
  const address = normalizeAddress(ipaddr.fromByteArray([...rest.subarray(0, size)]).toString());
  if (address === undefined) return null;
  let isSecure = false;
  let servername = '';
  for (let at = 2 * size + 4; at + 3 <= rest.length; ) {
    const end = at + 3 + rest.readUInt16BE(at + 1);
    const value = rest.subarray(at + 3, end);
    if (rest[at] === SSL) isSecure = ((value[0] ?? 0) & CLIENT_SSL) !== 0;
    else if (rest[at] === AUTHORITY) servername = value.toString('latin1');
    at = end;
  }
  return { length, visitor: { address, port: rest.readUInt16BE(2 * size), isSecure, servername } };
}

/**
 * Lets every connection of a server begin with such a header, and makes it look to the rest of the program like the
 * visitor's own. Call it after everybody has begun to listen for connections, and only for a server that nobody but
 * HAProxy can reach: what that says about TLS is believed. `onSecure` hears of those that came over it.
 */
export function expectAnnouncement(server: Server, onSecure: (socket: Socket) => void): void {
  intercept(server, (socket, goOn) => {
    announced(socket, (read) => {
      const visitor = read?.visitor;
      if (visitor === undefined) {
        socket.destroy();
        return;
      }
      pretend(socket, visitor);
      const { isSecure, servername } = visitor;
      Object.defineProperty(socket, 'encrypted', { value: isSecure });
      if (isSecure) {
        Object.defineProperty(socket, 'servername', { value: servername });
        onSecure(socket);
      }
      goOn();
    });
  });
}

/** Balancers that pass connections on as they are, and say in front of each whose it is. */
export class Announcers {
  readonly #isAnnouncer: (address: string) => boolean;
  readonly #patience: number;
  /** Those that have not said it yet. */
  readonly #open = new Set<Socket>();

  /** `patience` in milliseconds: so long may a header take. */
  constructor(isAnnouncer: (address: string) => boolean, patience: number) {
    this.#isAnnouncer = isAnnouncer;
    this.#patience = patience;
  }

  /**
   * Connections from them must begin with a header, and nobody else's may. Call it after everybody has begun to listen
   * for connections.
   */
  follow(server: Server | SecureServer): void {
    intercept(server, (socket, goOn) => {
      const peer = normalizeAddress(socket.remoteAddress ?? '');
      if (peer === undefined || !this.#isAnnouncer(peer)) {
        goOn();
        return;
      }
      this.#open.add(socket);
      const timer = setTimeout(() => socket.destroy(), this.#patience).unref();
      announced(socket, (read) => {
        clearTimeout(timer);
        this.#open.delete(socket);
        if (read === undefined) {
          socket.destroy();
          return;
        }
        // A check of its own: from where it is.
        if (read.visitor) pretend(socket, read.visitor);
        goOn();
      });
    });
  }

  /** Closes those that are still to say whose they are. */
  close(): void {
    for (const socket of this.#open) socket.destroy();
  }
}

/** Puts something before all that listen for a server's connections. */
function intercept(server: Server | SecureServer, first: (socket: Socket, goOn: () => void) => void): void {
  const listeners = server.listeners('connection') as ((socket: Socket) => void)[];
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    first(socket, () => {
      for (const listener of listeners) listener.call(server, socket);
    });
  });
}

/** From now on the connection's other end is the visitor, also for TLS on top of it. */
function pretend(socket: Socket, { address, port }: Announced): void {
  // Node's own are getters of the prototype that ask the kernel, which knows of another address or none.
  Object.defineProperty(socket, 'remoteAddress', { value: address });
  Object.defineProperty(socket, 'remotePort', { value: port });
  // What a TLSSocket over this one asks in place of the kernel (lib/internal/tls/wrap.js of Node 24).
  const { _handle } = socket as Socket & { readonly _handle?: object };
  const getpeername = (out: object): number => {
    Object.assign(out, { address, port, family: address.includes(':') ? 'IPv6' : 'IPv4' });
    return 0;
  };
  if (_handle) Object.defineProperty(_handle, 'getpeername', { value: getpeername });
}

/** Reads the header and not a byte more. `then` hears undefined of what is none, and of a connection that ends in it. */
function announced(socket: Socket, then: (read: Read | undefined) => void): void {
  let bytes = Buffer.alloc(0);
  const ignore = (): void => undefined;
  const settle = (read: Read | undefined): void => {
    socket.off('readable', look);
    socket.off('close', leave);
    socket.off('error', ignore);
    then(read);
  };
  const leave = (): void => settle(undefined);
  const look = (): void => {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    bytes = Buffer.concat([bytes, chunk]);
    const read = readAnnouncement(bytes);
    if (read === undefined) return;
    if (read && bytes.length > read.length) socket.unshift(bytes.subarray(read.length));
    settle(read ?? undefined);
  };
  socket.on('error', ignore);
  socket.on('readable', look);
  socket.on('close', leave);
}
