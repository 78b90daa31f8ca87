/** `start-jupyter tunnel [USER@]LOGIN`, on a person's own machine: a launch over ssh, its tunnel, its browser. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { jupyterAnswers } from '../access/ssh.ts';
import { shellQuote } from '../batch/quote.ts';
import {
  ConnectionError,
  InterruptedError,
  PersonError,
  RemoteError,
  SessionError,
  UsageError,
} from '../errors.ts';
import { freePort } from '../free-port.ts';
import { interruption, unlessAborted } from '../interruption.ts';
import { pause } from '../launch/launch.ts';
import { type RemoteProgram, type RemoteReport, reportOf, startThere } from '../tunnel/remote-session.ts';
import { remoteProgram } from '../tunnel/remote-word.ts';
import { inUrl, type Loopback, SshClient } from '../tunnel/ssh-client.ts';
import type { Survivor } from '../tunnel/survivor.ts';
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

/** Milliseconds that a session is given to end: more than start-jupyter there gives its job. */
const endingTime = 120_000;

/** Ports that are tried on this machine, and times that a tunnel is opened before its first answer. */
const mostAttempts = 5;

interface Tunnel extends RemoteProgram {
  readonly options: TunnelOptions;
  /** Private to this user. */
  readonly directory: string;
  readonly progress: Progress;
  readonly interrupted: AbortSignal;
  readonly survivor: Survivor;
}

/** The end of a tunnel on this machine. */
interface LocalEnd {
  readonly address: Loopback;
  readonly port: number;
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
  const interrupted = interruption();
  const survivor = client.survivor();
  const tunnel = { client, destination, program, options, directory, progress, interrupted, survivor };
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
    await survivor.release();
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
  const { progress, interrupted, destination, options, survivor, program } = tunnel;
  let id: string | undefined;
  const launch = startThere(tunnel, args, (line) => {
    if (id === undefined) {
      id = /^Session ([a-z][a-z2-9]{5}) /.exec(line)?.[1];
      if (id !== undefined && !options.keep) survivor.shallRun(`${program} stop ${id}`);
    }
    if (!/^start-jupyter: |^ {2}/.test(line)) progress.status(`${destination}: ${shown(line, 200)}`);
  });
  progress.status(`Starting Jupyter at ${destination}`);
  try {
    const answer = await unlessAborted(launch.answer, interrupted);
    // One that runs there without a scheduler does not end before Jupyter does.
    if (answer !== undefined && answer.report === undefined) throw notUnderstood();
    if (answer?.report?.state === 'ready') return sessionOf(answer.report);
    const ended = await unlessAborted(launch.ended, interrupted);
    // A launch goes on without anybody who listens to it.
    if (ended.exitCode === 255 && id !== undefined) return await untilReady(tunnel, id);
    return sessionOf(reportOf(tunnel, ended));
  } catch (error) {
    // Over by itself, or refused.
    if (error instanceof SessionError) throw error;
    if (error instanceof RemoteError && (await launch.ended).exitCode !== 255) throw error;
    progress.status(`Ending what was begun at ${destination}`);
    if (interrupted.aborted) {
      // Too early to be stopped there by its name: that comes within seconds.
      const patience = AbortSignal.timeout(30_000);
      while (id === undefined && !patience.aborted && !(await isOver(launch.ended, 200)));
    }
    if (id !== undefined) throw await endedWith(tunnel, id, error);
    const isStillBeginning = !(await isOver(launch.ended, 0));
    if (
      isStillBeginning ||
      (await launch.ended.then(({ hasBegun, exitCode }) => hasBegun && exitCode === 255))
    )
      sayAfterwards(
        tunnel,
        `A session may have begun at ${destination} all the same. See: ${commandThere(tunnel, 'list')}`,
      );
    throw error;
  }
}

function sessionOf({ id, url, jupyter }: RemoteReport): Session {
  const link = url === null ? undefined : new URL(url);
  const token = link?.searchParams.get('token');
  if (!id || !token || !jupyter) throw notUnderstood();
  return { id, token, proposedPort: Number(link?.port), jupyter };
}

function notUnderstood(): ConnectionError {
  return new ConnectionError(
    'What the start-jupyter there says has no tunnel in it.',
    'It may be older than this one: both should be of the same version.',
    { final: true },
  );
}

/** Asks again and again, also over new connections. */
async function untilReady(tunnel: Tunnel, id: string): Promise<Session> {
  for (;;) {
    const report = await lookThere(tunnel, id);
    if (report.state === 'ready') return sessionOf(report);
    if (report.state === 'ended' || report.state === 'failed')
      throw new SessionError(
        `The session ${id} ${report.state === 'failed' ? 'failed' : 'ended before it was ready'}: ${report.reason}`,
        `See its log: ${commandThere(tunnel, 'logs', id)}`,
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
        await unlessAborted(startThere(tunnel, ['status', id, '--json']).ended, interrupted),
      );
    } catch (error) {
      if (!(error instanceof ConnectionError) || error.final) throw error;
      progress.status(`${error.message} Trying again in ${Math.round(delay / 1000)} s`);
    }
    await pause(delay, interrupted);
  }
}

/** Keeps the tunnel up until the session is over. */
async function holdTunnel(tunnel: Tunnel, session: Session, wantedPort: number | undefined): Promise<number> {
  const { progress, interrupted, destination, options, client } = tunnel;
  // The browser's page knows them: they stay the same.
  let end: LocalEnd | undefined;
  let isPresented = false;
  try {
    for (let attempt = 1; ; attempt++) {
      end =
        end === undefined
          ? await bindFirst(tunnel, session, wantedPort)
          : await bindAgain(tunnel, session, end);
      if (await untilAnswers(tunnel, end)) {
        if (isPresented) progress.note('Connected again: reload the page if it does not go on by itself.');
        else await present(tunnel, session, end);
        isPresented = true;
        progress.status(
          `Connected to ${destination}. Ctrl-C ends ${options.keep ? 'the tunnel' : 'the session'}`,
        );
      } else if (!isPresented && client.isConnected && attempt >= mostAttempts)
        throw noAnswer(tunnel, session);
      await untilLost(tunnel, end);
      const report = await lookThere(tunnel, session.id);
      if (report.state === 'ended' || report.state === 'failed') return conclude(tunnel, session.id, report);
    }
  } catch (error) {
    if (interrupted.aborted && options.keep) {
      sayAfterwards(
        tunnel,
        `The session ${session.id} goes on: ${commandThere(tunnel, 'status', session.id)}`,
      );
      return 0;
    }
    // Thrown where it is over.
    if (error instanceof SessionError) throw error;
    if (!interrupted.aborted && isPresented) {
      sayItGoesOn(tunnel, session.id);
      throw error;
    }
    progress.status(`Ending the session at ${destination}`);
    throw await endedWith(tunnel, session.id, error);
  }
}

/** What is Jupyter's is said by start-jupyter there: here it can only be the way. */
function noAnswer({ destination }: Tunnel, { jupyter }: Session): ConnectionError {
  return new ConnectionError(
    `Jupyter is ready at ${jupyter.node}, but nothing answers through the tunnel.`,
    `Perhaps ${destination} is another login node than the one that started it, or can't reach ${jupyter.address}: see its log, and docs/access.md.`,
    { final: true },
  );
}

/**
 * Over a connection that is made anew where it broke.
 * @returns whether the port could be had
 * @throws ConnectionError where a compute node can't be reached, or ssh can't listen here
 */
async function bind(tunnel: Tunnel, session: Session, local: LocalEnd): Promise<boolean> {
  const { client, interrupted } = tunnel;
  const { address, port } = session.jupyter;
  const end = { localAddress: local.address, localPort: local.port, address, port, node: nodeOf(session) };
  for (;;) {
    try {
      return await client.forward(end, interrupted);
    } catch (error) {
      interrupted.throwIfAborted();
      if (client.isConnected) throw error;
    }
    await lookThere(tunnel, session.id);
  }
}

/** The node that ssh has to go on to. */
function nodeOf({ jupyter: { reachedFrom, node } }: Session): string | undefined {
  return reachedFrom === 'node' ? node : undefined;
}

/** The port that was asked for; else the one that the session proposes or, where that is taken here, another. */
async function bindFirst(tunnel: Tunnel, session: Session, wanted: number | undefined): Promise<LocalEnd> {
  const address = await tunnel.client.loopback(nodeOf(session));
  let port = wanted ?? session.proposedPort;
  for (let attempt = 1; ; attempt++) {
    if (await bind(tunnel, session, { address, port })) return { address, port };
    if (wanted !== undefined)
      throw new UsageError(
        `--port: ${wanted} is taken on this machine, so the session was ended.`,
        'Name another one, or leave it out.',
      );
    if (attempt === mostAttempts)
      throw new ConnectionError(
        `None of ${mostAttempts} ports that were tried can be had on this machine.`,
        'Name one that is free: --port N.',
        { final: true },
      );
    port = await freePort(address);
  }
}

async function bindAgain(tunnel: Tunnel, session: Session, end: LocalEnd): Promise<LocalEnd> {
  while (!(await bind(tunnel, session, end))) {
    tunnel.progress.status(`Port ${end.port} is taken on this machine meanwhile; waiting until it is free`);
    await pause(2000, tunnel.interrupted);
  }
  return end;
}

/**
 * Whether Jupyter answers through the tunnel, which takes a moment where going on to a node does.
 * @throws ConnectionError where tunnels are forbidden
 */
async function untilAnswers(
  { client, interrupted, destination }: Tunnel,
  { address, port }: LocalEnd,
): Promise<boolean> {
  for (let attempt = 0; attempt < 50 && client.stands; attempt++) {
    if (await unlessAborted(jupyterAnswers(address, port), interrupted)) return true;
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
async function untilLost(
  { client, interrupted, progress }: Tunnel,
  { address, port }: LocalEnd,
): Promise<void> {
  const lost = client.lost();
  while (client.stands) {
    await unlessAborted(Promise.race([lost, sleep(lookEvery, undefined, { ref: false })]), interrupted);
    if (client.stands && !(await unlessAborted(jupyterAnswers(address, port), interrupted))) return;
  }
  progress.status('The connection is lost');
}

function conclude(tunnel: Tunnel, id: string, { state, reason = '' }: RemoteReport): number {
  tunnel.progress.end();
  if (state === 'failed')
    throw new SessionError(
      `The session failed: ${reason}`,
      `See its log: ${commandThere(tunnel, 'logs', id)}`,
    );
  process.stderr.write(`The session is over: ${reason}\n`);
  return 0;
}

async function present(
  { options, progress, directory, destination }: Tunnel,
  { id, token }: Session,
  { address, port }: LocalEnd,
): Promise<void> {
  // Where ssh listens on one of the two addresses that localhost has, the other may be anybody's.
  const host = address === '::1' ? inUrl(address) : 'localhost';
  const url = `http://${host}:${port}/?token=${token}`;
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
async function endedWith(tunnel: Tunnel, id: string, error: unknown): Promise<unknown> {
  if (await endThere(tunnel, id)) return error;
  if (tunnel.interrupted.aborted)
    return new InterruptedError(
      `Interrupted; the session ${id} could not be ended from here.`,
      `End it yourself: ${commandThere(tunnel, 'stop', id)}`,
    );
  sayItGoesOn(tunnel, id);
  return error;
}

/** @returns whether it is over */
async function endThere(tunnel: Tunnel, id: string): Promise<boolean> {
  try {
    await tunnel.client.connect(AbortSignal.timeout(20_000));
    const { ended } = startThere(tunnel, ['stop', id]);
    return (await unlessAborted(ended, AbortSignal.timeout(endingTime))).exitCode === 0;
  } catch (error) {
    if (error instanceof PersonError || error instanceof DOMException) return false;
    throw error;
  }
}

function sayItGoesOn(tunnel: Tunnel, id: string): void {
  sayAfterwards(
    tunnel,
    `The session ${id} goes on at ${tunnel.destination}. End it yourself: ${commandThere(tunnel, 'stop', id)}`,
  );
}

/** What must be known also where nothing else is shown. */
function sayAfterwards({ progress }: Tunnel, text: string): void {
  progress.end();
  process.stderr.write(`${text}\n`);
}

/** For a person, to be pasted. */
function commandThere({ destination, program, options }: Tunnel, ...words: string[]): string {
  const jump = options.jump === undefined ? [] : ['-J', options.jump];
  return ['ssh', ...jump, destination, shellQuote(program), ...words].join(' ');
}

async function isOver(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  return await Promise.race([promise.then(() => true), sleep(milliseconds, false, { ref: false })]);
}
