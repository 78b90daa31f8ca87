import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import ipaddr from 'ipaddr.js';

/*
 * The PROXY protocol, version 2, as HAProxy sends it (doc/proxy-protocol.txt of HAProxy): whose connection this is.
 */

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
/** Signature, version and command, family, length of what follows. */
const PREFIX = 16;

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

/** How many bytes follow the prefix; undefined for what isn't one. */
export function lengthAfter(prefix: Buffer): number | undefined {
  const isPrefix = prefix.subarray(0, 12).equals(SIGNATURE) && prefix[12] === 0x21;
  return isPrefix ? prefix.readUInt16BE(14) : undefined;
}

/** Reads a whole header; undefined where it names no TCP connection. */
export function readAnnounced(header: Buffer): Announced | undefined {
  const bytes = { 17: 4, 33: 16 }[header[13] as number];
  const rest = header.subarray(PREFIX);
  if (bytes === undefined || rest.length < 2 * bytes + 4) return undefined;
  const address = ipaddr.fromByteArray([...rest.subarray(0, bytes)]).toString();
  const port = rest.readUInt16BE(2 * bytes);
  let isSecure = false;
  let servername = '';
  for (let at = 2 * bytes + 4; at + 3 <= rest.length; ) {
    const end = at + 3 + rest.readUInt16BE(at + 1);
    const value = rest.subarray(at + 3, end);
    if (rest[at] === SSL) isSecure = ((value[0] ?? 0) & CLIENT_SSL) !== 0;
    else if (rest[at] === AUTHORITY) servername = value.toString('latin1');
    at = end;
  }
  return { address, port, isSecure, servername };
}

/**
 * Lets every connection of a server begin with such a header, and makes it look to the rest of the program like the
 * visitor's own. Call it after everybody has begun to listen for connections, and only for a server that nobody but
 * HAProxy can reach. `onSecure` hears of those that came over TLS.
 */
export function expectAnnouncement(server: Server, onSecure: (socket: Socket) => void): void {
  const listeners = server.listeners('connection') as ((socket: Socket) => void)[];
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    const ignore = (): void => undefined;
    socket.on('error', ignore);
    announced(socket, (said) => {
      socket.off('error', ignore);
      if (said === undefined) {
        socket.destroy();
        return;
      }
      // Node's own are getters of the prototype that ask the kernel, which knows of no address here.
      const seen = {
        remoteAddress: said.address,
        remotePort: said.port,
        encrypted: said.isSecure,
        ...(said.isSecure && { servername: said.servername }),
      };
      for (const [name, value] of Object.entries(seen)) Object.defineProperty(socket, name, { value });
      if (said.isSecure) onSecure(socket);
      for (const listener of listeners) listener.call(server, socket);
    });
  });
}

/** Reads the header and not a byte more. */
function announced(socket: Socket, then: (said: Announced | undefined) => void): void {
  let prefix: Buffer | null = null;
  const settle = (said: Announced | undefined): void => {
    socket.off('readable', look);
    socket.off('close', leave);
    then(said);
  };
  const leave = (): void => settle(undefined);
  const look = (): void => {
    prefix ??= socket.read(PREFIX);
    if (prefix === null) return;
    const length = lengthAfter(prefix);
    if (length === undefined) {
      settle(undefined);
      return;
    }
    const rest: Buffer | null = length === 0 ? Buffer.alloc(0) : socket.read(length);
    if (rest !== null) settle(readAnnounced(Buffer.concat([prefix, rest])));
  };
  socket.on('readable', look);
  socket.on('close', leave);
}
