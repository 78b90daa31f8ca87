import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import type { Server as HttpsServer } from 'node:https';
import { createSecureContext } from 'node:tls';
import { ConfigError } from './config.ts';
import type { Log } from './log.ts';

interface Files {
  readonly cert: string;
  readonly key: string;
}

const LOOK_MS = 2000;

/** Reads and checks a certificate and its key (PEM). Throws a ConfigError. */
export function readCertificate({ cert, key }: Files): { cert: Buffer; key: Buffer } {
  try {
    const pair = { cert: readFileSync(cert), key: readFileSync(key) };
    // Throws where the key isn't the certificate's, which a renewal in two steps looks like for a moment.
    createSecureContext(pair);
    return pair;
  } catch (error) {
    throw new ConfigError(`tls: ${cert} and ${key} can't be used: ${(error as Error).message}`);
  }
}

/**
 * Takes new files over for new connections as they change; open ones go on. Files that can't be used are reported and
 * the old certificate stays. Returns what ends the watch.
 */
export function followCertificate(server: HttpsServer, files: Files, log: Log): () => void {
  const reload = (): void => {
    try {
      server.setSecureContext({ ...tlsOptions, ...readCertificate(files) });
      log({ event: 'certificate-reloaded', cert: files.cert });
    } catch (error) {
      log({ event: 'certificate-unusable', message: (error as Error).message });
    }
  };
  // Polling: it sees through the symbolic links that certificate clients swap, and works on any file system.
  for (const file of [files.cert, files.key])
    watchFile(file, { interval: LOOK_MS, persistent: false }, reload);
  return () => {
    for (const file of [files.cert, files.key]) unwatchFile(file, reload);
  };
}

/** Mozilla's intermediate profile. */
export const tlsOptions = {
  minVersion: 'TLSv1.2',
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
