import { createServer, type Socket } from 'node:net';
import { listenOn } from './support.ts';

/** One request as a lenient server has understood it. */
export interface Understood {
  readonly method: string;
  readonly target: string;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

/** How a server reads requests where it is laxer than RFC 9112. Without quirks it takes what is well-formed. */
export interface Quirks {
  /** What ends a line of the header. */
  readonly lineEnd?: RegExp;
  /** A line without an end of its own that is a whole request (HTTP/0.9). */
  readonly simple?: RegExp;
  /** What parts the three words of the first line. */
  readonly blank?: RegExp;
  /** What is left of the header before it is read. */
  readonly clean?: (head: string) => string;
  /** What a field's name is taken for. */
  readonly name?: (raw: string) => string;
  /** Is this value, in lower case, the chunked coding? */
  readonly isChunked?: (value: string) => boolean;
  /** Which wins where both are given: chunks, as RFC 9112 says, or the length. */
  readonly prefers?: 'chunks' | 'length';
  /** Which of several fields counts. */
  readonly takes?: 'first' | 'last';
  readonly length?: (value: string) => number;
  readonly chunkSize?: (line: string) => number;
  /** What ends the line of a chunk's size, and its data. */
  readonly chunkEnd?: RegExp;
  /** Requests whose body it doesn't expect, and doesn't read. */
  readonly isBodiless?: (request: Omit<Understood, 'body'>) => boolean;
  /** Header and trailer fields are all the same to it. */
  readonly mergesTrailers?: true;
}

const has = (fields: Understood['fields'], name: string, take: 'first' | 'last'): string | undefined => {
  const values = fields.filter(([given]) => given === name).map(([, value]) => value);
  return take === 'first' ? values[0] : values.at(-1);
};

/** The first request in a text and how long it is; undefined while something of it is missing. */
function readOne(text: string, quirks: Quirks): { request: Understood; size: number } | undefined {
  const {
    lineEnd = /\r\n/,
    blank = / /,
    clean = (head) => head,
    name = (raw) => raw,
    isChunked = (value) => value === 'chunked',
    prefers = 'chunks',
    takes = 'last',
    length = (value) => (/^\d+$/.test(value) ? Number(value) : 0),
    chunkSize = (line) => Number.parseInt(line, 16),
    chunkEnd = /\r\n/,
    isBodiless = () => false,
  } = quirks;
  const simple = quirks.simple?.exec(text);
  if (simple) {
    const [method = '', target = ''] = simple[0].trim().split(/\s+/);
    return { request: { method, target, fields: [], body: '' }, size: simple[0].length };
  }
  const lines: string[] = [];
  // Empty lines before a request are nobody's (RFC 9112 section 2.2).
  let at = /^(?:\r?\n)*/.exec(text)?.[0].length ?? 0;
  for (;;) {
    const end = lineEnd.exec(text.slice(at));
    if (!end) return undefined;
    const line = text.slice(at, at + end.index);
    at += end.index + end[0].length;
    if (line === '') break;
    lines.push(line);
  }
  const [first = '', ...rest] = clean(lines.join('\r\n')).split('\r\n');
  const [method = '', target = ''] = first.split(blank).filter((word) => word !== '');
  const read = (line: string): readonly [string, string] => {
    const colon = line.indexOf(':');
    return [name(line.slice(0, colon)).toLowerCase(), line.slice(colon + 1).trim()];
  };
  const fields = rest.map(read);
  const done = (body: string, trailers: string[] = []) => {
    const all = quirks.mergesTrailers ? [...fields, ...trailers.map(read)] : fields;
    return { request: { method, target, fields: all, body }, size: at };
  };
  if (isBodiless({ method, target, fields })) return done('');
  const coding = has(fields, 'transfer-encoding', takes);
  const given = has(fields, 'content-length', takes);
  const chunked = coding !== undefined && isChunked(coding.toLowerCase());
  if (chunked && !(prefers === 'length' && given !== undefined)) {
    let body = '';
    for (;;) {
      const end = chunkEnd.exec(text.slice(at));
      if (!end) return undefined;
      const size = chunkSize(text.slice(at, at + end.index));
      at += end.index + end[0].length;
      if (!(size > 0)) break;
      if (text.length < at + size) return undefined;
      body += text.slice(at, at + size);
      at += size;
      const after = chunkEnd.exec(text.slice(at));
      if (!after) return undefined;
      if (after.index === 0) at += after[0].length;
    }
    const trailers: string[] = [];
    for (;;) {
      const end = chunkEnd.exec(text.slice(at));
      if (!end) return undefined;
      const line = text.slice(at, at + end.index);
      at += end.index + end[0].length;
      if (line === '') return done(body, trailers);
      trailers.push(line);
    }
  }
  const size = given === undefined ? 0 : length(given);
  if (text.length < at + size) return undefined;
  at += size;
  return done(text.slice(at - size, at));
}

/** A server on NODE1 that reads requests as its quirks say, keeps them, and answers every one with 200. */
export async function lenientServer(quirks: Quirks) {
  const understood: Understood[] = [];
  const waiting = new Set<() => void>();
  const port = await listenOn(
    createServer((socket: Socket) => {
      let text = '';
      socket.on('error', () => undefined);
      socket.on('data', (data) => {
        text += data.toString('latin1');
        for (let one = readOne(text, quirks); one; one = readOne(text, quirks)) {
          text = text.slice(one.size);
          understood.push(one.request);
          const closes = one.request.fields.some(
            ([name, value]) => name === 'connection' && value === 'close',
          );
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
          if (closes) {
            socket.end();
            socket.removeAllListeners('data').resume();
            break;
          }
        }
        for (const wake of waiting) wake();
      });
    }),
  );
  return {
    port,
    understood,
    /** Resolves once it has understood a request for this target. */
    async sees(target: string): Promise<void> {
      await new Promise<void>((resolve) => {
        const check = (): void => {
          if (understood.some((request) => request.target === target)) resolve();
        };
        waiting.add(check);
        check();
      });
    },
  };
}
