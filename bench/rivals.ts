import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { installPackages } from '../lab/lab.ts';
import { startNotebooks } from './bench.ts';
import { CIPHER, GROUP, installLoad, Visitors } from './load.ts';
import { cpuOf, heldWith, memoryOf, openFilesLimit, watchOthers } from './processes.ts';
import type { Report } from './report.ts';
import {
  installFromNpm,
  makeFiles,
  proxies,
  type RunningProxy,
  type Stage,
  startFiles,
} from './rivals/proxies.ts';
import { BUSY_SOCKETS, CONNECTIONS, compare, inTurns, type Length, messages, requests } from './turns.ts';

/** How much of everything; a trial run has less of it. */
export interface RivalsSize extends Length {
  /** Of each turn. */
  readonly seconds: number;
  /** Live sites of a satellite that serves requests. */
  readonly live: number;
  /** WebSockets that are held. */
  readonly idle: number;
  /** How long everybody has to tidy up before memory is counted; milliseconds. */
  readonly settle: number;
  /** Whether proxies that can do without write a line for each request. */
  readonly logs: boolean;
}

/** Sites with WebSockets: as many as it takes that none has more than it may. */
const SITES_WITH_SOCKETS = 100;
const KB = 1024;

/** The parts of this bench, in the order in which they are done. */
export const rivalBenches = ['1kb', '100kb', 'websockets', 'idle'] as const;
export type RivalBench = (typeof rivalBenches)[number];

/** What the proxy costs beside others that do the same on this machine, in turns. */
export async function benchRivals(
  benches: readonly RivalBench[],
  names: readonly string[],
  size: RivalsSize,
  report: Report,
  nodeOptions: readonly string[],
): Promise<void> {
  await prepare(names, report);
  const held = Math.min(size.idle, heldWith(openFilesLimit()));
  if (benches.includes('idle') && held < size.idle)
    report.say(`${openFilesLimit()} open files (ulimit -Hn) carry ${held} WebSockets`);
  const ours = names.filter((name) => proxies[name]?.isOurs);
  const common = { ...(await makeFiles()), nodeOptions, logs: size.logs };

  if (benches.includes('1kb') || benches.includes('100kb')) {
    const files = { '1kb': randomBytes(KB), '100kb': randomBytes(100 * KB) };
    const target = await startFiles('127.21.1.1', { ...files, 'index.html': Buffer.from('x') });
    const running = await startAll(names, { ...common, target, sites: { live: size.live, visited: 1 } });
    for (const name of ['1kb', '100kb'] as const) {
      if (!benches.includes(name)) continue;
      const what = `${name === '1kb' ? '1 KB' : '100 KB'} over HTTP/1.1, ${CONNECTIONS} connections`;
      const measure = requests(name, files[name], size.seconds);
      await inTurns(what, running, size, measure, ours, report);
    }
    for (const proxy of running) await proxy.stop();
  }
  const [target] = await startNotebooks(1);
  if (target === undefined) throw new Error('there is no notebook');
  const sites = { live: SITES_WITH_SOCKETS, visited: SITES_WITH_SOCKETS };
  const stage = { ...common, target, sites };
  if (benches.includes('websockets')) {
    const running = await startAll(names, stage);
    const what = `WebSocket echo of 512 bytes, ${BUSY_SOCKETS} at a time`;
    await inTurns(what, running, size, messages(size.seconds), ours, report);
    for (const proxy of running) await proxy.stop();
  }
  if (benches.includes('idle')) await idle(names, stage, { held, settle: size.settle }, ours, report);
}

/** Installs what is needed, and says in which versions. */
async function prepare(names: readonly string[], report: Report): Promise<void> {
  const chosen = names.map((name) => proxies[name]).filter((proxy) => proxy !== undefined);
  const packages = chosen.flatMap(({ debian }) => debian ?? []);
  await installLoad(report.say);
  await installPackages(['nginx', ...packages], 'the bench', report.say);
  if (chosen.some(({ isOurs, debian }) => !isOurs && debian === undefined)) await installFromNpm(report.say);
  for (const name of names) report.addProgram(name, (await proxies[name]?.version()) ?? '');
  report.say(`TLS 1.3 with ${CIPHER} and ${GROUP}; everything on loopback`);
}

async function startAll(names: readonly string[], stage: Stage): Promise<RunningProxy[]> {
  const running: RunningProxy[] = [];
  for (const name of names) {
    const proxy = proxies[name];
    if (proxy) running.push(await proxy.start(name, stage));
  }
  return running;
}

/** What holding many WebSockets takes, of which none says anything. One proxy at a time. */
async function idle(
  names: readonly string[],
  stage: Stage,
  { held, settle }: { readonly held: number; readonly settle: number },
  ours: readonly string[],
  report: Report,
): Promise<void> {
  const turns = new Map<string, { memory: number; opening: number; others: number }[]>();
  for (const name of names) {
    if (proxies[name]?.takesThreads) {
      report.say(`${name} is left out of idle WebSockets: each takes one of its threads`);
      continue;
    }
    const [proxy] = await startAll([name], stage);
    if (!proxy) continue;
    const others = watchOthers();
    const visitors = new Visitors();
    // What the first connections bring with them belongs to none.
    await visitors.open(proxy, Math.ceil(held / 20));
    await visitors.close();
    await pause(settle);
    const [memory, cpu] = [memoryOf(proxy.pid), cpuOf(proxy.pid)];
    await visitors.open(proxy, held);
    const opening = ((cpuOf(proxy.pid) - cpu) * 1000) / held;
    await pause(settle);
    const each = (memoryOf(proxy.pid) - memory) / held / KB;
    // Not one of them has been lost.
    await visitors.check();
    turns.set(name, [{ memory: each, opening, others: others() }]);
    visitors.end();
    await proxy.stop();
  }
  compare(
    `${held} idle WebSockets`,
    turns,
    [
      ['memory', 'KB', ({ memory }) => memory],
      ['CPU to open', 'µs', ({ opening }) => opening],
    ],
    ours,
    report,
  );
}
