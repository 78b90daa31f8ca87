import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SatelliteConfig } from '../config.ts';
import { type Engine, type Failure, failureStatus } from '../dataplane/engine.ts';
import type { Client } from '../gate/client.ts';
import type { ClientConnections } from '../gate/limits.ts';
import { insistOnHttps } from '../http.ts';
import { type Management, mayLookUp, TOO_MANY } from '../management/service.ts';
import type { Traffic } from '../operation/traffic.ts';
import type { Pages } from '../pages/respond.ts';
import { send } from '../send.ts';
import { connectionOf } from './connection.ts';
import { directKey, type Elsewhere, type Ways } from './ways.ts';

export interface VisitsElsewhereParts {
  readonly config: SatelliteConfig;
  readonly management: Management;
  readonly engine: Engine;
  readonly pages: Pages;
  readonly ways: Ways;
  readonly traffic: Traffic;
  readonly connections: ClientConnections;
  /** The value of Strict-Transport-Security, where it is sent. */
  readonly hsts: string | undefined;
}

/** Requests and upgrades to fixed sites, and to hosts that are named directly. */
export class VisitsElsewhere {
  readonly #parts: VisitsElsewhereParts;

  constructor(parts: VisitsElsewhereParts) {
    this.#parts = parts;
  }

  /** Never rejects. */
  async request(
    request: IncomingMessage,
    response: ServerResponse,
    where: Elsewhere,
    client: Client,
  ): Promise<void> {
    const { config, engine, management, pages, traffic, ways } = this.#parts;
    const key = where.kind === 'direct' ? directKey(where.direct) : undefined;
    if (key !== undefined && !mayLookUp(management, client.address, key)) {
      this.#insist(response);
      pages.busy(request, response, 429, TOO_MANY.message, Number(TOO_MANY.retryAfter));
      return;
    }
    const guess = key === undefined ? undefined : this.#guess(key, client);
    if (guess)
      response.once('close', () => {
        if (response.headersSent) guess.isRight();
      });
    const way = await ways.to(where, request.url ?? '', connectionOf(request, client));
    if (response.destroyed) return;
    if (way === undefined) {
      guess?.isWrong();
      this.#insist(response);
      send(request, response, 404, { 'Content-Type': 'text/plain' }, 'There is nothing here.\n');
      return;
    }
    if (
      key !== undefined &&
      traffic.visit(key, client.address).openRequests >= config.limits.requestsPerSite
    ) {
      traffic.limited('requests');
      this.#insist(response);
      pages.busy(request, response, 503, 'This site has too many requests under way.', 1);
      return;
    }
    engine.request(request, response, way.target, way.visit, (failure) => {
      guess?.isWrong();
      this.#failed(where, failure, response);
      this.#insist(response);
      pages.unreachable(
        request,
        response,
        failure,
        where.kind === 'direct' ? where.direct.rule.frameAncestors : undefined,
      );
    });
  }

  /** `fail` answers on the raw socket. Never rejects. */
  async upgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    where: Elsewhere,
    client: Client,
    fail: (status: number, text: string) => void,
  ): Promise<void> {
    const { config, connections, engine, management, traffic, ways } = this.#parts;
    const key = where.kind === 'direct' ? directKey(where.direct) : undefined;
    if (key !== undefined && !mayLookUp(management, client.address, key)) {
      fail(429, `${TOO_MANY.message}\n`);
      return;
    }
    const guess = key === undefined ? undefined : this.#guess(key, client);
    const way = await ways.to(where, request.url ?? '', connectionOf(request, client));
    if (socket.destroyed) return;
    if (way === undefined) {
      guess?.isWrong();
      fail(404, 'There is nothing here.\n');
      return;
    }
    if (
      key !== undefined &&
      traffic.visit(key, client.address).openWebSockets >= config.limits.webSocketsPerSite
    ) {
      traffic.limited('websockets');
      fail(503, 'This site has too many WebSockets open.\n');
      return;
    }
    engine.upgrade(
      request,
      socket,
      head,
      way.target,
      way.visit,
      () => {
        guess?.isRight();
        connections.onTunnel(socket as Socket);
      },
      (failure) => {
        guess?.isWrong();
        this.#failed(where, failure, socket);
        fail(failureStatus[failure], 'The server does not answer.\n');
      },
    );
  }

  /**
   * Trying which hosts and ports there are is guessing, too. Somebody's first visit to one counts as a wrong guess until it has
   * turned out to be right, so that many that are under way at once are as many guesses.
   */
  #guess(key: string, { address }: Client): { isRight(): void; isWrong(): void } {
    const { management, traffic } = this.#parts;
    const { lookups } = management;
    let isOpen = traffic.seen(key)?.visitors.has(address) !== true;
    const wasCounted = isOpen;
    if (wasCounted) lookups.take(address);
    return {
      isRight: () => {
        if (isOpen) lookups.giveBack(address);
        isOpen = false;
      },
      isWrong: () => {
        if (!wasCounted) lookups.take(address);
        isOpen = false;
      },
    };
  }

  #failed(where: Elsewhere, failure: Failure, channel: ServerResponse | Duplex): void {
    const { traffic } = this.#parts;
    traffic.failure(failure);
    if (where.kind !== 'direct') return;
    channel.once('close', () => traffic.forgetIdle(directKey(where.direct)));
  }

  #insist(response: ServerResponse): void {
    insistOnHttps(response, this.#parts.hsts);
  }
}
