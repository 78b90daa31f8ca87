import { createHash } from 'node:crypto';
import type { SatelliteConfig } from '../config.ts';
import { Networks } from '../gate/networks.ts';
import type { Log } from '../log.ts';
import { retried, type SecretRecord, type TokenStore } from '../tokens/store.ts';

const ID = 'last';

/** Digests of settings, by the key of the configuration that says each. */
type Digests = Readonly<Record<string, string>>;

/**
 * Tells where satellites that share a state have other settings than each other, where that makes a difference to what they
 * share. Each that starts leaves digests of its own in the state, in place of the last one's, and all compare.
 */
export class Agreement {
  readonly #store: TokenStore;
  readonly #log: Log;
  #known: SecretRecord | undefined;
  #ours: Digests | undefined;
  /** The keys that were last said to differ. */
  #said = '';

  /** Before anything else asks the store for news. */
  constructor(store: TokenStore, log: Log) {
    this.#store = store;
    this.#log = log;
    [this.#known] = store.loadSecrets('settings');
    store.follow(({ secrets, isWhole }) => {
      const news = secrets.find(({ kind }) => kind === 'settings');
      if (news === undefined && !isWhole) return;
      this.#known = news;
      this.#compare();
    });
  }

  /**
   * Compares with the last one that started, if anybody else is there, and takes its place. `origin` is the scheme and port of all
   * links. Rejects with a StoreError.
   */
  async tell(config: SatelliteConfig, origin: { scheme: string; portSuffix: string }): Promise<void> {
    if (!this.#store.isShared) return;
    this.#ours = digestsOf(config, origin);
    const sealed = Buffer.from(JSON.stringify(this.#ours));
    // Alone, the last one was this one itself, before its configuration was changed.
    if ((await this.#store.others()) > 0) this.#compare();
    await retried(async () => {
      const before = this.#known;
      if (before && sealed.equals(before.sealed)) return;
      await this.#store.save({ secrets: [{ record: { kind: 'settings', id: ID, sealed }, before }] });
    });
  }

  #compare(): void {
    if (this.#ours === undefined || this.#known === undefined) return;
    const theirs = JSON.parse(Buffer.from(this.#known.sealed).toString()) as Digests;
    // What only another version tells of is nobody's fault.
    const keys = Object.entries(this.#ours)
      .filter(([key, digest]) => (theirs[key] ?? digest) !== digest)
      .map(([key]) => key);
    const text = keys.join(', ');
    if (text !== '' && text !== this.#said)
      this.#log({
        event: 'settings-differ',
        keys,
        message: `a satellite that shares this state was started with other settings than this one (${text}); bring the same configuration to every host, and restart`,
      });
    this.#said = text;
  }
}

/** What one satellite does to the sites of all. Files and addresses of a host's own are not among them, and no secrets. */
function digestsOf(
  config: SatelliteConfig,
  { scheme, portSuffix }: { scheme: string; portSuffix: string },
): Digests {
  const { auth, routes } = config;
  const { header, oidc } = auth ?? {};
  const provider = oidc && [oidc.issuer, oidc.clientId, oidc.userClaim, oidc.scopes, oidc.allow];
  const settings = {
    domain: config.domain,
    siteStyle: config.siteStyle,
    tls: scheme,
    listen: portSuffix,
    tokenTtl: config.tokenTtl,
    internalNetworks: config.internalNetworks,
    jobStateNetworks: config.jobStateNetworks,
    sitePorts: config.sitePorts,
    // In any order: the longest path counts.
    routes: routes.map(({ host, path, to, stripPrefix }) => `${host}${path} ${to} ${stripPrefix}`).toSorted(),
    directHosts: config.directHosts,
    auth: auth === undefined ? 'nobody is asked' : (provider ?? header ?? 'htpasswd'),
    'auth.users': auth?.users ?? null,
    'auth.signInTime': auth?.signInTime ?? null,
  };
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [
      key,
      createHash('sha256').update(JSON.stringify(value, plain)).digest('hex').slice(0, 16),
    ]),
  );
}

/** For what JSON.stringify knows no text for, and for what means the same in any order. */
function plain(_key: string, value: unknown): unknown {
  if (value instanceof RegExp) return value.source;
  if (value instanceof Networks) return String(value).split(' ').toSorted();
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
