import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import { readArguments } from '../../bench/arguments.ts';
import { Report, type Row } from '../../bench/report.ts';
import { compare } from '../../bench/turns.ts';

const program = path.join(import.meta.dirname, '../../bench/cli.ts');

/** A trial run: what is measured on a busy machine says nothing, but that all of it was done without an error does. */
async function bench(...args: string[]): Promise<Map<string, Row>> {
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args, '--small', '--json']);
  const { rows, goals } = JSON.parse(stdout) as { rows: Row[]; goals: unknown[] };
  expect(goals, 'a trial judges nothing').toEqual([]);
  return new Map(rows.map((row) => [row.what, row]));
}

const programs = ['/usr/bin/h2load', '/usr/sbin/nginx'];
const obstacle =
  process.getuid?.() === 0 || programs.every(existsSync)
    ? undefined
    : 'h2load or nginx is missing, and only root can install them';
const leftOut = obstacle !== undefined && !process.env.START_JUPYTER_TEST_COMPLETE;

describe.skipIf(leftOut)(`with h2load${leftOut ? ` (left out: ${obstacle})` : ''}`, () => {
  test('the bench of many sites runs through', async () => {
    const rows = await bench('sites');
    expect(rows.get('sites, each redeemed through the management protocol over TLS')?.value).toBe(50);
    expect(rows.get('sites redeemed meanwhile')?.value).toBeGreaterThan(0);
    expect(rows.get('1 KB, few sites and many, 60 sites: 60 sites ÷ it')?.value).toBe(1);
    const measured = [...rows.values()].filter(({ what }) => !what.endsWith('÷ it'));
    for (const { value } of measured) expect(value).toEqual(expect.any(Number));
  });

  test('the bench beside others has costs, rates and ratios of both', async () => {
    const rows = await bench('rivals', '--only', 'satellite,nginx', '1kb', 'websockets', 'idle');
    const costs = ['CPU', 'rate', 'p50', 'p99', 'of a core', 'others', 'satellite ÷ it'];
    const wanted = {
      '1 KB over HTTP/1.1, 32 connections': costs,
      'WebSocket echo of 512 bytes, 32 at a time': costs,
      '100 idle WebSockets': ['memory', 'CPU to open', 'satellite ÷ it'],
    };
    const names = Object.entries(wanted).flatMap(([what, columns]) =>
      ['satellite', 'nginx'].flatMap((proxy) => columns.map((column) => `${what}, ${proxy}: ${column}`)),
    );
    expect([...rows.keys()]).toEqual(names);
    // CPU time is counted in hundredths of a second: a trial can do with none.
    const measured = [...rows.values()].filter(({ what }) => /: (?:rate|p50|p99)$/.test(what));
    for (const { value } of measured) expect(value).toBeGreaterThan(0);
  });
});

test('the bench of starting runs through', async () => {
  const rows = await bench('start', '--rounds', '1');
  expect(rows.get('a start, node -e 0: time')?.value).toBeGreaterThan(0);
  expect(rows.get('a start, start-jupyter --dry-run: time')?.value).toBeGreaterThan(0);
  expect(rows.get('a start, start-jupyter --version: start-jupyter --version ÷ it')?.value).toBe(1);
});

test('the bench of many WebSockets runs through', async () => {
  const rows = await bench('websockets', '--sockets', '40');
  expect(rows.get('WebSockets open over TLS 1.3')?.value).toBe(40);
  expect(rows.get('messages of 125 B and their echoes on 10 of them')?.value).toBe(50);
});

test('an end from outside leaves no process and no file', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'start-jupyter-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const env = { ...process.env, TMPDIR: folder, NODE_DISABLE_COMPILE_CACHE: '1' };
  const running = spawn(process.execPath, [program, 'websockets', '--sockets', '40', '--small'], {
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const errors = running.stderr.toArray();
  for await (const line of createInterface(running.stdout)) if (line.startsWith('WebSockets open')) break;
  expect(readdirSync(folder)).not.toEqual([]);

  const group = -(running.pid as number);
  // As timeout(1) does: the whole group, and npm passes it on once more.
  process.kill(group, 'SIGTERM');
  process.kill(running.pid as number, 'SIGTERM');

  expect(await once(running, 'close')).toEqual([143, null]);
  expect(Buffer.concat(await errors).toString()).toBe('');
  expect(() => process.kill(group, 0)).toThrow('ESRCH');
  expect(readdirSync(folder)).toEqual([]);
});

test.each([
  { args: ['side'], words: 'there is no bench "side"' },
  { args: ['rivals', '2kb'], words: 'rivals has no part "2kb"' },
  { args: ['rivals', '--only', 'satellite,squid'], words: 'there is no proxy "squid"' },
  { args: ['rivals', '--rounds', '1.5'], words: '--rounds 1.5 is not a number from 1 on' },
  { args: ['sites', '--rounds', '2'], words: 'sites takes no --rounds' },
  { args: ['sites', '--engine', 'nginx'], words: 'there is no engine "nginx"' },
  { args: ['websockets', '--sockets', '100000000'], words: 'WebSockets, not 100000000' },
])('$args: $words', ({ args, words }) => {
  expect(() => readArguments(args)).toThrow(words);
});

test('a mistake is said together with the usage, and nothing is measured', async () => {
  const refused = promisify(execFile)(process.execPath, [program, 'side']);
  const stderr = expect.stringMatching(/^bench: there is no bench "side"\nUsage: npm run bench /);
  await expect(refused).rejects.toMatchObject({ code: 2, stdout: '', stderr });
});

test('a missing program is named', async () => {
  const run = promisify(execFile)(
    process.execPath,
    [program, 'rivals', '1kb', '--only', 'satellite', '--small'],
    {
      env: { PATH: '/nowhere' },
    },
  );
  await expect(run).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/program|apt-get/),
  });
  await expect(run).rejects.not.toMatchObject({ stderr: expect.stringContaining('    at ') });
});

test('figures and ratios are of the same rounds, those in which others used least', () => {
  const report = new Report(() => undefined);
  const ours = [3, 100, 5, 100, 100, 100, 100, 100].map((cpu, i) => ({
    cpu,
    others: i === 0 || i === 2 ? 0 : 1,
  }));
  // What is quiet for one of them alone doesn't count.
  const theirs = [1, 9, 2, 9, 9, 9, 9, 9].map((cpu, i) => ({
    cpu,
    others: i === 0 || i === 2 ? 0.5 : i === 7 ? 0 : 1,
  }));
  compare(
    'requests',
    new Map([
      ['a', ours],
      ['b', theirs],
    ]),
    [['CPU', 'µs', ({ cpu }) => cpu]],
    ['a'],
    report,
  );
  expect(report.rows).toMatchObject([
    { what: 'requests, a: CPU', value: 4, low: 3, high: 5 },
    { what: 'requests, a: a ÷ it', value: 1 },
    { what: 'requests, b: CPU', value: 1.5, low: 1, high: 2 },
    { what: 'requests, b: a ÷ it', value: 2.75, low: 2.5, high: 3 },
  ]);
});
