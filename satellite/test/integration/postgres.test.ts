import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SatelliteConfigInput } from '../../src/config.ts';
import { copyState } from '../../src/operation/copy-state.ts';
import { openStore } from '../../src/tokens/open.ts';
import type { JobRecord, TokenRecord } from '../../src/tokens/record.ts';
import { ConflictError, type SecretRecord, type TokenStore } from '../../src/tokens/store.ts';
import { behindFront, gated, JUPYTER_TOKEN, line, Person, SIGN_IN_HOST } from '../person.ts';
import { CLIENT_SECRET, provider, signingInAs } from '../provider.ts';
import {
  type Answer,
  api,
  ask,
  cleanup,
  DOMAIN,
  issue,
  NODE1,
  NODE2,
  notebook,
  OUTSIDE,
  redeemed,
  satellite,
  scratch,
  siteHost,
  type TestSatellite,
  visit,
  wire,
} from '../support.ts';
import { databaseOf, Postgres, postgresObstacle } from './postgres.ts';
import { outcome, type Program, run, satelliteCommand, serveArguments } from './program.ts';

const obstacle = postgresObstacle();
const leftOut = obstacle !== undefined && !process.env.START_JUPYTER_TEST_COMPLETE;

describe.skipIf(leftOut)(`a state in PostgreSQL${leftOut ? ` (left out: ${obstacle})` : ''}`, () => {
  let server: Postgres;
  beforeAll(async () => {
    server = await Postgres.start();
  });
  afterAll(() => server?.remove());

  /** Satellites that share a new state. */
  async function satellites(
    count: number,
    config: Partial<SatelliteConfigInput> = {},
  ): Promise<{ all: TestSatellite[]; state: string; events: Record<string, unknown>[] }> {
    const state = await server.database();
    const folder = await scratch();
    const events: Record<string, unknown>[] = [];
    const all = await Promise.all(
      Array.from({ length: count }, (_, i) =>
        satellite(
          { state, statusSocket: join(folder, `${i}.sock`), ...config },
          { log: (entry) => events.push(entry) },
        ),
      ),
    );
    return { all, state, events };
  }

  const answering = () => notebook((_request, response) => response.end('the notebook'));

  /** Asks again until it is so. How long that takes is measured by `npm run bench -- scaling`. */
  async function until(look: () => Promise<Answer>, isSo: (answer: Answer) => boolean): Promise<Answer> {
    for (;;) {
      // What ends in the middle of an answer breaks it off.
      const answer = await look().catch(() => undefined);
      if (answer && isSo(answer)) return answer;
      await pause(10);
    }
  }

  /** Resolves when as much more is there as is asked for. */
  async function more(list: readonly unknown[], count: number): Promise<void> {
    const enough = list.length + count;
    while (list.length < enough) await pause(10);
  }

  const live = (answer: Answer): boolean => answer.body === 'the notebook';

  const becomesLive = (port: number, token: string): Promise<Answer> => until(() => visit(port, token), live);

  /** Until all of them know that a site has been redeemed. */
  async function heardBy(all: readonly TestSatellite[], token: string): Promise<void> {
    for (const { port } of all)
      await until(
        () => api(port, 'GET', `/tokens/${token}`),
        (answer) => answer.json<{ state: string }>().state === 'mapped',
      );
  }

  /** Asks until `event` was logged by as many as there are. */
  async function logged(events: Record<string, unknown>[], event: string, times: number): Promise<void> {
    while (events.filter((entry) => entry.event === event).length < times) await pause(20);
  }

  /** Notifications are lost from now on. */
  const deafen = (state: string) =>
    server.sql(
      "UPDATE pg_proc SET prosrc = replace(prosrc, 'PERFORM pg_notify', '-- ') WHERE proname = 'save'",
      databaseOf(state),
    );

  describe.each(['a file', 'a database'])('as a store, %s', (kind) => {
    const record: TokenRecord = {
      token: 'one-two-three',
      state: 'pending',
      issuedAt: 1_800_000_000_000,
      redeemedAt: null,
      goneAt: null,
      goneBy: null,
      host: null,
      port: null,
      jobId: '4711',
      claim: null,
      phase: 'failed',
      reason: 'it’s "so" \\ ünïcödé 🦉\nand more',
    };
    const job: JobRecord = {
      id: '4711',
      state: 'PENDING',
      position: 3,
      estimatedStart: 1_800_000_000_000,
      reason: null,
      reportedAt: 1_800_000_000_001,
    };
    const secret: SecretRecord = {
      kind: 'access',
      id: 'one-two-three',
      sealed: Buffer.from([0, 255, 10, 39]),
    };

    async function opened(): Promise<{ store: TokenStore; again: () => Promise<TokenStore> }> {
      const state = kind === 'a file' ? join(await scratch(), 'state.sqlite') : await server.database();
      let store = await openStore(state, () => undefined);
      cleanup(() => store.close());
      return {
        store,
        again: async () => {
          await store.close();
          store = await openStore(state, () => undefined);
          return store;
        },
      };
    }

    test('keeps what it is given, and forgets it when told', async () => {
      const { store, again } = await opened();
      await store.save({
        tokens: [{ record, before: undefined }],
        jobs: [job],
        secrets: [{ record: secret, before: undefined }],
      });
      const second = await again();
      expect(second.load()).toEqual({ tokens: [record], jobs: [job] });
      expect(second.loadSecrets('sign-in')).toEqual([]);
      const [kept] = second.loadSecrets('access');
      expect({ ...kept, sealed: [...(kept?.sealed ?? [])] }).toEqual({
        ...secret,
        sealed: [...secret.sealed],
      });
      await second.save({ forgetTokens: [record], forgetJobs: [job], forgetSecrets: [secret] });
      const third = await again();
      expect(third.load()).toEqual({ tokens: [], jobs: [] });
      expect(third.loadSecrets('access')).toEqual([]);
    });

    test('keeps all of what belongs together, or nothing', async () => {
      const { store, again } = await opened();
      await store.save({ tokens: [{ record, before: undefined }] });
      const gone = { ...record, state: 'gone' as const };
      // What neither can hold, after something that both can.
      const broken = { ...job, state: '\u0000', position: 'x' } as unknown as JobRecord;
      await expect(
        store.save({ tokens: [{ record: gone, before: record }], jobs: [job, broken] }),
      ).rejects.toThrow(/Could not write the state/);
      await store.check();
      expect((await again()).load()).toEqual({ tokens: [record], jobs: [] });
    });

    test('takes changes that stand on each other in one turn', async () => {
      const { store, again } = await opened();
      const [second, third] = [
        { ...record, host: NODE1 },
        { ...record, host: NODE2 },
      ];
      await Promise.all([
        store.save({ tokens: [{ record, before: undefined }] }),
        store.save({ tokens: [{ record: second, before: record }] }),
        store.save({ tokens: [{ record: third, before: second }] }),
      ]);
      expect((await again()).load().tokens).toEqual([third]);
    });
  });

  test('of two who change the same one wins, and the other one hears of it before he is told', async () => {
    const state = await server.database();
    const [one, two] = [await openStore(state, () => undefined), await openStore(state, () => undefined)];
    cleanup(() => Promise.all([one.close(), two.close()]));
    const news: string[] = [];
    two.follow(({ tokens }) => news.push(...tokens.map(({ host }) => String(host))));
    const record = { token: 'one-two-three', state: 'pending', host: null } as TokenRecord;
    await one.save({ tokens: [{ record, before: undefined }] });
    await two.refresh();
    await one.save({ tokens: [{ record: { ...record, host: NODE1 }, before: record }] });
    const late = two.save({ tokens: [{ record: { ...record, host: NODE2 }, before: record }] });
    await expect(late).rejects.toThrow(ConflictError);
    expect(news).toEqual(['null', NODE1]);
    await expect(two.save({ forgetTokens: [record] })).rejects.toThrow(ConflictError);
    await expect(two.save({ tokens: [{ record, before: undefined }] })).rejects.toThrow(ConflictError);
  });

  test('what is done at one is so at all: live, followed by visitors, and over', async () => {
    const upstream = await answering();
    const { all } = await satellites(3);
    const [a, b, c] = all as [TestSatellite, TestSatellite, TestSatellite];
    const token = await issue(a.port);
    // A page that was opened at one follows what is reported to another.
    const page = await wire(b.port);
    page.send(
      `GET /.well-known/satellite/events HTTP/1.1\r\nHost: ${siteHost(token)}\r\nAccept: text/event-stream\r\n\r\n`,
    );
    await page.until(/"kind":"waiting"/);
    expect((await api(c.port, 'PUT', `/tokens/${token}/job`, { jobId: '7' })).status).toBe(200);
    await page.until(/"kind":"queued"/);
    await api(a.port, 'POST', '/jobs', [{ id: '7', state: 'PENDING', position: 4 }]);
    await page.until(/place 4|"kind":"queued".*\b4\b/);
    await api(c.port, 'PUT', `/tokens/${token}/phase`, { phase: 'jupyter' });
    await page.until(/"kind":"starting"/);
    const redeem = await api(a.port, 'POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1);
    expect(redeem.status).toBe(200);
    await page.until(/"kind":"live"/);
    for (const { port } of all) expect(live(await becomesLive(port, token))).toBe(true);
    // Only the host that has redeemed it, wherever it asks.
    expect((await api(c.port, 'DELETE', `/tokens/${token}`, undefined, NODE2)).status).toBe(403);
    // Its end closes what is open elsewhere.
    const stuck = await notebook(() => undefined);
    const other = await redeemed(b.port, stuck.port);
    await until(
      () => api(a.port, 'GET', `/tokens/${other}`),
      (answer) => answer.json().state === 'mapped',
    );
    const open = await wire(a.port);
    open.send(`GET / HTTP/1.1\r\nHost: ${siteHost(other)}\r\n\r\n`);
    await once(stuck, 'request');
    await api(c.port, 'DELETE', `/tokens/${other}`, undefined, NODE1);
    await open.ended();
    // The end of a job that was reported to one ends the site of another.
    await api(b.port, 'POST', '/jobs', [{ id: '7', state: 'COMPLETED' }]);
    for (const { port } of all) {
      const answer = await until(
        () => visit(port, token),
        ({ status }) => status === 410,
      );
      expect([answer.status, answer.body]).toEqual([410, expect.stringContaining('The job has ended')]);
    }
  });

  test('a link and the end of its job that come in at two satellites at once end the token', async () => {
    const { all } = await satellites(2);
    const [a, b] = all as [TestSatellite, TestSatellite];
    const tokens = await Promise.all(Array.from({ length: 20 }, () => issue(a.port)));
    await Promise.all(
      tokens.flatMap((token, i) => [
        api(a.port, 'PUT', `/tokens/${token}/job`, { jobId: String(i) }),
        api(b.port, 'POST', '/jobs', [{ id: String(i), state: 'FAILED' }]),
      ]),
    );
    for (const token of tokens) {
      const look = () => api(a.port, 'GET', `/tokens/${token}`);
      expect((await until(look, (answer) => answer.json().state === 'gone')).json().state).toBe('gone');
    }
  });

  test('a token is redeemed once, however many want it at however many satellites', async () => {
    const { all } = await satellites(3);
    const upstreams = await Promise.all(
      [0, 1, 2].map((i) => notebook((_request, response) => response.end(`notebook ${i}`))),
    );
    const tokens = await Promise.all(Array.from({ length: 30 }, (_, i) => issue(all[i % 3]?.port ?? 0)));
    const tries = await Promise.all(
      tokens.map((token) =>
        Promise.all(
          all.map(({ port }, i) =>
            api(port, 'POST', `/tokens/${token}/redeem`, { port: upstreams[i]?.port }, NODE1),
          ),
        ),
      ),
    );
    for (const [i, answers] of tries.entries()) {
      expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409, 409]);
      const winner = answers.findIndex(({ status }) => status === 200);
      for (const { port } of all) {
        const answer = await until(
          () => visit(port, tokens[i] ?? ''),
          ({ body }) => body.startsWith('notebook'),
        );
        expect(answer.body).toBe(`notebook ${winner}`);
      }
    }
  });

  test('a notification that is lost leaves no dead site live, and no live one unknown', async () => {
    const upstream = await answering();
    const { all, state } = await satellites(2);
    const [a, b] = all as [TestSatellite, TestSatellite];
    await deafen(state);
    for (let i = 0; i < 3; i += 1) {
      const token = await issue(a.port);
      // At once: who asks for a name is not told that it is unknown before the database was asked.
      expect((await visit(b.port, token)).status).toBe(200);
      expect((await api(b.port, 'PUT', `/tokens/${token}/job`, { jobId: `${i}` })).status).toBe(200);
      expect(
        (await api(a.port, 'POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1)).status,
      ).toBe(200);
      expect(live(await becomesLive(b.port, token))).toBe(true);
      expect((await api(a.port, 'DELETE', `/tokens/${token}`, undefined, NODE1)).status).toBe(204);
      const after = await until(
        () => visit(b.port, token),
        ({ status }) => status === 410,
      );
      expect(after.status).toBe(410);
    }
  });

  test('strangers who try names make no flood of questions', async () => {
    const { all, state, events } = await satellites(1, { limits: { unknownNamesPerMinute: 20 } });
    const port = all[0]?.port ?? 0;
    await server.sql(`ALTER DATABASE ${databaseOf(state)} SET log_statement = 'all'`);
    await server.terminate(state);
    await logged(events, 'database-back', 1);
    const questions = async (): Promise<number> =>
      (await readFile(server.log, 'utf8')).split('SELECT kind, id, value').length;
    const before = await questions();
    const started = performance.now();
    const answers = await Promise.all(
      Array.from({ length: 600 }, (_, i) =>
        visit(port, `no-such-name-${'abcdefghij'[i % 10]}`, { path: '/api', from: `127.3.${i % 30}.1` }),
      ),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([404]));
    // One in 20 ms, however many ask.
    const most = (performance.now() - started) / 20 + 2;
    const asked = (await questions()) - before;
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThanOrEqual(most);
  });

  test('while the database is away what is live stays live, changes are refused, and all is well by itself', async () => {
    const upstream = await answering();
    const { all, events } = await satellites(2, { metricsListen: '127.0.0.1:0' });
    const [a, b] = all as [TestSatellite, TestSatellite];
    const [site, pending] = [await redeemed(a.port, upstream.port), await issue(a.port)];
    expect(live(await becomesLive(b.port, site))).toBe(true);
    // News that is on its way when the database goes is lost with it.
    await until(
      () => api(b.port, 'GET', `/tokens/${pending}`),
      ({ status }) => status === 200,
    );
    await server.down();
    cleanup(() => server.up());
    await logged(events, 'database-away', 2);
    for (const { port } of all) {
      expect(live(await visit(port, site))).toBe(true);
      const issued = await ask(port, { path: '/getlink.cgi' });
      expect([issued.status, issued.body]).toEqual([503, expect.stringMatching(/^Oops! /)]);
      const redeem = await api(port, 'POST', `/tokens/${pending}/redeem`, { port: upstream.port }, NODE1);
      expect([redeem.status, redeem.json().error]).toEqual([
        503,
        expect.objectContaining({ code: 'state-error' }),
      ]);
      expect((await api(port, 'GET', `/tokens/${pending}`)).json().state).toBe('pending');
      // Whether there is such a name nobody can say.
      expect((await visit(port, 'no-such-name', { path: '/api' })).status).toBe(503);
      expect((await api(port, 'GET', '/tokens/no-such-name')).status).toBe(503);
      const health = await until(
        () => ask(port, { path: '/healthz', from: OUTSIDE }),
        ({ status }) => status === 503,
      );
      expect(health.body).toContain('can not be written');
      expect((await ask(port, { path: '/livez', from: OUTSIDE })).status).toBe(200);
    }
    const metrics = async (): Promise<number> => {
      const { body } = await ask(a.metricsAddress?.port ?? 0, { path: '/metrics', from: OUTSIDE });
      return Number(/^satellite_news_age_seconds (.*)$/m.exec(body)?.[1]);
    };
    const age = await metrics();
    expect(await metrics()).toBeGreaterThan(age);
    await server.up();
    await logged(events, 'database-back', 2);
    expect((await visit(b.port, 'no-such-name', { path: '/api' })).status).toBe(404);
    const redeem = await api(b.port, 'POST', `/tokens/${pending}/redeem`, { port: upstream.port }, NODE1);
    expect(redeem.status).toBe(200);
    expect(live(await becomesLive(a.port, pending))).toBe(true);
    expect(JSON.stringify(events)).not.toContain('internal-error');
  });

  test('a database that stands still is given up, and what it does with its last orders is known to all', async () => {
    const upstream = await answering();
    const { all, state } = await satellites(2);
    const [a, b] = all as [TestSatellite, TestSatellite];
    const [site, pending] = [await redeemed(a.port, upstream.port), await issue(a.port)];
    await server.signal('SIGSTOP');
    const redeem = await api(
      a.port,
      'POST',
      `/tokens/${pending}/redeem`,
      { port: upstream.port },
      NODE1,
    ).finally(() => server.signal('SIGCONT'));
    expect(redeem.status).toBe(503);
    expect(live(await visit(a.port, site))).toBe(true);
    // Who can say that there is no such name has heard of everything before.
    for (const { port } of all)
      await until(
        () => api(port, 'GET', '/tokens/no-such-name'),
        ({ status }) => status === 404,
      );
    const states = await Promise.all(
      all.map(async ({ port }) => (await api(port, 'GET', `/tokens/${pending}`)).json().state),
    );
    const [row] = await server.sql(
      `SELECT value ->> 'state' AS state FROM satellite.entries WHERE id = '${pending}'`,
      databaseOf(state),
    );
    expect(states).toEqual([row?.state, row?.state]);
    expect((await api(b.port, 'POST', '/tokens')).status).toBe(201);
  });

  test('connections that break at any moment lose nothing that was answered, and keep nothing that was refused', async () => {
    const { all, state } = await satellites(2);
    const answered: { token: string; port: number; status: number }[] = [];
    const failures = new Set<number>();
    let isOver = false;
    const worker = async (n: number): Promise<void> => {
      for (let i = 0; !isOver; i += 1) {
        const { port } = all[(n + i) % 2] as TestSatellite;
        const issued = await api(port, 'POST', '/tokens');
        if (issued.status !== 201) {
          failures.add(issued.status);
          await pause(5);
          continue;
        }
        const { token } = issued.json<{ token: string }>();
        const target = 20_000 + n * 1000 + (i % 1000);
        const redeem = await api(
          all[n % 2]?.port ?? 0,
          'POST',
          `/tokens/${token}/redeem`,
          { port: target },
          NODE1,
        );
        answered.push({ token, port: target, status: redeem.status });
      }
    };
    const workers = [0, 1, 2, 3, 4, 5].map(worker);
    for (let i = 0; i < 8; i += 1) {
      await more(answered, 8);
      await server.terminate(state);
    }
    isOver = true;
    await Promise.all(workers);
    const rows = await server.sql(
      "SELECT id, value FROM satellite.entries WHERE kind = 'token'",
      databaseOf(state),
    );
    const kept = new Map(rows.map(({ id, value }) => [id, value as TokenRecord]));
    expect([...failures].every((status) => status === 503)).toBe(true);
    for (const { token, port, status } of answered) {
      const record = kept.get(token);
      if (status === 200) expect(record).toMatchObject({ state: 'mapped', port });
      // The database had the last word on each: a refusal is one.
      else expect([status, record?.state]).toEqual([503, 'pending']);
    }
  });

  test('satellites that are killed at any moment lose nothing that was answered', {
    timeout: 300_000,
  }, async () => {
    const state = await server.database();
    const folder = await scratch();
    const start = async (i: number): Promise<{ child: Program; port: number }> => {
      const child = run([
        ...satelliteCommand,
        ...serveArguments,
        ...['--listen', '127.0.0.1:0', '--state', state, '--status-socket', join(folder, `${i}.sock`)],
      ]);
      return { child, port: Number((await child.logged('listening')).port) };
    };
    const all = await Promise.all([0, 1, 2].map(start));
    /** What was answered, by token: the model. */
    const told = new Map<string, { state: string; port?: number }>();
    const answers: number[] = [];
    const inDoubt = new Set<string>();
    let isOver = false;
    const worker = async (n: number): Promise<void> => {
      for (let i = 0; !isOver; i += 1) {
        const at = () => all[Math.floor(Math.random() * 3)]?.port ?? 0;
        const attempt = (work: Promise<Answer>): Promise<number> =>
          work.then(
            ({ status }) => status,
            () => 0,
          );
        let token = '';
        const issued = await api(at(), 'POST', '/tokens').catch(() => undefined);
        if (issued?.status !== 201) {
          await pause(10);
          continue;
        }
        ({ token } = issued.json<{ token: string }>());
        told.set(token, { state: 'pending' });
        const port = 20_000 + n * 1000 + (i % 1000);
        const redeem = await attempt(api(at(), 'POST', `/tokens/${token}/redeem`, { port }, NODE1));
        answers.push(redeem);
        if (redeem === 200) told.set(token, { state: 'mapped', port });
        else inDoubt.add(token);
        if (i % 3 !== 0 || redeem !== 200) continue;
        const destroy = await attempt(api(at(), 'DELETE', `/tokens/${token}`, undefined, NODE1));
        if (destroy === 204) told.set(token, { state: 'gone' });
        else inDoubt.add(token);
      }
    };
    const workers = [0, 1, 2, 3].map(worker);
    for (let i = 0; i < 5; i += 1) {
      const victim = all[i % 3] as { child: Program };
      await more(answers, 15);
      const ended = once(victim.child, 'close');
      victim.child.kill('SIGKILL');
      await ended;
      // Two carry on meanwhile.
      await more(answers, 15);
      all[i % 3] = await start(i % 3);
    }
    isOver = true;
    await Promise.all(workers);
    const [port] = [all[0]?.port ?? 0];
    for (const [token, expected] of told) {
      const record = (await api(port, 'GET', `/tokens/${token}`)).json<{ state: string }>();
      // What got no answer may have been done: never less than what was answered before.
      if (inDoubt.has(token))
        expect(['pending', 'mapped', 'gone'].indexOf(record.state)).toBeGreaterThanOrEqual(
          ['pending', 'mapped', 'gone'].indexOf(expected.state),
        );
      else expect(record.state).toBe(expected.state);
    }
    const rows = await server.sql(
      "SELECT id, value FROM satellite.entries WHERE kind = 'token'",
      databaseOf(state),
    );
    for (const { id, value } of rows) {
      const expected = told.get(String(id));
      if (expected?.port !== undefined) expect((value as TokenRecord).port).toBe(expected.port);
    }
  });

  test('a state that was restored from something older is taken as it is', async () => {
    const upstream = await answering();
    const { all, state, events } = await satellites(1);
    const port = all[0]?.port ?? 0;
    const [kept, lost] = [await redeemed(port, upstream.port), await redeemed(port, upstream.port)];
    await server.sql(
      `DELETE FROM satellite.entries WHERE id = '${lost}'; UPDATE satellite.meta SET seq = 2`,
      databaseOf(state),
    );
    await server.terminate(state);
    await logged(events, 'database-back', 1);
    expect(live(await visit(port, kept))).toBe(true);
    expect((await visit(port, lost, { path: '/api' })).status).toBe(404);
  });

  test('that others have other settings is said once, with the keys, and not of who is no more', async () => {
    const { all, state, events } = await satellites(1, behindFront);
    const folder = await scratch();
    const start = async (name: string, config: Partial<SatelliteConfigInput>) => {
      const said: Record<string, unknown>[] = [];
      const settings = { state, statusSocket: join(folder, name), ...behindFront, ...config };
      const proxy = await satellite(settings, { log: (entry) => said.push(entry) });
      return { proxy, differ: () => said.filter(({ event }) => event === 'settings-differ') };
    };
    const other = { tokenTtl: '1h', routes: { 'hub.test/secret-path': 'http://127.0.0.1:9' } };
    const second = await start('2', other);
    expect(second.differ()).toEqual([
      { event: 'settings-differ', keys: ['tokenTtl', 'routes'], message: expect.any(String) },
    ]);
    await logged(events, 'settings-differ', 1);
    // The same in other words, with limits and a title of its own.
    const third = await start('3', {
      ...other,
      tokenTtl: '60m',
      title: 'Three',
      limits: { idleTime: '30s' },
    });
    const [kept] = await server.sql(
      "SELECT value FROM satellite.entries WHERE kind = 'settings'",
      databaseOf(state),
    );
    const digests = JSON.parse(Buffer.from(String(kept?.value), 'base64').toString()) as object;
    expect(Object.values(digests).filter((value) => !/^[0-9a-f]{16}$/.test(value))).toEqual([]);
    for (const proxy of [...all, second.proxy, third.proxy]) await proxy.close();
    const fourth = await start('4', { tokenTtl: '2h' });
    expect([second, third, fourth].map(({ differ }) => differ().length)).toEqual([1, 0, 0]);
    expect(events.filter(({ event }) => event === 'settings-differ')).toEqual([
      expect.objectContaining({ keys: ['tokenTtl', 'routes'] }),
    ]);
  });

  test('signed in at one, a visitor is let in at all, and out', async () => {
    const folder = await scratch();
    const [users, keyFile] = [join(folder, 'users'), join(folder, 'keys')];
    await writeFile(users, line('alice') + line('bob'));
    await writeFile(keyFile, `${'5e'.repeat(32)}\n`, { mode: 0o600 });
    const { all } = await satellites(3, { ...behindFront, auth: { htpasswd: users, keyFile } });
    let turn = 0;
    // Whatever he asks, another one answers.
    const oneAddress = {
      get port() {
        turn += 1;
        return all[turn % 3]?.port ?? 0;
      },
    };
    const upstream = await notebook((request, response) =>
      response.end(`in: ${request.headers.authorization}`),
    );
    const [a, b, c] = all as [TestSatellite, TestSatellite, TestSatellite];
    const { token, url } = await gated(a, upstream.port);
    await heardBy(all, token);
    const alice = new Person(oneAddress);
    const page = await alice.signIn(await alice.open(url), 'alice');
    expect([page.status, page.body]).toEqual([200, `in: token ${'.'.repeat(JUPYTER_TOKEN.length)}`]);
    const bob = new Person(oneAddress);
    expect((await bob.signIn(await bob.open(url), 'bob')).status).toBe(403);
    // Shared through one, open at another; a code that leads in works once, wherever.
    const share = await api(b.port, 'PUT', `/tokens/${token}/access`, {
      jupyterToken: JUPYTER_TOKEN,
      sharedWith: ['bob'],
    });
    expect(share.status).toBe(200);
    const shared = await until(
      () => new Person(c).ask(url, { headers: { Cookie: bob.cookie(siteHost(token)) } }),
      ({ status }) => status === 200,
    );
    expect(shared.status).toBe(200);
    const theft = await api(c.port, 'PUT', `/tokens/${token}/access`, {
      jupyterToken: 'another-token-of-somebody',
    });
    expect(theft.status).toBe(403);
    // Signed out at one, out everywhere.
    const cookie = alice.cookie(siteHost(token));
    await alice.signOut();
    for (const proxy of [a, b, c]) {
      const after = await until(
        () => new Person(proxy).ask(url, { headers: { Cookie: cookie } }),
        ({ status }) => status === 401,
      );
      expect(after.status).toBe(401);
    }
    // One with other keys could read nothing of this.
    const otherKeys = join(folder, 'others');
    await writeFile(otherKeys, `${'ab'.repeat(32)}\n`, { mode: 0o600 });
    const state = await server.database();
    await satellite({
      ...behindFront,
      state,
      statusSocket: join(folder, 'x.sock'),
      auth: { htpasswd: users, keyFile },
    });
    await expect(
      satellite({
        ...behindFront,
        state,
        statusSocket: join(folder, 'y.sock'),
        auth: { htpasswd: users, keyFile: otherKeys },
      }),
    ).rejects.toThrow(/auth.keyFile: the satellites that share this state have other keys/);
  });

  test('a sign-in at a provider begins at one, ends at another and holds at all, until it ends at all', async () => {
    // A refresh token that is used a second time ends everything it was for.
    const { at, people } = await provider({ rotateRefreshToken: true });
    for (const name of ['alice', 'bob']) people.set(name, { groups: [] });
    const folder = await scratch();
    const [clientSecretFile, keyFile] = [join(folder, 'secret'), join(folder, 'keys')];
    await writeFile(clientSecretFile, CLIENT_SECRET, { mode: 0o600 });
    await writeFile(keyFile, `${'5e'.repeat(32)}\n`, { mode: 0o600 });
    const oidc = { issuer: at, clientId: 'satellite', clientSecretFile, recheck: '1ms' };
    const { all, state, events } = await satellites(3, { ...behindFront, auth: { oidc, keyFile } });
    // Browsers are faster than news.
    await deafen(state);
    const ports: number[] = [];
    const oneAddress = {
      get port() {
        const { port } = all[ports.length % 3] as TestSatellite;
        ports.push(port);
        return port;
      },
    };
    const upstream = await answering();
    const { token, url } = await gated(all[0] as TestSatellite, upstream.port);
    await heardBy(all, token);
    const alice = new Person(oneAddress);
    let begun = 0;
    const page = await alice.open(`${url}lab?x=1`, {}, async (to) => {
      begun = ports.at(-1) ?? 0;
      return signingInAs('alice')(to);
    });
    expect([page.status, page.body, page.url.href]).toEqual([200, 'the notebook', `${url}lab?x=1`]);
    const callback = page.trail.findIndex(({ headers }) => headers.location?.includes('/enter?code='));
    expect(ports[callback]).not.toBe(begun);
    const cookie = alice.cookie(siteHost(token));
    const statuses = () =>
      Promise.all(
        all.map(async (proxy) => (await new Person(proxy).ask(url, { headers: { Cookie: cookie } })).status),
      );
    // Each asks the provider whether she may still come in, at the same time.
    for (let i = 0; i < 2; i += 1) expect(await statuses()).toEqual([200, 200, 200]);
    const bob = await new Person(oneAddress).open(url, {}, signingInAs('bob'));
    expect([bob.status, bob.body]).toEqual([
      403,
      expect.stringContaining('signed in as <strong>bob</strong>'),
    ]);
    // The answer to a page of hers that another browser brings along.
    const stolen = await new Person(oneAddress).open(`https://${SIGN_IN_HOST}/`, {}, async (to) => {
      const back = await signingInAs('alice')(to);
      expect((await new Person(oneAddress).open(back)).status).toBe(403);
      return back;
    });
    expect(stolen.body).toContain('as alice.');
    const out = await alice.ask(`https://${SIGN_IN_HOST}/sign-out`, {
      method: 'POST',
      headers: { Origin: `https://${SIGN_IN_HOST}`, 'Sec-Fetch-Site': 'same-origin' },
    });
    expect(out.headers.location).toContain(`${at}/session/end`);
    for (const proxy of all) {
      const after = await until(
        () => new Person(proxy).ask(url, { headers: { Cookie: cookie } }),
        ({ status }) => status === 401,
      );
      expect(after.status).toBe(401);
    }
    // Whom the provider forgets is out at all of them.
    const again = new Person(oneAddress);
    expect((await again.open(url, {}, signingInAs('alice'))).status).toBe(200);
    people.delete('alice');
    for (const proxy of all)
      await until(
        () => new Person(proxy).ask(url, { headers: { Cookie: again.cookie(siteHost(token)) } }),
        ({ status }) => status === 401,
      );
    expect(JSON.stringify(events)).not.toContain('internal-error');
  });

  test('moves from a file to a database and back, with everything', async () => {
    const folder = await scratch();
    const [file, back] = [join(folder, 'state.sqlite'), join(folder, 'back.sqlite')];
    const state = await server.database();
    const proxy = await satellite({ state: file });
    const upstream = await answering();
    const [site, pending] = [await redeemed(proxy.port, upstream.port), await issue(proxy.port)];
    await api(proxy.port, 'POST', '/jobs', [{ id: '1', state: 'PENDING' }]);
    await proxy.close();
    const config = join(folder, 'satellite.yaml');
    await writeFile(config, JSON.stringify({ domain: DOMAIN, tls: 'off', state }));
    const there = await outcome('copy-state', file, '--config', config);
    expect(there).toEqual({ code: 0, lines: ['Copied 2 tokens, 1 jobs and 0 sealed entries.'] });
    const silent = () => undefined;
    await expect(copyState(file, state, silent)).rejects.toThrow(/There are tokens in .* already/);
    const second = await satellite({ state, statusSocket: join(folder, 's') });
    expect(live(await visit(second.port, site))).toBe(true);
    await expect(copyState(state, back, silent)).rejects.toThrow(/is in use; stop all satellites/);
    await second.close();
    expect(await copyState(state, back, silent)).toEqual({ tokens: 2, jobs: 1, secrets: 0 });
    const third = await satellite({ state: back });
    expect(live(await visit(third.port, site))).toBe(true);
    expect((await api(third.port, 'GET', `/tokens/${pending}`)).json().state).toBe('pending');
  });

  test('over TLS and with a password from a file, and to nobody but the right server', async () => {
    const state = await server.database();
    const database = databaseOf(state);
    const password = `p${randomBytes(12).toString('hex')}`;
    // The rights that docs/scaling.md gives it, and no more.
    await server.sql(
      `CREATE ROLE remote LOGIN PASSWORD '${password}';
       REVOKE ALL ON DATABASE ${database} FROM PUBLIC; GRANT CONNECT ON DATABASE ${database} TO remote;
       REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE SCHEMA satellite AUTHORIZATION remote`,
      database,
    );
    const passfile = join(await scratch(), 'passfile');
    const write = (text: string) =>
      writeFile(passfile, `# by host\nother:*:*:remote:x\nlocalhost:*:*:remote:${text}\n`, { mode: 0o600 });
    const at = (host: string, more = `&sslrootcert=${server.certificate}`) =>
      `postgresql://remote@${host}:${server.port}/${database}?sslmode=verify-full&passfile=${passfile}${more}`;
    const said: string[] = [];
    const start = (address: string) =>
      satellite(
        { state: address, statusSocket: `${passfile}.sock` },
        { log: (entry) => said.push(JSON.stringify(entry)) },
      );
    const failure = (address: string): Promise<string> =>
      start(address).then(
        () => 'it started',
        ({ message }: Error) => message,
      );
    await write('not-the-password');
    const wrong = await failure(at('localhost'));
    expect(wrong).toMatch(/The password is wrong.*passfile/);
    await writeFile(passfile, '# nobody yet\n', { mode: 0o600 });
    expect(await failure(at('localhost'))).toMatch(/the server wants a password.*passfile/);
    await write(password);
    expect(await failure(at('127.0.0.1'))).toMatch(/altnames|not in the cert/i);
    const untrusted = await failure(at('localhost', ''));
    expect(untrusted).toMatch(/self.signed.*sslrootcert=FILE/);
    expect(untrusted).not.toMatch(/Node/);
    expect(await failure(at('localhost', `&sslrootcert=${passfile}.none`))).toMatch(
      /sslrootcert: .*\.none can't be read: there is no such file\.$/,
    );
    expect((await api((await start(at('localhost'))).port, 'POST', '/tokens')).status).toBe(201);
    // As if the system knew its authority.
    const serve = [...satelliteCommand, ...serveArguments, '--listen', '127.0.0.1:0'];
    await run([...serve, '--state', at('localhost', ''), '--status-socket', `${passfile}.system`], {
      ...process.env,
      SSL_CERT_FILE: server.certificate,
    }).logged('listening');
    expect(`${said} ${wrong}`).not.toMatch(new RegExp(`${password}|not-the-password`));
  });

  test('a password that others could read is refused', async () => {
    const config = join(await scratch(), 'satellite.yaml');
    const state = 'postgresql://me:secret-of-mine@localhost/satellite';
    await writeFile(config, JSON.stringify({ domain: DOMAIN, tls: 'off', state }), { mode: 0o644 });
    const both = await Promise.all([
      outcome(...serveArguments, '--state', state),
      outcome('serve', '--config', config),
    ]);
    expect(both).toEqual([
      { code: 3, lines: [expect.stringMatching(/--state: everybody on this host can read a password here/)] },
      { code: 3, lines: [expect.stringMatching(/has a password in it.*chmod 600/)] },
    ]);
    expect(JSON.stringify(both)).not.toContain('secret-of-mine');
  });

  test('that can not be used: one line says what to do', async () => {
    const refused = (state: string) => expect(satellite({ state })).rejects;
    const state = await server.database();
    await refused(server.url('nothing')).toThrow(/^Could not open the state in postgresql:.*createdb/);
    await refused('postgresql:///state?host=/nowhere').toThrow(/with its socket in this directory/);
    await (await openStore(state, () => undefined)).close();
    await server.sql('UPDATE satellite.meta SET version = 7', databaseOf(state));
    await refused(state).toThrow(/another version of satellite \(schema 7/);
    await server.sql(`ALTER DATABASE ${databaseOf(state)} SET default_transaction_read_only = on`);
    await server.sql('BEGIN READ WRITE; UPDATE satellite.meta SET version = 1; COMMIT', databaseOf(state));
    await refused(state).toThrow(/It is a standby, or was made read-only/);
  });
});
