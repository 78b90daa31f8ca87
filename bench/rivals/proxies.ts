import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { LabError, lastLines } from '../../lab/errors.ts';
import { makeCertificate, namesBelow } from '../../satellite/test/certificate.ts';
import {
  DOMAIN,
  type Engine,
  endWithRun,
  expectStatus,
  makeSites,
  type Notebook,
  SatelliteProcess,
  scratch,
} from '../bench.ts';
import { placed } from '../processes.ts';
import type { Contestant } from '../turns.ts';
import { apache, caddy, fileServer, haproxy, nginx } from './configurations.ts';

const run = promisify(execFile);

/** What every proxy of a comparison is given. */
export interface Stage {
  /** Certificate and key, and a file that holds both (PEM). */
  readonly cert: string;
  readonly key: string;
  readonly both: string;
  /** The server behind it. */
  readonly target: Notebook;
  /** For the satellite: how many live sites there are, and how many of them are visited. */
  readonly sites: { readonly live: number; readonly visited: number };
  /** Do they write a line for each request? The satellite does in any case; those of npm never do. */
  readonly logs: boolean;
  /** For the satellite, to profile it. */
  readonly nodeOptions: readonly string[];
}

/** A proxy that runs, in processes of its own. */
export interface RunningProxy extends Contestant {
  stop(): Promise<void>;
}

export interface Proxy {
  readonly isOurs: boolean;
  /** Debian's package that it comes from. */
  readonly debian?: string;
  /** A thread is taken by each WebSocket for as long as it is open. */
  readonly takesThreads?: boolean;
  version(): Promise<string>;
  start(name: string, stage: Stage): Promise<RunningProxy>;
}

const nodeFolder = import.meta.dirname;
const nodeModules = path.join(nodeFolder, 'node_modules');

/** Installs those that come from npm, in the versions of package-lock.json, unless they are there. */
export async function installFromNpm(say: (line: string) => void): Promise<void> {
  const wanted = JSON.parse(readFileSync(path.join(nodeFolder, 'package.json'), 'utf8')).dependencies;
  const isThere = Object.entries(wanted).every(
    ([name, version]) => existsSync(manifest(name)) && installedVersion(name) === version,
  );
  if (isThere) return;
  say('installing proxies from npm, in the versions of bench/rivals/package-lock.json');
  await run('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: nodeFolder });
}

const manifest = (name: string): string => path.join(nodeModules, name, 'package.json');
const installedVersion = (name: string): string => JSON.parse(readFileSync(manifest(name), 'utf8')).version;

const satellite = (engine: Engine): Proxy => ({
  isOurs: true,
  ...(engine === 'haproxy' && { debian: 'haproxy' }),
  version: async () => `Node ${process.version}`,
  start: startSatellite(engine),
});

/** One made of Node.js: its arguments after node's own. */
const ofNode = (
  library: string,
  args: (port: number, target: string, stage: Stage, folder: string) => readonly string[] | Promise<string[]>,
): Proxy => ({
  isOurs: false,
  version: async () => `${installedVersion(library)}, Node ${process.version}`,
  start: async (name, stage) => {
    const [folder, port] = [scratch(), await freePort()];
    const target = `http://${stage.target.address}:${stage.target.port}`;
    return started(name, stage, port, folder, [
      process.execPath,
      ...(await args(port, target, stage, folder)),
    ]);
  },
});

/** One of Debian's: its configuration, and its command. */
const ofDebian = (
  debian: string,
  version: readonly string[],
  configuration: (stage: Stage, port: number, folder: string) => string,
  command: (file: string, folder: string) => readonly string[],
): Proxy => ({
  isOurs: false,
  debian,
  version: async () => {
    const { stdout, stderr } = await run(version[0] as string, version.slice(1));
    return /\d+\.\d+\.\d+\S*/.exec(stdout + stderr)?.[0] ?? '';
  },
  start: async (name, stage) => {
    const [folder, port] = [scratch(), await freePort()];
    const file = path.join(folder, 'configuration');
    writeFileSync(file, configuration(stage, port, folder));
    return started(name, stage, port, folder, command(file, folder));
  },
});

/** All that there are, by the name that --only takes. */
export const proxies: Readonly<Record<string, Proxy>> = {
  satellite: satellite('node'),
  'satellite-haproxy': satellite('haproxy'),
  nginx: ofDebian('nginx', ['nginx', '-v'], nginx, (file, folder) => ['nginx', '-p', folder, '-c', file]),
  haproxy: ofDebian('haproxy', ['haproxy', '-v'], haproxy, (file) => ['haproxy', '-db', '-f', file]),
  apache: {
    ...ofDebian('apache2-bin', ['apache2', '-v'], apache, (file) => ['apache2', '-f', file, '-DFOREGROUND']),
    takesThreads: true,
  },
  caddy: ofDebian('caddy', ['caddy', 'version'], caddy, (file, folder) => [
    ...['env', 'GOMAXPROCS=1', `HOME=${folder}`, `XDG_DATA_HOME=${folder}`, `XDG_CONFIG_HOME=${folder}`],
    ...['caddy', 'run', '--adapter', 'caddyfile', '--config', file],
  ]),
  'configurable-http-proxy': ofNode('configurable-http-proxy', async (port, target, { cert, key }) => [
    path.join(nodeModules, 'configurable-http-proxy/bin/configurable-http-proxy'),
    ...['--ip', '127.0.0.1', '--port', String(port), '--ssl-cert', cert, '--ssl-key', key],
    ...['--api-ip', '127.0.0.1', '--api-port', String(await freePort()), '--default-target', target],
  ]),
  'http-proxy-3': library('http-proxy-3'),
  httpxy: library('httpxy'),
};

function library(name: string): Proxy {
  return ofNode(name, (port, target, { cert, key }) => [
    path.join(nodeFolder, 'node-proxy.mjs'),
    ...[name, String(port), target, cert, key],
  ]);
}

/** A certificate, and a file with it and its key. */
export async function makeFiles(): Promise<{ cert: string; key: string; both: string }> {
  const folder = scratch();
  const { cert, key } = await makeCertificate(folder, namesBelow(DOMAIN));
  const both = path.join(folder, 'both.pem');
  writeFileSync(both, readFileSync(cert, 'utf8') + readFileSync(key, 'utf8'), { mode: 0o600 });
  return { cert, key, both };
}

/** nginx as the server behind the proxies, with these files in its folder. */
export async function startFiles(
  address: string,
  files: Readonly<Record<string, Buffer>>,
): Promise<Notebook> {
  const folder = scratch();
  mkdirSync(path.join(folder, 'files'));
  for (const [name, content] of Object.entries(files))
    writeFileSync(path.join(folder, 'files', name), content);
  const port = await freePort(address);
  const file = path.join(folder, 'configuration');
  writeFileSync(file, fileServer(address, port, folder));
  const child = begin('others', folder, ['nginx', '-p', folder, '-c', file]);
  await listening(child, address, port, folder);
  return { address, port };
}

const begin = (where: 'proxy' | 'others', folder: string, command: readonly string[]): ChildProcess => {
  const log = openSync(path.join(folder, 'log'), 'w');
  const [program, args] = placed(where, command);
  const child = spawn(program, args, { stdio: ['ignore', log, log] });
  closeSync(log);
  endWithRun(child);
  return child;
};

async function started(
  name: string,
  { cert }: Stage,
  port: number,
  folder: string,
  command: readonly string[],
): Promise<RunningProxy> {
  const child = begin('proxy', folder, command);
  await listening(child, '127.0.0.1', port, folder);
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill();
      await once(child, 'close');
    }
  };
  return {
    ...{ name, port, hosts: [`site.${DOMAIN}`], ca: readFileSync(cert, 'utf8'), pid: child.pid as number },
    stop,
  };
}

function startSatellite(engine: Engine) {
  return async (name: string, { cert, key, target, sites, nodeOptions }: Stage): Promise<RunningProxy> => {
    const satellite = await SatelliteProcess.start(path.join(scratch(), 'state.sqlite'), {
      ...{ nodeOptions, certificate: { cert, key }, observed: false },
      engine,
      within: (command) => placed('proxy', command).flat(),
    });
    const { tokens } = await makeSites(satellite, [target], sites.live);
    const visitor = satellite.client(tokens[0] as string, '127.3.0.1');
    expectStatus(await visitor.ask('GET', '/'), 200, 'a site');
    await visitor.close();
    return {
      ...{ name, port: satellite.port, ca: satellite.ca, pid: satellite.pid },
      hosts: tokens.slice(-sites.visited).map((token) => `${token}.${DOMAIN}`),
      stop: () => satellite.stop(),
    };
  };
}

/** Waits until somebody listens there. Throws if the process has ended by then. */
async function listening(child: ChildProcess, host: string, port: number, folder: string): Promise<void> {
  for (;;) {
    const socket = connect({ host, port });
    const connected = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (connected) return;
    if (child.exitCode !== null || child.signalCode !== null)
      throw new LabError(
        `${child.spawnargs.join(' ')} has ended:\n${lastLines(readFileSync(path.join(folder, 'log'), 'utf8'))}`,
      );
    await pause(20);
  }
}

async function freePort(host = '127.0.0.1'): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
