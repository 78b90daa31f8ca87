import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { parseConfig, type SatelliteConfigInput } from '../src/config.ts';
import { importOriginal } from '../src/operation/import.ts';
import { api, ask, DOMAIN, NODE1, notebook, satellite, scratch, visit } from './support.ts';

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
  // Not into a state that is in use.
  await expect(importOriginal(file, parseConfig(config))).rejects.toThrow(/Another satellite is using it/);
});

test('another database is refused', async () => {
  const folder = await scratch();
  new DatabaseSync(join(folder, 'other.sqlite')).exec('CREATE TABLE x (y)');
  const config = parseConfig({ domain: DOMAIN, tls: 'off', state: ':memory:' });
  for (const name of ['other.sqlite', 'missing.sqlite'])
    await expect(importOriginal(join(folder, name), config)).rejects.toThrow(/not a state of the original/);
});
