import { execFileSync } from 'node:child_process';
import { constants, createPrivateKey, X509Certificate } from 'node:crypto';
import { rmSync, unwatchFile, watchFile, writeFileSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { doubtAbout } from './certificate-doubt.ts';
import { ConfigError, type SatelliteConfig } from './config.ts';
import { fileFault } from './file-fault.ts';
import type { Log, LogEntry } from './log.ts';
import { readRegular } from './regular-file.ts';

/** Certificate chain and key files. */
export interface Files {
  readonly cert: string;
  readonly key: string;
}

/** What an HTTPS server is made with. */
export interface ServerCertificate {
  readonly cert: Buffer | string;
  readonly key: Buffer | string;
  /** Chooses another certificate by the name that a handshake asks for. */
  readonly SNICallback?:
    | ((name: string, done: (error: Error | null, context?: SecureContext) => void) => void)
    | undefined;
}

const LOOK_MS = 2000;
/** In which a renewal has changed all of its files, each of which is looked at every LOOK_MS. */
const SETTLE_MS = 1.25 * LOOK_MS;

function read(file: string): Buffer {
  try {
    return readRegular(file);
  } catch (error) {
    throw new ConfigError(`tls: ${file} can't be read: ${fileFault(error)}`);
  }
}

/** Reads and checks a certificate and its key (PEM). Throws a ConfigError. */
function readCertificate({ cert, key }: Files): { cert: Buffer; key: Buffer } {
  try {
    const pair = { cert: read(cert), key: read(key) };
    createSecureContext(pair);
    // A renewal in two steps looks like this for a moment. OpenSSL itself keeps keys of different kinds apart, and would
    // take such a pair.
    if (!new X509Certificate(pair.cert).checkPrivateKey(createPrivateKey(pair.key)))
      throw new Error("the key is not the certificate's");
    return pair;
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`tls: ${cert} and ${key} can't be used: ${(error as Error).message}`);
  }
}

/** One pair as it was last read. */
interface Loaded {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly leaf: X509Certificate;
  readonly context: SecureContext;
}

/** Certificates in files. A handshake gets the first that covers its name, or else the first of all. */
export class Certificates implements ServerCertificate {
  readonly pairs: readonly Files[];
  readonly #names: readonly string[];
  readonly #loaded: Loaded[];
  readonly SNICallback: ServerCertificate['SNICallback'];

  /**
   * Throws a ConfigError where a pair can't be used.
   * @param names for which one of them should be
   */
  constructor(pairs: readonly Files[], names: readonly string[]) {
    this.pairs = pairs;
    this.#names = names;
    this.#loaded = pairs.map(load);
    if (pairs.length > 1)
      this.SNICallback = (name, done) => {
        done(null, this.#loaded.find(({ leaf }) => leaf.checkHost(name) !== undefined)?.context);
      };
  }

  get cert(): Buffer {
    return (this.#loaded[0] as Loaded).cert;
  }

  get key(): Buffer {
    return (this.#loaded[0] as Loaded).key;
  }

  /** All of them, as they were last read. */
  get all(): readonly { readonly cert: Buffer; readonly key: Buffer }[] {
    return this.#loaded;
  }

  /** What browsers are going to hold against a pair, for the log; and if none at all is for a name, that. */
  doubtAbout(pair: Files, names = this.#names): LogEntry | undefined {
    const leaves = this.#loaded.map(({ leaf }) => leaf);
    const doubt = doubtAbout(leaves[this.pairs.indexOf(pair)] as X509Certificate, leaves, names);
    return doubt && { ...doubt, cert: pair.cert };
  }

  /** The same about all of them, and once about names. */
  doubts(): LogEntry[] {
    return this.pairs.flatMap((pair, i) => this.doubtAbout(pair, i === 0 ? this.#names : []) ?? []);
  }

  /** Until when each is good, in milliseconds since the epoch. */
  expiries(): (readonly [cert: string, time: number])[] {
    return this.pairs.map(({ cert }, i) => [cert, (this.#loaded[i] as Loaded).leaf.validToDate.getTime()]);
  }

  /** Reads a pair anew, and says whether it is another one. Throws a ConfigError, and then keeps the one it has. */
  read(pair: Files): boolean {
    const index = this.pairs.indexOf(pair);
    const [old, now] = [this.#loaded[index] as Loaded, load(pair)];
    this.#loaded[index] = now;
    return !old.cert.equals(now.cert) || !old.key.equals(now.key);
  }
}

function load(pair: Files): Loaded {
  const { cert, key } = readCertificate(pair);
  const context = createSecureContext({ ...tlsOptions, cert, key });
  return { cert, key, leaf: new X509Certificate(cert), context };
}

/**
 * Reads files anew as they change, and has `takeOver` see to it that new connections get what is in them, where `index` says
 * which pair it is; open ones go on. A renewal changes several files, and is taken over once, as soon as they belong together.
 * Files that can't be used for longer than that are reported, and the old certificate stays. Returns what looks at once, and
 * says also that nothing has changed, and what ends the watch.
 */
export function followCertificates(
  certificates: Certificates,
  takeOver: (index: number) => void | Promise<void>,
  log: Log,
): { reload: () => void; stop: () => void } {
  const watched = certificates.pairs.map((pair, index) => {
    /** Is there something to be taken over, or to be said? */
    let isDue = false;
    let turn = Promise.resolve();
    let settling: NodeJS.Timeout | undefined;
    const say = (event: string): void => {
      log({ event, cert: pair.cert });
      const doubt = certificates.doubtAbout(pair);
      if (doubt) log(doubt);
    };
    const takeIn = async (isSettled: boolean, isAsked: boolean): Promise<void> => {
      try {
        if (certificates.read(pair)) isDue = true;
        if (!isDue) {
          if (isAsked) say('certificate-unchanged');
          return;
        }
        await takeOver(index);
        isDue = false;
        say('certificate-reloaded');
      } catch (error) {
        if (isSettled) {
          isDue = true;
          log({ event: 'certificate-unusable', message: (error as Error).message });
        } else settling = setTimeout(() => look(true), SETTLE_MS).unref();
      }
    };
    const look = (isSettled: boolean, isAsked = false): void => {
      clearTimeout(settling);
      turn = turn.then(() => takeIn(isSettled, isAsked));
    };
    const onChange = (): void => look(false);
    // Polling: it sees through the symbolic links that certificate clients swap, and works on any file system.
    for (const file of [pair.cert, pair.key])
      watchFile(file, { interval: LOOK_MS, persistent: false }, onChange);
    const stop = (): void => {
      for (const file of [pair.cert, pair.key]) unwatchFile(file, onChange);
      clearTimeout(settling);
    };
    return { reload: () => look(true, true), stop };
  });
  return {
    reload: () => {
      for (const { reload } of watched) reload();
    },
    stop: () => {
      for (const { stop } of watched) stop();
    },
  };
}

/** Mozilla's intermediate profile, version 5.7, without its suites for RSA certificates and finite-field groups. */
export const tlsOptions = {
  minVersion: 'TLSv1.2',
  // No resumption: of a resumed TLS 1.2 session neither OpenSSL nor Node say which name it was asked for with
  // (nodejs/node issue 57175), so that it could be used for any. A whole handshake takes no more round trips in TLS 1.3.
  secureOptions: constants.SSL_OP_NO_TICKET,
  // All of them are good: a phone without AES in hardware may prefer what it is fast at.
  honorCipherOrder: false,
  ecdhCurve: 'X25519MLKEM768:X25519:prime256v1:secp384r1',
  ciphers: [
    'TLS_AES_128_GCM_SHA256',
    'TLS_AES_256_GCM_SHA384',
    'TLS_CHACHA20_POLY1305_SHA256',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
    'ECDHE-ECDSA-CHACHA20-POLY1305',
    'ECDHE-RSA-CHACHA20-POLY1305',
  ].join(':'),
} as const;

/** The value of Strict-Transport-Security; undefined where it is not to be sent. */
export function hstsOf({ tls, hsts }: SatelliteConfig): string | undefined {
  // A browser that must insist on HTTPS lets nobody past a certificate it doesn't trust.
  if (tls === 'off' || !('pairs' in tls) || hsts === 'off') return undefined;
  return `max-age=${Math.round(hsts / 1000)}`;
}

const SELF_SIGNED_DAYS = 397;
const RENEW_MS = 30 * 86_400_000;

/**
 * A certificate for the domain and its sites that nobody vouches for, made with the openssl command and kept beside the
 * state, so that whoever has checked its fingerprint once meets it again. `file` is undefined for a state in memory.
 * Throws a ConfigError.
 */
export function selfSignedCertificate(
  domain: string,
  file: string | undefined,
): { cert: string; key: string; fingerprint: string } {
  const kept = file && readKept(file, domain);
  const pem = kept || makeSelfSigned(domain);
  if (file && !kept) {
    try {
      rmSync(file, { force: true });
      writeFileSync(file, pem, { mode: 0o600, flag: 'wx' });
    } catch (error) {
      throw new ConfigError(`tls: the certificate can't be kept: ${(error as Error).message}`);
    }
  }
  return { cert: pem, key: pem, fingerprint: new X509Certificate(pem).fingerprint256 };
}

/** The one from before, if it is still good for these names. */
function readKept(file: string, domain: string): string | undefined {
  try {
    const pem = readRegular(file).toString();
    const certificate = new X509Certificate(pem);
    const lasts = certificate.validToDate.getTime() - Date.now() > RENEW_MS;
    return lasts && certificate.checkHost(domain) && certificate.checkHost(`manage.${domain}`)
      ? pem
      : undefined;
  } catch {
    return undefined;
  }
}

function makeSelfSigned(domain: string): string {
  const request = `[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = satellite
[extensions]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:${domain},DNS:*.${domain}
`;
  try {
    return execFileSync(
      'openssl',
      [
        // Key and certificate go to standard output: never into a file that somebody else could read.
        ...['req', '-x509', '-config', '-', '-days', String(SELF_SIGNED_DAYS), '-nodes'],
        ...['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
      ],
      { input: request, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] },
    );
  } catch (error) {
    const why =
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no openssl command' : String(error);
    throw new ConfigError(`tls: a certificate can't be made: ${why}. Install openssl, or give cert and key.`);
  }
}
