import { execFileSync } from 'node:child_process';
import { test } from 'vitest';

/** Whether a program is on this machine's PATH. */
export function hasProgram(name: string): boolean {
  try {
    execFileSync('/bin/sh', ['-c', 'command -v "$0"', name], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/**
 * `test`, or a skipped one whose name says which program is missing. Where nothing may be left out
 * (START_JUPYTER_TEST_COMPLETE) the tests run and fail.
 */
export function testWith(program: string): {
  readonly run: typeof test | typeof test.skip;
  readonly note: string;
} {
  const leaveOut = !hasProgram(program) && !process.env.START_JUPYTER_TEST_COMPLETE;
  return leaveOut
    ? { run: test.skip, note: ` (left out: ${program} is not installed)` }
    : { run: test, note: '' };
}
