import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ConfigError, type SatelliteConfig } from '../../config.ts';
import type { Log } from '../../log.ts';
import type { Traffic } from '../../operation/traffic.ts';
import { isDatabase } from '../../tokens/postgres-url.ts';
import type { Engine } from '../engine.ts';
import { backends, haproxyConfiguration } from './configuration.ts';
import { checkProgram, HaproxyProcess, LISTENER_FD, LOG_FD } from './process.ts';
import { RuntimeApi } from './runtime.ts';
import { HaproxySites } from './sites.ts';

/** sockaddr_un(7): 108 bytes with the zero at the end; HAProxy adds to the name while it binds. */
const MAX_PATH = 107 - 15;

/** A HAProxy that doesn't hear what is over has to end itself. */
const RETRY_MS = 500;
const MOST_TRIES = 5;

/** A certificate with its chain, and its key (PEM). */
export interface Pem {
  readonly cert: Buffer | string;
  readonly key: Buffer | string;
}

export interface HaproxyEngineOptions {
  readonly config: SatelliteConfig;
  readonly traffic: Traffic;
  readonly hsts: string | undefined;
  readonly log: Log;
  /** A descriptor that HAProxy may write its lines about requests to, as they are; `log` hears of them where there is none. */
  readonly logFd: number | undefined;
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
  readonly #runtime: RuntimeApi;
  readonly #sites: HaproxySites;
  #process: HaproxyProcess | undefined;
  #renewal: Promise<void> = Promise.resolve();
  #isStale = false;
  #isTelling = false;
  #isClosed = false;

  /** Throws a ConfigError where HAProxy is missing or too old, or its folder can't be used. */
  constructor(options: HaproxyEngineOptions) {
    this.#options = options;
    const { config, traffic, log } = options;
    checkProgram(config.haproxy.program);
    const given =
      config.haproxy.directory ??
      (config.state === ':memory:' || isDatabase(config.state) ? undefined : `${config.state}.haproxy`);
    this.#isOurs = given === undefined;
    this.#folder =
      given === undefined ? mkdtempSync(path.join(tmpdir(), 'satellite-')) : privateFolder(given);
    this.#runtime = new RuntimeApi(this.#file('runtime.sock'));
    if (Buffer.byteLength(this.#file('satellite.sock')) > MAX_PATH)
      throw new ConfigError(
        `haproxy.directory: ${this.#folder} is too long a path for a socket; write a shorter one, such as /run/satellite`,
      );
    this.#sites = new HaproxySites({
      runtime: this.#runtime,
      map: this.#file('sites.map'),
      spellings: (token) => this.#spellings(token),
      traffic,
      log,
      onLost: (error) => this.#lost(error),
    });
  }

  /** Starts HAProxy, or takes over the one that goes on serving since a satellite was killed. Rejects as `listen` does. */
  async start(at: SatelliteConfig['listen'] | number): Promise<void> {
    const { config, log, logFd, certificates } = this.#options;
    const files = certificates.map((_, i) => this.#file(`certificate-${i}.pem`));
    for (const [i, pem] of certificates.entries())
      writeFileSync(files[i] as string, joined(pem), { mode: 0o600 });
    // What is in it is told over the runtime socket: here it would outlive the sites.
    writeFileSync(this.#file('sites.map'), '', { mode: 0o600 });
    const configuration = (description: string): string =>
      haproxyConfiguration({
        bind: `fd@${LISTENER_FD}`,
        certificates: files,
        http2: config.http2,
        trustedProxies: config.trustedProxies.toString().split(' ').filter(Boolean),
        proxyProtocol: config.proxyProtocol.toString().split(' ').filter(Boolean),
        hsts: this.#options.hsts,
        limits: config.limits,
        threads: config.haproxy.threads,
        log: `fd@${LOG_FD}`,
        files: { satellite: this.inside, sites: this.#file('sites.map') },
        global: [
          `description ${description}`,
          `stats socket ${this.#file('runtime.sock')} mode 600 level admin backlog 1000`,
          'stats maxconn 100',
        ],
      });
    this.#process = await HaproxyProcess.start(
      {
        program: config.haproxy.program,
        file: this.#file('haproxy.cfg'),
        note: this.#file('haproxy.json'),
        configuration,
        identity: createHash('sha256').update(configuration('')).digest('hex').slice(0, 32),
        runtime: this.#runtime,
        log,
        logFd,
        onUp: () => void this.#tellAll(),
        onDown: () => this.#sites.lost(),
      },
      at,
    );
  }

  /** Where satellite has to listen for what HAProxy hands over. */
  get inside(): string {
    return this.#file('satellite.sock');
  }

  get address(): { readonly host: string; readonly port: number } {
    return (this.#process as HaproxyProcess).address;
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

  /** Takes in what HAProxy has counted; done by itself every few seconds. */
  countNow(): Promise<void> {
    return this.#sites.countNow();
  }

  /** Has HAProxy show another certificate in place of one of those that it started with. Rejects where it doesn't take it. */
  async setCertificate(index: number, pem: Pem): Promise<void> {
    const file = this.#file(`certificate-${index}.pem`);
    // Of two at a time HAProxy would take pieces of both.
    const earlier = this.#renewal;
    this.#renewal = (async () => {
      await earlier.catch(() => undefined);
      writeFileSync(file, joined(pem), { mode: 0o600 });
      await this.#runtime.ask(`set ssl cert ${file}`, joined(pem));
      const said = await this.#runtime.ask(`commit ssl cert ${file}`);
      if (!said.includes('Success'))
        throw new ConfigError(`tls: HAProxy does not take ${file}: ${said.trim()}`);
    })();
    await this.#renewal;
  }

  /** Takes no new connections, lets requests come to their end, for `grace` milliseconds at most. */
  async drain(grace: number): Promise<void> {
    // WebSockets live for days, and Jupyter's pages open them again. First: HAProxy hears nothing of us while it stops.
    await this.#runtime
      .ask(`shutdown sessions server ${backends.webSockets}/notebook`)
      .catch(() => undefined);
    await this.#process?.drain(grace);
  }

  close(): void {
    this.#isClosed = true;
    this.#sites.close();
    this.#options.inside.close();
  }

  /** Ends HAProxy, and removes what was made for it. */
  async end(): Promise<void> {
    await this.#process?.close();
    if (this.#isOurs) rmSync(this.#folder, { recursive: true, force: true });
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

  /** Once at a time, however many have seen that it is needed. */
  async #tellAll(): Promise<void> {
    this.#isStale = true;
    if (this.#isTelling) return;
    this.#isTelling = true;
    for (let tries = 0; this.#isStale && !this.#isClosed && tries < MOST_TRIES; tries += 1) {
      this.#isStale = false;
      try {
        await this.#sites.reconcile();
      } catch (error) {
        this.#isStale = true;
        this.#options.log({ event: 'haproxy-unreachable', message: (error as Error).message });
        await pause(RETRY_MS, undefined, { ref: false });
      }
    }
    this.#isTelling = false;
    if (this.#isStale && !this.#isClosed) this.#process?.kill();
  }

  #lost(error: Error): void {
    if (this.#isClosed) return;
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

/** Makes the folder, or takes one that nobody else can open. Throws a ConfigError. */
function privateFolder(folder: string): string {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
    if (statSync(folder).uid !== process.getuid?.()) throw new Error('it belongs to somebody else');
    return folder;
  } catch (error) {
    throw new ConfigError(`haproxy.directory: ${folder} can't be used: ${(error as Error).message}`);
  }
}
