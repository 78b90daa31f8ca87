import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import {
  type Caller,
  costOf,
  DOMAIN,
  each,
  expectStatus,
  makeSites,
  quantile,
  range,
  type SatelliteOptions,
  SatelliteProcess,
  scratch,
  startNotebooks,
} from './bench.ts';
import type { Report } from './report.ts';

/** How much of everything; a trial run has less of it. */
export interface WebSocketsSize {
  readonly sites: number;
  readonly sockets: number;
  readonly busy: number;
  /** Messages of each busy one. */
  readonly messages: number;
  /** How long nothing happens; milliseconds. */
  readonly quiet: number;
}

const MESSAGE_BYTES = 125;
const CLOSED_AT_ONCE = 1000;
/** Between the messages of one WebSocket. */
const PACE_MS = 100;

/** Many WebSockets over TLS, most of them idle: what one costs, and a message. */
export async function benchWebSockets(
  size: WebSocketsSize,
  report: Report,
  how: SatelliteOptions,
): Promise<void> {
  const notebooks = await startNotebooks(Math.min(100, size.sites));
  const proxy = await SatelliteProcess.start(path.join(scratch(), 'state.sqlite'), how);
  const { tokens } = await makeSites(proxy, notebooks, size.sites);
  report.add('sites, each redeemed through the management protocol over TLS', tokens.length, '');
  // What the first connection brings with it belongs to none.
  const warm = await each200(proxy, tokens.slice(0, 50));
  for (const one of warm) one.close();
  await settled(proxy, 0);
  const before = await proxy.memory();

  const sockets: EchoSocket[] = [];
  const opening = await costOf(proxy, size.sockets, () =>
    each(range(size.sockets), 50, async (i) => {
      sockets.push(await EchoSocket.open(proxy, tokens[i % tokens.length] as string, visitor(i)));
    }),
  );
  await settled(proxy, size.sockets);
  const idle = await proxy.memory();
  report.add('WebSockets open over TLS 1.3', size.sockets, '');
  report.add('CPU to open one, with its TLS handshake', opening.cpu, 'µs');
  const perSocket = (key: 'rss' | 'heapUsed' | 'external'): number =>
    (idle[key] - before[key]) / size.sockets;
  report.add('memory per idle WebSocket, resident', perSocket('rss') / 1024, 'KB');
  report.add('memory per idle WebSocket, heap', perSocket('heapUsed') / 1024, 'KB');
  report.add('memory per idle WebSocket, buffers', perSocket('external') / 1024, 'KB');

  const quiet = await costOf(proxy, 1, () => pause(size.quiet));
  report.add('CPU while all are idle', quiet.cpu / (size.quiet * 10), '% of a core');

  await proxy.lag();
  const times: number[] = [];
  const busy = await costOf(proxy, size.busy * size.messages, () =>
    Promise.all(
      sockets.slice(0, size.busy).map(async (socket) => {
        await pause(Math.random() * PACE_MS);
        for (const _ of range(size.messages)) {
          times.push(await socket.echo());
          await pause(PACE_MS);
        }
      }),
    ),
  );
  const lag = await proxy.lag();
  report.add(`messages of ${MESSAGE_BYTES} B and their echoes on ${size.busy} of them`, times.length, '');
  report.add('rate', busy.perSecond, '/s');
  report.add('CPU per message with its echo', busy.cpu, 'µs');
  report.add('from a message to its echo, p50', quantile(times, 0.5), 'ms');
  report.add('from a message to its echo, p99', quantile(times, 0.99), 'ms');
  report.add('event-loop lag meanwhile, p99', lag.p99, 'ms');
  report.add('event-loop lag meanwhile, longest', lag.max, 'ms');

  const caller = proxy.client(tokens[0] as string, '127.3.200.1');
  const requests = size.busy * 10;
  const beside = await costOf(proxy, requests, () => get(caller, requests));
  await caller.close();
  report.add('CPU per request beside them, one at a time', beside.cpu, 'µs');

  // Not one of them has been lost.
  await each(sockets, 100, (socket) => socket.echo());
  await settled(proxy, size.sockets);
  const used = await proxy.memory();
  report.add(
    'memory per WebSocket that has been used, resident',
    (used.rss - before.rss) / 1024 / size.sockets,
    'KB',
  );
  // After 28,000 at once the next question for the proxy's metrics ended with ECONNRESET.
  while (sockets.length > 0) {
    for (const socket of sockets.splice(-CLOSED_AT_ONCE)) socket.close();
    await settled(proxy, sockets.length);
  }
  const after = await proxy.memory();
  report.add('heap left behind by each', (after.heapUsed - before.heapUsed) / size.sockets, 'B');
}

async function each200(proxy: SatelliteProcess, tokens: readonly string[]): Promise<EchoSocket[]> {
  return Promise.all(tokens.map((token, i) => EchoSocket.open(proxy, token, visitor(i))));
}

async function get(caller: Caller, count: number): Promise<void> {
  for (const _ of range(count)) expectStatus(await caller.ask('GET', '/lab'), 200, 'a request');
}

/** Waits until the proxy says that just so many WebSockets are open. */
async function settled(proxy: SatelliteProcess, count: number): Promise<void> {
  const deadline = performance.now() + 20_000;
  let open = Number.NaN;
  while (performance.now() < deadline) {
    open = (await proxy.metrics()).get('satellite_open_websockets') ?? Number.NaN;
    if (open === count) return;
    await pause(50);
  }
  throw new Error(`the proxy has ${open} WebSockets open instead of ${count}`);
}

/** Addresses of visitors: fifty WebSockets share one. */
const visitor = (i: number): string => `127.3.${Math.floor(i / 50 / 250)}.${1 + (Math.floor(i / 50) % 250)}`;

/** A WebSocket to a notebook that sends everything back, over TLS. What it sends looks like a masked frame. */
class EchoSocket {
  readonly #socket: TLSSocket;
  #expected = 0;
  #received = 0;
  #wake: ((failure?: Error) => void) | undefined;

  private constructor(socket: TLSSocket) {
    this.#socket = socket;
  }

  static async open(proxy: SatelliteProcess, token: string, from: string): Promise<EchoSocket> {
    const host = `${token}.${DOMAIN}`;
    const socket = await proxy.connect(token, from);
    if (socket.getProtocol() !== 'TLSv1.3') throw new Error(`TLS is ${socket.getProtocol()}`);
    socket.write(
      // What a browser sends, in its usual length.
      `GET /api/kernels/5d1dcf3a-4a1d-4c26-8b0e-0c2c5f0c9a51/channels?session_id=bench HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://${host}\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\nCookie: _xsrf=2|6b1b6e5c|0123456789abcdef0123456789abcdef|1700000000; username-bench="2|1:0|10:1700000000|23:username-bench|44:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=|0123456789abcdef"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\n\r\n`,
    );
    const [head] = (await once(socket, 'data')) as [Buffer];
    if (!head.toString('latin1').startsWith('HTTP/1.1 101 ')) throw new Error(head.toString('latin1'));
    const echo = new EchoSocket(socket);
    socket.on('data', (chunk: Buffer) => {
      echo.#received += chunk.length;
      if (echo.#received >= echo.#expected) echo.#wake?.();
    });
    socket.on('error', (error) => echo.#wake?.(error));
    socket.on('close', () => echo.#wake?.(new Error('a WebSocket was closed')));
    return echo;
  }

  /** Sends a message; resolves with the milliseconds until it has come back, rejects if the connection ends first. */
  async echo(): Promise<number> {
    if (this.#socket.destroyed) throw new Error('a WebSocket was closed');
    const started = performance.now();
    const frame = Buffer.alloc(6 + MESSAGE_BYTES, 'm');
    frame[0] = 0x82;
    frame[1] = 0x80 | MESSAGE_BYTES;
    this.#expected += frame.length;
    await new Promise<void>((resolve, reject) => {
      this.#wake = (failure) => (failure ? reject(failure) : resolve());
      this.#socket.write(frame);
    });
    this.#wake = undefined;
    return performance.now() - started;
  }

  close(): void {
    this.#socket.destroy();
  }
}
