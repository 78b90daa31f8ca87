import path from 'node:path';

/**
 * The environment for a scheduler's command, without the variables that bear its name: `SQUEUE_NAMES` of squeue,
 * `SCANCEL_INTERACTIVE` of scancel. They are options for which nobody asked here: jobs would be missing in an answer, or a job
 * go on that has been cancelled. What says where the scheduler is has other names, such as `SLURM_CONF`.
 */
export function withoutUnaskedOptions(command: string, environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own = `${path.basename(command).toUpperCase()}_`;
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith(own)));
}
