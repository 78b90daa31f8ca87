/** What sbatch(1) says when it refuses a job, which seldom names an option (slurm_errno.c of its source). */
import type { OptionKey } from '../../options.ts';

const nodes = ['partition', 'nodes', 'cpus', 'memory', 'gpu', 'gres', 'constraint'] as const;
const rights = ['account', 'partition', 'qos'] as const;

/** Slurm's words, and the options that they may be about. */
const refusals: readonly [said: RegExp, about: readonly OptionKey[]][] = [
  [/^Requested (?:node|partition) configuration/, nodes],
  [/^Invalid generic resource/, ['gpu', 'gres', 'partition']],
  [/^Memory (?:specification|required)/, ['memory', 'partition']],
  [/^Node count specification/, ['nodes', 'partition']],
  [/^More processors requested/, ['nodes', 'cpus', 'partition']],
  [/^Invalid feature/, ['constraint', 'partition']],
  [/^Requested time limit/, ['time', 'partition', 'qos']],
  [/^Invalid (?:account|qos)/i, rights],
  [/^Job violates accounting\/QOS policy/, [...rights, 'time', ...nodes.slice(1)]],
  [/^Invalid partition|^User's group not permitted/, ['partition']],
  [/reservation/i, ['reservation', 'account', 'partition']],
  [/^Access\/permission denied/, [...rights, 'reservation']],
];

/** The options that a refusal may be about; undefined where nobody knows. */
export function aboutOf(said: string): readonly OptionKey[] | undefined {
  return refusals.find(([pattern]) => pattern.test(said))?.[1];
}
