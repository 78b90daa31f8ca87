import type { Server as SecureServer } from 'node:https';
import { setTimeout as pause } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Address } from './addresses.ts';
import { haproxySchema, parseConfig, type SatelliteConfig, type SatelliteConfigInput } from './config.ts';
import type { Pem } from './dataplane/haproxy/engine.ts';
import { descriptorLimit } from './gate/limits.ts';
import { addressOf, closed, type Listeners, openListeners } from './listeners.ts';
import type { Log } from './log.ts';
import { serveStatus, statusOf } from './operation/status.ts';
import type { HandedSockets } from './operation/systemd.ts';
import { closeState, openParts, type Parts } from './parts.ts';
import { Certificates, followCertificates, tlsOptions } from './tls.ts';
import { letVisitorsIn, type Visitors } from './visitors.ts';

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

/**
 * Starts a proxy and resolves when it serves. Rejects with a ConfigError, a StoreError, or the system's error where the
 * address can't be listened on.
 */
export async function startSatellite(
  input: SatelliteConfigInput,
  options?: StartOptions,
): Promise<Satellite> {
  return await startChecked(parseConfig(input), options);
}

/** The same with a configuration that is checked and complete already. */
export async function startChecked(
  config: SatelliteConfig,
  { log = () => undefined, sockets = {}, logLines }: StartOptions = {},
): Promise<Satellite> {
  const parts = await openParts(config, log, logLines);
  const { addresses, registry, traffic, health, haproxy } = parts;
  let listeners: Listeners;
  try {
    listeners = await openListeners(parts, sockets);
  } catch (error) {
    await closeState(parts);
    throw error;
  }
  // From here to where visitors are let in nothing may be awaited: they would find nobody.
  const { address, metrics } = listeners;
  if (haproxy === undefined && !isDeepStrictEqual(config.haproxy, haproxySchema.parse({})))
    log({ event: 'haproxy-unused', message: 'haproxy: counts for nothing without engine: haproxy' });
  const openFiles = descriptorLimit();
  const visitors = letVisitorsIn(parts, listeners, openFiles);
  const following = followFiles(parts, listeners);
  await parts.agreement.tell(config, addresses.face).catch(parts.onError);
  const status = await serveStatus(config, () => statusOf(registry, traffic), health, log);
  if (metrics) log({ event: 'serving-metrics', ...addressOf(metrics) });
  const { mapped, pending } = registry.counts();
  log({ event: 'state', file: parts.store.name, sites: mapped, waiting: pending });
  // Says what is wrong before anybody asks.
  void health.trouble();
  const { siteUrl, manageUrl } = addresses;
  log({ event: 'listening', ...address, domain: config.domain, manage: manageUrl, openFiles });
  return {
    siteUrl,
    manageUrl,
    address,
    metricsAddress: metrics && addressOf(metrics),
    reload: () => {
      if (following) following.reload();
      else log({ event: 'nothing-to-reload', message: 'there are no certificate files' });
    },
    ...ending(parts, listeners, visitors, () => {
      following?.stop();
      status?.close();
      status?.closeAllConnections();
    }),
  };
}

/** Takes over the files of certificates as they change; undefined where there are none. */
function followFiles({ certificate, haproxy, log }: Parts, { server }: Listeners) {
  if (!(certificate instanceof Certificates)) return undefined;
  return followCertificates(
    certificate,
    (index) => {
      if (haproxy) return haproxy.setCertificate(index, certificate.all[index] as Pem);
      const { cert, key } = certificate;
      (server as SecureServer).setSecureContext({ ...tlsOptions, cert, key });
    },
    log,
  );
}

/** How all of it ends; each once, however often it is asked. `release` ends what is only our own operator's. */
function ending(
  { config, log, auth, registry, health, own, haproxy }: Parts,
  { servers, metrics }: Listeners,
  visitors: Visitors,
  release: () => void,
): Pick<Satellite, 'stop' | 'close'> {
  let unlistened: Promise<unknown> | undefined;
  /** Takes no new connections; resolves when the old ones are closed. */
  const unlisten = (): Promise<unknown> => {
    unlistened ??= Promise.all(servers.map(closed));
    visitors.unlisten();
    return unlistened;
  };
  const closing = new AbortController();
  const stop = async (): Promise<void> => {
    const { stopDelay, stopGrace } = config;
    log({ event: 'stopping' });
    health.stopping();
    // Until balancers have seen it everything is as ever.
    if (stopDelay > 0) await pause(stopDelay, undefined, { signal: closing.signal }).catch(closeOnce);
    if (haproxy) {
      // What HAProxy has taken in before may still have to be answered here.
      visitors.pages.close();
      await Promise.all([haproxy.drain(stopGrace), visitors.underWay.toEnd(stopGrace, () => false)]);
    }
    void unlisten();
    await visitors.underWay.toEnd(stopGrace, visitors.isBusy);
    await closeOnce();
  };
  const close = async (): Promise<void> => {
    closing.abort();
    health.close();
    release();
    visitors.prober.close();
    (haproxy ?? own).close();
    // Its socket must be gone before the folder is a successor's.
    void unlisten();
    await haproxy?.end();
    const all = [unlisten(), ...(metrics ? [closed(metrics)] : [])];
    visitors.connections.close();
    visitors.announcers.close();
    metrics?.closeAllConnections();
    await Promise.all(all);
    await closeState({ auth, registry });
    log({ event: 'stopped' });
  };
  let stopped: Promise<void> | undefined;
  let isClosed: Promise<void> | undefined;
  const closeOnce = (): Promise<void> => (isClosed ??= close());
  return { stop: () => (stopped ??= stop()), close: closeOnce };
}
