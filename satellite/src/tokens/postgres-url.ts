import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { ClientConfig } from 'pg';
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
]);

const LOCAL = /^(\/|localhost$|127\.|::1$)/;

/** Is this state a database rather than a file? */
export function isDatabase(state: string): boolean {
  return /^postgres(ql)?:\/\//i.test(state);
}

interface Place {
  readonly host: string;
  readonly port: number;
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
  return URL.parse(state)?.password !== '';
}

/** As it may be logged. */
export function databaseName(state: string): string {
  const { host, port, database } = parse(state);
  const at = host.startsWith('/') ? host : `${host}:${port}`;
  return `postgresql://${at}/${database}`;
}

/** How to connect. Throws the system's error where a file of certificates can't be read. */
export function clientConfig(state: string): ClientConfig {
  const { parameters, password, ...place } = parse(state);
  const file = (name: string): string | undefined => {
    const path = parameters.get(name);
    return path === null ? undefined : readFileSync(path, 'utf8');
  };
  const tls = { ca: file('sslrootcert'), cert: file('sslcert'), key: file('sslkey') };
  return {
    ...place,
    // Asked for only if the server wants one.
    password: password ?? ((() => passwordFrom(parameters.get('passfile'), place)) as () => Promise<string>),
    ssl: parameters.get('sslmode') === 'verify-full' ? tls : false,
    application_name: 'satellite',
    keepAlive: true,
  };
}

/** Throws a RangeError that says what to write instead. */
function parse(state: string): Place {
  const url = URL.parse(state);
  if (url === null)
    throw new RangeError(
      'is not an address; write postgresql://HOST/DATABASE or postgresql:///DATABASE?host=/run/postgresql',
    );
  const parameters = url.searchParams;
  const other = [...parameters.keys()].find((name) => !known.has(name));
  if (other !== undefined)
    throw new RangeError(`${other} is not a parameter of its address; there are ${[...known].join(', ')}`);
  const host = parameters.get('host') ?? decodeURIComponent(url.hostname).replace(/^\[|\]$/g, '');
  const database = decodeURIComponent(url.pathname.slice(1));
  if (host === '' || database === '')
    throw new RangeError(
      'needs a host and a database: postgresql://HOST/DATABASE or postgresql:///DATABASE?host=/run/postgresql',
    );
  const sslmode = parameters.get('sslmode');
  if (sslmode !== null && sslmode !== 'verify-full' && sslmode !== 'disable')
    throw new RangeError('sslmode is verify-full or disable; what is in between trusts anybody');
  if (sslmode === null && !LOCAL.test(host))
    throw new RangeError(
      'needs sslmode=verify-full (with sslrootcert=FILE for an authority of your own), or sslmode=disable on a network where nobody listens',
    );
  return {
    host,
    port: Number(parameters.get('port') ?? url.port) || 5432,
    user: parameters.get('user') ?? (decodeURIComponent(url.username) || userInfo().username),
    database,
    password: url.password === '' ? undefined : decodeURIComponent(url.password),
    parameters,
  };
}
