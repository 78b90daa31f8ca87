/** Something a person can mend: the message says what happened, why, and what to do next. */
export class LabError extends Error {
  override name = 'LabError';
}

/** The last lines of a command's or daemon's output, for an error message. */
export function lastLines(text: string, count = 10): string {
  return text
    .trim()
    .split('\n')
    .slice(-count)
    .map((line) => `  ${line}`)
    .join('\n');
}
