import { request as httpRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Limits } from '../../config.ts';
import { halfClosedTime } from '../../gate/limits.ts';
import { isBeyondCounting } from '../../http.ts';
import type { SiteTraffic } from '../../operation/traffic.ts';
import type { Failure, Target, Visit } from '../engine.ts';
import { failureOf } from './exchange.ts';
import { requestHeaders, responseHeaders } from './headers.ts';
import { HandshakeStream, NotebookSocket } from './notebook-socket.ts';
import { Outgoing } from './outgoing.ts';
import { Redactor } from './redactor.ts';
import { takeAtPush } from './take-at-push.ts';

/** RFC 9112 section 6.3: these have no body, and no framing. */
const bodiless: ReadonlySet<number> = new Set([204, 304]);

const KEEPALIVE_MS = 60_000;

/** Why a tunnel is closed whose other half does not end. */
const STALLED = new Error('the other side ended long ago');

/** An upgrade under way, or the tunnel that it has become. */
export interface Tunnel {
  /** Ends both sides at once. */
  end(): void;
}

/**
 * Hands an upgrade to the notebook. After its 101 the two sockets are spliced: bytes pass unread both ways, and each
 * direction ends by itself. Any other answer is relayed and the connection closed, so that nothing a client sends
 * afterwards is ever taken for a tunnel.
 *
 * Tunnels live for days, thousands at a time: nothing that stays may refer to the handshake, with its two messages and
 * their header fields.
 */
export function relayUpgrade(
  request: IncomingMessage,
  client: Duplex,
  head: Buffer,
  target: Target,
  visit: Visit,
  site: SiteTraffic,
  { connectTime, answerTime, stallTime }: Limits,
  onOpen: () => void,
  onFailure: (failure: Failure) => void,
): Tunnel {
  const notebook = new NotebookSocket(target);
  const upstream = notebook.socket;
  const handshake = new HandshakeStream(notebook);
  upstream.once(target.tls ? 'secureConnect' : 'connect', () => upstream.setTimeout(answerTime));
  upstream.setTimeout(connectTime, () => {
    upstream.destroy(Object.assign(new Error('the notebook did not answer in time'), { code: 'ETIMEDOUT' }));
  });
  const outgoing = httpRequest({
    method: request.method,
    path: visit.url ?? request.url,
    headers: [
      ...requestHeaders(request, visit),
      'Connection',
      'Upgrade',
      'Upgrade',
      request.headers.upgrade ?? '',
    ],
    setHost: false,
    createConnection: () => handshake,
  });
  const end = (): void => {
    outgoing.destroy();
    upstream.destroy();
    client.destroy();
  };
  const leave = (): void => {
    if (!answered) end();
  };
  const tunnel = { end };
  let answered = false;
  client.on('error', end);
  client.on('close', leave);

  outgoing.on('upgrade', (response, _handshake, upstreamHead) => {
    answered = true;
    client.off('error', end);
    client.off('close', leave);
    handshake.letGo();
    upstream.removeAllListeners('timeout');
    upstream.setTimeout(0);
    upstream.setKeepAlive(true, KEEPALIVE_MS);
    const upgrade = ['Upgrade', response.headers.upgrade ?? ''];
    const shown = visit.edits?.response?.(upgrade) ?? upgrade;
    client.write(headOf(response, visit, ['Connection', 'Upgrade', ...shown]), 'latin1');
    if (upstreamHead.length > 0) client.write(upstreamHead);
    if (head.length > 0) upstream.write(head);
    site.bytesOut += upstreamHead.length;
    site.bytesIn += head.length;
    splice(client as Socket, notebook, site, halfClosedTime({ stallTime }));
    onOpen();
    tunnel.end = endOf(client, upstream);
  });
  outgoing.on('response', (response) => {
    answered = true;
    const { statusCode = 0 } = response;
    if (statusCode < 200 || statusCode > 599 || isBeyondCounting(response.headers['content-length'] ?? '')) {
      upstream.destroy();
      onFailure('broken');
      return;
    }
    upstream.setTimeout(0);
    client.on('close', end);
    relayAnswer(response, request.httpVersionMinor > 0, client, visit, end);
  });
  outgoing.on('error', (error) => {
    if (answered || client.destroyed) end();
    else {
      answered = true;
      onFailure(failureOf(error));
    }
  });
  outgoing.end();
  return tunnel;
}

/** An answer other than 101, up to its end; then, or where either side breaks off, `end` is called. */
function relayAnswer(
  response: IncomingMessage,
  knowsChunks: boolean,
  client: Duplex,
  visit: Visit,
  end: () => void,
): void {
  // Without a length, only our own chunks can tell a body that has ended from one that broke off.
  const chunked =
    response.headers['content-length'] === undefined &&
    !bodiless.has(response.statusCode ?? 0) &&
    knowsChunks;
  const framing = chunked ? ['Transfer-Encoding', 'chunked'] : [];
  client.write(headOf(response, visit, [...framing, 'Connection', 'close']), 'latin1');
  const redactor = visit.edits?.secret && new Redactor(visit.edits.secret);
  const write = (chunk: Buffer): void => {
    if (chunk.length === 0) return;
    if (chunked) client.write(`${chunk.length.toString(16)}\r\n`);
    const more = client.write(chunk);
    if (chunked) client.write('\r\n');
    if (!more) response.pause();
  };
  response.on('data', (chunk: Buffer) => write(redactor ? redactor.push(chunk) : chunk));
  client.on('drain', () => response.resume());
  response.on('end', () => {
    if (redactor) write(redactor.end());
    client.end(chunked ? '0\r\n\r\n' : '', () => end());
  });
  response.on('error', end);
}

/**
 * What Duplex.pipe() would do both ways, with a third of its listeners and closures, and less for each message. Once one side
 * has ended, the other may be silent for `patience` milliseconds.
 */
function splice(client: Socket, notebook: NotebookSocket, site: SiteTraffic, patience: number): void {
  const { socket: upstream } = notebook;
  const forward = (chunk: Buffer): boolean => {
    site.bytesIn += chunk.length;
    return upstream.write(chunk);
  };
  const outgoing = new Outgoing(client);
  notebook.receive = (bytes, length) => {
    site.bytesOut += length;
    return outgoing.write('', bytes, 0, length, '');
  };
  // What has come since the request goes first.
  for (let early = client.read(); early !== null; early = client.read()) forward(early);
  takeAtPush(client, forward);
  upstream.on('drain', () => {
    if (!client.destroyed) client._read(0);
  });
  client.on('drain', () => upstream.resume());
  // The end of a direction is passed on as a half-close; an abort ends the other one too.
  client.on('end', () => {
    upstream.end();
    upstream.setTimeout(patience, () => upstream.destroy(STALLED));
  });
  upstream.on('end', () => {
    client.end();
    client.setTimeout(patience, () => client.destroy(STALLED));
  });
  client.on('error', () => upstream.destroy());
  upstream.on('error', () => client.destroy());
  client.on('close', () => {
    if (!client.readableEnded) upstream.destroy();
  });
  upstream.on('close', () => {
    if (!upstream.readableEnded) client.destroy();
  });
}

/** A function of its own, so that it holds nothing but the two. */
function endOf(client: Duplex, upstream: Duplex): () => void {
  return () => {
    upstream.destroy();
    client.destroy();
  };
}

function headOf(response: IncomingMessage, visit: Visit, connection: readonly string[]): string {
  const fields = [...responseHeaders(response.rawHeaders, visit), ...connection];
  const reason = visit.edits?.secret ? '' : response.statusMessage;
  let text = `HTTP/1.1 ${response.statusCode} ${reason}\r\n`;
  for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`;
  return `${text}\r\n`;
}
