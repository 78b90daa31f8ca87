import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import {
  api,
  ask,
  DOMAIN,
  issue,
  LOGIN,
  NODE1,
  NODE2,
  OUTSIDE,
  redeemed,
  satellite,
  scratch,
} from './support.ts';

const UNKNOWN = 'no-such-name';

describe('tokens', () => {
  test('are issued to whoever announces a body and sends none, as a front does of HTTP/2', async () => {
    const { port } = await satellite();
    const headers = { 'Transfer-Encoding': 'chunked' };
    expect((await ask(port, { method: 'POST', path: '/api/v1/tokens', headers })).status).toBe(201);
  });

  test('issue, look, redeem, give back', async () => {
    const { port, siteUrl } = await satellite();
    const issued = await api(port, 'POST', '/tokens');
    const { token } = issued.json<{ token: string }>();
    expect(issued.status).toBe(201);
    expect(issued.headers['content-type']).toBe('application/json');
    expect(issued.json()).toEqual({
      token,
      site: `http://${token}.${DOMAIN}:${port}/`,
      state: 'pending',
      expiresAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      gated: false,
      claimed: false,
    });
    expect(siteUrl(token)).toBe(issued.json().site);

    const pending = (await api(port, 'GET', `/tokens/${token}`, undefined, OUTSIDE)).json();
    const { gated: _, claimed: __, ...common } = issued.json();
    expect(pending).toEqual({ ...common, job: null, phase: null, reason: null });

    const mapped = await api(port, 'POST', `/tokens/${token}.${DOMAIN}/redeem`, { port: 8888 }, NODE1);
    expect([mapped.status, mapped.json().state]).toEqual([200, 'mapped']);

    for (const from of [LOGIN, NODE2]) {
      const answer = await api(port, 'DELETE', `/tokens/${token}`, undefined, from);
      expect([answer.status, answer.json().error]).toEqual([
        403,
        expect.objectContaining({ code: 'other-host' }),
      ]);
    }
    for (let i = 0; i < 2; i += 1) {
      const answer = await api(port, 'DELETE', `/tokens/${token}`, undefined, NODE1);
      expect([answer.status, answer.body]).toEqual([204, '']);
    }
    expect((await api(port, 'GET', `/tokens/${token}`)).json()).toMatchObject({ state: 'gone' });
  });

  test.each([
    ['POST', '/tokens', undefined, OUTSIDE, 403, 'outside-network'],
    ['GET', '/tokens', undefined, LOGIN, 405, 'method-not-allowed'],
    ['GET', `/tokens/${UNKNOWN}`, undefined, LOGIN, 404, 'unknown-token'],
    ['GET', '/tokens/%2e%2e', undefined, LOGIN, 404, 'unknown-token'],
    ['DELETE', `/tokens/${UNKNOWN}`, undefined, LOGIN, 404, 'unknown-token'],
    ['DELETE', '/tokens/TOKEN', undefined, OUTSIDE, 403, 'outside-network'],
    ['POST', '/tokens/TOKEN/redeem', { port: 8888 }, OUTSIDE, 403, 'outside-network'],
    ['POST', '/tokens/TOKEN/redeem', { port: 1023 }, NODE1, 400, 'bad-request'],
    ['POST', '/tokens/TOKEN/redeem', {}, NODE1, 400, 'bad-request'],
    ['POST', `/tokens/${UNKNOWN}/redeem`, { port: 8888 }, NODE1, 404, 'unknown-token'],
    ['PUT', '/tokens/TOKEN/job', { jobId: '1' }, OUTSIDE, 403, 'outside-network'],
    ['PUT', '/tokens/TOKEN/job', { jobId: 'rm -rf /' }, LOGIN, 400, 'bad-request'],
    ['PUT', '/tokens/TOKEN/job', [], LOGIN, 400, 'bad-request'],
    ['PUT', '/tokens/TOKEN/phase', { phase: 'dancing' }, LOGIN, 400, 'bad-request'],
    ['PUT', '/tokens/TOKEN/phase', { phase: 'failed', reason: 7 }, LOGIN, 400, 'bad-request'],
    ['PUT', '/tokens/TOKEN/phase', { phase: 'failed' }, OUTSIDE, 403, 'outside-network'],
    ['POST', '/jobs', [], NODE1, 403, 'outside-network'],
    ['GET', '/jobs', undefined, NODE1, 403, 'outside-network'],
    ['POST', '/jobs', {}, LOGIN, 400, 'bad-request'],
    ['GET', '/nothing', undefined, LOGIN, 404, 'not-found'],
  ])('%s %s %j from %s: %i %s', async (method, path, body, from, status, code) => {
    const { port } = await satellite();
    const token = await issue(port);
    const answer = await api(port, method, path.replace('TOKEN', token), body, from);
    expect([answer.status, answer.json().error]).toEqual([
      status,
      { code, message: expect.stringMatching(/\.$|:/) },
    ]);
    expect((await api(port, 'GET', `/tokens/${token}`)).json()).toMatchObject({
      state: 'pending',
      phase: null,
    });
  });

  test('a token is redeemed once, and not after its end', async () => {
    const { port } = await satellite();
    const token = await redeemed(port, 8888);
    const redeem = () => api(port, 'POST', `/tokens/${token}/redeem`, { port: 9999 }, NODE2);
    expect((await redeem()).json().error).toMatchObject({ code: 'already-redeemed' });
    await api(port, 'DELETE', `/tokens/${token}`, undefined, NODE1);
    const late = await redeem();
    expect([late.status, late.json().error]).toEqual([410, expect.objectContaining({ code: 'gone' })]);
  });

  test.each([false, true])(
    'a claimed one is changed by nobody else on its host (after a restart: %s)',
    async (again) => {
      const state = join(await scratch(), 'state.sqlite');
      const first = await satellite({ state });
      const owner = { jupyterToken: 'o'.repeat(48) };
      const { token, claimed } = (await api(first.port, 'POST', '/tokens', owner)).json();
      expect(claimed).toBe(true);
      if (again) await first.close();
      const { port } = again ? await satellite({ state }) : first;
      const call = (method: string, path: string, body: object) =>
        api(port, method, `/tokens/${token}/${path}`, body, NODE1);
      const changes: [string, string, object][] = [
        ['PUT', 'job', { jobId: '4711' }],
        ['PUT', 'phase', { phase: 'failed', reason: 'not true' }],
        ['POST', 'redeem', { port: 9000 }],
        ['POST', 'renew', {}],
        ['POST', 'destroy', {}],
      ];
      const refusals = async () => {
        for (const [method, path, body] of changes)
          for (const proof of [{}, { jupyterToken: 's'.repeat(48) }]) {
            const { status, body: said } = await call(method, path, { ...body, ...proof });
            expect([path, status, JSON.parse(said).error.code]).toEqual([path, 403, 'not-yours']);
          }
        expect((await api(port, 'DELETE', `/tokens/${token}`, undefined, NODE1)).status).toBe(403);
        for (const path of [
          'redeemtoken.cgi?port=9000',
          'destroytoken.cgi?x=1',
          'linktoken.cgi?jobid=4711',
        ]) {
          const { body } = await ask(port, { path: `/${path}&token=${token}`, from: NODE1 });
          expect(body).toMatch(/^Oops! /);
        }
      };
      await refusals();
      expect((await call('POST', 'redeem', { port: 9000, ...owner })).status).toBe(200);
      await refusals();
      expect((await api(port, 'GET', `/tokens/${token}`)).json()).toMatchObject({
        state: 'mapped',
        job: null,
        phase: null,
      });
      expect((await call('POST', 'renew', owner)).status).toBe(200);
      expect((await call('PUT', 'phase', { phase: 'ended', ...owner })).status).toBe(200);
      // The other rules stand: the address, too, must be the one that redeemed it.
      expect((await api(port, 'POST', `/tokens/${token}/destroy`, owner, NODE2)).status).toBe(403);
      expect((await call('POST', 'destroy', owner)).status).toBe(204);
    },
  );

  test('a redeemed token lives on while the address that redeemed it says so', async () => {
    const { port } = await satellite({ tokenTtl: '1h' });
    const token = await redeemed(port, 8888);
    const expiry = async () =>
      Date.parse((await api(port, 'GET', `/tokens/${token}`)).json<{ expiresAt: string }>().expiresAt);
    const before = await expiry();
    for (const from of [NODE2, LOGIN, OUTSIDE])
      expect((await api(port, 'POST', `/tokens/${token}/renew`, undefined, from)).status).toBe(403);
    expect(await expiry()).toBe(before);
    while (Date.now() <= before - 3600_000) await setImmediate();
    const renewed = await api(port, 'POST', `/tokens/${token}/renew`, undefined, NODE1);
    expect([renewed.status, renewed.json().state]).toEqual([200, 'mapped']);
    expect(await expiry()).toBeGreaterThan(before);
  });

  test('sites point to the ports that they may, by both protocols', async () => {
    const { port } = await satellite({ sitePorts: '20000-20009' });
    const token = await issue(port);
    const redeem = (target: number) => api(port, 'POST', `/tokens/${token}/redeem`, { port: target }, NODE1);
    for (const target of [19999, 20010, 5432])
      expect((await redeem(target)).json().error).toMatchObject({ code: 'wrong-port' });
    const path = `/redeemtoken.cgi?token=${token}&port=19999`;
    expect((await ask(port, { path, from: NODE1 })).body).toBe(
      'Oops! Sites may point to ports from 20000 to 20009 only\n',
    );
    expect((await redeem(20009)).status).toBe(200);
  });

  test('one job, however often it is said', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const put = (jobId: unknown) => api(port, 'PUT', `/tokens/${token}/job`, { jobId });
    expect((await put('4711')).json().job).toEqual({
      id: '4711',
      state: null,
      position: null,
      estimatedStart: null,
      reason: null,
    });
    expect((await put(4711)).status).toBe(200);
    expect([(await put('4712')).status, (await put('4712')).json().error]).toEqual([
      409,
      expect.objectContaining({ code: 'already-linked' }),
    ]);
  });

  test('a body that is no JSON, too large, or sent the old way', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const path = `/api/v1/tokens/${token}/phase`;
    const put = (body: string, type: string, method = 'PUT') =>
      ask(port, { method, path, body, headers: { 'Content-Type': type } });
    expect((await put('phase=jupyter', 'application/json')).status).toBe(400);
    expect((await put(`"${'x'.repeat(70_000)}"`, 'application/json')).status).toBe(413);
    expect((await put('{"phase":"environment"}', 'application/x-www-form-urlencoded')).json().phase).toBe(
      'environment',
    );
    // wget before 1.15 can only POST.
    expect((await put('{"phase":"jupyter"}', 'application/x-www-form-urlencoded', 'POST')).json().phase).toBe(
      'jupyter',
    );
  });
});

describe('calls that are not quite right', () => {
  test.each([
    ['/tokens', 'POST, OPTIONS'],
    ['/tokens/TOKEN', 'GET, HEAD, DELETE, OPTIONS'],
    ['/tokens/TOKEN/redeem', 'POST, OPTIONS'],
    ['/tokens/TOKEN/job', 'PUT, POST, OPTIONS'],
    ['/jobs', 'GET, HEAD, POST, OPTIONS'],
    ['/openapi.json', 'GET, HEAD, OPTIONS'],
  ])('%s allows %s', async (path, allowed) => {
    const { port } = await satellite();
    const token = await issue(port);
    const call = (method: string) => api(port, method, path.replace('TOKEN', token));
    const options = await call('OPTIONS');
    expect([options.status, options.headers.allow, options.body]).toEqual([204, allowed, '']);
    const patch = await call('PATCH');
    expect([patch.status, patch.headers.allow]).toEqual([405, allowed]);
    expect(patch.json().error).toMatchObject({ code: 'method-not-allowed' });
  });

  test('HEAD is GET without its body', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const get = await api(port, 'GET', `/tokens/${token}`);
    const head = await api(port, 'HEAD', `/tokens/${token}`);
    expect([head.status, head.headers['content-length'], head.body]).toEqual([
      200,
      get.headers['content-length'],
      '',
    ]);
    expect((await api(port, 'HEAD', `/tokens/${UNKNOWN}`)).status).toBe(404);
  });

  test.each([
    [undefined, 200],
    ['application/json', 200],
    ['application/json; charset=UTF-8', 200],
    ['application/merge-patch+json', 200],
    ['application/x-www-form-urlencoded', 200],
    ['application/json; charset=utf-16', 415],
    ['text/plain', 415],
    ['multipart/form-data; boundary=x', 415],
    ['application/jsonx', 415],
  ])('a body of type %s: %i', async (type, status) => {
    const { port } = await satellite();
    const token = await issue(port);
    const answer = await ask(port, {
      method: 'PUT',
      path: `/api/v1/tokens/${token}/job`,
      ...(type !== undefined && { headers: { 'Content-Type': type } }),
      body: '{"jobId":"4711"}',
    });
    expect(answer.status).toBe(status);
  });

  test('a compressed body, and a page in a browser, change nothing', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const put = (headers: Record<string, string>) =>
      ask(port, {
        method: 'PUT',
        path: `/api/v1/tokens/${token}/job`,
        headers: { 'Content-Type': 'application/json', ...headers },
        body: '{"jobId":"4711"}',
      });
    expect((await put({ 'Content-Encoding': 'gzip' })).status).toBe(415);
    const page = await put({ Origin: `https://other-site-here.${DOMAIN}` });
    expect([page.status, page.json().error]).toEqual([
      403,
      expect.objectContaining({ code: 'cross-origin' }),
    ]);
    expect((await api(port, 'GET', `/tokens/${token}`)).json().job).toBe(null);
  });

  test('said twice: what is idempotent, and what is not', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const status = async (method: string, path: string, body?: unknown, from = NODE1) =>
      (await api(port, method, `/tokens/${token}${path}`, body, from)).status;
    const twice = async (...call: Parameters<typeof status>) => [
      await status(...call),
      await status(...call),
    ];
    expect(await twice('PUT', '/job', { jobId: '4711' })).toEqual([200, 200]);
    expect(await twice('PUT', '/job', { jobId: '4712' })).toEqual([409, 409]);
    expect(await twice('PUT', '/phase', { phase: 'jupyter' })).toEqual([200, 200]);
    // Once means once, also for who asks again because the first answer was lost: GET tells them how it went.
    expect(await twice('POST', '/redeem', { port: 8888 })).toEqual([200, 409]);
    expect(await status('POST', '/redeem', { port: 8888 }, NODE2)).toBe(409);
    expect(await status('DELETE', '', undefined, NODE2)).toBe(403);
    expect(await twice('DELETE', '')).toEqual([204, 204]);
    expect(await twice('PUT', '/job', { jobId: '4713' })).toEqual([409, 409]);
    expect(await twice('POST', '/redeem', { port: 8888 })).toEqual([410, 410]);
    expect(await status('GET', '')).toBe(200);
    expect((await api(port, 'POST', '/tokens')).json().token).not.toBe(token);
  });
});

describe('phases', () => {
  test('of a pending token come from any internal host, of a mapped one from its own', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const put = (phase: string, from: string, reason?: string) =>
      api(port, 'PUT', `/tokens/${token}/phase`, { phase, reason }, from);
    for (const phase of ['allocated', 'environment', 'jupyter', 'checking']) {
      expect((await put(phase, NODE2)).json()).toMatchObject({ phase, reason: null });
    }
    await api(port, 'POST', `/tokens/${token}/redeem`, { port: 8888 }, NODE1);
    expect((await put('failed', NODE2)).status).toBe(403);
    expect((await put('ended', NODE1, 'Idle for an hour')).json()).toMatchObject({
      state: 'mapped',
      phase: 'ended',
      reason: 'Idle for an hour',
    });
    await api(port, 'DELETE', `/tokens/${token}`, undefined, NODE1);
    expect((await api(port, 'GET', `/tokens/${token}`)).json()).toMatchObject({
      state: 'gone',
      phase: 'ended',
      reason: 'Idle for an hour',
    });
    expect((await put('jupyter', NODE1)).status).toBe(410);
  });

  test('a reason is cleaned and cut', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const reason = `\u001b[31mred\u001b[0m\r\nsecond\u0000 line\u202e ${'x'.repeat(3000)}`;
    const answer = await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'failed', reason });
    const kept = answer.json<{ reason: string }>().reason;
    expect(kept).toMatch(/^\[31mred \[0m\nsecond {2}line {2}x+$/);
    expect(kept).toHaveLength(2000);
  });
});

describe('jobs', () => {
  test('a report fills in what is known about a session', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '4711' });
    const report = {
      state: 'PENDING',
      position: 3,
      estimatedStart: '2031-05-06T09:08:07+02:00',
      reason: 'Priority',
    };
    expect((await api(port, 'POST', '/jobs', [{ id: '4711', ...report }])).json()).toEqual({
      updated: 1,
      skipped: [],
    });
    const look = async () => (await api(port, 'GET', `/tokens/${token}`)).json();
    expect((await look()).job).toEqual({ ...report, id: '4711', estimatedStart: '2031-05-06T07:08:07.000Z' });
    expect((await api(port, 'GET', '/jobs')).json()).toEqual([{ id: '4711', state: 'PENDING' }]);
    await api(port, 'POST', '/jobs', [{ id: '4711', state: 'TIMEOUT' }]);
    expect(await look()).toMatchObject({
      state: 'gone',
      phase: 'failed',
      reason: 'The time limit was reached.',
    });
    expect((await api(port, 'GET', '/jobs')).json()).toEqual([]);
  });

  test('thousands at once', async () => {
    const { port } = await satellite();
    const jobs = Array.from({ length: 20_000 }, (_, i) => ({
      id: String(i),
      state: 'PENDING',
      position: i + 1,
    }));
    expect((await api(port, 'POST', '/jobs', jobs)).json()).toEqual({ updated: 20_000, skipped: [] });
  });
});
