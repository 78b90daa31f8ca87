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
export function testWith(...programs: readonly string[]): {
  readonly run: typeof test | typeof test.skip;
  readonly note: string;
} {
  const missing = programs.find((program) => !hasProgram(program));
  return missing !== undefined && !process.env.START_JUPYTER_TEST_COMPLETE
    ? { run: test.skip, note: ` (left out: ${missing} is not installed)` }
    : { run: test, note: '' };
}
