import { OwnAddresses } from './addresses.ts';
import type { Auth, AuthParts } from './auth/auth.ts';
import { SIGN_IN_LABEL } from './auth/label.ts';
import { namesToCover } from './certificate-doubt.ts';
import type { SatelliteConfig } from './config.ts';
import type { HaproxyEngine, HaproxyEngineOptions } from './dataplane/haproxy/engine.ts';
import { NodeEngine } from './dataplane/node/engine.ts';
import { DirectAddresses } from './gate/direct.ts';
import type { Log } from './log.ts';
import { Agreement } from './operation/agreement.ts';
import { Health } from './operation/health.ts';
import { Traffic } from './operation/traffic.ts';
import { Certificates, hstsOf, type ServerCertificate, selfSignedCertificate } from './tls.ts';
import { openStore } from './tokens/open.ts';
import { isDatabase } from './tokens/postgres-url.ts';
import { TokenRegistry } from './tokens/registry.ts';
import { StoreError, type TokenStore } from './tokens/store.ts';
import { Ways } from './visits/ways.ts';

/** What a proxy consists of before it listens to anybody. */
export interface Parts {
  readonly config: SatelliteConfig;
  readonly log: Log;
  readonly certificate: ServerCertificate | undefined;
  readonly addresses: OwnAddresses;
  readonly ways: Ways;
  readonly traffic: Traffic;
  readonly store: TokenStore;
  readonly registry: TokenRegistry;
  readonly agreement: Agreement;
  readonly health: Health;
  /** Who may visit a site; everybody, where it is missing. */
  readonly auth: Auth | undefined;
  /** The value of Strict-Transport-Security, where it is sent. */
  readonly hsts: string | undefined;
  /** Serves whatever HAProxy doesn't. */
  readonly own: NodeEngine;
  readonly haproxy: HaproxyEngine | undefined;
  /** Hears of failures that nobody waits for. */
  readonly onError: (error: unknown) => void;
}

/**
 * Reads what is on the disk and opens the state. Rejects with a ConfigError or a StoreError, and leaves nothing open then.
 * `logLines` takes HAProxy's lines about requests, where `log` isn't to have them.
 */
export async function openParts(
  config: SatelliteConfig,
  log: Log,
  logLines: HaproxyEngineOptions['logLines'],
): Promise<Parts> {
  const files = certificateFiles(config);
  const addresses = new OwnAddresses(config);
  const ways = new Ways(config.routes, new DirectAddresses(addresses.isOwn));
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
  let auth: Auth | undefined;
  let haproxy: HaproxyEngine | undefined;
  const health = new Health(registry, log, () => haproxy);
  try {
    const signInUrl = (): string => addresses.siteUrl(SIGN_IN_LABEL);
    auth = await openAuth(config, { store, registry, signInUrl, onError, log });
    // What ran out while nobody was looking is over before the first visitor comes.
    await registry.sweep().catch(onError);
    // Not before the state is ours: beside it there may be another proxy's certificate.
    const certificate = files ?? selfSigned(config, log);
    for (const doubt of files?.doubts() ?? []) log(doubt);
    const hsts = hstsOf(config);
    const own = new NodeEngine(config.limits, traffic, hsts);
    haproxy = await openHaproxy(config, { traffic, log, logLines, certificate, own });
    return {
      config,
      log,
      certificate,
      addresses,
      ways,
      traffic,
      store,
      registry,
      agreement,
      health,
      auth,
      hsts,
      own,
      haproxy,
      onError,
    };
  } catch (error) {
    await closeState({ auth, registry });
    throw error;
  }
}

/** Writes what waits, and closes the state: the last thing that happens. */
export async function closeState({ auth, registry }: Pick<Parts, 'auth' | 'registry'>): Promise<void> {
  await auth?.close();
  await registry.close();
}

function certificateFiles(config: SatelliteConfig): Certificates | undefined {
  const { tls } = config;
  return tls !== 'off' && 'pairs' in tls ? new Certificates(tls.pairs, namesToCover(config)) : undefined;
}

function selfSigned({ tls, domain, state }: SatelliteConfig, log: Log): ServerCertificate | undefined {
  if (tls === 'off') return undefined;
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
  }: Pick<HaproxyEngineOptions, 'traffic' | 'log' | 'logLines'> & Pick<Parts, 'own' | 'certificate'>,
): Promise<HaproxyEngine | undefined> {
  if (config.engine === 'node') return undefined;
  const { HaproxyEngine } = await import('./dataplane/haproxy/engine.ts');
  const certificates =
    certificate instanceof Certificates ? certificate.all : certificate ? [certificate] : [];
  return new HaproxyEngine({ ...parts, config, certificates, inside: own });
}

/** Loaded only where it is wanted: a launcher with a proxy of its own has no use for it. */
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
