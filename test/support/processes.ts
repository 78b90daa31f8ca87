import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
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

/** The addresses (`127.0.0.1`, `0.0.0.0`, `::`) that processes listen on for TCP, see proc(5). */
export function listeningAddresses(processes: readonly Process[]): string[] {
  const sockets = new Set(
    processes.flatMap(({ pid }) => {
      try {
        return readdirSync(`/proc/${pid}/fd`).map((descriptor) =>
          readlinkSync(`/proc/${pid}/fd/${descriptor}`),
        );
      } catch {
        return []; // it has ended
      }
    }),
  );
  const rows = ['tcp', 'tcp6'].flatMap((table) =>
    readFileSync(`/proc/net/${table}`, 'utf8').trim().split('\n').slice(1),
  );
  return rows.flatMap((row) => {
    const [, local = '', , state, , , , , , inode] = row.trim().split(/\s+/);
    if (state !== '0A' || !sockets.has(`socket:[${inode}]`)) return [];
    const [address = ''] = local.split(':');
    return [
      address.length === 8
        ? (address.match(/../g) ?? [])
            .reverse()
            .map((octet) => Number.parseInt(octet, 16))
            .join('.')
        : address,
    ];
  });
}
