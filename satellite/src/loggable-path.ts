import { words } from './tokens/words.ts';

const listed: ReadonlySet<string> = new Set(words);

/** Whose path has been encoded more often means to hide something. */
const MOST_DECODINGS = 4;

/** Printable ASCII but `#`, `/` and `?`, which mean something where they stand. */
const ENCODED = /%(2[0-24-9a-e]|3[0-9a-e]|[4-6][0-9a-f]|7[0-9a-e])/gi;

/** Where a query begins, or what somebody took for one. */
const QUERY = /[?#;&]/;

/** The same in a path without needless encodings: mail and chat programs make links like `/lab%3Ftoken=…`. */
const ENCODED_QUERY = /[;&]|%(?:3f|23)/i;

/** At least three words with hyphens, of whatever list: tokens of others can be taken over. */
const NAME = /([a-z]{1,9})(?:-[a-z]{1,9}){2,}/gi;

/** What may be three words of the list. Most paths have nothing of the kind, and are done with quickly. */
const THREE = /[a-z]{3}(?:[^a-z/%]|%[0-9a-f]{2})+[a-z]{3,9}(?:[^a-z/%]|%[0-9a-f]{2})+[a-z]{3}/i;

/** Letters that belong to no percent sign. */
const LETTERS = /((?<!%[0-9a-f]?)[a-z]+)/i;

/** A request's path as it may be logged: no query (it carries secrets), tokens shortened. */
export function loggablePath(url: string): string {
  // Another form than a path holds a host, and may hold a password.
  if (!url.startsWith('/')) return '(not a path)';
  const path = before(QUERY, url);
  const isEncoded = path.includes('%');
  const plain = isEncoded ? decoded(path) : path;
  if (plain === undefined) return '(encoded too often)';
  const asked = isEncoded ? before(ENCODED_QUERY, plain) : plain;
  const short = withoutListed(asked.includes('-') ? asked.replace(NAME, '$1-…') : asked);
  return short === plain ? path : short;
}

/** The text up to the first match. */
function before(pattern: RegExp, text: string): string {
  const end = text.search(pattern);
  return end < 0 ? text : text.slice(0, end);
}

/** Without what has been encoded and need not be, also where that was done again and again. */
function decoded(path: string): string | undefined {
  let plain = path;
  for (let round = 0; round <= MOST_DECODINGS; round += 1) {
    const next = plain.replace(ENCODED, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    if (next === plain) return plain;
    plain = next;
  }
  return undefined;
}

/**
 * Shortens what somebody has written with other signs for the hyphens. Names of files look like that, too, and so do words
 * between slashes: only words of the list count here, and no slash is between them.
 */
function withoutListed(path: string): string {
  if (!THREE.test(path)) return path;
  const parts = path.split(LETTERS);
  let text = parts[0] as string;
  // Letters are at odd places, what is between them at even ones.
  for (let at = 1; at < parts.length; at += 2) {
    const last = lastOfListed(parts, at);
    text += parts[at];
    if (last - at >= 4) {
      text += '-…';
      at = last;
    }
    text += parts[at + 1];
  }
  return text;
}

/** Where the words of the list that begin at `at` end, as far as one follows the other. */
function lastOfListed(parts: readonly string[], at: number): number {
  const isListed = (i: number): boolean => listed.has((parts[i] ?? '').toLowerCase());
  let last = at;
  if (!isListed(at)) return at;
  while (isListed(last + 2) && !/\/|%2f/i.test(parts[last + 1] as string)) last += 2;
  return last;
}
