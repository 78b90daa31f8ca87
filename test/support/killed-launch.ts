import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Home } from './directories.ts';
import { temporaryDirectory } from './directories.ts';

/** A directory, for the front of PATH, in which a command does its work and then kills who called it: nobody hears its answer. */
export function killsItsCaller(command: string): string {
  const directory = temporaryDirectory();
  writeFileSync(
    path.join(directory, path.basename(command)),
    `#!/bin/sh\n'${command}' "$@" >/dev/null\nkill -KILL "$PPID"\n`,
    { mode: 0o755 },
  );
  return directory;
}

/** Makes a home's only session one that was submitted long ago. */
export function age({ sessions }: Home): void {
  const [id = ''] = readdirSync(sessions);
  const file = path.join(sessions, id, 'session.json');
  const record = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...record, submittedAt: '2026-01-01T00:00:00.000Z' }));
}
