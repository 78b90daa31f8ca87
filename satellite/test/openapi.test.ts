import { rename } from 'node:fs/promises';
import { Validator } from '@seriousme/openapi-schema-validator';
import { expect, test } from 'vitest';
import { routes } from '../src/management/api.ts';
import { api, ask, issue, LOGIN, NODE1, NODE2, OUTSIDE, satellite, scratch, wire } from './support.ts';

const UNKNOWN = 'no-such-name';

interface Document {
  readonly openapi: string;
  readonly servers: readonly { url: string }[];
  readonly paths: Record<string, Record<string, { responses: Record<string, object>; requestBody?: object }>>;
}

test('the document is of the routes that there are', async () => {
  const { port, manageUrl } = await satellite();
  const answer = await ask(port, { path: '/api/v1/openapi.json', from: OUTSIDE });
  const document = answer.json<Document>();
  expect([answer.status, document.openapi, document.servers]).toEqual([
    200,
    '3.1.1',
    [{ url: `${manageUrl}api/v1` }],
  ]);
  for (const { path, methods } of routes)
    expect(Object.keys(document.paths[path] ?? {})).toEqual(
      Object.keys(methods).map((method) => method.toLowerCase()),
    );
  const redeem = document.paths['/tokens/{token}/redeem']?.post?.requestBody;
  expect(JSON.stringify(redeem)).toMatch(/"port":\{"type":"integer","minimum":1024,"maximum":65535\}/);
  // Every reference leads somewhere.
  for (const [, name] of answer.body.matchAll(/"#\/components\/schemas\/(\w+)"/g))
    expect(Object.keys(answer.json<{ components: { schemas: object } }>().components.schemas)).toContain(
      name,
    );
});

/*
 * That nothing comes which isn't described is checked at every call in these tests (support.ts); this is the other way
 * round.
 */
test('the document is one by the rules of OpenAPI 3.1', async () => {
  const { port } = await satellite();
  const document = (await api(port, 'GET', '/openapi.json')).json();
  const validator = new Validator();
  expect(await validator.validate(document)).toEqual({ valid: true });
  expect(validator.version).toBe('3.1');
});

test('everything that it describes can happen', async () => {
  const state = `${await scratch()}/state.sqlite`;
  const asksWho = { trustedProxies: ['192.0.2.1'], auth: { header: 'X-Remote-User' } };
  const { port } = await satellite({ state, ...asksWho });
  const hasty = await satellite({ limits: { headerTime: '1s' }, ...asksWho });
  const limited = await satellite({ limits: { unknownNamesPerMinute: 1, tokensPerMinute: 1 } });
  const seen = new Set<string>();
  const call = async (
    method: string,
    path: string,
    token: string,
    body?: unknown,
    from: string = LOGIN,
    at = port,
  ) => {
    const { status } = await api(at, method, path.replace('{token}', token), body, from);
    seen.add(`${method} ${path} ${status}`);
    return status;
  };
  const slow = async (method: string, path: string) => {
    const client = await wire(hasty.port, LOGIN);
    client.send(
      `${method} /api/v1${path.replace('{token}', pending)} HTTP/1.1\r\nHost: manage.sites.test\r\nContent-Length: 9\r\n\r\n{`,
    );
    const status = /^HTTP\/1\.1 (\d+)/.exec(await client.ended())?.[1];
    seen.add(`${method} ${path} ${status}`);
  };
  const pending = await issue(port);
  const gone = await issue(port);
  await api(port, 'DELETE', `/tokens/${gone}`);
  const ungated = await issue(limited.port);
  await api(limited.port, 'GET', `/tokens/${UNKNOWN}`);
  const good: Record<string, unknown> = {
    '/tokens': { jupyterToken: 'x'.repeat(48) },
    '/tokens/{token}/destroy': {},
    '/tokens/{token}/renew': {},
    '/tokens/{token}/redeem': { port: 9000 },
    '/tokens/{token}/job': { jobId: '1' },
    '/tokens/{token}/phase': { phase: 'jupyter' },
    '/tokens/{token}/access': { jupyterToken: 'x'.repeat(48), owner: 'alice' },
    '/jobs': [],
  };

  const mapped = await issue(port);
  await api(port, 'POST', `/tokens/${mapped}/redeem`, { port: 9000 }, NODE1);

  await rename(state, `${state}.away`);
  await call('POST', '/tokens/{token}/renew', mapped, undefined, NODE1);
  for (const { path, methods } of routes) {
    for (const method of Object.keys(methods)) await call(method, path, pending, good[path]);
  }
  await rename(`${state}.away`, state);
  for (const { path, methods } of routes) {
    for (const method of Object.keys(methods)) {
      const body = method === 'GET' || method === 'DELETE' ? undefined : good[path];
      const token = await issue(port);
      await call(method, path, token, body, OUTSIDE);
      await call(method, path, token, body, NODE1);
      await call(method, path, token, body);
      await call(method, path, UNKNOWN, body);
      await call(method, path, gone, body);
      if (path === '/tokens/{token}/job') {
        await call(method, path, token, { jobId: '2' });
      }
      if (body !== undefined) {
        await call(method, path, pending, { jupyterToken: 5 });
        const large = 'x'.repeat(path === '/jobs' ? 17 << 20 : 100_000);
        await call(method, path, await issue(port), large);
        await slow(method, path);
        const headers = { 'Content-Type': 'text/plain' };
        const { status } = await ask(port, {
          method,
          path: `/api/v1${path.replace('{token}', pending)}`,
          headers,
          body: JSON.stringify(body),
        });
        seen.add(`${method} ${path} ${status}`);
      }
      await call(method, path, UNKNOWN, body, LOGIN, limited.port);
    }
  }
  // Redeemed already, and by another host.
  await call('POST', '/tokens/{token}/redeem', pending, { port: 9000 }, NODE1);
  await call('POST', '/tokens/{token}/redeem', pending, { port: 9000 }, NODE2);
  await call('POST', '/tokens/{token}/renew', mapped, undefined, NODE1);
  const access = '/tokens/{token}/access';
  await call('PUT', access, ungated, good[access], NODE1, limited.port);

  const document = (await api(port, 'GET', '/openapi.json')).json<Document>();
  const described = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { responses }]) =>
      Object.keys(responses).map((status) => `${method.toUpperCase()} ${path} ${status}`),
    ),
  );
  // A state of its own can always say which tokens there are; of a shared one, see integration/postgres.test.ts.
  const possible = described.filter((one) => one !== 'GET /tokens/{token} 503');
  expect([...seen].toSorted()).toEqual(possible.toSorted());
}, 60_000);
