import type { IncomingMessage } from 'node:http';
import type { Passed } from '../dataplane/node/lane/lane.ts';
import type { Client } from '../gate/client.ts';
import type { Destination } from '../gate/destination.ts';
import type { Refusal } from '../gate/hygiene.ts';
import { type Log, shortToken } from '../log.ts';
import { loggablePath } from '../loggable-path.ts';
import type { RequestKind, Traffic } from '../operation/traffic.ts';

/** What a request turned out to be, once it has passed the gate. */
export interface Admitted {
  readonly destination: Destination;
  readonly client: Client;
}

/** What is said of a request once it is over. Holds nothing of the request itself: tunnels live for days. */
export interface About {
  readonly kind: RequestKind;
  readonly client: string | undefined;
  readonly host?: string;
  readonly why?: string;
  readonly method: string | undefined;
  readonly path: string;
}

/** What the log and the counters say of a request, without what they must not. */
export function describe(request: IncomingMessage, admitted: Admitted | Refusal, kind?: RequestKind): About {
  return {
    ...('status' in admitted
      ? { kind: 'refused', client: request.socket.remoteAddress, why: admitted.message }
      : {
          kind: kind ?? kindOf(admitted.destination),
          client: admitted.client.address,
          host: describeDestination(admitted.destination),
        }),
    method: request.method,
    path: loggablePath(request.url ?? ''),
  };
}

/** Counts and logs what became of a request; `started` by performance.now(). */
export function account(
  { traffic, log }: { readonly traffic: Traffic; readonly log: Log },
  { kind, ...about }: About,
  status: number,
  started: number,
  isComplete: boolean,
): void {
  traffic.request(kind, status);
  log({
    event: kind === 'refused' ? 'refused' : 'request',
    ...about,
    status,
    ms: Math.round(performance.now() - started),
    ...(!isComplete && { brokenOff: true }),
  });
}

/** The same for a request that was passed on without becoming Node's; there are a lot of them, so each entry is made at once. */
export function accountPassed(
  { traffic, log }: { readonly traffic: Traffic; readonly log: Log },
  { client, label, method, target }: Passed,
  status: number,
  started: number,
  isComplete: boolean,
): void {
  traffic.request('site', status);
  const host = shortToken(label);
  const path = loggablePath(target);
  const ms = Math.round(performance.now() - started);
  log(
    isComplete
      ? { event: 'request', client, host, method, path, status, ms }
      : { event: 'request', client, host, method, path, status, ms, brokenOff: true },
  );
}

function kindOf({ kind }: Destination): RequestKind {
  return kind === 'unslashed' || kind === 'nowhere' ? 'apex' : kind;
}

function describeDestination(destination: Destination): string {
  switch (destination.kind) {
    case 'site':
      return shortToken(destination.label);
    case 'route':
      return `${destination.route.host}${destination.route.path}`;
    case 'direct':
      return destination.direct.label;
    default:
      return kindOf(destination);
  }
}
