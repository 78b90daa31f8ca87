/** Asks one question on the terminal. Everything goes to stderr: stdout is for the link. */
import { once } from 'node:events';
import { InterruptedError } from '../errors.ts';
import type { Choice, Question } from './questions.ts';

/** Rows of a list that are shown at once. */
const pageSize = 12;

/**
 * @param problemOf why a text can't be taken
 * @returns the answer
 * @throws InterruptedError on Esc, Ctrl-C and Ctrl-D, when the terminal goes away, and on a signal
 */
export async function ask(
  question: Question,
  problemOf: (text: string) => string | undefined,
  interrupted: AbortSignal,
): Promise<string> {
  const { input, select } = await import('@inquirer/prompts');
  const { message, preferred } = question;
  return untilLeft(interrupted, (context) =>
    question.kind === 'choice'
      ? select(
          {
            message:
              question.choices.length > pageSize ? `${message}, ${question.choices.length} in all` : message,
            default: preferred,
            loop: false,
            pageSize,
            choices: question.choices.map(listed),
          },
          context,
        )
      : input(
          { message, default: preferred, validate: (text) => problemOf(text.trim()) ?? true },
          context,
        ).then((text) => text.trim()),
  );
}

export type Decision = 'launch' | 'print' | 'cancel';

/** The last question of all. @throws InterruptedError */
export async function confirmLaunch(interrupted: AbortSignal): Promise<Decision> {
  const { select } = await import('@inquirer/prompts');
  return untilLeft(interrupted, (context) =>
    select<Decision>(
      {
        message: 'Go ahead?',
        loop: false,
        choices: [
          { value: 'launch', name: 'launch', short: 'launch' },
          { value: 'print', name: 'print the command line only', short: 'print' },
          { value: 'cancel', name: 'cancel', short: 'cancel' },
        ],
      },
      context,
    ),
  );
}

function listed({ value, label, short, disabled }: Choice) {
  // One column stays free, and two are the cursor's.
  const room = (process.stderr.columns || 80) - 3 - (disabled === undefined ? 0 : disabled.length + 1);
  const name = label.length > room ? `${label.slice(0, Math.max(1, room - 1))}…` : label;
  return { value, name, short, ...(disabled === undefined ? {} : { disabled }) };
}

interface Context {
  readonly output: NodeJS.WritableStream;
  readonly signal: AbortSignal;
}

/** Ctrl-C and signals are the prompt's own ways out; the others would leave it waiting, or end without a word. */
async function untilLeft<T>(interrupted: AbortSignal, prompt: (context: Context) => Promise<T>): Promise<T> {
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
    throw new InterruptedError('Interrupted; nothing was started.');
  } finally {
    process.stdin.off('keypress', onKeypress);
    leaving.abort();
  }
}
