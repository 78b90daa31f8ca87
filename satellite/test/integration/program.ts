import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { cleanup, DOMAIN } from '../support.ts';

/** The command that runs the program. */
export const satelliteCommand = [
  process.execPath,
  fileURLToPath(new URL('../../src/main.ts', import.meta.url)),
] as const;

export interface Program extends ChildProcess {
  /** What it has printed, whole lines. */
  readonly lines: string[];
  /** The first log entry of an event, as soon as it is there. Rejects if the program ends without. */
  logged(event: string): Promise<Record<string, unknown>>;
}

/** Starts a command whose log is a satellite's; it ends with the test. */
export function run(command: readonly string[], env: NodeJS.ProcessEnv = process.env): Program {
  const program = spawnProgram(command, env);
  cleanup(() => program.kill('SIGKILL'));
  return program;
}

/** The same for several tests; whoever starts it ends it. */
export function spawnProgram(command: readonly string[], env: NodeJS.ProcessEnv = process.env): Program {
  const [file = '', ...args] = command;
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  const wake = (): void => {
    for (const check of waiting) check();
  };
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => {
      lines.push(line);
      wake();
    });
  }
  let ended = false;
  child.once('close', () => {
    ended = true;
    wake();
  });
  const logged = (event: string): Promise<Record<string, unknown>> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        const line = lines.find((text) => text.startsWith('{') && JSON.parse(text).event === event);
        if (line === undefined && !ended) return;
        waiting.delete(check);
        if (line === undefined) reject(new Error(`it ended without "${event}":\n${lines.join('\n')}`));
        else resolve(JSON.parse(line));
      };
      waiting.add(check);
      check();
    });
  return Object.assign(child, { lines, logged });
}

function start(...args: string[]): Program {
  return run([...satelliteCommand, ...args]);
}

/** Runs to its end. */
export async function outcome(...args: string[]): Promise<{ code: number; lines: string[] }> {
  const child = start(...args);
  const [code] = await once(child, 'close');
  return { code, lines: child.lines };
}

/** What a proxy for tests is started with. */
export const serveArguments = [
  ...['serve', '--domain', DOMAIN, '--tls', 'off', '--internal-networks', '127.21.0.0/16'],
];

export async function serve(...args: string[]): Promise<{ child: Program; port: number }> {
  const child = start(...serveArguments, ...args);
  return { child, port: Number((await child.logged('listening')).port) };
}
