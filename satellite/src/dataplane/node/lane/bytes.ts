/** What a byte may be part of. */
export const TOKEN = 1;
export const VALUE = 2;
export const TARGET = 4;
export const REQUEST_NAME = 8;

const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SPACE = 0x20;
export const SLASH = 0x2f;
export const COLON = 0x3a;

/**
 * What each byte may be part of: a field's name (a token, RFC 9110 section 5.6.2), its value (section 5.5) or a path with
 * its query (RFC 3986 section 3.3, and what browsers send beside that). No underscores in names of a request: to CGI they
 * are hyphens.
 */
export const classOf: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  return (
    (/[A-Za-z0-9!#$%&'*+.^_`|~-]/.test(character) ? TOKEN : 0) |
    (/[A-Za-z0-9!#$%&'*+.^`|~-]/.test(character) ? REQUEST_NAME : 0) |
    (byte === HTAB || (byte >= SPACE && byte !== 0x7f) ? VALUE : 0) |
    (byte > SPACE && byte < 0x7f && character !== '#' ? TARGET : 0)
  );
});

/**
 * A first look at a name: can it be one of these, by its first letter and its length? Saves making a string of each.
 * A name that ends in `*` stands for all that begin like it.
 */
export function suspicion(names: Iterable<string>): (first: number, length: number) => boolean {
  const table = new Uint8Array(32 * 32);
  for (const name of names) {
    const row = (name.charCodeAt(0) & 31) << 5;
    if (name.endsWith('*')) table.fill(1, row + name.length - 1, row + 32);
    else table[row + name.length] = 1;
  }
  return (first, length) => table[((first & 31) << 5) | Math.min(length, 31)] === 1;
}

/** A field's value, from the colon to the end of the line, without the white space around it (RFC 9110 section 5.5). */
export function valueIn(bytes: Buffer, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && (bytes[start] === SPACE || bytes[start] === HTAB)) start += 1;
  while (end > start && (bytes[end - 1] === SPACE || bytes[end - 1] === HTAB)) end -= 1;
  return bytes.toString('latin1', start, end);
}
