/** A character that is in no token (`tokenPattern` of the access, in management/api.ts). */
const BLANK = 0x2e;

/**
 * Takes a secret out of a stream, wherever its pieces end: as many full stops stand in its place, so that lengths stay
 * true. Holds back as many bytes as may be the beginning of a secret, and no more.
 */
export class Redactor {
  readonly #secret: Buffer;
  #held = Buffer.alloc(0);

  constructor(secret: Buffer) {
    this.#secret = secret;
  }

  /** What may go on. */
  push(chunk: Buffer): Buffer {
    const secret = this.#secret;
    let bytes = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk;
    let end = 0;
    for (let at = bytes.indexOf(secret); at >= 0; at = bytes.indexOf(secret, end)) {
      // The first time: it may be somebody else's memory.
      if (bytes === chunk) bytes = Buffer.from(chunk);
      end = at + secret.length;
      bytes.fill(BLANK, at, end);
    }
    const passed = bytes.length - this.#beginning(bytes, end);
    // A copy: what the notebook sends next may be written over it.
    this.#held = Buffer.from(bytes.subarray(passed));
    return bytes.subarray(0, passed);
  }

  /** What was held back, and turned out to be no secret. */
  end(): Buffer {
    const rest = this.#held;
    this.#held = Buffer.alloc(0);
    return rest;
  }

  /** How many of the last bytes, behind `from`, begin the secret. */
  #beginning(bytes: Buffer, from: number): number {
    const first = this.#secret[0] as number;
    const longest = Math.max(from, bytes.length - this.#secret.length + 1);
    for (let at = bytes.indexOf(first, longest); at >= 0; at = bytes.indexOf(first, at + 1)) {
      if (bytes.subarray(at).equals(this.#secret.subarray(0, bytes.length - at))) return bytes.length - at;
    }
    return 0;
  }
}
