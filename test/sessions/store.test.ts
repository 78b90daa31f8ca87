import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { removeRuntimesOfKilled } from '../../src/sessions/local-process.ts';
import {
  findSession,
  listSessions,
  notedJobId,
  readEvents,
  readSecrets,
  removeRemains,
  removeRuntime,
  removeSession,
  settle,
  stopReason,
  writeRecord,
} from '../../src/sessions/store.ts';
import { removeDamaged, tellUnreadable, unreadableSessions } from '../../src/sessions/unreadable.ts';
import { freshHome, type Home } from '../support/directories.ts';
import { saveSession } from '../support/sessions.ts';

let home: Home;

beforeEach(() => {
  home = freshHome();
  for (const [name, value] of Object.entries(home.env)) vi.stubEnv(name, value);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

/** Lives a session through, and ends the process without notice at its n-th change on disk. Whether it was ended. */
function livesUntil(change: number): boolean {
  const support = path.join(import.meta.dirname, '../support');
  const life = ['--import', path.join(support, 'kill-at-write.mjs'), path.join(support, 'session-life.ts')];
  const { signal, status, stderr } = spawnSync(process.execPath, life, {
    env: { ...home.env, KILL_AT: String(change) },
    encoding: 'utf8',
  });
  if (signal === null && status !== 0) throw new Error(stderr);
  return signal === 'SIGKILL';
}

it('never holds half a session, whenever the program is killed', { timeout: 60_000 }, () => {
  const seen: string[] = [];
  let change = 1;
  for (; livesUntil(change); change++) {
    const [session, ...others] = listSessions();
    expect(others).toEqual([]);
    seen.push(session === undefined ? 'nothing' : session.outcome ? 'over' : (session.jobId ?? 'no job'));
    // Whole or gone; a job that finds only some of them ends itself.
    if (session?.outcome) expect(readSecrets('abcdef')).toBeUndefined();
    else if (session !== undefined && session.jobId === null)
      expect(readSecrets('abcdef')).toMatchObject({ proxyToken: 'one-two-three' });
    for (const entry of readdirSync(home.path, { recursive: true, encoding: 'utf8' }))
      expect(statSync(path.join(home.path, entry)).mode & 0o077, entry).toBe(0);
    removeRemains(new Date(Date.now() + 60_000));
    expect(existsSync(path.join(home.sessions, 'abcdef'))).toBe(session !== undefined);
    home = freshHome();
    for (const [name, value] of Object.entries(home.env)) vi.stubEnv(name, value);
  }
  expect(new Set(seen)).toEqual(new Set(['nothing', 'no job', '3']));
  expect(change).toBeGreaterThan(12);
  expect(listSessions()).toMatchObject([{ jobId: '3', outcome: { state: 'ended' } }]);
});

it('sees the end of a session also where home is full, and keeps what it has', () => {
  const directory = saveSession(home, 'abcdef');
  const [record] = listSessions();
  if (record === undefined) throw new Error('the session was not read');
  // Where the new record goes first: a device on which there is never any space.
  symlinkSync('/dev/full', path.join(directory, `session.json.${process.pid}`));
  const outcome = { state: 'ended', reason: 'Over.', at: new Date().toISOString() } as const;
  expect(settle(record, outcome)).toEqual({ ...record, outcome });
  expect(listSessions()).toEqual([record]);
  expect(settle(record, outcome)).toEqual({ ...record, outcome });
  expect(listSessions()).toEqual([{ ...record, outcome }]);
});

it('says what is wrong where home takes no record, or is not to be read', () => {
  const directory = saveSession(home, 'abcdef');
  const [record] = listSessions();
  if (record === undefined) throw new Error('the session was not read');
  symlinkSync('/dev/full', path.join(directory, `session.json.${process.pid}`));
  expect(() => writeRecord(record)).toThrow(
    expect.objectContaining({
      exitCode: 3,
      message: expect.stringMatching(/can't be written.*no space left/),
    }),
  );
  // A file in the place of the directory, since nothing is closed to root.
  rmSync(home.sessions, { recursive: true });
  writeFileSync(home.sessions, '');
  expect(() => listSessions()).toThrow(
    expect.objectContaining({
      exitCode: 3,
      message: expect.stringMatching(/can't be read.*not a directory/),
    }),
  );
});

describe('what else lies among the sessions', () => {
  it('is left alone: files of the user, and sessions of a later version', () => {
    const later = saveSession(home, 'abcdef', { record: { scheduler: 'flux' as 'slurm' } });
    mkdirSync(path.join(home.sessions, 'my notes'));
    mkdirSync(path.join(home.sessions, 'backup-2026'));
    writeFileSync(path.join(home.sessions, 'README'), 'mine');
    mkdirSync(path.join(home.sessions, 'ghjkmn'));
    expect(listSessions()).toEqual([]);
    expect(removeRemains(new Date(Date.now() + 60_000))).toEqual(['ghjkmn']);
    expect(readdirSync(home.sessions).toSorted()).toEqual(['README', 'abcdef', 'backup-2026', 'my notes']);
    expect(existsSync(path.join(later, 'secrets', 'jupyter-token'))).toBe(true);
  });

  it.each([
    ['nothing', '', 'is empty'],
    ['half a file', '{"id":"abcdef","sys', 'is damaged'],
    ["another session's record", '{"id":"ghjkmn"}', 'is damaged'],
  ])(
    'is named where a record is %s, and removed with its secrets once its job is over',
    (_, text, problem) => {
      const directory = saveSession(home, 'abcdef', { events: [['ready']] });
      writeFileSync(path.join(directory, 'session.json'), text);
      writeFileSync(path.join(directory, 'job.sh'), '');
      expect(unreadableSessions()).toEqual([{ id: 'abcdef', problem, isDamaged: true }]);
      expect(() => findSession('abcdef')).toThrow(
        expect.objectContaining({ exitCode: 3, message: expect.stringContaining(problem) }),
      );
      // Its job may still run.
      expect(removeDamaged(new Date())).toEqual([]);
      appendFileSync(path.join(directory, 'events'), '1795303785\tended\tOver.\n');
      expect(removeDamaged(new Date())).toEqual(['abcdef']);
      expect(existsSync(directory)).toBe(false);
    },
  );

  it.each<[string, (file: string) => void, string]>([
    ['a pipe', (file) => spawnSync('mkfifo', [file]), 'is not a regular file'],
    ['a directory', mkdirSync, 'is a directory'],
    ['a huge file', (file) => writeFileSync(file, Buffer.alloc(1_000_001, ' ')), 'is too large'],
  ])('keeps nobody waiting: %s in the place of a record, or of what its job reports', (_, make, problem) => {
    const broken = saveSession(home, 'abcdef');
    rmSync(path.join(broken, 'session.json'));
    make(path.join(broken, 'session.json'));
    const reporting = saveSession(home, 'ghjkmn');
    rmSync(path.join(reporting, 'events'), { force: true });
    for (const name of ['events', 'job-id', 'stop-requested', 'runtime']) make(path.join(reporting, name));
    rmSync(path.join(reporting, 'secrets', 'site'), { force: true });
    make(path.join(reporting, 'secrets', 'site'));
    expect(listSessions()).toMatchObject([{ id: 'ghjkmn' }]);
    expect(unreadableSessions()).toEqual([{ id: 'abcdef', problem, isDamaged: true }]);
    expect(readEvents('ghjkmn')).toEqual([]);
    expect([notedJobId('ghjkmn'), stopReason('ghjkmn'), readSecrets('ghjkmn')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    removeRuntime('ghjkmn');
    for (const id of ['abcdef', 'ghjkmn']) removeSession(id);
    expect(readdirSync(home.sessions)).toEqual([]);
  });

  it('is removed where a record is damaged and nothing has changed for a month; never what may be of a later version', () => {
    writeFileSync(path.join(saveSession(home, 'abcdef'), 'session.json'), 'null');
    saveSession(home, 'ghjkmn', { record: { scheduler: 'flux' as 'slurm' } });
    expect(unreadableSessions().map(({ id, isDamaged }) => [id, isDamaged])).toEqual([
      ['abcdef', true],
      ['ghjkmn', false],
    ]);
    const day = 24 * 3600_000;
    expect(removeDamaged(new Date(Date.now() + 29 * day))).toEqual([]);
    expect(removeDamaged(new Date(Date.now() + 31 * day))).toEqual(['abcdef']);
    expect(readdirSync(home.sessions)).toEqual(['ghjkmn']);
  });

  it('is said to be of another version, which can end it', () => {
    saveSession(home, 'abcdef', { record: { scheduler: 'flux' as 'slurm' } });
    const problem = 'was made by another version of start-jupyter';
    const toldOnStderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    tellUnreadable();
    const told = toldOnStderr.mock.calls.join('');
    toldOnStderr.mockRestore();
    expect(told).toContain(`its record ${problem}. To end it, use the version`);
    expect(() => findSession('abcdef')).toThrow(
      expect.objectContaining({
        exitCode: 3,
        message: expect.stringContaining(problem),
        hint: expect.stringMatching(/version of start-jupyter that it was started with.*scheduler's own/),
      }),
    );
  });

  it('is kept of a record: what a later version has written into it', () => {
    const directory = saveSession(home, 'abcdef', { record: { later: { more: 1 } } as object });
    const [record] = listSessions();
    if (record === undefined) throw new Error('the session was not read');
    settle(record, { state: 'ended', reason: 'Over.', at: new Date().toISOString() });
    expect(JSON.parse(readFileSync(path.join(directory, 'session.json'), 'utf8'))).toMatchObject({
      later: { more: 1 },
      outcome: { state: 'ended' },
    });
  });
});

describe('the private directory of a script that was killed', () => {
  /** A session whose process is gone, with what it wrote down as its private directory. */
  function killed(id: string, runtime: string): void {
    const { pid } = spawnSync('true');
    const directory = saveSession(home, id, { record: { jobId: null, local: { host: os.hostname(), pid } } });
    writeFileSync(path.join(directory, 'runtime'), runtime);
  }

  function privateDirectory(prefix: string): string {
    const directory = mkdtempSync(prefix);
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    writeFileSync(path.join(directory, 'jupyter-token'), 'secret');
    return directory;
  }

  it('is removed by the next launch here, and nothing else that is called so', () => {
    const [own, stranger] = [privateDirectory('/tmp/sj-'), privateDirectory('/tmp/other-')];
    killed('aaaaaa', own);
    killed('bbbbbb', stranger);
    const link = `${own.slice(0, -1)}${own.endsWith('Z') ? 'Y' : 'Z'}`;
    symlinkSync(stranger, link);
    onTestFinished(() => rmSync(link, { force: true }));
    killed('cccccc', link);
    removeRuntimesOfKilled();
    expect([existsSync(own), existsSync(stranger), existsSync(link)]).toEqual([false, true, true]);
  });

  it('stays where another host alone can tell', () => {
    const runtime = privateDirectory('/tmp/sj-');
    const local = { host: os.hostname(), pid: spawnSync('true').pid };
    const directory = saveSession(home, 'dddddd', {
      record: { jobId: null, local: { ...local, host: 'elsewhere' } },
    });
    writeFileSync(path.join(directory, 'runtime'), runtime);
    removeRuntimesOfKilled();
    expect(existsSync(runtime)).toBe(true);
  });
});
