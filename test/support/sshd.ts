/** Debian's OpenSSH: servers on loopback with keys of their own, and a client that knows them. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryDirectory } from './directories.ts';

export interface SshServer {
  readonly port: number;
  /** Connections that came so far, and how each is dropped as by a network that breaks. */
  readonly connections: readonly { drop(): void }[];
  /** Its host key, as known_hosts has it behind the name. */
  readonly hostKey: string;
  /** Says from now on that it is another. */
  changeKey(): void;
  /** From now on connections are closed at once. */
  goAway(): void;
  comeBack(): void;
}

function newKey(file: string): string {
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', file]);
  return readFileSync(`${file}.pub`, 'utf8').trim();
}

/** The client's key, made once for a file of tests. */
let clientKey: { readonly file: string; readonly line: string } | undefined;

function ownKey(): { readonly file: string; readonly line: string } {
  if (clientKey === undefined) {
    const file = path.join(temporaryDirectory(), 'id');
    clientKey = { file, line: newKey(file) };
  }
  return clientKey;
}

/**
 * A server for this user. Each connection is taken here and handed to an sshd of its own, as inetd does (sshd(8), -i), so
 * that the port is whichever is free.
 * @param options lines of sshd_config
 */
export async function startSshServer(options: readonly string[] = []): Promise<SshServer> {
  const directory = temporaryDirectory();
  // What sshd's unprivileged half is locked into; made by the service where there is one.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
  const configure = (name: string): string => {
    const hostKey = newKey(path.join(directory, name));
    // The first value of a keyword is the one that counts.
    const lines = [
      ...options,
      `HostKey ${path.join(directory, name)}`,
      `AuthorizedKeysFile ${path.join(directory, 'authorized_keys')}`,
      'UsePAM no',
      'StrictModes no',
      'PermitRootLogin yes',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PrintMotd no',
      'PidFile none',
    ];
    writeFileSync(path.join(directory, 'sshd_config'), `${lines.join('\n')}\n`);
    return hostKey;
  };
  writeFileSync(path.join(directory, 'authorized_keys'), `${ownKey().line}\n`);
  const hostKey = configure('host_key');

  let isAway = false;
  const connections: { readonly child: ChildProcess; drop(): void }[] = [];
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => {});
    if (isAway) {
      socket.destroy();
      return;
    }
    const child = spawn('/usr/sbin/sshd', ['-i', '-f', path.join(directory, 'sshd_config')], {
      stdio: [socket, socket, 'ignore'],
      detached: true,
      env: { PATH: '/usr/bin:/bin' },
    });
    socket.destroy();
    const drop = () => {
      try {
        process.kill(-(child.pid as number), 'SIGKILL');
      } catch {
        // it has ended by itself
      }
    };
    connections.push({ child, drop });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(async () => {
    server.close();
    for (const { drop } of connections) drop();
    await Promise.all(
      connections
        .filter(({ child }) => child.exitCode === null && child.signalCode === null)
        .map(({ child }) => once(child, 'exit')),
    );
  });
  return {
    port: (server.address() as net.AddressInfo).port,
    connections,
    hostKey,
    changeKey: () => configure('another_host_key'),
    goAway: () => {
      isAway = true;
    },
    comeBack: () => {
      isAway = false;
    },
  };
}

/** What stands in a person's ssh configuration of one host. */
export interface KnownHost {
  readonly server: SshServer;
  /** Under which its key is looked up. */
  readonly alias?: string;
}

/**
 * A directory for PATH whose `ssh` is the real one with a configuration for these hosts, all of them on this machine.
 * @param knowsKeys false: no host key is known
 */
export function sshClient(hosts: Readonly<Record<string, KnownHost>>, { knowsKeys = true } = {}): string {
  const directory = temporaryDirectory();
  const file = (name: string) => path.join(directory, name);
  writeFileSync(
    file('known_hosts'),
    knowsKeys
      ? Object.entries(hosts)
          .map(([name, { server, alias = name }]) => `${alias} ${server.hostKey}\n`)
          .join('')
      : '',
  );
  const blocks = Object.entries(hosts).map(
    ([name, { server }]) =>
      `Host ${name}\n  HostName 127.0.0.1\n  Port ${server.port}\n  HostKeyAlias ${name}\n`,
  );
  writeFileSync(
    file('config'),
    [
      ...blocks,
      'Host *',
      `  User ${os.userInfo().username}`,
      `  IdentityFile ${ownKey().file}`,
      '  IdentitiesOnly yes',
      '  BatchMode yes',
      '  StrictHostKeyChecking yes',
      `  UserKnownHostsFile ${file('known_hosts')}`,
      '  GlobalKnownHostsFile none',
    ].join('\n'),
  );
  writeFileSync(file('ssh'), `#!/bin/sh\nexec /usr/bin/ssh -F '${file('config')}' "$@"\n`);
  chmodSync(file('ssh'), 0o755);
  return directory;
}

/** A program that runs start-jupyter as on another machine: with nothing of the caller's but the arguments. */
export function remoteProgramFile(program: string, environment: Readonly<Record<string, string>>): string {
  const file = path.join(temporaryDirectory(), 'start-jupyter');
  const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
  const words = Object.entries(environment).map(([name, value]) => quoted(`${name}=${value}`));
  writeFileSync(file, `#!/bin/sh\ncd "$HOME"\nexec env -i ${words.join(' ')} ${quoted(program)} "$@"\n`);
  chmodSync(file, 0o755);
  return file;
}
