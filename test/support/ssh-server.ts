import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { freePort } from '../../src/free-port.ts';
import { temporaryDirectory } from './directories.ts';

export interface SshServer {
  readonly port: number;
  /** Whom to log in as: without root, sshd knows its own user only. */
  readonly user: string;
  readonly hostKey: string;
  /** Replaces who may come in, by lines of `authorized_keys`. */
  authorize(...lines: readonly string[]): void;
  /** The processes of connections, without those that wait for new ones. */
  connections(): readonly number[];
  /** As a server that is switched off: its connections end, and no others are taken. */
  goAway(): Promise<void>;
  comeBack(): Promise<void>;
  /** A directory with an `ssh` that has settings of its own, since OpenSSH takes home from the password file, not from HOME. */
  clientPrograms(options?: { readonly knownHosts?: string }): string;
  stop(): Promise<void>;
}

/** A real OpenSSH server with keys of its own, on a free port of loopback. */
export async function startSshServer(): Promise<SshServer> {
  const directory = temporaryDirectory();
  const file = (name: string) => path.join(directory, name);
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file('host')]);
  writeFileSync(file('authorized'), '', { mode: 0o600 });
  const port = await freePort();
  // sshd run by root wants it there, as Debian's service makes it.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
  writeFileSync(
    file('config'),
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${file('host')}`,
      `AuthorizedKeysFile ${file('authorized')}`,
      `PidFile ${file('pid')}`,
      'UsePAM no',
      'StrictModes no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin prohibit-password',
      'ClientAliveInterval 5',
      'LogLevel VERBOSE',
      '',
    ].join('\n'),
  );
  let child: ChildProcess;
  const comeBack = async () => {
    child = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', file('config')], { stdio: 'ignore' });
    await answersOn(port);
  };
  const goAway = async () => {
    const connections = childrenOf(child.pid as number);
    child.kill('SIGTERM');
    await once(child, 'exit');
    for (const pid of connections) process.kill(pid, 'SIGTERM');
  };
  await comeBack();
  const hostKey = readFileSync(file('host.pub'), 'utf8').trim();
  return {
    port,
    user: os.userInfo().username,
    hostKey,
    authorize: (...lines) => writeFileSync(file('authorized'), `${lines.join('\n')}\n`),
    connections: () => childrenOf(child.pid as number),
    clientPrograms({ knownHosts = `[127.0.0.1]:${port} ${hostKey}\n` } = {}) {
      const place = temporaryDirectory();
      const known = path.join(place, 'known_hosts');
      const config = path.join(place, 'config');
      writeFileSync(known, knownHosts);
      writeFileSync(config, `UserKnownHostsFile ${known}\nGlobalKnownHostsFile /dev/null\n`);
      writeFileSync(path.join(place, 'ssh'), `#!/bin/sh\nexec /usr/bin/ssh -F ${config} "$@"\n`, {
        mode: 0o755,
      });
      return place;
    },
    goAway,
    comeBack,
    stop: goAway,
  };
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

async function answersOn(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'data');
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED') throw error;
    } finally {
      socket.destroy();
    }
  }
}
