import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { HaproxyLog } from '../src/dataplane/haproxy/log.ts';
import type { LogEntry } from '../src/index.ts';

interface Reader {
  readonly log: HaproxyLog;
  /** What HAProxy writes to. */
  readonly haproxy: Socket;
  /** What has been handed on, piece by piece. */
  readonly pieces: string[];
  /** What has been logged beside that. */
  readonly entries: LogEntry[];
}

async function reader(as: 'ring' | 'pipe' = 'ring'): Promise<Reader> {
  const pieces: string[] = [];
  const entries: LogEntry[] = [];
  const log = new HaproxyLog(
    (entry) => entries.push(entry),
    (lines) => pieces.push(lines.toString()),
  );
  const folder = mkdtempSync(path.join(tmpdir(), 'satellite-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const server =
    as === 'ring' ? log.server : createServer({ highWaterMark: 1 }, (pipe) => log.takePipe(pipe));
  onTestFinished(() => void server.close());
  server.listen(path.join(folder, 'log.sock'));
  await once(server, 'listening');
  const haproxy = connect(path.join(folder, 'log.sock'));
  onTestFinished(() => void haproxy.destroy());
  await once(haproxy, 'connect');
  return { log, haproxy, pieces, entries };
}

/** For how long lines wait, one wait after the other, in milliseconds, while so many bytes of them come in each. */
async function* waits({ haproxy }: Reader, bytesInMs: number): AsyncGenerator<number, void> {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const begun = vi.spyOn(globalThis, 'setTimeout');
  const line = `{${'x'.repeat(98)}\n`;
  haproxy.write(line);
  for (;;) {
    while (vi.getTimerCount() === 0) await new Promise((resolve) => setImmediate(resolve));
    const ms = begun.mock.lastCall?.[1] ?? 0;
    yield ms;
    await new Promise((resolve) =>
      haproxy.write(line.repeat(Math.ceil((bytesInMs * ms) / line.length)), resolve),
    );
    vi.advanceTimersByTime(ms);
  }
}

async function some(of: AsyncGenerator<number, void>): Promise<number[]> {
  const found: number[] = [];
  while (found.length < 20) found.push((await of.next()).value as number);
  return found;
}

test("HAProxy's lines are handed on whole and in their order, however they arrive", async () => {
  const { log, haproxy, pieces } = await reader();
  const lines = Array.from(
    { length: 20_000 },
    (_, i) => `{"number":${i},"path":"/${'ä'.repeat(i % 100)}"}\n`,
  );
  const all = Buffer.from(lines.join(''));
  // In pieces that end anywhere, also within a letter.
  for (let at = 0, size = 1; at < all.length; at += size, size = (size * 7) % 9973)
    if (!haproxy.write(all.subarray(at, at + size))) await once(haproxy, 'drain');
  haproxy.end();
  await log.close(true);
  expect(pieces.join('') === all.toString()).toBe(true);
  expect(pieces.filter((piece) => !piece.endsWith('\n'))).toEqual([]);
});

test("HAProxy's own words become JSON between the requests; whether it reaches satellite is told elsewhere", async () => {
  const { log, haproxy, pieces, entries } = await reader();
  haproxy.end(`Server satellite/satellite is DOWN, reason: Socket error.
backend satellite has no server available!
{"number":1}
{"number":2}
Proxy satellite-visitors reached "process" FD limit.
{"number":3}
Server other/one is DOWN.
`);
  await log.close(true);
  expect(pieces.join('')).toBe('{"number":1}\n{"number":2}\n{"number":3}\n');
  expect(entries).toEqual([
    { event: 'haproxy', message: 'Proxy satellite-visitors reached "process" FD limit.' },
    { event: 'haproxy', message: 'Server other/one is DOWN.' },
  ]);
});

test('HAProxy goes on when satellite ends: what it has said by then is in the log', async () => {
  const { log, haproxy, pieces } = await reader();
  await new Promise((resolve) => haproxy.write('{"number":1}\n{"number":2}\n{"num', resolve));
  await log.close(false);
  expect(pieces.join('')).toBe('{"number":1}\n{"number":2}\n');
});

test('the more HAProxy has to say the sooner it is read again: what does not fit into the socket is lost in the end', async () => {
  const { log, haproxy, pieces } = await reader();
  const timers = vi.spyOn(globalThis, 'setTimeout');
  onTestFinished(() => timers.mockRestore());
  const line = `{${'x'.repeat(1022)}\n`;
  const many = 32 * 1024;
  for (let i = 0; i < many; i += 1) if (!haproxy.write(line)) await once(haproxy, 'drain');
  haproxy.end();
  await log.close(true);
  expect(pieces.join('').length).toBe(many * line.length);
  const waits = timers.mock.calls.map(([, milliseconds]) => milliseconds ?? 0);
  expect(waits.length).toBeGreaterThan(0);
  expect(Math.min(...waits)).toBeLessThan(10);
});

test('few lines wait for a moment', async () => {
  expect(new Set(await some(waits(await reader(), 100)))).toEqual(new Set([20]));
});

test('many wait for long, since a ring keeps them; not any more before it ends', async () => {
  const made = await reader();
  const busy = waits(made, 300);
  expect(Math.max(...(await some(busy)))).toBe(400);
  while ((await busy.next()).value !== 400);
  const before = made.pieces.length;
  made.log.hurry();
  expect(made.pieces.length).toBeGreaterThan(before);
  expect(Math.max(...(await some(busy)))).toBe(20);
});

test('a pipe keeps nothing: many wait no longer, and the less the more there are', async () => {
  expect(Math.max(...(await some(waits(await reader('pipe'), 300))))).toBe(20);
  vi.useRealTimers();
  expect(Math.max(...(await some(waits(await reader('pipe'), 8000))).slice(-5))).toBeLessThan(15);
});
