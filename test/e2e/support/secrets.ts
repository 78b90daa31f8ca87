import { readdirSync, readFileSync } from 'node:fs';
import { labExec, type NodeName, type Place } from '../../../lab/lab.ts';

const nodes: readonly NodeName[] = ['login', 'c1', 'c2'];
const trees = ['/home', '/tmp', '/var', '/run', '/etc', '/dev/shm'];

/**
 * Every file of the lab's machines in which one of the secrets can be read by a user (`root`: by anybody at all).
 * The secrets reach grep through standard input: an argument would find itself.
 */
export async function filesWith(secrets: readonly string[], user = 'root'): Promise<string[]> {
  const found = await Promise.all(
    nodes.map(async (node) => {
      const { stdout } = await labExec(['grep', '-rslF', '-f', '-', ...trees], {
        user,
        node,
        cwd: '/',
        input: secrets.join('\n'),
        reject: false,
      });
      return stdout
        .split('\n')
        .filter((file) => file !== '')
        .map((file) => `${node}:${file}`);
    }),
  );
  return found.flat();
}

/** Processes of the whole machine with a secret in their arguments or their environment. */
export function processesWith(secrets: readonly string[]): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => ['cmdline', 'environ'].map((part) => `/proc/${pid}/${part}`))
    .filter((file) => {
      const content = readQuietly(file);
      return secrets.some((secret) => content.includes(secret));
    });
}

/** A process may end while it is looked at. */
function readQuietly(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** Everything that Slurm tells a user of a job: its record, its accounting, its script, its environment. */
export async function schedulerRecords(jobId: string, place: Place): Promise<string> {
  const commands = [
    ['scontrol', 'show', 'job', '-dd', jobId],
    ['scontrol', 'write', 'batch_script', jobId, '-'],
    ['sacct', '-P', '-j', jobId, '-o', 'ALL'],
    ['sacct', '-j', jobId, '--batch-script'],
    ['sacct', '-j', jobId, '--env-vars'],
    ['squeue', '-j', jobId, '-O', 'ALL'],
  ];
  const results = await Promise.all(commands.map((command) => labExec(command, { ...place, reject: false })));
  return results.map(({ stdout, stderr }) => `${stdout}\n${stderr}`).join('\n');
}
