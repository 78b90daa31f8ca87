import { COLON, CR, classOf, LF, TOKEN, VALUE } from './bytes.ts';

/** Of extensions and trailers, as Node takes them. */
const MAX_EXTRAS = 16 * 1024;
/** Of a chunk's size, in digits: beyond 2^52 no number is exact. */
const MAX_DIGITS = 13;

const SEMICOLON = 0x3b;
const EQUALS = 0x3d;

type Expected =
  | 'size'
  | 'extension'
  | 'size-lf'
  | 'data'
  | 'data-cr'
  | 'data-lf'
  | 'trailer'
  | 'trailer-lf'
  | 'last-lf'
  | 'nothing'
  | 'sense';

/** Reads a chunked body (RFC 9112 section 7.1), as strictly as Node's parser. */
export class Chunks {
  #expected: Expected = 'size';
  #left = 0;
  #digits = 0;
  #extras = 0;
  /** Is the byte before part of an extension's word? */
  #isWord = false;
  /** Bytes of the line of the trailer that is being read. */
  #line = '';
  /** Whole lines of the trailer. */
  readonly trailers: string[] = [];

  get isWhole(): boolean {
    return this.#expected === 'nothing';
  }

  get isBroken(): boolean {
    return this.#expected === 'sense';
  }

  begin(): void {
    this.#expected = 'size';
    this.#left = 0;
    this.#digits = 0;
    this.#extras = 0;
    this.#line = '';
    this.trailers.length = 0;
  }

  /**
   * Takes what is between `from` and `to`. Moves the data in it together at `from`, over what was there, and returns
   * where it ends. What came behind the end of the body isn't looked at: `rest` says how much that is.
   */
  read(bytes: Buffer, from: number, to: number): { end: number; rest: number } {
    let at = from;
    let end = from;
    while (at < to && !this.isWhole && !this.isBroken) {
      if (this.#expected === 'data') {
        const amount = Math.min(this.#left, to - at);
        if (end !== at) bytes.copyWithin(end, at, at + amount);
        end += amount;
        at += amount;
        this.#left -= amount;
        if (this.#left === 0) this.#expected = 'data-cr';
      } else {
        this.#expected = this.#take(bytes[at] as number);
        at += 1;
      }
    }
    return { end, rest: to - at };
  }

  /** `;name`, `;name=word`: quoted ones are nobody's. */
  #isExtension(byte: number): boolean {
    const isWord = ((classOf[byte] as number) & TOKEN) !== 0;
    if (!isWord && !(this.#isWord && (byte === SEMICOLON || byte === EQUALS))) return false;
    this.#isWord = isWord;
    return true;
  }

  #take(byte: number): Expected {
    switch (this.#expected) {
      case 'size': {
        const digit = hexadecimal(byte);
        if (digit >= 0) {
          this.#digits += 1;
          this.#left = this.#left * 16 + digit;
          return this.#digits > MAX_DIGITS ? 'sense' : 'size';
        }
        if (this.#digits === 0) return 'sense';
        if (byte === CR) return 'size-lf';
        this.#isWord = false;
        return byte === SEMICOLON ? 'extension' : 'sense';
      }
      case 'extension':
        if (byte === CR) return this.#isWord ? 'size-lf' : 'sense';
        this.#extras += 1;
        return this.#isExtension(byte) && this.#extras < MAX_EXTRAS ? 'extension' : 'sense';
      case 'size-lf':
        this.#digits = 0;
        if (byte !== LF) return 'sense';
        return this.#left > 0 ? 'data' : 'trailer';
      case 'data-cr':
        return byte === CR ? 'data-lf' : 'sense';
      case 'data-lf':
        return byte === LF ? 'size' : 'sense';
      case 'trailer':
        if (byte === CR) return this.#line === '' ? 'last-lf' : 'trailer-lf';
        this.#extras += 1;
        this.#line += String.fromCharCode(byte);
        return ((classOf[byte] as number) & VALUE) !== 0 && this.#extras < MAX_EXTRAS ? 'trailer' : 'sense';
      case 'trailer-lf':
        if (byte !== LF || !isField(this.#line)) return 'sense';
        this.trailers.push(this.#line);
        this.#line = '';
        return 'trailer';
      case 'last-lf':
        return byte === LF ? 'nothing' : 'sense';
      default:
        return 'sense';
    }
  }
}

function hexadecimal(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** A name, a colon, and whatever value. */
function isField(line: string): boolean {
  const colon = line.indexOf(':');
  for (let i = 0; i < colon; i += 1)
    if (((classOf[line.charCodeAt(i)] as number) & TOKEN) === 0) return false;
  return colon > 0 && line.charCodeAt(colon) === COLON;
}
