/** `start-jupyter tunnel [USER@]LOGIN`, on a person's own machine: a launch over ssh, its tunnel, its browser. */
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { jupyterAnswers } from '../access/ssh.ts';
import { ConnectionError, InterruptedError, PersonError, SessionError, UsageError } from '../errors.ts';
import { interruption } from '../interruption.ts';
import { pause } from '../launch/launch.ts';
import {
  type RemoteProgram,
  type RemoteReport,
  readReport,
  reportOf,
  startThere,
} from '../tunnel/remote-session.ts';
import { remoteProgram } from '../tunnel/remote-word.ts';
import { SshClient } from '../tunnel/ssh-client.ts';
import { openInBrowser } from '../ui/browser.ts';
import { createProgress, type Progress } from '../ui/progress.ts';
import { paint } from '../ui/style.ts';
import { shown } from '../values.ts';

export interface TunnelOptions {
  /** Switches as commander has them: `open` is true unless `--no-open` was typed. */
  readonly open: boolean;
  readonly keep?: boolean;
  readonly json?: boolean;
  readonly port?: string;
  readonly jump?: string;
  readonly remoteCommand: string;
}

/** Milliseconds between looks at whether Jupyter still answers. */
const lookEvery = 5000;

interface Tunnel extends RemoteProgram {
  readonly options: TunnelOptions;
  /** Private to this user. */
  readonly directory: string;
  readonly progress: Progress;
  readonly interrupted: AbortSignal;
}

interface Session {
  readonly id: string;
  readonly token: string;
  /** On this machine. */
  readonly proposedPort: number;
  readonly jupyter: NonNullable<RemoteReport['jupyter']>;
}

/**
 * @param launchOptions for start-jupyter there, as they were typed
 * @returns the exit code, once the session is over or let go
 */
export async function run(
  destination: string,
  options: TunnelOptions,
  launchOptions: readonly string[],
  schedulerArguments: readonly string[],
): Promise<number> {
  checkHosts(destination, options.jump);
  const wantedPort = options.port === undefined ? undefined : readPort(options.port);
  const program = remoteProgram(options.remoteCommand);
  // The socket of the shared connection lies there, and its path must stay short.
  const directory = mkdtempSync(path.join(os.tmpdir(), 'sj-'));
  const client = new SshClient({ destination, jump: options.jump }, directory);
  const progress = createProgress(process.stderr, options.json ?? false);
  const tunnel = { client, destination, program, options, directory, progress, interrupted: interruption() };
  try {
    await connect(tunnel);
    const session = await launchThere(tunnel, [
      ...['--access', 'ssh', '--json', ...launchOptions],
      ...(schedulerArguments.length > 0 ? ['--', ...schedulerArguments] : []),
    ]);
    return await holdTunnel(tunnel, session, wantedPort);
  } finally {
    progress.end();
    await client.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** What stands in a command line of ssh, and in one that it gives to a shell, must be nothing else there. */
function checkHosts(destination: string, jump: string | undefined): void {
  const host = /^(?:ssh:\/\/)?[A-Za-z0-9_][\w.@:[\]-]*$/;
  if (!host.test(destination))
    throw new UsageError(
      `"${shown(destination)}" is no host that ssh could go to.`,
      'Write [USER@]HOST, ssh://USER@HOST:PORT, or a name from ~/.ssh/config.',
    );
  if (jump !== undefined && !jump.split(',').every((each) => host.test(each)))
    throw new UsageError(
      `--jump: "${shown(jump)}" is no host that ssh could go through.`,
      'Write [USER@]HOST[:PORT], several with commas between.',
    );
}

function readPort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535)
    throw new UsageError(
      `--port: "${shown(text)}" is no port.`,
      'Write a number from 1 to 65535, such as 8888.',
    );
  return port;
}

async function connect({ client, destination, progress, interrupted }: Tunnel): Promise<void> {
  if (client.isConnected) return;
  // It may ask for a password here.
  progress.rest();
  progress.note(`Connecting to ${destination}`);
  await client.connect(interrupted);
}

/** Until Jupyter is ready there. What was begun is ended again where that fails. */
async function launchThere(tunnel: Tunnel, args: readonly string[]): Promise<Session> {
  const { progress, interrupted, destination } = tunnel;
  let id: string | undefined;
  const launch = startThere(tunnel, args, (line) => {
    id ??= /^Session ([a-z][a-z2-9]{5}) /.exec(line)?.[1];
    if (!/^start-jupyter: |^ {2}/.test(line)) progress.status(`${destination}: ${shown(line, 200)}`);
  });
  progress.status(`Starting Jupyter at ${destination}`);
  try {
    const line = await unlessInterrupted(launch.firstLine, interrupted);
    const report = readReport(line);
    if (report?.state === 'ready') return sessionOf(report);
    const ended = await unlessInterrupted(launch.ended, interrupted);
    // A launch goes on without anybody who listens to it.
    if (ended.exitCode === 255 && id !== undefined) return await untilReady(tunnel, id);
    return sessionOf(reportOf(tunnel, ended));
  } catch (error) {
    if (!interrupted.aborted) throw error;
    progress.status(`Ending what was begun at ${destination}`);
    // Too early to be stopped there by its name: that comes within seconds.
    const patience = AbortSignal.timeout(30_000);
    while (id === undefined && !patience.aborted && !(await isOver(launch.ended, 200)));
    await endThere(tunnel, id);
    throw error;
  }
}

function sessionOf({ id, url, jupyter }: RemoteReport): Session {
  const link = url === null ? undefined : new URL(url);
  const token = link?.searchParams.get('token');
  if (!id || !token || !jupyter)
    throw new ConnectionError(
      'What the start-jupyter there says has no tunnel in it.',
      'It may be older than this one: both should be of the same version.',
      { final: true },
    );
  return { id, token, proposedPort: Number(link?.port), jupyter };
}

/** Asks again and again, also over new connections. */
async function untilReady(tunnel: Tunnel, id: string): Promise<Session> {
  for (;;) {
    const report = await lookThere(tunnel, id);
    if (report.state === 'ready') return sessionOf(report);
    if (report.state === 'ended' || report.state === 'failed')
      throw new SessionError(
        `The session ${id} ${report.state === 'failed' ? 'failed' : 'ended before it was ready'}: ${report.reason}`,
        `See its log: ssh ${tunnel.destination} start-jupyter logs ${id}`,
      );
    tunnel.progress.status(`${tunnel.destination}: ${report.state}`);
    await pause(5000, tunnel.interrupted);
  }
}

/** How the session is doing, asked over a connection that is made anew where it broke, however long that takes. */
async function lookThere(tunnel: Tunnel, id: string): Promise<RemoteReport> {
  const { progress, interrupted } = tunnel;
  for (let delay = 1000; ; delay = Math.min(delay * 2, 30_000)) {
    try {
      await connect(tunnel);
      return reportOf(
        tunnel,
        await unlessInterrupted(startThere(tunnel, ['status', id, '--json']).ended, interrupted),
      );
    } catch (error) {
      if (!(error instanceof ConnectionError) || error.final) throw error;
      progress.status(`${error.message} Trying again in ${Math.round(delay / 1000)} s`);
    }
    await pause(delay, interrupted);
  }
}

function anyFreePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** Keeps the tunnel up until the session is over. */
async function holdTunnel(tunnel: Tunnel, session: Session, wantedPort: number | undefined): Promise<number> {
  const { progress, interrupted, destination, options } = tunnel;
  // The browser's page knows the port: it stays the same.
  let port: number | undefined;
  let isPresented = false;
  try {
    for (;;) {
      port =
        port === undefined
          ? await bindFirst(tunnel, session, wantedPort)
          : await bindAgain(tunnel, session, port);
      if (await untilAnswers(tunnel, port)) {
        if (isPresented) progress.note('Connected again: reload the page if it does not go on by itself.');
        else await present(tunnel, session, port);
        isPresented = true;
        progress.status(
          `Connected to ${destination}. Ctrl-C ends ${options.keep ? 'the tunnel' : 'the session'}`,
        );
      }
      await untilLost(tunnel, port);
      const report = await lookThere(tunnel, session.id);
      if (report.state === 'ended' || report.state === 'failed') return conclude(tunnel, report);
    }
  } catch (error) {
    if (interrupted.aborted && options.keep) {
      progress.end();
      process.stderr.write(
        `The session ${session.id} goes on: ssh ${destination} start-jupyter status ${session.id}\n`,
      );
      return 0;
    }
    if (interrupted.aborted || !isPresented) {
      progress.status(`Ending the session at ${destination}`);
      await endThere(tunnel, session.id);
    } else progress.note(`The session ${session.id} goes on at ${destination}.`);
    throw error;
  }
}

/**
 * Over a connection that is made anew where it broke.
 * @returns whether the port could be had
 * @throws ConnectionError where a compute node can't be reached
 */
async function bind(tunnel: Tunnel, session: Session, localPort: number): Promise<boolean> {
  const { client, interrupted } = tunnel;
  const { address, port, reachedFrom, node } = session.jupyter;
  const end = { localPort, address, port, node: reachedFrom === 'node' ? node : undefined };
  for (;;) {
    try {
      if (await client.forward(end, interrupted)) return true;
      if (client.isConnected) return false;
    } catch (error) {
      if (client.isConnected) throw error;
    }
    await lookThere(tunnel, session.id);
  }
}

/** The port that was asked for; else the one that the session proposes or, where that is taken here, another. */
async function bindFirst(tunnel: Tunnel, session: Session, wanted: number | undefined): Promise<number> {
  for (let port = wanted ?? session.proposedPort; ; port = await anyFreePort()) {
    if (await bind(tunnel, session, port)) return port;
    if (wanted !== undefined)
      throw new UsageError(
        `--port: ${wanted} is taken on this machine, so the session was ended.`,
        'Name another one, or leave it out.',
      );
  }
}

async function bindAgain(tunnel: Tunnel, session: Session, port: number): Promise<number> {
  while (!(await bind(tunnel, session, port))) {
    tunnel.progress.status(`Port ${port} is taken on this machine meanwhile; waiting until it is free`);
    await pause(2000, tunnel.interrupted);
  }
  return port;
}

/**
 * Whether Jupyter answers through the tunnel, which takes a moment where going on to a node does.
 * @throws ConnectionError where tunnels are forbidden
 */
async function untilAnswers({ client, interrupted, destination }: Tunnel, port: number): Promise<boolean> {
  for (let attempt = 0; attempt < 50 && client.stands; attempt++) {
    if (await jupyterAnswers('127.0.0.1', port)) return true;
    if (client.forbidsTunnels)
      throw new ConnectionError(
        `${destination} does not allow tunnels (TCP forwarding is turned off there).`,
        'Ask your site, or for a Satellite proxy, which needs none (docs/access.md).',
        { final: true },
      );
    await pause(200, interrupted);
  }
  return false;
}

/** Resolves when the tunnel is gone, or Jupyter does not answer at its end any more. */
async function untilLost({ client, interrupted, progress }: Tunnel, port: number): Promise<void> {
  const lost = client.lost();
  while (client.stands) {
    await unlessInterrupted(Promise.race([lost, sleep(lookEvery, undefined, { ref: false })]), interrupted);
    if (client.stands && !(await jupyterAnswers('127.0.0.1', port))) return;
  }
  progress.status('The connection is lost');
}

function conclude({ progress, destination }: Tunnel, { id, state, reason = '' }: RemoteReport): number {
  progress.end();
  if (state === 'failed')
    throw new SessionError(
      `The session failed: ${reason}`,
      `See its log: ssh ${destination} start-jupyter logs ${id}`,
    );
  process.stderr.write(`The session is over: ${reason}\n`);
  return 0;
}

async function present(
  { options, progress, directory, destination }: Tunnel,
  { id, token }: Session,
  port: number,
): Promise<void> {
  const url = `http://localhost:${port}/?token=${token}`;
  if (options.json)
    process.stdout.write(`${JSON.stringify({ id, destination, localPort: port, url, state: 'ready' })}\n`);
  else {
    progress.note(paint(process.stderr, 'bold', 'Jupyter is ready:'));
    progress.rest();
    process.stdout.write(`${process.stdout.isTTY ? '  ' : ''}${url}\n`);
    progress.note(
      paint(process.stderr, 'dim', 'Keep the link to yourself: whoever has it can use your account.'),
    );
  }
  if (!options.open) return;
  const problem = await openInBrowser(path.join(directory, 'open.html'), url);
  if (problem !== undefined) progress.note(`No browser can be opened: ${problem}. Open the link yourself.`);
}

/** Ends the session at the other end, over a new connection if it must be; says what to do where that is impossible. */
async function endThere(tunnel: Tunnel, id: string | undefined): Promise<void> {
  const { client, destination, program } = tunnel;
  if (id === undefined) return;
  try {
    await client.connect(AbortSignal.timeout(20_000));
    const { exitCode } = await startThere(tunnel, ['stop', id]).ended;
    if (exitCode === 0) return;
  } catch (error) {
    if (!(error instanceof PersonError) && !(error instanceof DOMException)) throw error;
  }
  throw new InterruptedError(
    `Interrupted; the session ${id} could not be ended from here.`,
    `End it yourself: ssh ${destination} ${program} stop ${id}`,
  );
}

function unlessInterrupted<T>(promise: Promise<T>, interrupted: AbortSignal): Promise<T> {
  interrupted.throwIfAborted();
  return new Promise((resolve, reject) => {
    const abort = () => reject(interrupted.reason);
    interrupted.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => interrupted.removeEventListener('abort', abort));
  });
}

async function isOver(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  return await Promise.race([promise.then(() => true), sleep(milliseconds, false, { ref: false })]);
}
