import type { Server } from 'node:http';
import type { Server as SecureServer } from 'node:https';
import { Prober } from './dataplane/probe.ts';
import { Front } from './front.ts';
import { ClientConnections, RateLimit } from './gate/limits.ts';
import { Announcers, expectAnnouncement } from './gate/proxy-protocol.ts';
import { Http2Sessions } from './http2/sessions.ts';
import { addressOf, type Listeners } from './listeners.ts';
import { type Log, shortToken } from './log.ts';
import { UnderWay } from './operation/drain.ts';
import { Pages } from './pages/respond.ts';
import type { Parts } from './parts.ts';
import { sendRaw } from './send.ts';
import type { TokenRecord } from './tokens/record.ts';
import { targetOf } from './visits/sessions.ts';

/** What has to do with visitors, as far as it has an end of its own. */
export interface Visitors {
  readonly pages: Pages;
  readonly prober: Prober;
  readonly connections: ClientConnections;
  readonly underWay: UnderWay;
  readonly http2: Http2Sessions;
  readonly announcers: Announcers;
  /** Is a request under way that is no server's? */
  isBusy(): boolean;
  /** What goes by way of no server takes nothing new. */
  unlisten(): void;
}

/** Lets visitors in, at once. `openFiles` is how many descriptors there may be, where that is known. */
export function letVisitorsIn(parts: Parts, listeners: Listeners, openFiles: number | undefined): Visitors {
  const { config, registry, addresses, health, traffic, auth, own, haproxy, certificate } = parts;
  const { server, redirector, servers } = listeners;
  const pages = new Pages(registry, config);
  const connections = limitedConnections(parts, openFiles);
  const management = {
    config,
    registry,
    accesses: auth?.accesses,
    health,
    traffic,
    lookups: new RateLimit(config.limits.unknownNamesPerMinute),
    issues: new RateLimit(config.limits.tokensPerMinute),
    siteUrl: addresses.siteUrl,
    manageUrl: addresses.manageUrl,
    isOwnAddress: addresses.isOwn,
  };
  const front = new Front({ ...parts, management, engine: haproxy ?? own, pages, connections });
  const underWay = new UnderWay();
  for (const one of servers) underWay.follow(one);
  server.on('request', front.onRequest);
  server.on('secureConnection', front.onSecure);
  server.on('checkContinue', front.onRequest);
  server.on('upgrade', front.onUpgrade);
  server.on('connect', front.onConnect);
  if (redirector) redirect(redirector, front, parts);
  for (const one of servers) {
    one.on('connection', connections.onConnection);
    one.on('clientError', front.onUnreadable);
    one.setTimeout(config.limits.stallTime);
  }
  // What HAProxy hands over is never an everyday request.
  const lane = haproxy ? undefined : own.serve(server, front.door);
  const http2 = new Http2Sessions({
    limits: config.limits,
    connections,
    onRequest: (request, response) => {
      underWay.onRequest(request, response);
      front.onHttp2Request(request, response);
    },
    onUnreadable: front.onUnreadableSession,
  });
  if (haproxy) expectAnnouncement(server as Server, front.onSecure);
  else if (certificate) http2.divert(server as SecureServer);
  const announcers = new Announcers(
    (address) => config.proxyProtocol.contains(address),
    config.limits.headerTime,
  );
  // HAProxy hears them itself.
  if (!config.proxyProtocol.isEmpty)
    for (const one of haproxy ? servers.slice(1) : servers) announcers.follow(one);
  return {
    pages,
    prober: followTokens(parts),
    connections,
    underWay,
    http2,
    announcers,
    isBusy: () => http2.isAwaited || lane?.isBusy === true,
    unlisten: () => {
      http2.close();
      lane?.stop();
      pages.close();
    },
  };
}

function redirect(redirector: Server, front: Front, { addresses, log }: Parts): void {
  const onRequest = front.onPlainRequest(addresses.face.portSuffix);
  redirector.on('request', onRequest);
  redirector.on('checkContinue', onRequest);
  for (const event of ['upgrade', 'connect'])
    redirector.on(event, (_request, socket) => sendRaw(socket, 400, 'This service is at https:// only.\n'));
  log({ event: 'redirecting', ...addressOf(redirector) });
}

function limitedConnections(
  { config, traffic, log }: Parts,
  openFiles: number | undefined,
): ClientConnections {
  // Whoever is turned away comes back at once: not a line for each.
  const complaints = new RateLimit(1);
  return new ClientConnections(
    config.limits.connectionsPerClient,
    openFiles,
    config.trustedProxies,
    (limit, client) => {
      traffic.limited(limit);
      if (limit === 'connections') log({ event: 'limited', limit, client });
      else if (complaints.take(limit)) {
        const message = `of ${openFiles} open files nearly all are taken; raise the limit (LimitNOFILE=, ulimit -n)`;
        log({ event: 'limited', limit, message });
      }
    },
  );
}

/** Has the engines know what becomes of tokens. Ends with the prober that it returns. */
function followTokens({ registry, traffic, log, own, haproxy }: Parts): Prober {
  const engine = haproxy ?? own;
  const place = (record: TokenRecord | undefined): void => {
    const target = record && targetOf(record);
    if (target) haproxy?.place(target.token, target.host, target.port);
  };
  // A site whose notebook takes connections is HAProxy's to serve.
  const prober = new Prober((token) => {
    registry.markAnswering(token);
    place(registry.find(token));
  });
  const probe = (record: TokenRecord): void => {
    const target = targetOf(record);
    if (target) prober.start(target);
  };
  // Redeemed at another satellite since this one has read the state.
  for (const record of registry.live()) if (!registry.isAnswering(record.token)) probe(record);
  registry.onTransition((record, isOurs) => {
    traffic.transition(record, isOurs);
    if (isOurs) logTransition(record, log);
    probe(record);
    if (record.state === 'gone') {
      prober.stop(record.token);
      engine.drop(record.token);
    }
  });
  if (haproxy) {
    traffic.onVisitor = (token, visitor) => haproxy.visited(token, visitor);
    for (const record of registry.live()) place(record);
    haproxy.serve();
  }
  return prober;
}

function logTransition({ token, state, host, port, jobId, goneBy, phase }: TokenRecord, log: Log): void {
  if (state === 'pending') {
    log({ event: 'issued', token: shortToken(token) });
    return;
  }
  const about = state === 'mapped' ? { target: `${host}:${port}` } : { by: goneBy, ...(phase && { phase }) };
  log({ event: state, token: shortToken(token), ...about, ...(jobId && { jobId }) });
}
