/** Output that can't be written: the link of a session, and all else. */
import { OutputError } from '../errors.ts';
import { systemWords } from '../file-system.ts';

/** It has been said, or will be. */
let failed = false;

/**
 * Writes that without which nobody could find the session.
 * @throws OutputError where it can't be written; not where the reader has gone, who may have read it
 */
export async function writeLink(text: string): Promise<void> {
  const error = await new Promise<NodeJS.ErrnoException | null | undefined>((resolve) => {
    process.stdout.write(text, (problem) => {
      // The stream's own event comes after this, and would say it once more.
      if (problem && !isReaderGone(problem)) failed = true;
      resolve(problem);
    });
  });
  if (!error || isReaderGone(error)) return;
  throw new OutputError(
    `The link can't be written (${systemWords(error)}), so the session was ended.`,
    'See where the output goes, and start again.',
  );
}

/** Says once that something can't be written; the status of a process that was fine otherwise tells it, too. */
export function watchOutput(): { readonly hasFailed: () => boolean } {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (failed || isReaderGone(error)) return;
      failed = true;
      process.stderr.write(`start-jupyter: The output can't be written: ${systemWords(error)}.\n`);
    });
  }
  return { hasFailed: () => failed };
}

/** Whoever reads our output may stop before its end ("| head"): what was begun goes on to its own end, unheard. */
function isReaderGone({ code }: NodeJS.ErrnoException): boolean {
  return code === 'EPIPE';
}
