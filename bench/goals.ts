import type { Row } from './report.ts';

/** What a row must show, by its name. */
interface Goal {
  readonly what: string;
  readonly atMost?: number;
  readonly atLeast?: number;
}

const kb1 = '1 KB over HTTP/1.1, 32 connections';
const kb100 = '100 KB over HTTP/1.1, 32 connections';
const echo = 'WebSocket echo of 512 bytes, 32 at a time';
const ratio = 'satellite ÷ it';

/** What this project has set itself. Ratios say more than costs: they hardly depend on the machine. */
const goals: readonly Goal[] = [
  { what: `${kb1}, configurable-http-proxy: ${ratio}`, atMost: 0.25 },
  { what: `${kb1}, nginx: ${ratio}`, atMost: 1.3 },
  { what: `${kb100}, configurable-http-proxy: ${ratio}`, atMost: 0.4 },
  { what: `${kb100}, nginx: ${ratio}`, atMost: 1.2 },
  { what: `${echo}, nginx: ${ratio}`, atMost: 1.2 },
  { what: `idle WebSockets, nginx: ${ratio}`, atMost: 1.2 },
  { what: `${kb1}, haproxy: satellite-haproxy ÷ it`, atMost: 1.15 },
  { what: `${kb100}, haproxy: satellite-haproxy ÷ it`, atMost: 1.15 },
  { what: 'tokens issued, 64 at a time', atLeast: 3000 },
  { what: 'from the answer to a redemption to the first answer of the notebook, p99', atMost: 10 },
  { what: `1 KB, few sites and many, 10 sites: 50000 sites ÷ it`, atMost: 1.05 },
  { what: 'a start, node -e 0: start-jupyter --version ÷ it', atMost: 1.3 },
  { what: 'a start, node -e 0: the executable, --version ÷ it', atMost: 1.3 },
  { what: 'files that --version reads beside those of Node.js', atMost: 5 },
  { what: 'a launch, by hand: start-jupyter ÷ it', atMost: 1 },
  { what: 'a launch for an account, by hand with an account: start-jupyter with an account ÷ it', atMost: 1 },
  { what: "one at a time: until the browser has Jupyter's page, p95", atMost: 300 },
  { what: "4 at a time: until the browser has Jupyter's page, p95", atMost: 300 },
];

/** What a run says about a goal. */
interface Verdict extends Goal {
  readonly value: number;
  readonly unit: string;
  readonly isMet: boolean;
}

/** Of those goals that a run says something about. */
export function compareWithGoals(rows: readonly Row[]): Verdict[] {
  return goals.flatMap((goal) => {
    const row = rows.find(({ what }) => what.endsWith(goal.what));
    if (!row) return [];
    const { value, unit } = row;
    const isMet = value <= (goal.atMost ?? Infinity) && value >= (goal.atLeast ?? -Infinity);
    return { ...goal, value, unit, isMet };
  });
}

export function inWords({ what, value, unit, atMost, atLeast, isMet }: Verdict): string {
  const limit = atMost === undefined ? `at least ${atLeast}` : `at most ${atMost}`;
  return `${isMet ? 'met:   ' : 'missed:'} ${what} is ${value.toPrecision(3)}${unit && ` ${unit}`}, ${limit} wanted`;
}
