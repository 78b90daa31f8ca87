import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import {
  createServer,
  type IncomingHttpHeaders,
  type RequestListener,
  request,
  type Server,
} from 'node:http';
import {
  type AddressInfo,
  connect,
  createServer as createTcpServer,
  type Socket,
  type Server as TcpServer,
} from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import type { SatelliteConfigInput } from '../src/config.ts';
import { type Satellite, type StartOptions, startSatellite } from '../src/index.ts';
import { openApiDocument } from '../src/management/openapi.ts';

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

afterEach(async () => {
  for (const action of cleanups.splice(0).reverse()) await action();
});

export type TestSatellite = Satellite & { readonly port: number };

/** A satellite on a free loopback port, which ends with the test. */
export async function satellite(
  config: Partial<SatelliteConfigInput> = {},
  options: StartOptions = {},
): Promise<TestSatellite> {
  const started = await startSatellite(
    {
      domain: DOMAIN,
      listen: '127.0.0.1:0',
      tls: 'off',
      internalNetworks: ['127.21.0.0/16'],
      jobStateNetworks: ['127.21.0.1/32'],
      state: ':memory:',
      ...config,
    },
    options,
  );
  cleanup(() => started.close());
  return { ...started, port: started.address.port };
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

/** One request on a connection of its own. */
export async function ask(port: number, options: Ask = {}): Promise<Answer> {
  const { host = `manage.${DOMAIN}`, path = '/', method = 'GET', headers = {}, body, from = LOGIN } = options;
  const outgoing = request({
    host: '127.0.0.1',
    port,
    path,
    method,
    headers: {
      Host: host,
      ...headers,
      ...(body !== undefined && { 'Content-Length': String(Buffer.byteLength(body)) }),
    },
    localAddress: from,
    agent: false,
  });
  outgoing.end(body);
  const [response] = await once(outgoing, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  if (host === `manage.${DOMAIN}`) expectDescribed(method, path, response.statusCode);
  return {
    status: response.statusCode,
    headers: response.headers,
    rawHeaders: response.rawHeaders,
    body: text,
    json: () => JSON.parse(text),
  };
}

const document = openApiDocument('') as {
  paths: Record<string, Record<string, { responses: Record<string, unknown> }>>;
};
const describedPaths = Object.keys(document.paths).map((path) => ({
  path,
  pattern: new RegExp(`^/api/v1${path.replace('{token}', '[^/]+')}(\\?.*)?$`),
}));

/** Whatever a test asks of the API, its answer must be in the OpenAPI document. */
function expectDescribed(method: string, path: string, status: number): void {
  const known = describedPaths.find(({ pattern }) => pattern.test(path))?.path;
  // Of paths and methods that aren't there, and of other hosts, it says nothing.
  if (known === undefined || status === 405 || status === 421) return;
  const name = method === 'HEAD' ? 'get' : method.toLowerCase();
  if (document.paths[known]?.[name]?.responses[status] === undefined)
    throw new Error(`${method} ${known} answered ${status}, which the OpenAPI document doesn't know`);
}

/** A call of the JSON API, from the login host unless told otherwise. */
export function api(
  port: number,
  method: string,
  path: string,
  body?: unknown,
  from?: string,
): Promise<Answer> {
  return ask(port, {
    method,
    path: `/api/v1${path}`,
    ...(body !== undefined && { body: JSON.stringify(body) }),
    ...(from !== undefined && { from }),
  });
}

export async function issue(port: number): Promise<string> {
  return (await api(port, 'POST', '/tokens')).json<{ token: string }>().token;
}

/** A token redeemed from NODE1 for a port there. */
export async function redeemed(port: number, target: number, node = NODE1): Promise<string> {
  const token = await issue(port);
  const answer = await api(port, 'POST', `/tokens/${token}/redeem`, { port: target }, node);
  if (answer.status !== 200) throw new Error(`redeem: ${answer.status} ${answer.body}`);
  return token;
}

export const siteHost = (token: string): string => `${token}.${DOMAIN}`;

/** A request to a site, as a visitor from outside. */
export function visit(port: number, token: string, options: Ask = {}): Promise<Answer> {
  return ask(port, { from: OUTSIDE, host: siteHost(token), ...options });
}

/** A real HTTP server on a free port of NODE1, which ends with the test. */
export async function notebook(listener: RequestListener): Promise<Server & { port: number }> {
  const server = createServer({ requestTimeout: 0 }, listener);
  return Object.assign(server, { port: await listenOn(server) });
}

/** Starts a server on a free port of NODE1, ends it with the test, and gives the port. */
export async function listenOn(server: TcpServer, port = 0): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(port, NODE1);
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

/** A port of NODE1 on which nobody listens. */
export async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, NODE1);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

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

/** Opens a raw connection to a satellite, or to somebody else, which ends with the test. */
export async function wire(port: number, from = OUTSIDE, host = '127.0.0.1'): Promise<Wire> {
  const socket = connect({ host, port, localAddress: from, allowHalfOpen: true });
  cleanup(() => socket.destroy());
  await once(socket, 'connect');
  return new Wire(socket);
}
