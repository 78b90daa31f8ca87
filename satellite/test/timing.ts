/*
 * Does the time that an answer takes tell anything about names? `node satellite/test/timing.ts [ROUNDS]` asks a proxy
 * with 20,000 live tokens, in turn, for names that begin like a live one and for names that don't, and for right and
 * wrong names once somebody has guessed too often. Prints medians and Welch's t; |t| below 4.5 is nothing to be seen.
 */
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { startSatellite } from '../src/index.ts';
import { drawToken } from '../src/tokens/words.ts';

const DOMAIN = 'sites.test';
const TOKENS = 20_000;
const rounds = Number(process.argv[2] ?? 20_000);
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

async function ask(port: number, host: string, path: string, method = 'GET'): Promise<string> {
  const outgoing = request({ host: '127.0.0.1', port, path, method, agent, headers: { Host: host } }).end();
  const [response] = await once(outgoing, 'response');
  const chunks: Buffer[] = await response.toArray();
  return `${response.statusCode} ${Buffer.concat(chunks)}`;
}

/** Makes ready what is to be asked, and gives the asking. */
type Question = () => () => Promise<unknown>;

/** Microseconds of each kind of question, asked in turn. */
async function measure(kinds: Record<string, Question>): Promise<Record<string, number[]>> {
  const names = Object.keys(kinds);
  const times = Object.fromEntries(names.map((name): [string, number[]] => [name, []]));
  for (let i = 0; i < rounds; i += 1) {
    // None comes always after the same other.
    const order = [...names.slice(i % names.length), ...names.slice(0, i % names.length)];
    for (const name of i % 2 ? order : order.toReversed()) {
      const question = kinds[name]?.();
      const began = process.hrtime.bigint();
      await question?.();
      times[name]?.push(Number(process.hrtime.bigint() - began) / 1000);
    }
  }
  return times;
}

function summary(times: readonly number[]) {
  // The slower half is about everything else that goes on: the garbage collector, other programs.
  const sorted = times.toSorted((a, b) => a - b).slice(0, Math.floor(times.length / 2));
  const mean = sorted.reduce((sum, time) => sum + time, 0) / sorted.length;
  const variance = sorted.reduce((sum, time) => sum + (time - mean) ** 2, 0) / (sorted.length - 1);
  return { median: sorted[Math.floor(sorted.length / 2)] ?? 0, mean, error: variance / sorted.length };
}

function print(title: string, times: Record<string, number[]>): void {
  const [first, ...others] = Object.entries(times).map(([name, values]) => ({ name, ...summary(values) }));
  if (!first) return;
  console.log(
    `${title}\n  ${first.name}: median ${first.median.toFixed(1)} µs, mean ${first.mean.toFixed(2)}`,
  );
  for (const { name, median, mean, error } of others) {
    const t = (mean - first.mean) / Math.sqrt(error + first.error);
    console.log(`  ${name}: median ${median.toFixed(1)} µs, mean ${mean.toFixed(2)}, t ${t.toFixed(1)}`);
  }
}

const many = 1_000_000_000;
const proxy = (unknownNamesPerMinute: number) =>
  startSatellite({
    domain: DOMAIN,
    listen: '127.0.0.1:0',
    tls: 'off',
    internalNetworks: ['127.0.0.0/8'],
    state: ':memory:',
    limits: { tokensPerMinute: many, unknownNamesPerMinute },
  });
const manage = `manage.${DOMAIN}`;
const siteHost = (name: string): string => `${name}.${DOMAIN}`;
const issue = async (port: number): Promise<string> =>
  JSON.parse((await ask(port, manage, '/api/v1/tokens', 'POST')).slice(4)).token;

const open = await proxy(many);
const { port } = open.address;
const [first, second] = (await issue(port)).split('-');
for (let i = 1; i < TOKENS; i += 1) await issue(port);
/** The same work for every kind, so that none finds the caches in another state. */
const guesses: Record<string, (drawn: string[]) => string> = {
  'no word right': (drawn) => drawn.join('-'),
  'one word right': (drawn) => [first, ...drawn.slice(1)].join('-'),
  'two words right': (drawn) => [first, second, ...drawn.slice(2)].join('-'),
};
const asking = (visit: (name: string) => Promise<string>): Record<string, Question> =>
  Object.fromEntries(
    Object.entries(guesses).map(([kind, guess]) => [
      kind,
      () => {
        const name = guess(drawToken().split('-'));
        return () => visit(name);
      },
    ]),
  );
const byApi = asking((name) => ask(port, manage, `/api/v1/tokens/${name}`));
const byVisit = asking((name) => ask(port, siteHost(name), '/'));
await measure(byApi);
print('unknown names, asked of the API', await measure(byApi));
print('unknown names, visited', await measure(byVisit));
await open.close();

const shut = await proxy(1);
const shutPort = shut.address.port;
const right = await issue(shutPort);
await ask(shutPort, manage, '/api/v1/tokens/no-such-name');
const visit = (name: string) => () => () => ask(shutPort, siteHost(name), '/');
/** Longer names take longer to read. */
const asLong = (): string => {
  let name = drawToken();
  while (name.length !== right.length) name = drawToken();
  return name;
};
const kinds = { wrong: visit(asLong()), 'wrong, another': visit(asLong()), right: visit(right) };
await measure(kinds);
print('names visited after too many guesses', await measure(kinds));
await shut.close();
agent.destroy();
