/** Asks one question on the terminal. */
import { prompted } from '../ui/prompt.ts';
import type { Choice, Question } from './questions.ts';

const left = 'Interrupted; nothing was started.';

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
  return prompted(
    (context) =>
      question.kind === 'choice'
        ? select(
            {
              message:
                question.choices.length > pageSize
                  ? `${message}, ${question.choices.length} in all`
                  : message,
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
    interrupted,
    left,
  );
}

export type Decision = 'launch' | 'print' | 'cancel';

/** The last question of all. @throws InterruptedError */
export async function confirmLaunch(interrupted: AbortSignal): Promise<Decision> {
  const { select } = await import('@inquirer/prompts');
  return prompted(
    (context) =>
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
    interrupted,
    left,
  );
}

function listed({ value, label, short, disabled }: Choice) {
  // One column stays free, and two are the cursor's.
  const room = (process.stderr.columns || 80) - 3 - (disabled === undefined ? 0 : disabled.length + 1);
  const name = label.length > room ? `${label.slice(0, Math.max(1, room - 1))}…` : label;
  return { value, name, short, ...(disabled === undefined ? {} : { disabled }) };
}
