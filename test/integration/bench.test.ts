import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { Row } from '../../bench/report.ts';

const program = path.join(import.meta.dirname, '../../bench/cli.ts');

/** A trial run: what is measured on a busy machine says nothing, but that all of it was done without an error does. */
async function bench(name: string): Promise<Map<string, Row>> {
  const { stdout } = await promisify(execFile)(process.execPath, [program, name, '--small', '--json']);
  return new Map((JSON.parse(stdout) as Row[]).map((row) => [row.what, row]));
}

test('the bench of many sites runs through', async () => {
  const rows = await bench('sites');
  expect(rows.get('sites, each redeemed through the management protocol over TLS')?.value).toBe(50);
  expect(rows.get('from redemption to the first answer of the notebook, p99')?.value).toBeGreaterThan(0);
  for (const { value } of rows.values()) expect(value).toEqual(expect.any(Number));
});

test('the bench of many WebSockets runs through', async () => {
  const rows = await bench('websockets');
  expect(rows.get('WebSockets open over TLS 1.3')?.value).toBe(50);
  expect(rows.get('messages of 125 B and their echoes on 10 of them')?.value).toBe(50);
});
