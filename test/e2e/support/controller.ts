import { readFileSync, writeFileSync } from 'node:fs';
import { killDaemon, labPath, startDaemon } from '../../../lab/lab.ts';

/**
 * Runs something while the lab's slurmctld is away. Slurm's commands give up on it after about a second meanwhile, instead of
 * nine: MessageTimeout, see slurm.conf(5), is what they try for.
 */
export async function withoutController<T>(whileAway: () => Promise<T>): Promise<T> {
  const config = labPath('etc/slurm/slurm.conf');
  const usual = readFileSync(config, 'utf8');
  await killDaemon('slurmctld');
  writeFileSync(config, `${usual}MessageTimeout=2\n`);
  try {
    return await whileAway();
  } finally {
    writeFileSync(config, usual);
    await startDaemon('slurmctld');
  }
}
