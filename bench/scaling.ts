import path from 'node:path';
import { openStore } from '../satellite/src/tokens/open.ts';
import type { JobRecord, TokenRecord } from '../satellite/src/tokens/record.ts';
import { drawToken } from '../satellite/src/tokens/words.ts';
import { makeCertificate, namesBelow } from '../satellite/test/certificate.ts';
import { Postgres } from '../satellite/test/integration/postgres.ts';
import {
  type Caller,
  costOf,
  DOMAIN,
  each,
  endWith,
  expectStatus,
  jobOf,
  LOGIN,
  type Notebook,
  quantile,
  range,
  type SatelliteOptions,
  SatelliteProcess,
  scratch,
  startNotebooks,
} from './bench.ts';
import { installLoad, request } from './load.ts';
import { cpuOf } from './processes.ts';
import type { Report } from './report.ts';

/** How much of everything; a trial run has less of it. */
export interface ScalingSize {
  /** Live sites in a state, from few to many. */
  readonly sites: readonly number[];
  /** Satellites that share one. */
  readonly satellites: number;
  readonly requests: number;
  readonly tokens: number;
  /** Redemptions that are watched from another satellite. */
  readonly watched: number;
}

const PAGE = { name: 'lab', bytes: 1024 };
const AT_A_TIME = 64;

/**
 * How far one proxy goes, and what several that share a database add: states with ever more sites, written by the store
 * itself, since making a hundred thousand sites through the protocol takes many minutes (`sites` does that with fewer).
 */
export async function benchScaling(
  size: ScalingSize,
  report: Report,
  nodeOptions: readonly string[],
): Promise<void> {
  await installLoad(report.say);
  const notebooks = await startNotebooks(10);
  const certificate = await makeCertificate(scratch(), namesBelow(DOMAIN));
  const options = { nodeOptions, certificate };
  for (const sites of size.sites) {
    const state = path.join(scratch(), 'state.sqlite');
    const tokens = await fill(state, notebooks, sites);
    const proxy = await SatelliteProcess.start(state, options);
    await single(`a file, ${sites} sites`, proxy, tokens, size, report);
    await proxy.stop();
  }
  const server = await Postgres.start({ isDurable: true });
  endWith(() => server.remove());
  const few = await server.database();
  for (const sites of size.sites) {
    const state = sites === size.sites[0] ? few : await server.database();
    const tokens = await fill(state, notebooks, sites);
    const proxy = await startShared(state, options);
    await single(`a database, ${sites} sites`, proxy, tokens, size, report);
    await proxy.stop();
  }
  for (const count of range(size.satellites).map((i) => i + 1))
    await shared(server, await server.database(), count, size, options, report);
}

async function startShared(state: string, options: SatelliteOptions): Promise<SatelliteProcess> {
  const folder = scratch();
  const more = ['--status-socket', path.join(folder, 'status.sock')];
  return SatelliteProcess.start(state, { ...options, log: path.join(folder, 'log'), more });
}

/** So many live sites with a job each, redeemed just now. */
async function fill(state: string, notebooks: readonly Notebook[], count: number): Promise<string[]> {
  const store = await openStore(state, () => undefined);
  const now = store.clock.now();
  const tokens = new Set<string>();
  while (tokens.size < count) tokens.add(drawToken());
  const all = [...tokens];
  for (let i = 0; i < count; i += 5000) {
    const records = all.slice(i, i + 5000).map((token, j): TokenRecord => {
      const { address: host, port } = notebooks[(i + j) % notebooks.length] as Notebook;
      const more = { issuedAt: now, redeemedAt: now, goneAt: null, goneBy: null, claim: null };
      return {
        token,
        state: 'mapped',
        ...more,
        host,
        port,
        jobId: String(jobOf(i + j)),
        phase: null,
        reason: null,
      };
    });
    const jobs = records.map(({ jobId }): JobRecord => {
      const unknown = { position: null, estimatedStart: null, reason: null };
      return { id: jobId as string, state: 'RUNNING', ...unknown, reportedAt: now };
    });
    await store.save({ tokens: records.map((record) => ({ record, before: undefined })), jobs });
  }
  await store.close();
  return all;
}

async function single(
  name: string,
  proxy: SatelliteProcess,
  tokens: readonly string[],
  { requests }: ScalingSize,
  report: Report,
): Promise<void> {
  report.add(`${name}: start`, proxy.startTime, 'ms');
  const { rss } = await proxy.memory();
  report.add(`${name}: memory, resident`, rss / 2 ** 20, 'MB');
  const door = { port: proxy.port, hosts: [`${tokens[tokens.length >> 1]}.${DOMAIN}`], ca: proxy.ca };
  const amount = { requests, connections: 32 };
  await request(door, PAGE, amount);
  const rounds: number[] = [];
  for (const _ of range(5))
    rounds.push((await costOf(proxy, requests, () => request(door, PAGE, amount))).cpu);
  report.add(`${name}: CPU per request of 1 KB, least of 5 rounds`, Math.min(...rounds), 'µs');
}

async function shared(
  server: Postgres,
  state: string,
  count: number,
  size: ScalingSize,
  options: SatelliteOptions,
  report: Report,
): Promise<void> {
  const name = `${count} with one database`;
  const proxies = await Promise.all(range(count).map(() => startShared(state, options)));
  const logins = proxies.map((proxy) => proxy.client('manage', LOGIN, AT_A_TIME));
  const [database, started] = [cpuOf(server.pid), performance.now()];
  const tokens: string[] = [];
  await each(range(size.tokens), AT_A_TIME * count, async (_, worker) => {
    const answer = await (logins[worker % count] as Caller).ask('POST', '/api/v1/tokens');
    expectStatus(answer, 201, 'issue');
    tokens.push(JSON.parse(answer.body).token);
  });
  const seconds = (performance.now() - started) / 1000;
  report.add(`${name}: tokens issued, ${AT_A_TIME} at a time at each`, size.tokens / seconds, '/s');
  report.add(
    `${name}: CPU of the database per token`,
    ((cpuOf(server.pid) - database) * 1000) / size.tokens,
    'µs',
  );
  const [first, last] = [logins[0] as Caller, logins[count - 1] as Caller];
  const [redeemTimes, liveTimes]: [number[], number[]] = [[], []];
  for (const token of tokens.slice(0, size.watched)) {
    const asked = performance.now();
    expectStatus(await first.ask('POST', `/api/v1/tokens/${token}/redeem`, '{"port":9999}'), 200, 'redeem');
    const answered = performance.now();
    redeemTimes.push(answered - asked);
    while (JSON.parse((await last.ask('GET', `/api/v1/tokens/${token}`)).body).state !== 'mapped');
    liveTimes.push(performance.now() - answered);
  }
  for (const [what, times] of [
    ['a redemption, one at a time', redeemTimes],
    ['from its answer to its being live at the last one', liveTimes],
  ] as const)
    for (const part of [0.5, 0.99])
      report.add(`${name}: ${what}, p${part * 100}`, quantile(times, part), 'ms');
  if (count === size.satellites) await idle(server, proxies, name, report);
  for (const login of logins) await login.close();
  for (const proxy of proxies) await proxy.stop();
}

const IDLE_SECONDS = 5;

/** What it costs when nothing happens. */
async function idle(
  server: Postgres,
  proxies: readonly SatelliteProcess[],
  name: string,
  report: Report,
): Promise<void> {
  const all = (): number => proxies.reduce((sum, proxy) => sum + proxy.cpu(), 0);
  const before = [cpuOf(server.pid), all()] as const;
  await new Promise((resolve) => setTimeout(resolve, IDLE_SECONDS * 1000));
  const percent = (milliseconds: number): number => milliseconds / (IDLE_SECONDS * 10);
  report.add(
    `${name}: CPU of the database while nothing happens`,
    percent(cpuOf(server.pid) - before[0]),
    '%',
  );
  report.add(`${name}: CPU of each satellite then`, percent(all() - before[1]) / proxies.length, '%');
}
