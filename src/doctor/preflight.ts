/** The checks of a launch as findings. */
import type { Settings } from '../config/layers.ts';
import type { LaunchSpec } from '../launch-spec.ts';
import type { LaunchCheck } from '../preflight.ts';
import { type Finding, fail, ok } from './finding.ts';

/** Undefined where this launch has no need of it. */
export function preflightFinding<Known extends readonly unknown[]>(
  { title, wanted, problem }: LaunchCheck<Known>,
  spec: LaunchSpec,
  settings: Settings,
  ...known: Known
): Finding | undefined {
  const subject = wanted(spec);
  if (subject === undefined) return undefined;
  const found = problem(spec, settings, ...known);
  return found === undefined ? ok(title, subject) : fail(title, found.message, found.hint);
}
