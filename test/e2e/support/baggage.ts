import { expect } from 'vitest';
import { labExec } from '../../../lab/lab.ts';

/** What a person brings along, as options, and what the job says of it from inside. */
export interface Baggage {
  readonly options: readonly string[];
  /** The environment in which Jupyter started, and where. */
  report(): Promise<Readonly<Record<string, string>>>;
  /** What that must be. `job`: the scheduler's name of the job. */
  expected(job: string): Readonly<Record<string, unknown>>;
}

/**
 * Makes a start directory and a setup file in alice's home. The directory's name has a line that a scheduler may take for
 * its directive.
 */
export async function baggage(): Promise<Baggage> {
  const directory = "/home/alice/it's\n#$ -P nosuch\n#SBATCH --account=nosuch\n$(touch pwned)";
  await labExec(['mkdir', '-p', directory]);
  await labExec(['bash', '-c', 'cat >report.sh'], { input: 'env -0 >~/report\n' });
  return {
    options: [
      ...['-d', directory, '--setup', 'report.sh', '--env', 'GREETING=hello world'],
      ...['--scratch-dir', 'scratch/{job}'],
    ],
    report: async () => {
      const { stdout } = await labExec(['cat', 'report']);
      const pairs = stdout.split('\0').map((line) => line.split(/=(.*)/s).slice(0, 2));
      return Object.fromEntries(pairs);
    },
    expected: (job) => ({
      PWD: directory,
      GREETING: 'hello world',
      TMPDIR: expect.stringContaining(`/home/alice/scratch/${job}/sj-`),
    }),
  };
}
