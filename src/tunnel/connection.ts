/** One connection of OpenSSH's client, which other calls of it use: logins and forwarded ports are asked for through its socket. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync, watch } from 'node:fs';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { unlessAborted } from '../interruption.ts';
import { portProblem, sshProblem } from './ssh-problem.ts';

/** Windows' client can't be shared, see ControlMaster in ssh_config(5). */
export const canShare = process.platform !== 'win32';

/**
 * For a client that can't: where a configuration of other systems asks for it, it fails ("getsockname failed: Not a socket",
 * PowerShell/Win32-OpenSSH#405).
 */
export const unshared = ['-o', 'ControlMaster=no', '-o', 'ControlPath=none'];

/** Notices within a minute that the other end is gone, and keeps what forgets idle connections from forgetting this one. */
export const keepUp = ['-o', 'ServerAliveInterval=15', '-o', 'ServerAliveCountMax=3'];

/** What a configuration may ask for interactive logins. */
export const nothingElse = [
  ...['-T', '-o', 'RemoteCommand=none', '-o', 'PermitLocalCommand=no'],
  ...['-o', 'ForwardX11=no', '-o', 'ForwardAgent=no'],
];

export class Connection {
  readonly #name: string;
  readonly #socket: string;
  readonly #there: readonly string[];
  #child: ChildProcess | undefined;
  #said = '';

  /**
   * @param name of the other end, for messages
   * @param socket path in a private directory, short
   * @param there options and destination
   */
  constructor(name: string, socket: string, there: readonly string[]) {
    this.#name = name;
    this.#socket = socket;
    this.#there = there;
  }

  /**
   * Resolves when ssh has been let in.
   * @throws ConnectionError; what the signal was aborted with
   */
  async open(interrupted: AbortSignal): Promise<void> {
    interrupted.throwIfAborted();
    // One that was killed leaves it behind.
    rmSync(this.#socket, { force: true });
    this.#said = '';
    const child = startSsh([
      ...['-M', '-N', '-S', escaped(this.#socket), '-o', 'ControlPersist=no'],
      // What it says of ports and tunnels is read here, whatever somebody's configuration keeps quiet.
      ...['-o', 'ClearAllForwardings=yes', '-o', 'LogLevel=INFO'],
      ...nothingElse,
      ...keepUp,
      ...this.#there,
    ]);
    this.#child = child;
    child.stderr?.on('data', (chunk) => {
      this.#said = `${this.#said}${chunk}`.slice(-16_384);
    });
    const closed = once(child, 'close');
    const settled = new AbortController();
    try {
      await Promise.race([
        closed,
        untilExists(this.#socket, settled.signal),
        once(interrupted, 'abort', { signal: settled.signal }),
      ]);
    } finally {
      settled.abort();
    }
    if (interrupted.aborted) {
      child.kill();
      await closed;
      interrupted.throwIfAborted();
    }
    if (!this.isUp) throw sshProblem(this.#name, this.#said);
  }

  get isUp(): boolean {
    return isRunning(this.#child);
  }

  /** Options of another call that uses this connection. */
  get shared(): string[] {
    return ['-S', escaped(this.#socket)];
  }

  /** What stands in ProxyCommand, to go on from the other end. Nothing in it means anything to a shell. */
  get proxyCommand(): string {
    return `ssh -F none -S ${escaped(escaped(this.#socket))} -W [%h]:%p ${this.#there.at(-1)}`;
  }

  get forbidsTunnels(): boolean {
    return saysThatTunnelsAreForbidden(this.#said);
  }

  /**
   * @returns whether the port could be had, and was not somebody's
   * @throws ConnectionError where ssh refuses for another reason; what the signal was aborted with
   */
  async forward(forward: readonly string[], interrupted: AbortSignal): Promise<boolean> {
    // The process that asks knows nothing but yes and no; why is said by the one that has the connection.
    let said = '';
    const listen = (chunk: Buffer) => {
      said += chunk;
    };
    const { stderr } = this.#child ?? {};
    stderr?.on('data', listen);
    const there = this.#there.at(-1) ?? '';
    const asked = startSsh(['-F', 'none', ...this.shared, '-O', 'forward', ...forward, there]);
    try {
      const [code] = await unlessAborted(once(asked, 'close'), interrupted);
      if (code === 0) return true;
      // It comes through another pipe, and ends so.
      const patience = AbortSignal.timeout(1000);
      while (this.isUp && !patience.aborted && !/\bfailed\s*$/.test(said))
        await once(stderr as Readable, 'data', { signal: patience }).catch(() => {});
    } finally {
      stderr?.off('data', listen);
      if (isRunning(asked)) asked.kill('SIGKILL');
    }
    if (/Address already in use/.test(said)) return false;
    throw portProblem(said);
  }

  /** Resolves when it is gone. */
  async lost(): Promise<void> {
    if (this.isUp) await once(this.#child as ChildProcess, 'close');
  }

  async close(): Promise<void> {
    const lost = this.lost();
    this.#child?.kill();
    await lost;
  }
}

/** ssh does so when something comes through a forwarded port. */
export function saysThatTunnelsAreForbidden(said: string): boolean {
  return /^channel \d+: open failed: administratively prohibited/m.test(said);
}

/** A percent sign begins a token in what ssh expands. */
export function escaped(text: string): string {
  return text.replaceAll('%', '%%');
}

/**
 * Ctrl-C goes to everything in the terminal's foreground, and a closed terminal's hangup, too; the connection must outlive
 * both, to end the session through it. In a session of its own ssh could not ask for a password; nor could it on Windows with
 * `windowsHide`, which gives it a console that nobody sees (CREATE_NO_WINDOW).
 */
export function startSsh(args: readonly string[]): ChildProcess {
  const child = canShare
    ? spawn('/bin/sh', ['-c', 'trap "" INT QUIT HUP; exec "$0" "$@"', 'ssh', ...args], {
        stdio: ['ignore', 'pipe', 'pipe'],
      })
    : spawn('ssh', [...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  // Where there is none it closes like one that has failed.
  child.on('error', () => {});
  return child;
}

export function isRunning(child: ChildProcess | undefined): child is ChildProcess {
  return child?.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/** ssh puts the socket there in one step, when it has been let in. */
function untilExists(file: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (existsSync(file)) resolve();
    };
    watch(path.dirname(file), { signal }, look).on('error', () => {});
    look();
  });
}
