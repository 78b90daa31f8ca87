import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Address } from './addresses.ts';
import { ConfigError, type Limits, type SatelliteConfig } from './config.ts';
import { BACKLOG } from './gate/limits.ts';
import { loopFaults } from './gate/routes.ts';
import type { HandedSockets } from './operation/systemd.ts';
import type { Parts } from './parts.ts';
import { Certificates, tlsOptions } from './tls.ts';

/** The servers of a proxy, which listen. */
export interface Listeners {
  /** Takes visitors, or what HAProxy hands over. */
  readonly server: Server | SecureServer;
  /** Leads from plain HTTP to HTTPS. */
  readonly redirector: Server | undefined;
  /** Those of visitors: the two above. */
  readonly servers: readonly (Server | SecureServer)[];
  readonly metrics: Server | undefined;
  /** Where visitors come in. */
  readonly address: Address;
}

/**
 * Has everything listen, on `sockets` where they are handed over; what visitors come in by is the last, so that nothing arrives
 * before whoever awaits this has set its listeners, unless he waits for something else first. Tells `addresses`. Rejects with the system's error
 * or a ConfigError, and then nothing listens.
 */
export async function openListeners(parts: Parts, sockets: HandedSockets): Promise<Listeners> {
  const { config, haproxy, addresses } = parts;
  const server = visitorsServer(parts);
  const redirectFrom = sockets.http ?? config.redirectHttpFrom;
  const redirector = redirectFrom === undefined ? undefined : createServer(serverOptions(config.limits));
  const servers = redirector ? [server, redirector] : [server];
  const metricsAt = sockets.metrics ?? config.metricsListen;
  const metrics = metricsAt === undefined ? undefined : await openMetrics(parts);
  try {
    if (metrics && metricsAt !== undefined) await listen(metrics, metricsAt);
    if (redirector && redirectFrom !== undefined) await listen(redirector, redirectFrom);
    await haproxy?.start(sockets.https ?? config.listen);
    if (haproxy) await haproxy.listen(server);
    else await listen(server, sockets.https ?? config.listen);
    const address = haproxy?.address ?? addressOf(server);
    addresses.set(address, ...[redirector, metrics].filter((one) => one !== undefined).map(addressOf));
    // Only now: sockets that are handed over may be elsewhere than the configuration says.
    const loops = loopFaults(config.routes, addresses.isOwn);
    if (loops.length > 0) throw new ConfigError(loops.join('\n'));
    return { server, redirector, servers, metrics, address };
  } catch (error) {
    await haproxy?.end();
    for (const one of metrics ? [...servers, metrics] : servers) one.close();
    throw error;
  }
}

/** Where a server listens that does. */
export function addressOf(server: Server | SecureServer): Address {
  const { address, port } = server.address() as AddressInfo;
  return { host: address, port };
}

/** Takes no new connections; resolves when the old ones are closed. */
export function closed(server: Server | SecureServer): Promise<unknown> {
  return new Promise((resolve) => server.close(resolve));
}

function visitorsServer({ config, certificate, haproxy }: Parts): Server | SecureServer {
  const { limits, http2 } = config;
  if (haproxy) return createServer(serverOptions(behindHaproxy(limits)));
  if (certificate === undefined) return createServer(serverOptions(limits));
  const { cert, key, SNICallback } = certificate;
  return createSecureServer({
    ...serverOptions(limits),
    ...tlsOptions,
    cert,
    key,
    ...(SNICallback && { SNICallback }),
    ALPNProtocols: http2 ? ['h2', 'http/1.1'] : ['http/1.1'],
    handshakeTimeout: limits.headerTime,
  });
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

/** HAProxy is the one that gives up a connection in which nothing is asked. */
function behindHaproxy(limits: Limits): Limits {
  return { ...limits, idleTime: limits.idleTime + 10_000 };
}

function isWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket';
}

/** Loaded only where it is wanted: a launcher with a proxy of its own has no use for it. */
async function openMetrics({ registry, traffic, health, haproxy, certificate }: Parts): Promise<Server> {
  const { metricsOf, metricsServer } = await import('./operation/metrics.ts');
  const files = certificate instanceof Certificates ? certificate : undefined;
  return metricsServer(metricsOf(registry, traffic, files), health, async () => haproxy?.countNow());
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
