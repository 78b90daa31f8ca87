/** What refuses a launch, or isn't there: one clear line, the right exit code, nothing left behind. */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { labExec, labPath, restartSatellite, startSatellite, stopSatellite, up } from '../../lab/lab.ts';
import { withoutController } from './support/controller.ts';
import { startJupyter, stopAll } from './support/launcher.ts';

beforeAll(() => up());
afterAll(() => stopAll('alice'));

const sessions = '.local/state/start-jupyter/sessions';

async function sessionNames(): Promise<string[]> {
  return (await labExec(['bash', '-c', `ls -A ${sessions} 2>/dev/null; true`])).stdout
    .split('\n')
    .filter((name) => name !== '');
}

async function jobsOfAlice(): Promise<string> {
  return (await labExec(['squeue', '-h', '-u', 'alice', '-o', '%i'])).stdout;
}

let before: string[];
beforeEach(async () => {
  before = await sessionNames();
});

/** One line that says what happened, at most one more that says what to do, and no trace of the attempt. */
async function expectRefusal(args: string[], exitCode: number, message: RegExp): Promise<void> {
  const result = await startJupyter(args);
  const said = result.stderr
    .split('\n')
    .filter((line) => line.startsWith('start-jupyter:') || line.startsWith('  '));
  expect(result.exitCode, result.stderr).toBe(exitCode);
  expect(said[0]).toMatch(message);
  expect(said.length).toBeLessThanOrEqual(2);
  expect(result.stdout).toBe('');
  expect(await sessionNames()).toEqual(before);
}

interface DoctorReport {
  readonly areas: readonly {
    readonly name: string;
    readonly findings: readonly { readonly title: string; readonly result: string; readonly found: string }[];
  }[];
  readonly accounts?: readonly { readonly user: string; readonly problems: readonly string[] }[];
}

/** What `doctor` says; each finding under `Area: Title`. */
async function doctor(args: string[]) {
  const { exitCode, stdout } = await startJupyter(['doctor', ...args, '--json']);
  const { areas, accounts } = JSON.parse(stdout) as DoctorReport;
  const findings = new Map(
    areas.flatMap(({ name, findings: all }) => all.map((each) => [`${name}: ${each.title}`, each] as const)),
  );
  const failed = [...findings].filter(([, { result }]) => result === 'fail').map(([name]) => name);
  return { exitCode, findings, failed, accounts };
}

describe('doctor', () => {
  test('finds nothing that fails in the lab', async () => {
    const { exitCode, failed, findings } = await doctor(['-e', 'jupyterlab', '-A', 'demo', '-g', '1']);
    expect({ exitCode, failed }).toEqual({ exitCode: 0, failed: [] });
    expect(findings.get('Configuration: System')?.found).toBe('lab (The lab): clusterName is lab');
    expect(findings.get('Scheduler: Answers')?.found).toMatch(/^slurm(?:-wlm)? \d+/);
    expect(findings.get('Scheduler: You may')?.result).toBe('ok');
    expect(findings.get('Proxy: Lets this host in')?.found).toContain('given back');
  });

  test('says who of a class would be refused, and how many of their jobs fit', async () => {
    const { exitCode, failed, findings, accounts } = await doctor([
      ...['--class', 'alice,bob,carol', '-A', 'demo', '-g', '2', '-e', 'jupyterlab'],
    ]);
    expect({ exitCode, failed }).toEqual({ exitCode: 5, failed: ['Class: Accounts'] });
    expect(accounts?.map(({ user, problems }) => [user, problems])).toEqual([
      ['alice', []],
      ['bob', []],
      ['carol', ['may not charge demo (but class)']],
    ]);
    expect(findings.get('Class: All at once')).toMatchObject({
      result: 'warn',
      found: expect.stringMatching(/^2 such jobs fit into the partition, and 3 come/),
    });
  });
});

describe('proxy', () => {
  afterEach(() => startSatellite());

  test('that is down', async () => {
    await stopSatellite();
    await expectRefusal(
      ['--lab', '-e', 'jupyterlab'],
      4,
      /proxy manage\.user-content\.test can't be reached: it refuses connections/,
    );
    expect(await jobsOfAlice()).toBe('');
  });

  test('that refuses this host', async () => {
    const config = labPath('/etc/satellite/satellite.yaml');
    const usual = readFileSync(config, 'utf8');
    writeFileSync(config, usual.replace(/internalNetworks:.*/, 'internalNetworks: [10.99.0.0/16]'));
    try {
      await restartSatellite();
      await expectRefusal(['--lab', '-e', 'jupyterlab'], 4, /proxy manage\.user-content\.test refuses: /);
      expect(await jobsOfAlice()).toBe('');
      const { exitCode, failed } = await doctor([]);
      expect({ exitCode, failed }).toEqual({ exitCode: 4, failed: ['Proxy: Lets this host in'] });
    } finally {
      writeFileSync(config, usual);
      await restartSatellite();
    }
  });

  test('that goes down between the token and the job: the launch stands, and the site opens when it is back', async () => {
    const result = await startJupyter(['--lab', '-e', 'jupyterlab', '--json', '--', '--begin=now+4']);
    expect(result.exitCode).toBe(0);
    const { id } = JSON.parse(result.stdout);
    await stopSatellite();
    await expect
      .poll(async () => (await labExec(['start-jupyter', 'logs', id])).stdout, { timeout: 60_000 })
      .toMatch(/The proxy does not answer/);
    await startSatellite();
    await expect
      .poll(async () => (await labExec(['start-jupyter', 'logs', id])).stdout, { timeout: 60_000 })
      .toMatch(/The site is open/);
    await labExec(['start-jupyter', 'stop', id]);
  });
});

describe('scheduler', () => {
  test.each([
    ['an unknown account', ['-A', 'nobody'], 2, /does not let you use the account "nobody"/],
    ['an unknown partition', ['-p', 'computee'], 2, /there is no partition "computee"/],
    ['more time than the partition allows', ['-p', 'debug', '-t', '31'], 2, /allows 30m at most/],
  ])('%s is refused before the proxy is asked', async (_name, args, exitCode, message) => {
    await expectRefusal(args, exitCode as number, message as RegExp);
  });

  test.each([
    [['--bogus'], 5, /Slurm refuses the job: unrecognized option '--bogus'/],
    [['--output=/tmp/elsewhere'], 2, /start-jupyter sets this option itself/],
    [['-a', '1-3'], 2, /start-jupyter sets this option itself/],
    [['--exclusive', 'train.sh'], 2, /sbatch would run it in place of the session/],
  ])('options after -- that can not work: %j', async (options, exitCode, message) => {
    await expectRefusal(['--notebook', '--', ...options], exitCode, message);
  });

  test('sbatch that rejects the job: its own words, and the token is given back', async () => {
    await expectRefusal(
      ['--notebook', '--', '--nodelist=c9'],
      5,
      /Slurm refuses the job: Invalid node name specified/,
    );
    expect(await jobsOfAlice()).toBe('');
  });

  test('a controller that can not be reached', async () => {
    await withoutController(() =>
      expectRefusal(['--notebook'], 5, /Slurm can't be reached: .*Unable to contact slurm controller/),
    );
  });

  test('a controller that goes away while a session runs: its state is kept, and stop says that nothing was stopped', async () => {
    const { id } = JSON.parse((await startJupyter(['--notebook', '--wait', '--json'])).stdout);
    await withoutController(async () => {
      const status = JSON.parse((await startJupyter(['status', id, '--json'])).stdout);
      expect(status.state).toBe('ready');
      expect(status.url).toMatch(/^https:/);
      const stop = await startJupyter(['stop', id]);
      expect(stop.exitCode).toBe(5);
      expect(stop.stderr).toMatch(/can't be reached/);
    });
    await labExec(['start-jupyter', 'stop', id]);
  });
});
