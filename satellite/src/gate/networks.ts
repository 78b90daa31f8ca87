import ipaddr from 'ipaddr.js';
import { z } from 'zod';

/**
 * The one spelling of an address: IPv4 that a dual-stack socket shows as `::ffff:10.21.0.1` is `10.21.0.1`, IPv6 is
 * compressed and loses its zone, which IPv4 has none of (RFC 4007). Undefined for what isn't an address.
 */
export function normalizeAddress(text: string): string | undefined {
  // isValidFourPartDecimal: "10.1" and "0x0a.1.1.1" are IPv4 to some parsers and not to others.
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text).toString();
  const [, bare = '', zone] = /^([^%]*)(?:%([!-$&-~]+))?$/.exec(text) ?? [];
  // "::10.21.0.1" is a deprecated spelling of an IPv6 address, which some parsers take for the IPv4 one.
  if (!ipaddr.IPv6.isValid(bare) || (bare.includes('.') && !/^::ffff:[\d.]+$/i.test(bare))) return undefined;
  const address = ipaddr.IPv6.parse(bare);
  if (!address.isIPv4MappedAddress()) return address.toString();
  return zone === undefined ? address.toIPv4Address().toString() : undefined;
}

/** A set of CIDR ranges. An empty set contains nothing. */
export class Networks {
  readonly #ranges: [ipaddr.IPv4 | ipaddr.IPv6, number][];
  readonly #text: string;

  /**
   * Throws a RangeError for what isn't CIDR notation, and for an address with the length of a network it is in: one of the two
   * is a slip of the pen, and the network is the wider one. A bare address is a network of one.
   */
  constructor(cidrs: readonly string[]) {
    this.#text = cidrs.join(' ');
    this.#ranges = cidrs.map((cidr) => {
      const [address = '', bits, ...rest] = cidr.split('/');
      const fault = `"${cidr}" is not a network; write`;
      if (normalizeAddress(address) === undefined || rest.length > 0)
        throw new RangeError(`${fault} it as 10.21.0.0/16`);
      const parsed = ipaddr.parse(address);
      const width = parsed.kind() === 'ipv4' ? 32 : 128;
      if (bits === undefined) return [parsed, width];
      if (!/^\d{1,3}$/.test(bits) || Number(bits) > width)
        throw new RangeError(`${fault} it as 10.21.0.0/16`);
      const network = networkOf(parsed, Number(bits));
      if (network !== parsed.toString())
        throw new RangeError(`${fault} ${network}/${bits}, or ${parsed}/${width} for that one address`);
      return [parsed, Number(bits)];
    });
  }

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  /** Is every address of IPv4, or of IPv6, in it? */
  get isEverybody(): boolean {
    return this.#ranges.some(([, bits]) => bits === 0);
  }

  contains(address: string): boolean {
    const normalized = normalizeAddress(address);
    if (normalized === undefined) return false;
    const parsed = ipaddr.parse(normalized);
    return this.#ranges.some(([range, bits]) => range.kind() === parsed.kind() && parsed.match(range, bits));
  }

  /** As configured, for messages. */
  toString(): string {
    return this.#text;
  }
}

/** The first address of the network of so many bits that an address is in. */
function networkOf(address: ipaddr.IPv4 | ipaddr.IPv6, bits: number): string {
  const family = address.kind() === 'ipv4' ? ipaddr.IPv4 : ipaddr.IPv6;
  return family.networkAddressFromCIDR(`${address}/${bits}`).toString();
}

/** Networks in a configuration: a list in CIDR notation. */
export const networksSchema = z
  .array(z.string(), 'is a list; write it as [10.21.0.0/16]')
  .transform((cidrs, context) => {
    try {
      return new Networks(cidrs);
    } catch (error) {
      context.addIssue((error as RangeError).message);
      return z.NEVER;
    }
  });
