/** `systems`: what is known, and which one this machine is taken for and why. */
import { mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { beforeEach, describe, expect, it, test } from 'vitest';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { recording } from '../support/recordings.ts';
import { type Stubs, stubCommands } from '../support/stubs.ts';
import { onTerminal } from '../support/terminal.ts';

let home: Home;
let site: string;
let user: string;

beforeEach(() => {
  home = freshHome();
  site = path.join(temporaryDirectory(), 'site.yaml');
  user = path.join(home.path, '.config/start-jupyter/config.yaml');
  mkdirSync(path.dirname(user), { recursive: true });
  writeFileSync(
    site,
    `systems:
  one: { title: Centre One, scheduler: slurm, proxy: { endpoint: one.test }, detect: { env: { CENTRE: ^one$ } } }
  two: { title: Centre Two, scheduler: pbs, detect: { env: { CENTRE: ^(one|two)$ }, file: ${site} } }
  three: { scheduler: slurm, detect: { env: { CENTRE: ^three$ }, clusterName: third } }
`,
  );
});

/** A machine without a scheduler, whatever the tester's has. */
const systems = (args: readonly string[], env: Record<string, string> = {}, programs = '') =>
  run(['systems', ...args], {
    home,
    path: [programs, usualPrograms({ without: slurmPrograms })].filter(Boolean).join(':'),
    env: { START_JUPYTER_SITE_CONFIG: site, SLURM_CONF: '/nowhere/slurm.conf', ...env },
  });

async function report(env: Record<string, string> = {}, programs = '') {
  const { stdout, stderr, exitCode } = await systems(['--json'], env, programs);
  expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 });
  return JSON.parse(stdout);
}

function slurmConfiguration(clusterName: string): string {
  const file = path.join(temporaryDirectory(), 'slurm.conf');
  writeFileSync(file, `ClusterName=${clusterName}\n`);
  return file;
}

describe('which one this is', () => {
  it('is said with each rule and what was seen', async () => {
    writeFileSync(user, 'systems: { two: { detect: { file: /not/here } } }\n');
    const { this: own, systems: known, problem } = await report({ CENTRE: 'one' });
    expect(own).toEqual({ name: 'one', title: 'Centre One', scheduler: 'slurm' });
    expect(problem).toBeNull();
    expect(known.find(({ name }: { name: string }) => name === 'one')).toEqual({
      name: 'one',
      title: 'Centre One',
      scheduler: 'slurm',
      proxy: 'one.test',
      from: [site],
      matches: true,
      rules: [{ rule: 'env.CENTRE', wanted: '^one$', seen: 'one', matched: true }],
    });
    expect(known.find(({ name }: { name: string }) => name === 'two')).toMatchObject({
      from: [site, user],
      matches: false,
      rules: [{ rule: 'file', wanted: '/not/here', seen: null, matched: false }],
    });
    expect(known.find(({ name }: { name: string }) => name === 'expanse').from).toEqual(['built in']);
  });

  it('is said to people, with the rule that speaks against another', async () => {
    const env = { CENTRE: 'three', SLURM_CONF: slurmConfiguration('fourth') };
    const { stdout } = await systems([], env);
    expect(stdout).toContain("three doesn't match:\n  yes env.CENTRE: three\n");
    expect(stdout).toContain('  no  clusterName: fourth\n      wanted: third\n');
    const matching = await systems([], { ...env, SLURM_CONF: slurmConfiguration('third') });
    expect(matching.stdout).toMatch(/^\* three/m);
    expect(matching.stdout).toContain('This is three (three).\n');
  });

  it('is refused where several match, and both are shown', async () => {
    const { this: own, problem } = await report({ CENTRE: 'one' });
    expect(own).toBeNull();
    expect(problem).toBe('This machine looks like several systems: one, two.');
    const { stdout, exitCode } = await systems([], { CENTRE: 'one' });
    expect(stdout).toContain(`${problem}\nSay which one with --system one.`);
    expect(stdout).toMatch(/one matches:.*two matches:/s);
    expect(exitCode).toBe(0);
  });

  it('is nobody known: the scheduler that was found is said', async () => {
    expect((await systems([])).stdout).toContain(
      'no scheduler was found:\na launch runs on this machine itself.',
    );
    const stubs = stubCommands();
    stubs.add('sbatch', {});
    stubs.add('qsub', {});
    const conf = path.join(temporaryDirectory(), 'pbs.conf');
    writeFileSync(conf, '');
    const env = { SLURM_CONF: slurmConfiguration('unheard-of'), PBS_CONF_FILE: conf };
    expect(await report(env, stubs.directory)).toMatchObject({
      this: { name: 'generic-slurm', scheduler: 'slurm' },
      machine: { clusterName: 'unheard-of', schedulers: ['slurm', 'pbs'] },
    });
    expect((await systems([], env, stubs.directory)).stdout).toContain('It has pbs too; slurm counts.');
    expect(stubs.calls()).toEqual([]);
  });

  test.each<[string, Record<string, string>, string]>([
    ['a variable', { START_JUPYTER_SYSTEM: 'two' }, ''],
    ['a file', {}, 'system: two\n'],
  ])('is what %s names', async (_, env, content) => {
    if (content !== '') writeFileSync(user, content);
    const origin = content === '' ? 'START_JUPYTER_SYSTEM' : user;
    expect(await report(env)).toMatchObject({ this: { name: 'two' }, namedBy: origin });
    expect((await systems([], env)).stdout).toContain(`taken for two (Centre Two): ${origin} says so.`);
  });

  it('is a problem where what is named is unknown', async () => {
    const { this: own, problem } = await report({ START_JUPYTER_SYSTEM: 'tow' });
    expect(own).toBeNull();
    expect(problem).toContain('Did you mean "two"?');
  });
});

describe('a system that Slurm alone knows the name of', () => {
  const note =
    /^Slurm was not asked for its name, so a launch may find another system than generic-none: .*--system NAME.*\n$/;
  let stubs: Stubs;

  beforeEach(() => {
    stubs = stubCommands();
    stubs.answer('scontrol', { 'scontrol show config': { stdout: 'ClusterName             = testc\n' } });
    writeFileSync(
      site,
      `systems:
  testc: { scheduler: slurm, proxy: { endpoint: testc.test }, detect: { clusterName: testc }, profiles: { class: { time: 2h } } }
`,
    );
  });

  /** Without a readable slurm.conf, as where Slurm is configless. */
  const call = (args: readonly string[], env: Record<string, string> = {}) => {
    const conf = path.join(temporaryDirectory(), 'slurm.conf');
    writeFileSync(conf, '');
    return run(args, {
      home,
      path: `${stubs.directory}:${usualPrograms({ without: slurmPrograms })}`,
      env: { START_JUPYTER_SITE_CONFIG: site, SLURM_CONF: conf, ...env },
    });
  };

  test.each([['--info'], ['config']])('is found by %s as by a launch', async (command) => {
    const { stdout, stderr, exitCode } = await call([command, '--json', '--profile', 'class']);
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 });
    expect(JSON.parse(stdout)).toMatchObject({
      system: { name: 'testc', scheduler: 'slurm', proxy: { endpoint: 'testc.test' } },
      settings: { time: { value: 7200, origin: 'profile class' } },
    });
    expect(stubs.calls()).toEqual(['scontrol show config']);
  });

  it('may be missed by --dry-run, which asks nobody and says so', async () => {
    const { stdout, stderr, exitCode } = await call(['--dry-run']);
    expect(stderr).toMatch(note);
    expect(exitCode).toBe(0);
    expect(stdout).not.toContain('#SBATCH');
    expect(await call(['--dry-run', '--quiet'])).toEqual({ stdout, stderr: '', exitCode: 0 });
    const named = await call(['--dry-run', '--system', 'testc', '--profile', 'class']);
    expect(named).toMatchObject({ stderr: '', exitCode: 0, stdout: expect.stringContaining('#SBATCH') });
    // Where nobody has described it, too: a launch submits.
    writeFileSync(site, '');
    stubs.add('sbatch', {});
    expect((await call(['--dry-run'])).stderr).toMatch(note);
    expect(stubs.calls()).toEqual([]);
  });

  it('is waited for by a person who is told what for', async () => {
    const answer = path.join(temporaryDirectory(), 'answer');
    const env = { START_JUPYTER_SITE_CONFIG: site, SLURM_CONF: '/nowhere/slurm.conf', ANSWER: answer };
    writeFileSync(
      path.join(stubs.directory, 'scontrol'),
      '#!/bin/sh\nuntil [ -e "$ANSWER" ]; do sleep 0.05; done\necho "ClusterName = testc"\n',
      { mode: 0o755 },
    );
    const searchPath = [stubs.directory, usualPrograms({ without: slurmPrograms })].join(':');
    const terminal = onTerminal(['--info'], { home, path: searchPath, env });
    await terminal.answer('Asking Slurm for its name');
    writeFileSync(answer, '');
    expect((await terminal.ended).exitCode).toBe(0);
  });

  it('is named also where a refusal comes from having missed it', async () => {
    for (const args of [
      ['--dry-run', '--profile', 'class'],
      ['--dry-run', '-p', 'debug'],
      ['service', '--keep-link', 'x', '--profile', 'class'],
    ]) {
      const { stderr, exitCode } = await call(args);
      expect(exitCode, args.join(' ')).not.toBe(0);
      expect(stderr.slice(0, stderr.indexOf('\n') + 1), args.join(' ')).toMatch(note);
    }
    expect(stubs.calls()).toEqual([]);
  });

  it('is not worried about where its name decides nothing or is known', async () => {
    const conf = slurmConfiguration('testc');
    const known = await call(['--dry-run'], { SLURM_CONF: conf });
    expect(known).toMatchObject({ stderr: '', exitCode: 0, stdout: expect.stringContaining('#SBATCH') });
    writeFileSync(
      site,
      `systems:
  env: { scheduler: slurm, proxy: { endpoint: env.test }, detect: { env: { CENTRE: ^env$ } } }
  other: { scheduler: slurm, detect: { env: { CENTRE: ^other$ }, clusterName: other } }
`,
    );
    expect(await call(['--dry-run'])).toMatchObject({ stderr: '', exitCode: 0 });
    expect(await call(['--dry-run'], { CENTRE: 'env' })).toMatchObject({ stderr: '', exitCode: 0 });
    expect(stubs.calls()).toEqual([]);
  });
});

it('groups the systems by the file that describes them', async () => {
  const { stdout } = await systems([]);
  const lines = stdout.split('\n').map((line) => line.trim().split(/\s+/)[0]);
  expect(lines.indexOf('expanse')).toBeLessThan(lines.indexOf(`${site}:`));
  expect(lines.indexOf(`${site}:`)).toBeLessThan(lines.indexOf('one'));
});

test.each([
  ['with colour', { FORCE_COLOR: '1' }],
  ['without', {}],
])('fits 80 columns %s', async (_, env) => {
  const { stdout } = await run(['systems'], {
    home,
    path: usualPrograms({ without: slurmPrograms }),
    env: { SLURM_CONF: '/nowhere/slurm.conf', ...env },
  });
  expect(stdout.includes('\u001b[')).toBe('FORCE_COLOR' in env);
  for (const line of stripVTControlCharacters(stdout).split('\n'))
    expect(line.length).toBeLessThanOrEqual(80);
});

it("shows nobody's control characters", async () => {
  writeFileSync(
    user,
    'systems: { odd: { title: "a\\e[31mb", scheduler: slurm, detect: { env: { CENTRE: "^\\e" } } } }\n',
  );
  const { stdout } = await systems([], { CENTRE: '\u001b[2Jx' });
  expect(stdout).toContain('odd');
  expect(stdout).not.toContain('\u001b');
});

describe('init', () => {
  let stubs: Stubs;

  beforeEach(() => {
    stubs = stubCommands();
  });

  /** A cluster whose commands answer as recorded. */
  interface Cluster {
    readonly env: Record<string, string>;
    readonly title: string;
  }

  function slurm(): Cluster {
    stubs.add('sbatch', {});
    stubs.answer('sinfo', {
      'sinfo --noheader --format=%P|%a|%l': recording('slurm-22.05/sinfo-partitions'),
      'sinfo --noheader --format=%P|%G': { stdout: 'compute*|(null)\ndebug|gpu:a100:4(S:0-1),nvme:1\n' },
    });
    stubs.add('sacctmgr', recording('slurm-22.05/sacctmgr-accounts'));
    return { env: { SLURM_CONF: slurmConfiguration('lab') }, title: 'Slurm' };
  }

  function pbs(): Cluster {
    stubs.add('qsub', {});
    stubs.add('qstat', recording('openpbs-23.06/qstat-queues-json'));
    const conf = path.join(temporaryDirectory(), 'pbs.conf');
    writeFileSync(conf, '');
    return { env: { PBS_CONF_FILE: conf }, title: 'PBS' };
  }

  function gridEngine(): Cluster {
    stubs.add('qsub', {});
    stubs.answer('qconf', {
      'qconf -sq *': recording('gridengine-8.1/qconf-sq'),
      'qconf -sprjl': recording('gridengine-8.1/qconf-sprjl'),
      'qconf -spl': recording('gridengine-8.1/qconf-spl'),
    });
    const root = temporaryDirectory();
    mkdirSync(path.join(root, 'default/common'), { recursive: true });
    writeFileSync(path.join(root, 'default/common/act_qmaster'), 'head\n');
    return { env: { SGE_ROOT: root, PBS_CONF_FILE: '/nowhere' }, title: 'Grid Engine' };
  }

  /** From IBM's manual of bqueues, as there is no recording. */
  function lsf(): Cluster {
    stubs.add('bsub', {});
    stubs.add('bqueues', {
      stdout: JSON.stringify({
        COMMAND: 'bqueues',
        QUEUES: 2,
        RECORDS: [
          { QUEUE_NAME: 'normal', STATUS: 'Open:Active' },
          { QUEUE_NAME: 'night', STATUS: 'Open:Inact' },
        ],
      }),
    });
    const directory = temporaryDirectory();
    writeFileSync(path.join(directory, 'lsf.conf'), '');
    return { env: { LSF_ENVDIR: directory, PBS_CONF_FILE: '/nowhere' }, title: 'LSF' };
  }

  const init = ({ env }: Cluster, args: readonly string[] = []) =>
    systems(['init', ...args], env, stubs.directory);

  test.each<[string, () => Cluster, readonly string[]]>([
    ['slurm', slurm, ['compute', 'debug']],
    ['pbs', pbs, ['workq', 'debug']],
    ['sge', gridEngine, ['compute', 'debug']],
    ['lsf', lsf, ['normal', 'night']],
  ])('on %s begins a description by which this machine is known at once', async (scheduler, make, queues) => {
    const cluster = make();
    const { stdout, stderr, exitCode } = await init(cluster, ['newcluster']);
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 });
    expect(stdout).toContain(`from what ${cluster.title}`);
    expect(stdout).toContain('# proxy: { endpoint: ');
    // The host's name is the tester's own.
    for (const line of stdout.split('\n').filter((each) => !each.includes(os.hostname())))
      expect(line.length).toBeLessThanOrEqual(80);
    for (const queue of queues) expect(stdout).toContain(`      ${queue}: {`);

    writeFileSync(site, stdout);
    expect((await report(cluster.env, stubs.directory)).this).toEqual({
      name: 'newcluster',
      title: 'newcluster',
      scheduler,
    });
  });

  it('knows what Slurm says of limits, GPUs and the partition that is taken by itself', async () => {
    const { stdout } = await init(slurm());
    expect(stdout).toContain('  lab:\n');
    expect(stdout).toContain('clusterName: lab }\n');
    expect(stdout).toContain('    defaults: { partition: compute, time: 30m }\n');
    expect(stdout).toContain('      compute: { maxTime: 2d }\n');
    expect(stdout).toContain('      debug: { maxTime: 30m, gpu: true }\n');
    expect(stdout).toContain('    gpuDirective: gpus\n');
  });

  it("knows PBS's limits and Grid Engine's parallel environments", async () => {
    expect((await init(pbs())).stdout).toContain('      debug: { maxTime: 30m }\n');
    stubs = stubCommands();
    expect((await init(gridEngine())).stdout).toContain('    sge: { parallelEnvironment: smp }\n');
  });

  it('takes any name that a system can have, and prints JSON', async () => {
    const cluster = slurm();
    writeFileSync(site, JSON.parse((await init(cluster, ['--json', '0x10'])).stdout).description);
    expect((await report(cluster.env, stubs.directory)).this.name).toBe('0x10');
    expect(await init(cluster, ['no: "1"'])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("can't be the name of a system"),
    });
  });

  it('says so where the scheduler does not answer, or there is none', async () => {
    const cluster = slurm();
    stubs.add('sinfo', recording('slurm-22.05/sinfo-unreachable-refused'));
    const unreachable = await init(cluster);
    expect(unreachable).toMatchObject({ stdout: '', exitCode: 5 });
    expect(unreachable.stderr).toContain('Slurm does not answer: ');
    const none = await systems(['init']);
    expect(none).toMatchObject({ stdout: '', exitCode: 3 });
    expect(none.stderr).toContain('No scheduler was found on this machine');
  });

  it('is refused where it is misspelled, or told too much', async () => {
    const { stdout, stderr, exitCode } = await systems(['int']);
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 2 });
    expect(stderr).toContain('Did you mean "init"?');
    expect(stderr).toContain('start-jupyter systems init NAME');
    expect((await systems(['init', 'a', 'b'])).exitCode).toBe(2);
  });
});
