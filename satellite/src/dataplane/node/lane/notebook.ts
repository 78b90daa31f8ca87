import type { SiteTraffic } from '../../../operation/traffic.ts';
import type { Target } from '../../engine.ts';
import { Upstream, type UpstreamParts } from './upstream.ts';
import type { Visitor } from './visitor.ts';

/** What is open towards one site's notebook. */
export class Notebook {
  readonly target: Target;
  readonly traffic: SiteTraffic;
  readonly #parts: UpstreamParts;
  /** Connections that wait for the next request, the one that was used last at the end. */
  readonly #idle: Upstream[] = [];
  /** Visitors whose request is under way. */
  readonly visitors = new Set<Visitor>();

  constructor(target: Target, traffic: SiteTraffic, parts: UpstreamParts) {
    this.target = target;
    this.traffic = traffic;
    this.#parts = parts;
  }

  get isUnused(): boolean {
    return this.#idle.length === 0 && this.visitors.size === 0;
  }

  /** A connection for a request: one that is kept, or a new one. */
  connection(): Upstream {
    return this.#idle.pop() ?? new Upstream(this, this.#parts);
  }

  keep(upstream: Upstream): void {
    this.#idle.push(upstream);
  }

  forget(upstream: Upstream): void {
    const at = this.#idle.indexOf(upstream);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** Closes what has been kept for longer than the notebook may keep it. */
  sweep(now: number): void {
    for (const upstream of [...this.#idle]) if (upstream.keptUntil <= now) upstream.destroy();
  }

  /** Ends all that is open, at once. */
  end(): void {
    for (const visitor of this.visitors) visitor.socket.destroy();
    for (const upstream of [...this.#idle]) upstream.destroy();
  }
}
