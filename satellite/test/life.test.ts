import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ownTime, pass } from './passing.ts';
import {
  type Answer,
  api,
  ask,
  cleanup,
  freePort,
  issue,
  LOGIN,
  listenOn,
  NODE1,
  NODE2,
  OUTSIDE,
  satellite,
  scratch,
  visit,
} from './support.ts';

/*
 * Everything that can happen to a token in every state it can be in, seen from outside: what the original's protocol
 * says, what the API says, and what is true afterwards. The outcome is docs/tokens.md, which is to be read row by row
 * when it changes (vitest -u writes it).
 */

const TTL = '49h';

/** One token, the job that it may be linked to, and the proxy that it lives in. */
interface Life {
  readonly port: number;
  readonly token: string;
  readonly job: string;
  /** Where its notebook listens, and where nobody does. */
  readonly notebook: number;
  readonly nobody: number;
}

type Doing = (life: Life) => Promise<unknown>;

const report = ({ port }: Life, id: string, state: string) => api(port, 'POST', '/jobs', [{ id, state }]);
const link: Doing = ({ port, token, job }) => api(port, 'PUT', `/tokens/${token}/job`, { jobId: job });
const redeemOn =
  (where: 'notebook' | 'nobody'): Doing =>
  (life) =>
    api(life.port, 'POST', `/tokens/${life.token}/redeem`, { port: life[where] }, NODE1);
const destroy: Doing = ({ port, token }) => api(port, 'DELETE', `/tokens/${token}`, undefined, NODE1);
const reported =
  (state: string): Doing =>
  (life) =>
    report(life, life.job, state);

const after =
  (hours: number): Doing =>
  (life) =>
    pass(life.port, hours);

/** Waits until the proxy has reached the notebook. */
const reached: Doing = async ({ port, token }) => {
  for (let i = 0; i < 10_000; i += 1)
    if ((await ask(port, { path: `/tokenjobstate.cgi?token=${token}` })).body === 'PR') return;
  throw new Error('the notebook has not been reached');
};

/** How a token comes into each state. */
const states: Record<string, readonly Doing[]> = {
  unknown: [],
  pending: [],
  'pending, linked': [link],
  'pending, its job waits': [link, reported('PENDING')],
  'pending, its job runs': [link, reported('RUNNING')],
  'mapped, nobody listens': [redeemOn('nobody')],
  'mapped, live': [redeemOn('notebook'), reached],
  'mapped, live, its job runs': [link, reported('RUNNING'), redeemOn('notebook'), reached],
  'destroyed while pending': [destroy],
  'destroyed while mapped': [redeemOn('notebook'), destroy],
  'expired while pending': [after(50)],
  'expired while mapped': [redeemOn('notebook'), after(50)],
  'its job ended while pending': [link, reported('FAILED')],
  'its job ended while mapped': [link, reported('RUNNING'), redeemOn('notebook'), reported('COMPLETED')],
  forgotten: [destroy, after(25)],
};

interface Event {
  readonly name: string;
  readonly cgi?: (life: Life) => Promise<Answer>;
  readonly api?: (life: Life) => Promise<Answer>;
  /** For what isn't asked by anybody. */
  readonly happens?: Doing;
}

const cgi = (operation: string, from: string) => (life: Life) =>
  ask(life.port, { path: `/${operation.replace('TOKEN', life.token).replace('JOB', life.job)}`, from });
const call = (method: string, path: string, body: (life: Life) => unknown, from: string) => (life: Life) =>
  api(life.port, method, path.replace('TOKEN', life.token), body(life), from);
const jobs = (state: string, id?: string): Pick<Event, 'cgi' | 'api'> => ({
  cgi: ({ port, job }) =>
    ask(port, { path: '/update-jobs.cgi', method: 'POST', body: `jobstates=${id ?? job} ${state}` }),
  api: ({ port, job }) => api(port, 'POST', '/jobs', [{ id: id ?? job, state }]),
});
const linkTo = (id: string, from: string): Pick<Event, 'cgi' | 'api'> => ({
  cgi: cgi(`linktoken.cgi?token=TOKEN&jobid=${id}`, from),
  api: call('PUT', '/tokens/TOKEN/job', ({ job }) => ({ jobId: id === 'JOB' ? job : id }), from),
});
const redeemFrom = (from: string): Pick<Event, 'cgi' | 'api'> => ({
  cgi: ({ port, token, notebook }) =>
    ask(port, { path: `/redeemtoken.cgi?token=${token}&port=${notebook}`, from }),
  api: call('POST', '/tokens/TOKEN/redeem', ({ notebook }) => ({ port: notebook }), from),
});
const destroyFrom = (from: string): Pick<Event, 'cgi' | 'api'> => ({
  cgi: cgi('destroytoken.cgi?token=TOKEN', from),
  api: call('DELETE', '/tokens/TOKEN', () => undefined, from),
});
const phase = (name: string, from: string): Pick<Event, 'api'> => ({
  api: call('PUT', '/tokens/TOKEN/phase', () => ({ phase: name, reason: 'its own words' }), from),
});

const events: readonly Event[] = [
  { name: 'linked to its job, from the login host', ...linkTo('JOB', LOGIN) },
  { name: 'linked to another job, from the login host', ...linkTo('other', LOGIN) },
  { name: 'linked to a job that is over, from A', ...linkTo('over', NODE1) },
  { name: 'linked to a job that is over, from B', ...linkTo('over', NODE2) },
  { name: 'linked to its job, from outside', ...linkTo('JOB', OUTSIDE) },
  { name: 'redeemed from A', ...redeemFrom(NODE1) },
  { name: 'redeemed from B', ...redeemFrom(NODE2) },
  { name: 'redeemed from outside', ...redeemFrom(OUTSIDE) },
  { name: 'destroyed from A', ...destroyFrom(NODE1) },
  { name: 'destroyed from B', ...destroyFrom(NODE2) },
  { name: 'destroyed from outside', ...destroyFrom(OUTSIDE) },
  { name: 'phase `jupyter` from A', ...phase('jupyter', NODE1) },
  { name: 'phase `jupyter` from B', ...phase('jupyter', NODE2) },
  { name: 'phase `failed` from A', ...phase('failed', NODE1) },
  { name: 'phase `failed` from outside', ...phase('failed', OUTSIDE) },
  { name: 'its job waits', ...jobs('PENDING') },
  { name: 'its job runs', ...jobs('RUNNING') },
  { name: 'its job ends well', ...jobs('COMPLETED') },
  { name: 'its job fails', ...jobs('FAILED') },
  { name: 'its job is in a state that nobody knows', ...jobs('SHINY') },
  { name: "another job's end is reported, its own is not mentioned", ...jobs('FAILED', 'another') },
  { name: '48 hours pass', happens: after(48) },
  { name: '50 hours pass', happens: after(50) },
  {
    name: '50 hours pass, and its job is reported in them',
    happens: async (life) => {
      for (let i = 0; i < 2; i += 1) {
        await report(life, life.job, 'RUNNING');
        await pass(life.port, 25);
      }
    },
  },
];

async function proxy(state = ':memory:') {
  const many = 1_000_000;
  return satellite({ state, tokenTtl: TTL, limits: { tokensPerMinute: many, unknownNamesPerMinute: many } });
}

/** What is true of a token, in one line. */
async function truth({ port, token }: Life): Promise<string[]> {
  const shown = await api(port, 'GET', `/tokens/${token}`, undefined, OUTSIDE);
  const { state, phase, job } = shown.json<Record<'state' | 'phase', string> & { job: object | null }>();
  const told = await ask(port, { path: `/tokenjobstate.cgi?token=${token}`, from: OUTSIDE });
  const page = await visit(port, token, { headers: { Accept: 'text/html' } });
  const kind = /<body data-kind="([a-z]+)"/.exec(page.body)?.[1] ?? page.body;
  const linked = shown.status === 200 && job !== null ? ', linked' : '';
  return [
    shown.status === 200 ? `${state}${linked}${phase ? `, ${phase}` : ''}` : 'unknown',
    told.body === '' ? '' : `\`${told.body}\``,
    `${page.status} ${kind}`,
  ];
}

/** What an answer says; of a refusal for the network, without the network. */
function said({ status, body, headers }: Answer): string {
  if (status === 204 || (status === 200 && headers['content-type'] === 'application/json'))
    return String(status);
  if (status === 200) return body.trim().replace(/ \d[\d./]+,.*$/, ' …');
  return `${status} ${JSON.parse(body).error.code}`;
}

function table(head: string[], rows: string[][]): string {
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(3, ...all.map((row) => row[i]?.length ?? 0)));
  const line = (cells: string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

const INTRODUCTION = `# The life of a token

What the proxy answers, and what is true afterwards, for everything that can happen to a token in every state. A and B
are compute nodes; where a token is mapped, A has redeemed it. The time to live is 49 hours. "CGI" is the original's
protocol, always with status 200; "API" is the JSON API. \`GET\` is what \`tokenjobstate.cgi\` says then, and "page" what a
visitor's browser gets.

This page is written by \`satellite/test/life.test.ts\`, which asks a running proxy, and fails when an answer changes.`;

ownTime();

/** A notebook on A and one on B, at the same port. */
async function notebooks(): Promise<number> {
  const answer = (socket: Socket): void => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthe notebook'));
  };
  const port = await listenOn(createServer(answer), await freePort());
  const other = createServer(answer).listen(port, NODE2);
  cleanup(() => other.close());
  await once(other, 'listening');
  return port;
}

test('every event in every state is as docs/tokens.md says', async () => {
  const notebook = await notebooks();
  const nobody = await freePort();
  const { port } = await proxy();
  let number = 0;

  const begin = async (recipe: readonly Doing[], isKnown: boolean, at = port): Promise<Life> => {
    const token = isKnown ? await issue(at) : 'no-such-name';
    const life = { port: at, token, job: `job${++number}`, notebook, nobody };
    for (const doing of recipe) await doing(life);
    await report(life, 'over', 'COMPLETED');
    return life;
  };

  const chapters: string[] = [];
  for (const [state, recipe] of Object.entries(states)) {
    const isKnown = state !== 'unknown';
    const before = await truth(await begin(recipe, isKnown));
    const rows: string[][] = [];
    for (const event of events) {
      const outcomes: string[][] = [];
      const answers: string[] = [];
      for (const doing of [event.cgi, event.api, event.happens]) {
        if (doing !== event.happens) answers.push('');
        if (doing === undefined) continue;
        const life = await begin(recipe, isKnown);
        const answer = await doing(life);
        if (doing !== event.happens) answers[answers.length - 1] = said(answer as Answer);
        if (/^2\d\d$|^Success/.test(answers.at(-1) ?? '') && event.name.startsWith('redeemed'))
          await reached(life);
        outcomes.push(await truth(life));
      }
      // Both protocols are the same doing.
      for (const outcome of outcomes) expect(outcome, `${state}: ${event.name}`).toEqual(outcomes[0]);
      rows.push([event.name, ...answers, ...(outcomes[0] ?? [])]);
    }
    const head = ['what happens', 'CGI', 'API', 'then', '`GET`', 'page'];
    const [is, get, page] = before;
    const now = `It is ${is}${get ? `; \`GET\` says ${get}` : ''}; its page is ${page}.`;
    chapters.push(`## ${state[0]?.toUpperCase()}${state.slice(1)}\n\n${now}\n\n${table(head, rows)}`);
  }
  await expect(`${[INTRODUCTION, ...chapters].join('\n\n')}\n`).toMatchFileSnapshot('../../docs/tokens.md');
}, 300_000);

test('a restart changes nothing, in any state', async () => {
  const notebook = await notebooks();
  const nobody = await freePort();
  for (const [name, recipe] of Object.entries(states)) {
    const file = join(await scratch(), 'state.sqlite');
    const first = await proxy(file);
    const token = name === 'unknown' ? 'no-such-name' : await issue(first.port);
    const life = { port: first.port, token, job: 'job', notebook, nobody };
    for (const doing of recipe) await doing(life);
    const look = async ({ port }: { port: number }) => {
      // When by the calendar, and where: that is of the process.
      const { expiresAt, site, ...all } = (await api(port, 'GET', `/tokens/${token}`)).json();
      return all;
    };
    const before = await look(first);
    await first.close();
    const second = await proxy(file);
    expect(await look(second), name).toEqual(before);
    await second.close();
  }
});
