import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { isAlive } from '../../satellite/test/alive.ts';
import {
  endCommands,
  runCommand,
  startCommand,
  submissionEnvironment,
} from '../../src/schedulers/command.ts';
import { temporaryDirectory } from '../support/directories.ts';

it('takes out of the environment what would bind the job to an outer one or to the login node', () => {
  const kept = {
    HOME: '/home/a',
    PATH: '/bin',
    SLURM_CONF: '/etc/slurm/slurm.conf',
    LANG: 'C',
    MODULEPATH: '/m',
    PBS_CONF_FILE: '/etc/pbs.conf',
    PBS_DEFAULT: 'pbs-head',
    SGE_ROOT: '/opt/sge',
    SGE_CELL: 'default',
    LSF_ENVDIR: '/opt/lsf/conf',
    LSB_DEFAULTQUEUE: 'normal',
    LS_COLORS: 'x',
  };
  const leaking = {
    SLURM_JOB_ID: '1',
    SLURM_CPU_BIND: 'x',
    SLURM_CONF_SERVER: 'x',
    SBATCH_PARTITION: 'x',
    SALLOC_PARTITION: 'x',
    SRUN_CPUS_PER_TASK: '1',
    PMI_RANK: '0',
    PMIX_RANK: '0',
    PBS_JOBID: '1.pbs-head',
    PBS_O_HOST: 'x',
    PBS_NODEFILE: '/x',
    // qsub would look for another prefix than ours in the script.
    PBS_DPREFIX: '#QSUB',
    SGE_TASK_ID: '1',
    SGE_O_WORKDIR: '/x',
    LSB_JOBID: '1',
    LSB_BJOBS_FORMAT: 'x',
    LS_SUBCWD: '/x',
    BSUB_QUIET: '1',
    XDG_RUNTIME_DIR: '/run/user/1',
    DISPLAY: ':0',
    SSH_CONNECTION: 'x',
    JUPYTER_TOKEN: 'x',
    JPY_PARENT_PID: '1',
    START_JUPYTER_TIME: '5',
  };
  expect(submissionEnvironment({ ...kept, ...leaking })).toEqual(kept);
});

it.each([
  ['wait', 'that waits for it'],
  ['exit 0', 'that has ended long since'],
  ['trap "exit 0" TERM; wait', 'that ends well when it is told to'],
])(
  'ends the real command below a wrapper script, too, when it does not answer in time (%s)',
  async (last) => {
    const file = path.join(temporaryDirectory(), 'qsub');
    writeFileSync(file, `#!/bin/bash\necho 4711\nsleep 1000 &\necho $! >"$0.pid"\n${last}\n`, {
      mode: 0o755,
    });
    const pid = () => (existsSync(`${file}.pid`) ? Number(readFileSync(`${file}.pid`, 'utf8')) : 0);
    onTestFinished(() => {
      if (pid() > 0 && isAlive(pid())) process.kill(pid(), 'SIGKILL');
    });
    // What it said may be the id of a job.
    // Until the time was enough to start it.
    for (let timeout = 1000; pid() === 0; timeout *= 2)
      expect(await runCommand(file, [], { timeout })).toEqual({
        stdout: expect.stringMatching(/^(4711)?$/),
        stderr: '',
        exitCode: undefined,
      });
    await expect.poll(() => isAlive(pid())).toBe(false);
  },
);

it('ends a command that waits for its input before that has an end: it never takes nothing for all', async () => {
  const file = path.join(temporaryDirectory(), 'sbatch');
  // When it is told to end: a status above 128 says that there was neither a line nor an end of it.
  const look = 'read -t 0.1; [ $? -gt 128 ] || echo >"$0.end"; exit';
  writeFileSync(file, `#!/bin/bash\ntrap '${look}' TERM\necho >"$0.begun"\nsleep 1000 &\nwait\n`, {
    mode: 0o755,
  });
  const command = startCommand(file, []);
  await expect.poll(() => existsSync(`${file}.begun`)).toBe(true);
  await endCommands();
  expect((await command.finish('')).exitCode).toBeUndefined();
  expect(existsSync(`${file}.end`)).toBe(false);
});

it.each(['a file', 'nowhere'])(
  'a command that cannot be run, as home is %s, has no exit code',
  async (home) => {
    const place = path.join(temporaryDirectory(), 'home');
    if (home === 'a file') writeFileSync(place, '');
    vi.stubEnv('HOME', place);
    onTestFinished(() => void vi.unstubAllEnvs());
    expect(await runCommand('true', [])).toEqual({
      stdout: '',
      stderr: expect.stringContaining("true can't be run: "),
      exitCode: undefined,
    });
  },
);

it('says which signal ended a command', async () => {
  expect(await runCommand('sh', ['-c', 'echo 4711; kill -SEGV $$'])).toEqual({
    stdout: '4711',
    stderr: '',
    exitCode: undefined,
    killed: 'sh was ended by SIGSEGV',
  });
});

it('ends a command that prints without end, and says so', async () => {
  expect(await runCommand('yes', [], { timeout: 60_000 })).toEqual({
    stdout: '',
    stderr: 'yes prints without end',
    exitCode: undefined,
  });
});
