/**
 * Measures the proxy: with many sites, with many WebSockets, with a state that several share, and beside others; and the
 * launcher: how it starts, and in the lab a launch and a browser that waits for one. What it finds is in
 * docs/performance.md. It stays on this machine. Without a name it does everything.
 */
import { LabError } from '../lab/lab.ts';
import { type BenchName, type Order, readArguments, usage } from './arguments.ts';
import { cleanUp } from './bench.ts';
import { compareWithGoals, inWords } from './goals.ts';
import { labProblem } from './launch/lab.ts';
import { benchLaunch } from './launch/launch.ts';
import { benchStart } from './launch/start.ts';
import { benchWaiting } from './launch/waiting.ts';
import { Report } from './report.ts';
import { benchRivals, rivalBenches } from './rivals.ts';
import { benchScaling } from './scaling.ts';
import { benchSites } from './sites.ts';
import { benchWebSockets } from './websockets.ts';

const order = orderOf(process.argv.slice(2));
const { small, rounds, sockets, nodeOptions } = order;
const how = { engine: order.engine, nodeOptions };
const report = new Report(order.json ? () => undefined : console.log);
const benches: Record<BenchName, () => Promise<void>> = {
  sites: () => {
    const size = small
      ? { sites: 50, most: 60, requests: 200, waiting: 20, rounds: 1, isTrial: true, seconds: 0.2 }
      : {
          sites: 20_000,
          most: 50_000,
          requests: 5000,
          waiting: 1000,
          rounds: 12,
          isTrial: false,
          seconds: 2,
        };
    return benchSites(size, report, how);
  },
  websockets: () => {
    const size = small
      ? { sites: 20, sockets: sockets ?? 50, busy: 10, messages: 5, quiet: 500 }
      : { sites: 20_000, sockets: sockets ?? 5000, busy: 200, messages: 100, quiet: 5000 };
    return benchWebSockets(size, report, how);
  },
  scaling: () => {
    const size = small
      ? { sites: [10, 50], satellites: 2, requests: 200, tokens: 100, watched: 10 }
      : { sites: [10, 1000, 100_000], satellites: 3, requests: 10_000, tokens: 10_000, watched: 500 };
    return benchScaling(size, report, nodeOptions);
  },
  rivals: () => {
    const { logs } = order;
    const size = small
      ? {
          rounds: rounds ?? 1,
          isTrial: true,
          seconds: 0.2,
          live: 20,
          idle: sockets ?? 100,
          settle: 200,
          logs,
        }
      : {
          rounds: rounds ?? 12,
          isTrial: false,
          seconds: 1.5,
          live: 20_000,
          idle: sockets ?? 10_000,
          settle: 3000,
          logs,
        };
    const chosen = rivalBenches.filter((part) => order.parts.length === 0 || order.parts.includes(part));
    return benchRivals(chosen, order.contestants, size, report, nodeOptions);
  },
  start: () => benchStart(rounds ?? (small ? 2 : 30), report),
  launch: () => benchLaunch(rounds ?? (small ? 2 : 40), report),
  waiting: () => {
    const size = small
      ? { rounds: 1, together: 2, times: 1 }
      : { rounds: rounds ?? 20, together: 4, times: 5 };
    return benchWaiting(size, report);
  },
};
const inTheLab: ReadonlySet<string> = new Set(['launch', 'waiting']);

// Debian has servers where an ordinary user's PATH doesn't lead.
process.env.PATH = `${process.env.PATH}:/usr/sbin:/sbin`;
let isInterrupted = false;
// Not once: whoever ends a whole group of processes lets npm pass the signal on besides.
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.on(signal, () => {
    if (isInterrupted) return;
    // What is ended now complains of it, wherever it is.
    isInterrupted = true;
    process.on('uncaughtException', () => undefined);
    void cleanUp().finally(() => process.exit(code));
  });
}
for (const [one, bench] of Object.entries(benches)) {
  if (order.name !== undefined && one !== order.name) continue;
  const problem = inTheLab.has(one) ? labProblem() : undefined;
  if (problem !== undefined) {
    console.error(`${one} is left out. ${problem}`);
    if (one === order.name) process.exit(1);
    continue;
  }
  try {
    await bench();
  } catch (error) {
    if (isInterrupted) break;
    const words = wordsFor(error);
    if (words === undefined) throw error;
    console.error(words);
    process.exitCode = 1;
  } finally {
    await cleanUp();
  }
}
if (!isInterrupted) {
  // What a trial measures is too short for the kernel's clock.
  const goals = small ? [] : compareWithGoals(report.rows);
  if (order.json)
    console.log(JSON.stringify({ programs: report.programs, rows: report.rows, goals }, null, 2));
  else if (small) console.log('\nThat was a trial (--small): what it has measured says nothing.');
  else for (const goal of goals) console.log(inWords(goal));
}

function orderOf(args: readonly string[]): Order {
  try {
    return readArguments(args);
  } catch (error) {
    console.error(`bench: ${(error as Error).message}\n${usage}`);
    process.exit(2);
  }
}

/** For what a person can mend. */
function wordsFor(error: unknown): string | undefined {
  if (error instanceof LabError) return error.message;
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' && syscall?.startsWith('spawn'))
    return `There is no program ${path} here, or not in PATH. Install it, or leave out what needs it (rivals: --only).`;
  return undefined;
}
