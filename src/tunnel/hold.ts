/** A `tunnel` to a Jupyter that is ready: kept up, also over new connections, until the session is over. */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { jupyterAnswers } from '../access/ssh.ts';
import { ConnectionError, SessionError, UsageError } from '../errors.ts';
import { freePort } from '../free-port.ts';
import { pause, unlessAborted } from '../interruption.ts';
import { openInBrowser } from '../ui/browser.ts';
import { writeLink } from '../ui/output.ts';
import { paint } from '../ui/style.ts';
import type { RemoteReport } from './remote-session.ts';
import { inUrl, type Loopback } from './ssh-client.ts';
import {
  commandThere,
  endedWith,
  lookThere,
  type Session,
  sayAfterwards,
  sayItGoesOn,
  type Tunnel,
} from './there.ts';

/** Milliseconds between looks at whether Jupyter still answers. */
const lookEvery = 5000;

/** Ports that are tried on this machine, and times that a tunnel is opened before its first answer. */
const mostAttempts = 5;

/** The end of a tunnel on this machine. */
interface LocalEnd {
  readonly address: Loopback;
  readonly port: number;
}

/** Keeps the tunnel up until the session is over. */
export async function holdTunnel(
  tunnel: Tunnel,
  session: Session,
  wantedPort: number | undefined,
): Promise<number> {
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
    await writeLink(`${JSON.stringify({ id, destination, localPort: port, url, state: 'ready' })}\n`);
  else {
    progress.note(paint(process.stderr, 'bold', 'Jupyter is ready:'));
    progress.rest();
    await writeLink(`${process.stdout.isTTY ? '  ' : ''}${url}\n`);
    progress.note(
      paint(process.stderr, 'dim', 'Keep the link to yourself: whoever has it can use your account.'),
    );
  }
  if (!options.open) return;
  const problem = await openInBrowser(path.join(directory, 'open.html'), url);
  if (problem !== undefined) progress.note(`No browser can be opened: ${problem}. Open the link yourself.`);
}
