import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ownTime, pass } from '../passing.ts';
import {
  type Answer,
  api,
  ask,
  cleanup,
  freePort,
  LOGIN,
  listenOn,
  NODE1,
  NODE2,
  OUTSIDE,
  satellite,
  scratch,
  type TestSatellite,
  visit,
} from '../support.ts';
import { holds, PATIENCE_MS } from './support.ts';

/*
 * Any sequence of what clients, jobs, the scheduler and time can do to tokens, through either protocol, with restarts in
 * between: the proxy's answers and what it shows afterwards are those of a model that fits on a page. docs/tokens.md has
 * single steps; this has the paths.
 */

const TTL = 49;
const TOMBSTONE = 24;
const TOKENS = 4;
const JOBS = ['11', '12[3].server'];

type Stage = 'waiting' | 'running' | 'over' | 'unheard';
const jobStates: Record<string, Stage> = {
  PENDING: 'waiting',
  pd: 'waiting',
  RUNNING: 'running',
  COMPLETING: 'running',
  COMPLETED: 'over',
  OUT_OF_MEMORY: 'over',
  TIMEOUT: 'over',
  SHINY: 'unheard',
};
/** Ends that are a session's usual ones, once it was live. */
const usualEnds = ['COMPLETED', 'TIMEOUT'];

interface Token {
  readonly name: string;
  state: 'pending' | 'mapped' | 'gone';
  /** Hours. */
  since: number;
  goneAt: number;
  goneBy: 'destroyed' | 'expired' | 'job' | undefined;
  host: string | undefined;
  job: string | undefined;
  phase: string | undefined;
  reason: string | undefined;
  /** Its end is the scheduler's word alone, which was this. */
  verdict: string | undefined;
}

/** The model: what is so, in hours. */
interface World {
  now: number;
  readonly tokens: Token[];
  readonly jobs: Map<string, { state: string; at: number }>;
}

interface Real {
  proxy: TestSatellite;
  start(): Promise<TestSatellite>;
  readonly notebook: number;
  /** How many have been done. */
  steps: number;
}

const stageOf = (world: World, job: string | undefined): Stage | undefined =>
  jobStates[world.jobs.get(job ?? '')?.state ?? ''];

function endOf(world: World, token: Token): number {
  if (token.state === 'gone') return token.goneAt + TOMBSTONE;
  const stage = stageOf(world, token.job);
  const heard = stage !== undefined && stage !== 'over' ? (world.jobs.get(token.job ?? '')?.at ?? 0) : 0;
  return Math.max(token.since, heard) + TTL;
}

function end(world: World, token: Token, goneBy: Token['goneBy']): void {
  if (token.state !== 'gone') token.goneAt = world.now;
  token.state = 'gone';
  token.goneBy = goneBy;
}

function endByJob(world: World, token: Token, state: string): void {
  const wasLive = token.host !== undefined;
  end(world, token, 'job');
  if (token.phase === 'ended' || token.phase === 'failed') return;
  token.phase = wasLive && usualEnds.includes(state) ? 'ended' : 'failed';
  token.reason = undefined;
  token.verdict = state;
}

/** What somebody is told: by the original's protocol, a pattern; by the API, a status. */
interface Told {
  readonly cgi: RegExp;
  readonly api: number;
}
const told = (cgi: RegExp, api: number): Told => ({ cgi, api });
const outside = told(/^Oops! Client \(your\) IP not in range/, 403);
const nowhere = /^Oops! Unknown nonce or nonce already/;

const isInside = (host: string): boolean => host.startsWith('127.21.');
const via = fc.constantFrom('cgi', 'api');
/** Mostly who may. */
const host = fc.constantFrom(...[NODE1, NODE1, NODE1, NODE1, LOGIN, LOGIN, NODE2, OUTSIDE]);
/** Mostly one of those issued. */
const number = fc.constantFrom(0, 0, 0, 1, 1, 2, 3, -1);
const job = fc.constantFrom(...JOBS);

/** One step: what it does to the model, and what it does to the proxy. */
class Step implements fc.AsyncCommand<World, Real> {
  readonly text: string;
  readonly #may: (world: World) => boolean;
  readonly #model: (world: World) => Told;
  readonly #real: (real: Real, world: World) => Promise<Answer | undefined>;
  readonly #via: 'cgi' | 'api';

  constructor(
    text: string,
    by: 'cgi' | 'api',
    model: (world: World) => Told,
    real: (real: Real, world: World) => Promise<Answer | undefined>,
    may: (world: World) => boolean = () => true,
  ) {
    this.text = text;
    this.#via = by;
    this.#model = model;
    this.#real = real;
    this.#may = may;
  }

  check(world: Readonly<World>): boolean {
    return this.#may(world);
  }

  async run(world: World, real: Real): Promise<void> {
    const answer = await this.#real(real, world);
    real.steps += 1;

    const expected = this.#model(world);
    if (answer && this.#via === 'cgi') expect(answer.body, this.text).toMatch(expected.cgi);
    else if (answer) expect(answer.status, `${this.text}: ${answer.body}`).toBe(expected.api);
    await compare(world, real);
  }

  toString(): string {
    return this.text;
  }
}

/** What can be seen of every token: by the API at every step, and by everybody else of one in turn. */
async function compare(world: World, { proxy: { port }, steps }: Real): Promise<void> {
  for (const [i, token] of world.tokens.entries()) {
    const shown = await api(port, 'GET', `/tokens/${token.name}`, undefined, OUTSIDE);
    const isForgotten = token.state === 'gone' && world.now >= endOf(world, token);
    if (isForgotten) expect(shown.status).toBe(404);
    else {
      const { state, phase, reason, job } = shown.json<
        Record<'state' | 'phase' | 'reason', string> & { job: { id: string } | null }
      >();
      const id = token.job?.replace(/[[\]]/g, '');
      expect([state, phase ?? undefined, job?.id]).toEqual([token.state, token.phase, id]);
      if (token.verdict === undefined) expect(reason ?? undefined).toBe(token.reason);
      else expect(reason).toMatch(/^The (job|compute node|time limit) /);
    }
    if (i !== steps % world.tokens.length) continue;
    const letter = (await ask(port, { path: `/tokenjobstate.cgi?token=${token.name}`, from: OUTSIDE })).body;
    const page = await visit(port, token.name, { headers: { Accept: 'text/html' } });
    if (isForgotten) expect([letter, page.status]).toEqual(['', 404]);
    else if (token.state === 'gone')
      expect([letter, page.status]).toEqual([token.goneBy === 'job' ? 'D' : '', 410]);
    else if (token.state === 'mapped') {
      // Reached in its own time, and then for good.
      expect(letter).toMatch(/^(M|PR)$/);
      expect([page.status, page.body]).toEqual([200, `at ${token.host}`]);
    } else {
      const letters = { waiting: 'Q', running: 'R', over: 'PE', unheard: 'PE' };
      expect([letter, page.status]).toEqual([letters[stageOf(world, token.job) ?? 'unheard'], 200]);
    }
  }
}

const issueBy = (by: 'cgi' | 'api', from: string): Step =>
  new Step(
    `issue by ${by} from ${from}`,
    by,
    () => (isInside(from) ? told(/^Your token is/, 201) : outside),
    async ({ proxy: { port } }, world) => {
      const answer =
        by === 'cgi'
          ? await ask(port, { path: '/getlink.cgi', from })
          : await api(port, 'POST', '/tokens', undefined, from);
      const name = /"token":"([a-z-]+)"|^Your token is \n([a-z-]+)\n$/
        .exec(answer.body)
        ?.slice(1)
        .find(Boolean);
      if (name) {
        const nothing = {
          goneBy: undefined,
          host: undefined,
          job: undefined,
          phase: undefined,
          reason: undefined,
          verdict: undefined,
        };
        world.tokens.push({ name, state: 'pending', since: world.now, goneAt: 0, ...nothing });
      }
      return answer;
    },
    (world) => world.tokens.length < TOKENS,
  );
const issue = fc.tuple(via, host).map(([by, from]) => issueBy(by, from));

/** One of the tokens that there are, or none for a number below zero. */
const pick = (world: World, which: number): Token | undefined => world.tokens[which % world.tokens.length];

/** A step that is about one token: one of those issued, or of nobody's. */
function about(
  text: string,
  by: 'cgi' | 'api',
  which: number,
  from: string,
  model: (world: World, token: Token) => Told,
  unknown: Told,
  real: (port: number, name: string, notebook: number) => Promise<Answer>,
  may?: (world: World) => boolean,
): Step {
  return new Step(
    `${text} (token ${which}) by ${by} from ${from}`,
    by,
    (world) => {
      if (!isInside(from)) return outside;
      const token = pick(world, which);
      const isForgotten = token?.state === 'gone' && world.now >= endOf(world, token);
      return token && !isForgotten ? model(world, token) : unknown;
    },
    ({ proxy: { port }, notebook }, world) =>
      real(port, pick(world, which)?.name ?? 'no-such-name', notebook),
    may,
  );
}

const redeem = fc.tuple(via, number, host).map(([by, which, from]) =>
  about(
    'redeem',
    by,
    which,
    from,
    (world, token) => {
      if (token.state === 'gone') return told(nowhere, 410);
      if (token.state === 'mapped') return told(nowhere, 409);
      Object.assign(token, { state: 'mapped', host: from, since: world.now });
      return told(/^Success!\n$/, 200);
    },
    told(nowhere, 404),
    (port, name, notebook) =>
      by === 'cgi'
        ? ask(port, { path: `/redeemtoken.cgi?token=${name}&port=${notebook}`, from })
        : api(port, 'POST', `/tokens/${name}/redeem`, { port: notebook }, from),
  ),
);

const destroy = fc.tuple(via, number, host).map(([by, which, from]) =>
  about(
    'destroy',
    by,
    which,
    from,
    (world, token) => {
      if (token.host !== undefined && token.host !== from)
        return told(/^Oops! Nonce must be destroyed from host it was redeemed on\n$/, 403);
      if (token.goneBy === 'destroyed') return told(nowhere, 204);
      end(world, token, 'destroyed');
      return told(/^Success! Token destroyed\.\n$/, 204);
    },
    told(nowhere, 404),
    (port, name) =>
      by === 'cgi'
        ? ask(port, { path: `/destroytoken.cgi?token=${name}`, from })
        : api(port, 'DELETE', `/tokens/${name}`, undefined, from),
  ),
);

const link = fc.tuple(via, number, host, job).map(([by, which, from, id]) =>
  about(
    `link to ${id}`,
    by,
    which,
    from,
    (world, token) => {
      const linked = /^Oops! Nonce already linked to a jobid/;
      const isGone = token.state === 'gone';
      if (token.job !== undefined) return told(isGone ? nowhere : linked, token.job === id ? 200 : 409);
      if (isGone) return told(nowhere, 410);
      if (stageOf(world, id) === 'over') {
        if (token.host !== undefined && token.host !== from) return told(nowhere, 403);
        token.job = id;
        endByJob(world, token, world.jobs.get(id)?.state ?? '');
      } else token.job = id;
      return told(/^Success! Token linked to jobid\.\n$/, 200);
    },
    told(nowhere, 404),
    (port, name) =>
      by === 'cgi'
        ? ask(port, { path: `/linktoken.cgi?token=${name}&jobid=${encodeURIComponent(id)}`, from })
        : api(port, 'PUT', `/tokens/${name}/job`, { jobId: id }, from),
    // What was reported long ago is forgotten at some time, and that makes a difference to nobody but this test.
    (world) => world.now - (world.jobs.get(id)?.at ?? world.now) < 1,
  ),
);

const phase = fc
  .tuple(
    number,
    host,
    fc.constantFrom('allocated', 'jupyter', 'ended', 'failed'),
    fc.constantFrom('why', 'because'),
  )
  .map(([which, from, name, reason]) =>
    about(
      `phase ${name}, ${reason}`,
      'api',
      which,
      from,
      (_world, token) => {
        if (token.host !== undefined && token.host !== from) return told(/^$/, 403);
        const isSame = token.phase === name && token.reason === reason && token.verdict === undefined;
        if (isSame) return told(/^$/, 200);
        const isLast = name === 'ended' || name === 'failed';
        if (token.state === 'gone' && !(isLast && token.goneBy === 'job' && token.verdict))
          return told(/^$/, 410);
        Object.assign(token, { phase: name, reason, verdict: undefined });
        return told(/^$/, 200);
      },
      told(/^$/, 404),
      (port, token) => api(port, 'PUT', `/tokens/${token}/phase`, { phase: name, reason }, from),
    ),
  );

const report = fc
  .tuple(
    via,
    fc.constantFrom(LOGIN, LOGIN, LOGIN, LOGIN, LOGIN, NODE1),
    fc.uniqueArray(fc.tuple(job, fc.constantFrom(...Object.keys(jobStates))), {
      minLength: 1,
      selector: ([id]) => id,
    }),
  )
  .map(
    ([by, from, rows]) =>
      new Step(
        `report ${rows.map((row) => row.join(' ')).join(', ')} by ${by} from ${from}`,
        by,
        (world) => {
          if (from !== LOGIN) return outside;
          for (const [id, state] of rows) {
            // As if nothing had been said of the job.
            if (jobStates[state] === 'unheard') continue;
            world.jobs.set(id, { state, at: world.now });
            for (const token of world.tokens) {
              if (token.job !== id || token.state === 'gone') continue;
              if (jobStates[state] === 'over') endByJob(world, token, state);
            }
          }
          return told(/^Successfully updated jobs! \n$/, 200);
        },
        ({ proxy: { port } }) =>
          by === 'cgi'
            ? ask(port, {
                path: '/update-jobs.cgi',
                method: 'POST',
                body: `jobstates=${rows.map((row) => row.join(' ')).join('\n')}`,
                from,
              })
            : api(
                port,
                'POST',
                '/jobs',
                rows.map(([id, state]) => ({ id, state })),
                from,
              ),
        // The end of a job is said once: what a scheduler says after it doesn't matter, and isn't told apart here.
        (world) =>
          rows.every(
            ([id]) => stageOf(world, id) !== 'over' || world.tokens.every((token) => token.job !== id),
          ),
      ),
  );

const leap = fc.constantFrom(0.2, 25, 30).map(
  (hours) =>
    new Step(
      `${hours} hours pass`,
      'api',
      (world) => {
        world.now += hours;
        for (const token of world.tokens)
          if (token.state !== 'gone' && world.now >= endOf(world, token)) end(world, token, 'expired');
        return told(/^$/, 200);
      },
      async ({ proxy }) => {
        await pass(proxy.port, hours);
        return undefined;
      },
      // The sweep's minute is not in the model: nothing may be due within it.
      (world) => world.tokens.every((token) => Math.abs(endOf(world, token) - world.now - hours) > 0.1),
    ),
);

const restart = fc.constant(
  new Step(
    'restart',
    'api',
    () => told(/^$/, 200),
    async (real) => {
      await real.proxy.close();
      real.proxy = await real.start();
      return undefined;
    },
  ),
);

ownTime();

test(
  'any sequence of events is what the model says',
  async () => {
    const notebook = await notebooks();
    const many = 1_000_000;
    await holds(
      fc.asyncProperty(
        fc.commands(
          [issue, redeem, redeem, destroy, link, link, phase, report, report, leap, leap, restart],
          {
            maxCommands: 60,
            size: 'max',
          },
        ),
        async (steps) => {
          const state = join(await scratch(), 'state.sqlite');
          const start = () =>
            satellite({
              state,
              tokenTtl: `${TTL}h`,
              limits: { tokensPerMinute: many, unknownNamesPerMinute: many },
            });
          const real: Real = { proxy: await start(), start, notebook, steps: 0 };
          const world: World = { now: 0, tokens: [], jobs: new Map() };
          try {
            // With two to begin with, fewer steps are about nobody.
            for (const by of ['cgi', 'api'] as const) await issueBy(by, LOGIN).run(world, real);
            await fc.asyncModelRun(() => ({ model: world, real }), steps);
          } finally {
            await real.proxy.close();
          }
        },
      ),
      100,
    );
  },
  PATIENCE_MS,
);

/** A notebook on every node, at the same port, that says where it is. */
async function notebooks(): Promise<number> {
  const at = (where: string) =>
    createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nat ${where}`));
    });
  const port = await listenOn(at(NODE1), await freePort());
  for (const node of [NODE2, LOGIN]) {
    const other = at(node).listen(port, node);
    cleanup(() => other.close());
    await once(other, 'listening');
  }
  return port;
}
