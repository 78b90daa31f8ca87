/** Certificates for tests, made by openssl. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** PEM files. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** What `openssl req` takes. */
export const ecKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
export const rsaKey = ['-newkey', 'rsa:2048'];

export interface CertificateWishes {
  /** Of its files in the directory, and in its subject. */
  readonly name?: string;
  readonly newKey?: readonly string[];
  /** For how long it is good. */
  readonly days?: number;
  /** As openssl.cnf has them: `keyUsage=critical,keyCertSign`. */
  readonly extensions?: readonly string[];
  /** Without one it is its own authority. */
  readonly issuer?: CertificateFiles;
}

/** The names of sites below a domain, as `subjectAltName` has them. */
export const namesBelow = (domain: string): string[] => [`DNS:*.${domain}`, `DNS:${domain}`];

/** @param names for which it is, each with its kind: `DNS:*.sites.test`, `IP:127.0.0.1` */
export async function makeCertificate(
  directory: string,
  names: readonly string[],
  { name = 'site', newKey = ecKey, days = 60, extensions = [], issuer }: CertificateWishes = {},
): Promise<CertificateFiles> {
  const files = { cert: join(directory, `${name}.pem`), key: join(directory, `${name}.key`) };
  const all = [...(names.length > 0 ? [`subjectAltName=${names.join()}`] : []), ...extensions];
  await run('openssl', [
    ...['req', '-x509', ...newKey, '-nodes', '-days', String(days), '-subj', `/CN=${name}`],
    ...['-keyout', files.key, '-out', files.cert],
    ...(issuer === undefined ? [] : ['-CA', issuer.cert, '-CAkey', issuer.key]),
    ...all.flatMap((extension) => ['-addext', extension]),
  ]);
  return files;
}

/**
 * One for the names below a domain, by an authority of its own: browsers take an authority's word, but not that of a site's
 * own certificate.
 */
export async function makeIssuedCertificate(
  directory: string,
  domain: string,
  newKey: readonly string[] = ecKey,
): Promise<CertificateFiles & { readonly ca: string }> {
  const issuer = await makeCertificate(directory, [], {
    name: 'authority',
    newKey,
    extensions: ['keyUsage=critical,keyCertSign'],
  });
  const files = await makeCertificate(directory, namesBelow(domain), {
    newKey,
    issuer,
    extensions: ['basicConstraints=critical,CA:FALSE', 'extendedKeyUsage=serverAuth'],
  });
  return { ...files, ca: issuer.cert };
}
