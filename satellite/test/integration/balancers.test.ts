/**
 * Three satellites on one PostgreSQL behind one address: Debian's HAProxy and nginx with the configurations that
 * docs/scaling.md shows, to the letter but for addresses, ports, names and paths.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer, type Server, type ServerResponse } from 'node:http';
import { request } from 'node:https';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { installDatabase, installFronts } from '../../../lab/lab.ts';
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
import { Postgres } from './postgres.ts';
import { type Program, satelliteCommand, spawnProgram } from './program.ts';

const exec = promisify(execFile);

const guide = readFileSync(new URL('../../../docs/scaling.md', import.meta.url), 'utf8');

/** The first block of this kind below a heading of the guide. */
function example(heading: string, kind: 'yaml' | 'text'): string {
  const [, section = ''] = guide.split(new RegExp(`^##+ ${heading}$`, 'm'));
  const [, text] =
    new RegExp(`^\`\`\`${kind}\n(.*?)^\`\`\`$`, 'ms').exec(section.split(/^##+ /m, 1)[0] ?? '') ?? [];
  if (text === undefined) throw new Error(`docs/scaling.md has no ${kind} below "${heading}"`);
  return text;
}

const PASSED_ON = 'HAProxy, TLS at the satellites';
const TLS_AT_HAPROXY = 'HAProxy, TLS at HAProxy';
const hosts = ['10.21.0.21', '10.21.0.22', '10.21.0.23'];

/** The state of one satellite, whose way to the database can be cut. */
class Way {
  readonly state: string;
  readonly #socket: string;
  readonly #database: string;
  readonly #open = new Set<Socket>();
  #server = createServer();

  /** Its own socket of the server's, in a folder of its own. */
  constructor(folder: string, database: Postgres, name: string) {
    this.#database = join(database.folder, `.s.PGSQL.${database.port}`);
    this.#socket = join(folder, `.s.PGSQL.${database.port}`);
    this.state = `postgresql:///${name}?host=${folder}&port=${database.port}&user=satellite`;
  }

  async open(): Promise<void> {
    this.#server = createServer((socket) => {
      const there = connect(this.#database);
      for (const one of [socket, there]) {
        this.#open.add(one);
        one.on('error', () => undefined);
        one.once('close', () => {
          this.#open.delete(one);
          for (const other of [socket, there]) other.destroy();
        });
      }
      socket.pipe(there).pipe(socket);
    }).listen(this.#socket);
    await once(this.#server, 'listening');
  }

  async cut(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.close();
    for (const socket of this.#open) socket.destroy();
    await once(this.#server, 'close');
  }
}

/** One of three that share a state. */
interface Member {
  readonly way: Way;
  readonly host: string;
  readonly port: number;
  readonly config: string;
  program: Program;
}

interface Balancer {
  readonly name: string;
  readonly port: number;
  readonly members: readonly Member[];
}

const obstacle =
  process.getuid?.() === 0 && existsSync('/etc/debian_version')
    ? undefined
    : 'only root can install and start Debian’s HAProxy, nginx and PostgreSQL';
const leftOut = obstacle !== undefined && !process.env.START_JUPYTER_TEST_COMPLETE;

describe.skipIf(leftOut)(`several behind one address${leftOut ? ` (left out: ${obstacle})` : ''}`, () => {
  let folder: string;
  let database: Postgres;
  let notebook: Server;
  let certificate: { cert: string; key: string; both: string };
  /** Those that HAProxy and nginx pass connections on to, and those behind a HAProxy that does TLS. */
  let direct: Member[];
  let behind: Member[];
  const programs: Program[] = [];
  let balancers: Balancer[];
  let nginx: { reload(down?: number): Promise<void> };
  let plain: number;
  const slow: ServerResponse[] = [];

  beforeAll(async () => {
    const say = (line: string): void => console.error(line);
    await installFronts(say);
    await installDatabase(say);
    folder = await mkdtemp(join(tmpdir(), 'balancers-'));
    await chmod(folder, 0o711);
    const { cert, key } = await makeCertificate(folder, namesBelow(DOMAIN));
    certificate = { cert, key, both: join(folder, 'both.pem') };
    await writeFile(certificate.both, readFileSync(cert, 'utf8') + readFileSync(key, 'utf8'), {
      mode: 0o600,
    });
    notebook = createHttpServer((request, response) => {
      if (request.url === '/slow') {
        response.write('begun ');
        slow.push(response);
      } else response.end(`${request.headers['x-forwarded-for']} is here`);
    });
    notebook.on('upgrade', ({ headers }, socket: Socket) => {
      const accept = createHash('sha1')
        .update(`${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64');
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      socket.on('error', () => socket.destroy());
      socket.pipe(socket);
    });
    notebook.listen(0, NODE1);
    await once(notebook, 'listening');
    database = await Postgres.start();
    await database.sql('CREATE DATABASE satellite');
    [direct, behind] = (await Promise.all([
      Promise.all(hosts.map((_, i) => member(PASSED_ON, `127.21.2.2${i}`))),
      Promise.all(hosts.map((_, i) => member(TLS_AT_HAPROXY, `127.21.3.2${i}`))),
    ])) as [Member[], Member[]];
    balancers = await Promise.all([haproxyPassingOn(), haproxyWithTls(), nginxPassingOn()]);
  });

  afterAll(async () => {
    await Promise.all(
      programs.map(async (program) => {
        if (program.exitCode !== null || program.signalCode !== null) return;
        const ended = once(program, 'close');
        // nginx and HAProxy take their workers along; satellites have nothing to say goodbye to.
        program.kill(program.spawnfile === process.execPath ? 'SIGKILL' : 'SIGTERM');
        await ended;
      }),
    );
    for (const { way } of [...(direct ?? []), ...(behind ?? [])]) await way.cut();
    notebook?.close();
    notebook?.closeAllConnections();
    await database?.remove();
    await rm(folder, { recursive: true, force: true, maxRetries: 10 });
  });

  function started(command: readonly string[]): Program {
    const program = spawnProgram(command);
    programs.push(program);
    return program;
  }

  /** A satellite with the guide's configuration, and with what the guide adds for this balancer. */
  async function member(heading: string, host: string): Promise<Member> {
    const port = await freePort(host);
    const directory = join(folder, host);
    await mkdir(directory);
    const way = new Way(directory, database, 'satellite');
    await way.open();
    const own = (text: string): string =>
      text
        .replaceAll('user-content.example.edu', DOMAIN)
        .replaceAll('/etc/satellite/fullchain.pem', certificate.cert)
        .replaceAll('/etc/satellite/privkey.pem', certificate.key)
        .replaceAll('10.21.0.21:8080', `${host}:${port}`)
        .replaceAll('10.21.0.0/16', '127.21.0.0/16')
        .replaceAll('10.21.0.5/32', '127.0.0.1/32');
    const { auth: _, ...shared } = parse(own(example('Several behind one state', 'yaml')));
    const config = join(directory, 'satellite.yaml');
    const all = {
      ...shared,
      listen: `${host}:${port}`,
      ...parse(own(example(heading, 'yaml'))),
      state: way.state,
      statusSocket: join(directory, 'status.sock'),
    };
    await writeFile(config, JSON.stringify(all));
    const made = { way, host, port, config };
    return { ...made, program: await serve(config) };
  }

  async function serve(config: string): Promise<Program> {
    const program = started([...satelliteCommand, 'serve', '--config', config]);
    await program.logged('listening');
    return program;
  }

  /** The guide's addresses are these satellites'. */
  function withMembers(text: string, members: readonly Member[]): string {
    let own = text.replaceAll('user-content.example.edu', DOMAIN);
    for (const [i, { host, port }] of members.entries())
      own = own.replace(new RegExp(`${hosts[i]?.replaceAll('.', '\\.')}:\\d+`, 'g'), `${host}:${port}`);
    expect(own).not.toMatch(/10\.21\.0\./);
    return own;
  }

  async function isOpen(host: string, port: number): Promise<boolean> {
    const socket = connect(port, host);
    const opened = once(socket, 'connect').then(() => true);
    const is = await opened.catch(() => false);
    socket.destroy();
    return is;
  }

  async function listening(port: number, program: Program): Promise<void> {
    while (!(await isOpen('127.0.0.1', port))) {
      if (program.exitCode !== null) throw new Error(program.lines.join('\n'));
      await pause(20);
    }
  }

  async function haproxyPassingOn(): Promise<Balancer> {
    const port = await freePort('127.0.0.1');
    plain = await freePort('127.0.0.1');
    const file = join(folder, 'passing-on.cfg');
    const text = withMembers(example(PASSED_ON, 'text'), direct)
      .replace('bind :443', `bind 127.0.0.1:${port}`)
      .replace('bind :80', `bind 127.0.0.1:${plain}`);
    await writeFile(file, text);
    const { stderr } = await exec('haproxy', ['-c', '-f', file]);
    expect(stderr).not.toMatch(/WARNING/i);
    await listening(port, started(['haproxy', '-db', '-f', file]));
    return { name: PASSED_ON, port, members: direct };
  }

  async function haproxyWithTls(): Promise<Balancer> {
    const [port, redirect] = [await freePort('127.0.0.1'), await freePort('127.0.0.1')];
    const file = join(folder, 'with-tls.cfg');
    const [node, ...main] = satelliteCommand;
    const { stdout } = await exec(node, [
      ...[...main, 'front', 'haproxy', '--config', behind[0]?.config ?? ''],
      ...['--certificate', certificate.both, '--listen', `127.0.0.1:${port}`],
      ...['--redirect-http-from', `127.0.0.1:${redirect}`],
    ]);
    const lines = withMembers(example(TLS_AT_HAPROXY, 'text'), behind);
    const text = stdout.replace(/^ {2}server satellite .*\n/m, lines);
    expect(text).toContain(lines);
    await writeFile(file, text);
    const { stderr } = await exec('haproxy', ['-c', '-f', file]);
    expect(stderr).not.toMatch(/WARNING/i);
    await listening(port, started(['haproxy', '-db', '-f', file]));
    return { name: TLS_AT_HAPROXY, port, members: behind };
  }

  async function nginxPassingOn(): Promise<Balancer> {
    const port = await freePort('127.0.0.1');
    const file = join(folder, 'nginx.conf');
    const text = withMembers(example('nginx', 'text'), direct).replace(
      'listen 443',
      `listen 127.0.0.1:${port}`,
    );
    await writeFile(file, text);
    const own = `daemon off; pid ${join(folder, 'nginx.pid')}; error_log stderr notice;`;
    const program = started(['nginx', '-c', file, '-g', own]);
    await listening(port, program);
    const gone = (): number => program.lines.filter((line) => /gracefully shutting down/.test(line)).length;
    nginx = {
      /** Takes a satellite out, or none. */
      reload: async (down) => {
        const { host, port: at } = direct[down ?? -1] ?? {};
        await writeFile(
          file,
          text.replace(`server ${host}:${at}`, (server) => `${server} down`),
        );
        const before = gone();
        process.kill(program.pid as number, 'SIGHUP');
        while (gone() === before) await pause(10);
      },
    };
    return { name: 'nginx', port, members: direct };
  }

  /** Over a connection of its own. */
  async function ask(
    { port }: Balancer,
    host: string,
    path: string,
    { from = '127.0.0.1', method = 'GET', body = '' } = {},
  ): Promise<{ status: number; text: string }> {
    const outgoing = request({
      ...{ host: '127.0.0.1', port, servername: host, path, method, localAddress: from, agent: false },
      headers: { Host: host, ...(method !== 'GET' && { 'Content-Length': Buffer.byteLength(body) }) },
      rejectUnauthorized: false,
    });
    outgoing.end(body);
    const [response] = await once(outgoing, 'response');
    let text = '';
    for await (const chunk of response) text += chunk;
    return { status: response.statusCode, text };
  }

  const manage = `manage.${DOMAIN}`;

  /** A site, asked for and redeemed through a balancer by the hosts inside. */
  async function site(balancer: Balancer): Promise<string> {
    const issued = await ask(balancer, manage, '/api/v1/tokens', { method: 'POST', from: LOGIN });
    expect(issued.status, issued.text).toBe(201);
    const { token } = JSON.parse(issued.text) as { token: string };
    const { port } = notebook.address() as AddressInfo;
    const redeemed = await ask(balancer, manage, `/api/v1/tokens/${token}/redeem`, {
      ...{ method: 'POST', from: NODE1, body: JSON.stringify({ port }) },
    });
    expect(redeemed.status, redeemed.text).toBe(200);
    return siteHost(token);
  }

  /** Live at all satellites: a balancer may lead to any. */
  async function siteEverywhere(): Promise<string> {
    const host = await site(balancers[0] as Balancer);
    for (const balancer of balancers)
      for (let n = 0; n < 8; n += 1)
        await expect.poll(async () => (await ask(balancer, host, '/', { from: client(n) })).status).toBe(200);
    return host;
  }

  const client = (n: number): string => `127.0.0.${20 + n}`;
  let asked = 0;

  /** Which of the satellites answers a client of this address. */
  async function placeOf(balancer: Balancer, host: string, from: string): Promise<number> {
    asked += 1;
    const path = `/asked-${asked}`;
    expect((await ask(balancer, host, path, { from })).status).toBe(200);
    const served = ({ program }: Member): boolean => program.lines.some((line) => line.includes(`"${path}"`));
    for (;;) {
      const place = balancer.members.findIndex(served);
      if (place >= 0) return place;
      await pause(10);
    }
  }

  /** An address whose client this satellite has. */
  async function clientAt(
    balancer: Balancer,
    host: string,
    isWanted: (place: number) => boolean,
  ): Promise<string> {
    // Until the test's time is over: nginx comes back to a satellite only after 10 s.
    for (let n = 0; ; n = (n + 1) % 100)
      if (isWanted(await placeOf(balancer, host, client(n)))) return client(n);
  }

  async function webSocket({ port }: Balancer, host: string, from: string): Promise<Wire> {
    const connection = new Wire(await secureWire(port, host, { from, protocols: ['http/1.1'] }));
    connection.send(
      `GET /socket HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    );
    await connection.until(/^HTTP\/1\.1 101 [\s\S]*\r\n\r\n/);
    return connection;
  }

  const both = (): Member[][] => [direct, behind];

  test('sites are redeemed and visited through each, and visitors are who they are', async () => {
    for (const balancer of balancers) {
      const host = await site(balancer);
      for (const from of [client(0), client(1)])
        await expect
          .poll(() => ask(balancer, host, '/', { from }))
          .toEqual({ status: 200, text: `${from} is here` });
      const stranger = await ask(balancer, manage, '/api/v1/tokens', { method: 'POST', from: client(0) });
      expect([balancer.name, stranger.status]).toEqual([balancer.name, 403]);
      // As browsers do.
      const { head } = beginHttp2(await session(balancer.port, host, { from: client(0) }), { host });
      expect((await bodyOf(await head)).toString()).toBe(`${client(0)} is here`);
    }
    const redirected = await wire(plain);
    redirected.send(`GET /a?b HTTP/1.1\r\nHost: a-b-c.${DOMAIN}\r\n\r\n`);
    await redirected.until(new RegExp(`^HTTP/1.1 308 [^]*location: https://a-b-c.${DOMAIN}/a\\?b\r\n`));
  });

  test('one is killed: WebSockets of the others go on, its own come again at the next', async () => {
    const host = await siteEverywhere();
    const open = await Promise.all(
      balancers.map(async (balancer) => {
        const [mine, others] = [
          await clientAt(balancer, host, (place) => place === 0),
          await clientAt(balancer, host, (place) => place !== 0),
        ];
        return {
          balancer,
          mine,
          lost: await webSocket(balancer, host, mine),
          kept: await webSocket(balancer, host, others),
        };
      }),
    );
    const firsts = both().map((all) => all[0] as Member);
    const dead = firsts.map(({ program }) => once(program, 'close'));
    for (const { program } of firsts) program.kill('SIGKILL');
    await Promise.all(dead);
    for (const { balancer, mine, lost, kept } of open) {
      await lost.ended();
      const again = await webSocket(balancer, host, mine);
      await again.send('again').until(/again$/);
      await kept.send('still here').until(/still here$/);
      expect(await ask(balancer, host, '/', { from: mine })).toEqual({
        status: 200,
        text: `${mine} is here`,
      });
    }
    for (const first of firsts) first.program = await serve(first.config);
    for (const { balancer, mine } of open.slice(0, 2))
      await expect.poll(() => placeOf(balancer, host, mine)).toBe(0);
  });

  test('one that does not reach the database is left out until it does', async () => {
    const host = await siteEverywhere();
    const withChecks = balancers.slice(0, 2);
    const clients = await Promise.all(
      withChecks.map((balancer) => clientAt(balancer, host, (place) => place === 1)),
    );
    const unknown = async (i: number): Promise<number> =>
      (await ask(withChecks[i] as Balancer, `no-such-name.${DOMAIN}`, '/api', { from: clients[i] })).status;
    for (const [, second] of both()) await second?.way.cut();
    for (const [, second] of both()) await second?.program.logged('database-away');
    for (const i of [0, 1]) {
      await expect.poll(() => unknown(i)).toBe(404);
      expect(await placeOf(withChecks[i] as Balancer, host, clients[i] as string)).not.toBe(1);
    }
    for (const [, second] of both()) await second?.way.open();
    for (const i of [0, 1])
      await expect.poll(() => placeOf(withChecks[i] as Balancer, host, clients[i] as string)).toBe(1);
  });

  test('all are restarted one after the other, and no request fails', async () => {
    const host = await siteEverywhere();
    const failures: string[] = [];
    let done = 0;
    let isOver = false;
    const visitor = async (balancer: Balancer, n: number): Promise<void> => {
      for (let i = 0; !isOver; i += 1) {
        const from = client(n);
        const [what, good] =
          i % 4 === 0
            ? [() => ask(balancer, manage, '/api/v1/tokens', { method: 'POST', from: LOGIN }), 201]
            : [() => ask(balancer, host, '/', { from }), 200];
        const answer = await what().catch((error: Error) => ({ status: 0, text: error.message }));
        if (answer.status !== good) failures.push(`${balancer.name}: ${answer.status} ${answer.text}`);
        done += 1;
        await pause(20);
      }
    };
    const visitors = balancers.flatMap((balancer) => [0, 1, 2, 3].map((n) => visitor(balancer, n)));
    for (const i of [0, 1, 2]) {
      const underWay: Promise<unknown>[] = [];
      for (const balancer of balancers) {
        const from = await clientAt(balancer, host, (place) => place === i);
        const answer = ask(balancer, host, '/slow', { from });
        underWay.push(answer.catch((error: Error) => error));
        while (slow.length < underWay.length) await pause(5);
      }
      await nginx.reload(i);
      const members = both().map((all) => all[i] as Member);
      const ended = members.map(({ program }) => once(program, 'close'));
      for (const { program } of members) program.kill('SIGTERM');
      for (const { host: at, port } of members) await expect.poll(() => isOpen(at, port)).toBe(false);
      for (const response of slow.splice(0)) response.end('and ended');
      for (const answer of await Promise.all(underWay))
        expect(answer).toEqual({ status: 200, text: 'begun and ended' });
      for (const [code] of await Promise.all(ended)) expect(code).toBe(0);
      await Promise.all(
        members.map(async (one) => {
          one.program = await serve(one.config);
        }),
      );
    }
    await nginx.reload();
    isOver = true;
    await Promise.all(visitors);
    expect(failures).toEqual([]);
    expect(done).toBeGreaterThan(0);
  });
});
