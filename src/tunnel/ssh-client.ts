/**
 * OpenSSH's client as this machine has it, with whatever its user's configuration says of the host. One connection carries
 * everything, so that a second factor is asked for once; on Windows each call makes its own.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Connection,
  canShare,
  isRunning,
  keepUp,
  nothingElse,
  saysThatTunnelsAreForbidden,
  startSsh,
  unshared,
} from './connection.ts';
import { sshProblem } from './ssh-problem.ts';

export interface SshEnd {
  /** As `ssh` takes it: a name of its configuration, `user@host`, `ssh://user@host:port`. */
  readonly destination: string;
  /** What `-J` takes. */
  readonly jump: string | undefined;
}

/** Where a tunnel leads. */
export interface TunnelEnd {
  readonly localPort: number;
  readonly address: string;
  readonly port: number;
  /** The compute node that ssh goes on to; undefined: the tunnel ends on the login node. */
  readonly node: string | undefined;
}

export interface Ended {
  /** 255: ssh's own failure. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that runs at the other end. */
export interface RemoteProcess {
  readonly firstLine: Promise<string | undefined>;
  readonly ended: Promise<Ended>;
}

export class SshClient {
  readonly #end: SshEnd;
  readonly #directory: string;
  readonly #login: Connection;
  #node: Connection | undefined;
  /** Where connections can't be shared, a process holds the tunnel alone. */
  #forwarder: ChildProcess | undefined;
  #forwarderSaid = '';

  /** @param directory private, with a short path: sockets of shared connections are in it */
  constructor(end: SshEnd, directory: string) {
    this.#end = end;
    this.#directory = directory;
    this.#login = new Connection(end.destination, path.join(directory, 'l'), this.#there());
  }

  /**
   * Opens the connection to the login node, unless it stands.
   * @throws ConnectionError; what the signal was aborted with
   */
  async connect(interrupted: AbortSignal): Promise<void> {
    if (canShare && !this.#login.isUp) await this.#login.open(interrupted);
  }

  get isConnected(): boolean {
    return !canShare || this.#login.isUp;
  }

  /** Whether the tunnel can still be there. */
  get stands(): boolean {
    if (!canShare) return isRunning(this.#forwarder);
    return this.#login.isUp && (this.#node === undefined || this.#node.isUp);
  }

  /** Resolves when the tunnel is gone. */
  async lost(): Promise<void> {
    if (!this.stands) return;
    if (canShare)
      await Promise.race([this.#login.lost(), ...(this.#node === undefined ? [] : [this.#node.lost()])]);
    else await once(this.#forwarder as ChildProcess, 'close');
  }

  /** @param command words for the shell there, see `remoteWord` */
  start(command: readonly string[], onLine: (line: string) => void = () => {}): RemoteProcess {
    const child = startSsh([
      ...(canShare ? this.#login.shared : unshared),
      ...nothingElse,
      ...keepUp,
      ...['-o', 'ClearAllForwardings=yes'],
      ...this.#there(),
      command.join(' '),
    ]);
    let stdout = '';
    let stderr = '';
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
    const firstLine = new Promise<string | undefined>((resolve) => {
      lines.once('line', resolve);
      lines.once('close', () => resolve(undefined));
    });
    lines.on('line', (line) => {
      stdout += `${line}\n`;
    });
    createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      stderr = `${stderr}${line}\n`.slice(-16_384);
      onLine(line);
    });
    const ended = once(child, 'close').then(([code]) => ({ exitCode: Number(code ?? 255), stdout, stderr }));
    return { firstLine, ended };
  }

  /**
   * Opens the tunnel. That Jupyter answers at its other end is not known then.
   * @returns whether the local port could be had
   * @throws ConnectionError; what the signal was aborted with
   */
  async forward({ localPort, address, port, node }: TunnelEnd, interrupted: AbortSignal): Promise<boolean> {
    const forward = ['-L', `127.0.0.1:${localPort}:${address}:${port}`];
    if (!canShare) return await this.#forwardAlone(localPort, forward, node, interrupted);
    if (node === undefined) return await this.#login.forward(forward);
    if (!this.#node?.isUp) {
      const name = `${node} (through ${this.#end.destination})`;
      this.#node = new Connection(name, path.join(this.#directory, 'n'), [
        ...['-o', `ProxyCommand=${this.#login.proxyCommand}`],
        ...(await this.#to(node)),
      ]);
      await this.#node.open(interrupted);
    }
    return await this.#node.forward(forward);
  }

  /** Whether the other end refused to let anything through the tunnel. */
  get forbidsTunnels(): boolean {
    return (
      this.#login.forbidsTunnels ||
      (this.#node?.forbidsTunnels ?? false) ||
      saysThatTunnelsAreForbidden(this.#forwarderSaid)
    );
  }

  async close(): Promise<void> {
    this.#forwarder?.kill();
    await this.#node?.close();
    await this.#login.close();
  }

  async #forwardAlone(
    localPort: number,
    forward: readonly string[],
    node: string | undefined,
    interrupted: AbortSignal,
  ): Promise<boolean> {
    if (!(await isFree(localPort))) return false;
    const { jump, destination } = this.#end;
    const through = ['-J', [jump, destination].filter((host) => host !== undefined).join(',')];
    this.#forwarder?.kill();
    const forwarder = startSsh([
      ...['-N', '-o', 'ExitOnForwardFailure=yes', ...unshared, ...nothingElse, ...keepUp, ...forward],
      ...(node === undefined ? this.#there() : [...through, ...(await this.#to(node))]),
    ]);
    this.#forwarder = forwarder;
    this.#forwarderSaid = '';
    forwarder.stderr?.on('data', (chunk) => {
      this.#forwarderSaid = `${this.#forwarderSaid}${chunk}`.slice(-16_384);
    });
    // It takes connections once it has been let in, however long somebody takes to type a password.
    while (isRunning(forwarder) && !(await takesConnections(localPort))) {
      await sleep(200);
      interrupted.throwIfAborted();
    }
    if (isRunning(forwarder)) return true;
    if (/Could not request local forwarding/.test(this.#forwarderSaid)) return false;
    throw sshProblem(node ?? destination, this.#forwarderSaid);
  }

  #there(): string[] {
    const { jump, destination } = this.#end;
    return [...(jump === undefined ? [] : ['-J', jump]), destination];
  }

  /** On to a compute node. Nodes of several clusters have the same names: their keys are kept apart. */
  async #to(node: string): Promise<string[]> {
    const asked = startSsh(['-G', this.#end.destination]);
    const settings = new Map<string, string>();
    for await (const line of createInterface({ input: asked.stdout as NodeJS.ReadableStream })) {
      const [key = '', ...value] = line.split(' ');
      if (!settings.has(key)) settings.set(key, value.join(' '));
    }
    const [host, user] = [settings.get('hostname'), settings.get('user')];
    if (host === undefined || user === undefined) throw sshProblem(this.#end.destination, '');
    return ['-o', `HostKeyAlias=${node}.${host}`, `${user}@${node}`];
  }
}

function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
