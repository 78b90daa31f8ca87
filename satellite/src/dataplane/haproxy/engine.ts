import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ConfigError, type SatelliteConfig } from '../../config.ts';
import type { Log } from '../../log.ts';
import type { Traffic } from '../../operation/traffic.ts';
import { listenOnFile } from '../../socket-file.ts';
import type { Engine } from '../engine.ts';
import { type Account, accountOf, letIn } from './account.ts';
import { AttachedHaproxy } from './attached.ts';
import { haproxyConfiguration, settingsOf } from './configuration.ts';
import { fileNames, namedForHaproxy, removeCertificates, writeOwn } from './files.ts';
import { FolderLock } from './lock.ts';
import { HaproxyLog, type WriteLines } from './log.ts';
import { backends } from './names.ts';
import { type Address, checkProgram, type Haproxy, HaproxyProcess, LISTENER_FD, LOG_FD } from './process.ts';
import { RuntimeApi } from './runtime.ts';
import { LINES } from './sections/log.ts';
import { HaproxySites } from './sites.ts';
import { adviceOn } from './version.ts';

/** sockaddr_un(7): 108 bytes with the zero at the end; HAProxy adds to the name while it binds. */
const MAX_PATH = 107 - 15;

/** A HAProxy that doesn't hear what is over has to end itself. */
const RETRY_MS = 500;
const MOST_TRIES = 3;

/** A certificate with its chain, and its key (PEM). */
export interface Pem {
  readonly cert: Buffer | string;
  readonly key: Buffer | string;
}

export interface HaproxyEngineOptions {
  readonly config: SatelliteConfig;
  readonly traffic: Traffic;
  readonly log: Log;
  /** Takes HAProxy's lines about requests, as they are to stand in the log; `log` hears of them where it is undefined. */
  readonly logLines: WriteLines | undefined;
  readonly certificates: readonly Pem[];
  /** What serves whatever HAProxy hands over. */
  readonly inside: Engine;
}

/**
 * HAProxy carries the traffic of live sites, and hands everything else to satellite, whose own engine serves it. So all that
 * HAProxy has to know is which sites are live, and whatever it doesn't know yet works all the same.
 */
export class HaproxyEngine implements Engine {
  readonly #options: HaproxyEngineOptions;
  readonly #folder: string;
  readonly #isOurs: boolean;
  /** Who HAProxy is, where that is somebody else than we are. */
  readonly #account: Account | undefined;
  /** Which HAProxy it is, where we run it. */
  readonly #version: string | undefined;
  readonly #files: ReturnType<typeof fileNames>;
  readonly #lock: FolderLock;
  readonly #log: HaproxyLog;
  readonly #runtime: RuntimeApi;
  readonly #sites: HaproxySites;
  #renewal: Promise<void> = Promise.resolve();
  #haproxy: Haproxy | undefined;
  #isUp = false;
  #isStale = false;
  #isTelling = false;
  /** No HAProxy but ours has what is in the folder. */
  #hasFolder = false;
  /** Since when it runs and does not do what it is told. */
  #deafSince: number | undefined;
  /** It is told nothing, since it has another configuration, and visitors come in through it. */
  #handsOver = false;
  #isClosed = false;

  /** Throws a ConfigError where HAProxy is missing or too old, or its folder can't be used or is another satellite's. */
  constructor(options: HaproxyEngineOptions) {
    this.#options = options;
    const { config, traffic, log, logLines } = options;
    const { socket, user, program, directory } = config.haproxy;
    this.#version = socket === undefined ? checkProgram(program) : undefined;
    const advice = this.#version === undefined ? undefined : adviceOn(this.#version);
    if (advice !== undefined) log({ event: 'haproxy-untested', message: advice });
    const isRoot = process.getuid?.() === 0;
    this.#account = socket !== undefined || isRoot ? accountOf(user) : undefined;
    const given = directory ?? (config.state === ':memory:' ? undefined : `${config.state}.haproxy`);
    this.#isOurs = given === undefined;
    this.#folder = given ?? mkdtempSync(path.join(tmpdir(), 'satellite-'));
    const files = fileNames(this.#folder);
    // One that is started by root lives in a jail with nothing but what it has to reach.
    const jail = socket === undefined && this.#account ? fileNames(path.join(this.#folder, 'jail')) : files;
    this.#files = { ...jail, sites: files.sites, certificate: files.certificate };
    if (Buffer.byteLength(this.#files.satellite) > MAX_PATH)
      throw new ConfigError(
        `haproxy.directory: ${this.#folder} is too long a path for a socket; write a shorter one, such as /run/satellite`,
      );
    this.#makeFolders();
    this.#lock = new FolderLock(this.#folder);
    this.#log = new HaproxyLog(log, logLines);
    this.#runtime = new RuntimeApi(socket ?? this.#file('runtime.sock'));
    this.#sites = new HaproxySites({
      runtime: this.#runtime,
      map: files.sites,
      spellings: (token) => this.#spellings(token),
      traffic,
      log,
      onLost: (error) => this.#lost(error),
    });
  }

  /**
   * Starts HAProxy, or takes over the one that goes on serving since a satellite was killed; one that somebody else runs
   * it only looks for. Rejects as `listen` does.
   */
  async start(at: SatelliteConfig['listen'] | number): Promise<void> {
    const { config, log } = this.#options;
    if (this.#isAttached && typeof at === 'number')
      throw new ConfigError(
        'a socket for visitors was handed over, and there is no use for it: HAProxy listens itself (haproxy.socket)',
      );
    if (this.#isAttached) this.#writeFiles();
    await this.listen(this.#log.server, this.#files.log);
    const told = { onUp: () => this.#up(), onDown: () => this.#down(), runtime: this.#runtime, log };
    this.#haproxy =
      config.haproxy.socket === undefined
        ? await HaproxyProcess.start({ ...told, ...this.#program() }, at)
        : new AttachedHaproxy({
            ...told,
            config,
            map: this.#files.sites,
            onOther: (handsOver) => {
              this.#handsOver = handsOver;
            },
            isTold: async () => this.#isTelling || (await this.#sites.isTold()),
          });
    this.#hasFolder = !this.#isAttached;
  }

  /** Where, how, and with what configuration one of ours is started. */
  #program() {
    const { config, certificates } = this.#options;
    const { threads, program } = config.haproxy;
    const account = this.#account;
    const jail = account && path.dirname(this.#files.satellite);
    const configuration = (description: string): string =>
      `# Written by satellite; it is written anew at each start.
${haproxyConfiguration({
  bind: `fd@${LISTENER_FD}`,
  certificates: certificates.map((_, i) => this.#files.certificate(i)),
  ...settingsOf(config),
  ...namedForHaproxy(this.#files, jail, account),
  log: `fd@${LOG_FD} ${LINES}`,
  global: [
    `description ${description}`,
    ...(threads === undefined ? [] : [`nbthread ${threads}`]),
    ...(account ? [`uid ${account.uid}`, `gid ${account.gid}`, `chroot ${jail}`] : []),
    `stats socket ${this.#file('runtime.sock')} mode 600 level admin backlog 1000`,
    'stats maxconn 100',
    'tune.h2.initial-window-size 262144',
    'tune.h2.max-concurrent-streams 128',
    // Sessions of TLS are not resumed.
    'tune.ssl.cachesize 0',
  ],
})}`;
    return {
      writeFiles: () => {
        this.#hasFolder = true;
        this.#writeFiles();
      },
      onLog: (lines: Socket) => this.#log.takePipe(lines),
      program,
      version: this.#version as string,
      file: this.#file('haproxy.cfg'),
      note: this.#file('haproxy.json'),
      configuration,
      identity: createHash('sha256').update(configuration('')).digest('hex').slice(0, 32),
    };
  }

  /** Ours alone, but that HAProxy gets through to our sockets. Throws a ConfigError. */
  #makeFolders(): void {
    const reached = path.dirname(this.#files.satellite);
    ownFolder(this.#folder);
    ownFolder(reached);
    if (!this.#isAttached) chmodSync(this.#folder, 0o700);
    if (this.#account) letIn(this.#account, reached, 0o710);
  }

  /** What HAProxy reads when it starts, beside its configuration: also once more, should it be gone by then. */
  #writeFiles(): void {
    this.#makeFolders();
    for (const [i, pem] of this.#options.certificates.entries())
      writeOwn(this.#files.certificate(i), joined(pem));
    // What is in it is told over the runtime socket: here it would outlive the sites.
    writeOwn(this.#files.sites, '');
  }

  /** On a socket in our folder, which nobody can open but us and HAProxy. Rejects with the system's error. */
  listen(server: Server, file: string = this.#files.satellite): Promise<void> {
    const account = this.#account;
    return listenOnFile(server, {
      file,
      log: this.#options.log,
      advice: 'give each satellite on this host a haproxy.directory of its own',
      folder: () => this.#makeFolders(),
      opened: () => account && letIn(account, file, 0o660),
    });
  }

  /** Everything is ready, and all live sites are known: from now on HAProxy is told about them. */
  serve(): void {
    this.#haproxy?.watch();
  }

  get address(): Address {
    return (this.#haproxy as Haproxy).address;
  }

  request: Engine['request'] = (...args) => this.#options.inside.request(...args);
  upgrade: Engine['upgrade'] = (...args) => this.#options.inside.upgrade(...args);

  place(token: string, host: string, port: number): void {
    if (this.#takesSites) this.#sites.place(token, host, port);
  }

  visited(token: string, address: string): void {
    this.#sites.visited(token, address);
  }

  drop(token: string): void {
    this.#sites.remove(token);
    this.#options.inside.drop(token);
  }

  /** Why nobody should be sent here, in words for people; undefined if nothing is wrong. */
  get trouble(): string | undefined {
    if (this.#handsOver || (this.#isUp && this.#deafSince === undefined)) return undefined;
    return 'HAProxy does not answer, or leads nobody here; see the log.';
  }

  /** What is to be mended without anybody's being turned away; undefined if nothing is. */
  get warning(): string | undefined {
    return this.#handsOver
      ? 'HAProxy has another configuration than this satellite prints; see the log.'
      : undefined;
  }

  /** Takes in what HAProxy has counted; done by itself every few seconds. */
  countNow(): Promise<void> {
    return this.#sites.countNow();
  }

  /**
   * Has HAProxy show another certificate in place of one of those that it started with; one that is away finds it when it
   * starts. Rejects where HAProxy doesn't take it.
   */
  async setCertificate(index: number, pem: Pem): Promise<void> {
    const file = this.#files.certificate(index);
    // Of two at a time HAProxy would take pieces of both.
    const earlier = this.#renewal;
    this.#renewal = (async () => {
      await earlier.catch(() => undefined);
      if (this.#isClosed) return;
      writeOwn(file, joined(pem));
      if (!this.#isUp) return;
      await this.#runtime.ask(`set ssl cert ${file}`, joined(pem));
      const said = await this.#runtime.ask(`commit ssl cert ${file}`);
      if (!said.includes('Success'))
        throw new ConfigError(`tls: HAProxy does not take ${file}: ${said.trim()}`);
    })();
    await this.#renewal;
  }

  /** Takes no new connections, lets requests come to their end, for `grace` milliseconds at most. */
  async drain(grace: number): Promise<void> {
    this.#log.hurry();
    // WebSockets live for days, and Jupyter's pages open them again. First: HAProxy hears nothing of us while it stops.
    if (!this.#isAttached)
      await this.#runtime
        .ask(`shutdown sessions server ${backends.webSockets}/notebook`)
        .catch(() => undefined);
    await this.#haproxy?.drain(grace);
  }

  close(): void {
    this.#isClosed = true;
    this.#sites.close();
    this.#options.inside.close();
  }

  /** Ends HAProxy, if it is ours, and removes what was made for it. */
  async end(): Promise<void> {
    await this.#haproxy?.close();
    await this.#log.close(!this.#isAttached);
    if (this.#hasFolder) this.#clear();
    if (this.#isOurs) rmSync(this.#folder, { recursive: true, force: true });
    this.#lock.release();
  }

  /** Nobody is to find a private key, or a socket that nobody listens on, where HAProxy is over. */
  #clear(): void {
    if (!existsSync(this.#folder)) return;
    try {
      removeCertificates(this.#folder);
      for (const socket of [this.#file('runtime.sock'), this.#files.lines, this.#files.pause])
        rmSync(socket, { force: true });
    } catch (error) {
      this.#options.log({
        event: 'haproxy-left',
        message: `what HAProxy has had is still in ${this.#folder}, with the private key: ${(error as Error).message}`,
      });
    }
  }

  /** Is HAProxy somebody else's to run? */
  get #isAttached(): boolean {
    return this.#options.config.haproxy.socket !== undefined;
  }

  /**
   * Sites whose visitors are asked who they are, and those that share a host name, need more than HAProxy does: their
   * traffic is satellite's.
   */
  get #takesSites(): boolean {
    const { auth, siteStyle } = this.#options.config;
    return auth === undefined && siteStyle === 'host';
  }

  #spellings(token: string): (readonly [name: string, port: number])[] {
    const { certificates, config } = this.#options;
    const host = `${token}.${config.domain}`;
    const { port } = this.address;
    // What browsers leave out they may write all the same, which is for satellite to read.
    const usual = certificates.length > 0 ? 443 : 80;
    const plain = [host, usual] as const;
    return port === usual ? [plain] : [plain, [`${host}:${port}`, port]];
  }

  #up(): void {
    this.#isUp = true;
    this.#handsOver = false;
    if (this.#haproxy?.isFound) this.#tellCertificates();
    void this.#tellAll();
  }

  /** To one that has been there before us: it may have started with those of that time. */
  #tellCertificates(): void {
    for (const [i, pem] of this.#options.certificates.entries())
      this.setCertificate(i, pem).catch((error: Error) =>
        this.#options.log({ event: 'certificate-unusable', message: error.message }),
      );
  }

  #down(): void {
    this.#isUp = false;
    this.#handsOver = false;
    this.#sites.lost();
  }

  /** Once at a time, however many have seen that it is needed; not while HAProxy is known to be away. */
  async #tellAll(): Promise<void> {
    this.#isStale = true;
    if (this.#isTelling) return;
    this.#isTelling = true;
    for (let tries = 0; this.#isWanted && tries < MOST_TRIES; tries += 1) {
      this.#isStale = false;
      try {
        await this.#sites.reconcile();
        this.#deafSince = undefined;
      } catch (error) {
        this.#isStale = true;
        this.#deafSince ??= performance.now();
        this.#options.log({ event: 'haproxy-unreachable', message: (error as Error).message });
        await pause(RETRY_MS, undefined, { ref: false });
      }
    }
    this.#isTelling = false;
    if (!this.#isWanted) return;
    const seconds = Math.round((performance.now() - (this.#deafSince ?? 0)) / 1000);
    this.#haproxy?.giveUp(`it did not answer as it should for ${seconds} s and was ended`);
  }

  get #isWanted(): boolean {
    return this.#isStale && this.#isUp && !this.#isClosed;
  }

  #lost(error: Error): void {
    if (this.#isClosed || !this.#isUp) return;
    this.#deafSince ??= performance.now();
    this.#options.log({ event: 'haproxy-unreachable', message: error.message });
    void this.#tellAll();
  }

  #file(name: string): string {
    return path.join(this.#folder, name);
  }
}

/** HAProxy reads a certificate and its key from one file. */
function joined({ cert, key }: Pem): string {
  return cert === key ? String(cert) : `${String(cert).trimEnd()}\n${key}`;
}

/** Makes the folder, for us alone, or takes one of ours. Throws a ConfigError. */
function ownFolder(folder: string): void {
  try {
    makeFolder(folder);
    const found = statSync(folder);
    if (!found.isDirectory()) throw new Error('it is a file');
    if (found.uid !== process.getuid?.()) throw new Error('it belongs to somebody else');
  } catch (error) {
    throw new ConfigError(
      `haproxy.directory: ${folder} can't be used: ${(error as Error).message}; write one where satellite may make folders, such as /run/satellite`,
    );
  }
}

/** One by one: Node 24's `recursive` goes on for ever below /proc, where nothing can be made. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(path.dirname(folder));
  mkdirSync(folder, { mode: 0o700 });
}
