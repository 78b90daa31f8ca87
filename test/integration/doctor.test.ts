/** `doctor`, built: a healthy cluster, and what is wrong with an unhealthy one, by its exit code and its advice. */
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it, test } from 'vitest';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { standInForPbs } from '../support/pbs.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { recording } from '../support/recordings.ts';
import { type SatelliteProcess, startSatelliteProcess } from '../support/satellite.ts';
import { saveSession } from '../support/sessions.ts';
import { type Stubs, stubCommands } from '../support/stubs.ts';

let satellite: SatelliteProcess;
let home: Home;
let stubs: Stubs;
let site: string;

beforeAll(async () => {
  satellite = await startSatelliteProcess();
});
afterAll(() => satellite.stop());

const user = os.userInfo().username;
const slurm = (name: string) => recording(`slurm-22.05/${name}`);
const show = 'sacctmgr --noheader --parsable2 --readonly show';
const limits =
  'format=cluster,account,user,partition,qos,defaultqos,maxjobs,maxsubmitjobs,maxwall,grptres,maxtres';

/** A Slurm with a reservation for the next two hours. */
function slurmFor(users: readonly string[], associations: readonly string[]): void {
  const now = Math.floor(Date.now() / 1000);
  const reservation = slurm('scontrol-reservation-one')
    .stdout.replace(/StartTime=\d+ EndTime=\d+/, `StartTime=${now - 60} EndTime=${now + 7200}`)
    .replace(/Users=\S+/, `Users=${[user, 'alice', 'bob'].join(',')}`);
  stubs.add('sbatch', { stdout: 'slurm 22.05.8\n' });
  for (const name of ['squeue', 'scancel']) stubs.add(name, {});
  stubs.answer('sinfo', {
    'sinfo --noheader --format=%P|%a|%l': slurm('sinfo-partitions'),
    'sinfo --noheader --format=%P|%G': { stdout: 'compute*|gpu:v100:4\ndebug|(null)\n' },
  });
  stubs.answer('scontrol', {
    'scontrol show partition --oneliner': slurm('scontrol-partitions'),
    'scontrol show reservation course --oneliner': { stdout: reservation },
    'scontrol show reservation nowhere --oneliner': slurm('scontrol-reservation-unknown'),
    'scontrol show node c2 --oneliner': slurm('scontrol-nodes'),
    'scontrol show node c[1-2] --oneliner': slurm('scontrol-nodes'),
  });
  const names = users.join(',');
  stubs.answer('sacctmgr', {
    [`${show} associations user=${user} format=account`]: slurm('sacctmgr-accounts'),
    [`${show} associations user=${names} ${limits}`]: { stdout: `${associations.join('\n')}\n` },
    [`${show} associations account=demo format=cluster,account,user,grpjobs,grpsubmitjobs`]: {
      stdout: 'lab|demo||1|\n',
    },
    [`${show} user name=${names} format=user,defaultaccount`]: {
      stdout: users.map((each) => `${each}|demo\n`).join(''),
    },
    [`${show} qos format=name,priority,maxjobsperuser,maxsubmitjobsperuser,maxwall,maxtresperuser,grpjobs`]:
      slurm('sacctmgr-qos'),
  });
}

interface Entry {
  readonly scheduler?: string;
  readonly proxy?: { readonly endpoint: string; readonly caFile?: string };
}

function describeSite(entry: Entry = {}): void {
  const test = {
    title: 'Test',
    detect: { env: { TEST_CLUSTER: 'yes' } },
    scheduler: 'slurm',
    proxy: { endpoint: satellite.endpoint, caFile: satellite.caFile },
    defaults: { partition: 'compute' },
    profiles: { course: { reservation: 'course', cpus: 2 } },
    ...entry,
  };
  writeFileSync(site, JSON.stringify({ systems: { test } }));
}

beforeEach(() => {
  home = freshHome();
  stubs = stubCommands();
  site = path.join(temporaryDirectory(), 'site.yaml');
  describeSite();
  slurmFor([user], [`lab|demo|${user}||normal||||||`]);
});

const doctor = (args: readonly string[], { env = {}, commands = stubs.directory } = {}) =>
  run(['doctor', ...args], {
    home,
    path: `${commands}:${usualPrograms({ without: slurmPrograms })}`,
    env: { ...satellite.env, START_JUPYTER_SITE_CONFIG: site, TEST_CLUSTER: 'yes', ...env },
  });

interface Finding {
  readonly title: string;
  readonly result: string;
  readonly found: string;
  readonly advice?: string;
}

/** The report, with each finding under `Area: Title`. */
async function report(args: readonly string[] = [], how: Parameters<typeof doctor>[1] = {}) {
  const { stdout, stderr, exitCode } = await doctor([...args, '--json'], how);
  expect(stderr).toBe('');
  const parsed = JSON.parse(stdout) as {
    ok: boolean;
    failed: number;
    areas: { name: string; findings: Finding[] }[];
    accounts?: { user: string; problems: string[] }[];
  };
  const findings = new Map(
    parsed.areas.flatMap(({ name, findings: all }) =>
      all.map((each) => [`${name}: ${each.title}`, each] as const),
    ),
  );
  const failed = [...findings].filter(([, { result }]) => result === 'fail').map(([name]) => name);
  expect(parsed).toMatchObject({ ok: exitCode === 0, failed: failed.length });
  return { exitCode, findings, failed, accounts: parsed.accounts };
}

describe('a healthy cluster', () => {
  it('has nothing that fails, and the token that was tried is back', async () => {
    const { exitCode, findings, failed } = await report(['--profile', 'course']);
    expect(failed).toEqual([]);
    expect(exitCode).toBe(0);
    expect(findings.get('Configuration: System')?.found).toBe('test (Test): env.TEST_CLUSTER is yes');
    expect(findings.get('Scheduler: Answers')?.found).toBe('slurm 22.05.8');
    expect(findings.get('Scheduler: You may')).toMatchObject({ result: 'ok' });
    expect(findings.get('Scheduler: Reservation')).toMatchObject({ result: 'ok' });
    expect(findings.get('Proxy: Satellite')?.found).toMatch(/^Satellite \d/);
    expect(findings.get('Proxy: Lets this host in')).toMatchObject({
      result: 'ok',
      found: expect.stringContaining('given back'),
    });
    expect(findings.get('Proxy: Certificate')).toMatchObject({ result: 'ok' });
    expect(findings.get('Proxy: Names of sites')).toMatchObject({ result: 'ok' });
    await expect.poll(() => satellite.tokensInUse()).toEqual([]);
    expect(stubs.calls().filter((call) => /^(?:sbatch (?!--version)|scancel)/.test(call))).toEqual([]);
  });

  test.each([
    ['with colour', { FORCE_COLOR: '1' }],
    ['without', {}],
  ])('is shown in 80 columns %s', async (_, env) => {
    const { stdout, stderr, exitCode } = await doctor([], { env });
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 });
    expect(stdout.includes('\u001b[')).toBe('FORCE_COLOR' in env);
    // Paths are left whole, to be copied.
    const lines = stripVTControlCharacters(stdout)
      .split('\n')
      .filter((line) => !line.includes('/'));
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(80);
    expect(lines.at(-2)).toMatch(/^(?:All is well|Nothing failed, \d+ warnings?)\.$/);
  });
});

it('without a scheduler says what a launch on this machine would need', async () => {
  const { findings, failed } = await report([], {
    commands: temporaryDirectory(),
    env: { TEST_CLUSTER: 'no', SLURM_CONF: '/nowhere' },
  });
  expect(findings.get('Configuration: System')?.found).toContain('no scheduler');
  expect([...findings.keys()].filter((name) => name.startsWith('Scheduler'))).toEqual([]);
  expect(findings.get('Proxy: Satellite')?.result).toBe('skipped');
  expect(failed.filter((name) => !name.startsWith('Jupyter'))).toEqual([]);
});

describe('what is wrong with the configuration', () => {
  it('is said file by file; mended as advised, it is right', async () => {
    const own = path.join(home.path, '.config/start-jupyter/config.yaml');
    mkdirSync(path.dirname(own), { recursive: true });
    writeFileSync(own, 'partion: debug\n');
    const { exitCode, findings, failed } = await report();
    expect({ exitCode, failed }).toEqual({ exitCode: 3, failed: ['Configuration: Your file'] });
    expect(findings.get("Configuration: Site's file")).toMatchObject({ result: 'ok' });
    expect(findings.get('Configuration: Your file')?.found).toContain('Did you mean "partition"?');
    expect(findings.get('Proxy: Not looked at')).toMatchObject({ result: 'skipped' });
    writeFileSync(own, 'partition: debug\n');
    expect((await report()).failed).toEqual([]);
  });

  it('may be that no proxy is known: the rest is looked at all the same', async () => {
    writeFileSync(
      site,
      JSON.stringify({ systems: { test: { scheduler: 'slurm', detect: { env: { TEST_CLUSTER: 'yes' } } } } }),
    );
    const { exitCode, findings, failed } = await report(['-p', 'nowhere']);
    expect({ exitCode, failed }).toEqual({
      exitCode: 3,
      failed: ['Configuration: Settings', 'Scheduler: Partition'],
    });
    expect(findings.get('Scheduler: Partition')?.advice).toContain('Known: compute, debug.');
  });
});

describe('a home that is no directory', () => {
  it('is one failure, and nothing is made there', async () => {
    const file = path.join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    for (const place of [file, path.join(path.dirname(file), 'nowhere')]) {
      const { exitCode, failed, findings } = await report([], { env: { HOME: place } });
      expect({ exitCode, failed }).toEqual({ exitCode: 3, failed: ['This machine: Home directory'] });
      expect(findings.get('This machine: Home directory')?.advice).toContain('Set HOME');
    }
    expect(readdirSync(path.dirname(file))).toEqual(['file']);
  });

  it('stops a launch in the same words', async () => {
    const file = path.join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    const launch = await run(['-d', '/tmp'], {
      home,
      path: `${stubs.directory}:${usualPrograms({ without: slurmPrograms })}`,
      env: { ...satellite.env, START_JUPYTER_SITE_CONFIG: site, TEST_CLUSTER: 'yes', HOME: file },
    });
    expect(launch.exitCode).toBe(3);
    expect(launch.stderr).toContain("Your home directory can't be written: ");
  });
});

it('sessions whose secrets others can read fail, until the advice is followed', async () => {
  const directory = saveSession(home, 'kdwxyz');
  chmodSync(path.join(directory, 'secrets'), 0o755);
  stubs.add('squeue', { stdout: '3|RUNNING|None|1795303785|1795305585|c1\n' });
  chmodSync(home.sessions, 0o755);
  const { exitCode, failed, findings } = await report();
  expect({ exitCode, failed }).toEqual({ exitCode: 3, failed: ['Sessions: Secrets private'] });
  expect(findings.get('This machine: Sessions private')).toMatchObject({
    result: 'warn',
    advice: `chmod go-rwx ${home.sessions}`,
  });
  chmodSync(path.join(directory, 'secrets'), 0o700);
  chmodSync(home.sessions, 0o700);
  expect((await report()).failed).toEqual([]);
});

describe('the scheduler', () => {
  it('fails for each thing that it would refuse, and says what to type', async () => {
    const [one, other, third] = await Promise.all([
      report(['-p', 'debug', '-t', '31', '-A', 'other', '-g', '1', '-R', 'nowhere']),
      report(['-p', 'computee']),
      report(['-R', 'course', '-t', '3h']),
    ]);
    expect([one.exitCode, other.exitCode, third.exitCode]).toEqual([5, 5, 0]);
    const advice: readonly (readonly [typeof one, string, RegExp])[] = [
      [one, 'Time limit', /-t 30/],
      [one, 'Account', /Yours: demo/],
      [one, 'You may', /-R/],
      [one, 'GPUs', /-p: compute/],
      [other, 'Partition', /Did you mean "compute"/],
    ];
    for (const [{ findings }, title, words] of advice)
      expect(findings.get(`Scheduler: ${title}`), title).toMatchObject({
        result: 'fail',
        advice: expect.stringMatching(words),
      });
    expect(third.findings.get('Scheduler: Reservation')).toMatchObject({
      result: 'warn',
      advice: expect.stringContaining('shorter -t'),
    });
    const mended = await report(['-p', 'compute', '-t', '30', '-A', 'demo', '-g', '1', '-R', 'course']);
    expect(mended.failed).toEqual([]);
  });

  it('that does not answer is 5, and the proxy is looked at all the same', async () => {
    stubs.add('sinfo', slurm('sinfo-unreachable-refused'));
    const { exitCode, failed, findings } = await report();
    expect({ exitCode, failed }).toEqual({ exitCode: 5, failed: ['Scheduler: Answers'] });
    expect(findings.get('Proxy: Satellite')?.result).toBe('ok');
  });

  it('may be PBS', async () => {
    const pbs = standInForPbs();
    describeSite({ scheduler: 'pbs' });
    const { failed, findings } = await report(['-p', 'workq'], { commands: pbs.commands });
    expect(failed).toEqual([]);
    expect(findings.get('Scheduler: Answers')?.found).toBe('pbs_version = 23.06.06');
  });

  it('whose commands are missing is 5', async () => {
    const { exitCode, failed } = await report([], { commands: temporaryDirectory(), env: { PATH: '' } });
    expect({ exitCode, failed }).toEqual({ exitCode: 5, failed: ['Scheduler: Scheduler commands'] });
  });
});

describe('the proxy', () => {
  it('is 4 where nobody listens', async () => {
    describeSite({ proxy: { endpoint: 'sites.localhost:1' } });
    const { exitCode, failed } = await report();
    expect({ exitCode, failed }).toEqual({ exitCode: 4, failed: ['Proxy: Connection'] });
  });

  it('is told in words where the file of its authority is not there', async () => {
    describeSite({ proxy: { endpoint: satellite.endpoint, caFile: '/nowhere/ca.pem' } });
    const { findings } = await report();
    expect(findings.get('Proxy: Certificate')?.found).toBe(
      "The proxy's certificate authority /nowhere/ca.pem can't be read: does not exist.",
    );
  });

  it('is 4 where its authority is unknown, until the advice is followed', async () => {
    describeSite({ proxy: { endpoint: satellite.endpoint } });
    const { exitCode, failed, findings } = await report();
    expect({ exitCode, failed }).toEqual({ exitCode: 4, failed: ['Proxy: Certificate'] });
    expect(findings.get('Proxy: Certificate')?.advice).toMatch(
      /^Ask whoever runs the proxy .*proxy\.caFile\.$/,
    );
    describeSite();
    expect((await report()).failed).toEqual([]);
  });

  it('is 4 where it does not let this host in', async () => {
    const strict = await startSatelliteProcess('--internal-networks', '10.99.0.0/16');
    try {
      describeSite({ proxy: { endpoint: strict.endpoint, caFile: strict.caFile } });
      const { exitCode, failed, findings } = await report();
      expect({ exitCode, failed }).toEqual({ exitCode: 4, failed: ['Proxy: Lets this host in'] });
      expect(findings.get('Proxy: Lets this host in')).toMatchObject({
        found: expect.stringContaining('127.0.0.1 is not in the internal networks'),
        advice: expect.stringContaining('internalNetworks'),
      });
    } finally {
      await strict.stop();
    }
  });
});

describe('--class', () => {
  /** Readable for everybody, as a site's file is. */
  beforeEach(() => {
    for (const file of [path.dirname(site), path.dirname(satellite.caFile)]) chmodSync(file, 0o755);
    chmodSync(satellite.caFile, 0o644);
    slurmFor(['alice', 'bob'], ['lab|demo|alice||normal||||||', 'lab|other|bob||normal||||||']);
  });

  it('says of each account what it would meet', async () => {
    const { exitCode, findings, failed, accounts } = await report([
      '--class',
      'alice,bob',
      '--profile',
      'course',
    ]);
    expect({ exitCode, failed }).toEqual({ exitCode: 5, failed: ['Class: Accounts'] });
    expect(findings.get('Configuration: For everybody')).toMatchObject({ result: 'ok' });
    expect(findings.get('Configuration: Set for the class')?.advice).toContain('module file');
    expect(findings.get('Class: Reservation')).toMatchObject({ result: 'ok' });
    expect(findings.get('Class: All at once')).toMatchObject({
      result: 'ok',
      found: expect.stringContaining('8 such jobs fit into reservation course'),
    });
    expect(findings.get('Class: Limits')).toMatchObject({
      result: 'warn',
      found: expect.stringContaining('account demo runs 1 jobs at a time'),
    });
    expect(accounts).toMatchObject([
      { user: 'alice', account: 'demo', problems: ['this machine does not know the user'] },
      { user: 'bob', problems: ['this machine does not know the user', 'may not charge demo (but other)'] },
    ]);
    await expect.poll(() => satellite.tokensInUse()).toEqual([]);
  });

  it('takes whom the reservation names, and says that too few of their jobs fit', async () => {
    slurmFor(
      [user, 'alice', 'bob'],
      [user, 'alice', 'bob'].map((each) => `lab|demo|${each}||normal||||||`),
    );
    stubs.answer(
      'sacctmgr',
      Object.fromEntries(
        ['', `${user},alice,bob`]
          .flatMap((names) => [
            [`${show} associations user=${names} ${limits}`, { stdout: '' }],
            [`${show} user name=${names} format=user,defaultaccount`, { stdout: '' }],
            [
              `${show} qos format=name,priority,maxjobsperuser,maxsubmitjobsperuser,maxwall,maxtresperuser,grpjobs`,
              slurm('sacctmgr-qos'),
            ],
          ])
          .concat([[`${show} associations user=${user} format=account`, { stdout: '' }]]),
      ),
    );
    const { findings, accounts } = await report(['--class', '--profile', 'course', '-g', '2']);
    expect(accounts?.map((each) => each.user)).toEqual([user, 'alice', 'bob']);
    expect(findings.get('Class: All at once')).toMatchObject({
      result: 'fail',
      found: expect.stringMatching(/^2 such jobs fit .* 3 come/),
    });
    expect(findings.get('Class: Accounting')?.advice).toContain('PrivateData');
  });

  it('finds what only the teacher has', async () => {
    const own = path.join(home.path, '.config/start-jupyter/config.yaml');
    mkdirSync(path.dirname(own), { recursive: true });
    writeFileSync(own, 'systems: { test: { profiles: { mine: { cpus: 1 } } } }\ncpus: 4\n');
    chmodSync(site, 0o600);
    const missing = await report(['--class', 'alice,bob', '--profile', 'mine']);
    expect(missing.exitCode).toBe(3);
    expect(missing.failed).toEqual([
      'Configuration: System',
      'Configuration: For everybody',
      'Configuration: Only yours',
      'Class: Accounts',
    ]);
    expect(missing.findings.get('Configuration: For everybody')?.advice).toBe(`chmod o+rX ${site}`);
    chmodSync(site, 0o644);
    const { findings } = await report(['--class', 'alice,bob']);
    expect(findings.get('Configuration: For everybody')?.result).toBe('ok');
    expect(findings.get('Configuration: Only yours')).toMatchObject({
      result: 'warn',
      found: expect.stringContaining(`cpus (${own})`),
    });
    expect(findings.get('Configuration: Profile')?.advice).toBe('Say which one: --profile course');
  });

  it('is shown as a table in 80 columns, and refuses what names nobody', async () => {
    const { stdout } = await doctor(['--class', 'alice,bob']);
    expect(stdout).toMatch(/^ {2}USER +CHARGED TO +HOME$/m);
    expect(stdout).toMatch(/^ {2}bob +demo +-$/m);
    const lines = stdout.split('\n').filter((line) => !line.includes('/'));
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(80);
    const refused = await doctor(['--class', '$(id)']);
    expect(refused).toMatchObject({ exitCode: 2, stdout: '' });
    expect(refused.stderr).toContain("can't be the name of a user");
  });
});
