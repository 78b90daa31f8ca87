import { userInfo } from 'node:os';
import { getCACertificates } from 'node:tls';
import type { ClientConfig } from 'pg';
import { fileFault } from '../file-fault.ts';
import { readRegular } from '../regular-file.ts';
import { passwordFrom } from './passfile.ts';

/** What there is to say in the query of a URL, as libpq calls it. */
const known: ReadonlySet<string> = new Set([
  'host',
  'port',
  'user',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'passfile',
  'target_session_attrs',
]);

const LOCAL = /^(\/|localhost$|127\.|::1$)/;

const NO_ADDRESS =
  'is not an address; write postgresql://HOST/DATABASE or postgresql:///DATABASE?host=/run/postgresql';

/** Is this state a database rather than a file? */
export function isDatabase(state: string): boolean {
  return /^postgres(ql)?:\/\//i.test(state);
}

/** `postgresql://`, perhaps a name and a password, and then the servers, which may be several. */
const BEGINNING = /^(postgres(?:ql)?:\/\/(?:[^@/?#]*@)?)([^/?#]*)/i;

interface Server {
  readonly host: string;
  readonly port: number;
}

interface Place {
  /** One, or a primary and its standbys, whichever of them is what at the moment. */
  readonly servers: readonly Server[];
  readonly user: string;
  readonly database: string;
  readonly password: string | undefined;
  readonly parameters: URLSearchParams;
}

/** What is wrong with such a URL; undefined if nothing is. Never repeats what could be a password. */
export function databaseFault(state: string): string | undefined {
  try {
    parse(state);
    return undefined;
  } catch (error) {
    return (error as RangeError).message;
  }
}

/** Does it hold the password itself? */
export function hasPassword(state: string): boolean {
  return URL.parse(withoutServers(state))?.password !== '';
}

/** As it may be logged. */
export function databaseName(state: string): string {
  const { servers, database } = parse(state);
  const at = servers.map(({ host, port }) => (host.startsWith('/') ? host : `${host}:${port}`));
  return `postgresql://${at}/${database}`;
}

/** How to connect to each of its servers. Throws an error for people where a file of certificates can't be read. */
export function clientConfigs(state: string): ClientConfig[] {
  const { servers, parameters, password, user, database } = parse(state);
  const file = (name: string): string | undefined => {
    const path = parameters.get(name);
    if (path === null) return undefined;
    try {
      return readRegular(path).toString();
    } catch (error) {
      throw new Error(`${name}: ${path} can't be read: ${fileFault(error)}`);
    }
  };
  const ssl = parameters.get('sslmode') === 'verify-full' && {
    ca: file('sslrootcert') ?? authorities(),
    cert: file('sslcert'),
    key: file('sslkey'),
  };
  return servers.map((server) => {
    const place = { ...server, user, database };
    return {
      ...place,
      // Asked for only if the server wants one.
      password:
        password ?? ((() => passwordFrom(parameters.get('passfile'), place)) as () => Promise<string>),
      ssl,
      application_name: 'satellite',
      keepAlive: true,
    };
  });
}

/** The system's, and those of NODE_EXTRA_CA_CERTS; undefined for Node's own where the system has none, as in a container. */
function authorities(): string[] | undefined {
  const system = getCACertificates('system');
  return system.length === 0 ? undefined : [...system, ...getCACertificates('extra')];
}

/** Throws a RangeError that says what to write instead. */
function parse(state: string): Place {
  const url = URL.parse(withoutServers(state));
  if (url === null) throw new RangeError(NO_ADDRESS);
  const parameters = url.searchParams;
  const other = [...parameters.keys()].find((name) => !known.has(name));
  if (other !== undefined)
    throw new RangeError(`${other} is not a parameter of its address; there are ${[...known].join(', ')}`);
  const servers = serversIn(state, parameters);
  const database = decoded(url.pathname.slice(1));
  if (database === '' || servers.some(({ host }) => host === ''))
    throw new RangeError(
      'needs a host and a database: postgresql://HOST/DATABASE or postgresql:///DATABASE?host=/run/postgresql',
    );
  const sslmode = parameters.get('sslmode');
  if (sslmode !== null && sslmode !== 'verify-full' && sslmode !== 'disable')
    throw new RangeError('sslmode is verify-full or disable; what is in between trusts anybody');
  if (sslmode === null && !servers.every(({ host }) => LOCAL.test(host)))
    throw new RangeError(
      'needs sslmode=verify-full (with sslrootcert=FILE for an authority of your own), or sslmode=disable on a network where nobody listens',
    );
  const role = parameters.get('target_session_attrs');
  if (role !== null && role !== 'read-write' && role !== 'primary')
    throw new RangeError('target_session_attrs is read-write; satellites write, whatever it says');
  return {
    servers,
    user: parameters.get('user') ?? (decoded(url.username) || userInfo().username),
    database,
    password: url.password === '' ? undefined : decoded(url.password),
    parameters,
  };
}

/** To others it is no address with more than one. */
function withoutServers(state: string): string {
  return state.replace(BEGINNING, '$1servers');
}

/** As libpq takes them: HOST[:PORT],…, or lists of hosts and of ports (or one port for all) among the parameters. */
function serversIn(state: string, parameters: URLSearchParams): Server[] {
  const [, , text = ''] = BEGINNING.exec(state) ?? [];
  const given = text.split(',').map((one) => {
    const url = URL.parse(`postgresql://${one}`);
    if (url === null) throw new RangeError(NO_ADDRESS);
    return { host: decoded(url.hostname).replace(/^\[|\]$/g, ''), port: url.port };
  });
  const hosts = parameters.get('host')?.split(',') ?? given.map(({ host }) => host);
  const ports = parameters.get('port')?.split(',') ?? given.map(({ port }) => port);
  if (ports.length > 1 && ports.length !== hosts.length)
    throw new RangeError('has more than one port, but not one for each host');
  return hosts.map((host, i) => ({ host, port: Number(ports[i] ?? ports[0]) || 5432 }));
}

/** Throws a RangeError that repeats nothing of it: it may be a password. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new RangeError('has a % in it that begins no code such as %40; write %25 for the sign itself');
  }
}
