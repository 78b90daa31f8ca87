/** What a request's Host header names. */
export type HostDecision =
  | { readonly kind: 'manage' }
  | { readonly kind: 'site'; readonly label: string }
  | { readonly kind: 'apex' }
  | { readonly kind: 'foreign' }
  | { readonly kind: 'invalid' };

const FOREIGN: HostDecision = { kind: 'foreign' };
const INVALID: HostDecision = { kind: 'invalid' };
const MANAGE: HostDecision = { kind: 'manage' };
const APEX: HostDecision = { kind: 'apex' };

/** RFC 9110 section 7.2: name, optional port. Underscores, spaces, user info and IPv6 literals are nobody's site. */
const HOST = /^([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)\.?(?::\d{1,5})?$/;

/** The name in a Host header without port and trailing dot, in lower case; undefined for anything odd. */
export function hostName(header: string): string | undefined {
  if (header.length > 270) return undefined;
  return HOST.exec(header.toLowerCase())?.[1];
}

/** Decides exactly: one label below the domain is a site, `manage` is management, and nothing else is ours. */
export function decideHost(name: string | undefined, domain: string): HostDecision {
  if (name === undefined) return INVALID;
  if (name === domain) return APEX;
  const cut = name.length - domain.length - 1;
  if (cut <= 0 || name.charCodeAt(cut) !== 46 || !name.endsWith(domain)) return FOREIGN;
  const label = name.slice(0, cut);
  if (label === 'manage') return MANAGE;
  return label.includes('.') ? FOREIGN : { kind: 'site', label };
}
