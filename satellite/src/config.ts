import * as z from 'zod';
import { isSamePlace } from './addresses.ts';
import { faultLines, inWords } from './config-faults.ts';
import { directHostsSchema } from './gate/direct.ts';
import { Networks, networksSchema as networks } from './gate/networks.ts';
import { MAX_PORT, MIN_PORT, ports } from './gate/ports.ts';
import { routeFaults, routeSchema, routesSchema } from './gate/routes.ts';
import { databaseFault, isDatabase } from './tokens/postgres-url.ts';

/** "host:port", "[::1]:port". Port 0 takes a free one. */
export function parseListen(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host === undefined || port > 65535 ? undefined : { host, port };
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3600_000, d: 86_400_000 };

/** "49h", "30m", "1h30m" in milliseconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(ms|[smhd]))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+)(ms|[smhd])/g))
    sum += Number(amount) * (units[unit ?? ''] ?? 0);
  return sum > 0 ? sum : undefined;
}

const listen = z.string('must be HOST:PORT, such as 0.0.0.0:443').transform((text, context) => {
  const address = parseListen(text);
  if (address) return address;
  context.addIssue(`"${text}" is not an address to listen on; write HOST:PORT, such as 0.0.0.0:443`);
  return z.NEVER;
});

/** As YAML has it, and as the command line does. */
const flag = z
  .union([z.boolean(), z.literal('true'), z.literal('false')], { error: 'is true or false' })
  .transform((value) => value === true || value === 'true');

const DAY_MS = 86_400_000;
/** Node's timers end at 2^31 - 1 ms, and fire at once where they are set to more. */
const LONGEST_TIMER_DAYS = 24;
/** What is longer is a slip of the pen, and calendars end somewhere. */
const LONGEST_DAYS = 3650;

/**
 * The header of a request holds its request line, and of such a line 8000 bytes should be taken (RFC 9112 section 3). Cookies
 * of all the notebooks of a host come on top.
 */
const LEAST_HEADER_SIZE = 8192;
/** A TLS handshake around the world takes two thirds of it. */
const LEAST_TIME_S = 1;

const durationUpTo = (days: number) =>
  z.string('must be a duration, such as 49h, 90m or 1d12h').transform((text, context) => {
    const milliseconds = parseDuration(text);
    if (milliseconds === undefined)
      context.addIssue(`"${text}" is not a duration; write it as 49h, 90m or 1d12h`);
    else if (milliseconds > days * DAY_MS) context.addIssue(`"${text}" is too long; write ${days}d at most`);
    else return milliseconds;
    return z.NEVER;
  });
const duration = durationUpTo(LONGEST_TIMER_DAYS);

/** A time in which somebody has to do something. */
const timeFor = (time: typeof duration) =>
  time.refine((milliseconds) => milliseconds >= LEAST_TIME_S * 1000, {
    error: `is too short; write ${LEAST_TIME_S}s at least`,
  });
const time = timeFor(duration);

const domain = z
  .string()
  .transform((text) => text.toLowerCase().replace(/\.$/, ''))
  .refine(
    (text) => /^(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*$/.test(text),
    'is not a domain name',
  )
  // The URL Standard's "ends in a number": browsers take such a host for an IPv4 address, whatever is in front of it.
  .refine((text) => !/(^|\.)(\d+|0x[\da-f]*)$/.test(text), {
    error: 'is an address, below which there are no names; write a domain name, such as hpc.example.org',
  });

/** Of those who are told from the rest of the world. */
const insiders = networks.refine(({ isEverybody }) => !isEverybody, {
  error: 'would let in everybody there is (/0); write the networks of the cluster, such as 10.21.0.0/16',
});

const amount = z.coerce
  .number({ error: 'is not a number' })
  .pipe(z.int('is not a whole number').positive('is not a number above 0'));

/**
 * A class of sixty behind one address has about 1000 connections open, half of them WebSockets, and misses few names; a
 * campus has many classes.
 */
export const limitsSchema = z.strictObject({
  connectionsPerClient: amount
    .default(5000)
    .describe('connections open at a time from one address, without WebSockets that a notebook has taken'),
  requestsPerSite: amount.default(1000).describe('requests under way at a time to one site'),
  webSocketsPerSite: amount.default(500).describe('WebSockets open at a time to one site'),
  tokensPerMinute: amount.default(1200).describe('tokens issued to one address'),
  unknownNamesPerMinute: amount.default(120).describe('names that do not exist, tried from one address'),
  headerTime: time
    .default(20_000)
    .describe('for the header of a request, a body to management, a TLS handshake'),
  headerSize: amount
    .refine((bytes) => bytes >= LEAST_HEADER_SIZE, {
      error: `is too small; write ${LEAST_HEADER_SIZE} at least`,
    })
    .default(65_536)
    .describe('bytes in the header of a request'),
  idleTime: time.default(65_000).describe('until a connection without a request is closed'),
  stallTime: time
    .default(3_600_000)
    .describe('until a request is given up in which nothing moves, either way'),
  connectTime: time.default(10_000).describe('to connect to a notebook'),
  answerTime: time.default(1_800_000).describe('from a whole request to the beginning of its answer'),
});

/** Durations in milliseconds. */
export type Limits = z.output<typeof limitsSchema>;

/** Where a page may lead: nothing that a browser would run. */
const link = z.string().transform((text, context) => {
  const url = URL.parse(text);
  if (url && ['https:', 'mailto:'].includes(url.protocol)) return url.href;
  context.addIssue(`"${text}" is not a link; write an https:// or mailto: address`);
  return z.NEVER;
});

const pairSchema = z.strictObject({ cert: z.string(), key: z.string() });

const file = z.string().min(1);

/** Plain HTTP only to this machine, to try it out. */
const issuer = z.string().transform((text, context) => {
  const url = URL.parse(text);
  const isLocal = url && /^(localhost|127\.[\d.]+|\[::1\])$/.test(url.hostname);
  if (url && (url.protocol === 'https:' || (isLocal && url.protocol === 'http:'))) return url;
  context.addIssue(`"${text}" is not the https:// address of a provider`);
  return z.NEVER;
});

const oidcSchema = z.strictObject({
  issuer: issuer.describe('the provider, as its documentation calls its issuer'),
  clientId: z.string().min(1),
  clientSecretFile: file.describe(
    'a file that holds the secret of this client, and that others can not read',
  ),
  userClaim: z
    .string()
    .min(1)
    .default('preferred_username')
    .describe('the claim that is the name of the user'),
  scopes: z.string().default('openid profile').describe('what is asked of the provider'),
  allow: z
    .record(z.string(), z.array(z.string(), 'is a list of values'))
    .default({})
    .describe('claims that a user needs, each with one of these values'),
  recheck: duration
    .default(60_000)
    .describe('how often the provider is asked whether somebody may still come in'),
});

const authSchema = z
  .strictObject({
    htpasswd: file.optional().describe('file of users and bcrypt hashes, as "htpasswd -B" writes it'),
    header: z
      .string()
      .regex(/^[A-Za-z][A-Za-z0-9-]*$/, 'is not the name of a header field')
      .optional()
      .describe('field in which a trusted proxy says who the user is'),
    oidc: oidcSchema.optional().describe('an OpenID Connect provider'),
    users: z
      .record(z.string(), z.string())
      .optional()
      .describe('from user to account; who is not in it may not come in. Without it both have the same name'),
    keyFile: file
      .optional()
      .describe('keys of cookies and of what is sealed in the state; made as STATE.key if left out'),
    blocked: file.optional().describe('file of users who may not come in, one a line'),
    signInTime: time.default(12 * 3600_000).describe('how long a sign-in lasts'),
  })
  .refine(({ htpasswd, header, oidc }) => [htpasswd, header, oidc].filter(Boolean).length === 1, {
    error: 'needs one of htpasswd, header and oidc, and only one',
  });

/** Durations in milliseconds. */
export type AuthConfig = z.output<typeof authSchema>;
export type OidcConfig = z.output<typeof oidcSchema>;

/** Nothing in it means anything to a configuration of HAProxy's. */
const plainPath = z.string().regex(/^\/[\w./@+-]*$/, 'is not an absolute path of plain letters');

/** How HAProxy is run. Its defaults are for one that satellite starts. */
export const haproxySchema = z.strictObject({
  program: z.string().min(1).default('haproxy').describe('the command that is HAProxy, 2.4 or later'),
  threads: amount.optional().describe('how many threads HAProxy has; one a processor'),
  directory: plainPath
    .optional()
    .describe(
      "folder for what is between HAProxy and satellite, of satellite's user; beside a state that is a file if left out",
    ),
  user: z
    .string()
    .regex(/^[A-Za-z_][\w.-]*$/, 'is not the name of a user')
    .default('haproxy')
    .describe('the user that HAProxy becomes where root starts it, or is where somebody else runs it'),
  socket: plainPath
    .optional()
    .describe("runtime socket of a HAProxy that somebody else runs, with satellite haproxy-config's lines"),
  chroot: plainPath.optional().describe('where that HAProxy is chrooted to, as its configuration says'),
});

/** The configuration, declared once: file keys, their meaning, and (in options.ts) the command line come from here. */
export const configSchema = z
  .strictObject({
    domain: domain.describe('sites are WORDS.DOMAIN (or DOMAIN/WORDS/), management is manage.DOMAIN'),
    listen: listen.default({ host: '0.0.0.0', port: 443 }).describe('address and port to serve on'),
    redirectHttpFrom: listen
      .optional()
      .describe('address and port whose plain HTTP requests are sent to HTTPS'),
    tls: z
      .union(
        [
          z.literal('off'),
          z.strictObject({ selfSigned: z.literal(true) }),
          pairSchema.transform((pair) => ({ pairs: [pair] })),
          z
            .array(pairSchema)
            .min(1)
            .transform((pairs) => ({ pairs })),
        ],
        {
          error:
            'is needed: cert and key files, selfSigned: true to try it out, or off behind a front that does TLS',
        },
      )
      .describe('certificate chain and key files (PEM), a list of such pairs, selfSigned: true, or off'),
    hsts: z
      .union([z.literal('off'), durationUpTo(LONGEST_DAYS)], {
        error: `is a duration such as 365d, of ${LONGEST_DAYS}d at most, or off`,
      })
      .default(365 * DAY_MS)
      .describe('how long browsers insist on HTTPS after a visit, or off; only with certificate files'),
    http2: flag.default(true).describe('speak HTTP/2 to browsers, too (true or false); only with TLS'),
    internalNetworks: insiders
      .default(() => new Networks([]))
      .describe('who may get, link, redeem and destroy tokens, and where sites may point'),
    sitePorts: ports
      .default([MIN_PORT, MAX_PORT])
      .describe('which ports sites may point to, such as 20000-29999'),
    jobStateNetworks: insiders.default(() => new Networks([])).describe('who may post job states'),
    trustedProxies: networks.default(() => new Networks([])).describe('whose X-Forwarded-For is believed'),
    proxyProtocol: networks
      .default(() => new Networks([]))
      .describe('whose connections begin with a header of the PROXY protocol, which says who the client is'),
    state: z
      .string()
      .min(1)
      // Never repeated: there may be a password in it.
      .superRefine((text, context) => {
        if (isDatabase(text)) {
          const fault = databaseFault(text);
          if (fault !== undefined) context.addIssue(fault);
        } else if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text))
          context.addIssue('is no file; write the path of an SQLite file, postgresql://… or :memory:');
      })
      .default('/var/lib/satellite/state.sqlite')
      .describe('SQLite file, postgresql://HOST/DATABASE shared by several satellites, or :memory:'),
    statusSocket: file
      .optional()
      .describe(
        'where "satellite status" asks; STATE.sock, or /var/lib/satellite/status.sock beside a database',
      ),
    metricsListen: listen.optional().describe('address and port for metrics and health checks'),
    stopDelay: duration
      .default(0)
      .describe('how long a stop goes on as ever while /healthz says 503, for balancers to see it; none'),
    stopGrace: duration
      .default(10_000)
      .describe('how long a stop waits for requests under way and WebSockets in use'),
    title: z.string().min(1).max(100).optional().describe('name of the service, on every page'),
    contact: link.optional().describe('where visitors ask for help, on every page (https:// or mailto:)'),
    help: link.optional().describe('documentation for visitors, on every page (https:// or mailto:)'),
    auth: authSchema.optional().describe('who may visit a site (only in a configuration file)'),
    limits: limitsSchema.prefault({}).describe('what one client or one site may use'),
    engine: z
      .enum(['node', 'haproxy'], { error: 'is node or haproxy' })
      .default('node')
      .describe('what carries the traffic of live sites: node is satellite itself, haproxy is HAProxy'),
    haproxy: haproxySchema.prefault({}).describe('how HAProxy is run, where it is the engine'),
    siteStyle: z
      .enum(['host', 'path'], { error: 'is host (https://WORDS.DOMAIN/) or path (https://DOMAIN/WORDS/)' })
      .default('host')
      .describe('host: sites are https://WORDS.DOMAIN/; path: https://DOMAIN/WORDS/, without wildcards'),
    routes: routesSchema
      .default([])
      .describe('fixed sites by host or host/path, each with its server (only in a configuration file)'),
    directHosts: directHostsSchema
      .default([])
      .describe('who may be visited as HOST-PORT.DOMAIN (only in a configuration file)'),
    tokenTtl: timeFor(durationUpTo(LONGEST_DAYS))
      .default(49 * 3600_000)
      .describe('how long a token lives while nobody reports its job'),
  })
  .superRefine(({ engine, haproxy, listen, state }, context) => {
    const { socket, directory, chroot, threads } = haproxy;
    const refuse = (key: keyof typeof haproxy, message: string): void =>
      context.addIssue({ code: 'custom', path: ['haproxy', key], message });
    if (socket === undefined) {
      if (chroot !== undefined) refuse('chroot', 'is for a HAProxy that somebody else runs (haproxy.socket)');
      if (engine === 'haproxy' && isDatabase(state) && directory === undefined)
        refuse(
          'directory',
          'is needed where the state is a database: a folder of this satellite alone that a restart leaves in place, such as /var/lib/satellite/haproxy',
        );
      return;
    }
    if (directory === undefined)
      refuse('directory', 'is needed with haproxy.socket: a folder that HAProxy can reach, too');
    else if (chroot !== undefined && !directory.startsWith(`${chroot.replace(/\/$/, '')}/`))
      refuse('directory', `must be below haproxy.chroot (${chroot}): HAProxy sees nothing else`);
    if (threads !== undefined)
      refuse('threads', 'is said in the configuration of who runs HAProxy (nbthread)');
    if (listen.port === 0)
      context.addIssue({
        code: 'custom',
        path: ['listen'],
        message: 'needs a port: HAProxy is told by haproxy-config where to listen',
      });
  })
  .superRefine(({ listen, redirectHttpFrom, metricsListen }, context) => {
    const taken = [['listen', listen]] as [string, typeof listen][];
    for (const [key, address] of Object.entries({ redirectHttpFrom, metricsListen })) {
      if (address === undefined) continue;
      const other = taken.find(([, one]) => isSamePlace(one, address));
      if (other !== undefined)
        context.addIssue({
          code: 'custom',
          path: [key],
          message: `has the port and the address of ${other[0]}; give it a port of its own`,
        });
      taken.push([key, address]);
    }
  })
  .superRefine(({ auth, tls, trustedProxies, siteStyle, directHosts, state }, context) => {
    if (auth !== undefined && auth.keyFile === undefined && isDatabase(state)) {
      context.addIssue({
        code: 'custom',
        path: ['auth', 'keyFile'],
        message: 'is needed, the same file at each satellite: openssl rand -hex 32 >FILE; chmod 600 FILE',
      });
    }
    if (auth !== undefined && siteStyle === 'path') {
      // To a browser they are one site: the notebook of one visitor could use what is open to another.
      context.addIssue({ code: 'custom', path: ['auth'], message: 'needs siteStyle: host' });
    }
    if (auth !== undefined && directHosts.length > 0)
      context.addIssue({
        code: 'custom',
        path: ['directHosts'],
        message: 'are open to everybody, which auth is not for; leave one of them out',
      });
    if (auth === undefined || !trustedProxies.isEmpty) return;
    if (auth.header !== undefined)
      context.addIssue({
        code: 'custom',
        path: ['auth', 'header'],
        message: 'needs trustedProxies: only they are believed',
      });
    else if (tls === 'off')
      context.addIssue({
        code: 'custom',
        path: ['auth'],
        message: 'needs TLS, here or in a front that is in trustedProxies',
      });
  });

/** What a configuration file or a caller writes. */
export type SatelliteConfigInput = z.input<typeof configSchema>;
/** What the program works with: checked, complete, durations in milliseconds. */
export type SatelliteConfig = z.output<typeof configSchema>;

/** The configuration is wrong in a way that its author can mend; the message says how, one line a fault. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

/** Checks and completes a configuration. Throws a ConfigError that names every fault and, for an unknown key, the nearest known one. */
export function parseConfig(input: unknown): SatelliteConfig {
  const result = configSchema.safeParse(input ?? {}, { error: inWords, reportInput: true });
  if (result.success) {
    const { routes, domain, siteStyle, directHosts, auth } = result.data;
    const faults = routeFaults(routes, domain, siteStyle, auth !== undefined);
    if (siteStyle === 'path' && directHosts.length > 0)
      faults.push('directHosts: they are host names below the domain, which siteStyle: path does without');
    if (faults.length > 0) throw new ConfigError(faults.join('\n'));
    return result.data;
  }
  throw new ConfigError(faultLines(result.error.issues, knownKeysAt).join('\n'));
}

const knownKeys: Readonly<Record<string, readonly string[]>> = {
  tls: ['cert', 'key', 'selfSigned'],
  limits: Object.keys(limitsSchema.shape),
  haproxy: Object.keys(haproxySchema.shape),
  routes: Object.keys(routeSchema.shape),
  directHosts: Object.keys(directHostsSchema.element.shape),
  auth: Object.keys(authSchema.shape),
  'auth.oidc': Object.keys(oidcSchema.shape),
};

/** Lists and places of routes have the same keys in each of their parts. */
function knownKeysAt(path: readonly PropertyKey[]): readonly string[] {
  return knownKeys[path.join('.')] ?? knownKeys[String(path[0] ?? '')] ?? Object.keys(configSchema.shape);
}
