/** A question on the terminal, and every way out of it. Prompts go to stderr: stdout is for the link. */
import { once } from 'node:events';
import { InterruptedError } from '../errors.ts';

/** What Inquirer's prompts take as their second argument. */
export interface PromptContext {
  readonly output: NodeJS.WritableStream;
  readonly signal: AbortSignal;
}

/**
 * Ctrl-C is a prompt's own way out. Esc and signals would leave it waiting; Ctrl-D and a terminal that goes away would be
 * noticed only while the process exits, when nothing can be undone any more.
 * @param left what is said then
 * @throws InterruptedError
 */
export async function prompted<T>(
  prompt: (context: PromptContext) => Promise<T>,
  interrupted: AbortSignal,
  left: string,
): Promise<T> {
  const leaving = new AbortController();
  const onKeypress = (_: unknown, key: { name?: string; ctrl?: boolean } | undefined) => {
    if (key?.name === 'escape' || (key?.ctrl && key.name === 'd')) leaving.abort();
  };
  process.stdin.on('keypress', onKeypress);
  once(process.stdin, 'end', { signal: leaving.signal }).then(
    () => leaving.abort(),
    () => {},
  );
  try {
    return await prompt({
      output: process.stderr,
      signal: AbortSignal.any([interrupted, leaving.signal]),
    });
  } catch (error) {
    if (!(error instanceof Error) || !/^(?:ExitPrompt|AbortPrompt)Error$/.test(error.name)) throw error;
    throw new InterruptedError(left);
  } finally {
    process.stdin.off('keypress', onKeypress);
    leaving.abort();
  }
}
