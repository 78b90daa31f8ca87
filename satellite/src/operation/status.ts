import { createServer, request, type Server } from 'node:http';
import { connect } from 'node:net';
import type { SatelliteConfig } from '../config.ts';
import type { Log } from '../log.ts';
import { shortToken } from '../log.ts';
import { listenOnFile } from '../socket-file.ts';
import { isDatabase } from '../tokens/postgres-url.ts';
import type { TokenRegistry } from '../tokens/registry.ts';
import type { Health } from './health.ts';
import type { Traffic } from './traffic.ts';

/** One token for the operator's eyes. Times are seconds from now, bytes are of bodies and tunnels. */
interface SiteStatus {
  /** The first word only. */
  readonly site: string;
  readonly state: string;
  readonly age: number;
  readonly expiresIn: number;
  readonly target: string | null;
  readonly job: string | null;
  readonly jobState: string | null;
  readonly visitors: number;
  readonly requests: number;
  readonly open: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** Whose socket it is where the state is a database; systemd makes the directory (StateDirectory=). */
const BESIDE_DATABASE = '/var/lib/satellite/status.sock';

/** Beside the state, for whoever may read that: on a login host, loopback would be everybody's. */
function socketOf({
  state,
  statusSocket,
}: Pick<SatelliteConfig, 'state' | 'statusSocket'>): string | undefined {
  if (statusSocket !== undefined) return statusSocket;
  if (state === ':memory:') return undefined;
  return isDatabase(state) ? BESIDE_DATABASE : `${state}.sock`;
}

/** sockaddr_un(7): 108 bytes with the zero at the end. */
const MAX_PATH = 107;

/** Every pending and live token, the oldest first. */
export function statusOf(registry: TokenRegistry, traffic: Traffic): SiteStatus[] {
  const now = registry.now();
  const seconds = (milliseconds: number): number => Math.round(milliseconds / 1000);
  return registry
    .live()
    .toSorted((a, b) => a.issuedAt - b.issuedAt)
    .map((record) => {
      const seen = traffic.seen(record.token);
      return {
        site: shortToken(record.token),
        state: record.state,
        age: seconds(now - record.issuedAt),
        expiresIn: seconds(registry.expiresAt(record) - now),
        target: record.host === null ? null : `${record.host}:${record.port}`,
        job: record.jobId,
        jobState: registry.job(record.jobId)?.state ?? null,
        visitors: seen?.visitors.size ?? 0,
        requests: seen?.requests ?? 0,
        open: (seen?.openRequests ?? 0) + (seen?.openWebSockets ?? 0),
        bytesIn: seen?.bytesIn ?? 0,
        bytesOut: seen?.bytesOut ?? 0,
      };
    });
}

/** What there is to say of the proxy itself. */
interface StateStatus {
  /** What is wrong or to be mended, in words for people. */
  readonly trouble: string | null;
}

/** Answers `satellite status` on a socket that only this user can open. A proxy without one still serves. */
export async function serveStatus(
  config: SatelliteConfig,
  read: () => SiteStatus[],
  health: Health,
  log: Log,
): Promise<Server | undefined> {
  const path = socketOf(config);
  if (path === undefined) return undefined;
  const unavailable = (message: string) => log({ event: 'status-unavailable', message });
  if (Buffer.byteLength(path) > MAX_PATH) {
    unavailable(`${path} is too long for a socket`);
    return undefined;
  }
  const server = createServer(async ({ url }, response) => {
    const state = async (): Promise<StateStatus> => ({
      trouble: (await health.trouble()) ?? health.warning ?? null,
    });
    const body = JSON.stringify(url === '/state' ? await state() : read());
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(body);
  });
  const advice = 'give each satellite on this host a statusSocket of its own';
  if (isDatabase(config.state) && (await isAlive(path))) {
    unavailable(`another satellite answers at ${path}; ${advice}`);
    return undefined;
  }
  // Of a file, the state's lock says that no other proxy has it.
  try {
    await listenOnFile(server, { file: path, log, advice });
  } catch (error) {
    unavailable((error as Error).message);
    return undefined;
  }
  return server;
}

function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on('connect', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
    socket.unref().setTimeout(1000, () => socket.destroy());
    socket.once('connect', () => socket.destroy());
  });
}

/** Asks the proxy that uses this state. Rejects with the system's error where none answers. */
export async function askStatus(
  config: SatelliteConfig,
): Promise<{ sites: SiteStatus[]; state: StateStatus }> {
  const path = socketOf(config);
  if (path === undefined) throw new Error('a state in memory has no socket; give it a statusSocket');
  return { sites: await get(path, '/'), state: await get(path, '/state') };
}

function get<T>(socketPath: string, path: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path, timeout: 10_000 }, async (response) => {
      try {
        resolve(JSON.parse(Buffer.concat(await response.toArray()).toString()) as T);
      } catch (error) {
        reject(error);
      }
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error('it does not answer')));
    outgoing.on('error', reject);
    outgoing.end();
  });
}

/** A table for people. */
export function statusTable(sites: readonly SiteStatus[]): string {
  const rows = sites.map((one) => [
    one.site,
    one.state,
    duration(one.age),
    duration(one.expiresIn),
    one.target ?? '-',
    one.job === null ? '-' : `${one.job} ${one.jobState ?? ''}`.trim(),
    String(one.visitors),
    String(one.requests),
    String(one.open),
    bytes(one.bytesIn),
    bytes(one.bytesOut),
  ]);
  const head = 'SITE STATE AGE EXPIRES TARGET JOB VISITORS REQUESTS OPEN IN OUT'.split(' ');
  const all = [head, ...rows];
  const widths = head.map((_name, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)));
  const lines = all.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const live = sites.filter(({ state }) => state === 'mapped').length;
  return `${lines.join('\n')}\n${live} live, ${sites.length - live} waiting\n`;
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}m`;
  return `${Math.round(seconds / 3600)}h`;
}

function bytes(count: number): string {
  const units = ['B', 'K', 'M', 'G', 'T'];
  const step = count === 0 ? 0 : Math.min(units.length - 1, Math.floor(Math.log(count) / Math.log(1024)));
  return `${(count / 1024 ** step).toFixed(step > 0 && count / 1024 ** step < 10 ? 1 : 0)}${units[step]}`;
}
