/** What a check of `doctor` comes to. */
import { PersonError } from '../errors.ts';

export type Result = 'ok' | 'warn' | 'fail' | 'skipped';

export interface Finding {
  readonly title: string;
  readonly result: Result;
  /** What was seen, in words. */
  readonly found: string;
  /** What to do about it. */
  readonly advice?: string;
}

/** Findings that belong together. */
export interface Area {
  readonly name: string;
  /** What `doctor` ends with where this is the first area in which something failed. */
  readonly exitCode: 3 | 4 | 5;
  readonly findings: readonly Finding[];
}

export const ok = (title: string, found: string): Finding => ({ title, result: 'ok', found });
export const warn = (title: string, found: string, advice: string): Finding => ({
  title,
  result: 'warn',
  found,
  advice,
});
export const fail = (title: string, found: string, advice?: string): Finding => ({
  title,
  result: 'fail',
  found,
  ...(advice === undefined ? {} : { advice }),
});
/** @param why completes "not looked at: …" */
export const skipped = (title: string, why: string): Finding => ({ title, result: 'skipped', found: why });

export function count(areas: readonly Area[], result: Result): number {
  return areas.flatMap(({ findings }) => findings).filter((finding) => finding.result === result).length;
}

/** 0 where nothing failed. */
export function exitCode(areas: readonly Area[]): number {
  return areas.find(({ findings }) => findings.some(({ result }) => result === 'fail'))?.exitCode ?? 0;
}

/**
 * A complaint as a finding.
 * @throws what isn't a person's to mend
 */
export function complained(title: string, error: unknown): Finding {
  if (!(error instanceof PersonError)) throw error;
  return fail(title, error.message, error.hint);
}
