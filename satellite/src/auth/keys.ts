import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { closeSync, constants, fstatSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { ConfigError } from '../config.ts';
import { fileFault } from '../file-fault.ts';
import { openRegular } from '../regular-file.ts';
import { isReadableByOthers } from '../secret-file.ts';

const KEY_BYTES = 32;
/** NIST SP 800-38D: 96 bits for GCM. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

interface Key {
  readonly forMac: Buffer;
  readonly forSeal: Buffer;
}

/**
 * The keys of this proxy, in a file of their own: one a line, newest first. The first one signs and seals, all of them are
 * accepted, so that a new one can be put in front of the old one.
 */
export class Keys {
  readonly #keys: readonly Key[];

  private constructor(secrets: readonly Buffer[]) {
    this.#keys = secrets.map((secret) => ({
      forMac: derive(secret, 'mac'),
      forSeal: derive(secret, 'seal'),
    }));
  }

  /**
   * Reads the keys from a file, or reads or makes them beside the state; those of a state in memory are as short-lived as it
   * is. Throws a ConfigError.
   */
  static open(state: string, given: string | undefined): Keys {
    if (given !== undefined) return new Keys(readKeys(given));
    if (state === ':memory:') return new Keys([randomBytes(KEY_BYTES)]);
    const file = `${state}.key`;
    try {
      makeKeyFile(file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST')
        throw new ConfigError(`${file} can't be made: ${(error as Error).message}`);
    }
    return new Keys(readKeys(file));
  }

  /** A signature in letters for a cookie. */
  mac(text: string): string {
    return macOf(this.#keys[0] as Key, text).toString('base64url');
  }

  /** Is it one of our signatures of this text? */
  verifies(text: string, mac: string): boolean {
    const given = Buffer.from(mac, 'base64url');
    return this.#keys.some((key) => {
      const expected = macOf(key, text);
      return given.length === expected.length && timingSafeEqual(given, expected);
    });
  }

  /** Encrypts a text (AES-256-GCM) so that it can be read again only in the same place. */
  seal(text: string, place: string): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', (this.#keys[0] as Key).forSeal, nonce);
    cipher.setAAD(Buffer.from(place));
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
  }

  /** Undefined for what was sealed with another key, elsewhere, or by nobody. */
  unseal(sealed: Uint8Array, place: string): string | undefined {
    const bytes = Buffer.from(sealed);
    if (bytes.length < NONCE_BYTES + TAG_BYTES) return undefined;
    for (const { forSeal } of this.#keys) {
      const decipher = createDecipheriv('aes-256-gcm', forSeal, bytes.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(Buffer.from(place));
      decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
      try {
        const text = decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES));
        return Buffer.concat([text, decipher.final()]).toString('utf8');
      } catch {
        // Sealed with another of the keys, or not by us.
      }
    }
    return undefined;
  }
}

/** Something that nobody can guess, in letters for a cookie or a URL. */
export function randomId(): string {
  return randomBytes(24).toString('base64url');
}

function derive(secret: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', `satellite ${purpose}`, KEY_BYTES));
}

function macOf({ forMac }: Key, text: string): Buffer {
  return createHmac('sha256', forMac).update(text).digest();
}

function makeKeyFile(file: string): void {
  const descriptor = openSync(file, 'wx', 0o600);
  writeSync(descriptor, `${randomBytes(KEY_BYTES).toString('hex')}\n`);
  fsyncSync(descriptor);
  closeSync(descriptor);
}

function openKeys(file: string): number {
  try {
    return openRegular(file, constants.O_RDONLY);
  } catch (error) {
    throw new ConfigError(`${file} can't be read: ${fileFault(error)}`);
  }
}

function readKeys(file: string): Buffer[] {
  const descriptor = openKeys(file);
  try {
    if (isReadableByOthers(file, fstatSync(descriptor)))
      throw new ConfigError(
        `${file} can be read by others; chmod 600 it, or remove it to have a new one made`,
      );
    const lines = readFileSync(descriptor, 'utf8').split('\n').filter(Boolean);
    if (lines.length === 0 || !lines.every((line) => /^[0-9a-f]{64}$/.test(line)))
      throw new ConfigError(`${file} does not hold keys of 64 hexadecimal digits, one a line`);
    return lines.map((line) => Buffer.from(line, 'hex'));
  } finally {
    closeSync(descriptor);
  }
}
