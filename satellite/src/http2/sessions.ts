import type { Server as SecureServer } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { Http2Connection, type Http2Parts } from './connection.ts';

/**
 * The connections that speak HTTP/2. WebSockets come over HTTP/1.1: RFC 8441 is not offered, and browsers open a
 * connection of their own for each.
 */
export class Http2Sessions {
  readonly #parts: Http2Parts;
  readonly #open = new Set<Http2Connection>();
  #isClosing = false;

  constructor(parts: Http2Parts) {
    this.#parts = parts;
  }

  /**
   * Takes the connections that have settled on h2 (ALPN) out of an HTTPS server. All others stay with the listener that
   * Node has given it, with every limit of HTTP/1.1: a server that only gets its connections by 'connection' events
   * never looks after its headersTimeout.
   */
  divert(server: SecureServer): void {
    const [http1] = server.listeners('secureConnection') as ((socket: TLSSocket) => void)[];
    if (http1 === undefined) throw new Error('this is no HTTPS server');
    server.off('secureConnection', http1);
    server.on('secureConnection', (socket) => {
      if (socket.alpnProtocol === 'h2') this.#begin(socket);
      else http1.call(server, socket);
    });
  }

  /**
   * No new requests; each connection closes when its last answer is out. A request that our notice crosses is known to
   * be safe to repeat (RFC 9113 section 6.8), but clients don't repeat the first one of a connection: a new one may ask
   * once.
   */
  close(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    for (const connection of this.#open) connection.close();
  }

  /** Whether the first request of a connection may still come. */
  get isAwaited(): boolean {
    return [...this.#open].some(({ isAsked }) => !isAsked);
  }

  #begin(socket: TLSSocket): void {
    const connection = new Http2Connection(socket, this.#parts, () => this.#open.delete(connection));
    this.#open.add(connection);
    if (this.#isClosing) connection.close();
  }
}
