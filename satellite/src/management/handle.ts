import type { IncomingMessage, ServerResponse } from 'node:http';
import { BodyError, dropRest } from '../body.ts';
import type { Client } from '../gate/client.ts';
import { hasUnreadBody } from '../http.ts';
import { Http2Request } from '../http2/message.ts';
import type { Log } from '../log.ts';
import { healthReply } from '../operation/health.ts';
import { DoubtError, StoreError } from '../tokens/store.ts';
import { answerApi, json } from './api.ts';
import { answerCgi } from './cgi.ts';
import type { Reply } from './reply.ts';
import type { Management } from './service.ts';

const HOME: Reply = {
  status: 200,
  type: 'text/plain',
  body: 'Please see documentation on how to use this service.\n',
};

/** When to try again what the state could not keep: a failover takes seconds, a full disk longer. */
const STATE_PAUSE_S = '5';

/** How much of a body that nobody wants is still read, and for how long at most, before its connection is closed. */
const DROPPED_BYTES = 16 * 1024 * 1024;
const DROPPED_MS = 5000;

/** Answers a request to the management host. */
export async function handleManagement(
  management: Management,
  request: IncomingMessage,
  response: ServerResponse,
  client: Client,
  log: Log,
): Promise<void> {
  const reply = await answer(management, request, client, log);
  const isUnread = hasUnreadBody(request);
  // An unread body would be taken for the next request's beginning.
  if (isUnread) response.setHeader('Connection', 'close');
  response.writeHead(reply.status, {
    ...reply.headers,
    ...(reply.status !== 204 && {
      'Content-Type': reply.type,
      'Content-Length': Buffer.byteLength(reply.body),
    }),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  const body = request.method === 'HEAD' ? '' : reply.body;
  // Whoever writes all of it before he reads is to find the answer; who has taken too long already is not waited for.
  if (isUnread && reply.status !== 408 && !(request instanceof Http2Request)) {
    response.write(body);
    await dropRest(request, DROPPED_BYTES, DROPPED_MS);
    response.end();
  } else response.end(body);
}

async function answer(
  management: Management,
  request: IncomingMessage,
  client: Client,
  log: Log,
): Promise<Reply> {
  const [, path = '', query = ''] = /^([^?]*)\??(.*)$/s.exec(request.url ?? '') ?? [];
  const isApi = path.startsWith('/api/');
  const failure = (status: number, code: string, message: string, headers = {}): Reply => ({
    ...(isApi
      ? json(status, { error: { code, message } })
      : { status, type: 'text/plain', body: `Oops! ${message}\n` }),
    headers,
  });
  try {
    const reads = request.method === 'GET' || request.method === 'HEAD';
    const checked = reads ? await healthReply(management.health, path) : undefined;
    if (checked) return { ...checked, type: 'text/plain' };
    if (isApi) return await answerApi(management, request, path, client);
    return (
      (await answerCgi(management, request, path, query, client)) ??
      (path === '/' ? HOME : failure(404, 'not-found', 'There is no such operation.'))
    );
  } catch (error) {
    if (error instanceof BodyError) return failure(error.status, 'bad-request', error.message);
    if (error instanceof StoreError) {
      management.traffic.stateErrors += 1;
      management.health.failed(error);
      // Not 200: a client that only looks for "Success!" and one that looks at the status both see the failure.
      return error instanceof DoubtError
        ? failure(
            503,
            'state-error',
            'The proxy does not know whether this was kept. Look before you try again.',
          )
        : failure(
            503,
            'state-error',
            'The proxy could not keep its state; nothing was changed. Try again later.',
            { 'Retry-After': STATE_PAUSE_S },
          );
    }
    log({ event: 'internal-error', stack: error instanceof Error ? error.stack : String(error) });
    return failure(500, 'internal-error', 'Something went wrong inside the proxy.');
  }
}
