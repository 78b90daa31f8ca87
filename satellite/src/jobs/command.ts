import { execFile } from 'node:child_process';

/** What a command said. `code` is null where it could not be run or was killed. */
export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const TIMEOUT_MS = 30_000;

/** Runs a scheduler's command; never rejects. */
export function run(command: string, args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(
      command,
      args,
      // Schedulers print local times without a zone: in UTC they have one. The C locale keeps messages readable for us.
      { timeout: TIMEOUT_MS, maxBuffer: 256 * 1024 * 1024, env: { ...process.env, TZ: 'UTC', LC_ALL: 'C' } },
      (error, stdout, stderr) => {
        const code = error ? (typeof error.code === 'number' ? error.code : null) : 0;
        resolve({ code, stdout, stderr: stderr || (error && code === null ? error.message : '') });
      },
    );
  });
}

/** The line of an error message that people need. */
export const firstLine = (text: string): string => text.trim().split('\n', 1)[0] ?? '';
