import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { Row } from '../../bench/report.ts';

const program = path.join(import.meta.dirname, '../../bench/cli.ts');

/** A trial run: what is measured on a busy machine says nothing, but that all of it was done without an error does. */
async function bench(...args: string[]): Promise<Map<string, Row>> {
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args, '--small', '--json']);
  return new Map((JSON.parse(stdout) as Row[]).map((row) => [row.what, row]));
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
