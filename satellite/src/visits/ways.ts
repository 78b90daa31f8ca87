import { isIP } from 'node:net';
import { ConfigError } from '../config.ts';
import type { Target, Visit } from '../dataplane/engine.ts';
import { framedEdits } from '../dataplane/framed.ts';
import { fileFault } from '../file-fault.ts';
import type { Destination } from '../gate/destination.ts';
import type { DirectAddresses, DirectHost } from '../gate/direct.ts';
import { type Route, serverOf } from '../gate/routes.ts';
import { readRegular } from '../regular-file.ts';

/** Where something is that isn't a session: a fixed site, or a host that is named directly. */
export type Elsewhere = Extract<Destination, { kind: 'route' | 'direct' }>;

/** How to get there. */
export interface Way {
  readonly target: Target;
  readonly visit: Visit;
}

/** What the traffic to a directly named host is counted by; no token has a colon. */
export const directKey = ({ label }: DirectHost): string => `direct:${label}`;

/** The ways to everything that isn't a session. */
export class Ways {
  readonly #targets: ReadonlyMap<Route, Target>;
  readonly #addresses: DirectAddresses;

  /** Throws a ConfigError where an authority's file can't be read. */
  constructor(routes: readonly Route[], addresses: DirectAddresses) {
    this.#targets = new Map(routes.map((route) => [route, targetOf(route)]));
    this.#addresses = addresses;
  }

  /** Undefined where a directly named host is unknown, or outside of its networks. Never rejects. */
  async to(where: Elsewhere, url: string, visit: Visit): Promise<Way | undefined> {
    if (where.kind === 'route') {
      const { route } = where;
      const stripped = route.stripPrefix && { url: url.slice(route.path.length) };
      return { target: this.#targets.get(route) as Target, visit: { ...visit, ...stripped } };
    }
    const { direct } = where;
    const host = await this.#addresses.find(direct);
    if (host === undefined) return undefined;
    const edits = framedEdits(direct.rule.frameAncestors, visit.proto);
    return { target: { token: directKey(direct), host, port: direct.port }, visit: { ...visit, edits } };
  }
}

function targetOf(route: Route): Target {
  const { host: name, path, to, caFile } = route;
  const { host, port } = serverOf(route);
  const secure = to.protocol === 'https:';
  return {
    token: `route:${name}${path}`,
    host,
    port,
    // RFC 6066 section 3: addresses are no server names. The certificate is compared with the host then.
    ...(secure && {
      tls: {
        servername: isIP(host) ? '' : host,
        ca: caFile === undefined ? undefined : readAuthority(caFile),
      },
    }),
  };
}

function readAuthority(file: string): Buffer {
  try {
    return readRegular(file);
  } catch (error) {
    throw new ConfigError(`routes: the authority ${file} can't be read: ${fileFault(error)}`);
  }
}
