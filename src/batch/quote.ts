/**
 * One word of a POSIX shell that means exactly `text`, whatever characters it holds.
 * @throws RangeError for a NUL character, which no argument of a process can hold.
 */
export function shellQuote(text: string): string {
  if (text.includes('\0')) throw new RangeError('a shell word cannot hold a NUL character');
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(text)) return text;
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
