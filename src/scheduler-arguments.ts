/** What stands after "--" on the command line: it goes to the scheduler as it is, where a launch can do with it. */
import { UsageError } from './errors.ts';
import type { LaunchSpec } from './launch-spec.ts';
import type { Unfit } from './schedulers/arguments.ts';
import { type SubmittingScheduler, schedulers } from './schedulers/registry.ts';
import { shown } from './values.ts';

const words: Readonly<Record<Unfit['why'], (command: string) => readonly [what: string, hint: string]>> = {
  own: () => ['start-jupyter sets this option itself; the session would not work without.', 'Leave it out.'],
  time: () => [
    'start-jupyter sets the time limit itself, and the job must know it.',
    'Write it before the "--": -t LIMIT.',
  ],
  answer: (command) => [`${command} would answer this and submit nothing.`, 'Leave it out.'],
  script: (command) => [
    `this belongs to no option: ${command} would run it in place of the session.`,
    'Leave it out; for a job script of your own write -b FILE, for one to source before Jupyter starts --setup FILE.',
  ],
  unclear: (command) => [
    `this option is not known, and ${command} might take the word after it for a script, in place of the session.`,
    'Write its value as --option=value.',
  ],
  incomplete: () => ['this option needs a value.', 'Write one after it, or leave it out.'],
};

/** @throws UsageError for arguments that nobody takes, or that a launch can't pass on */
export function checkSchedulerArguments(spec: LaunchSpec, args: readonly string[]): void {
  if (args.length === 0) return;
  if (spec.here)
    throw new UsageError(
      `"-- ${args.join(' ')}" is for a scheduler, and nothing is submitted here.`,
      'Leave it out.',
    );
  const scheduler = schedulers[spec.system.scheduler as SubmittingScheduler];
  // Where the script has directives of its own, the launcher sets no limit.
  const found = scheduler
    .unfit(args)
    .find(({ why }) => why !== 'time' || spec.resources.timeLimit !== undefined);
  if (found === undefined) return;
  const [what, hint] = words[found.why](scheduler.commands[0] ?? scheduler.title);
  throw new UsageError(`"-- ${shown(found.typed)}": ${what}`, hint);
}
