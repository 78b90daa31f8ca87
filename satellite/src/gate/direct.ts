import { lookup } from 'node:dns/promises';
import { z } from 'zod';
import { networksSchema, normalizeAddress } from './networks.ts';
import { MAX_PORT, MIN_PORT, ports } from './ports.ts';

const pattern = z.string().transform((text, context) => {
  if (/^(?=.*[a-z])[a-z0-9*](?:[a-z0-9*-]*[a-z0-9*])?$/.test(text))
    return new RegExp(`^${text.replaceAll('*', '[a-z0-9-]*')}$`);
  context.addIssue(
    `"${text}" is no pattern of host names; write farm-* with small letters, digits and hyphens`,
  );
  return z.NEVER;
});

/** A source that `frame-ancestors` takes (CSP Level 3 section 6.4.2); nothing that would end the directive. */
const parent = z.string().regex(/^https?:\/\/(?:\*\.)?[a-z0-9]+(?:[.-][a-z0-9]+)*(?::(?:\d{1,5}|\*))?$/, {
  error: 'is not an origin; write https://portal.example.edu',
});

export const directHostsSchema = z.array(
  z.strictObject({
    hosts: z.array(pattern, 'is a list of patterns; write it as [farm-*]').min(1),
    networks: networksSchema,
    ports: z.union([ports.transform((range) => [range]), z.array(ports).min(1)], {
      error: `must be a range of ports such as 8000-8999, or a list of them, from ${MIN_PORT} to ${MAX_PORT}`,
    }),
    domain: z
      .string()
      .regex(/^[a-z0-9]+(?:[.-][a-z0-9]+)*$/, 'is not a domain name')
      .optional(),
    frameAncestors: z.array(parent, 'is a list; write it as [https://portal.example.edu]').default([]),
  }),
  'is a list of rules, each with hosts, networks and ports',
);

export type DirectRule = z.output<typeof directHostsSchema>[number];

/** What a name like `farm-12-8888` says, where a rule allows it. */
export interface DirectHost {
  readonly label: string;
  /** What the resolver is asked for. */
  readonly name: string;
  readonly port: number;
  readonly rule: DirectRule;
}

/** The host and port in a label; undefined where it has none, or none that is allowed. */
export function findDirectHost(rules: readonly DirectRule[], label: string): DirectHost | undefined {
  // A host of digits alone would be an address to many resolvers (inet_aton(3)).
  const [, host, digits] = /^(?=.*[a-z])([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)-([1-9]\d{3,4})$/.exec(label) ?? [];
  if (host === undefined) return undefined;
  const port = Number(digits);
  const rule = rules.find(
    ({ hosts, ports }) =>
      hosts.some((pattern) => pattern.test(host)) && ports.some(([from, to]) => port >= from && port <= to),
  );
  return rule && { label, name: rule.domain === undefined ? host : `${host}.${rule.domain}`, port, rule };
}

/** How long an answer of the resolver holds: a page asks for many things at a time. */
const HOLD_MS = 5000;
const MAX_NAMES = 1000;

/** Finds the addresses of hosts. Rejects as dns.lookup() does. */
export type Resolver = (name: string) => Promise<readonly { readonly address: string }[]>;

/** The system's own: /etc/hosts and the DNS, with its search domains. */
const systemResolver: Resolver = (name) => lookup(name, { all: true });

/** Turns names into addresses that may be connected to. */
export class DirectAddresses {
  readonly #resolve: Resolver;
  readonly #isOwnAddress: (host: string, port: number) => boolean;
  readonly #known = new Map<
    string,
    { readonly at: number; readonly addresses: Promise<readonly string[]> }
  >();

  constructor(isOwnAddress: (host: string, port: number) => boolean, resolve = systemResolver) {
    this.#isOwnAddress = isOwnAddress;
    this.#resolve = resolve;
  }

  /**
   * The first address of the host that is in the rule's networks and not our own; undefined where there is none. The
   * address is what must be connected to: the name could mean something else the next time (DNS rebinding).
   */
  async find({ name, port, rule }: DirectHost): Promise<string | undefined> {
    const addresses = await this.#addresses(name);
    return addresses.find((given) => {
      const address = normalizeAddress(given);
      // Whatever networks say: to connect to the unspecified address is to connect to this host itself (Linux).
      if (address === undefined || address === '0.0.0.0' || address === '::') return false;
      return rule.networks.contains(address) && !this.#isOwnAddress(address, port);
    });
  }

  #addresses(name: string): Promise<readonly string[]> {
    const now = performance.now();
    const known = this.#known.get(name);
    if (known && now - known.at < HOLD_MS) return known.addresses;
    this.#known.delete(name);
    if (this.#known.size >= MAX_NAMES) {
      const [oldest] = this.#known.keys();
      this.#known.delete(oldest as string);
    }
    const addresses = this.#resolve(name).then(
      (found) => found.map(({ address }) => address),
      () => [],
    );
    this.#known.set(name, { at: now, addresses });
    return addresses;
  }
}
