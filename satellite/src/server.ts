import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import type { Auth, AuthParts } from './auth/auth.ts';
import { SIGN_IN_LABEL } from './auth/label.ts';
import { type Limits, parseConfig, type SatelliteConfig, type SatelliteConfigInput } from './config.ts';
import type { HaproxyEngine, HaproxyEngineOptions, Pem } from './dataplane/haproxy/engine.ts';
import { NodeEngine } from './dataplane/node/engine.ts';
import { Prober } from './dataplane/probe.ts';
import { Front } from './front.ts';
import { DirectAddresses } from './gate/direct.ts';
import { BACKLOG, ClientConnections, descriptorLimit, RateLimit } from './gate/limits.ts';
import { Announcers, expectAnnouncement } from './gate/proxy-protocol.ts';
import { Http2Sessions } from './http2/sessions.ts';
import { type Log, shortToken } from './log.ts';
import { Agreement } from './operation/agreement.ts';
import { UnderWay } from './operation/drain.ts';
import { Health } from './operation/health.ts';
import { serveStatus, statusOf } from './operation/status.ts';
import type { HandedSockets } from './operation/systemd.ts';
import { Traffic } from './operation/traffic.ts';
import { Pages, sendRaw } from './pages/respond.ts';
import {
  Certificates,
  followCertificates,
  hstsOf,
  type ServerCertificate,
  selfSignedCertificate,
  tlsOptions,
} from './tls.ts';
import { openStore } from './tokens/open.ts';
import { isDatabase } from './tokens/postgres-url.ts';
import type { TokenRecord } from './tokens/record.ts';
import { TokenRegistry } from './tokens/registry.ts';
import { StoreError } from './tokens/store.ts';
import { Ways } from './visits/ways.ts';

interface Address {
  readonly host: string;
  readonly port: number;
}

/** A running proxy. */
export interface Satellite {
  /** Where visitors find a token's site, by its name or its path, with the slash at its end. */
  siteUrl(token: string): string;
  /** The management host, with the slash at its end. */
  readonly manageUrl: string;
  /** Where it really listens. */
  readonly address: Address;
  /** Where metrics are served, if they are. */
  readonly metricsAddress: Address | undefined;
  /** Reads the certificate files again, if there are any, and says so in the log. */
  reload(): void;
  /**
   * Is not ready for anything new, goes on for `stopDelay` as if it were, takes no new connections, lets what is under way
   * come to its end (for `stopGrace` at most), then closes.
   */
  stop(): Promise<void>;
  /** Stops serving: no new connections, open ones are closed, the state is written. Once, however often it is asked. */
  close(): Promise<void>;
}

export interface StartOptions {
  /** Hears of every request and event; says nothing if left out. */
  readonly log?: Log;
  /** Listens on these in place of the configuration's addresses. */
  readonly sockets?: HandedSockets;
  /** Takes lines that are in the form of the log already, as HAProxy writes them; `log` gets them without. */
  readonly logLines?: (lines: Buffer) => void;
}

/** What both kinds of server are made with. */
const serverOptions = ({ headerTime, headerSize, idleTime }: Limits) => ({
  insecureHTTPParser: false,
  // Missing ones are refused with everything else that is odd, which also ends the connection.
  requireHostHeader: false,
  noDelay: true,
  keepAlive: true,
  maxHeaderSize: headerSize,
  headersTimeout: headerTime,
  connectionsCheckingInterval: Math.min(headerTime, 5000),
  // A 200 MB upload over a slow line takes as long as it takes (Node's default would end it after 5 minutes).
  requestTimeout: 0,
  keepAliveTimeout: idleTime,
  // Upgrades other than WebSocket (curl's h2c, for one) are ordinary requests with a header too many.
  shouldUpgradeCallback: isWebSocket,
  // Each direction of a WebSocket ends by itself.
  allowHalfOpen: true,
});

/**
 * Starts a proxy and resolves when it serves. Rejects with a ConfigError, a StoreError, or the system's error where the
 * address can't be listened on.
 */
export async function startSatellite(
  input: SatelliteConfigInput,
  options: StartOptions = {},
): Promise<Satellite> {
  const config = parseConfig(input);
  const { log = () => undefined, sockets = {}, logLines } = options;
  const certificate = openCertificate(config, log);
  let ownAddresses: readonly Address[] = [];
  const isOwnAddress = (host: string, port: number): boolean =>
    ownAddresses.some(
      (own) => own.port === port && (own.host === host || (isWildcard(own.host) && isLocal(host))),
    );
  const ways = new Ways(config.routes, new DirectAddresses(isOwnAddress));
  const traffic = new Traffic();
  const store = await openStore(config.state, log);
  const onError = (error: unknown): void => {
    if (error instanceof StoreError) {
      traffic.stateErrors += 1;
      health.failed(error);
    } else log({ event: 'internal-error', stack: error instanceof Error ? error.stack : String(error) });
  };
  const registry = new TokenRegistry(store, config.tokenTtl, onError);
  const agreement = new Agreement(store, log);
  const health = new Health(registry, log, () => haproxy);
  const signInUrl = (): string => siteUrl(SIGN_IN_LABEL);
  const auth = await openAuth(config, { store, registry, signInUrl, onError, log }).catch(
    async (error: Error) => {
      await registry.close();
      throw error;
    },
  );
  // What ran out while nobody was looking is over before the first visitor comes.
  await registry.sweep().catch(onError);
  const hsts = hstsOf(config);
  const own = new NodeEngine(config.limits, traffic, hsts);
  const haproxy = await openHaproxy(config, { traffic, log, logLines, certificate, own }).catch(
    async (error: Error) => {
      await auth?.close();
      await registry.close();
      throw error;
    },
  );
  const server = haproxy
    ? createServer(serverOptions(behindHaproxy(config.limits)))
    : certificate
      ? createSecureServer({
          ...serverOptions(config.limits),
          ...tlsOptions,
          cert: certificate.cert,
          key: certificate.key,
          ...(certificate.SNICallback && { SNICallback: certificate.SNICallback }),
          ALPNProtocols: config.http2 ? ['h2', 'http/1.1'] : ['http/1.1'],
          handshakeTimeout: config.limits.headerTime,
        })
      : createServer(serverOptions(config.limits));
  const redirectFrom = sockets.http ?? config.redirectHttpFrom;
  const redirector = redirectFrom === undefined ? undefined : createServer(serverOptions(config.limits));
  const servers = redirector ? [server, redirector] : [server];
  const metricsAt = sockets.metrics ?? config.metricsListen;
  const metrics =
    metricsAt === undefined
      ? undefined
      : await openMetrics(registry, traffic, health, async () => haproxy?.countNow());
  try {
    if (metrics && metricsAt !== undefined) await listen(metrics, metricsAt);
    if (redirector && redirectFrom !== undefined) await listen(redirector, redirectFrom);
    await haproxy?.start(sockets.https ?? config.listen);
    // Last: nothing can arrive between this and the handlers below.
    if (haproxy) await haproxy.listen(server);
    else await listen(server, sockets.https ?? config.listen);
  } catch (error) {
    await haproxy?.end();
    for (const one of metrics ? [...servers, metrics] : servers) one.close();
    await auth?.close();
    await registry.close();
    throw error;
  }

  const address = haproxy?.address ?? addressOf(server);
  ownAddresses = [address, ...[redirector, metrics].filter((one) => one !== undefined).map(addressOf)];
  const face = publicFace(config, address.port);
  const { scheme, portSuffix } = face;
  const hostUrl = (host: string): string => `${scheme}://${host}${portSuffix}/`;
  const manageUrl = hostUrl(`manage.${config.domain}`);
  const siteUrl = (token: string): string =>
    config.siteStyle === 'host' ? hostUrl(`${token}.${config.domain}`) : `${hostUrl(config.domain)}${token}/`;
  const engine = haproxy ?? own;
  const pages = new Pages(registry, config);
  const prober = new Prober((token) => {
    registry.markAnswering(token);
    if (haproxy) placeIn(haproxy, registry.find(token));
  });
  const probe = ({ token, state, host, port }: TokenRecord): void => {
    if (state === 'mapped' && host !== null && port !== null) prober.start({ token, host, port });
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
  const lookups = new RateLimit(config.limits.unknownNamesPerMinute);
  const issues = new RateLimit(config.limits.tokensPerMinute);
  const management = {
    config,
    registry,
    accesses: auth?.accesses,
    health,
    traffic,
    lookups,
    issues,
    siteUrl,
    manageUrl,
    isOwnAddress,
  };
  const openFiles = descriptorLimit();
  // Whoever is turned away comes back at once: not a line for each.
  const complaints = new RateLimit(1);
  const connections = new ClientConnections(
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
  const front = new Front({
    config,
    registry,
    management,
    engine,
    pages,
    ways,
    traffic,
    connections,
    auth,
    hsts,
    log,
  });
  const underWay = new UnderWay();
  for (const one of servers) underWay.follow(one);
  server.on('request', front.onRequest);
  server.on('secureConnection', front.onSecure);
  server.on('checkContinue', front.onRequest);
  server.on('upgrade', front.onUpgrade);
  if (redirector) {
    const redirect = front.onPlainRequest(portSuffix);
    redirector.on('request', redirect);
    redirector.on('checkContinue', redirect);
    redirector.on('upgrade', (_request, socket) =>
      sendRaw(socket, 400, 'This service is at https:// only.\n'),
    );
    log({ event: 'redirecting', ...addressOf(redirector) });
  }
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
  const following =
    certificate instanceof Certificates
      ? followCertificates(
          certificate,
          (index) => {
            if (haproxy) return haproxy.setCertificate(index, certificate.all[index] as Pem);
            const { cert, key } = certificate;
            (server as SecureServer).setSecureContext({ ...tlsOptions, cert, key });
          },
          log,
        )
      : undefined;
  if (haproxy) {
    traffic.onVisitor = (token, visitor) => haproxy.visited(token, visitor);
    for (const record of registry.live()) placeIn(haproxy, record);
    haproxy.serve();
  }
  await agreement.tell(config, face).catch(onError);
  const status = await serveStatus(config, () => statusOf(registry, traffic), health, log);
  if (metrics) log({ event: 'serving-metrics', ...addressOf(metrics) });
  const { mapped, pending } = registry.counts();
  log({ event: 'state', file: store.name, sites: mapped, waiting: pending });
  // Says what is wrong before anybody asks.
  void health.trouble();
  log({ event: 'listening', ...address, domain: config.domain, manage: manageUrl, openFiles });

  let unlistened: Promise<unknown> | undefined;
  /** Takes no new connections; resolves when the old ones are closed. */
  const unlisten = (): Promise<unknown> => {
    unlistened ??= Promise.all(servers.map(closed));
    http2.close();
    lane?.stop();
    pages.close();
    return unlistened;
  };
  const closing = new AbortController();
  const stop = async (): Promise<void> => {
    log({ event: 'stopping' });
    health.stopping();
    // Until balancers have seen it everything is as ever.
    if (config.stopDelay > 0)
      await pause(config.stopDelay, undefined, { signal: closing.signal }).catch(closeOnce);
    if (haproxy) {
      // What HAProxy has taken in before may still have to be answered here.
      pages.close();
      const { stopGrace } = config;
      await Promise.all([haproxy.drain(stopGrace), underWay.toEnd(stopGrace, () => false)]);
    }
    void unlisten();
    await underWay.toEnd(config.stopGrace, () => http2.isAwaited || lane?.isBusy === true);
    await closeOnce();
  };
  const close = async (): Promise<void> => {
    closing.abort();
    health.close();
    following?.stop();
    prober.close();
    engine.close();
    await haproxy?.end();
    const all = [unlisten(), ...(metrics ? [closed(metrics)] : [])];
    status?.close();
    status?.closeAllConnections();
    connections.close();
    announcers.close();
    metrics?.closeAllConnections();
    await Promise.all(all);
    await auth?.close();
    await registry.close();
    log({ event: 'stopped' });
  };
  let stopped: Promise<void> | undefined;
  let isClosed: Promise<void> | undefined;
  const closeOnce = (): Promise<void> => (isClosed ??= close());
  return {
    siteUrl,
    manageUrl,
    address,
    metricsAddress: metrics && addressOf(metrics),
    reload: () => {
      if (following) following.reload();
      else log({ event: 'nothing-to-reload', message: 'there are no certificate files' });
    },
    stop: () => (stopped ??= stop()),
    close: closeOnce,
  };
}

/** On an address, or on a socket that is bound already. */
function listen(server: Server | SecureServer, at: SatelliteConfig['listen'] | number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(typeof at === 'number' ? { fd: at } : { ...at, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function closed(server: Server | SecureServer): Promise<unknown> {
  return new Promise((resolve) => server.close(resolve));
}

function addressOf(server: Server | SecureServer): Address {
  const { address, port } = server.address() as AddressInfo;
  return { host: address, port };
}

function openCertificate({ tls, domain, state }: SatelliteConfig, log: Log): ServerCertificate | undefined {
  if (tls === 'off') return undefined;
  if ('pairs' in tls) return new Certificates(tls.pairs);
  const file = state === ':memory:' || isDatabase(state) ? undefined : `${state}.self-signed.pem`;
  const { fingerprint, ...certificate } = selfSignedCertificate(domain, file);
  log({ event: 'self-signed', fingerprint256: fingerprint });
  return certificate;
}

/** Loaded only where it is wanted, as below. */
async function openHaproxy(
  config: SatelliteConfig,
  {
    own,
    certificate,
    ...parts
  }: Pick<HaproxyEngineOptions, 'traffic' | 'log' | 'logLines'> & {
    readonly own: NodeEngine;
    readonly certificate: ServerCertificate | undefined;
  },
): Promise<HaproxyEngine | undefined> {
  if (config.engine === 'node') return undefined;
  const { HaproxyEngine } = await import('./dataplane/haproxy/engine.ts');
  const certificates =
    certificate instanceof Certificates ? certificate.all : certificate ? [certificate] : [];
  return new HaproxyEngine({ ...parts, config, certificates, inside: own });
}

/** HAProxy is the one that gives up a connection in which nothing is asked. */
function behindHaproxy(limits: Limits): Limits {
  return { ...limits, idleTime: limits.idleTime + 10_000 };
}

/** A site whose notebook takes connections is HAProxy's to serve. */
function placeIn(haproxy: HaproxyEngine, record: TokenRecord | undefined): void {
  if (record?.state === 'mapped' && record.host !== null && record.port !== null)
    haproxy.place(record.token, record.host, record.port);
}

/** Loaded only where it is wanted, as above. */
async function openAuth(config: SatelliteConfig, parts: AuthParts): Promise<Auth | undefined> {
  const { auth } = config;
  if (auth === undefined) return undefined;
  const { Auth } = await import('./auth/auth.ts');
  const opened = new Auth({ ...config, auth }, parts);
  await opened.begin().catch(async (error: Error) => {
    await opened.close();
    throw error;
  });
  return opened;
}

/** Loaded only where it is wanted: a launcher with a proxy of its own has no use for it. */
async function openMetrics(
  registry: TokenRegistry,
  traffic: Traffic,
  health: Health,
  bringIn: () => Promise<void>,
): Promise<Server> {
  const { metricsOf, metricsServer } = await import('./operation/metrics.ts');
  return metricsServer(metricsOf(registry, traffic), health, bringIn);
}

/** What visitors see: ourselves, or a front that does TLS for us on its usual port. */
function publicFace(config: SatelliteConfig, port: number): { scheme: string; portSuffix: string } {
  if (config.tls === 'off' && !config.trustedProxies.isEmpty) return { scheme: 'https', portSuffix: '' };
  const scheme = config.tls === 'off' ? 'http' : 'https';
  const usual = scheme === 'https' ? 443 : 80;
  return { scheme, portSuffix: port === usual ? '' : `:${port}` };
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

function isLocal(host: string): boolean {
  if (host.startsWith('127.') || host === '::1') return true;
  return Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === host));
}

function isWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket';
}

function logTransition({ token, state, host, port, jobId, goneBy, phase }: TokenRecord, log: Log): void {
  if (state === 'pending') {
    log({ event: 'issued', token: shortToken(token) });
    return;
  }
  const about = state === 'mapped' ? { target: `${host}:${port}` } : { by: goneBy, ...(phase && { phase }) };
  log({ event: state, token: shortToken(token), ...about, ...(jobId && { jobId }) });
}
