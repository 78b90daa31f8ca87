import { z } from 'zod';

/** Below it are the ports of the system's own services (RFC 6335 section 6). */
export const MIN_PORT = 1024;
export const MAX_PORT = 65535;

/** May a site point to this port? */
export function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= MIN_PORT && port <= MAX_PORT;
}

/** "8888" or "8000-8999", both ends included. */
export const ports = z
  .union([z.string(), z.number()], { error: 'must be a range of ports, such as 8000-8999' })
  .transform((given, context): [from: number, to: number] => {
    const [, first = '', last = first] = /^(\d{4,5})(?:-(\d{4,5}))?$/.exec(String(given)) ?? [];
    const [from, to] = [Number(first), Number(last)];
    if (from >= MIN_PORT && from <= to && to <= MAX_PORT) return [from, to];
    context.addIssue(`"${given}" is no range of ports; write 8000-8999, from ${MIN_PORT} to ${MAX_PORT}`);
    return z.NEVER;
  });
