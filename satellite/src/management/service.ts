import type { Accesses } from '../auth/access.ts';
import type { SatelliteConfig } from '../config.ts';
import type { RateLimit } from '../gate/limits.ts';
import type { Health } from '../operation/health.ts';
import type { Traffic } from '../operation/traffic.ts';
import type { Outcome, TokenRegistry } from '../tokens/registry.ts';
import { tokenPattern } from '../tokens/words.ts';

/** What both management protocols stand on: who may do what, and which targets are allowed. */
export interface Management {
  readonly config: SatelliteConfig;
  readonly registry: TokenRegistry;
  /** Who may visit which site, where the proxy asks. */
  readonly accesses: Accesses | undefined;
  readonly health: Health;
  readonly traffic: Traffic;
  /** Of names that don't exist. */
  readonly lookups: RateLimit;
  readonly issues: RateLimit;
  /** `https://<token>.<domain>/`, or `https://<domain>/<token>/`, as visitors reach it. */
  siteUrl(token: string): string;
  readonly manageUrl: string;
  /** True for an address and port at which this proxy itself listens: a site pointing there would be a loop. */
  isOwnAddress(host: string, port: number): boolean;
}

/** Why no site may point to this port of this address; undefined where one may. */
export function targetFault(
  { config, isOwnAddress }: Management,
  address: string,
  port: number,
): { readonly code: string; readonly message: string } | undefined {
  const [from, to] = config.sitePorts;
  if (port < from || port > to)
    return { code: 'wrong-port', message: `Sites may point to ports from ${from} to ${to} only` };
  if (!isOwnAddress(address, port)) return undefined;
  return { code: 'own-address', message: 'The proxy itself listens on this address and port' };
}

/**
 * May who knows these redeem the token? Where the proxy asks who visits, the site of somebody who is known takes the Jupyter
 * token, too: its name is in links that are no secret.
 */
export function mayRedeem(
  { accesses, registry }: Management,
  token: string,
  jupyterToken: string | undefined,
): boolean {
  const record = registry.find(token);
  // What isn't pending is refused for that.
  if (accesses === undefined || record?.state !== 'pending') return true;
  return accesses.mayRedeem(record, jupyterToken);
}

/**
 * Makes sure that a token which isn't known here isn't one that another satellite has given out just now. Rejects with a StoreError
 * where that can't be said.
 */
export async function askOthersAbout({ registry }: Management, token: string | undefined): Promise<void> {
  if (token !== undefined && registry.find(token) === undefined) await registry.askOthers();
}

export const NOT_YOURS_TO_OPEN = 'Only who knows its Jupyter token may open this session';

/** The token in a parameter that may also be the site's full host name; undefined for what can't be one. */
export function tokenFrom(text: string): string | undefined {
  const label = text.toLowerCase().split('.', 1)[0] ?? '';
  return tokenPattern.test(label) ? label : undefined;
}

/**
 * May this client ask about this token? Guessing is limited, and once a client has guessed too often right guesses look
 * like wrong ones; but who has visited a site before goes on.
 */
export function mayLookUp(
  { lookups, traffic }: Management,
  address: string,
  token: string | undefined,
): boolean {
  if (!lookups.isSpent(address)) return true;
  if (token !== undefined && traffic.seen(token)?.visitors.has(address)) return true;
  traffic.limited('unknown-names');
  return false;
}

/** May this client have one more token now? */
export function mayIssue({ issues, traffic }: Management, address: string): boolean {
  if (issues.take(address)) return true;
  traffic.limited('tokens');
  return false;
}

/** What a client that may not hears, and after how many seconds it should try again. */
export const TOO_MANY = {
  message: 'Too many requests from your address; try again in a minute.',
  retryAfter: '60',
};

export type { Outcome };
