import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { connect } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectSecure, type TLSSocket } from 'node:tls';
import { Client } from 'undici';
import { LabError, lastLines } from '../lab/errors.ts';
import { cpuOf } from './processes.ts';

export const DOMAIN = 'bench.test';
/** Where the launcher runs, as the proxy sees it. */
export const LOGIN = '127.21.0.1';
const root = path.join(import.meta.dirname, '..');
/** perf_hooks.monitorEventLoopDelay() counts its own sampling period, which prom-client sets to 10 ms. */
const SAMPLING_MS = 10;

/** Everything that was started or made, to be ended in the opposite order. */
const endings: (() => unknown)[] = [];

let cleaning: Promise<void> | undefined;

/** Ends all processes of a run and removes its files, also those that are made meanwhile. */
export function cleanUp(): Promise<void> {
  cleaning ??= (async () => {
    for (let end = endings.pop(); end !== undefined; end = endings.pop()) await end();
    cleaning = undefined;
  })();
  return cleaning;
}

/** A folder that lives as long as the run. */
export function scratch(): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'start-jupyter-bench-'));
  endings.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Does something at the end of the run, before what was there earlier is ended. */
export function endWith(end: () => unknown): void {
  endings.push(end);
}

/** Ends a process with the run. */
export function endWithRun(child: ChildProcess): void {
  endings.push(() => ended(child));
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill();
    await once(child, 'close');
  }
}

/** A compute node's address and the port of its notebook. */
export interface Notebook {
  readonly address: string;
  readonly port: number;
}

/** Notebooks on so many loopback addresses, in one process of their own. */
export async function startNotebooks(count: number): Promise<Notebook[]> {
  const addresses = Array.from(
    { length: count },
    (_, i) => `127.21.${1 + Math.floor(i / 200)}.${1 + (i % 200)}`,
  );
  const child = fork(path.join(import.meta.dirname, 'notebooks.ts'), addresses);
  endWithRun(child);
  const [ports] = (await once(child, 'message')) as [number[]];
  return addresses.map((address, i) => ({ address, port: ports[i] as number }));
}

/** Bytes, after a garbage collection. */
export interface Memory {
  readonly rss: number;
  readonly heapUsed: number;
  readonly external: number;
  readonly arrayBuffers: number;
}

export type Engine = 'node' | 'haproxy';

/** How a satellite is started, where it isn't as usual. */
export interface SatelliteOptions {
  /** For profiling. */
  readonly nodeOptions?: readonly string[];
  /** Files; it makes a certificate of its own without them. */
  readonly certificate?: { readonly cert: string; readonly key: string };
  readonly engine?: Engine;
  /** Where its log goes, if not beside the state. */
  readonly log?: string;
  /** More of its options. */
  readonly more?: readonly string[];
  /** Can tell what memory it uses; an operator's can't. */
  readonly observed?: boolean;
  /** Turns its command into another that runs it. */
  readonly within?: (command: readonly string[]) => readonly string[];
}

/** A satellite in a process of its own, over TLS, as an operator starts it, with its log in a file. */
export class SatelliteProcess {
  readonly #child: ChildProcess;
  readonly port: number;
  readonly #metricsPort: number;
  readonly ca: string;
  /** From the start of the process until it listens; milliseconds. */
  readonly startTime: number;

  private constructor(child: ChildProcess, port: number, metricsPort: number, ca: string, startTime: number) {
    this.#child = child;
    this.port = port;
    this.#metricsPort = metricsPort;
    this.ca = ca;
    this.startTime = startTime;
  }

  /** Starts it on a state file, which may be one from before. */
  static async start(state: string, options: SatelliteOptions = {}): Promise<SatelliteProcess> {
    const { nodeOptions = [], certificate, engine, observed = true, within = (command) => command } = options;
    const { log: logFile = `${state}.log`, more = [] } = options;
    const started = performance.now();
    const [program = '', ...args] = within([
      process.execPath,
      ...(observed ? ['--expose-gc', '--import', path.join(import.meta.dirname, 'observe.ts')] : []),
      ...[...nodeOptions, path.join(root, 'satellite/dist/satellite.js'), 'serve', '--domain', DOMAIN],
      ...(certificate
        ? ['--tls-cert', certificate.cert, '--tls-key', certificate.key]
        : ['--tls', 'selfSigned']),
      ...['--listen', '127.0.0.1:0', '--metrics-listen', '127.0.0.1:0'],
      ...['--state', state, '--internal-networks', '127.21.0.0/16', '--job-state-networks', `${LOGIN}/32`],
      // One launcher gets all tokens here, as fast as it can.
      ...['--limits-tokens-per-minute', '10000000'],
      // One thread each.
      ...(engine === 'haproxy' ? ['--engine', engine, '--haproxy-threads', '1'] : []),
      ...more,
    ]);
    const log = openSync(logFile, 'w');
    const child = spawn(program, args, { stdio: ['ignore', 'inherit', log, 'ipc'] });
    closeSync(log);
    endWithRun(child);
    const entries = await logged(child, logFile, 'listening');
    const { listening, 'serving-metrics': metrics } = entries;
    const startTime = performance.now() - started;
    const file = certificate?.cert ?? `${state}.self-signed.pem`;
    const [ca = ''] =
      /-----BEGIN CERTIFICATE-----.*-----END CERTIFICATE-----/s.exec(readFileSync(file, 'utf8')) ?? [];
    return new SatelliteProcess(child, portIn(listening), portIn(metrics), ca, startTime);
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** CPU time used so far; milliseconds. */
  cpu(): number {
    return cpuOf(this.pid);
  }

  /** What is in use once collections find nothing more: V8 drops code that nobody has run for some of them. */
  async memory(): Promise<Memory> {
    let memory: Memory | undefined;
    for (const _ of range(10)) {
      this.#child.send('memory');
      const [now] = (await once(this.#child, 'message')) as [Memory];
      const isSettled = memory !== undefined && memory.heapUsed - now.heapUsed < now.heapUsed / 1000;
      memory = now;
      if (isSettled) break;
    }
    return memory as Memory;
  }

  /** The proxy's own metrics by name (with labels). */
  async metrics(): Promise<Map<string, number>> {
    const response = get({ host: '127.0.0.1', port: this.#metricsPort, path: '/metrics', agent: false });
    const [message] = await once(response, 'response');
    const text = Buffer.concat(await message.toArray()).toString();
    return new Map(
      text
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#'))
        .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
    );
  }

  /** The longest and the 99th percentile of the event loop's delays since the last time this was asked; milliseconds. */
  async lag(): Promise<{ p99: number; max: number }> {
    const metrics = await this.metrics();
    const read = (name: string): number =>
      Math.max(0, (metrics.get(`nodejs_eventloop_lag_${name}_seconds`) ?? Number.NaN) * 1000 - SAMPLING_MS);
    return { p99: read('p99'), max: read('max') };
  }

  /** A visitor's or a node's connections to one of its hosts, kept alive. */
  client(host: string, from: string, connections = 1): Caller {
    return new Caller(this, `${host}.${DOMAIN}`, from, connections);
  }

  /** A visitor's connection to a site, after its handshake. */
  async connect(site: string, from: string): Promise<TLSSocket> {
    const socket = connectSecure({
      socket: connect({ host: '127.0.0.1', port: this.port, localAddress: from, noDelay: true }),
      servername: `${site}.${DOMAIN}`,
      ca: this.ca,
    });
    await once(socket, 'secureConnect');
    return socket;
  }

  async stop(): Promise<void> {
    await ended(this.#child);
  }
}

/** What a satellite's log holds, the last of each event, once there is the one that is waited for. */
async function logged(
  child: ChildProcess,
  file: string,
  event: string,
): Promise<Record<string, Record<string, unknown>>> {
  for (;;) {
    const text = readFileSync(file, 'utf8');
    const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
    const isOver = child.exitCode !== null || child.signalCode !== null;
    if (isOver) throw new LabError(`satellite did not start:\n${lastLines(text)}`);
    const entries = lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
    if (entries.some((entry) => entry.event === event))
      return Object.fromEntries(entries.map((entry) => [entry.event, entry]));
    await pause(10);
  }
}

const portIn = (entry: Record<string, unknown> | undefined): number => {
  if (typeof entry?.port !== 'number') throw new Error('the proxy has not said where it listens');
  return entry.port;
};

/** Keep-alive connections over TLS to one host of a proxy, from one address. */
export class Caller {
  readonly #clients: Client[];
  readonly #host: string;
  #next = 0;

  constructor(proxy: SatelliteProcess, host: string, from: string, connections: number) {
    this.#host = host;
    this.#clients = Array.from(
      { length: connections },
      () =>
        new Client(`https://127.0.0.1:${proxy.port}`, {
          connect: { ca: proxy.ca, servername: host, localAddress: from },
          localAddress: from,
          pipelining: 1,
          keepAliveTimeout: 60_000,
          headersTimeout: 60_000,
        }),
    );
  }

  async ask(method: string, target: string, body?: string): Promise<{ status: number; body: string }> {
    const client = this.#clients[this.#next++ % this.#clients.length] as Client;
    const { statusCode, body: answer } = await client.request({
      method: method as 'GET',
      path: target,
      headers: { host: this.#host },
      body: body ?? null,
    });
    return { status: statusCode, body: await answer.text() };
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.destroy()));
  }
}

/** Does something with each of them, so many at a time. */
export async function each<T>(
  items: Iterable<T>,
  atATime: number,
  action: (item: T, worker: number) => Promise<unknown>,
): Promise<void> {
  const left = items[Symbol.iterator]();
  const worker = async (_: unknown, id: number): Promise<void> => {
    for (let next = left.next(); !next.done; next = left.next()) await action(next.value, id);
  };
  await Promise.all(Array.from({ length: atATime }, worker));
}

export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** The value below which the given part of them lies. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

/** Throws where an answer is not what was asked for: no error is allowed in what is measured. */
export function expectStatus(answer: { status: number; body: string }, status: number, what: string): void {
  if (answer.status !== status) throw new Error(`${what}: ${answer.status} ${answer.body.slice(0, 200)}`);
}

/** Sites that have been made, and what that has cost. */
export interface NewSites {
  readonly tokens: string[];
  readonly issue: Cost;
  readonly link: Cost;
  readonly redeem: Cost;
  /** Tokens issued in a second, for each batch of them. */
  readonly issueRates: readonly number[];
}

const BATCHES = 20;

const ratesOf = (times: readonly number[], count: number): number[] =>
  times.slice(1).map((time, i) => (count * 1000) / (time - (times[i] as number)));

/** So many more live sites after those that there are, each issued, tied to a job of its own and redeemed through the management protocol. */
export async function makeSites(
  proxy: SatelliteProcess,
  notebooks: readonly Notebook[],
  count: number,
  already = 0,
): Promise<NewSites> {
  const tokens: string[] = [];
  const login = proxy.client('manage', LOGIN, 64);
  const batch = Math.ceil(count / BATCHES);
  const issued = [performance.now()];
  const issue = await costOf(proxy, count, () =>
    each(range(count), 64, async () => {
      const answer = await login.ask('POST', '/api/v1/tokens');
      expectStatus(answer, 201, 'issue');
      tokens.push(JSON.parse(answer.body).token);
      if (tokens.length % batch === 0) issued.push(performance.now());
    }),
  );
  const link = await costOf(proxy, count, () =>
    each(tokens.entries(), 64, async ([i, token]) => {
      expectStatus(
        await login.ask('PUT', `/api/v1/tokens/${token}/job`, `{"jobId":"${jobOf(already + i)}"}`),
        200,
        'link',
      );
    }),
  );
  await login.close();
  const nodes = notebooks.map(({ address }) =>
    proxy.client('manage', address, Math.ceil(64 / notebooks.length)),
  );
  const redeem = await costOf(proxy, count, () =>
    each(tokens.entries(), 64, async ([i, token]) => {
      const body = `{"port":${notebooks[i % notebooks.length]?.port}}`;
      const node = nodes[i % nodes.length] as Caller;
      expectStatus(await node.ask('POST', `/api/v1/tokens/${token}/redeem`, body), 200, 'redeem');
    }),
  );
  for (const node of nodes) await node.close();
  return { tokens, issue, link, redeem, issueRates: ratesOf(issued, batch) };
}

/** The job of the site with this index. */
export const jobOf = (index: number): number => 1_000_000 + index;

/** What so many of something took. */
export interface Cost {
  /** Microseconds of the proxy's CPU for each. */
  readonly cpu: number;
  readonly perSecond: number;
  /** Seconds in all. */
  readonly time: number;
}

export async function costOf(
  proxy: SatelliteProcess,
  count: number,
  work: () => Promise<unknown>,
): Promise<Cost> {
  const [cpu, started] = [proxy.cpu(), performance.now()];
  await work();
  const time = (performance.now() - started) / 1000;
  return { cpu: ((proxy.cpu() - cpu) * 1000) / count, perSecond: count / time, time };
}
