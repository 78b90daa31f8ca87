import { readdirSync, readFileSync, statSync } from 'node:fs';
import { execa } from 'execa';
import { beforeAll, expect, test } from 'vitest';
import { down, labExec, status, up } from '../../lab/lab.ts';

// The packages stay installed, so they have to be there before the machine is looked at.
beforeAll(async () => {
  await up();
  await down();
});

/** What a lab could leave on a machine. */
async function snapshot(): Promise<Record<string, unknown>> {
  const { stdout: interfaces } = await execa('ip', ['-o', 'addr']);
  const { stdout: links } = await execa('ip', ['-o', 'link']);
  // Process names rather than numbers; kernel threads and this test's own tools come and go.
  const { stdout: processes } = await execa('ps', ['-eo', 'user:20=,args=']);
  const daemons = processes
    .split('\n')
    .filter((line) => !line.endsWith('<defunct>'))
    .filter((line) => /slurm|munge|mariadb|dnsmasq|satellite.js|start-jupyter-lab/.test(line));
  const listing = (directory: string): string[] => readdirSync(directory).sort();
  const etc = readdirSync('/etc', { recursive: true, encoding: 'utf8' }).sort();
  return {
    interfaces: interfaces.replace(/valid_lft.*$/gm, ''),
    links: links.split('\n').map((line) => line.split(':').slice(1, 2).join()),
    daemons,
    mounts: readFileSync('/proc/self/mountinfo', 'utf8'),
    etc,
    etcChanged: statSync('/etc').mtimeMs,
    passwd: readFileSync('/etc/passwd', 'utf8'),
    hosts: readFileSync('/etc/hosts', 'utf8'),
    ...Object.fromEntries(
      ['/run', '/var/lib', '/opt', '/home', '/var/log'].map((path) => [path, listing(path)]),
    ),
  };
}

test('down leaves the machine as it was, whatever runs in the lab and whatever was ended from outside', async () => {
  const before = await snapshot();
  expect(before.daemons).toEqual([]);
  await up();
  expect(status().up).toBe(true);
  expect(await snapshot()).not.toEqual(before);

  // As a restart of the machine does: everything is gone but the files.
  const { stdout } = await execa('pgrep', ['-f', '^start-jupyter-lab-']);
  for (const pid of stdout.split('\n')) process.kill(Number(pid), 'SIGKILL');
  await up();
  expect(status().up).toBe(true);
  expect((await labExec(['sinfo', '-h', '-o', '%D', '-p', 'compute'])).stdout).toBe('2');

  const { stdout: id } = await labExec([
    'sbatch',
    '--parsable',
    '--wrap',
    "trap '' TERM; sleep 900 & wait; sleep 900",
  ]);
  await expect
    .poll(async () => (await labExec(['squeue', '-h', '-j', id, '-o', '%T'])).stdout, { timeout: 30_000 })
    .toBe('RUNNING');
  await down();
  expect(await snapshot()).toEqual(before);
  expect(status().up).toBe(false);
});

test('down of a lab that is not there is no error', async () => {
  await down();
  await expect(labExec(['true'])).rejects.toThrow(
    'the lab\'s login is not up. Type "npm run lab -- up" first.',
  );
});
