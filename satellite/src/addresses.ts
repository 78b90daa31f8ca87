import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { SatelliteConfig } from './config.ts';

/** Where a server listens. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Where this proxy is: what it listens on, and the URLs that lead there. */
export class OwnAddresses {
  readonly #config: SatelliteConfig;
  #listening: readonly Address[] = [];

  constructor(config: SatelliteConfig) {
    this.#config = config;
  }

  /** Where visitors come in, and what else listens. URLs can be asked for from then on. */
  set(visitors: Address, ...others: readonly Address[]): void {
    this.#listening = [visitors, ...others];
  }

  /** Do we ourselves listen there, on whatever address of this host? A site that points there would be a loop. */
  readonly isOwn = (host: string, port: number): boolean =>
    this.#listening.some(
      (own) => own.port === port && (own.host === host || (isWildcard(own.host) && isLocal(host))),
    );

  /** What visitors see: ourselves, or a front that does TLS for us on its usual port. */
  get face(): { readonly scheme: string; readonly portSuffix: string } {
    const { tls, trustedProxies } = this.#config;
    if (tls === 'off' && !trustedProxies.isEmpty) return { scheme: 'https', portSuffix: '' };
    const scheme = tls === 'off' ? 'http' : 'https';
    const usual = scheme === 'https' ? 443 : 80;
    const port = this.#listening[0]?.port;
    return { scheme, portSuffix: port === usual ? '' : `:${port}` };
  }

  /** The management host, with the slash at its end. */
  get manageUrl(): string {
    return this.#urlOf(`manage.${this.#config.domain}`);
  }

  /** Where visitors find a token's site, by its name or its path, with the slash at its end. */
  readonly siteUrl = (token: string): string => {
    const { siteStyle, domain } = this.#config;
    return siteStyle === 'host' ? this.#urlOf(`${token}.${domain}`) : `${this.#urlOf(domain)}${token}/`;
  };

  #urlOf(host: string): string {
    const { scheme, portSuffix } = this.face;
    return `${scheme}://${host}${portSuffix}/`;
  }
}

/** Can only one of two servers listen, whatever the host is? Node's "::" takes IPv4, too; port 0 is a free one each time. */
export function isSamePlace(one: Address, other: Address): boolean {
  if (one.port !== other.port || one.port === 0) return false;
  const hosts = [one.host, other.host];
  if (one.host === other.host || hosts.includes('::')) return true;
  return hosts.includes('0.0.0.0') && hosts.every(isIPv4);
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

function isLocal(host: string): boolean {
  if (host.startsWith('127.') || host === '::1') return true;
  return Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === host));
}
