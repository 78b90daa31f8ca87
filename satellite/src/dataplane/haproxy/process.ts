import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readlinkSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { endianness } from 'node:os';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import ipaddr from 'ipaddr.js';
import { ConfigError } from '../../config.ts';
import { BACKLOG } from '../../gate/limits.ts';
import type { Log } from '../../log.ts';
import { writeOwn } from './files.ts';
import type { RuntimeApi } from './runtime.ts';
import { compareVersions, isTooOld, OLDEST } from './version.ts';

const START_MS = 15_000;
const LOOK_MS = 20;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;
/** Who has served for so long begins with the shortest pause again. */
const STEADY_MS = 60_000;
/** How often one that isn't our child is looked at. */
const WATCH_MS = 500;
const KILL_MS = 2000;

/** Descriptors of the child: what it listens on, and a pipe that it may write lines about requests to. */
export const LISTENER_FD = 3;
export const LOG_FD = 4;

/**
 * glibc gives large buffers back to the system one by one, which costs a request a quarter of its time (measured with 2.6):
 * HAProxy's own cache of them is for small ones.
 */
const MALLOC = {
  MALLOC_MMAP_THRESHOLD_: '4194304',
  MALLOC_TRIM_THRESHOLD_: '134217728',
  MALLOC_TOP_PAD_: '16777216',
};

/**
 * HAProxy 2.6 and 2.7 can be told to keep buffers that are free for all of their threads, beside the half megabyte that each
 * keeps for itself ("-dM" in the management guide): no more than three of ours. To ask glibc for the others is 4 % of a small
 * request. Later ones are told in their configuration to keep more for each thread.
 */
const KEEP_BUFFERS = { since: '2.6', until: '2.8', option: '-dMglobal' };

/** Which version it is and from where, at each start; which of its parts it has stopped, at each end. */
const IDLE_TALK = /^\[NOTICE\]|: Proxy \S+ stopped \(cumulated conns/;

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** A HAProxy that serves for us, whoever has started it. */
export interface Haproxy {
  /** Where visitors come in. */
  readonly address: Address;
  /** Has it served before we came? Then it may show certificates of that time. */
  readonly isFound: boolean;
  /** From now on who listens is told when it serves, and when it doesn't. */
  watch(): void;
  /** Takes no new connections, and ends when the last one has; at the latest after `grace` milliseconds. */
  drain(grace: number): Promise<void>;
  /** Ends it, with everything that is open. */
  close(): Promise<void>;
  /** It doesn't take in what it is told; `why` is for the log. */
  giveUp(why: string): void;
}

/** An address to bind, or the descriptor of a socket that is bound already. */
type Place = Address | number;

/** A HAProxy that is running, whoever has started it. */
interface Running {
  readonly pid: number;
  readonly address: Address;
  /** Resolves when it is over, with how. */
  readonly over: Promise<string>;
}

export interface ProcessOptions {
  readonly program: string;
  readonly version: string;
  /** Where the configuration goes, and what is known of the process. */
  readonly file: string;
  readonly note: string;
  /** The configuration, all but the `description`. It may not depend on where HAProxy listens. */
  readonly configuration: (description: string) => string;
  /** Writes whatever else HAProxy reads when it starts. Throws a ConfigError. */
  readonly writeFiles: () => void;
  /** Something that differs wherever two configurations must not take each other's HAProxy over. */
  readonly identity: string;
  readonly runtime: RuntimeApi;
  readonly log: Log;
  /** Reads lines about requests from the pipe. */
  readonly onLog: (lines: Socket) => void;
  /** It serves, and knows nothing: at the first start, and whenever it has been started again. */
  readonly onUp: () => void;
  readonly onDown: () => void;
}

/** Looks for the program, and returns its version. Throws a ConfigError where it is missing or too old. */
export function checkProgram(program: string): string {
  let text: string;
  try {
    text = execFileSync(program, ['-v'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch (error) {
    const why =
      (error as NodeJS.ErrnoException).code === 'ENOENT'
        ? 'there is no such command'
        : (error as Error).message;
    throw new ConfigError(
      `engine: ${program} can't be run: ${why}. Install HAProxy, or say where it is (haproxy.program).`,
    );
  }
  const [version] = /(?<=version )\d+\.\d+\S*/.exec(text) ?? [];
  if (version === undefined) throw new ConfigError(`engine: ${program} does not say that it is HAProxy`);
  if (isTooOld(version))
    throw new ConfigError(`engine: HAProxy ${version} is too old; ${OLDEST} or later is needed`);
  return version;
}

/** A HAProxy of ours: started, or taken over from a satellite that was killed; started again when it dies. */
export class HaproxyProcess implements Haproxy {
  readonly #options: ProcessOptions;
  readonly #description: string;
  readonly #at: Place;
  #running: Running | undefined;
  isFound = false;
  /** Why it was ended by us, to be started again. */
  #givenUp: string | undefined;
  #isStopping = false;

  private constructor(options: ProcessOptions, at: Place) {
    this.#options = options;
    this.#at = at;
    const where = typeof at === 'number' ? 'handed' : `${at.host}:${at.port}`;
    this.#description = `${options.identity}@${where}`;
  }

  /**
   * Rejects with a ConfigError where HAProxy doesn't start, or with the system's error where it can't be listened on that
   * address.
   */
  static async start(options: ProcessOptions, at: Place): Promise<HaproxyProcess> {
    const made = new HaproxyProcess(options, at);
    const found = await made.#adopt();
    made.isFound = found !== undefined;
    if (found) made.#running = found;
    else await made.#launch(at);
    return made;
  }

  watch(): void {
    const running = this.#running as Running;
    // Port 0 is a free one, and then stays the same.
    void this.#lookAfter(running, typeof this.#at === 'number' ? this.#at : running.address);
  }

  get address(): Address {
    return (this.#running as Running).address;
  }

  async drain(grace: number): Promise<void> {
    this.#isStopping = true;
    const running = this.#running;
    if (!running) return;
    signal(running.pid, 'SIGUSR1');
    await Promise.race([running.over, pause(grace, undefined, { ref: false })]);
  }

  async close(): Promise<void> {
    this.#isStopping = true;
    const running = this.#running;
    if (!running) return;
    signal(running.pid, 'SIGTERM');
    const timer = setTimeout(() => signal(running.pid, 'SIGKILL'), KILL_MS);
    await running.over;
    clearTimeout(timer);
  }

  /** That is no way to go on: somebody's site must be able to end. */
  giveUp(why: string): void {
    if (!this.#running) return;
    this.#givenUp = why;
    signal(this.#running.pid, 'SIGKILL');
  }

  /** One that goes on serving after the satellite that started it was killed, if it is what we would start. */
  async #adopt(): Promise<Running | undefined> {
    const { runtime, note, log } = this.#options;
    const info = await runtime.ask('show info').catch(() => '');
    const pid = Number(/^Pid: (\d+)$/m.exec(info)?.[1]);
    if (!(pid > 0)) return undefined;
    const description = /^description: (.*)$/m.exec(info)?.[1];
    const { address, written } = readNote(note);
    const isOurs = description !== undefined && description === written;
    if (isOurs && address !== undefined && written === this.#description) {
      log({ event: 'haproxy-found', pid });
      return { pid, address, over: gone(pid) };
    }
    if (!isOurs)
      throw new ConfigError(
        `haproxy: the socket of its runtime API belongs to another HAProxy (process ${pid})`,
      );
    // From before a change of the configuration.
    signal(pid, 'SIGTERM');
    await gone(pid);
    return undefined;
  }

  /** It is the one that is running as soon as it has begun, so that an end finds it also while it starts. */
  async #launch(at: Place): Promise<Running> {
    const { program, version, file, note, configuration, writeFiles, runtime, log, onLog } = this.#options;
    const description = this.#description;
    writeFiles();
    writeOwn(file, configuration(description));
    const listener = typeof at === 'number' ? undefined : await listenOn(at);
    if (this.#isStopping) {
      listener?.close();
      throw new ConfigError('haproxy: it is not needed any more');
    }
    const { since, until, option } = KEEP_BUFFERS;
    const keep = compareVersions(version, since) >= 0 && compareVersions(version, until) < 0 ? [option] : [];
    const child = spawn(program, ['-db', ...keep, '-f', file], {
      stdio: ['ignore', 'ignore', 'pipe', descriptorOf(listener ?? at), 'pipe'],
      env: { ...process.env, ...MALLOC },
    });
    const address = typeof at === 'number' ? addressOfDescriptor(at) : addressOf(listener as Server);
    // In the same turn: nobody has come in here yet, and the child has the socket.
    listener?.close();
    child.once('error', () => undefined);
    // Not "exit": what it has said is to be read first.
    const over = once(child, 'close').then(
      ([code, by]) => (by === null ? `it ended with code ${code}` : `it was ended by ${by}`),
      (error: Error) => error.message,
    );
    const complaints: string[] = [];
    const running = { pid: child.pid as number, address, over };
    this.#running = running;
    let isUp = false;
    createInterface(child.stderr as Readable).on('line', (text) => {
      if (IDLE_TALK.test(text)) return;
      if (isUp) log({ event: 'haproxy', message: text });
      else complaints.push(text);
    });
    onLog(child.stdio[LOG_FD] as Socket);
    const started = performance.now();
    while (performance.now() - started < START_MS) {
      const ended = await Promise.race([over, pause(LOOK_MS)]);
      if (typeof ended === 'string') throw new ConfigError(complaint(complaints, ended));
      const info = await runtime.ask('show info').catch(() => '');
      if (!info.includes(`description: ${description}`)) continue;
      isUp = true;
      writeOwn(note, JSON.stringify({ written: description, address }));
      return running;
    }
    child.kill('SIGKILL');
    await over;
    throw new ConfigError(complaint(complaints, 'it does not answer on its runtime socket'));
  }

  async #lookAfter(first: Running, at: Place): Promise<void> {
    const { log, onUp, onDown } = this.#options;
    let running = first;
    let rest = FIRST_PAUSE_MS;
    onUp();
    for (;;) {
      const since = performance.now();
      const ended = await running.over;
      const how = this.#givenUp ?? ended;
      this.#givenUp = undefined;
      if (this.#isStopping) return;
      onDown();
      if (performance.now() - since > STEADY_MS) rest = FIRST_PAUSE_MS;
      for (;;) {
        log({ event: 'haproxy-ended', message: `${how}; it is started again` });
        await pause(rest, undefined, { ref: false });
        if (this.#isStopping) return;
        rest = Math.min(rest * 2, LONGEST_PAUSE_MS);
        try {
          running = await this.#launch(at);
          break;
        } catch (error) {
          if (this.#isStopping) return;
          log({ event: 'haproxy-unusable', message: (error as Error).message });
        }
      }
      if (this.#isStopping) return;
      log({ event: 'haproxy-started', pid: running.pid });
      onUp();
    }
  }
}

/** Binds an address as engine node does, so that the same goes wrong in the same words. */
function listenOn(at: Address): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen({ ...at, backlog: BACKLOG }, () => resolve(server));
  });
}

function addressOf(server: Server): Address {
  const { address, port } = server.address() as AddressInfo;
  return { host: address, port };
}

/** Node's spawn() takes connections and pipes for a child, but no listener. */
function descriptorOf(at: Server | Place): number {
  if (typeof at === 'number') return at;
  const { fd = -1 } = (at as Server & { readonly _handle?: { readonly fd?: number } })._handle ?? {};
  return fd;
}

/** What a socket that was handed to us is bound to, as proc(5) has it in /proc/net/tcp and tcp6. */
function addressOfDescriptor(fd: number): Address {
  const [, inode] = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`)) ?? [];
  for (const table of ['tcp', 'tcp6']) {
    for (const line of readFileSync(`/proc/self/net/${table}`, 'latin1').split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      const [hex = '', port = ''] = fields[1]?.split(':') ?? [];
      if (fields[9] === inode) return { host: addressFromHex(hex), port: Number.parseInt(port, 16) };
    }
  }
  throw new ConfigError('the socket that was handed over is not one for TCP');
}

/** Groups of four bytes, each in the order of this processor. */
function addressFromHex(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  if (endianness() === 'LE') bytes.swap32();
  return ipaddr.fromByteArray([...bytes]).toString();
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It is over already.
  }
}

/** Resolves when a process that isn't our child has ended. */
async function gone(pid: number): Promise<string> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return 'it is gone';
    }
    await pause(WATCH_MS, undefined, { ref: false });
  }
}

function readNote(file: string): { written?: string; address?: Address } {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as { written: string; address: Address };
  } catch {
    return {};
  }
}

/** HAProxy's own words, without the process and what only says that there were words. */
function complaint(lines: readonly string[], how: string): string {
  const said = lines
    .filter((line) => line.startsWith('[ALERT]'))
    .map((line) => line.replace(/^\[ALERT\]\s*(?:\(\d+\)\s*)?:?\s*/, ''))
    .filter((line) => !/Error\(s\) found|Fatal errors found/.test(line));
  return `haproxy: it does not start: ${said.length > 0 ? said.join('; ') : how}`;
}
