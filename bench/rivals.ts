import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { installPackages } from '../lab/lab.ts';
import { quantile, range, startNotebooks } from './bench.ts';
import { CIPHER, expectBody, GROUP, request, Visitors } from './load.ts';
import { cpuOf, memoryOf, openFilesLimit } from './processes.ts';
import type { Report } from './report.ts';
import {
  installFromNpm,
  makeCertificate,
  proxies,
  type RunningProxy,
  type Stage,
  startFiles,
} from './rivals/proxies.ts';

/** How much of everything; a trial run has less of it. */
export interface RivalsSize {
  /** Turns that each proxy has. */
  readonly rounds: number;
  /** Of each turn. */
  readonly seconds: number;
  /** Live sites of a satellite. */
  readonly live: number;
  /** WebSockets that are held. */
  readonly idle: number;
}

/** Connections of visitors, each with one request at a time. */
const CONNECTIONS = 32;
/** WebSockets on which messages go back and forth. */
const BUSY_SOCKETS = 32;
/** As many as it takes that no site has more than it may. */
const VISITED_SITES = 100;
const KB = 1024;
/** Files of a proxy that are no connections. */
const OTHER_FILES = 200;

/** What a proxy's turn has shown. */
interface Turn {
  /** Microseconds of its CPU for each request or message. */
  readonly cpu: number;
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** Part of a core that it has used: with much less than 1 something else was slower. */
  readonly busy: number;
}

type Measure = (proxy: RunningProxy) => Promise<Turn>;

/** The parts of this bench, in the order in which they are done. */
export const rivalBenches = ['1kb', '100kb', 'websockets', 'idle'] as const;
export type RivalBench = (typeof rivalBenches)[number];

/** What the proxy costs beside others that do the same on this machine, in turns. */
export async function benchRivals(
  benches: readonly RivalBench[],
  only: readonly string[],
  size: RivalsSize,
  report: Report,
): Promise<void> {
  const chosen = Object.entries(proxies).filter(([name]) => only.length === 0 || only.includes(name));
  const packages = chosen.flatMap(([, { debian }]) => debian ?? []);
  await installPackages(['nginx', 'nghttp2-client', ...packages], 'the bench', report.say);
  if (chosen.some(([, { isOurs, debian }]) => !isOurs && debian === undefined))
    await installFromNpm(report.say);
  const held = Math.min(size.idle, Math.floor((openFilesLimit() - OTHER_FILES) / 2));
  if (held < size.idle) report.say(`${openFilesLimit()} open files at most carry ${held} WebSockets`);
  for (const [name, proxy] of chosen) report.say(`${name} ${await proxy.version()}`);
  report.say(`TLS 1.3 with ${CIPHER} and ${GROUP}; everything on loopback`);
  const certificate = await makeCertificate();
  const names = chosen.map(([name]) => name);
  const begin = (stage: Stage): Promise<RunningProxy[]> => startAll(names, stage);

  if (benches.includes('1kb') || benches.includes('100kb')) {
    const files = { '1kb': randomBytes(KB), '100kb': randomBytes(100 * KB) };
    const target = await startFiles('127.21.1.1', { ...files, 'index.html': Buffer.from('x') });
    const running = await begin({ ...certificate, target, sites: { live: size.live, visited: 1 } });
    for (const name of ['1kb', '100kb'] as const) {
      if (!benches.includes(name)) continue;
      const what = `${name === '1kb' ? '1 KB' : '100 KB'} over HTTP/1.1, ${CONNECTIONS} connections`;
      await inTurns(what, running, size, report, requests(name, files[name], size));
    }
    for (const proxy of running) await proxy.stop();
  }
  const [target] = await startNotebooks(1);
  if (target === undefined) throw new Error('there is no notebook');
  const stage = { ...certificate, target, sites: { live: size.live, visited: VISITED_SITES } };
  if (benches.includes('websockets')) {
    const running = await begin(stage);
    const what = `WebSocket echo of 512 bytes, ${BUSY_SOCKETS} of them busy`;
    await inTurns(what, running, size, report, messages(size));
    for (const proxy of running) await proxy.stop();
  }
  if (benches.includes('idle')) await idle(names, stage, held, report);
}

async function startAll(names: readonly string[], stage: Stage): Promise<RunningProxy[]> {
  const running: RunningProxy[] = [];
  for (const name of names) {
    const proxy = proxies[name];
    if (proxy) running.push(await proxy.start(name, stage));
  }
  return running;
}

/** Requests for a file. The handshakes that they begin with are measured alone, and left out. */
function requests(name: string, body: Buffer, { seconds }: RivalsSize): Measure {
  const file = { name, bytes: body.length };
  const counts = new Map<string, number>();
  return async (proxy) => {
    await expectBody(proxy, name, body);
    const count = counts.get(proxy.name) ?? 2000;
    const cpu = [cpuOf(proxy.pid)];
    await request(proxy, file, CONNECTIONS, CONNECTIONS);
    cpu.push(cpuOf(proxy.pid));
    const answers = await request(proxy, file, count, CONNECTIONS);
    cpu.push(cpuOf(proxy.pid));
    counts.set(proxy.name, Math.ceil(answers.perSecond * seconds));
    const [before, after, end] = cpu as [number, number, number];
    const used = end - after;
    return {
      ...answers,
      cpu: ((used - (after - before)) * 1000) / (count - CONNECTIONS),
      busy: used / ((count / answers.perSecond) * 1000),
    };
  };
}

/** Messages on WebSockets that are open already. */
function messages({ seconds }: RivalsSize): Measure {
  const visitors = new Map<string, Visitors>();
  return async (proxy) => {
    const already = visitors.get(proxy.name);
    const here = already ?? new Visitors();
    if (!already) {
      visitors.set(proxy.name, here);
      await here.open(proxy, BUSY_SOCKETS);
    }
    const [before, started] = [cpuOf(proxy.pid), performance.now()];
    const { messages: count, p50, p99 } = await here.echo(BUSY_SOCKETS, seconds * 1000);
    const [used, time] = [cpuOf(proxy.pid) - before, performance.now() - started];
    return { cpu: (used * 1000) / count, perSecond: (count * 1000) / time, p50, p99, busy: used / time };
  };
}

/** Each proxy has its turn in every round, and every round begins with another one. The first rounds warm them up. */
async function inTurns(
  what: string,
  running: readonly RunningProxy[],
  size: RivalsSize,
  report: Report,
  measure: Measure,
): Promise<void> {
  for (const _ of range(2)) {
    for (const proxy of running) await measure(proxy);
  }
  const turns = new Map<string, Turn[]>(running.map(({ name }) => [name, []]));
  for (const round of range(size.rounds)) {
    for (const i of range(running.length)) {
      const proxy = running[(round + i) % running.length] as RunningProxy;
      turns.get(proxy.name)?.push(await measure(proxy));
    }
  }
  const ours = running.map(({ name }) => name).filter((name) => proxies[name]?.isOurs);
  const columns: [Column<Turn>, ...Column<Turn>[]] = [
    ['CPU', 'µs', ({ cpu }) => cpu],
    ['rate', '/s', ({ perSecond }) => perSecond],
    ['p50', 'ms', ({ p50 }) => p50],
    ['p99', 'ms', ({ p99 }) => p99],
    ['of a core', '', ({ busy }) => busy],
  ];
  compare(what, turns, ours, columns, report);
}

/** A kind of figure: its name, its unit, and where it is. The first of a table is what ratios are made of. */
type Column<T> = readonly [string, string, (turn: T) => number];

/** The median of each figure, and of what each round says about ours and each other one, with how far rounds differ. */
function compare<T>(
  what: string,
  turns: ReadonlyMap<string, readonly T[]>,
  ours: readonly string[],
  columns: readonly [Column<T>, ...Column<T>[]],
  report: Report,
): void {
  const [, , figure] = columns[0];
  report.table(
    what,
    [
      ...columns.map(([name, unit]) => ({ name, unit })),
      ...ours.map((name) => ({ name: `${name} ÷ it`, unit: '' })),
    ],
    [...turns].map(([name, own]) => ({
      name,
      values: [
        ...columns.map(([, , of]) => spread(own.map(of))),
        ...ours.map((one) =>
          spread((turns.get(one) ?? []).map((turn, i) => figure(turn) / figure(own[i] as T))),
        ),
      ],
    })),
  );
}

const spread = (values: readonly number[]) => ({
  value: quantile(values, 0.5),
  low: Math.min(...values),
  high: Math.max(...values),
});

/** What holding many WebSockets takes, of which none says anything. One proxy at a time. */
async function idle(names: readonly string[], stage: Stage, held: number, report: Report): Promise<void> {
  const turns = new Map<string, { memory: number; opening: number }[]>();
  for (const name of names) {
    const [proxy] = await startAll([name], stage);
    if (!proxy) continue;
    const visitors = new Visitors();
    // What the first connections bring with them belongs to none.
    await visitors.open(proxy, Math.ceil(held / 20));
    await visitors.close();
    await settled();
    const [memory, cpu] = [memoryOf(proxy.pid), cpuOf(proxy.pid)];
    await visitors.open(proxy, held);
    const opening = ((cpuOf(proxy.pid) - cpu) * 1000) / held;
    await settled();
    const each = (memoryOf(proxy.pid) - memory) / held / KB;
    // Not one of them has been lost.
    await visitors.check();
    turns.set(name, [{ memory: each, opening }]);
    visitors.end();
    await proxy.stop();
  }
  compare(
    `${held} idle WebSockets`,
    turns,
    names.filter((name) => proxies[name]?.isOurs),
    [
      ['memory', 'KB', ({ memory }) => memory],
      ['CPU to open', 'µs', ({ opening }) => opening],
    ],
    report,
  );
}

/** Whoever tidies up after itself has time for it. */
const settled = (): Promise<void> => pause(3000);
