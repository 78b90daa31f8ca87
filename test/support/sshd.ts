/** Debian's OpenSSH: servers on loopback with keys of their own, and a client that knows them. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterAll } from 'vitest';
import { temporaryDirectory } from './directories.ts';

export interface SshConnection {
  readonly isOpen: boolean;
  /** As by a network that breaks. */
  drop(): void;
}

export interface SshServer {
  /** Of this machine's loopback. */
  readonly address: string;
  readonly port: number;
  /** Whom to log in as. */
  readonly user: string;
  /** Those that came so far. */
  readonly connections: readonly SshConnection[];
  /** Its host key, as known_hosts has it behind the name. */
  readonly hostKey: string;
  /** The file in which it says what it does. */
  readonly log: string;
  /** Replaces who may come in (at first the client of {@link sshClient}), by lines of `authorized_keys`. */
  authorize(...lines: readonly string[]): void;
  /** Says from now on that it is another. */
  changeKey(): void;
  /** As a server that is switched off: its connections end, and others are closed at once. */
  goAway(): void;
  comeBack(): void;
}

export interface ServerSettings {
  /** Lines of sshd_config. */
  readonly settings?: readonly string[];
  /** What follows them there: lines from the first `Match` on. */
  readonly matchBlock?: string;
  /** Of this machine's loopback; 127.0.0.1 unless it is given. */
  readonly address?: string;
  /** An account that this server alone knows; only root can have one. */
  readonly account?: string;
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

const started: { stop(): Promise<void> }[] = [];

afterAll(() => Promise.all(started.splice(0).map((server) => server.stop())));

/**
 * A server that goes when the file's tests are over. Each connection is taken here and handed to an sshd of its own, as
 * inetd does (sshd(8), -i), so that the port is whichever is free.
 */
export async function startSshServer({
  settings = [],
  matchBlock = '',
  address = '127.0.0.1',
  account,
}: ServerSettings = {}): Promise<SshServer> {
  const directory = temporaryDirectory();
  const file = (name: string) => path.join(directory, name);
  // What sshd's unprivileged half is locked into; made by the service where there is one.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
  const configure = (name: string): string => {
    const hostKey = newKey(file(name));
    // The first value of a keyword is the one that counts.
    const lines = [
      ...settings,
      `HostKey ${file(name)}`,
      `AuthorizedKeysFile ${file('authorized_keys')}`,
      'UsePAM no',
      'StrictModes no',
      'PermitRootLogin yes',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PrintMotd no',
      'PidFile none',
      matchBlock,
    ];
    writeFileSync(file('sshd_config'), `${lines.join('\n')}\n`);
    return hostKey;
  };
  const authorize = (...lines: readonly string[]) =>
    writeFileSync(file('authorized_keys'), `${lines.join('\n')}\n`);
  authorize(ownKey().line);
  const hostKey = configure('host_key');
  const sshd = ['/usr/sbin/sshd', '-i', '-f', file('sshd_config'), '-E', file('log')];
  const [program = '', ...words] = account === undefined ? sshd : withAccount(account, directory, sshd);

  let isAway = false;
  const connections: (SshConnection & { readonly ended: Promise<unknown> })[] = [];
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => {});
    if (isAway) {
      socket.destroy();
      return;
    }
    const child = spawn(program, words, {
      stdio: [socket, socket, 'ignore'],
      detached: true,
      env: { PATH: '/usr/bin:/bin' },
    });
    socket.destroy();
    connections.push({
      get isOpen() {
        return isRunning(child);
      },
      drop: () => {
        if (!isRunning(child)) return;
        try {
          process.kill(-(child.pid as number), 'SIGKILL');
        } catch (error) {
          // It has ended, and Node says so next: of those that end together it waits for all before it tells of each.
          if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
        }
      },
      ended: isRunning(child) ? once(child, 'exit') : Promise.resolve(),
    });
  });
  server.listen(0, address);
  await once(server, 'listening');
  const dropAll = () => {
    for (const connection of connections) connection.drop();
  };
  started.push({
    async stop() {
      server.close();
      dropAll();
      await Promise.all(connections.map(({ ended }) => ended));
    },
  });
  return {
    address,
    port: (server.address() as net.AddressInfo).port,
    user: account ?? os.userInfo().username,
    connections,
    hostKey,
    log: file('log'),
    authorize,
    changeKey: () => configure('another_host_key'),
    goAway: () => {
      isAway = true;
      dropAll();
    },
    comeBack: () => {
      isAway = false;
    },
  };
}

const isRunning = ({ exitCode, signalCode }: ChildProcess) => exitCode === null && signalCode === null;

/** A command for which this machine has one account more, and none that is real. */
function withAccount(name: string, directory: string, command: readonly string[]): string[] {
  const id = 61_000;
  const tables = {
    passwd: `${readFileSync('/etc/passwd', 'utf8')}${name}:x:${id}:${id}::/nonexistent:/bin/sh\n`,
    // No password opens it, and it isn't locked, which sshd would mind without PAM.
    shadow: `${name}:*:20000::::::\n`,
  };
  for (const [table, rows] of Object.entries(tables)) writeFileSync(path.join(directory, table), rows);
  // sshd reads authorized_keys as that account.
  chmodSync(directory, 0o711);
  const mount = 'for table in passwd shadow; do mount --bind "$0/$table" "/etc/$table"; done; exec "$@"';
  return ['unshare', '--mount', 'sh', '-ec', mount, directory, ...command];
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
 * @param settings more lines for all hosts
 */
export function sshClient(
  hosts: Readonly<Record<string, KnownHost>>,
  { knowsKeys = true, settings = [] as readonly string[] } = {},
): string {
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
      `Host ${name}\n  HostName ${server.address}\n  Port ${server.port}\n  HostKeyAlias ${name}\n`,
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
      ...settings.map((line) => `  ${line}`),
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
