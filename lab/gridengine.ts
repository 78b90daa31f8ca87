import { readFileSync, writeFileSync } from 'node:fs';
import { execa } from 'execa';
import { LabError, lastLines } from './errors.ts';
import { enter } from './hosts.ts';
import { labPath } from './paths.ts';

/** Makes an empty Grid Engine cell, and its administrator known in the lab. */
export async function makeGridEngine(): Promise<void> {
  // The packages came after /etc was copied.
  for (const file of ['passwd', 'group', 'shadow']) {
    const isAdministrator = (line: string): boolean => line.startsWith('sgeadmin:');
    const line = readFileSync(`/etc/${file}`, 'utf8').split('\n').find(isAdministrator);
    const own = readFileSync(labPath(`etc/${file}`), 'utf8');
    if (line !== undefined && !own.split('\n').some(isAdministrator))
      writeFileSync(labPath(`etc/${file}`), `${own}${line}\n`);
  }
  // The commands' wrapper reads it: without, it goes by the machine's environment.
  writeFileSync(labPath('etc/default/gridengine'), 'SGE_ROOT=/var/lib/gridengine\nSGE_CELL=default\n');
  await run('make');
}

/** Tells a running qmaster of hosts, queues, a parallel environment and a project. */
export async function configureGridEngine(): Promise<void> {
  await run('configure', ['setpriv', '--reuid=sgeadmin', '--regid=sgeadmin', '--init-groups', '--']);
}

async function run(step: 'make' | 'configure', as: readonly string[] = []): Promise<void> {
  const [command = '', ...args] = enter('login', [
    ...as,
    'bash',
    '/opt/start-jupyter/lab/gridengine.sh',
    step,
  ]);
  const env = { PATH: '/usr/sbin:/usr/bin', HOME: '/', LANG: 'C.UTF-8' };
  const result = await execa(command, args, {
    env,
    extendEnv: false,
    reject: false,
    all: true,
    stdin: 'ignore',
  });
  if (result.exitCode !== 0)
    throw new LabError(`could not set up Grid Engine (${step}):\n${lastLines(result.all, 20)}`);
}
