/**
 * One ssh connection to the forwarding server, kept up: Jupyter's port goes to the server's loopback, and the satellite's
 * comes here, as a socket in a private directory that no other user of this machine can open.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigurationError, PasteError, type PersonError, ProxyError } from '../../errors.ts';
import { shown } from '../../values.ts';
import { authorizedKeysLine, type ReverseKey } from './key.ts';
import type { Via } from './via.ts';

export interface TunnelEnds {
  readonly via: Via;
  readonly key: ReverseKey;
  /** Where the satellite listens on the server. */
  readonly managePort: number;
  /** Where Jupyter listens here. */
  readonly jupyterPort: number;
}

/** Seconds between two tries. */
const firstPause = 1;
const longestPause = 30;

/**
 * Runs ssh until it ends. When the launcher dies, however suddenly, the connection stays until the job script, which ends then,
 * has given the token back through it and removed the socket. $0 is the private directory.
 */
const guard = `
exec 3<&0 </dev/null
"$@" 3<&- &
ssh=$!
# What the shell itself would say of ssh's end means nothing to anybody.
exec 2>/dev/null
trap 'kill "$ssh"' TERM
(
  read -r _ <&3
  for ((tenths = 0; tenths < 100; tenths++)); do [[ -e $0/satellite ]] || break; sleep 0.1; done
  kill "$ssh"
  rm -rf "$0"
) &
watch=$!
exec 3<&-
wait "$ssh"
status=$?
kill "$watch"
exit "$status"
`;

/** Emits `lost` (with the reason, as a sentence without its end) and `back`. */
export class ReverseTunnel extends EventEmitter<{ lost: [string]; back: [] }> {
  /** What reaches the satellite's port. */
  readonly socket: string;
  readonly #directory = mkdtempSync(path.join(os.tmpdir(), 'sj-'));
  readonly #ends: TunnelEnds;
  readonly #closing = new AbortController();
  #child: ChildProcess | undefined;
  #said = '';
  #kept: Promise<void> | undefined;

  constructor(ends: TunnelEnds) {
    super();
    this.#ends = ends;
    this.socket = path.join(this.#directory, 'satellite');
  }

  /**
   * Connects, and from then on whenever the connection is lost.
   * @param answers asks the satellite through the socket. ssh takes connections there only after the server has granted the
   *   other port, so that an answer means that both ways are open.
   * @throws ConfigurationError, ProxyError where there is no connection; what `answers` throws where there is one
   */
  async open(answers: () => Promise<unknown>, interrupted: AbortSignal): Promise<void> {
    const ended = this.#connect();
    const socketIsThere = this.#socketIsThere(AbortSignal.any([interrupted, this.#closing.signal]));
    await Promise.race([ended, socketIsThere]);
    interrupted.throwIfAborted();
    try {
      if (!this.#isUp) throw this.#failure();
      await answers();
    } catch (error) {
      // A port that is refused ends ssh, and the question with it.
      await Promise.race([ended, sleep(200)]);
      throw this.#isUp && !/administratively prohibited/.test(this.#said) ? error : this.#failure();
    }
    this.#kept = this.#keepUp(ended, answers);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#child?.kill('SIGTERM');
    if (this.#child !== undefined && this.#isUp) await once(this.#child, 'exit');
    await this.#kept;
    rmSync(this.#directory, { recursive: true, force: true });
  }

  get #isUp(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** @returns what resolves when the connection has ended */
  #connect(): Promise<unknown> {
    rmSync(this.socket, { force: true });
    this.#said = '';
    const child = spawn(
      'bash',
      ['-c', guard, this.#directory, 'ssh', ...sshArguments(this.#ends, this.socket)],
      {
        stdio: ['pipe', 'ignore', 'pipe'],
        // A Ctrl-C in the terminal is for the launcher, which gives the token back first.
        detached: true,
        env: { ...process.env, LC_ALL: 'C' },
      },
    );
    child.stderr.on('data', (chunk) => {
      this.#said = `${this.#said}${chunk}`.slice(-8192);
    });
    this.#child = child;
    return once(child, 'close');
  }

  async #keepUp(first: Promise<unknown>, answers: () => Promise<unknown>): Promise<void> {
    const { signal } = this.#closing;
    for (let ended = first, pause = firstPause; ; pause = Math.min(pause * 2, longestPause)) {
      await ended;
      if (signal.aborted) return;
      if (pause === firstPause) this.emit('lost', this.#reason());
      await sleep(pause * 1000, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      ended = this.#connect();
      await Promise.race([ended, this.#socketIsThere(signal)]);
      if (!this.#isUp) continue;
      try {
        await answers();
      } catch {
        this.#child?.kill('SIGTERM');
        continue;
      }
      this.emit('back');
      pause = firstPause / 2;
    }
  }

  async #socketIsThere(signal: AbortSignal): Promise<void> {
    while (this.#isUp && !signal.aborted && !existsSync(this.socket)) await sleep(50);
  }

  #reason(): string {
    const lines = this.#said.trim().split('\n');
    return shown(lines.at(-1)?.trim().replace(/\.$/, '') || 'the connection was closed', 200);
  }

  /** Why there is no connection, and what to do. */
  #failure(): PersonError {
    const { via, key, managePort } = this.#ends;
    const line = authorizedKeysLine(key, managePort);
    if (/Permission denied/.test(this.#said))
      return new PasteError(
        3,
        `${via.host} does not know the key of this workstation yet.`,
        `Add this line to ~/.ssh/authorized_keys there (${via.destination}), then start again:`,
        line,
      );
    if (/Host key verification failed/.test(this.#said))
      return new ConfigurationError(
        /HAS CHANGED/.test(this.#said)
          ? `The host key of ${via.host} is another one than before: it may be somebody else.`
          : `The host key of ${via.host} is not known here.`,
        `Compare its fingerprint with what its staff says: ssh ${via.port === undefined ? '' : `-p ${via.port} `}${via.destination}`,
      );
    if (/forwarding failed for listen port/.test(this.#said))
      return new PasteError(
        4,
        `${via.host} does not give port ${key.sitePort} to this key: another notebook of yours has it, or a connection that was lost, or the key's line there is another one.`,
        'Stop the other notebook, wait a minute, or compare the line in ~/.ssh/authorized_keys there:',
        line,
      );
    if (/administratively prohibited/.test(this.#said))
      return new PasteError(
        4,
        `${via.host} does not let this key reach port ${managePort}, where its satellite should be.`,
        'Compare the line in ~/.ssh/authorized_keys there:',
        line,
      );
    return new ProxyError(
      `${via.host} can't be reached with ssh: ${this.#reason()}.`,
      'Check --via, and try "ssh" by hand.',
    );
  }
}

function sshArguments({ via, key, managePort, jupyterPort }: TunnelEnds, socket: string): string[] {
  const settings = [
    'BatchMode=yes',
    'ConnectTimeout=15',
    'ExitOnForwardFailure=yes',
    // A laptop that was asleep, or a network that is another one, is noticed within 45 seconds.
    'ServerAliveInterval=15',
    'ServerAliveCountMax=3',
    'StreamLocalBindUnlink=yes',
    'IdentitiesOnly=yes',
    // Somebody's shared connection belongs to another key, and would outlive this one.
    'ControlMaster=no',
    'ControlPath=none',
  ];
  return [
    ...['-N', '-T', '-a', '-x', '-i', key.file],
    ...settings.flatMap((setting) => ['-o', setting]),
    ...(via.port === undefined ? [] : ['-p', String(via.port)]),
    ...['-L', `${socket}:127.0.0.1:${managePort}`],
    ...['-R', `127.0.0.1:${key.sitePort}:127.0.0.1:${jupyterPort}`],
    ...['--', via.destination],
  ];
}
