import { execFile } from 'node:child_process';
import { ConfigError } from '../config.ts';
import type { Log } from '../log.ts';

/** Sockets that somebody else has bound for us, as file descriptors. */
export interface HandedSockets {
  /** For visitors and management, in place of `listen`. */
  readonly https?: number;
  /** In place of `redirectHttpFrom`. */
  readonly http?: number;
  /** In place of `metricsListen`. */
  readonly metrics?: number;
}

const names = ['https', 'http', 'metrics'] as const;

/** sd_listen_fds(3): SD_LISTEN_FDS_START. */
const FIRST_FD = 3;
const VARIABLES = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES'] as const;

/**
 * The sockets that systemd hands to this process (sd_listen_fds(3)), by their FileDescriptorName=. A single one may have
 * any name. Takes the variables out of the environment, so that no child takes them for its own. Throws a ConfigError
 * for sockets that there is no use for.
 */
export function takeHandedSockets(env: NodeJS.ProcessEnv = process.env): HandedSockets {
  const [pid, count, given = ''] = VARIABLES.map((name) => env[name]);
  for (const name of VARIABLES) delete env[name];
  if (Number(pid) !== process.pid) return {};
  const amount = Number(count);
  const list = given.split(':');
  const sockets: { -readonly [Name in keyof HandedSockets]: number } = {};
  for (let i = 0; i < amount; i += 1) {
    const name = names.find((known) => known === list[i]) ?? (amount === 1 ? 'https' : undefined);
    if (name === undefined)
      throw new ConfigError(
        `the socket "${list[i] ?? ''}" was handed over, and there is no use for it; FileDescriptorName= must be ${names.join(', ')}`,
      );
    if (sockets[name] !== undefined)
      throw new ConfigError(
        `two sockets named ${name} were handed over, one is possible; ListenStream=PORT takes IPv4 and IPv6 alike`,
      );
    sockets[name] = FIRST_FD + i;
  }
  return sockets;
}

/**
 * Tells systemd how the service is doing (sd_notify(3)), where it wants to hear of it (Type=notify). With the help of the
 * command systemd-notify, since Node has no datagram sockets of the Unix domain: the unit needs NotifyAccess=all.
 */
export function notifySystemd(assignments: readonly string[], log: Log): void {
  if (process.env.NOTIFY_SOCKET === undefined) return;
  execFile('systemd-notify', assignments, { timeout: 5000 }, (error) => {
    if (error) log({ event: 'notify-failed', message: error.message.trim() });
  });
}
