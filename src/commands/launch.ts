/** `start-jupyter [launch]`: from the command line to one URL. */

import { plannedAddress } from '../access/open.ts';
import { jobScript } from '../batch/job-script.ts';
import { shellQuote } from '../batch/quote.ts';
import { PersonError } from '../errors.ts';
import { interruption } from '../interruption.ts';
import type { Launch } from '../launch/launch.ts';
import { type LaunchSpec, launchSpec, schedulerOf } from '../launch-spec.ts';
import type { OptionValues } from '../options.ts';
import { checkThisMachine } from '../preflight.ts';
import { resolve, sayIgnored } from '../resolve.ts';
import { checkSchedulerArguments } from '../scheduler-arguments.ts';
import type { SessionReport } from '../sessions/session.ts';
import { createProgress } from '../ui/progress.ts';

/**
 * @param typed options as read from the command line
 * @param schedulerArguments what stood after `--`, for the scheduler as it is
 * @returns the exit code
 */
export async function run(typed: OptionValues, schedulerArguments: readonly string[]): Promise<number> {
  if (!typed.interactive) return await launchAs(typed, schedulerArguments);
  const { interview } = await import('../interactive/interview.ts');
  const interrupted = interruption();
  const check = (spec: LaunchSpec) => checkSchedulerArguments(spec, schedulerArguments);
  const answered = await interview(typed, schedulerArguments, check, interrupted);
  return answered === undefined ? 0 : await launchAs(answered, schedulerArguments, interrupted);
}

async function launchAs(
  typed: OptionValues,
  schedulerArguments: readonly string[],
  earlierInterruption?: AbortSignal,
): Promise<number> {
  const { settings, system } = await resolve(typed, { offline: Boolean(typed.dryRun) });
  sayIgnored(settings);
  if (typed.info) {
    const { printInfo } = await import('./launch-info.ts');
    printInfo(settings, system, { json: Boolean(typed.json) });
    return 0;
  }
  let known: Partial<SessionReport> = { system: system.name };
  try {
    const spec = launchSpec(settings, system, process.cwd());
    known = { ...known, scheduler: schedulerOf(spec), access: spec.access, directory: spec.directory };
    checkSchedulerArguments(spec, schedulerArguments);
    // A template that can't be used is refused before anybody is contacted.
    const planned = typed.dryRun || spec.template ? jobScript(spec, 'dryrun', plannedAddress(spec)) : '';
    if (typed.dryRun) {
      process.stdout.write(planned);
      if (schedulerArguments.length > 0 && !settings.quiet?.value) {
        process.stderr.write(
          `It would be submitted with these options, too: ${schedulerArguments.map(shellQuote).join(' ')}\n`,
        );
      }
      return 0;
    }
    const quiet = settings.quiet?.value ?? false;
    return await begin(
      {
        spec,
        settings,
        output: { quiet, json: Boolean(typed.json) },
        progress: createProgress(process.stderr, quiet),
        interrupted: earlierInterruption ?? interruption(),
      },
      schedulerArguments,
    );
  } catch (error) {
    if (error instanceof PersonError) error.report ??= known;
    throw error;
  }
}

async function begin(launch: Launch, schedulerArguments: readonly string[]): Promise<number> {
  const { spec, settings, progress } = launch;
  try {
    if (spec.here) return await runHere(launch);
    checkThisMachine(spec, settings);
    const { launchJob } = await import('../launch/job.ts');
    return await launchJob(launch, schedulerArguments);
  } finally {
    progress.end();
  }
}

async function runHere(launch: Launch): Promise<number> {
  const { settings, progress, interrupted } = launch;
  const { offerJupyter } = await import('../jupyter-offer.ts');
  const accept = settings.yes?.value ?? false;
  const spec = await offerJupyter(launch.spec, { accept, progress, interrupted });
  checkThisMachine(spec, settings);
  const { launchHere } = await import('../launch/here.ts');
  return await launchHere({ ...launch, spec });
}
