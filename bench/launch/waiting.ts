import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { holder } from '../../lab/hosts.ts';
import { address, caFile, domain, labExec, labPath } from '../../lab/lab.ts';
import { nodeAddresses } from '../../lab/paths.ts';
import { type Browser, openBrowser } from '../../test/e2e/browser/browser.ts';
import { launch, stopAll } from '../../test/e2e/support/launcher.ts';
import { quantile, range } from '../bench.ts';
import type { Report } from '../report.ts';

/** How much of everything; a trial run has less of it. */
export interface WaitingSize {
  /** Sessions one after the other. */
  readonly rounds: number;
  /** Sessions that start at the same time, and how often. */
  readonly together: number;
  readonly times: number;
}

const node = 'c1';

/**
 * From the first answer of Jupyter, on its own port, to what a browser shows that has the waiting page open: a real
 * Chromium, JupyterLab, the lab. All clocks are this machine's.
 */
export async function benchWaiting(size: WaitingSize, report: Report): Promise<void> {
  const browser = await openBrowser({ caFile, hostMap: { [`*.${domain}`]: address } });
  const watch = new PortWatch(node);
  try {
    await stopAll('alice');
    const single: Wait[] = [];
    for (const _ of range(size.rounds)) single.push(...(await waitTogether(1, browser, watch)));
    add(report, 'one at a time', single);
    const several: Wait[] = [];
    for (const _ of range(size.times)) several.push(...(await waitTogether(size.together, browser, watch)));
    add(report, `${size.together} at a time`, several);
  } finally {
    watch.stop();
    await browser.close();
    await stopAll('alice');
  }
}

function add(report: Report, what: string, waits: readonly Wait[]): void {
  report.add(`sessions, ${what}`, waits.length, '');
  for (const [key, words] of Object.entries(steps)) {
    const times = waits.map((wait) => wait[key as keyof Wait]);
    for (const [name, part] of [
      ['p50', 0.5],
      ['p95', 0.95],
      ['longest', 1],
    ] as const)
      report.add(`${what}: ${words}, ${name}`, quantile(times, part), 'ms');
  }
}

/** Milliseconds since the first answer. */
interface Wait {
  readonly reloads: number;
  readonly arrives: number;
  readonly paints: number;
}

const steps: Readonly<Record<keyof Wait, string>> = {
  reloads: 'until the waiting page opens the site',
  arrives: "until the browser has Jupyter's page",
  paints: 'until Jupyter has painted something of its own',
};

/** So many sessions that are let go at the same time, each with a visitor on its waiting page. */
async function waitTogether(count: number, browser: Browser, watch: PortWatch): Promise<Wait[]> {
  const held = ['--lab', '-e', 'jupyterlab', '-t', '10', '--', '--hold', `--nodelist=${node}`];
  const visits = await Promise.all(
    range(count).map(async () => {
      const session = await launch(held);
      const page = await browser.newPage();
      const following = page.waitForResponse(/\/\.well-known\/satellite\/events$/);
      await page.goto(session.url);
      await following;
      return { session, page };
    }),
  );
  watch.start();
  await labExec(['scontrol', 'release', visits.map(({ session }) => session.jobId).join(',')]);
  const waits = await Promise.all(
    visits.map(async ({ session, page }): Promise<Wait> => {
      await page.waitForURL(/\/lab\b/, { timeout: 120_000, waitUntil: 'commit' });
      await page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint').length > 0, {
        timeout: 120_000,
      });
      const shown = await page.evaluate(() => {
        // The browser's: https://www.w3.org/TR/navigation-timing-2/ and paint-timing.
        type Entry = { name: string; entryType: string; startTime: number; responseEnd: number };
        const entries = performance.getEntries() as unknown as Entry[];
        const navigation = entries.find(({ entryType }) => entryType === 'navigation');
        const paint = entries.find(({ name }) => name === 'first-contentful-paint');
        const since = performance.timeOrigin;
        return {
          reloads: since,
          arrives: since + (navigation?.responseEnd ?? Number.NaN),
          paints: since + (paint?.startTime ?? Number.NaN),
        };
      });
      const [, port] = /answers on [\d.]+, port (\d+)/.exec(readFileSync(labPath(session.log), 'utf8')) ?? [];
      const answered = watch.answeredAt(Number(port));
      await page.close();
      return {
        reloads: shown.reloads - answered,
        arrives: shown.arrives - answered,
        paints: shown.paints - answered,
      };
    }),
  );
  watch.stop();
  await stopAll('alice');
  return waits;
}

/** How often it is looked; milliseconds. */
const WATCH_MS = 4;

/** Looks for ports on which somebody begins to listen on a node, and asks each of them for what Jupyter answers anybody. */
class PortWatch {
  readonly #node: typeof node;
  readonly #tcp: string;
  readonly #answered = new Map<number, number>();
  readonly #known = new Set<number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(of: typeof node) {
    this.#node = of;
    // proc(5): the table of the network namespace that this process is in.
    this.#tcp = `/proc/${holder(of)?.pid}/net/tcp`;
  }

  start(): void {
    this.#answered.clear();
    for (const port of this.#listening()) this.#known.add(port);
    this.#timer = setInterval(() => {
      for (const port of this.#listening()) {
        if (this.#known.has(port)) continue;
        this.#known.add(port);
        void this.#ask(port);
      }
    }, WATCH_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Milliseconds since the epoch. */
  answeredAt(port: number): number {
    const at = this.#answered.get(port);
    if (at === undefined) throw new Error(`nothing was seen to answer on port ${port}`);
    return at;
  }

  /** Its own ports on the node's address; 0A is LISTEN. */
  #listening(): number[] {
    const [, ...lines] = readFileSync(this.#tcp, 'latin1').trimEnd().split('\n');
    const own = nodeAddresses[this.#node]
      .split('.')
      .map((part) => Number(part).toString(16).padStart(2, '0'))
      .reverse()
      .join('')
      .toUpperCase();
    return lines.flatMap((line) => {
      const [, local = '', , state] = line.trim().split(/\s+/);
      const [host, port = ''] = local.split(':');
      return state === '0A' && host === own ? [Number.parseInt(port, 16)] : [];
    });
  }

  async #ask(port: number): Promise<void> {
    for (let tries = 0; tries < 1000; tries += 1) {
      const status = await new Promise<number | undefined>((resolve) => {
        const options = { host: nodeAddresses[this.#node], port, path: '/api', agent: false };
        get(options, (response) => {
          response.resume();
          resolve(response.statusCode);
        }).on('error', () => resolve(undefined));
      });
      if (status === 200) {
        this.#answered.set(port, performance.timeOrigin + performance.now());
        return;
      }
      await pause(WATCH_MS);
    }
  }
}
