import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import http from 'node:http';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { allEnded, processesWithHome } from './processes.ts';
import { type RunOptions, start } from './program.ts';

export interface HereLaunch {
  readonly pid: number;
  /** The next line on stdout; undefined once it has ended. */
  line(): Promise<string | undefined>;
  /** Resolves once it has said this on stderr. */
  says(text: string): Promise<void>;
  /** From now on nobody reads what it says. */
  stopListening(): void;
  kill(signal: NodeJS.Signals): void;
  /** The rest of its life. */
  readonly ended: Promise<{
    readonly exitCode: number | undefined;
    readonly stdout: string;
    readonly stderr: string;
  }>;
}

/** Starts a launch that stays in the foreground; whatever is left of it when the test is over is ended. */
export function launchHere(args: readonly string[], how: RunOptions): HereLaunch {
  const child = start(args, how);
  onTestFinished(async () => {
    child.kill('SIGINT');
    await child;
    const runtime = runtimeDirectories(how.home.path);
    for (const { pid } of processesWithHome(how.home.path)) process.kill(pid, 'SIGKILL');
    await allEnded(how.home.path);
    for (const directory of runtime) rmSync(directory, { recursive: true, force: true });
  });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    pid: child.pid as number,
    line: async () => (await lines.next()).value,
    async says(text) {
      while (!said.includes(text)) {
        if (child.stderr.readableEnded) throw new Error(`it ended without saying "${text}", but: ${said}`);
        await Promise.race([once(child.stderr, 'data'), once(child.stderr, 'end')]);
      }
    },
    stopListening: () => child.stderr.destroy(),
    kill: (signal) => child.kill(signal),
    ended: (async () => {
      const { exitCode, stdout, stderr } = await child;
      return { exitCode, stdout, stderr };
    })(),
  };
}

/** The secrets in a link: the words of the site's name or path, and Jupyter's token. */
export function secretsOf(link: string): { readonly jupyterToken: string; readonly words: string } {
  const { hostname, pathname, searchParams } = new URL(link);
  const words = pathname === '/' ? hostname.split('.')[0] : pathname.split('/')[1];
  return { jupyterToken: searchParams.get('token') ?? '', words: words as string };
}

/** Asks a site on this machine, whose name no DNS here has to know. */
export async function ask(
  link: string,
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<{ status: number; body: string }> {
  const url = new URL(link);
  const request = http.request({
    host: '127.0.0.1',
    port: url.port,
    path,
    method,
    headers: { host: url.host, ...headers },
  });
  request.end();
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() };
}

/** The private directories in /tmp that the processes of a home work in. */
export function runtimeDirectories(home: string): string[] {
  const found = processesWithHome(home).flatMap(({ environment, commandLine }) => [
    ...`${environment}\0${commandLine}`.matchAll(/\/tmp\/sj-[A-Za-z0-9]{6}/g),
  ]);
  return [...new Set(found.map(([directory]) => directory))].filter((directory) => existsSync(directory));
}
