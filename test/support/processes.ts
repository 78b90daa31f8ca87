import { readdirSync, readFileSync, statSync } from 'node:fs';
import { vi } from 'vitest';

export interface Process {
  readonly pid: number;
  readonly commandLine: string;
  readonly environment: string;
}

/** Every process that has this home: each test has one of its own, so that these are its processes and no others. */
export function processesWithHome(home: string): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const environment = readFileSync(`/proc/${name}/environ`, 'utf8');
        if (!`\0${environment}`.includes(`\0HOME=${home}\0`)) return [];
        const commandLine = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return commandLine === '' ? [] : [{ pid: Number(name), commandLine, environment }];
      } catch {
        return []; // it ended while we looked, or belongs to somebody else
      }
    });
}

/** Resolves once no process has this home any more. No event tells of the end of somebody else's children. */
export async function allEnded(home: string): Promise<void> {
  await vi.waitFor(
    () => {
      const left = processesWithHome(home);
      if (left.length > 0)
        throw new Error(`still there: ${left.map(({ commandLine }) => commandLine).join('; ')}`);
    },
    { timeout: 30_000, interval: 50 },
  );
}

/** Files below the directories that hold one of the texts, or are named so. */
export function filesHolding(directories: readonly string[], texts: readonly string[]): string[] {
  return directories.flatMap((directory) =>
    readdirSync(directory, { recursive: true, encoding: 'utf8' })
      .map((name) => `${directory}/${name}`)
      .filter((file) => {
        if (texts.some((text) => file.includes(text))) return true;
        const status = statSync(file, { throwIfNoEntry: false });
        if (!status?.isFile()) return false;
        const content = readFileSync(file, 'latin1');
        return texts.some((text) => content.includes(text));
      }),
  );
}
