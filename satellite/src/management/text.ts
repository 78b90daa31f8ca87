/** The longest name of a job's state, in UTF-16 units; Slurm's have at most 13. */
export const MAX_STATE = 40;

/**
 * Text of somebody else's for a page or a terminal: no control characters but line feeds, no marks that turn the
 * direction of what follows, no halves of characters, at most `length` UTF-16 units.
 */
export function cleanText(text: string, length: number): string {
  return text
    .replace(/\r\n?/g, '\n')
    .replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, ' ')
    .trim()
    .slice(0, length)
    .toWellFormed();
}
