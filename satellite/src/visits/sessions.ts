import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Auth, Verdict } from '../auth/auth.ts';
import type { SatelliteConfig } from '../config.ts';
import { type Engine, failureStatus, type Target, type Visit } from '../dataplane/engine.ts';
import { comesFromSibling, sharedOriginEdits } from '../dataplane/shared-origin.ts';
import type { Client } from '../gate/client.ts';
import type { Destination } from '../gate/destination.ts';
import { hostName } from '../gate/host.ts';
import type { ClientConnections } from '../gate/limits.ts';
import { insistOnHttps } from '../http.ts';
import { type Management, mayLookUp, TOO_MANY } from '../management/service.ts';
import type { Traffic } from '../operation/traffic.ts';
import { OWN_PREFIX } from '../pages/paths.ts';
import type { Pages } from '../pages/respond.ts';
import type { TokenRecord } from '../tokens/record.ts';
import type { TokenRegistry } from '../tokens/registry.ts';
import { connectionOf } from './connection.ts';

/** What the gate says of somebody who may come in, and of somebody who may not. */
type LetIn = Extract<Verdict, { pass: unknown }>;
type TurnedAway = Exclude<Verdict, LetIn>;

export type SiteDestination = Extract<Destination, { kind: 'site' }>;

export interface SessionVisitsParts {
  readonly config: SatelliteConfig;
  readonly registry: TokenRegistry;
  readonly management: Management;
  readonly engine: Engine;
  readonly pages: Pages;
  readonly traffic: Traffic;
  readonly connections: ClientConnections;
  /** Who may visit a site; everybody, where it is missing. */
  readonly auth: Auth | undefined;
  /** The value of Strict-Transport-Security, where it is sent. */
  readonly hsts: string | undefined;
}

const NO_SITE = 'There is no live site here.\n';

/** Requests and upgrades to the sites of sessions: to the notebook, to a page of ours, or to the gate. */
export class SessionVisits {
  readonly #parts: SessionVisitsParts;

  constructor(parts: SessionVisitsParts) {
    this.#parts = parts;
  }

  request(
    request: IncomingMessage,
    response: ServerResponse,
    destination: SiteDestination,
    client: Client,
  ): void {
    this.#known(
      destination.label,
      client,
      () => {
        if (!response.destroyed) this.#site(request, response, destination, client);
      },
      () => {
        this.#insist(response);
        this.#parts.pages.unsure(request, response);
      },
    );
  }

  /** `fail` answers on the raw socket. */
  upgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    destination: SiteDestination,
    client: Client,
    fail: (code: number, text: string) => void,
  ): void {
    this.#known(
      destination.label,
      client,
      () => this.#upgradeSite(request, socket, head, destination, client, fail),
      () => fail(503, 'Whether there is a site here can not be looked up at the moment.\n'),
    );
  }

  /**
   * Goes on with what is known of a name. One that isn't known may be another satellite's that shares the state: it is asked first
   * (which costs no more however many ask), unless this client has guessed too often.
   */
  #known(label: string, { address }: Client, goOn: () => void, onUnsure: () => void): void {
    const { registry, management } = this.#parts;
    const isStrange = registry.find(label) === undefined && !management.lookups.isSpent(address);
    const asked = isStrange ? registry.askOthers() : undefined;
    if (asked) void asked.then(goOn, onUnsure);
    else goOn();
  }

  /** Counts a visit to a site, or a wrong guess; false for somebody who has guessed too often. */
  #mayVisit(label: string, { address }: Client): boolean {
    const { registry, management, traffic } = this.#parts;
    if (!mayLookUp(management, address, label)) return false;
    const record = registry.find(label);
    if (record === undefined) management.lookups.take(address);
    else if (record.state !== 'gone') traffic.visit(label, address);
    return true;
  }

  /** Asks the gate, where there is one; everybody may come in where there is none. */
  #judge(
    request: IncomingMessage,
    record: TokenRecord,
    onRefused: (refused: TurnedAway) => void,
    onAdmitted: (letIn: LetIn | undefined) => void,
  ): void {
    const verdict = this.#parts.auth?.judge(request, record);
    const conclude = (is: Verdict | undefined): void => {
      if (is === undefined || 'pass' in is) onAdmitted(is);
      else onRefused(is);
    };
    if (verdict instanceof Promise) void verdict.then(conclude);
    else conclude(verdict);
  }

  #site(
    request: IncomingMessage,
    response: ServerResponse,
    destination: SiteDestination,
    client: Client,
  ): void {
    const { label, prefix } = destination;
    const { registry, pages } = this.#parts;
    if (!this.#mayVisit(label, client)) {
      this.#insist(response);
      pages.busy(request, response, 429, TOO_MANY.message, Number(TOO_MANY.retryAfter));
      return;
    }
    const record = registry.find(label);
    if (record === undefined) {
      this.#insist(response);
      pages.unknown(request, response, label);
      return;
    }
    const { headers } = request;
    if (prefix !== '' && comesFromSibling(headers.referer, hostName(headers.host ?? ''), label)) {
      this.#insist(response);
      pages.sibling(request, response);
      return;
    }
    this.#judge(
      request,
      record,
      (refused) => {
        this.#insist(response);
        refused.answer(request, response);
      },
      (letIn) => {
        if (!response.destroyed) this.#open(request, response, record, destination, client, letIn);
      },
    );
  }

  /** Somebody who may see what there is. */
  #open(
    request: IncomingMessage,
    response: ServerResponse,
    record: TokenRecord,
    destination: SiteDestination,
    client: Client,
    letIn: LetIn | undefined,
  ): void {
    const { label, prefix } = destination;
    const { config, registry, engine, pages, traffic, auth } = this.#parts;
    if (letIn && auth) {
      const end = auth.follow(letIn.pass, () => response.destroy());
      response.once('close', end);
    }
    const target = targetOf(record);
    const starting = target !== undefined && !registry.isAnswering(label);
    if (target === undefined || (starting && request.url?.startsWith(`${prefix}${OWN_PREFIX}`))) {
      this.#insist(response);
      pages.waiting(request, response, record);
      return;
    }
    if (traffic.site(label).openRequests >= config.limits.requestsPerSite) {
      traffic.limited('requests');
      this.#insist(response);
      pages.busy(request, response, 503, 'This site has too many requests under way.', 1);
      return;
    }
    const visit = visitOf(request, client, destination, letIn);
    engine.request(request, response, target, visit, (failure) => {
      traffic.failure(failure);
      this.#insist(response);
      pages.trouble(request, response, record, failure);
    });
  }

  #upgradeSite(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    destination: SiteDestination,
    client: Client,
    fail: (code: number, text: string) => void,
  ): void {
    const { label } = destination;
    if (!this.#mayVisit(label, client)) {
      fail(429, `${TOO_MANY.message}\n`);
      return;
    }
    const record = this.#parts.registry.find(label);
    if (record === undefined) {
      fail(404, NO_SITE);
      return;
    }
    this.#judge(
      request,
      record,
      (refused) => fail(refused.status, `${refused.message}\n`),
      (letIn) => {
        if (socket.destroyed) return;
        const visit = visitOf(request, client, destination, letIn);
        this.#tunnel(request, socket, head, record, visit, letIn, fail);
      },
    );
  }

  #tunnel(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    record: TokenRecord,
    visit: Visit,
    letIn: LetIn | undefined,
    fail: (code: number, text: string) => void,
  ): void {
    const { traffic, config, auth } = this.#parts;
    const target = targetOf(record);
    if (target === undefined) {
      fail(record.state === 'gone' ? 410 : 503, NO_SITE);
      return;
    }
    if (traffic.site(target.token).openWebSockets >= config.limits.webSocketsPerSite) {
      traffic.limited('websockets');
      fail(503, 'This site has too many WebSockets open.\n');
      return;
    }
    if (letIn && auth) socket.once('close', auth.follow(letIn.pass, destroyerOf(socket)));
    this.#parts.engine.upgrade(
      request,
      socket,
      head,
      target,
      visit,
      () => this.#parts.connections.onTunnel(socket as Socket),
      (failure) => {
        this.#parts.traffic.failure(failure);
        fail(failureStatus[failure], 'The notebook does not answer.\n');
      },
    );
  }

  #insist(response: ServerResponse): void {
    insistOnHttps(response, this.#parts.hsts);
  }
}

/** By itself, so that it holds nothing but the socket. */
function destroyerOf(socket: Duplex): () => void {
  return () => socket.destroy();
}

/** Where the site of a token points; undefined while it points nowhere. */
export function targetOf({ token, state, host, port }: TokenRecord): Target | undefined {
  return state === 'mapped' && host !== null && port !== null ? { token, host, port } : undefined;
}

function visitOf(
  request: IncomingMessage,
  client: Client,
  { prefix }: SiteDestination,
  letIn: LetIn | undefined,
): Visit {
  const visit = connectionOf(request, client);
  // Only where each site has a host name of its own.
  if (letIn) return { ...visit, edits: letIn.inside, url: letIn.inside.target(request.url ?? '/') };
  return prefix === '' ? visit : { ...visit, edits: sharedOriginEdits(prefix) };
}
