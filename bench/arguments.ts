import { parseArgs } from 'node:util';
import { heldWith, openFilesLimit } from './processes.ts';
import { proxies } from './rivals/proxies.ts';
import { rivalBenches } from './rivals.ts';

/** Options that not all benches have. */
const specials = ['engine', 'sockets', 'rounds', 'no-logs', 'only'] as const;

/** The benches, and which of these each has. */
const optionsOf = {
  sites: ['engine'],
  websockets: ['engine', 'sockets'],
  scaling: [],
  rivals: ['rounds', 'no-logs', 'only', 'sockets'],
  start: ['rounds'],
  launch: ['rounds'],
  waiting: ['rounds'],
} as const satisfies Record<string, readonly (typeof specials)[number][]>;

export type BenchName = keyof typeof optionsOf;

export const usage = `Usage: npm run bench [-- ${Object.keys(optionsOf).join('|')}] [--small] [--json] [--node-option=OPTION]...
  sites [--engine node|haproxy]
  websockets [--engine node|haproxy] [--sockets N]
  start|launch|waiting [--rounds N]; the last two in the lab
  rivals [${rivalBenches.join('|')}]... [--rounds N] [--no-logs] [--only NAME,...] [--sockets N]
  with the names ${Object.keys(proxies).join(', ')}`;

/** What is to be measured; without a name everything. */
export type Order = ReturnType<typeof readArguments>;

/** @throws Error in words for whoever typed them */
export function readArguments(args: readonly string[]) {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      small: { type: 'boolean', default: false },
      only: { type: 'string' },
      engine: { type: 'string' },
      rounds: { type: 'string' },
      sockets: { type: 'string' },
      'no-logs': { type: 'boolean' },
      'node-option': { type: 'string', multiple: true, default: [] },
    },
  });
  const [name, ...parts] = positionals;
  if (name !== undefined && !isBench(name)) throw new Error(`there is no bench "${name}"`);
  const known: readonly string[] = name === 'rivals' ? rivalBenches : [];
  const unknown = parts.find((part) => !known.includes(part));
  if (unknown !== undefined) throw new Error(`${name} has no part "${unknown}"`);
  if (name !== undefined) {
    const taken: readonly string[] = optionsOf[name];
    const strange = specials.find((option) => values[option] !== undefined && !taken.includes(option));
    if (strange !== undefined) throw new Error(`${name} takes no --${strange}`);
  }
  const { engine = 'node' } = values;
  if (engine !== 'node' && engine !== 'haproxy') throw new Error(`there is no engine "${engine}"`);
  const sockets = numberIn(values.sockets, 'sockets');
  const most = heldWith(openFilesLimit());
  // rivals says itself how many it holds instead.
  if (name === 'websockets' && sockets !== undefined && sockets > most)
    throw new Error(`${openFilesLimit()} open files (ulimit -Hn) carry ${most} WebSockets, not ${sockets}`);
  return {
    name,
    parts: parts as (typeof rivalBenches)[number][],
    engine,
    contestants: contestantsIn(values.only),
    rounds: numberIn(values.rounds, 'rounds'),
    sockets,
    logs: values['no-logs'] !== true,
    small: values.small,
    json: values.json,
    nodeOptions: values['node-option'],
  } as const;
}

function isBench(name: string): name is BenchName {
  return Object.hasOwn(optionsOf, name);
}

function numberIn(text: string | undefined, option: string): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`--${option} ${text} is not a number from 1 on`);
  return Number(text);
}

/** Each once, in the order in which they were named. */
function contestantsIn(only: string | undefined): string[] {
  const names = new Set(only?.split(',') ?? Object.keys(proxies));
  const unknown = [...names].find((one) => !Object.hasOwn(proxies, one));
  if (unknown !== undefined) throw new Error(`there is no proxy "${unknown}"`);
  return [...names];
}
