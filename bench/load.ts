import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { get } from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { installPackages, LabError } from '../lab/lab.ts';
import { endWithRun, quantile } from './bench.ts';
import { placed } from './processes.ts';
import type { Echoes, Order } from './visitors.ts';

/** The one cipher and the one group that visitors offer: all proxies here know them. */
export const CIPHER = 'TLS_AES_128_GCM_SHA256';
export const GROUP = 'X25519';

/** Where visitors find a proxy. */
export interface Door {
  readonly port: number;
  /** Names that it answers to. */
  readonly hosts: readonly string[];
  /** The certificate that it shows (PEM). */
  readonly ca: string;
}

/** What a browser sends with a request from a page. */
const fields = [
  'user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36',
  'accept: */*',
  'accept-encoding: gzip, deflate, br, zstd',
  'accept-language: en-US,en;q=0.9',
  'cookie: _xsrf=2|6b1b6e5c|0123456789abcdef0123456789abcdef|1700000000',
];

/** Installs h2load, which makes the requests. Throws a LabError where that can't be done. */
export async function installLoad(say: (line: string) => void): Promise<void> {
  if (!existsSync('/etc/debian_version'))
    throw new LabError(
      "this bench needs Debian or Ubuntu: it takes programs from their packages. Try 'websockets'.",
    );
  await installPackages(['nghttp2-client'], 'the bench', say);
}

/** How many requests, on so many connections; as fast as they are answered, or so many a second in all. */
export interface Amount {
  readonly requests: number;
  readonly connections: number;
  readonly perSecond?: number;
}

/** What came of some requests; milliseconds from a request to the end of its answer. */
export interface Answers {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
}

let runs = 0;

/**
 * So many requests for a file over HTTP/1.1 and TLS 1.3, on so many connections that are kept alive, each with one
 * request at a time: by h2load, a process of its own. Throws where one of the answers has another status than 200, or
 * where their bodies together are not as long as they must be.
 */
export async function request(
  { port, hosts: [host] }: Door,
  file: { readonly name: string; readonly bytes: number },
  { requests, connections, perSecond }: Amount,
): Promise<Answers> {
  const times = path.join(os.tmpdir(), `start-jupyter-bench-${process.pid}-${++runs}`);
  const [program, args] = placed('others', [
    ...['h2load', '--h1', '-n', String(requests), '-c', String(connections), '--log-file', times],
    ...['--tls13-ciphers', CIPHER, '--groups', GROUP, '--connect-to', `127.0.0.1:${port}`],
    ...fields.flatMap((field) => ['-H', field]),
    `https://${host}/${file.name}`,
  ]);
  if (perSecond !== undefined) args.splice(-1, 0, '--rps', String(perSecond / connections));
  try {
    const { stdout } = await promisify(execFile)(program, args, { maxBuffer: 1 << 26 });
    return answersIn(stdout, readFileSync(times, 'latin1'), requests, file.bytes);
  } finally {
    rmSync(times, { force: true });
  }
}

/** What h2load has found, from what it prints and from its log of requests. */
function answersIn(stdout: string, log: string, requests: number, bytesOfEach: number): Answers {
  const find = (pattern: RegExp): string => pattern.exec(stdout)?.[1] ?? '';
  const tls = `${find(/^TLS Protocol: (.+)$/m)} ${find(/^Cipher: (.+)$/m)} ${find(/^Server Temp Key: (\S+)/m)}`;
  if (tls !== `TLSv1.3 ${CIPHER} ${GROUP}`) throw new Error(`TLS is ${tls}`);
  // Start (µs since the epoch), status, duration (µs).
  const durations = log
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [, status, duration] = line.split('\t');
      if (status !== '200') throw new Error(`a request was answered with ${status}`);
      return Number(duration) / 1000;
    });
  const bytes = Number(find(/\((\d+)\) data$/m));
  if (durations.length !== requests || bytes !== requests * bytesOfEach)
    throw new Error(`not every request got its answer:\n${stdout}`);
  const seconds = inSeconds(find(/^finished in ([\d.]+(?:us|ms|s|m)\b)/m));
  return { perSecond: requests / seconds, p50: quantile(durations, 0.5), p99: quantile(durations, 0.99) };
}

function inSeconds(text: string): number {
  const [, amount = '', unit = ''] = /^([\d.]+)(\w+)$/.exec(text) ?? [];
  const units: Readonly<Record<string, number>> = { us: 1e-6, ms: 1e-3, s: 1, m: 60 };
  return Number(amount) * (units[unit] ?? Number.NaN);
}

/** One request whose answer must be just this. */
export async function expectBody(door: Door, file: string, body: Buffer): Promise<void> {
  const { port, hosts, ca } = door;
  const host = hosts[0] as string;
  const asked = get({
    ...{ host: '127.0.0.1', port, servername: host, ca, path: `/${file}`, agent: false },
    headers: { Host: host },
  });
  const [message] = await once(asked, 'response');
  const answer = Buffer.concat(await message.toArray());
  if (message.statusCode !== 200 || !answer.equals(body))
    throw new Error(`the proxy answers ${message.statusCode}, ${answer.length} bytes`);
}

/** Visitors with WebSockets, in a process of their own. */
export class Visitors {
  readonly #child: ChildProcess;

  constructor() {
    const [program, args] = placed('others', [
      process.execPath,
      path.join(import.meta.dirname, 'visitors.ts'),
    ]);
    this.#child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    endWithRun(this.#child);
  }

  /** So many more WebSockets, in turn over the names of the proxy. */
  async open({ port, hosts, ca }: Door, count: number): Promise<void> {
    await this.#order({ order: 'open', count, port, hosts, ca, cipher: CIPHER, group: GROUP });
  }

  /** The first so many of them send and wait for the echo, over and over. */
  async echo(sockets: number, milliseconds: number): Promise<Echoes> {
    return (await this.#order({ order: 'echo', sockets, milliseconds })) as Echoes;
  }

  /** A message through each of them. Throws where one has been lost. */
  async check(): Promise<void> {
    await this.#order({ order: 'check' });
  }

  async close(): Promise<void> {
    await this.#order({ order: 'close' });
  }

  end(): void {
    this.#child.kill();
  }

  async #order(order: Order): Promise<unknown> {
    this.#child.send(order);
    const [{ result, failure }] = (await once(this.#child, 'message')) as [
      { result?: unknown; failure?: string },
    ];
    if (failure !== undefined) throw new Error(failure);
    return result;
  }
}
