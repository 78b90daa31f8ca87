import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  request,
  type Server,
} from 'node:http';
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2';
import { type AddressInfo, connect, type Socket, type Server as TcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { afterAll, afterEach, beforeEach, expect } from 'vitest';
import type { SatelliteConfigInput } from '../src/config.ts';
import { RuntimeApi } from '../src/dataplane/haproxy/runtime.ts';
import { type Satellite, type StartOptions, startSatellite } from '../src/index.ts';
import { openApiDocument } from '../src/management/openapi.ts';
import { differenceOf, haproxyIs } from './differences.ts';
import { freePort as freePortOf } from './free-port.ts';

export const DOMAIN = 'sites.test';

/** The places that the recordings were made from, as loopback addresses of their own. */
export const LOGIN = '127.21.0.1';
export const NODE1 = '127.21.0.11';
export const NODE2 = '127.21.0.12';
export const OUTSIDE = '127.0.0.1';

const cleanups: (() => unknown)[] = [];

/** Runs at the end of the current test, last first. */
export function cleanup(action: () => unknown): void {
  cleanups.push(action);
}

/** What HAProxy does otherwise is listed, and said in the report of the run. */
beforeEach(({ task, skip }) => {
  const names = [task.name];
  for (let { suite } = task; suite; suite = suite.suite) names.unshift(suite.name);
  const reason =
    engine === 'haproxy'
      ? differenceOf(basename(task.file.name), names.filter(Boolean).join(' > '))
      : undefined;
  if (reason !== undefined) skip(reason);
});

afterEach(async () => {
  for (const action of cleanups.splice(0).reverse()) await action();
});

export type TestSatellite = Satellite & { readonly port: number };

/** What carries the traffic of live sites in this run; the project `haproxy` runs tests of engine node once more. */
export const engine = process.env.SATELLITE_TEST_ENGINE === 'haproxy' ? 'haproxy' : 'node';

/** A satellite on a free loopback port, which ends with the test. */
export async function satellite(
  config: Partial<SatelliteConfigInput> = {},
  options: StartOptions = {},
): Promise<TestSatellite> {
  if (isSharing && Object.keys(options).length === 0 && !config.limits) {
    const key = JSON.stringify(config);
    const one = shared.get(key) ?? start(config, options, await mkdtemp(join(tmpdir(), 'satellite-test-')));
    shared.set(key, one);
    return one;
  }
  const started = await start(config, options, engine === 'haproxy' ? await scratch() : undefined);
  cleanup(() => started.close());
  return started;
}

let isSharing = false;

/** For tests that don't look at what others have left: they share a HAProxy, whose start takes longer than most of them. */
export function shareHaproxy(): void {
  isSharing = engine === 'haproxy';
}

const shared = new Map<string, Promise<TestSatellite>>();

afterAll(async () => {
  for (const one of shared.values()) await (await one).close();
});

async function start(
  config: Partial<SatelliteConfigInput>,
  options: StartOptions,
  directory: string | undefined,
): Promise<TestSatellite> {
  const started = await startSatellite(
    {
      domain: DOMAIN,
      listen: '127.0.0.1:0',
      tls: 'off',
      internalNetworks: ['127.21.0.0/16'],
      jobStateNetworks: ['127.21.0.1/32'],
      state: ':memory:',
      engine,
      ...(directory && { haproxy: { directory } }),
      ...config,
    },
    options,
  );
  // Where a test is about visitors who are strangers they stay so. Not all sites are HAProxy's.
  const takesSites = config.auth === undefined && config.siteStyle !== 'path';
  if (directory && takesSites && !config.limits?.unknownNamesPerMinute) {
    const runtime = new RuntimeApi(join(config.haproxy?.directory ?? directory, 'runtime.sock'));
    runtimes.set(started.address.port, (command) => runtime.ask(command));
  }
  return { ...started, port: started.address.port };
}

/** Ask HAProxy's runtime API about the satellite on a port. */
const runtimes = new Map<number, (command: string) => Promise<string>>();

/**
 * Waits until HAProxy serves a site by itself, and lets it take a visitor for one who has been there before: or else each
 * first request of a test would be satellite's own.
 */
async function knownToHaproxy(port: number, token: string): Promise<void> {
  const ask = runtimes.get(port);
  if (ask === undefined) return;
  for (;;) {
    const [, file] = /^\d+ \((.*sites\.map)\)/m.exec(await ask('show map')) ?? [];
    const [, id] = new RegExp(` ${siteHost(token)} (\\d+)@`).exec(await ask(`show map ${file}`)) ?? [];
    if (id !== undefined) {
      for (const address of ['127.0.0.1', '127.0.0.2', '127.0.0.8', '127.0.0.9'])
        await ask(`set table satellite-visits key ${address}@${id} data.gpt0 1`);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** What browsers speak (HAProxy since 2.6: see configuration.ts). Over HTTP/2 a test's satellite has a certificate of its own making. */
export type Protocol = 'HTTP/1.1' | 'HTTP/2';
export const protocols: readonly Protocol[] =
  engine === 'node' || haproxyIs({ since: '2.6' }) ? ['HTTP/1.1', 'HTTP/2'] : ['HTTP/1.1'];

/** The ports that are spoken to over HTTP/2. */
const http2Ports = new Set<number>();

/** A satellite that this test talks to over one of the protocols. */
export async function satelliteOver(
  protocol: Protocol,
  config: Partial<SatelliteConfigInput> = {},
  options: StartOptions = {},
): Promise<TestSatellite> {
  if (protocol === 'HTTP/1.1') return satellite(config, options);
  const proxy = await satellite({ tls: { selfSigned: true }, ...config }, options);
  http2Ports.add(proxy.port);
  cleanup(() => http2Ports.delete(proxy.port));
  return proxy;
}

/**
 * Resolves when an answer is over, with whether it looks whole. Node has an "end" for streams that were cancelled, too (reset with
 * code 8), which browsers don't take for one.
 */
export function endOf(reader: Readable): Promise<boolean> {
  return new Promise((resolve) => {
    let isEnded = false;
    reader.on('end', () => {
      isEnded = true;
    });
    reader.on('error', () => undefined);
    reader.on('close', () => resolve(isEnded && !(reader as Partial<ClientHttp2Stream>).rstCode));
  });
}

/** A TLS connection with these protocols on offer, which ends with the test. */
export async function secureWire(
  port: number,
  servername: string,
  { from = OUTSIDE, protocols: ALPNProtocols = ['h2'], ...options }: SecureWire = {},
): Promise<TLSSocket> {
  const socket = connectTls({
    host: '127.0.0.1',
    port,
    localAddress: from,
    servername,
    ALPNProtocols,
    rejectUnauthorized: false,
    ...options,
  } as never);
  cleanup(() => socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

interface SecureWire {
  readonly from?: string;
  readonly host?: string;
  readonly protocols?: string[];
  readonly allowHalfOpen?: boolean;
  readonly maxVersion?: 'TLSv1.2' | 'TLSv1.3';
  readonly session?: Buffer;
}

/** A connection that speaks HTTP/2, made for one host (or, with '', for none), which ends with the test. */
export async function session(
  port: number,
  servername: string,
  { from = OUTSIDE, settings = {} } = {},
): Promise<ClientHttp2Session> {
  const socket = await secureWire(port, servername, { from });
  const made = connectHttp2(`https://${servername || DOMAIN}:${port}`, {
    createConnection: () => socket,
    settings,
  });
  made.on('error', () => undefined);
  cleanup(() => made.destroy());
  return made;
}

export interface Ask {
  readonly host?: string;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Record<string, string | string[]>;
  readonly body?: string | Buffer;
  /** The source address. */
  readonly from?: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: string[];
  readonly body: string;
  readonly json: <T = Record<string, unknown>>() => T;
}

/** The beginning of an answer, whose body is still to be read. */
export interface Head {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: string[];
  readonly reader: Readable;
  readonly trailers: () => NodeJS.Dict<string>;
}

/** A request that is under way, over whichever protocol. */
export interface Begun {
  readonly sender: Writable;
  readonly head: Promise<Head>;
  /** Heads with 1xx, as they come. */
  readonly hints: { status: number; headers: IncomingHttpHeaders }[];
  /** Gives up, like somebody who closes the tab. */
  leave(): void;
}

/** Sends the header of a request on a connection of its own. */
export async function begin(port: number, options: Ask = {}): Promise<Begun> {
  const { host = `manage.${DOMAIN}`, from = LOGIN } = options;
  if (!http2Ports.has(port)) return beginHttp1(port, { ...options, host, from });
  const name = host.replace(/:\d+$/, '').toLowerCase();
  return beginHttp2(await session(port, name, { from }), { ...options, host });
}

function beginHttp1(port: number, { host, path, method, headers, from }: Ask): Begun {
  const outgoing = request({
    host: '127.0.0.1',
    port,
    path,
    method,
    headers: { Host: host, ...headers },
    localAddress: from,
    agent: false,
  });
  cleanup(() => outgoing.destroy());
  const hints: Begun['hints'] = [];
  outgoing.on('information', ({ statusCode, headers }) => hints.push({ status: statusCode, headers }));
  const head = once(outgoing, 'response').then((args) => {
    const [response] = args as [IncomingMessage];
    const { statusCode: status = 0, headers, rawHeaders } = response;
    return { status, headers, rawHeaders, reader: response, trailers: () => response.trailers };
  });
  head.catch(() => undefined);
  outgoing.on('error', () => undefined);
  return { sender: outgoing, head, hints, leave: () => outgoing.destroy() };
}

/** The same on a connection that may carry others. */
export function beginHttp2(
  on: ClientHttp2Session,
  { host, path = '/', method = 'GET', headers = {} }: Ask,
): Begun & { readonly stream: ClientHttp2Stream } {
  const stream = on.request(
    { ':authority': host, ':path': path, ':method': method, ...headers },
    { endStream: method === 'GET' || method === 'HEAD' },
  );
  const hints: Begun['hints'] = [];
  stream.on('headers', (headers) => hints.push({ status: headers[':status'] ?? 0, headers }));
  let trailers = {};
  stream.on('trailers', (fields) => {
    trailers = fields;
  });
  const head = new Promise<Head>((resolve, reject) => {
    stream.on('response', (headers, _flags, rawHeaders) =>
      resolve({
        status: headers[':status'] ?? 0,
        headers,
        rawHeaders,
        reader: stream,
        trailers: () => trailers,
      }),
    );
    stream.on('close', () => reject(new Error(`aborted without an answer, with code ${stream.rstCode}`)));
  });
  head.catch(() => undefined);
  stream.on('error', () => undefined);
  return { sender: stream, head, hints, leave: () => stream.close(8), stream };
}

/** Has nothing moved for a while? Then it is held back. */
export const still = (sender: NodeJS.EventEmitter): Promise<boolean> =>
  Promise.race([
    once(sender, 'drain').then(() => false),
    new Promise<true>((resolve) => setTimeout(resolve, 300, true)),
  ]);

/** The rest of an answer. Rejects where it breaks off. */
export async function bodyOf(head: Head): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of head.reader) chunks.push(chunk);
  const { rstCode = 0 } = head.reader as Partial<ClientHttp2Stream>;
  if (rstCode !== 0) throw new Error(`aborted with code ${rstCode}`);
  return Buffer.concat(chunks);
}

/** One request on a connection of its own. */
export async function ask(port: number, options: Ask = {}): Promise<Answer> {
  const { host = `manage.${DOMAIN}`, path = '/', method = 'GET', body } = options;
  const length = body !== undefined && { 'Content-Length': String(Buffer.byteLength(body)) };
  const begun = await begin(port, { ...options, headers: { ...options.headers, ...length } });
  begun.sender.end(body);
  const head = await begun.head;
  const text = (await bodyOf(head)).toString('utf8');
  if (host === `manage.${DOMAIN}`) expectDescribed(method, path, head, text);
  return { ...head, body: text, json: () => JSON.parse(text) };
}

interface Described {
  readonly responses: Record<string, { content?: Record<string, { schema: object }> }>;
}
const document = openApiDocument('https://manage.test/') as {
  paths: Record<string, Record<string, Described>>;
  components: object;
};
const describedPaths = Object.keys(document.paths).map((path) => ({
  path,
  pattern: new RegExp(`^/api/v1${path.replace('{token}', '[^/]+')}(\\?.*)?$`),
}));
/** OpenAPI 3.1's schemas are JSON Schema 2020-12. */
const ajv = new Ajv2020({ allowUnionTypes: true });
ajv.addVocabulary(['components']);
formats.default(ajv);
ajv.addSchema({ $id: 'document', components: document.components });

/** Whatever a test asks of the API, its answer must be in the OpenAPI document, and be as it says there. */
function expectDescribed(method: string, path: string, { status, headers }: Head, body: string): void {
  const known = describedPaths.find(({ pattern }) => pattern.test(path))?.path;
  // Of paths and methods that aren't there, and of other hosts, it says nothing.
  if (known === undefined || method === 'OPTIONS' || status === 405 || status === 421) return;
  const name = method === 'HEAD' ? 'get' : method.toLowerCase();
  const described = document.paths[known]?.[name]?.responses[status];
  if (described === undefined)
    throw new Error(`${method} ${known} answered ${status}, which the OpenAPI document doesn't know`);
  if (method === 'HEAD') return;
  const schema = described.content?.['application/json']?.schema;
  const type = headers['content-type'];
  if (schema === undefined) expect([type, body], `${method} ${known} ${status}`).toEqual([undefined, '']);
  else {
    expect(type).toBe('application/json');
    const text = JSON.stringify(schema).replaceAll('"#/', '"document#/');
    const isValid = ajv.validate(JSON.parse(text), JSON.parse(body));
    expect(isValid, `${method} ${known} ${status}: ${ajv.errorsText()} in ${body}`).toBe(true);
  }
}

/** A call of the JSON API, from the login host unless told otherwise. */
export function api(
  port: number,
  method: string,
  path: string,
  body?: unknown,
  from?: string,
  host?: string,
): Promise<Answer> {
  return ask(port, {
    ...(host !== undefined && { host }),
    method,
    path: `/api/v1${path}`,
    ...(body !== undefined && { body: JSON.stringify(body) }),
    ...(from !== undefined && { from }),
  });
}

export async function issue(port: number): Promise<string> {
  return (await api(port, 'POST', '/tokens')).json<{ token: string }>().token;
}

/** Does somebody take connections there? */
async function listens(port: number, host: string): Promise<boolean> {
  const socket = connect({ host, port });
  const isUp = await Promise.race([once(socket, 'connect'), once(socket, 'error')]).then(
    () => socket.readyState === 'open',
    () => false,
  );
  socket.destroy();
  return isUp;
}

/** A token redeemed from NODE1 for a port there. */
export async function redeemed(port: number, target: number, node = NODE1): Promise<string> {
  const token = await issue(port);
  const isListening = runtimes.has(port) && (await listens(target, node));
  const answer = await api(port, 'POST', `/tokens/${token}/redeem`, { port: target }, node);
  if (answer.status !== 200) throw new Error(`redeem: ${answer.status} ${answer.body}`);
  if (isListening) await knownToHaproxy(port, token);
  return token;
}

export const siteHost = (token: string): string => `${token}.${DOMAIN}`;

/** A request to a site, as a visitor from outside. */
export function visit(port: number, token: string, options: Ask = {}): Promise<Answer> {
  return ask(port, { from: OUTSIDE, host: siteHost(token), ...options });
}

/** A real HTTP server on a free port of NODE1 (or another address), which ends with the test. */
export async function notebook(
  listener: RequestListener,
  address = NODE1,
): Promise<Server & { port: number }> {
  const server = createServer({ requestTimeout: 0 }, listener);
  return Object.assign(server, { port: await listenOn(server, 0, address) });
}

/** Starts a server on a free port of NODE1 (or another address), ends it with the test, and gives the port. */
export async function listenOn(server: TcpServer, port = 0, address = NODE1): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(port, address);
  await once(server, 'listening');
  cleanup(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** A folder that is removed after the test. */
export async function scratch(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'satellite-test-'));
  cleanup(() => rm(folder, { recursive: true }));
  return folder;
}

/** A port of NODE1 (or another address) on which nobody listens. */
export const freePort = (address = NODE1): Promise<number> => freePortOf(address);

/** A raw connection that collects what arrives. */
export class Wire {
  readonly socket: Socket;
  #text = '';
  #ended = false;
  readonly #waiting = new Set<() => void>();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('latin1');
    const wake = (): void => {
      for (const waiter of this.#waiting) waiter();
    };
    socket.on('data', (text: string) => {
      this.#text += text;
      wake();
    });
    for (const event of ['end', 'close', 'error'] as const) {
      socket.on(event, () => {
        this.#ended = true;
        wake();
      });
    }
  }

  get text(): string {
    return this.#text;
  }

  send(text: string): this {
    this.socket.write(text, 'latin1');
    return this;
  }

  /** Everything so far, as soon as it matches. Rejects if the other side ends first. */
  until(pattern: RegExp): Promise<string> {
    return this.#when(() => {
      if (pattern.test(this.#text)) return true;
      if (this.#ended)
        throw new Error(`the connection ended without ${pattern}: ${JSON.stringify(this.#text)}`);
      return false;
    });
  }

  /** Everything, once the other side has ended or broken the connection. */
  ended(): Promise<string> {
    return this.#when(() => this.#ended);
  }

  #when(condition: () => boolean): Promise<string> {
    return new Promise((resolve, reject) => {
      const check = (): void => {
        try {
          if (!condition()) return;
          resolve(this.#text);
        } catch (error) {
          reject(error);
        }
        this.#waiting.delete(check);
      };
      this.#waiting.add(check);
      check();
    });
  }
}

/** An answer whose field names HAProxy has written in small letters, in the spelling that most have. */
export function inCapitals(answer: string): string {
  return answer.replaceAll(/^[a-z-]+(?=: )/gm, (name) =>
    name.replaceAll(/\b[a-z]/g, (first) => first.toUpperCase()),
  );
}

/**
 * The last answer on a connection. Engine node then ends the connection, and it is awaited; HAProxy, which knows where the
 * next request begins, may keep it open.
 */
export function lastAnswer(client: Wire): Promise<string> {
  if (engine === 'node') return client.ended();
  return Promise.race([
    client.ended(),
    client.until(/HTTP\/1\.1 [2-5]\d\d [\s\S]*\r\n\r\n/).catch(() => client.ended()),
  ]);
}

/**
 * What makes an upgrade the handshake of a WebSocket, and the answer to that (RFC 6455 section 1.3): HAProxy looks at both.
 */
export const WEBSOCKET_KEY = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
export const WEBSOCKET_ACCEPT = 'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n';

/** Opens a raw connection to a satellite, or to somebody else, which ends with the test. */
export async function wire(port: number, from = OUTSIDE, host = '127.0.0.1'): Promise<Wire> {
  const socket = connect({ host, port, localAddress: from, allowHalfOpen: true });
  cleanup(() => socket.destroy());
  await once(socket, 'connect');
  return new Wire(socket);
}
