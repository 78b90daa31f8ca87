/**
 * Measures the proxy: with many sites, with many WebSockets, with a state that several share, and beside others; and the
 * launcher: how it starts, and in the lab a launch and a browser that waits for one. What it finds is in
 * docs/performance.md. It stays on this machine. Without a name it does everything.
 */
import { parseArgs } from 'node:util';
import { LabError } from '../lab/lab.ts';
import { cleanUp } from './bench.ts';
import { compareWithGoals } from './goals.ts';
import { labProblem } from './launch/lab.ts';
import { benchLaunch } from './launch/launch.ts';
import { benchStart } from './launch/start.ts';
import { benchWaiting } from './launch/waiting.ts';
import { Report } from './report.ts';
import { proxies } from './rivals/proxies.ts';
import { benchRivals, rivalBenches } from './rivals.ts';
import { benchScaling } from './scaling.ts';
import { benchSites } from './sites.ts';
import { benchWebSockets } from './websockets.ts';

const names = ['sites', 'websockets', 'scaling', 'rivals', 'start', 'launch', 'waiting'] as const;
const usage = `Usage: npm run bench [-- ${names.join('|')}] [--small] [--json] [--node-option OPTION]...
  sites [--engine node|haproxy]
  websockets [--engine node|haproxy] [--sockets N]
  start|launch|waiting [--rounds N]; the last two in the lab
  rivals [${rivalBenches.join('|')}]... [--rounds N] [--no-logs] [--only NAME,...] [--sockets N]
  with the names ${Object.keys(proxies).join(', ')}`;

const { values, positionals } = readArguments();
const { json, small, engine, 'node-option': nodeOptions } = values;
const how = { engine: engine === 'haproxy' ? engine : 'node', nodeOptions } as const;
const report = new Report(json ? () => undefined : console.log);
const [name, ...parts] = positionals;
const logs = !values['no-logs'];
const contestants = values.only.split(',');
const rounds = Number(values.rounds ?? (small ? 1 : 12));
const sockets = values.sockets === undefined ? undefined : Number(values.sockets);
const benches: Record<(typeof names)[number], () => Promise<void>> = {
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
    return benchScaling(size, report, values['node-option']);
  },
  rivals: () => {
    const size = small
      ? { rounds, isTrial: true, seconds: 0.2, live: 20, idle: sockets ?? 100, settle: 200, logs }
      : { rounds, isTrial: false, seconds: 1.5, live: 20_000, idle: sockets ?? 10_000, settle: 3000, logs };
    const chosen = rivalBenches.filter((part) => parts.length === 0 || parts.includes(part));
    return benchRivals(chosen, contestants, size, report, nodeOptions);
  },
  start: () => benchStart(Number(values.rounds ?? (small ? 2 : 30)), report),
  launch: () => benchLaunch(Number(values.rounds ?? (small ? 2 : 40)), report),
  waiting: () => {
    const size = small
      ? { rounds: 1, together: 2, times: 1 }
      : { rounds: Number(values.rounds ?? 20), together: 4, times: 5 };
    return benchWaiting(size, report);
  },
};
const inTheLab: ReadonlySet<string> = new Set(['launch', 'waiting']);

const allowed: readonly string[] = name === 'rivals' ? rivalBenches : [];
const isClear =
  (name === undefined || Object.hasOwn(benches, name)) &&
  parts.every((part) => allowed.includes(part)) &&
  contestants.every((one) => Object.hasOwn(proxies, one)) &&
  ['node', 'haproxy'].includes(engine) &&
  rounds >= 1 &&
  (sockets === undefined || sockets >= 1);
if (!isClear) refuse();
let isInterrupted = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    // What is ended now complains of it.
    isInterrupted = true;
    void cleanUp().then(() => process.exit(130));
  });
}
for (const [one, bench] of Object.entries(benches)) {
  if (name !== undefined && one !== name) continue;
  const problem = inTheLab.has(one) ? labProblem() : undefined;
  if (problem !== undefined) {
    console.error(`${one} is left out. ${problem}`);
    if (one === name) process.exit(1);
    continue;
  }
  try {
    await bench();
  } catch (error) {
    if (isInterrupted) break;
    if (!(error instanceof LabError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  } finally {
    await cleanUp();
  }
}
if (!isInterrupted) {
  if (json) console.log(JSON.stringify(report.rows, null, 2));
  else for (const line of compareWithGoals(report.rows)) console.log(line);
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        small: { type: 'boolean', default: false },
        only: { type: 'string', default: Object.keys(proxies).join(',') },
        engine: { type: 'string', default: 'node' },
        rounds: { type: 'string' },
        sockets: { type: 'string' },
        'no-logs': { type: 'boolean', default: false },
        'node-option': { type: 'string', multiple: true, default: [] },
      },
    });
  } catch {
    return refuse();
  }
}

function refuse(): never {
  console.error(usage);
  process.exit(2);
}
