import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { SessionRecord } from '../../src/sessions/session.ts';
import type { Home } from './directories.ts';

/** What `--json` prints of a session, in the order of the SPEC; `reason` comes with an end. */
export const reportKeys = [
  'id',
  'system',
  'scheduler',
  'access',
  'jobId',
  'url',
  'state',
  'directory',
  'script',
  'log',
  'submittedAt',
  'expiresAt',
];

interface SessionFixture {
  readonly record?: Partial<SessionRecord>;
  /** Lines of phase and reason that its job reported. */
  readonly events?: readonly (readonly [phase: string, reason?: string])[];
  readonly log?: string;
  readonly secrets?: boolean;
}

/** A session's record as a launch writes it; its job is Slurm's number 3. */
export function sessionRecord(id: string, changed: Partial<SessionRecord> = {}): SessionRecord {
  return {
    id,
    system: 'test',
    scheduler: 'slurm',
    access: 'satellite',
    jobId: '3',
    local: null,
    directory: '/home/a',
    // Nobody listens there: a proxy that can't be reached must not be in the way.
    manageUrl: 'http://127.0.0.1:1',
    caFile: null,
    gated: false,
    claimed: false,
    timeLimit: 1800,
    submittedAt: '2026-11-21T21:00:00.000Z',
    outcome: null,
    ...changed,
  };
}

/** Puts a session into a home as a launch would have left it; its job is Slurm's number 3. */
export function saveSession(
  home: Home,
  id: string,
  { record, events = [], log, secrets = true }: SessionFixture = {},
): string {
  const directory = path.join(home.sessions, id);
  mkdirSync(path.join(directory, 'secrets'), { recursive: true, mode: 0o700 });
  const whole = sessionRecord(id, record);
  writeFileSync(path.join(directory, 'session.json'), JSON.stringify(whole));
  writeFileSync(path.join(directory, 'job.sh'), '#!/bin/bash\n');
  writeFileSync(
    path.join(directory, 'events'),
    events.map(([phase, reason = '']) => `1795303785\t${phase}\t${reason}\n`).join(''),
  );
  if (log !== undefined) writeFileSync(path.join(directory, 'job.log'), log);
  if (secrets) {
    writeFileSync(path.join(directory, 'secrets', 'jupyter-token'), `jupytertoken${id}`);
    writeFileSync(path.join(directory, 'secrets', 'proxy-token'), 'one-two-three');
    writeFileSync(path.join(directory, 'secrets', 'site'), 'https://one-two-three.sites.test/');
  }
  return directory;
}
