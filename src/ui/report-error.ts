/** The one printer of errors. */
import { PasteError, PersonError } from '../errors.ts';
import { printable } from '../values.ts';
import { paint } from './style.ts';

/** Says on stderr what happened and what to do; returns the exit code. A bug shows its stack and where to report it. */
export function reportError(error: unknown): number {
  const mark = paint(process.stderr, ['red', 'bold'], 'start-jupyter:');
  if (error instanceof PersonError) {
    process.stderr.write(`${mark} ${printable(error.message)}\n`);
    if (error.hint !== undefined) process.stderr.write(`  ${printable(error.hint)}\n`);
    if (error instanceof PasteError) process.stderr.write(`${printable(error.line)}\n`);
    return error.exitCode;
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(
    `${mark} This is a bug in start-jupyter, please report it with these lines:\n${stack}\n`,
  );
  return 70;
}
