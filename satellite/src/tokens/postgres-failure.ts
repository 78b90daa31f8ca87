import { StoreError } from './store.ts';

/** What satellite.save says to a connection that another one has taken the place of. */
const SESSION_IS_OVER = 'SAT01';
const NO_PASSWORD = '28P01';
/** What `pg` says where it is asked for a password and was given none. */
const HAS_NO_PASSWORD = /client password must be a string/;

const UNKNOWN_AUTHORITY =
  " Its certificate is from nobody who is trusted here; name the authority's in the address: sslrootcert=FILE.";
/** What Node adds to OpenSSL's words, for whoever starts it himself. */
const ADVICE_OF_NODE = /; if the root CA is installed locally.*/;

/** What to do, by Node's code or the server's SQLSTATE (appendix A of its manual). */
const hints: Readonly<Record<string, string>> = {
  ECONNREFUSED: ' Is the server running there?',
  ENOENT: ' Is the server running, with its socket in this directory?',
  ENOTFOUND: ' The name is not known.',
  '28000': ' The server does not let this user in; see its pg_hba.conf.',
  [NO_PASSWORD]:
    ' The password is wrong, or there is none: it belongs in a passfile, or in the configuration file.',
  '3D000': ' Make it: createdb --encoding=UTF8 --owner=USER NAME.',
  '42501': ' This user must own the database, or a schema "satellite" in it.',
  '25006': ' It is a standby, or was made read-only.',
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
  '53100': ' Its disk is full: until there is room nothing can be changed.',
};

/** Why something could not be done with the state, and what to do about it. */
export function storeFailure(what: string, name: string, error: unknown): StoreError {
  const { code = '', message } = error as NodeJS.ErrnoException;
  const [why, hint] = HAS_NO_PASSWORD.test(message)
    ? ['the server wants a password', hints[NO_PASSWORD]]
    : [message.replace(ADVICE_OF_NODE, ''), hints[code]];
  return new StoreError(`Could not ${what} the state in ${name}: ${why}.${hint ?? ''}`, { cause: error });
}

/** Has another connection taken the place of this one? */
export function isSessionOver(error: unknown): boolean {
  return (error as { code?: string }).code === SESSION_IS_OVER;
}

/** Has the server undone it all? An error that ends the connection may come after a commit, too. */
export function isRefusal(error: unknown): boolean {
  return (error as { severity?: string }).severity === 'ERROR';
}
