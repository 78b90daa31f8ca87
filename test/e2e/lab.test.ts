import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  address,
  caFile,
  type ExecResult,
  labExec,
  type Place,
  startSatellite,
  status,
  stopSatellite,
  up,
} from '../../lab/lab.ts';
import { withoutController } from './support/controller.ts';

beforeAll(() => up());

interface Job extends ExecResult {
  id: string;
  output: string;
}

/** Submits a script, waits for its end, and returns what it printed. `sbatch` may refuse: then there is no id. */
async function runJob(options: string[], body: string, place: Place = {}): Promise<Job> {
  const result = await labExec(['sbatch', '--parsable', '--output=%j.out', ...options], {
    ...place,
    input: `#!/bin/bash\n${body}\n`,
    reject: false,
  });
  const id = result.stdout.trim();
  if (id === '') return { ...result, id, output: '' };
  // sbatch's own --wait looks every two seconds.
  const state = async () => (await labExec(['squeue', '-h', '-t', 'all', '-j', id, '-o', '%T'])).stdout;
  await expect.poll(state, { timeout: 60_000, interval: 100 }).toMatch(/^(COMPLETED|FAILED)$/);
  return { ...result, id, output: (await labExec(['cat', `${id}.out`], place)).stdout };
}

/** What the accounting says of a job in one field, without the trimmings of its steps. */
async function sacct(id: string, field: string): Promise<string> {
  const { stdout } = await labExec(['sacct', '-X', '-n', '-P', '-j', id, '-o', field]);
  return stdout.trim();
}

async function untilRunning(id: string): Promise<void> {
  await expect
    .poll(async () => (await labExec(['squeue', '-h', '-j', id, '-o', '%T'])).stdout, { timeout: 30_000 })
    .toBe('RUNNING');
}

const modules = '. /etc/profile.d/modules.sh';

describe('nodes', () => {
  test.each([
    ['c1', '10.21.0.11'],
    ['c2', '10.21.0.12'],
  ])('%s runs jobs as the user who submitted them, with an address of its own', async (node, expected) => {
    const job = await runJob(
      ['-w', node],
      'hostname; hostname -I; id -un; pwd; cat /proc/sys/kernel/hostname',
    );
    expect(job.stderr).toBe('');
    expect(job.output.split('\n').map((line) => line.trim())).toEqual([
      node,
      expected,
      'alice',
      '/home/alice',
      node,
    ]);
  });

  test('a connection from a node arrives with its own address', async () => {
    const server = createServer((request, response) => response.end(request.socket.remoteAddress));
    await new Promise<void>((resolve) => server.listen(0, address, resolve));
    const { port } = server.address() as AddressInfo;
    try {
      for (const [node, expected] of [
        ['c1', '10.21.0.11'],
        ['c2', '10.21.0.12'],
        ['login', '10.21.0.1'],
      ] as const) {
        const { stdout } = await labExec(['curl', '--silent', `http://login:${port}/`], { node });
        expect(stdout).toBe(expected);
      }
    } finally {
      server.close();
    }
  });

  test('nodes reach each other and the login host reaches them, by name', async () => {
    const job = await runJob(
      ['-w', 'c2'],
      'getent ahostsv4 c1 | head -1; echo > /dev/tcp/c1/6818 && echo reached',
    );
    expect(job.output).toMatch(/^10\.21\.0\.11 .*\nreached$/);
  });

  test('each node has a /tmp of its own', async () => {
    await labExec(['touch', '/tmp/of-c1'], { node: 'c1' });
    const elsewhere = await labExec(['ls', '/tmp/of-c1'], { node: 'c2', reject: false });
    expect(elsewhere.exitCode).toBe(2);
    await labExec(['rm', '/tmp/of-c1'], { node: 'c1' });
  });

  test('five jobs fit on one node', async () => {
    const ids: string[] = [];
    for (let count = 0; count < 5; count++) {
      const { stdout } = await labExec(['sbatch', '--parsable', '-w', 'c1', '--wrap', 'sleep 300']);
      ids.push(stdout);
    }
    await Promise.all(ids.map(untilRunning));
    await labExec(['scancel', ...ids]);
  });
});

describe('users', () => {
  test("bob can't read alice's home, nor become her", async () => {
    for (const argv of [
      ['ls', '/home/alice'],
      ['cat', '/home/alice/.bashrc'],
      ['su', 'alice', '-c', 'id'],
    ]) {
      const result = await labExec(argv, { user: 'bob', reject: false });
      expect(result.exitCode, argv.join(' ')).not.toBe(0);
      expect(result.stdout).toBe('');
    }
  });

  test('nobody can change programs, the checkout or the configuration', async () => {
    for (const path of ['/usr/x', '/opt/start-jupyter/x', '/opt/jupyterlab/x', '/etc/x']) {
      expect((await labExec(['touch', path], { reject: false })).exitCode, path).toBe(1);
    }
    // Not even root changes what belongs to the machine.
    for (const path of ['/usr/x', '/opt/start-jupyter/x']) {
      expect((await labExec(['touch', path], { user: 'root', reject: false })).exitCode, path).toBe(1);
    }
  });

  test("only satellite reads the certificate's key", async () => {
    const key = '/etc/satellite/privkey.pem';
    expect((await labExec(['cat', key], { reject: false })).exitCode).toBe(1);
    expect((await labExec(['stat', '-c', '%U %a', key])).stdout).toBe('satellite 600');
  });

  test('a full home is full on every node', async () => {
    const fill = await labExec(['dd', 'if=/dev/zero', 'of=fill', 'bs=1M'], {
      user: 'carol',
      node: 'c1',
      reject: false,
    });
    expect(fill.stderr).toContain('No space left on device');
    const write = await labExec(['bash', '-c', 'echo x > y'], { user: 'carol', reject: false });
    expect(write.stderr).toContain('No space left on device');
    await labExec(['rm', 'fill', 'y'], { user: 'carol' });
  });

  test('a home that is read-only is so on every node', async () => {
    const remount = (how: string) =>
      labExec(['mount', '-o', `remount,${how}`, '/home/carol'], { user: 'root' });
    await remount('ro');
    try {
      const write = await labExec(['touch', 'x'], { user: 'carol', node: 'c2', reject: false });
      expect(write.stderr).toContain('Read-only file system');
    } finally {
      await remount('rw');
    }
    const job = await runJob(['-w', 'c1'], 'touch written && ls written', { user: 'carol' });
    expect(job.output).toBe('written');
  });
});

describe('commands', () => {
  test('have a login shell around them and nothing of the caller', async () => {
    process.env.LAB_TEST_LEAK = 'leak';
    const { stdout } = await labExec(['env'], { env: { GIVEN: 'yes' } });
    delete process.env.LAB_TEST_LEAK;
    expect(stdout).toContain('GIVEN=yes');
    expect(stdout).toMatch(/^HOME=\/home\/alice$/m);
    expect(stdout).toMatch(/^PATH=.*:\/opt\/start-jupyter\/bin$/m);
    expect(stdout).not.toContain('leak');
  });

  test('keep their exit code, their arguments and their input', async () => {
    expect((await labExec(['bash', '-c', 'exit 7'], { reject: false })).exitCode).toBe(7);
    const words = ['a b', '', '$HOME', '"', "'", '*', '-n'];
    expect((await labExec(['printf', '<%s>', ...words])).stdout).toBe(
      words.map((word) => `<${word}>`).join(''),
    );
    expect((await labExec(['cat'], { input: 'in\nput' })).stdout).toBe('in\nput');
  });

  test('may be shell functions', async () => {
    expect((await labExec(['module', 'is-avail', 'jupyterlab'])).exitCode).toBe(0);
    expect((await labExec(['module', 'is-avail', 'nonsense'], { reject: false })).exitCode).toBe(1);
  });
});

describe('Jupyter', () => {
  test('comes as JupyterLab 4 from a module, and as Notebook 6 without', async () => {
    const job = await runJob(
      [],
      `jupyter notebook --version\njupyter lab --version 2>&1 | tail -1\n${modules}\nmodule load jupyterlab\njupyter lab --version`,
    );
    const [classic, missing, lab] = job.output.split('\n');
    expect(classic).toMatch(/^6\./);
    expect(missing).toContain('`jupyter-lab` not found');
    expect(lab).toMatch(/^4\./);
  });

  test('has a broken sister', async () => {
    const job = await runJob([], `${modules}\nmodule load brokenenv && echo loaded\njupyter lab --version`);
    expect(job.output).toMatch(/^loaded\n.*jupyter: .*(bad interpreter|required file not found)/);
  });
});

describe('Slurm', () => {
  test.each([
    ['--gpus=1', '0'],
    ['--gres=gpu:2', '0,1'],
    ['--gres=gpu:v100:4', '0,1,2,3'],
  ])('%s is scheduled where the GPUs are', async (option, devices) => {
    const job = await runJob([option], 'hostname; echo $CUDA_VISIBLE_DEVICES');
    expect(job.output).toBe(`c2\n${devices}`);
  });

  test.each([
    [['--gpus=5'], 'Requested node configuration is not available'],
    [['--gpus=h100:1'], 'Requested node configuration is not available'],
    [['-A', 'nope'], 'Invalid account'],
    [['-A', 'other'], 'Invalid account'],
    [['-p', 'nope'], 'invalid partition'],
    [['-p', 'debug', '-t', '31'], 'Requested time limit is invalid'],
  ])('%j is refused', async (options, reason) => {
    const job = await runJob(options, 'true');
    expect(job).toMatchObject({ exitCode: 1, id: '' });
    expect(job.stderr).toContain(reason);
  });

  test('accounts are charged', async () => {
    const job = await runJob(['-A', 'other'], 'true', { user: 'bob' });
    expect(
      (await labExec(['sacct', '-X', '-n', '-P', '-j', job.id, '-o', 'account,state'], { user: 'bob' }))
        .stdout,
    ).toBe('other|COMPLETED');
    const { stdout } = await labExec(['sacctmgr', '-n', '-P', 'show', 'assoc', 'user=bob', 'format=account']);
    expect(stdout.split('\n').sort()).toEqual(['demo', 'other']);
  });

  test('scancel ends a job, which is known afterwards', async () => {
    const { stdout: id } = await labExec(['sbatch', '--parsable', '--wrap', 'sleep 300']);
    await untilRunning(id);
    await labExec(['scancel', id]);
    await expect.poll(() => sacct(id, 'state'), { timeout: 60_000 }).toMatch(/^CANCELLED/);
    expect((await labExec(['scontrol', 'show', 'job', id])).stdout).toContain('JobState=CANCELLED');
  });

  test('a controller that is away comes back with its jobs', async () => {
    const { stdout: id } = await labExec(['sbatch', '--parsable', '--wrap', 'sleep 300']);
    await untilRunning(id);
    await withoutController(async () => {
      const away = await labExec(['squeue'], { reject: false });
      expect(away.exitCode).toBe(1);
      expect(away.stderr).toContain('Unable to contact slurm controller');
    });
    await untilRunning(id);
    await labExec(['scancel', id]);
  });
});

describe('Satellite', () => {
  test('hands out tokens over HTTPS that the lab trusts, to its nodes', async () => {
    const { stdout } = await labExec(
      ['curl', '--silent', '--show-error', 'https://manage.user-content.test/getlink.cgi'],
      {
        node: 'c1',
      },
    );
    expect(stdout).toMatch(/^Your token is\s+[a-z]+-[a-z]+-[a-z]+/);
  });

  test("sites' names lead to it", async () => {
    const { stdout } = await labExec(['getent', 'ahostsv4', 'any-three-words.user-content.test'], {
      node: 'c2',
    });
    expect(stdout).toMatch(/^10\.21\.0\.1 /);
  });

  test('is an ordinary user who may open low ports and nothing else', async () => {
    const { stdout: pid } = await labExec([
      'pgrep',
      '--oldest',
      '-u',
      'satellite',
      '-f',
      'satellite.js serve',
    ]);
    const facts = readFileSync(`/proc/${pid}/status`, 'utf8');
    const uid = (await labExec(['id', '-u', 'satellite'])).stdout;
    expect(facts).toMatch(new RegExp(`^Uid:\\s+${uid}\\s+${uid}\\s+${uid}\\s+${uid}$`, 'm'));
    const netBindService = (1 << 10).toString(16).padStart(16, '0');
    for (const set of ['CapEff', 'CapBnd'])
      expect(facts).toMatch(new RegExp(`^${set}:\\s+${netBindService}$`, 'm'));
  });

  test('can be stopped and started', async () => {
    const ask = () => labExec(['curl', '--silent', 'https://manage.user-content.test/'], { reject: false });
    await stopSatellite();
    try {
      expect((await ask()).exitCode).toBe(7);
    } finally {
      await startSatellite();
    }
    expect((await ask()).exitCode).toBe(0);
  });
});

describe('the lab', () => {
  test('that is up stays as it is on another up', async () => {
    const before = await labExec(['pgrep', '-u', 'slurm,munge'], { user: 'root' });
    const said: string[] = [];
    await up({ say: (line) => said.push(line) });
    expect(said.at(-1)).toContain('the lab is up');
    expect((await labExec(['pgrep', '-u', 'slurm,munge'], { user: 'root' })).stdout).toBe(before.stdout);
    expect(status().up).toBe(true);
  });

  test('keeps to itself: the machine knows none of its names and mounts', () => {
    for (const file of ['/etc/hosts', '/etc/passwd', '/etc/group', '/proc/self/mountinfo']) {
      expect(readFileSync(file, 'utf8')).not.toMatch(/alice|user-content|start-jupyter-lab/);
    }
    for (const path of ['/etc/start-jupyter', '/etc/satellite', '/home/alice'])
      expect(existsSync(path), path).toBe(false);
    expect(existsSync(caFile)).toBe(true);
  });
});
