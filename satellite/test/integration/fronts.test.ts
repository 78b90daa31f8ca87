/**
 * Debian's nginx, Apache, HAProxy and Caddy in front of the proxy, each with the configuration that `satellite front` prints
 * for it, to the byte: their own check of it, a real Jupyter in a browser, and everything that a front can spoil.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer, type IncomingMessage, type Server } from 'node:http';
import type { ClientHttp2Session } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installFronts } from '../../../lab/lab.ts';
import { JupyterLabPage } from '../../../test/e2e/browser/jupyterlab-page.ts';
import { expectToCollaborate, expectToWork } from '../../../test/e2e/browser/work.ts';
import { type LogEntry, type Satellite, startSatellite } from '../../src/index.ts';
import { browserObstacle, openBrowser } from '../browser.ts';
import { makeCertificate, namesBelow } from '../certificate.ts';
import {
  beginHttp2,
  bodyOf,
  DOMAIN,
  freePort,
  LOGIN,
  NODE1,
  secureWire,
  session,
  siteHost,
  Wire,
  wire,
} from '../support.ts';
import { collaborativeLab, startJupyter } from './jupyters.ts';
import { satelliteCommand } from './program.ts';

const run = promisify(execFile);

interface FrontProgram {
  readonly name: 'nginx' | 'apache' | 'haproxy' | 'caddy';
  readonly check: (file: string) => string[];
  readonly serve: (file: string) => string[];
}

const programs: readonly FrontProgram[] = [
  {
    name: 'nginx',
    check: (file) => ['nginx', '-t', '-c', file],
    serve: (file) => ['nginx', '-c', file, '-g', 'daemon off;'],
  },
  {
    name: 'apache',
    check: (file) => ['apache2', '-t', '-f', file],
    serve: (file) => ['apache2', '-f', file, '-DFOREGROUND'],
  },
  {
    name: 'haproxy',
    check: (file) => ['haproxy', '-c', '-f', file],
    serve: (file) => ['haproxy', '-db', '-f', file],
  },
  {
    name: 'caddy',
    check: (file) => ['caddy', 'validate', '--adapter', 'caddyfile', '--config', file],
    serve: (file) => ['caddy', 'run', '--adapter', 'caddyfile', '--config', file],
  },
];

/** Runs a command with directories of its own in the places that the configurations name; its logs go to the first one. */
const apart = (logs: string, command: readonly string[]): [string, string[]] => [
  'unshare',
  [
    '--mount',
    'sh',
    '-ec',
    `mount --bind "$1" /var/log; shift
    mount -t tmpfs none /run; mkdir -p /run/apache2 /run/lock
    mount -t tmpfs none /var/lib/caddy
    exec "$@"`,
    'sh',
    logs,
    ...command,
  ],
];

/** Neither inside nor the front's own address. */
const STRANGER = '127.0.0.99';
const OTHER = 'www.other-site.test';
const SECRET = randomBytes(24).toString('hex');
const MEGABYTES = 200;

const obstacle =
  process.getuid?.() === 0 && existsSync('/etc/debian_version')
    ? browserObstacle
    : 'only root can install and start Debian’s web servers with directories of their own';
const leftOut = obstacle !== undefined && !process.env.START_JUPYTER_TEST_COMPLETE;

describe.skipIf(leftOut)(`with a front${leftOut ? ` (left out: ${obstacle})` : ''}`, () => {
  let folder: string;
  /** What Jupyter shows. */
  let home: string;
  let certificate: string;
  let browser: Browser;
  let jupyter: Awaited<ReturnType<typeof startJupyter>>;
  let notebook: Server;
  let elsewhere: Server;
  /** What the notebook was last asked. */
  let asked: IncomingMessage | undefined;
  let nextEvent: () => void = () => undefined;
  let onPiece: () => void = () => undefined;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fronts-'));
    // Workers of a front are other users, and serve the challenges.
    await chmod(folder, 0o711);
    await mkdir(join(folder, 'acme/.well-known/acme-challenge'), { recursive: true });
    await writeFile(join(folder, 'acme/.well-known/acme-challenge/a-token'), 'its answer');
    const files = await makeCertificate(folder, [...namesBelow(DOMAIN), `DNS:${OTHER}`]);
    certificate = files.cert;
    const both = (await readFile(certificate, 'utf8')) + (await readFile(files.key, 'utf8'));
    await writeFile(certificate, both, { mode: 0o600 });
    const spki = new X509Certificate(both).publicKey.export({ type: 'spki', format: 'der' });
    await installFronts((line) => console.error(line));
    notebook = createHttpServer({ requestTimeout: 0, maxHeaderSize: 65_536 }, (request, response) => {
      asked = request;
      if (request.url === '/down') {
        const piece = Buffer.alloc(1024 * 1024, 'x');
        let left = MEGABYTES;
        const more = (): void => {
          while (left > 0 && response.write(piece)) left -= 1;
          if (left <= 0) response.end();
          else {
            left -= 1;
            response.once('drain', more);
          }
        };
        response.setHeader('Content-Length', String(MEGABYTES * piece.length));
        more();
      } else if (request.url === '/events') {
        response.setHeader('Content-Type', 'text/event-stream');
        response.write('data: 1\n\n');
        nextEvent = () => response.write('data: 2\n\n');
      } else {
        let length = 0;
        request.on('data', (chunk: Buffer) => {
          length += chunk.length;
          onPiece();
        });
        request.on('end', () => {
          response.setHeader('Strict-Transport-Security', 'max-age=0');
          response.end(JSON.stringify({ url: request.url, length, fields: request.headersDistinct }));
        });
      }
    });
    notebook.on('upgrade', ({ headers }, socket: Socket) => {
      // RFC 6455 section 4.2.2; HAProxy looks at it.
      const accept = createHash('sha1')
        .update(`${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64');
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      socket.pipe(socket);
    });
    elsewhere = createHttpServer((request, response) => {
      response.end(`another site at ${request.headers.host}`);
    });
    for (const server of [notebook, elsewhere]) {
      server.listen(0, NODE1);
      await once(server, 'listening');
    }
    home = join(folder, 'home');
    await mkdir(home);
    [jupyter, browser] = await Promise.all([
      startJupyter(collaborativeLab, SECRET, home),
      openBrowser(createHash('sha256').update(spki).digest('base64')),
    ]);
  });

  afterAll(async () => {
    await browser?.close();
    await jupyter?.stop();
    for (const server of [notebook, elsewhere]) {
      server?.close();
      server?.closeAllConnections();
    }
    await rm(folder, { recursive: true, force: true, maxRetries: 10 });
  }, 60_000);

  describe.each(programs)('$name', ({ name, check, serve }) => {
    let proxy: Satellite;
    const log: LogEntry[] = [];
    let file: string;
    let logs: string;
    let port: number;
    let plain: number;
    let stop: () => Promise<void> = async () => undefined;
    let said = '';

    beforeAll(async () => {
      proxy = await startSatellite(
        {
          domain: DOMAIN,
          listen: '127.0.0.1:0',
          tls: 'off',
          trustedProxies: ['127.0.0.1/32'],
          // The front's own address is inside, too: what it forgot to say would open the door.
          internalNetworks: ['127.21.0.0/16', '127.0.0.1/32'],
          state: ':memory:',
        },
        { log: (entry) => log.push(entry) },
      );
      [port, plain] = [await freePort('127.0.0.1'), await freePort('127.0.0.1')];
      [file, logs] = [join(folder, `${name}.conf`), join(folder, `${name}-logs`)];
      for (const directory of ['nginx', 'apache2']) await mkdir(join(logs, directory), { recursive: true });
      const config = join(folder, 'satellite.yaml');
      const { host, port: inside } = proxy.address;
      await writeFile(
        config,
        `domain: ${DOMAIN}\nlisten: ${host}:${inside}\ntls: off\ntrustedProxies: [127.0.0.1/32]\n`,
      );
      const client = elsewhere.address() as AddressInfo;
      const [node, ...main] = satelliteCommand;
      const { stdout } = await run(node, [
        ...main,
        ...['front', name, '--config', config, '--certificate', certificate],
        ...['--listen', `127.0.0.1:${port}`, '--redirect-http-from', `127.0.0.1:${plain}`],
        ...['--other-site', `${OTHER}=http://${NODE1}:${client.port}`],
        ...['--acme', name === 'haproxy' ? `${NODE1}:${client.port}` : join(folder, 'acme')],
      ]);
      await writeFile(file, stdout);
    });

    afterAll(async () => {
      await stop();
      await proxy?.close();
    });

    async function start(): Promise<void> {
      const child = spawn(...apart(logs, serve(file)), { stdio: ['ignore', 'pipe', 'pipe'] });
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (chunk: Buffer) => {
          said += chunk;
        });
      const ended = once(child, 'exit');
      stop = async () => {
        child.kill('SIGTERM');
        await ended;
      };
      const listening = async () => {
        if (child.exitCode !== null) throw new Error(`${name} ended:\n${said}`);
        (await wire(port)).socket.destroy();
      };
      await expect.poll(() => listening().then(() => 'listening', String)).toBe('listening');
    }

    const visitorsConnection = (host: string, from = STRANGER): Promise<ClientHttp2Session> =>
      session(port, host, { from });

    /** Over HTTP/2, as browsers ask. */
    async function ask(
      host: string,
      path: string,
      { from = STRANGER, method = 'GET', headers = {}, body = '' } = {},
    ) {
      const { sender, head } = beginHttp2(await visitorsConnection(host, from), {
        host,
        path,
        method,
        headers,
      });
      if (method !== 'GET') sender.end(body);
      const { status, headers: fields } = await head;
      return { status, fields, text: (await bodyOf(await head)).toString() };
    }

    /** Over HTTP/1.1, byte for byte; the whole answer, once the connection is closed. */
    async function send(host: string, text: string, from = STRANGER): Promise<string> {
      const connection = new Wire(await secureWire(port, host, { from, protocols: ['http/1.1'] }));
      return connection.send(text).ended();
    }

    /** A site, asked for and redeemed through the front by the hosts inside. */
    async function site(target: number): Promise<string> {
      const host = `manage.${DOMAIN}`;
      const issued = await ask(host, '/api/v1/tokens', { method: 'POST', from: LOGIN });
      expect(issued.status, issued.text).toBe(201);
      const { token } = JSON.parse(issued.text) as { token: string };
      const redeemed = await ask(host, `/api/v1/tokens/${token}/redeem`, {
        ...{ method: 'POST', from: NODE1, headers: { 'content-type': 'application/json' } },
        body: JSON.stringify({ port: target }),
      });
      expect(redeemed.status, redeemed.text).toBe(200);
      return siteHost(token);
    }
    const notebookSite = () => site((notebook.address() as AddressInfo).port);

    test('finds no fault with its configuration, and starts', async () => {
      const [command, args] = apart(logs, check(file));
      const { stderr } = await run(command, args);
      expect(stderr).not.toMatch(/\[warn|WARNING/i);
      await start();
    });

    test('shares the ports: redirects, challenges, another site, and nothing for other names', async () => {
      const redirected = await wire(plain, STRANGER);
      redirected.send(
        `GET /lab//%2Fa?b=%20c&d HTTP/1.1\r\nHost: a-b-c.${DOMAIN}:${plain}\r\nConnection: close\r\n\r\n`,
      );
      const answer = await redirected.ended();
      expect(answer).toMatch(/^HTTP\/1\.1 308 /);
      expect(/^location: (.*)\r$/im.exec(answer)?.[1]).toBe(
        `https://a-b-c.${DOMAIN}:${port}/lab//%2Fa?b=%20c&d`,
      );
      const over = async (host: string, path: string): Promise<string> =>
        (await wire(plain, STRANGER))
          .send(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
          .ended();
      expect(await over(OTHER, '/')).toMatch(/^HTTP\/1\.1 308 /);
      for (const host of [DOMAIN, OTHER])
        expect(await over(host, '/.well-known/acme-challenge/a-token')).toContain(
          name === 'haproxy' ? `another site at ${host}` : '\r\n\r\nits answer',
        );
      expect(await over('evil.test', '/')).not.toMatch(/^location/im);

      expect((await ask(OTHER, '/')).text).toBe(`another site at ${OTHER}`);
      const stranger = await ask('evil.test', '/').catch(() => ({ status: 421, text: '' }));
      expect([stranger.status, stranger.text]).not.toContain('another site');
      expect(stranger.status).toBe(421);
    });

    test('speaks current TLS only, and insists on it', async () => {
      const host = `manage.${DOMAIN}`;
      expect((await secureWire(port, host, { protocols: ['h2', 'http/1.1'] })).alpnProtocol).toBe('h2');
      const refused = (options: object): Promise<TLSSocket | Error> =>
        secureWire(port, host, options as never).catch((error: Error) => error);
      for (const options of [
        { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' },
        { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0' },
      ])
        expect(await refused(options)).toBeInstanceOf(Error);
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const)
        expect((await secureWire(port, host, { maxVersion })).getProtocol()).toBe(maxVersion);
      // Of satellite's own answers, of errors, and in place of the notebook's.
      for (const [at, path] of [
        [host, '/'],
        [`no-such-name.${DOMAIN}`, '/'],
        [await notebookSite(), '/'],
      ] as const)
        expect((await ask(at, path)).fields['strict-transport-security'], at).toBe('max-age=31536000');
    });

    test('a stranger is a stranger, whatever he says, and however he says it', async () => {
      const host = `manage.${DOMAIN}`;
      const claims = [
        {},
        { 'X-Forwarded-For': LOGIN },
        { 'X-Forwarded-For': `${LOGIN}, ${LOGIN}`, 'X-Real-IP': LOGIN, Forwarded: `for=${LOGIN}` },
        { Connection: 'X-Forwarded-For, X-Forwarded-Proto, close', 'X-Forwarded-For': LOGIN },
        { Connection: 'close,x-forwarded-for' },
        { X_Forwarded_For: LOGIN, 'X-Forwarded-Proto': 'http', 'X-Forwarded-Port': '1' },
      ];
      for (const claim of claims) {
        const fields = Object.entries({ Connection: 'close', ...claim }).map(
          ([field, value]) => `${field}: ${value}\r\n`,
        );
        const said = await send(
          host,
          `POST /api/v1/tokens HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0\r\n${fields.join('')}\r\n`,
        );
        expect(said, JSON.stringify(claim)).toMatch(/^HTTP\/1\.1 403 /);
        const { Connection: _, ...overHttp2 } = claim as Record<string, string>;
        const { status } = await ask(host, '/api/v1/tokens', { method: 'POST', headers: overHttp2 });
        expect(status, JSON.stringify(claim)).toBe(403);
      }
      const at = await notebookSite();
      await ask(at, '/', { headers: { 'X-Forwarded-For': LOGIN, 'X-Forwarded-Host': 'evil.test' } });
      expect(asked?.headersDistinct).toMatchObject({
        'x-forwarded-for': [STRANGER],
        'x-forwarded-proto': ['https'],
        'x-forwarded-port': [String(port)],
        'x-forwarded-host': [at],
        'x-real-ip': [STRANGER],
        host: [at],
      });
      expect(new Set(log.filter(({ host }) => host === 'manage').map(({ client }) => client))).toEqual(
        new Set([STRANGER, LOGIN, NODE1]),
      );
    });

    test('passes on what came: names, paths, fields, bodies', async () => {
      const at = await notebookSite();
      for (const path of [
        '/a%2Fb%20c//d/%7e/;x?q=%2F&&r=a+b',
        '/api/contents/x%5By%5D.ipynb',
        '/?%',
        '/a/../b',
        '/%E2%82%AC',
      ]) {
        const text = `GET ${path} HTTP/1.1\r\nHost: ${at}:${port}\r\nConnection: close\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`;
        expect(await send(at, text), path).toMatch(/^HTTP\/1\.1 (200|400)/);
        expect([asked?.url, asked?.headers.host], name).toEqual([path, `${at}:${port}`]);
      }
    });

    test(`carries ${MEGABYTES} MB up and down`, async () => {
      const at = await notebookSite();
      const size = MEGABYTES * 1024 * 1024;
      const up = new Wire(await secureWire(port, at, { from: STRANGER, protocols: ['http/1.1'] }));
      up.send(`PUT /up HTTP/1.1\r\nHost: ${at}\r\nContent-Length: ${size}\r\nConnection: close\r\n\r\n`);
      const piece = Buffer.alloc(1024 * 1024, 'x');
      for (let i = 0; i < MEGABYTES; i += 1) if (!up.socket.write(piece)) await once(up.socket, 'drain');
      expect(await up.ended()).toContain(`"length":${size}`);
      const { head } = beginHttp2(await visitorsConnection(at), { host: at, path: '/down' });
      let length = 0;
      for await (const chunk of (await head).reader) length += (chunk as Buffer).length;
      expect(length).toBe(size);
    });

    test('holds nothing back: events, the beginning of a body, WebSockets', async () => {
      const at = await notebookSite();
      const { head, leave } = beginHttp2(await visitorsConnection(at), { host: at, path: '/events' });
      const events = (await head).reader[Symbol.asyncIterator]();
      expect(String((await events.next()).value)).toBe('data: 1\n\n');
      nextEvent();
      expect(String((await events.next()).value)).toBe('data: 2\n\n');
      leave();

      const upload = new Wire(await secureWire(port, at, { from: STRANGER, protocols: ['http/1.1'] }));
      const arrived = new Promise<void>((resolve) => {
        onPiece = resolve;
      });
      upload.send(
        `PUT /up HTTP/1.1\r\nHost: ${at}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n`,
      );
      // Apache waits for 16 KB.
      upload.send(`10000\r\n${'x'.repeat(65_536)}\r\n`);
      await arrived;
      upload.send('0\r\n\r\n');
      expect(await upload.ended()).toContain('"length":65536');

      const socket = new Wire(await secureWire(port, at, { from: STRANGER, protocols: ['http/1.1'] }));
      socket.send(
        `GET /ws HTTP/1.1\r\nHost: ${at}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
      );
      await socket.until(/^HTTP\/1\.1 101 [\s\S]*\r\n\r\n/);
      await socket.send('there and back').until(/there and back$/);
    });

    test('Jupyter works in a browser, and its token is in no log', async () => {
      const at = await site(jupyter.port);
      // What Jupyter remembers of the last front's visitors is there.
      const folder = `through ${name}`;
      await mkdir(join(home, folder));
      const person = async (path: string): Promise<JupyterLabPage> => {
        const tab = await (await browser.newContext()).newPage();
        await tab.goto(`https://${at}:${port}/lab/tree/${encodeURI(path)}?token=${SECRET}`);
        const page = new JupyterLabPage(tab);
        await page.waitUntilReady();
        return page;
      };
      try {
        const one = await person(folder);
        await expectToWork(one, join(home, folder));
        await one.openNotebook('Untitled.ipynb');
        await expectToCollaborate(one, await person(`${folder}/Untitled.ipynb`));
      } finally {
        await Promise.all(browser.contexts().map((context) => context.close()));
      }
      // With nothing behind it a front has something to complain about.
      await proxy.close();
      const headers = { referer: `https://${at}/?token=${SECRET}` };
      const { status, fields } = await ask(at, `/lab?token=${SECRET}`, { headers });
      expect([502, 503]).toContain(status);
      expect(fields['strict-transport-security']).toBe('max-age=31536000');
      await stop();
      const files = await readdir(logs, { recursive: true, withFileTypes: true });
      const written = await Promise.all(
        files.filter((one) => one.isFile()).map((one) => readFile(join(one.parentPath, one.name), 'utf8')),
      );
      expect([said, ...written].filter((text) => text.includes(SECRET) || text.includes(at))).toEqual([]);
    }, 300_000);
  });
});
