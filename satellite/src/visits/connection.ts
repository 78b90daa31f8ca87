import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { Visit } from '../dataplane/engine.ts';
import type { Client } from '../gate/client.ts';

/** A visit as it came: nothing of it is changed on the way. */
export function connectionOf(request: IncomingMessage, client: Client): Visit {
  const { encrypted } = request.socket as Partial<TLSSocket>;
  return { client, proto: client.proto ?? (encrypted ? 'https' : 'http') };
}
