import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Server as SecureServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';

/** A connection in which nothing has moved for this long may be closed: a notebook's page opens a WebSocket again. */
const QUIET_MS = 1000;
const LOOK_MS = 100;

/** What was last seen of a tunnel. */
interface Tunnel {
  bytes: number;
  since: number;
}

/** What is under way on our listeners, so that a stop can let it come to its end. */
export class UnderWay {
  readonly #servers: (Server | SecureServer)[] = [];
  readonly #answers = new Set<ServerResponse>();
  readonly #tunnels = new Map<Socket, Tunnel>();
  #newestConnection = Number.NEGATIVE_INFINITY;
  #isStopping = false;

  /** Before anybody else hears of a request: an answer may be given at once. */
  follow(server: Server | SecureServer): void {
    this.#servers.push(server);
    server.on('connection', () => {
      this.#newestConnection = performance.now();
    });
    server.on('request', this.onRequest);
    server.on('checkContinue', this.onRequest);
    server.on('upgrade', (_request: IncomingMessage, duplex: Duplex) => {
      const socket = duplex as Socket;
      this.#tunnels.set(socket, { bytes: bytesOf(socket), since: performance.now() });
      socket.once('close', () => this.#tunnels.delete(socket));
    });
  }

  /** A request that doesn't come by way of a server. */
  readonly onRequest = (_request: IncomingMessage, response: ServerResponse): void => {
    this.#answers.add(response);
    response.once('close', () => this.#answers.delete(response));
    if (this.#isStopping) endConnectionAfter(response);
  };

  /**
   * Resolves when nothing is under way any more, or once `grace` (milliseconds) is over. Until then requests have their
   * answers, a WebSocket is closed at its first quiet moment, and a connection that has just been taken may still ask, as
   * may others while `mayStillAsk` says so.
   */
  async toEnd(grace: number, mayStillAsk: () => boolean): Promise<void> {
    this.#isStopping = true;
    for (const response of this.#answers) endConnectionAfter(response);
    const deadline = performance.now() + grace;
    while (performance.now() < deadline) {
      for (const server of this.#servers) server.closeIdleConnections();
      this.#closeQuietTunnels();
      const hasNewcomers = performance.now() - this.#newestConnection < QUIET_MS;
      if (this.#answers.size + this.#tunnels.size === 0 && !hasNewcomers && !mayStillAsk()) return;
      await pause(Math.min(LOOK_MS, deadline - performance.now()));
    }
  }

  #closeQuietTunnels(): void {
    const now = performance.now();
    for (const [socket, tunnel] of this.#tunnels) {
      const bytes = bytesOf(socket);
      if (bytes !== tunnel.bytes) Object.assign(tunnel, { bytes, since: now });
      else if (now - tunnel.since >= QUIET_MS) socket.destroy();
    }
  }
}

function bytesOf({ bytesRead, bytesWritten }: Socket): number {
  return bytesRead + bytesWritten;
}

function endConnectionAfter(response: ServerResponse): void {
  if (!response.headersSent && response.req.httpVersionMajor === 1) response.setHeader('Connection', 'close');
}
