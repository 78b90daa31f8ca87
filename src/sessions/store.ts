/**
 * Sessions on disk, one private directory each below `~/.local/state/start-jupyter/sessions`:
 *
 *   session.json  the record, replaced as a whole
 *   job.sh        the script as submitted
 *   job.log       what it says
 *   job-id        the job's own word for which it is, for a launch that was killed before it had written it into the record
 *   events        how far it has come: lines of time, phase, reason, appended by the job
 *   secrets/      the two tokens, the site, whether its proxy asks who visits, where a tunnel has to end; removed by
 *                 whoever sees the session end first
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
} from 'node:fs';
import path from 'node:path';
import { ConfigurationError, UsageError } from '../errors.ts';
import {
  isNoText,
  makeDirectory,
  readSmall,
  replaceFile,
  systemWords,
  writePrivate,
} from '../file-system.ts';
import { suggestion } from '../nearest.ts';
import { userDirectory } from '../user-directories.ts';
import { shown } from '../values.ts';
import { type JupyterAddress, parseRecord, type SessionRecord } from './session.ts';

export interface SessionSecrets {
  readonly jupyterToken: string;
  /** Empty where there is no proxy. */
  readonly proxyToken: string;
  /** `https://<words>.<domain>/`, `https://<domain>/<words>/`, or with a tunnel `http://localhost:<port>/` */
  readonly site: string;
  /** Told by the job where a tunnel has to end there. */
  readonly address?: JupyterAddress | undefined;
}

/** One line of a session's events file. */
export interface SessionEvent {
  readonly at: Date;
  readonly phase: string;
  readonly reason: string;
}

export interface SessionFiles {
  readonly directory: string;
  readonly script: string;
  readonly log: string;
  /** Exists once the session's end was asked for, and says why. */
  readonly stopRequested: string;
}

/** @throws ConfigurationError where it lies in a directory that no scheduler could be told of */
export function sessionsDirectory(): string {
  const directory = path.join(userDirectory('XDG_STATE_HOME'), 'sessions');
  // Node.js reads bytes that are not UTF-8 as U+FFFD.
  const problem = /[\n\r]/.test(directory)
    ? 'a line break'
    : directory.includes('\ufffd') && 'what is not UTF-8';
  if (problem)
    throw new ConfigurationError(
      `The path of your home directory holds ${problem}: ${shown(directory, 200)}.`,
      'Set HOME (or XDG_STATE_HOME) to another name of the same directory, without it.',
    );
  return directory;
}

export function sessionFiles(id: string): SessionFiles {
  const directory = path.join(sessionsDirectory(), id);
  return {
    directory,
    script: path.join(directory, 'job.sh'),
    log: path.join(directory, 'job.log'),
    stopRequested: path.join(directory, 'stop-requested'),
  };
}

const sessionName = /^[a-z][a-z2-9]{5}$/;

/** Six letters and digits that can't be mistaken for one another or for a job id. */
export function newSessionId(): string {
  const alphabet = 'abcdefghjkmnpqrstuvwxyz23456789';
  const letters = [...randomBytes(6)].map((byte) => alphabet[byte % alphabet.length]);
  return `${alphabet[randomBytes(1).readUInt8() % 23]}${letters.slice(1).join('')}`;
}

/**
 * Makes a session's directory with everything that its job needs.
 * @throws ConfigurationError where home can't be written; nothing is left behind then
 */
export function createSession(record: SessionRecord, secrets: SessionSecrets, script: string): void {
  const { directory, script: scriptFile } = sessionFiles(record.id);
  const secretsDirectory = path.join(directory, 'secrets');
  try {
    makeDirectory(path.dirname(directory));
    mkdirSync(directory, { mode: 0o700 });
    mkdirSync(secretsDirectory, { mode: 0o700 });
    // No newline at their ends: a token with one would never match.
    writePrivate(path.join(secretsDirectory, 'jupyter-token'), secrets.jupyterToken);
    writePrivate(path.join(secretsDirectory, 'proxy-token'), secrets.proxyToken);
    writePrivate(path.join(secretsDirectory, 'site'), secrets.site);
    const { hostname, pathname } = new URL(secrets.site);
    writePrivate(path.join(secretsDirectory, 'site-host'), hostname);
    writePrivate(path.join(secretsDirectory, 'site-path'), pathname);
    if (record.gated) writePrivate(path.join(secretsDirectory, 'gated'), '');
    if (record.claimed) writePrivate(path.join(secretsDirectory, 'claimed'), '');
    writePrivate(scriptFile, script);
    // It takes no other's place, and gets the job's id in a moment.
    writeRecord(record, { flush: false });
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error instanceof ConfigurationError ? error : homeProblem(directory, error);
  }
}

/**
 * A reader sees the old record or the new one.
 * @param flush also after a power cut; otherwise once `flushRecord` has seen to that
 * @throws ConfigurationError where home can't be written
 */
export function writeRecord(record: SessionRecord, { flush } = { flush: true }): void {
  const file = path.join(sessionFiles(record.id).directory, 'session.json');
  try {
    replaceFile(file, `${JSON.stringify(record, null, 2)}\n`, { flush });
  } catch (error) {
    throw homeProblem(file, error);
  }
}

/** @throws ConfigurationError where home can't be written */
export function flushRecord(id: string): void {
  const file = path.join(sessionFiles(id).directory, 'session.json');
  try {
    const descriptor = openSync(file, 'r');
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw homeProblem(file, error);
  }
}

/**
 * Writes down how a session ended and removes its secrets, as far as home lets it: one that is full or read-only must not keep
 * anybody from seeing how things stand. Whoever looks next finds the same out and tries again.
 */
export function settle(record: SessionRecord, outcome: NonNullable<SessionRecord['outcome']>): SessionRecord {
  const settled = { ...record, outcome };
  try {
    removeSecrets(record.id);
    writeRecord(settled);
  } catch (error) {
    // A system call failed, or the record could not be written; anything else is a mistake of ours.
    if (!(error instanceof ConfigurationError) && (error as NodeJS.ErrnoException).syscall === undefined)
      throw error;
  }
  return settled;
}

/**
 * Removes what a script that was killed on this host has left in /tmp, with Jupyter's token in it. Only what its session names,
 * and is the user's own.
 */
export function removeRuntime(id: string): void {
  const note = path.join(sessionFiles(id).directory, 'runtime');
  try {
    const runtime = readNote(id, 'runtime');
    if (runtime === undefined || !/^\/tmp\/sj-[A-Za-z0-9]{6}$/.test(runtime)) return;
    const found = lstatSync(runtime, { throwIfNoEntry: false });
    if (found?.isDirectory() && found.uid === process.getuid?.()) rmSync(runtime, { recursive: true });
    rmSync(note, { force: true });
  } catch (error) {
    // It ended in good order, or can't be removed now: nothing depends on it.
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
  }
}

/** @throws ConfigurationError where it can't be removed */
export function removeSession(id: string): void {
  const { directory } = sessionFiles(id);
  try {
    rmSync(directory, { recursive: true, force: true });
  } catch (error) {
    throw homeProblem(directory, error);
  }
}

/**
 * Removes what launches that were killed have left: sessions without a record that nobody has touched since; returns their
 * names. A record that can't be read may be that of a later version, with a job, and everything else is none of ours.
 */
export function removeRemains(since: Date): string[] {
  const remains = sessionDirectoryNames().filter((name) => {
    const directory = path.join(sessionsDirectory(), name);
    return !existsSync(path.join(directory, 'session.json')) && lstatSync(directory).mtime < since;
  });
  for (const name of remains) removeSession(name);
  return remains;
}

function removeSecrets(id: string): void {
  rmSync(path.join(sessionFiles(id).directory, 'secrets'), { recursive: true, force: true });
}

/** Where a page that leads on to a session's link belongs: among its secrets, with which it goes. */
export function openingPage(id: string): string {
  return path.join(sessionFiles(id).directory, 'secrets', 'open.html');
}

/** Writes a page that leads on to a link. */
export function writeOpeningPage(file: string, url: string): void {
  const link = url.replaceAll('&', '&amp;').replaceAll('"', '&quot;');
  writePrivate(
    file,
    `<!doctype html><meta charset="utf-8"><title>Jupyter</title><meta name="referrer" content="no-referrer">` +
      `<meta http-equiv="refresh" content="0; url=${link}"><p><a href="${link}">Jupyter</a></p>\n`,
  );
}

/** Undefined once the session is over. */
export function readSecrets(id: string): SessionSecrets | undefined {
  const [jupyterToken, proxyToken, site] = ['jupyter-token', 'proxy-token', 'site'].map((name) =>
    readNote(id, 'secrets', name),
  );
  return jupyterToken === undefined || proxyToken === undefined || site === undefined
    ? undefined
    : { jupyterToken, proxyToken, site, address: readAddress(id) };
}

/** A small file of a session; undefined where there is none, or what no launch and no job has made. */
function readNote(id: string, ...name: readonly string[]): string | undefined {
  try {
    return readSmall(path.join(sessionFiles(id).directory, ...name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || isNoText(error)) return undefined;
    throw error;
  }
}

/** Undefined until the job has told it. */
function readAddress(id: string): JupyterAddress | undefined {
  const [, address, port, node] =
    /^(\d+(?:\.\d+){3}) (\d{1,5}) ([A-Za-z0-9][A-Za-z0-9.-]*)\n$/.exec(
      readNote(id, 'secrets', 'address') ?? '',
    ) ?? [];
  return address && node ? { address, port: Number(port), node } : undefined;
}

/** Notes that a session's end was asked for, where its job looks for the reason. */
export function requestStop(id: string, reason: string): void {
  writePrivate(sessionFiles(id).stopRequested, reason);
}

/** Why a session's end was asked for; undefined where nobody did. */
export function stopReason(id: string): string | undefined {
  return readNote(id, path.basename(sessionFiles(id).stopRequested));
}

/** The id of the job that has begun for a session, as the job itself has noted it; not with Slurm. */
export function notedJobId(id: string): string | undefined {
  // Whole, and nothing that a command would take for an option.
  return /^(\d[\w.[\]-]*)\n$/.exec(readNote(id, 'job-id') ?? '')?.[1];
}

/** What the job has reported so far; a line that is still being written is left for the next time. */
export function readEvents(id: string): SessionEvent[] {
  const text = readNote(id, 'events') ?? '';
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .flatMap((line) => {
      const [at, phase, reason = ''] = line.split('\t');
      return at !== undefined && /^\d+$/.test(at) && phase
        ? [{ at: new Date(Number(at) * 1000), phase, reason }]
        : [];
    });
}

/** @throws ConfigurationError where they can't be read */
function sessionNames(): string[] {
  const directory = sessionsDirectory();
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new ConfigurationError(
      `Your sessions can't be read: ${directory}: ${systemWords(error)}.`,
      'Set HOME to your own home directory (sudo may keep that of another user).',
    );
  }
}

/** The names among them that a launch may have given. @throws ConfigurationError where they can't be read */
export function sessionDirectoryNames(): string[] {
  return sessionNames().filter((name) => sessionName.test(name));
}

/** All sessions that can be read, oldest first; a broken one doesn't hide the others. */
export function listSessions(): SessionRecord[] {
  return sessionNames()
    .map(readRecord)
    .filter((record) => record !== undefined)
    .sort((a, b) => a.submittedAt.localeCompare(b.submittedAt));
}

/**
 * The session with this id, the only one whose id begins so, or the one with this job id; without an id the latest.
 * @throws UsageError where there is none, or several; ConfigurationError where its record says nothing to this version
 */
export function findSession(wanted: string | undefined): SessionRecord {
  const all = listSessions();
  if (wanted === undefined) {
    const latest = all.at(-1);
    if (latest === undefined) throw new UsageError('You have no sessions yet.', 'Start one: start-jupyter');
    return latest;
  }
  const exact = all.find(({ id, jobId }) => id === wanted || jobId === wanted);
  if (exact) return exact;
  const matching = wanted === '' ? [] : all.filter(({ id }) => id.startsWith(wanted));
  if (matching.length === 1) return matching[0] as SessionRecord;
  const ids = all.map(({ id }) => id);
  const problem =
    matching.length === 0 && sessionDirectoryNames().includes(wanted) ? recordProblem(wanted) : undefined;
  if (problem !== undefined)
    throw new ConfigurationError(
      `The record of session "${wanted}" ${problem.problem}, so nobody knows its job.`,
      `${waysToEnd(problem)}; its script: ${sessionFiles(wanted).script}`,
    );
  throw new UsageError(
    matching.length > 1
      ? `Several sessions begin with "${shown(wanted)}": ${matching.map(({ id }) => id).join(', ')}.`
      : `There is no session "${shown(wanted)}".${suggestion(wanted, ids)}`,
    'See "start-jupyter list".',
  );
}

export interface RecordProblem {
  /** What is wrong, as the end of a sentence about the record. */
  readonly problem: string;
  /** No version of this program can have meant it so; others may be a later version's. */
  readonly isDamaged: boolean;
}

/** What is wrong with a record that says nothing to this version; undefined where there is none at all, as while a launch begins. */
export function recordProblem(id: string): RecordProblem | undefined {
  let text: string;
  try {
    text = readSmall(path.join(sessionFiles(id).directory, 'session.json'));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? undefined
      : { problem: systemWords(error), isDamaged: isNoText(error) };
  }
  try {
    if (JSON.parse(text)?.id === id)
      return { problem: 'was made by another version of start-jupyter', isDamaged: false };
  } catch {
    // Half a file, or nothing.
  }
  return { problem: text === '' ? 'is empty' : 'is damaged', isDamaged: true };
}

/** How a session ends that this version can't end, without a full stop. */
export function waysToEnd({ isDamaged }: RecordProblem): string {
  return isDamaged
    ? "If it runs, end it where it was started (--here), or with the scheduler's own commands"
    : "To end it, use the version of start-jupyter that it was started with, or the scheduler's own commands";
}

/** Undefined where there is none, or nothing that a launch has written. */
function readRecord(id: string): SessionRecord | undefined {
  try {
    const record = parseRecord(JSON.parse(readSmall(path.join(sessionsDirectory(), id, 'session.json'))));
    return record.id === id ? record : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Makes sure that home takes a session, before anybody is contacted.
 * @returns what is wrong, in the system's words: full, over quota, read-only
 * @throws ConfigurationError where it lies in a directory that no scheduler could be told of
 */
export function probeHome(): ConfigurationError | undefined {
  const directory = sessionsDirectory();
  const probe = path.join(directory, `.probe-${process.pid}`);
  try {
    makeDirectory(directory);
    try {
      // Larger than what a file system keeps beside the inode, so that a full one shows.
      writePrivate(probe, ' '.repeat(64 * 1024));
    } finally {
      rmSync(probe, { force: true });
    }
    return undefined;
  } catch (error) {
    return homeProblem(directory, error);
  }
}

function homeProblem(directory: string, error: unknown): ConfigurationError {
  return new ConfigurationError(
    `Your home directory can't be written: ${directory}: ${systemWords(error)}.`,
    ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')
      ? 'Free some space or check your quota, then try again.'
      : 'Sessions are kept there: make it writable for yourself, or set HOME to a directory that is.',
  );
}
