import { rmSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import type { Log } from '../log.ts';
import { shortToken } from '../log.ts';
import type { TokenRegistry } from '../tokens/registry.ts';
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

/** Beside the state, for whoever may read that: on a login host, loopback would be everybody's. */
const socketOf = (state: string): string => `${state}.sock`;

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

/** Answers `satellite status` on a socket that only this user can open. A proxy without one still serves. */
export function serveStatus(state: string, read: () => SiteStatus[], log: Log): Server | undefined {
  if (state === ':memory:') return undefined;
  const path = socketOf(state);
  const unavailable = (message: string) => log({ event: 'status-unavailable', message });
  if (Buffer.byteLength(path) > MAX_PATH) {
    unavailable(`${path} is too long for a socket`);
    return undefined;
  }
  const server = createServer((_request, response) => {
    const body = JSON.stringify(read());
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(body);
  });
  server.on('error', (error) => unavailable(error.message));
  // Left by a proxy that was killed; the state's lock says that none is alive.
  rmSync(path, { force: true });
  const before = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
  return server;
}

/** Asks the proxy that uses this state. Rejects with the system's error where none answers. */
export function askStatus(state: string): Promise<SiteStatus[]> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: socketOf(state), timeout: 10_000 }, async (response) => {
      try {
        resolve(JSON.parse(Buffer.concat(await response.toArray()).toString()) as SiteStatus[]);
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
