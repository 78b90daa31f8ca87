import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Limits } from '../../config.ts';
import type { SiteTraffic } from '../../operation/traffic.ts';
import type { Failure, Target, Visit } from '../engine.ts';
import { failureOf } from './exchange.ts';
import { requestHeaders, responseHeaders } from './headers.ts';

/** RFC 9112 section 6.3: these have no body, and no framing. */
const bodiless: ReadonlySet<number> = new Set([204, 304]);

const KEEPALIVE_MS = 60_000;

/**
 * Hands an upgrade to the notebook. After its 101 the two sockets are spliced: bytes pass unread both ways, and each
 * direction ends by itself. Any other answer is relayed and the connection closed, so that nothing a client sends
 * afterwards is ever taken for a tunnel. Returns what ends both sides at once.
 */
export function relayUpgrade(
  request: IncomingMessage,
  client: Duplex,
  head: Buffer,
  target: Target,
  visit: Visit,
  site: SiteTraffic,
  { connectTime, answerTime }: Limits,
  onFailure: (failure: Failure) => void,
): () => void {
  let upstream: Socket | undefined;
  const outgoing = httpRequest({
    method: request.method,
    path: request.url,
    headers: [
      ...requestHeaders(request, visit),
      'Connection',
      'Upgrade',
      'Upgrade',
      request.headers.upgrade ?? '',
    ],
    setHost: false,
    createConnection: () => {
      const socket = connect({ host: target.host, port: target.port, allowHalfOpen: true, noDelay: true });
      upstream = socket;
      socket.once('connect', () => socket.setTimeout(answerTime));
      socket.setTimeout(connectTime, () => {
        socket.destroy(
          Object.assign(new Error('the notebook did not answer in time'), { code: 'ETIMEDOUT' }),
        );
      });
      return socket;
    },
  });
  const end = (): void => {
    outgoing.destroy();
    upstream?.destroy();
    client.destroy();
  };
  let answered = false;
  client.on('error', end);
  client.on('close', () => {
    if (!answered) end();
  });

  outgoing.on('upgrade', (response, socket, upstreamHead) => {
    answered = true;
    socket.setTimeout(0);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    client.write(
      headOf(response, ['Connection', 'Upgrade', 'Upgrade', response.headers.upgrade ?? '']),
      'latin1',
    );
    if (upstreamHead.length > 0) client.write(upstreamHead);
    if (head.length > 0) socket.write(head);
    site.bytesOut += upstreamHead.length;
    site.bytesIn += head.length;
    client.on('data', (chunk: Buffer) => {
      site.bytesIn += chunk.length;
    });
    socket.on('data', (chunk: Buffer) => {
      site.bytesOut += chunk.length;
    });
    splice(client, socket);
    splice(socket, client);
  });
  outgoing.on('response', (response) => {
    answered = true;
    const { statusCode = 0 } = response;
    if (statusCode < 200 || statusCode > 599) {
      upstream?.destroy();
      onFailure('broken');
      return;
    }
    upstream?.setTimeout(0);
    client.on('close', end);
    // Without a length, only our own chunks can tell a body that has ended from one that broke off.
    const chunked =
      response.headers['content-length'] === undefined &&
      !bodiless.has(response.statusCode ?? 0) &&
      request.httpVersionMinor > 0;
    const framing = chunked ? ['Transfer-Encoding', 'chunked'] : [];
    client.write(headOf(response, [...framing, 'Connection', 'close']), 'latin1');
    response.on('data', (chunk: Buffer) => {
      if (chunked) client.write(`${chunk.length.toString(16)}\r\n`);
      const more = client.write(chunk);
      if (chunked) client.write('\r\n');
      if (!more) response.pause();
    });
    client.on('drain', () => response.resume());
    response.on('end', () => client.end(chunked ? '0\r\n\r\n' : '', () => end()));
    response.on('error', end);
  });
  outgoing.on('error', (error) => {
    if (answered || client.destroyed) end();
    else {
      answered = true;
      onFailure(failureOf(error));
    }
  });
  outgoing.end();
  return end;
}

function splice(from: Duplex, to: Duplex): void {
  // pipe() passes the end of this direction on as a half-close; an abort has to reach the other side by hand.
  from.pipe(to);
  from.on('error', () => to.destroy());
  from.on('close', () => {
    if (!from.readableEnded) to.destroy();
  });
}

function headOf(response: IncomingMessage, connection: readonly string[]): string {
  const fields = [...responseHeaders(response.rawHeaders), ...connection];
  let text = `HTTP/1.1 ${response.statusCode} ${response.statusMessage}\r\n`;
  for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`;
  return `${text}\r\n`;
}
