/** One event, written as one line of JSON. */
export type LogEntry = { readonly event: string } & Readonly<Record<string, unknown>>;
export type Log = (entry: LogEntry) => void;

/** Writes entries to stderr, one line of JSON each, with the time first (ISO 8601, UTC). */
export const logToStderr: Log = (entry) => {
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), ...entry })}\n`);
};

/** A token's first word: enough to follow a session through the log, too little to visit it. */
export function shortToken(token: string): string {
  return `${token.split('-', 1)[0]}-…`;
}

/** A request's path as it may be logged: no query (it carries secrets), tokens shortened. */
export function loggablePath(url: string): string {
  // Another form than a path holds a host, and may hold a password.
  if (!url.startsWith('/')) return '(not a path)';
  const end = url.search(/[?#]/);
  return (end < 0 ? url : url.slice(0, end)).replace(/([a-z]{1,9})(?:(?:-|%2d)[a-z]{1,9}){2,5}/gi, '$1-…');
}
