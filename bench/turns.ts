import { range } from './bench.ts';
import { type Door, expectBody, request, Visitors } from './load.ts';
import { cpuOf, watchOthers } from './processes.ts';
import type { Report, Spread } from './report.ts';

/** A proxy that is measured. */
export interface Contestant extends Door {
  readonly name: string;
  /** The process that has started all its others. */
  readonly pid: number;
}

/** What a turn has shown. */
export interface Turn {
  /** Microseconds of the proxy's CPU for each request or message. */
  readonly cpu: number;
  readonly perSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  /** Part of a core that it has used: where that is much less than 1, something else was slower. */
  readonly busy: number;
}

/** Beside it, how many cores other programs of this machine have used meanwhile. */
interface WatchedTurn extends Turn {
  readonly others: number;
}

/** A way to measure. */
export interface Measure {
  /** Until what runs has been compiled as well as it will be. */
  warmUp(contestant: Contestant): Promise<unknown>;
  turn(contestant: Contestant): Promise<Turn>;
  /** After the last turn. */
  end(): void;
}

export interface Length {
  readonly rounds: number;
  /** What is measured doesn't matter, but that it can be. */
  readonly isTrial: boolean;
}

/** Connections of visitors, each with one request at a time. */
export const CONNECTIONS = 32;
/** WebSockets on which messages go back and forth. */
export const BUSY_SOCKETS = 32;
/** So many requests, or bytes in their answers: what V8 takes for the last of its optimizations, and more. */
const WARM_UP = { requests: 10_000, bytes: 2e8 };
/** Of a first turn without it, which shows how many there can be in the next. */
const FIRST_REQUESTS = 640;

/** Requests for a file, for about so many seconds. The handshakes that they begin with are measured alone, and left out. */
export function requests(name: string, body: Buffer, seconds: number): Measure {
  const file = { name, bytes: body.length };
  const counts = new Map<string, number>();
  const turn = async (contestant: Contestant): Promise<Turn> => {
    await expectBody(contestant, name, body);
    const count = counts.get(contestant.name) ?? FIRST_REQUESTS;
    const before = cpuOf(contestant.pid);
    await request(contestant, file, { requests: CONNECTIONS, connections: CONNECTIONS });
    const after = cpuOf(contestant.pid);
    const answers = await request(contestant, file, { requests: count, connections: CONNECTIONS });
    const used = cpuOf(contestant.pid) - after;
    counts.set(contestant.name, Math.max(10 * CONNECTIONS, Math.ceil(answers.perSecond * seconds)));
    return {
      ...answers,
      cpu: ((used - (after - before)) * 1000) / (count - CONNECTIONS),
      busy: used / ((count / answers.perSecond) * 1000),
    };
  };
  const warmUp = (contestant: Contestant): Promise<unknown> => {
    const most = Math.min(WARM_UP.requests, Math.ceil(WARM_UP.bytes / body.length));
    return request(contestant, file, { requests: most, connections: CONNECTIONS });
  };
  return { turn, warmUp, end: () => undefined };
}

/**
 * Messages on WebSockets that are open already, each sent when the one before has come back, for so many seconds. They
 * stay open from turn to turn.
 */
export function messages(seconds: number): Measure {
  const visitors = new Map<string, Visitors>();
  const turn = async (contestant: Contestant): Promise<Turn> => {
    let own = visitors.get(contestant.name);
    if (!own) {
      own = new Visitors();
      visitors.set(contestant.name, own);
      await own.open(contestant, BUSY_SOCKETS);
    }
    const [before, started] = [cpuOf(contestant.pid), performance.now()];
    const { messages: count, p50, p99 } = await own.echo(BUSY_SOCKETS, seconds * 1000);
    const [used, time] = [cpuOf(contestant.pid) - before, performance.now() - started];
    return { cpu: (used * 1000) / count, perSecond: (count * 1000) / time, p50, p99, busy: used / time };
  };
  const end = (): void => {
    for (const one of visitors.values()) one.end();
  };
  return { turn, warmUp: turn, end };
}

/**
 * Each has its turn in every round, and every round begins with another one, so that whatever else the machine does meets
 * all of them; a trial goes without warming up. Adds a table, with ratios of those in `ratiosOf` to each.
 */
export async function inTurns(
  what: string,
  contestants: readonly Contestant[],
  { rounds, isTrial }: Length,
  measure: Measure,
  ratiosOf: readonly string[],
  report: Report,
): Promise<void> {
  for (const contestant of isTrial ? [] : contestants) {
    await measure.warmUp(contestant);
    await measure.turn(contestant);
  }
  const turns = new Map<string, WatchedTurn[]>(contestants.map(({ name }) => [name, []]));
  for (const round of range(rounds)) {
    for (const i of range(contestants.length)) {
      const contestant = contestants[(round + i) % contestants.length] as Contestant;
      const others = watchOthers();
      const turn = await measure.turn(contestant);
      turns.get(contestant.name)?.push({ ...turn, others: others() });
    }
  }
  measure.end();
  const columns: [Column<WatchedTurn>, ...Column<WatchedTurn>[]] = [
    ['CPU', 'µs', ({ cpu }) => cpu],
    ['rate', '/s', ({ perSecond }) => perSecond],
    ['p50', 'ms', ({ p50 }) => p50],
    ['p99', 'ms', ({ p99 }) => p99],
    ['of a core', '', ({ busy }) => busy],
    ['others', 'cores', ({ others }) => others],
  ];
  compare(what, turns, columns, ratiosOf, report);
}

/** A kind of figure: its name, its unit, and where it is. */
type Column<T> = readonly [string, string, (turn: T) => number];

/**
 * Adds a table with the median of each figure, and of the ratios in each round of the first figure of those in `ratiosOf`
 * to everybody's: all of them from the same rounds, the quarter in which other programs used least. Their use of the caches makes
 * everything dearer, and large programs more than small ones.
 */
export function compare<T extends { readonly others: number }>(
  what: string,
  turns: ReadonlyMap<string, readonly T[]>,
  columns: readonly [Column<T>, ...Column<T>[]],
  ratiosOf: readonly string[],
  report: Report,
): void {
  const [, , figure] = columns[0];
  const rounds = quietest([...turns.values()]);
  report.table(
    what,
    [
      ...columns.map(([name, unit]) => ({ name, unit })),
      ...ratiosOf.map((name) => ({ name: `${name} ÷ it`, unit: '' })),
    ],
    [...turns].map(([name, own]) => ({
      name,
      values: [
        ...columns.map(([, , of]) => spread(rounds.map((i) => of(own[i] as T)))),
        ...ratiosOf.map((one) =>
          spread(rounds.map((i) => figure(turns.get(one)?.[i] as T) / figure(own[i] as T))),
        ),
      ],
    })),
  );
}

/** The rounds, by their index, in which other programs used least beside all contestants together. */
function quietest(turns: readonly (readonly { readonly others: number }[])[]): number[] {
  const count = turns[0]?.length ?? 0;
  const others = range(count).map((i) => turns.reduce((sum, own) => sum + (own[i]?.others ?? 0), 0));
  const sorted = range(count).toSorted((a, b) => (others[a] ?? 0) - (others[b] ?? 0));
  return sorted.slice(0, Math.ceil(count / 4));
}

/** The median, and how far the others are from it. */
export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const [low = Number.NaN, high = Number.NaN] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]];
  return { value: (low + high) / 2, low: Math.min(...values), high: Math.max(...values) };
}
