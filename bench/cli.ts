/**
 * Measures the proxy: with many sites, with many WebSockets, and beside others (`npm run bench -- rivals`). What it finds
 * is in docs/performance.md. It stays on loopback. Without a name it does everything.
 */
import { parseArgs } from 'node:util';
import { cleanUp } from './bench.ts';
import { Report } from './report.ts';
import { benchRivals, rivalBenches } from './rivals.ts';
import { benchSites } from './sites.ts';
import { benchWebSockets } from './websockets.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    small: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    only: { type: 'string', default: '' },
    'node-option': { type: 'string', multiple: true, default: [] },
  },
});
const { json, small } = values;
const report = new Report(json ? () => undefined : console.log);
const benches: Record<string, () => Promise<void>> = {
  sites: () => {
    const size = small
      ? { sites: 50, requests: 200, waiting: 20 }
      : { sites: 20_000, requests: 5000, waiting: 1000 };
    return benchSites(size, report, values['node-option']);
  },
  websockets: () => {
    const size = small
      ? { sites: 20, sockets: 50, busy: 10, messages: 5, quiet: 500 }
      : { sites: 20_000, sockets: 5000, busy: 200, messages: 100, quiet: 5000 };
    return benchWebSockets(size, report, values['node-option']);
  },
  rivals: () => {
    const size = small
      ? { rounds: 1, seconds: 0.2, live: 20, idle: 100 }
      : { rounds: 5, seconds: 3, live: 1000, idle: 10_000 };
    const parts = rivalBenches.filter((part) => rest.length === 0 || rest.includes(part));
    const rounds = Number(values.rounds ?? size.rounds);
    return benchRivals(parts, values.only.split(',').filter(Boolean), { ...size, rounds }, report);
  },
};

const [name = '', ...rest] = positionals;
const bench = Object.hasOwn(benches, name) ? benches[name] : undefined;
if (bench === undefined) {
  console.error(`Usage: npm run bench -- sites|websockets|rivals [--small] [--json]
  rivals [${rivalBenches.join('|')}]... [--only NAME,NAME] [--rounds N]
  sites, websockets [--node-option OPTION]`);
  process.exit(2);
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void cleanUp().then(() => process.exit(130)));
}
try {
  await bench();
} finally {
  await cleanUp();
}
if (json) console.log(JSON.stringify(report.rows, null, 2));
