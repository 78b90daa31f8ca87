/**
 * Visitors with WebSockets over TLS, as a process of their own. Does what its parent says, one order at a time, and
 * answers each with a message. Every echo is compared with what was sent, byte by byte.
 */
import { once } from 'node:events';
import { connect as connectPlain } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { each, quantile, range } from './bench.ts';

export type Order =
  | {
      readonly order: 'open';
      readonly count: number;
      readonly port: number;
      /** Names of sites, taken in turn. */
      readonly hosts: readonly string[];
      readonly ca: string;
      readonly cipher: string;
      readonly group: string;
    }
  /** Each of the first so many sends a message as soon as the one before has come back. */
  | { readonly order: 'echo'; readonly sockets: number; readonly milliseconds: number }
  /** One message through each of them. */
  | { readonly order: 'check' }
  | { readonly order: 'close' };

/** What came of `echo`; milliseconds from a message to its echo. */
export interface Echoes {
  readonly messages: number;
  readonly p50: number;
  readonly p99: number;
}

const MESSAGE_BYTES = 512;
/** A masked binary frame (RFC 6455 section 5.2), with a length of 16 bits. */
const frame = Buffer.alloc(8 + MESSAGE_BYTES, 'm');
frame.set([0x82, 0x80 | 126, MESSAGE_BYTES >> 8, MESSAGE_BYTES & 0xff]);

type OpenOrder = Order & { order: 'open' };

const hostOf = ({ hosts }: OpenOrder, i: number): string => hosts[i % hosts.length] as string;

/** From the one address of all visitors of its site, after the handshake. */
async function connectTo(order: OpenOrder, i: number): Promise<TLSSocket> {
  const { port, hosts, ca, cipher, group } = order;
  const localAddress = `127.3.0.${1 + ((i % hosts.length) % 250)}`;
  const socket = connect({
    socket: connectPlain({ host: '127.0.0.1', port, localAddress, noDelay: true }),
    servername: hostOf(order, i),
    ca,
    minVersion: 'TLSv1.3',
    ciphers: cipher,
    ecdhCurve: group,
    ALPNProtocols: ['http/1.1'],
  });
  await once(socket, 'secureConnect');
  if (socket.getProtocol() !== 'TLSv1.3' || socket.getCipher().name !== cipher)
    throw new Error(`TLS is ${socket.getProtocol()} with ${socket.getCipher().name}`);
  return socket;
}

/** The page comes before its WebSockets. */
async function visit(order: OpenOrder, i: number): Promise<void> {
  const socket = await connectTo(order, i);
  socket.write(`GET / HTTP/1.1\r\nHost: ${hostOf(order, i)}\r\nConnection: close\r\n\r\n`);
  const answer = Buffer.concat(await socket.toArray()).toString('latin1');
  if (!answer.startsWith('HTTP/1.1 200 ')) throw new Error(`a page was refused: ${answer}`);
}

class EchoSocket {
  readonly #socket: TLSSocket;
  #received = 0;
  #done: ((failure?: Error) => void) | undefined;

  private constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      const expected = frame.subarray(this.#received, this.#received + chunk.length);
      this.#received += chunk.length;
      if (!chunk.equals(expected)) this.#done?.(new Error('an echo is not what was sent'));
      else if (this.#received === frame.length) {
        this.#received = 0;
        this.#done?.();
      }
    });
    socket.on('error', (error) => this.#done?.(error));
    socket.on('close', () => this.#done?.(new Error('a WebSocket was closed')));
  }

  static async open(order: OpenOrder, i: number): Promise<EchoSocket> {
    const host = hostOf(order, i);
    const socket = await connectTo(order, i);
    socket.write(
      // What a browser sends, in its usual length.
      `GET /api/kernels/5d1dcf3a-4a1d-4c26-8b0e-0c2c5f0c9a51/channels?session_id=bench HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://${host}\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\nCookie: _xsrf=2|6b1b6e5c|0123456789abcdef0123456789abcdef|1700000000; username-bench="2|1:0|10:1700000000|23:username-bench|44:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=|0123456789abcdef"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\n\r\n`,
    );
    let head = '';
    while (!head.endsWith('\r\n\r\n')) {
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      head += chunk.toString('latin1');
      if (!'HTTP/1.1 101 '.startsWith(head.slice(0, 13))) throw new Error(`a WebSocket was refused: ${head}`);
    }
    return new EchoSocket(socket);
  }

  /** Sends a message; resolves when it has come back, rejects if something else does or the connection ends. */
  echo(): Promise<void> {
    if (this.#socket.destroyed) return Promise.reject(new Error('a WebSocket was closed'));
    return new Promise((resolve, reject) => {
      this.#done = (failure) => {
        this.#done = undefined;
        if (failure) reject(failure);
        else resolve();
      };
      this.#socket.write(frame);
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

let sockets: EchoSocket[] = [];
let hasVisited = false;

async function obey(order: Order): Promise<unknown> {
  switch (order.order) {
    case 'open': {
      const already = sockets.length;
      if (!hasVisited) await each(range(order.hosts.length), 50, (i) => visit(order, i));
      hasVisited = true;
      await each(range(order.count), 50, async (i) => {
        sockets.push(await EchoSocket.open(order, already + i));
      });
      return sockets.length;
    }
    case 'echo': {
      const until = performance.now() + order.milliseconds;
      const times: number[] = [];
      await Promise.all(
        sockets.slice(0, order.sockets).map(async (socket) => {
          for (let started = performance.now(); started < until; ) {
            await socket.echo();
            const now = performance.now();
            times.push(now - started);
            started = now;
          }
        }),
      );
      return { messages: times.length, p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
    }
    case 'check':
      await each(sockets, 100, (socket) => socket.echo());
      return sockets.length;
    case 'close':
      for (const socket of sockets) socket.close();
      sockets = [];
      return 0;
  }
}

process.on('message', async (order: Order) => {
  try {
    process.send?.({ result: await obey(order) });
  } catch (error) {
    process.send?.({ failure: (error as Error).message });
  }
});
process.once('disconnect', () => process.exit(0));
