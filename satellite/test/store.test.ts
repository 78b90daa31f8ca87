import { closeSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { JobRecord } from '../src/tokens/record.ts';
import { TokenRegistry } from '../src/tokens/registry.ts';
import { SqliteStore } from '../src/tokens/sqlite-store.ts';
import { DoubtError } from '../src/tokens/store.ts';
import { isEvent, journal } from './behind-haproxy.ts';
import { api, issue, satellite, scratch } from './support.ts';

const jobs = (count: number, state = 'R'): JobRecord[] =>
  Array.from({ length: count }, (_, i) => ({
    id: String(i),
    state,
    position: null,
    estimatedStart: null,
    reason: null,
    reportedAt: 1,
  }));

describe('a report of a whole queue', () => {
  test('leaves others their turns while it is written, and is written whole', async () => {
    const file = join(await scratch(), 'state.sqlite');
    const store = new SqliteStore(file);
    let done = false;
    const saved = store.save({ jobs: jobs(10_000) }).then(() => {
      done = true;
    });
    let turns = 0;
    while (!done) {
      await setImmediate();
      turns += 1;
    }
    await saved;
    expect(turns).toBeGreaterThan(20);
    await store.close();
    const again = new SqliteStore(file);
    expect(again.load().jobs).toHaveLength(10_000);
    await again.close();
  });

  test('is written to its end by a stop in the middle, with what came after it', async () => {
    const file = join(await scratch(), 'state.sqlite');
    const store = new SqliteStore(file);
    const saved = [store.save({ jobs: jobs(10_000) })];
    for (let i = 0; i < 3; i += 1) await setImmediate();
    saved.push(store.save({ jobs: jobs(1, 'CD') }));
    await store.close();
    await Promise.all(saved);
    const again = new SqliteStore(file);
    const states = again.load().jobs.map(({ state }) => state);
    expect([states.length, states.filter((state) => state === 'CD').length]).toEqual([10_000, 1]);
    await again.close();
  });

  test('that fails near its end changes nothing, and holds up nothing that comes after it', async () => {
    const store = new SqliteStore(':memory:');
    await store.save({ jobs: jobs(10) });
    const broken = jobs(1000, 'CD').map((job, i) => (i === 999 ? { ...job, state: null } : job));
    const failed = store.save({ jobs: broken as JobRecord[] });
    await setImmediate();
    const later = store.save({ jobs: jobs(1, 'PD') });
    await expect(failed).rejects.toThrow(/NOT NULL/);
    await later;
    expect(store.load().jobs.map(({ state }) => state)).toEqual(['PD', ...Array(9).fill('R')]);
    await store.close();
  });
});

test('what stood on a change that failed is looked at anew', async () => {
  const store = new SqliteStore(':memory:');
  const tokens = new TokenRegistry(store, 3600_000, (error) => {
    throw error;
  });
  const { token } = await tokens.issue();
  const broken = jobs(1000).map((job, i) => (i === 999 ? { ...job, position: 'x' } : job));
  const report = tokens.reportJobs(broken as unknown as JobRecord[]);
  const redeem = tokens.redeem(token, '10.0.0.1', 8888);
  // Both are being written by now, in the same transaction; what comes next waits for it.
  await setImmediate();
  const phase = tokens.setPhase(token, '10.0.0.1', 'jupyter', null);
  await expect(report).rejects.toThrow(/cannot store TEXT/);
  await expect(redeem).rejects.toThrow(/cannot store TEXT/);
  expect((await phase).ok).toBe(true);
  const expected = { state: 'pending', host: null, phase: 'jupyter' };
  expect(tokens.find(token)).toMatchObject(expected);
  expect(store.load().tokens).toEqual([expect.objectContaining(expected)]);
  await tokens.close();
});

test('a state of before tokens had claims is taken over', async () => {
  const file = join(await scratch(), 'state.sqlite');
  await new SqliteStore(file).close();
  const older = new DatabaseSync(file);
  older.exec('ALTER TABLE tokens DROP COLUMN claim');
  older.exec("INSERT INTO tokens (token, state, issuedAt) VALUES ('one-two-three', 'pending', 1)");
  older.close();
  const store = new SqliteStore(file);
  expect(store.load().tokens).toEqual([
    expect.objectContaining({ token: 'one-two-three', state: 'pending', claim: null }),
  ]);
  await store.close();
});

test('what the disk does not confirm is in doubt, and nothing is promised after it until a restart says what is there', async () => {
  const file = join(await scratch(), 'state.sqlite');
  const store = new SqliteStore(file);
  await store.save({ jobs: jobs(1) });
  // As a disk that fails: the store's own descriptor of its log is good for nothing any more.
  for (const name of readdirSync('/proc/self/fd')) {
    const isLog = linkOf(name) === `${file}-wal`;
    const flags = isLog ? readFileSync(`/proc/self/fdinfo/${name}`, 'latin1') : '';
    if (/^flags:\s+\d*0$/m.test(flags)) closeSync(Number(name));
  }
  await expect(store.save({ jobs: jobs(2) })).rejects.toThrow(DoubtError);
  await expect(store.save({ jobs: jobs(3) })).rejects.toThrow(/Could not write the state/);
  await expect(store.check()).rejects.toThrow(/Could not write the state/);
  await store.close().catch(() => undefined);
  const again = new SqliteStore(file);
  expect(again.load().jobs.length).toBeLessThan(3);
  await again.close();
});

test('that a state can not be written is said once, and once that it can be again, whoever notices', async () => {
  const state = join(await scratch(), 'state.sqlite');
  const { entries, log, when } = journal();
  const { port } = await satellite({ state, tokenTtl: '1500ms' }, { log });
  const away = () => rename(state, `${state}-away`);
  const back = () => rename(`${state}-away`, state);
  await away();
  for (let i = 0; i < 3; i += 1) expect((await api(port, 'POST', '/tokens')).status).toBe(503);
  await back();
  await when(isEvent('state-recovered'));
  // Nobody asks for anything: a token runs out.
  const from = entries.length;
  await issue(port);
  await away();
  expect(await when(isEvent('state-error'), from)).toMatchObject({
    message: expect.stringMatching(/was removed or replaced/),
  });
  await back();
  await when(isEvent('state-recovered'), from);
  const said = entries.map(({ event }) => event).filter((event) => event.startsWith('state-'));
  expect(said).toEqual(['state-error', 'state-recovered', 'state-error', 'state-recovered']);
});

function linkOf(descriptor: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    return undefined;
  }
}
