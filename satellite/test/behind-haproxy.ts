/* What tests of HAProxy have in common. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RuntimeApi } from '../src/dataplane/haproxy/runtime.ts';
import type { LogEntry } from '../src/index.ts';
import { cleanup, notebook, siteHost, visit, type Wire, wire } from './support.ts';

/** What has been logged, and a way to wait for more of it. */
export function journal() {
  const entries: LogEntry[] = [];
  const waiting = new Set<() => void>();
  return {
    entries,
    log: (entry: LogEntry): void => {
      entries.push(entry);
      for (const check of waiting) check();
    },
    /** The first entry that matches, from the one with this index on. */
    when: (matches: (entry: LogEntry) => boolean, from = 0): Promise<LogEntry> =>
      new Promise((resolve) => {
        const check = (): void => {
          const found = entries.slice(from).find(matches);
          if (!found) return;
          waiting.delete(check);
          resolve(found);
        };
        waiting.add(check);
        check();
      }),
  };
}

export const isEvent =
  (event: string) =>
  (entry: LogEntry): boolean =>
    entry.event === event;

/** A folder in which HAProxy's sockets have short names. */
export async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'hap-'));
  cleanup(() => rm(made, { recursive: true, force: true }));
  return made;
}

export const runtimeIn = (directory: string): RuntimeApi => new RuntimeApi(join(directory, 'runtime.sock'));

export const pidIn = async (directory: string): Promise<number> =>
  Number(/^Pid: (\d+)$/m.exec(await runtimeIn(directory).ask('show info'))?.[1]);

const upgrade = (token: string): string =>
  `GET /api/kernels/1/channels HTTP/1.1\r\nHost: ${siteHost(token)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

/** A notebook that says its own name, and echoes WebSockets. */
export async function echoing(name = 'the notebook') {
  const upstream = await notebook((request, response) => response.end(`${name} ${request.url}`));
  upstream.on('upgrade', ({ headers }, socket) => {
    socket.on('error', () => undefined);
    // RFC 6455 section 4.2.2; over HTTP/2 the key is HAProxy's.
    const accept = createHash('sha1').update(
      `${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`,
    );
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept.digest('base64')}\r\n\r\n`,
    );
    socket.pipe(socket);
  });
  return upstream;
}

export async function tunnel(port: number, token: string): Promise<Wire> {
  const client = await wire(port);
  await client.send(upgrade(token)).until(/ 101 /);
  return client;
}

/** Waits until HAProxy serves a site to us by itself. */
export async function isDirect(directory: string, port: number, token: string): Promise<void> {
  const runtime = runtimeIn(directory);
  const entry = new RegExp(` ${siteHost(token)} (\\d+)@`);
  for (;;) {
    await visit(port, token);
    const [, id] = entry.exec(await runtime.ask(`show map ${directory}/sites.map`)) ?? [];
    if (id && (await runtime.ask(`show table satellite-requests key ${id}`)).includes('http_req_cnt')) return;
  }
}
