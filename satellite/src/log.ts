import { fstatSync } from 'node:fs';
import { LineFile } from './line-file.ts';

/** One event, written as one line of JSON. */
export type LogEntry = { readonly event: string } & Readonly<Record<string, unknown>>;
export type Log = (entry: LogEntry) => void;

/** How long a line may wait for others: each write costs as much as a request. */
const WAIT_MS = 20;
const MAX_WAITING = 64 * 1024;

/** Lines that are still to be written. */
let waiting = '';
let time = '';
let timeMs = 0;
/** Where stderr is a file, whose disk may be full; null where it isn't. */
let file: LineFile | null | undefined;

/** Writes entries to stderr, one line of JSON each, with the time first (ISO 8601, UTC). Those of a moment go together. */
export const logToStderr: Log = (entry) => {
  const now = Date.now();
  if (now !== timeMs) {
    timeMs = now;
    time = new Date(now).toISOString();
  }
  if (waiting === '') setTimeout(flush, WAIT_MS);
  waiting += `{"time":"${time}",${JSON.stringify(entry).slice(1)}\n`;
  if (waiting.length > MAX_WAITING) flush();
};

/** Lines that somebody else has written in this form, as they are. */
export function linesToStderr(lines: Buffer): void {
  if (file === undefined) file = fstatSync(2).isFile() ? new LineFile(lossLine) : null;
  if (file) file.append(lines);
  else process.stderr.write(lines);
}

function lossLine(lines: number): string {
  return `${JSON.stringify({ time: new Date().toISOString(), event: 'log-lost', lines })}\n`;
}

// Whatever ends the program: files and pipes are written to at once (Node's "process I/O"), nothing is lost.
process.on('exit', flush);

function flush(): void {
  if (waiting === '') return;
  const lines = Buffer.from(waiting);
  waiting = '';
  linesToStderr(lines);
}

/** Enough of a token to follow a session through the log, too little to visit it. */
export function firstWord(token: string): string {
  const end = token.indexOf('-');
  return end < 0 ? token : token.slice(0, end);
}

/** A token as it may be logged. */
export function shortToken(token: string): string {
  return `${firstWord(token)}-…`;
}
