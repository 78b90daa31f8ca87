/** `start-jupyter tunnel [USER@]LOGIN`, on a person's own machine: a launch over ssh, its tunnel, its browser. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { UsageError } from '../errors.ts';
import { portRefusal } from '../free-port.ts';
import { interruption } from '../interruption.ts';
import { holdTunnel } from '../tunnel/hold.ts';
import { launchThere } from '../tunnel/launch-there.ts';
import { remoteProgram } from '../tunnel/remote-word.ts';
import { SshClient } from '../tunnel/ssh-client.ts';
import { connect, type TunnelOptions } from '../tunnel/there.ts';
import { createProgress } from '../ui/progress.ts';
import { shown } from '../values.ts';

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
    if (wantedPort !== undefined) await checkPort(client, wantedPort);
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

/** Before anything is begun there. Somebody may still take it meanwhile, and the tunnel may end up on the other address. */
async function checkPort(client: SshClient, port: number): Promise<void> {
  if ((await portRefusal(port, await client.loopback(undefined))) === 'EADDRINUSE')
    throw new UsageError(`--port: ${port} is taken on this machine.`, 'Name another one, or leave it out.');
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
