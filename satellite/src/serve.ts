import { ConfigError } from './config.ts';
import { configOf } from './config-options.ts';
import { EXIT, fail } from './exit.ts';
import { linesToStderr, logToStderr } from './log.ts';
import { notifySystemd, takeHandedSockets } from './operation/systemd.ts';
import { startChecked } from './server.ts';

/** From the end of the grace to the end of the process. */
const STOP_MARGIN_MS = 5000;

/** What to do about an address that can't be had. */
const listenHints: Readonly<Record<string, string>> = {
  EACCES: ' Ports below 1024 need CAP_NET_BIND_SERVICE, or a socket from systemd.',
  EADDRINUSE:
    ' "ss -ltnp" says who has it: another satellite, a web server, or the HAProxy of a satellite that was killed.',
};

/** `satellite serve` with the options that were typed: resolves when it serves, and ends the process when it is told to. */
export async function serve(given: Record<string, unknown>): Promise<void> {
  // Or else Node opens its debugger on loopback, which is everybody's on a shared host.
  process.on('SIGUSR1', () => undefined);
  // Until there is something to read again: it must not end a proxy that is about to serve.
  process.on('SIGHUP', () => undefined);
  const config = configOf(given);
  const sockets = takeHandedSockets();
  const satellite = await startChecked(config, {
    log: logToStderr,
    logLines: linesToStderr,
    sockets,
  }).catch((error: NodeJS.ErrnoException & { address?: string; port?: number; hostname?: string }) => {
    if (error.syscall === 'getaddrinfo') {
      throw new ConfigError(
        `can't listen on ${error.hostname}: the name is not known (${error.code}). Write an address of this host, such as 0.0.0.0.`,
      );
    }
    if (error.syscall !== 'listen') throw error;
    const hint = listenHints[error.code ?? ''] ?? '';
    const where = error.address ? `${error.address}:${error.port}` : 'a socket that was handed over';
    throw new ConfigError(`can't listen on ${where}: ${error.message}.${hint}`);
  });
  notifySystemd(['READY=1', `STATUS=Serving ${satellite.manageUrl}`], logToStderr);
  let isStopping = false;
  const stop = (): void => {
    if (!isStopping) {
      // Whatever TimeoutStopSec= says, delay and grace are granted.
      const patience = (config.stopDelay + config.stopGrace + STOP_MARGIN_MS) * 1000;
      notifySystemd(['STOPPING=1', `EXTEND_TIMEOUT_USEC=${patience}`], logToStderr);
    }
    const ended = isStopping ? satellite.close() : satellite.stop();
    isStopping = true;
    ended.then(
      () => process.exit(0),
      (error: Error) => fail(EXIT.proxy, error.message),
    );
  };
  process.on('SIGHUP', satellite.reload);
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}
