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
import { portRefusal } from '../free-port.ts';
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
import { readLines } from './lines.ts';
import { sshProblem } from './ssh-problem.ts';
import { Survivor } from './survivor.ts';

export interface SshEnd {
  /** As `ssh` takes it: a name of its configuration, `user@host`, `ssh://user@host:port`. */
  readonly destination: string;
  /** What `-J` takes. */
  readonly jump: string | undefined;
}

/** Where a tunnel leads. */
export interface TunnelEnd {
  /** Of this machine's loopback, see {@link SshClient.loopback}. */
  readonly localAddress: Loopback;
  readonly localPort: number;
  readonly address: string;
  readonly port: number;
  /** The compute node that ssh goes on to; undefined: the tunnel ends on the login node. */
  readonly node: string | undefined;
}

export type Loopback = '127.0.0.1' | '::1';

export interface Ended {
  /** 255: ssh's own failure. */
  readonly exitCode: number;
  readonly stderr: string;
  /** It said more than is listened to, and was ended. */
  readonly isEndless: boolean;
}

/** Who is told what a command says, line by line. */
export interface Listener {
  readonly onOutput?: (line: string) => void;
  readonly onComplaint?: (line: string) => void;
}

/** A command that runs at the other end. */
export interface RemoteProcess {
  /** Resolves when all that it said was heard. */
  readonly ended: Promise<Ended>;
  /** Ends this side of it. */
  kill(): void;
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
  start(command: readonly string[], { onOutput, onComplaint }: Listener = {}): RemoteProcess {
    const child = startSsh([...this.#commandOptions(), ...this.#there(), command.join(' ')]);
    let stderr = '';
    let isEndless = false;
    const stop = () => {
      isEndless = true;
      child.kill();
      child.stdout?.destroy();
      child.stderr?.destroy();
    };
    const onError = (line: string) => {
      stderr = `${stderr}${line}\n`.slice(-16_384);
      onComplaint?.(line);
    };
    if (child.stdout !== null) readLines(child.stdout, (line) => onOutput?.(line), stop);
    if (child.stderr !== null) readLines(child.stderr, onError, stop);
    return {
      ended: exitCodeOf(child).then((exitCode) => ({ exitCode, stderr, isEndless })),
      kill: () => void child.kill(),
    };
  }

  /** Who ends the session and the connection when this program is killed. */
  survivor(): Survivor {
    const unasked = ['-o', 'BatchMode=yes', '-o', 'ConnectTimeout=20'];
    return new Survivor(this.#directory, [...unasked, ...this.#commandOptions(), ...this.#there()]);
  }

  /** The end of a tunnel on this machine: where only IPv6 is allowed for a host, ssh listens on nothing else (AddressFamily in ssh_config(5)). */
  async loopback(node: string | undefined): Promise<Loopback> {
    // On to a node goes a connection that looks no address up, and has no such limit.
    if (node !== undefined && canShare) return '127.0.0.1';
    return (await this.#settings()).get('addressfamily') === 'inet6' ? '::1' : '127.0.0.1';
  }

  /**
   * Opens the tunnel. That Jupyter answers at its other end is not known then.
   * @returns whether the local port could be had
   * @throws ConnectionError; what the signal was aborted with
   */
  async forward(end: TunnelEnd, interrupted: AbortSignal): Promise<boolean> {
    const { localAddress, localPort, address, port, node } = end;
    const forward = ['-L', `${inUrl(localAddress)}:${localPort}:${address}:${port}`];
    if (!canShare) return await this.#forwardAlone(end, forward, interrupted);
    if (node === undefined) return await this.#login.forward(forward, interrupted);
    if (!this.#node?.isUp) {
      const name = `${node} (through ${this.#end.destination})`;
      this.#node = new Connection(name, path.join(this.#directory, 'n'), [
        ...['-o', `ProxyCommand=${this.#login.proxyCommand}`, '-o', 'AddressFamily=any'],
        ...(await this.#to(node)),
      ]);
      await this.#node.open(interrupted);
    }
    return await this.#node.forward(forward, interrupted);
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
    { localAddress, localPort, node }: TunnelEnd,
    forward: readonly string[],
    interrupted: AbortSignal,
  ): Promise<boolean> {
    if ((await portRefusal(localPort, localAddress)) !== undefined) return false;
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
    while (isRunning(forwarder) && !(await takesConnections(localAddress, localPort))) {
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

  #commandOptions(): string[] {
    return [
      ...(canShare ? this.#login.shared : unshared),
      ...nothingElse,
      ...keepUp,
      ...['-o', 'ClearAllForwardings=yes'],
    ];
  }

  /** What the configuration of this machine's user says of the login node, by keys in lower case. */
  async #settings(): Promise<ReadonlyMap<string, string>> {
    const asked = startSsh(['-G', this.#end.destination]);
    const settings = new Map<string, string>();
    for await (const line of createInterface({ input: asked.stdout as NodeJS.ReadableStream })) {
      const [key = '', ...value] = line.split(' ');
      if (!settings.has(key)) settings.set(key, value.join(' '));
    }
    return settings;
  }

  /** On to a compute node. Nodes of several clusters have the same names: their keys are kept apart. */
  async #to(node: string): Promise<string[]> {
    const settings = await this.#settings();
    const [host, user] = [settings.get('hostname'), settings.get('user')];
    if (host === undefined || user === undefined) throw sshProblem(this.#end.destination, '');
    return ['-o', `HostKeyAlias=${node}.${host}`, `${user}@${node}`];
  }
}

/** An address of this machine's loopback, as it stands in a URL and in what ssh is to forward. */
export function inUrl(address: Loopback): string {
  return address === '::1' ? '[::1]' : address;
}

/** 255, ssh's own failure, also where it was ended, or where there is none (a negative number of the system's). */
function exitCodeOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve) =>
    child.once('close', (code) => resolve(code === null || code < 0 ? 255 : code)),
  );
}

function takesConnections(address: Loopback, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, address);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
