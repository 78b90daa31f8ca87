import { editDistance } from '../nearest.ts';
import { words } from '../tokens/words.ts';

const WORDS_IN_A_NAME = 3;
const known = new Set(words);
const longest = Math.max(...words.map((word) => word.length));
const MAX_SUGGESTIONS = 3;

/**
 * What is wrong with a name as it is spelled, one sentence a fault: by the list of words that names are drawn from, which
 * is public, and never by the names that there are.
 */
export function misspellings(name: string): string[] {
  const parts = name.split('-').filter((part) => part !== '');
  if (parts.length !== WORDS_IN_A_NAME)
    return [`An address has ${WORDS_IN_A_NAME} words; this one has ${parts.length}.`];
  return parts
    .filter((part) => !known.has(part))
    .map((part) => {
      const nearest = nearestWords(part);
      const hint =
        nearest.length > 0 ? ` Did you mean ${nearest.map((word) => `“${word}”`).join(' or ')}?` : '';
      return `No address has the word “${part}” in it.${hint}`;
    });
}

/** The words that are one letter off, or else two. */
function nearestWords(part: string): string[] {
  if (part.length > longest + 2) return [];
  const near: string[][] = [[], []];
  for (const word of words) {
    if (Math.abs(word.length - part.length) > 2) continue;
    near[editDistance(part, word) - 1]?.push(word);
  }
  const [one = [], two = []] = near;
  return (one.length > 0 ? one : two).slice(0, MAX_SUGGESTIONS);
}
