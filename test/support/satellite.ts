import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { temporaryDirectory } from './directories.ts';

export interface SatelliteProcess {
  /** `sites.localhost:PORT` */
  readonly endpoint: string;
  /** Its own certificate, which is its own authority. */
  readonly caFile: string;
  /** What a program needs to find its names, which no DNS here knows. curl knows by itself where .localhost is. */
  readonly env: Readonly<Record<string, string>>;
  /** Tokens that were issued and have not been given back, shortened as in the log. */
  tokensInUse(): readonly string[];
  /** Asks a site as a browser would, or one of another proxy on this machine. */
  ask(
    url: string,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ readonly status: number; readonly body: string }>;
  stop(): Promise<void>;
}

/** The built proxy as a process of its own, on a free port of loopback, with TLS, and with more options if need be. */
export async function startSatelliteProcess(...more: readonly string[]): Promise<SatelliteProcess> {
  const directory = temporaryDirectory();
  const program = path.join(import.meta.dirname, '../../bin/satellite');
  const child = execa(
    program,
    [
      'serve',
      ...['--domain', 'sites.localhost', '--listen', '127.0.0.1:0', '--tls', 'selfSigned'],
      ...['--internal-networks', '127.0.0.0/8', '--job-state-networks', '127.0.0.0/8'],
      ...['--state', path.join(directory, 'state.sqlite')],
      ...more,
    ],
    { reject: false, stdin: 'ignore' },
  );
  const inUse = new Set<string>();
  const port = await new Promise<number>((resolve, reject) => {
    let said = '';
    createInterface(child.stderr).on('line', (line) => {
      said += `${line}\n`;
      const { event, port: listening, token } = JSON.parse(line);
      if (event === 'issued') inUse.add(token);
      if (event === 'gone') inUse.delete(token);
      if (event === 'listening') resolve(listening);
    });
    void child.then(() => reject(new Error(`the satellite ended: ${said}`)));
  });
  const caFile = path.join(directory, 'state.sqlite.self-signed.pem');
  const observer = pathToFileURL(path.join(import.meta.dirname, 'network-observer.mjs')).href;
  return {
    endpoint: `sites.localhost:${port}`,
    caFile,
    env: { NODE_OPTIONS: `--import=${observer}`, OBSERVED_NETWORK: '/dev/null' },
    tokensInUse: () => [...inUse],
    async ask(url, headers = {}) {
      const { protocol, hostname, host, port: asked, pathname, search } = new URL(url);
      const { request: begin } = protocol === 'https:' ? https : http;
      const request = begin({
        host: '127.0.0.1',
        port: asked,
        servername: hostname,
        path: pathname + search,
        headers: { host, ...headers },
        ca: readFileSync(caFile),
        agent: false,
      });
      request.end();
      const [response] = await once(request, 'response');
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() };
    },
    async stop() {
      child.kill('SIGTERM');
      await child;
    },
  };
}
