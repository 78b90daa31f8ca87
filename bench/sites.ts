import { execFile } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'undici';
import {
  type Caller,
  costOf,
  DOMAIN,
  each,
  expectStatus,
  jobOf,
  LOGIN,
  makeSites,
  type Notebook,
  quantile,
  range,
  type SatelliteOptions,
  SatelliteProcess,
  scratch,
  startNotebooks,
} from './bench.ts';
import { installLoad, request } from './load.ts';
import type { Report } from './report.ts';
import { inTurns, type Length, requests, spread } from './turns.ts';

/** How much of everything; a trial run has less of it. */
export interface SitesSize extends Length {
  readonly sites: number;
  /** Requests in each measurement. */
  readonly requests: number;
  /** People who watch a page that waits. */
  readonly waiting: number;
  /** Sites at the end, when requests to them are compared with those to few. */
  readonly most: number;
  /** How long each turn of that comparison takes. */
  readonly seconds: number;
}

/** What a notebook answers. */
const PAGE = Buffer.alloc(1024, 'x');
const NODES = 100;
const FEW = 10;
/** Requests a second while sites are redeemed. */
const LOAD = 1000;
const REPEATS = 5;

/** Many live sites: what one costs, what a request costs beside so many, and what stalls the others. */
export async function benchSites(size: SitesSize, report: Report, how: SatelliteOptions): Promise<void> {
  await installLoad(report.say);
  const notebooks = await startNotebooks(Math.min(NODES, size.sites));
  const folder = scratch();
  const state = path.join(folder, 'state.sqlite');
  const proxy = await SatelliteProcess.start(state, how);
  report.add('start with an empty state', proxy.startTime, 'ms');
  // What the first requests bring into memory belongs to no site.
  const first = await makeSites(proxy, notebooks, Math.ceil(size.sites / 20));
  const before = await proxy.memory();
  await proxy.lag();
  const rest = await makeSites(proxy, notebooks, size.sites - first.tokens.length, first.tokens.length);
  const lag = await proxy.lag();
  const tokens = [...first.tokens, ...rest.tokens];
  const after = await proxy.memory();
  report.add('sites, each redeemed through the management protocol over TLS', tokens.length, '');
  report.add('tokens issued, 64 at a time', spread(rest.issueRates), '/s');
  report.add('CPU per token issued', rest.issue.cpu, 'µs');
  report.add('CPU per token tied to a job', rest.link.cpu, 'µs');
  report.add('CPU per token redeemed', rest.redeem.cpu, 'µs');
  report.add('event-loop lag meanwhile, p99', lag.p99, 'ms');
  report.add('event-loop lag meanwhile, longest', lag.max, 'ms');
  report.add('heap per live site', (after.heapUsed - before.heapUsed) / rest.tokens.length, 'B');
  report.add('memory of the process, resident', after.rss / 2 ** 20, 'MB');

  await manyBusy(proxy, tokens, size, report);
  await redeemUnderLoad(proxy, tokens, notebooks, size, report);
  await stalls(proxy, tokens, folder, state, size, report);
  await waitingVisitors(proxy, size, report);

  const more = await makeSites(proxy, notebooks, size.most - tokens.length, tokens.length);
  tokens.push(...more.tokens);
  await proxy.stop();
  report.add('state file', statSync(state).size / tokens.length, 'B/site');
  const again = await SatelliteProcess.start(state, how);
  report.add('start with all these sites in the state', again.startTime, 'ms');
  const visitor = again.client(tokens[0] as string, '127.3.0.1');
  expectStatus(await visitor.ask('GET', '/'), 200, 'after the restart');
  await visitor.close();
  const lagAfter = await again.lag();
  report.add('event-loop lag in the first moments, longest', lagAfter.max, 'ms');
  const restarted = await again.memory();
  report.add('memory of the process after that, resident', restarted.rss / 2 ** 20, 'MB');
  // Not with the one that was there before: what it has done by then, the others haven't.
  await compareWithFew(again, tokens, notebooks, size, report, how);
}

/**
 * The same requests to a site of this proxy and of two that have few, in turns. What the two with few differ by is how
 * exact this is.
 */
async function compareWithFew(
  proxy: SatelliteProcess,
  tokens: readonly string[],
  notebooks: readonly Notebook[],
  size: SitesSize,
  report: Report,
  how: SatelliteOptions,
): Promise<void> {
  const few = Math.min(FEW, size.sites);
  const small = async (name: string) => {
    const other = await SatelliteProcess.start(path.join(scratch(), 'state.sqlite'), how);
    return side(name, other, (await makeSites(other, notebooks, few)).tokens);
  };
  const side = (name: string, of: SatelliteProcess, its: readonly string[]) => ({
    ...{ name, port: of.port, ca: of.ca, pid: of.pid, stop: () => of.stop() },
    // From the middle of the list.
    hosts: [`${its[Math.floor(its.length / 2)]}.${DOMAIN}`],
  });
  const [first, second] = [await small(`${few} sites`), await small(`${few} others`)];
  const many = `${tokens.length} sites`;
  await inTurns(
    '1 KB, few sites and many',
    [first, side(many, proxy, tokens), second],
    size,
    requests('lab', PAGE, size.seconds),
    [many],
    report,
  );
  await first.stop();
  await second.stop();
}

/** A thousand sites with a visitor each at the same time. */
async function manyBusy(
  proxy: SatelliteProcess,
  tokens: readonly string[],
  size: SitesSize,
  report: Report,
): Promise<void> {
  const busy = someOf(tokens, 1000);
  const callers = visitors(proxy, busy);
  const first = await costOf(proxy, busy.length, () => get(callers, busy.length));
  report.add('CPU per first visit, with its TLS handshake', first.cpu, 'µs');
  await proxy.lag();
  const { cpu } = await costOf(proxy, size.requests, () => get(callers, size.requests));
  report.add(`CPU per request, ${busy.length} sites visited in turn, keep-alive`, cpu, 'µs');
  report.add('event-loop lag meanwhile, p99', (await proxy.lag()).p99, 'ms');
  for (const one of callers) await one.close();
}

/**
 * From the answer to a redemption to the notebook's to a request that is sent at that moment, while others are busy. What
 * a bare server answers meanwhile, with nothing in between, is how long this machine lets anybody wait.
 */
async function redeemUnderLoad(
  proxy: SatelliteProcess,
  tokens: readonly string[],
  notebooks: readonly Notebook[],
  size: SitesSize,
  report: Report,
): Promise<void> {
  const busy = {
    port: proxy.port,
    ca: proxy.ca,
    hosts: tokens.slice(-1).map((token) => `${token}.${DOMAIN}`),
  };
  const seconds = size.requests / 200;
  const amount = { requests: LOAD * seconds, connections: 50, perSecond: LOAD };
  let isBusy = true;
  const load = request(busy, { name: 'lab', bytes: PAGE.length }, amount).finally(() => {
    isBusy = false;
  });
  const login = proxy.client('manage', LOGIN);
  const notebook = notebooks[0] as Notebook;
  const node = proxy.client('manage', notebook.address);
  const bare = new Client(`http://${notebook.address}:${notebook.port}`);
  const [times, bareTimes]: [number[], number[]] = [[], []];
  while (isBusy) {
    const issued = await login.ask('POST', '/api/v1/tokens');
    expectStatus(issued, 201, 'issue');
    const { token } = JSON.parse(issued.body);
    const visitor = proxy.client(token, '127.3.9.9');
    // Its handshake is done by then: people wait at the page.
    expectStatus(await visitor.ask('GET', '/'), 200, 'the waiting page');
    const body = `{"port":${notebook.port}}`;
    expectStatus(await node.ask('POST', `/api/v1/tokens/${token}/redeem`, body), 200, 'redeem');
    const redeemed = performance.now();
    const answer = await visitor.ask('GET', '/');
    times.push(performance.now() - redeemed);
    if (answer.status !== 200 || answer.body !== PAGE.toString())
      throw new Error('a redeemed site was not live');
    await visitor.close();
    expectStatus(await node.ask('DELETE', `/api/v1/tokens/${token}`), 204, 'destroy');
    const started = performance.now();
    await (await bare.request({ method: 'GET', path: '/' })).body.text();
    bareTimes.push(performance.now() - started);
  }
  const { perSecond } = await load;
  report.add('requests per second beside the following', perSecond, '/s');
  report.add('sites redeemed meanwhile', times.length, '');
  for (const [name, part] of Object.entries({ p50: 0.5, p99: 0.99 })) {
    report.add(
      `from the answer to a redemption to the first answer of the notebook, ${name}`,
      quantile(times, part),
      'ms',
    );
    report.add(`a request to the notebook itself, ${name}`, quantile(bareTimes, part), 'ms');
  }
  await bare.close();
  await login.close();
  await node.close();
}

/** What is done to all sites at once, and how long a request beside it has to wait. */
async function stalls(
  proxy: SatelliteProcess,
  tokens: readonly string[],
  folder: string,
  state: string,
  size: SitesSize,
  report: Report,
): Promise<void> {
  const config = path.join(folder, 'satellite.yaml');
  writeFileSync(config, `domain: ${DOMAIN}\ntls: off\nstate: ${state}\n`);
  const login = proxy.client('manage', LOGIN);
  const cgi = tokens.map((_, i) => `${jobOf(i)} R`).join('\n');
  const jobs = tokens.map((_, i) => ({
    id: String(jobOf(i)),
    state: 'RUNNING',
    position: null,
    reason: 'None',
  }));
  const works: Record<string, () => Promise<unknown>> = {
    [`update-jobs.cgi with ${tokens.length} jobs`]: async () =>
      expectStatus(
        await login.ask('POST', '/update-jobs.cgi', `jobstates=${encodeURIComponent(cgi)}`),
        200,
        'cgi',
      ),
    [`POST /api/v1/jobs with ${tokens.length} jobs`]: async () =>
      expectStatus(await login.ask('POST', '/api/v1/jobs', JSON.stringify(jobs)), 200, 'jobs'),
    [`GET /api/v1/jobs with ${tokens.length} jobs`]: async () =>
      expectStatus(await login.ask('GET', '/api/v1/jobs'), 200, 'jobs'),
    '/metrics': () => proxy.metrics(),
    'satellite status': async () => {
      const program = path.join(import.meta.dirname, '../satellite/dist/satellite.js');
      const args = [program, 'status', '--config', config, '--json'];
      const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 1 << 28 });
      const listed = JSON.parse(stdout);
      if (listed.length !== tokens.length) throw new Error(`status shows ${listed.length} sites`);
    },
  };
  for (const [what, work] of Object.entries(works)) {
    const load = backgroundLoad(visitors(proxy, someOf(tokens, 50)), 200);
    await pause(500);
    await proxy.lag();
    const { cpu } = await costOf(proxy, REPEATS, async () => {
      for (const _ of range(REPEATS)) await work();
    });
    // The delay is noticed by the next sample.
    await pause(50);
    const { max } = await proxy.lag();
    const { requests, seconds } = await load();
    const background = requests / seconds;
    if (background < 1) throw new Error('there were no requests beside it');
    report.add(`${what}: CPU`, cpu / 1000, 'ms');
    report.add(`${what}: others wait, longest`, max, 'ms');
  }
  await login.close();
  if (size.sites !== tokens.length) throw new Error('not all sites were there');
}

/** People before the page of a session that waits, each with a stream of events. */
async function waitingVisitors(proxy: SatelliteProcess, size: SitesSize, report: Report): Promise<void> {
  const login = proxy.client('manage', LOGIN, 8);
  const waiting: string[] = [];
  await each(range(size.waiting), 8, async (i) => {
    const { token } = JSON.parse((await login.ask('POST', '/api/v1/tokens')).body);
    expectStatus(await login.ask('PUT', `/api/v1/tokens/${token}/job`, `{"jobId":"w${i}"}`), 200, 'link');
    waiting.push(token);
  });
  const before = await proxy.memory();
  const sockets = await Promise.all(waiting.map((token, i) => eventStream(proxy, token, visitor(i))));
  const after = await proxy.memory();
  report.add(
    'memory per waiting visitor (TLS, event stream), heap',
    (after.heapUsed - before.heapUsed) / waiting.length / 1024,
    'KB',
  );
  const jobs = waiting.map((_, i) => ({
    id: `w${i}`,
    state: 'PENDING',
    position: i + 1,
    reason: 'Priority',
  }));
  const heard = Promise.all(sockets.map((socket) => socket.hears('"heading":')));
  await proxy.lag();
  const started = performance.now();
  const { cpu } = await costOf(proxy, waiting.length, async () => {
    expectStatus(await login.ask('POST', '/api/v1/jobs', JSON.stringify(jobs)), 200, 'jobs');
    await heard;
  });
  report.add(
    `a report about ${waiting.length} waiting sessions, until the last visitor has heard`,
    performance.now() - started,
    'ms',
  );
  report.add('CPU per visitor', cpu, 'µs');
  report.add('event-loop lag meanwhile, longest', (await proxy.lag()).max, 'ms');
  for (const socket of sockets) socket.close();
  await each(waiting, 8, async (token) =>
    expectStatus(await login.ask('DELETE', `/api/v1/tokens/${token}`), 204, 'destroy'),
  );
  await login.close();
}

async function eventStream(proxy: SatelliteProcess, token: string, from: string) {
  const host = `${token}.${DOMAIN}`;
  const socket = await proxy.connect(token, from);
  let text = '';
  let wake = (): void => undefined;
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk;
    wake();
  });
  const hears = async (what: string): Promise<void> => {
    text = '';
    while (!text.includes(what)) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const first = hears('data: ');
  socket.write(
    `GET /.well-known/satellite/events HTTP/1.1\r\nHost: ${host}\r\nAccept: text/event-stream\r\n\r\n`,
  );
  await first;
  return { hears, close: () => socket.destroy() };
}

/** So many of them, from all over the list. */
function someOf(tokens: readonly string[], count: number): string[] {
  const few = Math.min(count, tokens.length);
  return range(few).map((i) => tokens[Math.floor((i * tokens.length) / few)] as string);
}

/** Addresses of visitors: fifty share one. */
const visitor = (i: number): string => `127.3.${Math.floor(i / 50 / 250)}.${1 + (Math.floor(i / 50) % 250)}`;

const visitors = (proxy: SatelliteProcess, tokens: readonly string[]): Caller[] =>
  tokens.map((token, i) => proxy.client(token, visitor(i)));

/** So many requests in turn over these, each of which waits for its answer. */
async function get(callers: readonly Caller[], count: number): Promise<void> {
  const workers = Math.min(32, callers.length);
  await each(range(count), workers, async (i) => {
    expectStatus(await (callers[i % callers.length] as Caller).ask('GET', '/lab'), 200, 'a request');
  });
}

/** Requests at a steady rate until the returned function is called; every one must be answered with 200. */
function backgroundLoad(
  callers: readonly Caller[],
  perSecond: number,
): () => Promise<{ requests: number; seconds: number }> {
  const started = performance.now();
  const stop = new AbortController();
  let requests = 0;
  const running = (async () => {
    while (!stop.signal.aborted) {
      const due = Math.min(
        callers.length,
        Math.floor(((performance.now() - started) / 1000) * perSecond) - requests,
      );
      await Promise.all(
        range(Math.max(0, due)).map(async (i) => {
          const caller = callers[(requests + i) % callers.length] as Caller;
          expectStatus(await caller.ask('GET', '/lab'), 200, 'a request');
        }),
      );
      requests += Math.max(0, due);
      await pause(5);
    }
  })();
  return async () => {
    stop.abort();
    await running;
    for (const one of callers) await one.close();
    return { requests, seconds: (performance.now() - started) / 1000 };
  };
}
