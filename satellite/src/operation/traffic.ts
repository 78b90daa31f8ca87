import type { GoneBy, TokenRecord } from '../tokens/record.ts';

/** What goes on at one live site. Bytes are those of bodies and tunnels, without headers. */
export interface SiteTraffic {
  requests: number;
  openRequests: number;
  openWebSockets: number;
  /** From visitors to the notebook. */
  bytesIn: number;
  /** From the notebook to visitors. */
  bytesOut: number;
  /** Milliseconds since the epoch. */
  lastVisit: number;
  /** The addresses that have been here: enough to tell a class from a crowd, not a log. */
  readonly visitors: Set<string>;
}

/** What a request was about; `refused` ones never got that far. */
export type RequestKind = 'site' | 'manage' | 'apex' | 'route' | 'direct' | 'refused' | 'websocket';

interface RequestCount {
  readonly kind: RequestKind;
  /** `2xx` and the like. */
  readonly status: string;
  count: number;
}

const MAX_VISITORS = 200;

/** Counts since the start. Knows sites by their tokens, so only totals may leave the process. */
export class Traffic {
  readonly #sites = new Map<string, SiteTraffic>();
  /** By kind, and the first digit of the status. */
  readonly #requests: Record<RequestKind, RequestCount[]> = {
    site: [],
    manage: [],
    apex: [],
    route: [],
    direct: [],
    refused: [],
    websocket: [],
  };
  readonly #failures = new Map<string, number>();
  readonly #limited = new Map<string, number>();
  readonly #gone: Record<GoneBy, number> = { destroyed: 0, expired: 0, job: 0 };
  /** Of sites that are gone. */
  #bytesIn = 0;
  #bytesOut = 0;
  issued = 0;
  redeemed = 0;
  /** How often the state could not be written. */
  stateErrors = 0;
  /** Hears of everybody's first visit to a site. */
  onVisitor: (token: string, address: string) => void = () => undefined;

  /** The counters of a site, made when somebody first comes by. */
  site(token: string): SiteTraffic {
    const known = this.#sites.get(token);
    if (known) return known;
    const site: SiteTraffic = {
      requests: 0,
      openRequests: 0,
      openWebSockets: 0,
      bytesIn: 0,
      bytesOut: 0,
      lastVisit: 0,
      visitors: new Set(),
    };
    this.#sites.set(token, site);
    return site;
  }

  /** The counters of a site that has had visitors. */
  seen(token: string): SiteTraffic | undefined {
    return this.#sites.get(token);
  }

  visit(token: string, address: string): SiteTraffic {
    const site = this.site(token);
    site.requests += 1;
    site.lastVisit = Date.now();
    if (!site.visitors.has(address)) {
      if (site.visitors.size < MAX_VISITORS) site.visitors.add(address);
      this.onVisitor(token, address);
    }
    return site;
  }

  /** Forgets somebody with whom nothing came of it. */
  forgetIdle(token: string): void {
    const site = this.#sites.get(token);
    if (site && site.openRequests + site.openWebSockets === 0) this.#forget(token, site);
  }

  #forget(token: string, { bytesIn, bytesOut }: SiteTraffic): void {
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
    this.#sites.delete(token);
  }

  request(kind: RequestKind, status: number): void {
    this.answered(kind, Math.floor(status / 100), 1);
  }

  /** The same for many that somebody else has counted, by the first digit of their status. */
  answered(kind: RequestKind, statusClass: number, count: number): void {
    const entry = this.#requests[kind][statusClass];
    if (entry) entry.count += count;
    else if (count > 0) this.#requests[kind][statusClass] = { kind, status: `${statusClass}xx`, count };
  }

  /** Bytes of a site that is gone, and was forgotten before they were counted. */
  lateBytes(bytesIn: number, bytesOut: number): void {
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
  }

  failure(why: string): void {
    this.#failures.set(why, (this.#failures.get(why) ?? 0) + 1);
  }

  limited(limit: string): void {
    this.#limited.set(limit, (this.#limited.get(limit) ?? 0) + 1);
  }

  /** Counts what this proxy has done itself: those that share its state count the rest. */
  transition({ token, state, goneBy }: TokenRecord, isOurs: boolean): void {
    if (isOurs && state === 'pending') this.issued += 1;
    if (isOurs && state === 'mapped') this.redeemed += 1;
    if (isOurs && goneBy) this.#gone[goneBy] += 1;
    const site = state === 'gone' ? this.#sites.get(token) : undefined;
    if (site) this.#forget(token, site);
  }

  get requests(): Iterable<RequestCount> {
    return Object.values(this.#requests).flatMap((ofKind) => ofKind.filter((count) => count !== undefined));
  }

  get failures(): Iterable<[why: string, count: number]> {
    return this.#failures;
  }

  get limits(): Iterable<[limit: string, count: number]> {
    return this.#limited;
  }

  get gone(): Readonly<Record<GoneBy, number>> {
    return this.#gone;
  }

  totals(): { openRequests: number; openWebSockets: number; bytesIn: number; bytesOut: number } {
    const sum = { openRequests: 0, openWebSockets: 0, bytesIn: this.#bytesIn, bytesOut: this.#bytesOut };
    for (const site of this.#sites.values()) {
      sum.openRequests += site.openRequests;
      sum.openWebSockets += site.openWebSockets;
      sum.bytesIn += site.bytesIn;
      sum.bytesOut += site.bytesOut;
    }
    return sum;
  }
}
