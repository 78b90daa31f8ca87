import { UsageError } from '../errors.ts';
import { shown } from '../values.ts';

/**
 * One word for the login shell at the other end of ssh, which puts its arguments together with blanks between and gives them
 * to whatever shell the account has. A backslash before each character that could mean something is read alike by sh, bash,
 * zsh, csh, tcsh and fish; quotes are not (fish takes backslashes between them for its own, csh exclamation marks).
 * @throws UsageError for line breaks, which no such word can hold in csh
 */
export function remoteWord(text: string): string {
  if (/[\0\r\n]/.test(text))
    throw new UsageError(
      `${shown(text)}: a line break can't be handed on through ssh.`,
      'Leave it out, or launch on the login node.',
    );
  if (text === '') return "''";
  return text.replace(/[^\w@%+:,./\u0080-\u{10ffff}-]/gu, '\\$&');
}

/** The path of a program there; `~/` is that account's home. */
export function remoteProgram(program: string): string {
  return program.startsWith('~/') ? `~/${remoteWord(program.slice(2))}` : remoteWord(program);
}
