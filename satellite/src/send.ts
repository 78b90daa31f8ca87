import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { hasUnreadBody } from './http.ts';

/** How long a client may take to read an answer on a raw socket. */
const FAREWELL_MS = 5000;

/** One whole answer of our own. */
export function send(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string | string[]>>,
  body: string,
): void {
  response.writeHead(status, {
    'Cache-Control': 'no-store',
    ...headers,
    'Content-Length': Buffer.byteLength(body),
    // What is left of a body would be taken for the next request.
    ...(hasUnreadBody(request) && { Connection: 'close' }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** The same on a raw socket, which is closed after it. */
export function sendRaw(socket: Duplex, status: number, text: string): void {
  if (socket.destroyed) return;
  // The other side may leave its half open for as long as it likes.
  socket.once('finish', () => socket.destroy());
  // And need not read what we say.
  const timer = setTimeout(() => socket.destroy(), FAREWELL_MS).unref();
  socket.once('close', () => clearTimeout(timer));
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(text)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n${text}`,
  );
}

/** For a program: a sentence, as JSON where it reads that. `pause` in seconds until it should try again. */
export function sendError(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  code: string,
  message: string,
  pause?: number,
): void {
  const wantsJson = /\bjson\b/i.test(request.headers.accept ?? '');
  const headers = {
    'Content-Type': wantsJson ? 'application/json' : 'text/plain',
    ...(pause !== undefined && { 'Retry-After': String(pause) }),
  };
  const body = wantsJson ? JSON.stringify({ error: { code, message } }) : message;
  send(request, response, status, headers, `${body}\n`);
}
