import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { parseConfig, type SatelliteConfigInput } from '../src/config.ts';
import { importOriginal } from '../src/operation/import.ts';
import { api, ask, DOMAIN, NODE1, NODE2, notebook, satellite, scratch, visit } from './support.ts';

/** A state as the original keeps it, with some rows. */
function original(
  file: string,
  proxies: (string | number | null)[][],
  jobs: (string | number)[][] = [],
): string {
  const db = new DatabaseSync(file);
  db.exec(`
    CREATE TABLE proxy (alias TEXT NOT NULL, alias_compare_hash TEXT NOT NULL, modified TIMESTAMP, dsthost TEXT,
      dstport INTEGER, dstpath TEXT, state TEXT NOT NULL, jobid TEXT);
    CREATE TABLE jobstates (jobid TEXT PRIMARY KEY, state TEXT NOT NULL, lastseen TIMESTAMP);`);
  const put = db.prepare("INSERT INTO proxy VALUES (?, 'x', ?, ?, ?, '/', ?, ?)");
  for (const row of proxies) put.run(...row);
  const putJob = db.prepare('INSERT INTO jobstates VALUES (?, ?, ?)');
  for (const row of jobs) putJob.run(...row);
  db.close();
  return file;
}

test("an original's sites go on where they were, and only those that may", async () => {
  const folder = await scratch();
  const upstream = await notebook((_request, response) => response.end('still here'));
  const now = new Date().toISOString().slice(0, 19).replace('T', ' ');
  const seconds = Math.floor(Date.now() / 1000);
  const file = original(
    join(folder, 'original.sqlite'),
    [
      ['one-two-three', now, NODE1, upstream.port, 'proxied', '11'],
      ['two-three-four', now, NODE1, upstream.port, 'mapped', null],
      ['yo-yo-t-shirt-four', now, null, null, 'pending', '12'],
      ['long-time-ago', '2001-01-01 00:00:00', NODE1, upstream.port, 'proxied', null],
      ['out-of-bounds', now, '192.0.2.1', 8888, 'proxied', null],
      ['low-port-number', now, NODE1, 22, 'mapped', null],
      ['odd-state-here', now, NODE1, 8888, 'broken', null],
      ['../etc/passwd', now, NODE1, 8888, 'mapped', null],
    ],
    [
      ['11', 'RUNNING', seconds],
      ['12', 'PENDING', seconds],
    ],
  );
  const config: SatelliteConfigInput = {
    domain: DOMAIN,
    tls: 'off',
    internalNetworks: ['127.21.0.0/16'],
    state: join(folder, 'state.sqlite'),
  };
  const done = await importOriginal(file, parseConfig(config));
  expect(done).toEqual({
    pending: 1,
    mapped: 3,
    jobs: 2,
    leftOut: [
      expect.stringMatching(/^out-…: it points to 192\.0\.2\.1/),
      expect.stringMatching(/^low-…: it points to port 22/),
      expect.stringMatching(/^odd-…: its state/),
      expect.stringMatching(/not a token/),
    ],
  });
  // Again changes nothing.
  expect(await importOriginal(file, parseConfig(config))).toMatchObject({ pending: 0, mapped: 0, jobs: 0 });

  const { port } = await satellite(config);
  for (const token of ['one-two-three', 'two-three-four'])
    expect((await visit(port, token)).body).toBe('still here');
  const waiting = 'yo-yo-t-shirt-four';
  expect((await ask(port, { path: `/tokenjobstate.cgi?token=${waiting}` })).body).toBe('Q');
  const redeem = await api(port, 'POST', `/tokens/${waiting}/redeem`, { port: upstream.port }, NODE1);
  expect(redeem.status).toBe(200);
  expect((await visit(port, waiting)).body).toBe('still here');
  expect((await api(port, 'GET', '/tokens/long-time-ago')).json().state).toBe('gone');
  // Each is destroyed by the host that had redeemed it, and by no other.
  const destroy = (token: string, from: string) => api(port, 'DELETE', `/tokens/${token}`, undefined, from);
  expect((await destroy('one-two-three', NODE2)).status).toBe(403);
  expect((await destroy('one-two-three', NODE1)).status).toBe(204);
  expect((await visit(port, 'one-two-three')).status).toBe(410);
  expect((await visit(port, 'two-three-four')).body).toBe('still here');
  // Not into a state that is in use.
  await expect(importOriginal(file, parseConfig(config))).rejects.toThrow(/Another satellite is using it/);
});

test('odd rows of a real one are left out, and named without their secrets', async () => {
  const folder = await scratch();
  const now = new Date().toISOString().slice(0, 19).replace('T', ' ');
  const file = original(
    join(folder, 'original.sqlite'),
    [
      ['twin-twin-twin', now, NODE1, 8888, 'mapped', null],
      ['twin-twin-twin', now, NODE2, 8888, 'mapped', null],
      ['by-a-tunnel', now, NODE1, null, 'proxied', null],
      ['no-time-known', null, NODE1, 8888, 'mapped', null],
      ['from-the-future', '2999-01-01 00:00:00', NODE1, 8888, 'mapped', '1'],
      ['by-a-name', now, 'c1.cluster', 8888, 'mapped', null],
      ['odd\u001b[31m-state-here', now, NODE1, 8888, '\u001b[31m', null],
      ['', now, null, null, 'pending', null],
    ],
    [
      ['1', 'RUN\u0007NING', now],
      ['-x0', 'RUNNING', now],
      ['2', '', now],
    ],
  );
  const config: SatelliteConfigInput = {
    domain: DOMAIN,
    tls: 'off',
    internalNetworks: ['127.21.0.0/16'],
    state: join(folder, 'state.sqlite'),
  };
  const done = await importOriginal(file, parseConfig(config));
  expect(done).toEqual({
    pending: 0,
    mapped: 1,
    jobs: 1,
    leftOut: [
      'twin-…: the name is there more than once',
      "by-…: it has no port; a reverse tunnel can't be taken over",
      "no-…: its time can't be read",
      'by-…: it points to c1.cluster, which is not in the internal networks',
      "odd [31m-…: its name is not a token's",
      "-…: its name is not a token's",
    ],
  });
  const { port } = await satellite(config);
  const { state, expiresAt } = (await api(port, 'GET', '/tokens/from-the-future')).json<
    Record<string, string>
  >();
  expect(state).toBe('mapped');
  expect(Date.parse(expiresAt ?? '')).toBeLessThan(Date.now() + 50 * 3600_000);
});

test('the first version, which knew of no jobs', async () => {
  const folder = await scratch();
  const file = join(folder, 'original.sqlite');
  const db = new DatabaseSync(file);
  db.exec(`
    CREATE TABLE proxy (alias TEXT NOT NULL, alias_compare_hash TEXT NOT NULL, modified TIMESTAMP DEFAULT
      CURRENT_TIMESTAMP, dsthost TEXT, dstport INTEGER, dstpath TEXT, state TEXT NOT NULL);
    INSERT INTO proxy (alias, alias_compare_hash, dsthost, dstport, dstpath, state)
      VALUES ('one-two-three', 'x', '${NODE1}', 8888, '/', 'proxied');`);
  db.close();
  const config = parseConfig({
    domain: DOMAIN,
    tls: 'off',
    internalNetworks: ['127.21.0.0/16'],
    state: join(folder, 'state.sqlite'),
  });
  expect(await importOriginal(file, config)).toEqual({ pending: 0, mapped: 1, jobs: 0, leftOut: [] });
});

test('another database is refused', async () => {
  const folder = await scratch();
  new DatabaseSync(join(folder, 'other.sqlite')).exec('CREATE TABLE x (y)');
  const config = parseConfig({ domain: DOMAIN, tls: 'off', state: ':memory:' });
  for (const name of ['other.sqlite', 'missing.sqlite'])
    await expect(importOriginal(join(folder, name), config)).rejects.toThrow(/not a state of the original/);
});

test('a state of this satellite is called what it is, whether somebody uses it or not', async () => {
  const folder = await scratch();
  const [own, other] = [join(folder, 'state.sqlite'), join(folder, 'other.sqlite')];
  const config = parseConfig({ domain: DOMAIN, tls: 'off', state: own });
  const [running, another] = [await satellite({ state: own }), await satellite({ state: other })];
  const link = join(folder, 'link.sqlite');
  await symlink(own, link);
  for (const file of [own, link])
    await expect(importOriginal(file, config)).rejects.toThrow(
      /\.sqlite is the state of this satellite itself: nothing has to be imported\.$/,
    );
  await expect(importOriginal(other, config)).rejects.toThrow(
    /other\.sqlite can't be read while another program uses it\. Stop the original first; .*copy-state/,
  );
  await another.close();
  await expect(importOriginal(other, config)).rejects.toThrow(
    /other\.sqlite is a state of this satellite already, not of the original\. .*copy-state/,
  );
  await running.close();
  await expect(importOriginal(own, config)).rejects.toThrow(/is the state of this satellite itself/);
});
