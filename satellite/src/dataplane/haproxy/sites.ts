import { randomUUID } from 'node:crypto';
import type { Log } from '../../log.ts';
import type { SiteTraffic, Traffic } from '../../operation/traffic.ts';
import { backends, siteEntry, TABLES } from './names.ts';
import { type RuntimeApi, tableEntries } from './runtime.ts';

/** A request that was past the map when its site was taken out shows up a moment later. */
const SECOND_LOOK_MS = 250;
const COUNT_MS = 5000;

/** No host's name: by its value a HAProxy that has been told everything is known from one that has begun anew. */
const MARK = '-';

interface Site {
  readonly host: string;
  readonly port: number;
  /** What HAProxy counts by; given when HAProxy is first told. */
  id: number | undefined;
}

/** What HAProxy has counted for a site. */
interface Counted {
  readonly requests: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly open: number;
}

/** What became of the requests to one of its backends, by the first digit of the status, and all of them together. */
interface Statuses {
  readonly all: number;
  readonly counts: readonly number[];
}

const NO_STATUSES: Statuses = { all: 0, counts: [] };

const NOTHING: Counted = { requests: 0, bytesIn: 0, bytesOut: 0, open: 0 };

export interface SitesOptions {
  readonly runtime: RuntimeApi;
  /** The map's name, which is its file's. */
  readonly map: string;
  /** Every spelling of a site's `Host` that is served directly, each with the port that it means. */
  readonly spellings: (token: string) => readonly (readonly [name: string, port: number])[];
  readonly traffic: Traffic;
  readonly log: Log;
  /** Hears that HAProxy has not taken in something, and has to be told everything anew. */
  readonly onLost: (error: Error) => void;
}

/**
 * The live sites as HAProxy is to know them. While it knows less than it should, satellite serves the rest itself; what it
 * must not know any more is told until it has heard.
 */
export class HaproxySites {
  readonly #options: SitesOptions;
  readonly #sites = new Map<string, Site>();
  readonly #tokens = new Map<number, string>();
  readonly #mark = randomUUID();
  #counting: Promise<void> = Promise.resolve();
  readonly #statuses = new Map<string, Statuses>();
  readonly #counted = { requests: new Map<number, Counted>(), sockets: new Map<number, Counted>() };
  /**
   * Begins with the time: what HAProxy remembers of a site that was over before we came is never another one's. Fits what
   * tables count by (31 bits).
   */
  #nextId = Math.floor(Date.now() / 1000) % 2 ** 31;
  /** What is still to be said, in its order; undefined while HAProxy has to be told everything first. */
  #queue: string[] | undefined;
  #ending = new Set<number>();
  #isSending = false;
  #counter: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: SitesOptions) {
    this.#options = options;
  }

  /** A site has a notebook that takes connections. */
  place(token: string, host: string, port: number): void {
    if (this.#sites.has(token)) return;
    const site: Site = { host, port, id: undefined };
    this.#sites.set(token, site);
    if (this.#queue) this.#say(this.#additions(token, site));
  }

  /** Somebody has been at a site, and may come back without being looked at. */
  visited(token: string, address: string): void {
    const id = this.#sites.get(token)?.id;
    if (id !== undefined && this.#queue) this.#say([visit(address, id)]);
  }

  /** A site is gone, with everything that is open for it. */
  remove(token: string): void {
    const site = this.#sites.get(token);
    if (!site) return;
    this.#sites.delete(token);
    if (site.id === undefined) return;
    this.#tokens.delete(site.id);
    this.#ending.add(site.id);
    if (this.#queue) this.#say(this.#removals(token));
  }

  /**
   * Tells HAProxy everything: after its start or ours. What it knows already stays as it is, with what is open there.
   * Rejects where it can't be reached.
   */
  async reconcile(): Promise<void> {
    const { runtime, map, log } = this.#options;
    this.#queue = undefined;
    const known = parseMap(await runtime.ask(`show map ${map}`));
    known.delete(MARK);
    const ids = [...known.values()].map((value) => Number.parseInt(value, 10));
    this.#nextId = ids.reduce((highest, id) => Math.max(highest, id + 1), this.#nextId);
    const commands: string[] = [];
    const wanted = new Map<string, string>();
    for (const [token, site] of this.#sites) {
      const names = this.#options.spellings(token);
      const [id = '', host, port] = known.get(names[0]?.[0] ?? '')?.split('@') ?? [];
      if (site.id === undefined && host === site.host && port === String(site.port))
        this.#take(token, site, Number(id));
      for (const [name, visited] of names) wanted.set(name, this.#entry(token, site, visited));
    }
    const stale = [...known].filter(([name, value]) => wanted.get(name) !== value);
    for (const [name, value] of stale) {
      commands.push(`del map ${map} ${name}`);
      this.#ending.add(Number.parseInt(value, 10));
    }
    const missing = [...wanted].filter(([name, value]) => known.get(name) !== value);
    const visits = [...this.#sites].flatMap(([token, site]) => this.#visits(token, site));
    // From here on what happens is said behind this.
    this.#queue = [];
    this.#isSending = true;
    try {
      await runtime.askAll(commands);
      await addAll(runtime, map, missing);
      await runtime.askAll(visits);
      await this.#end();
      await runtime.askAll([`del map ${map} ${MARK}`, `add map ${map} ${MARK} ${this.#mark}`]);
    } finally {
      this.#isSending = false;
    }
    log({
      event: 'haproxy-reconciled',
      sites: this.#sites.size,
      added: missing.length,
      removed: stale.length,
    });
    this.#send();
    this.#count();
  }

  /** Is it the HAProxy that has been told? Rejects where it can't be asked. */
  async isTold(): Promise<boolean> {
    const { runtime, map } = this.#options;
    return (await runtime.ask(`get map ${map} ${MARK}`)).includes(this.#mark);
  }

  /** HAProxy can't be told anything at the moment. */
  lost(): void {
    this.#queue = undefined;
  }

  close(): void {
    this.#isClosed = true;
    this.#queue = undefined;
    clearTimeout(this.#counter);
  }

  #take(token: string, site: Site, id: number): number {
    site.id = id;
    this.#tokens.set(id, token);
    return id;
  }

  #entry(token: string, site: Site, visited: number): string {
    const id = site.id ?? this.#take(token, site, this.#nextId++);
    return siteEntry(id, site.host, site.port, visited, token);
  }

  #additions(token: string, site: Site): string[] {
    const { map, spellings } = this.#options;
    const entries = spellings(token).map(
      ([name, visited]) => `add map ${map} ${name} ${this.#entry(token, site, visited)}`,
    );
    return [...entries, ...this.#visits(token, site)];
  }

  #removals(token: string): string[] {
    const { map, spellings } = this.#options;
    return spellings(token).map(([name]) => `del map ${map} ${name}`);
  }

  #visits(token: string, { id }: Site): string[] {
    const seen = this.#options.traffic.seen(token);
    return seen && id !== undefined ? [...seen.visitors].map((address) => visit(address, id)) : [];
  }

  #say(commands: readonly string[]): void {
    this.#queue?.push(...commands);
    this.#send();
  }

  /** One batch at a time: what comes up meanwhile is the next one. */
  #send(): void {
    if (this.#isSending || this.#isClosed || this.#queue === undefined) return;
    if (this.#queue.length === 0 && this.#ending.size === 0) return;
    const batch = this.#queue.splice(0);
    this.#isSending = true;
    this.#options.runtime
      .askAll(batch)
      .then(() => this.#end())
      .then(
        () => {
          this.#isSending = false;
          this.#send();
        },
        (error: Error) => {
          this.#isSending = false;
          if (this.#isClosed) return;
          this.#queue = undefined;
          this.#options.onLost(error);
        },
      );
  }

  /** Ends what is open for sites that have just been taken out of the map. */
  async #end(): Promise<void> {
    const ids = [...this.#ending];
    if (ids.length === 0) return;
    await this.#endOpen(ids);
    for (const id of ids) this.#ending.delete(id);
    setTimeout(() => this.#endOpen(ids).catch(() => undefined), SECOND_LOOK_MS).unref();
  }

  async #endOpen(ids: readonly number[]): Promise<void> {
    const { runtime } = this.#options;
    const all = tableEntries(await runtime.ask(`show table ${TABLES.connections} data.gpt0 gt 0`));
    const wanted = new Set(ids);
    const clients = new Set(
      all.filter((entry) => wanted.has(Number(entry.get('gpt0')))).map((entry) => entry.get('key')),
    );
    if (clients.size === 0) return;
    const notebooks: ReadonlySet<string | undefined> = new Set(Object.values(backends));
    const streams = (await runtime.ask('show sess')).split('\n').flatMap((line) => {
      const [, id, client, backend] = /^(0x[0-9a-f]+): .*? src=(\S+) .*? be=(\S+) /.exec(line) ?? [];
      return id !== undefined && clients.has(client) && notebooks.has(backend) ? [id] : [];
    });
    await runtime.askAll(streams.map((id) => `shutdown session ${id}`));
  }

  /** Takes in now and then what HAProxy has counted. */
  #count(): void {
    clearTimeout(this.#counter);
    if (this.#isClosed) return;
    this.#counter = setTimeout(() => {
      this.countNow().then(
        () => this.#count(),
        (error: Error) => {
          this.#count();
          if (!this.#isClosed) this.#options.onLost(error);
        },
      );
    }, COUNT_MS).unref();
  }

  /** Takes in what HAProxy has counted since the last time. One after another: each is compared with the one before. */
  countNow(): Promise<void> {
    const counted = this.#counting.then(() => this.#takeIn());
    this.#counting = counted.catch(() => undefined);
    return counted;
  }

  async #takeIn(): Promise<void> {
    const { runtime, traffic } = this.#options;
    for (const kind of ['requests', 'sockets'] as const) {
      const entries = tableEntries(await runtime.ask(`show table ${TABLES[kind]}`));
      const now = new Map(entries.map((entry) => [Number(entry.get('key')), countedIn(entry)]));
      const before = this.#counted[kind];
      this.#counted[kind] = now;
      for (const id of new Set([...before.keys(), ...now.keys()])) {
        const token = this.#tokens.get(id);
        const [first, last] = [before.get(id) ?? NOTHING, now.get(id) ?? NOTHING];
        if (token !== undefined) add(traffic.site(token), kind, first, last);
        else traffic.lateBytes(since(first, last, 'bytesIn'), since(first, last, 'bytesOut'));
      }
    }
    for (const name of Object.values(backends)) {
      const kind = name === backends.webSockets ? 'websocket' : 'site';
      const now = statusesIn(await runtime.ask(`show stat ${name} 6 -1`), kind === 'websocket');
      const before = this.#statuses.get(name) ?? NO_STATUSES;
      // One that has begun anew counts from nothing.
      const base = now.all < before.all ? NO_STATUSES : before;
      // For a moment satellite's part of an answer is counted, and the whole of it isn't.
      const counts = now.counts.map((count, digit) => Math.max(count, base.counts[digit] ?? 0));
      this.#statuses.set(name, { all: now.all, counts });
      for (const [digit, count] of counts.entries())
        traffic.answered(kind, digit, count - (base.counts[digit] ?? 0));
    }
  }
}

const visit = (address: string, id: number): string =>
  `set table ${TABLES.visits} key ${address}@${id} data.gpt0 1`;

/** A payload may be as long as a buffer of HAProxy's. */
const PAYLOAD_LINES = 100;

async function addAll(
  runtime: RuntimeApi,
  map: string,
  entries: readonly [name: string, value: string][],
): Promise<void> {
  for (let i = 0; i < entries.length; i += PAYLOAD_LINES) {
    const lines = entries.slice(i, i + PAYLOAD_LINES).map(([name, value]) => `${name} ${value}`);
    await runtime.ask(`add map ${map}`, lines.join('\n'));
  }
}

/** `show map`: an identifier, the key, the value. */
function parseMap(text: string): Map<string, string> {
  return new Map(
    [...text.matchAll(/^0x[0-9a-f]+ (\S+) (\S+)$/gm)].map(([, name = '', value = '']) => [name, value]),
  );
}

function countedIn(entry: ReadonlyMap<string, string>): Counted {
  const read = (name: string): number => Number(entry.get(name) ?? 0);
  return {
    requests: read('http_req_cnt'),
    bytesIn: read('bytes_in_cnt'),
    bytesOut: read('bytes_out_cnt'),
    open: read('conn_cur'),
  };
}

/** An entry that begins anew (HAProxy has, or nobody came for an hour) counts from nothing. */
function since(before: Counted, now: Counted, name: 'requests' | 'bytesIn' | 'bytesOut'): number {
  return now[name] >= before[name] ? now[name] - before[name] : now[name];
}

function add(site: SiteTraffic, kind: 'requests' | 'sockets', before: Counted, now: Counted): void {
  const requests = since(before, now, 'requests');
  site.requests += requests;
  site.bytesIn += since(before, now, 'bytesIn');
  site.bytesOut += since(before, now, 'bytesOut');
  site[kind === 'requests' ? 'openRequests' : 'openWebSockets'] += now.open - before.open;
  if (now.open > 0 || requests > 0) site.lastVisit = Date.now();
}

/**
 * `show stat` of a backend and its servers (section 9.1 of the management guide): what HAProxy and the notebooks have answered.
 * What it has handed to satellite after all is in satellite's own count.
 */
function statusesIn(text: string, isOfWebSockets: boolean): Statuses {
  const [head = '', ...lines] = text.split('\n').map((line) => line.split(','));
  const rows = new Map(lines.map((cells) => [cells[1], cells]));
  const read = (row: string, digit: number): number =>
    Number(rows.get(row)?.[head.indexOf(`hrsp_${digit}xx`)] ?? 0);
  const digits = [0, 1, 2, 3, 4, 5];
  return {
    all: digits.reduce((sum, digit) => sum + read('BACKEND', digit), 0),
    counts: digits.map((digit) =>
      // A tunnel is counted when it opens, not only when it ends.
      digit === 1 && isOfWebSockets
        ? read('notebook', 1)
        : Math.max(0, read('BACKEND', digit) - read('satellite', digit)),
    ),
  };
}
