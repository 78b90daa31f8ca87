/** `--interactive` on a real terminal: the built launcher, and a scheduler's stand-in or its recorded answers. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { beforeEach, describe, expect, it } from 'vitest';
import { clusterOfOne } from '../support/batch-cluster.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { program, type RunOptions, run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { recording } from '../support/recordings.ts';
import { type Stubs, stubCommands } from '../support/stubs.ts';
import { keys, onTerminal } from '../support/terminal.ts';

const { enter, down, backspace } = keys;
const answersOf = (home: Home) => path.join(path.dirname(home.sessions), 'answers.json');

describe('on PBS', () => {
  const cluster = clusterOfOne('pbs');

  it('the answers become the job, are offered again, and may be left with Ctrl-C without a trace', async () => {
    const terminal = onTerminal(['--interactive', '--', '-h'], cluster.login());
    await terminal.answer('workq', down, down, enter);
    await terminal.answer('Time limit (at most 30m)', '1h', enter);
    await terminal.answer('The partition allows 30m at most.', backspace, backspace, '20', enter);
    await terminal.answer('CPUs (up to 2 on a node', '1', enter);
    await terminal.answer('Memory (up to 23 GB on a node', '512M', enter);
    await terminal.answer('Where Jupyter comes from', enter);
    await terminal.answer('Directory to start in', enter);
    await terminal.answer('Go ahead?', enter);
    const { exitCode, stdout } = await terminal.ended;
    expect(exitCode).toBe(0);
    // The link alone: questions went to the terminal.
    expect(stdout).toMatch(/^https:\/\/\S+\n$/);
    const screen = stripVTControlCharacters(terminal.raw());
    expect(screen).toContain('Queue (free in all: 1/1 nodes, 2/2 CPUs)');
    expect(screen).toContain('start-jupyter -p debug -t 20m -c 1 -m 512M -- -h');
    expect(cluster.pbs.state.job('1.pbs-head')).toMatchObject({
      state: 'H',
      queue: 'debug',
      resources: { ncpus: 1, mem: '512mb', walltime: '00:20:00' },
    });
    expect(statSync(answersOf(cluster.home)).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(answersOf(cluster.home), 'utf8'))).toMatchObject({
      test: { partition: 'debug', time: '20', cpus: '1', memory: '512M', dir: '~' },
    });

    const again = onTerminal(['--interactive', '-c', '2'], cluster.login());
    await again.answer(/❯ debug/, enter);
    await again.answer(/Time limit \(at most 30m\) \(20\)/, enter);
    // What was given is not asked.
    await again.answer(/Memory .*\(512M\)/, keys['Ctrl-C']);
    expect(await again.ended).toMatchObject({ exitCode: 130, stdout: '' });
    expect(cluster.pbs.state.jobs()).toHaveLength(1);

    await cluster.call('stop', '--all');
    await cluster.expectNothingLeft(stdout.trim());
  });
});

describe('on Slurm', () => {
  let home: Home;
  let stubs: Stubs;
  let login: RunOptions;

  const partitions = `compute*|up|2-00:00:00\ndebug|up|30:00\nold|down|infinite\nevil\u001b]0;owned\u0007|up|1:00:00\n`;
  const nodes = [
    'c1 compute* mixed  4/12/0/16  32000  (null) (null)',
    'c2 compute* idle 0/40/0/40  180000 gpu:v100:4,gpu:a100:2(S:0-1) gpu:v100:3(IDX:0-1,3),gpu:a100:0(IDX:N/A)',
    'c1 debug    mixed  4/12/0/16  32000  (null) (null)\n',
  ].join('\n');
  const listing = '--noheader --format=%P|%a|%l';
  const widths = 'NodeHost:80,Partition:100,StateLong:20,CPUsState:40,Memory:20,Gres:400,GresUsed:400';
  const slurmHas = (answers: Readonly<Record<'partitions' | 'nodes', Parameters<Stubs['add']>[1]>>) =>
    stubs.answer('sinfo', {
      [`sinfo ${listing}`]: answers.partitions,
      [`sinfo --noheader --Node --Format=${widths}`]: answers.nodes,
    });

  beforeEach(() => {
    home = freshHome();
    stubs = stubCommands();
    for (const name of ['sbatch', 'squeue', 'scancel', 'sacct', 'scontrol']) stubs.add(name, { exitCode: 1 });
    slurmHas({ partitions: { stdout: partitions }, nodes: { stdout: nodes } });
    stubs.add('sacctmgr', { stdout: 'abc123\nxyz7\n' });
    symlinkSync(program, path.join(stubs.directory, 'start-jupyter'));
    const site = path.join(temporaryDirectory(), 'site.yaml');
    writeFileSync(
      site,
      `systems: { test: { title: Test, scheduler: slurm, detect: { env: { TEST_CLUSTER: yes } }, proxy: { endpoint: sites.test },
         partitions: { gpu: { gpu: true, maxTime: 1h } } } }`,
    );
    login = {
      home,
      path: `${stubs.directory}:${usualPrograms({ without: slurmPrograms })}`,
      env: { START_JUPYTER_SITE_CONFIG: site, TEST_CLUSTER: 'yes' },
    };
  });

  it('the command line that is printed asks for what was answered', async () => {
    const project = path.join(home.path, 'my project');
    mkdirSync(project);
    const terminal = onTerminal(['--interactive', '-m', '16'], login);
    await terminal.answer('Account to charge', down, down, enter);
    await terminal.answer('1/2 nodes  52/56 CPUs  1/4 v100 2/2 a100', enter);
    await terminal.answer('Time limit (at most 2d)', '2h', enter);
    await terminal.answer('GPUs (free/all at the moment)', down, down, enter);
    await terminal.answer('How many of them', '3', enter);
    await terminal.answer('There are 2.', backspace, '2', enter);
    await terminal.answer('CPUs (up to 40 on a node', enter);
    await terminal.answer('Where Jupyter comes from', down, enter);
    await terminal.answer('Modules', 'gcc,python/3.11', enter);
    await terminal.answer('Interface', down, down, enter);
    await terminal.answer('Directory', '/nowhere', enter);
    await terminal.answer('/nowhere: does not exist.', ...Array(8).fill(backspace), project, enter);
    await terminal.answer('Go ahead?', down, enter);
    const { exitCode, stdout } = await terminal.ended;
    expect(exitCode).toBe(0);
    const script = execFileSync('bash', ['-c', `${stdout.trimEnd()} --dry-run`], {
      encoding: 'utf8',
      cwd: '/',
      env: { ...home.env, ...login.env, PATH: login.path },
    });
    for (const directive of [
      'account=xyz7',
      'partition=compute',
      'time=02:00:00',
      'gpus=a100:2',
      'mem=16384M',
    ])
      expect(script).toContain(`#SBATCH --${directive}\n`);
    expect(script).toContain(project);
    expect(script).toContain('python/3.11');
    // Nobody but the questions has asked Slurm, and nothing was submitted.
    expect(stubs.calls().filter((call) => !/^(?:sinfo|sacctmgr|scontrol show) /.test(call))).toEqual([]);
    // No name of a partition reaches the terminal with what a terminal would obey.
    expect(terminal.raw()).not.toContain('owned');
    expect(terminal.raw()).toContain('takes no jobs now');
  });

  it('Esc, Ctrl-C or Ctrl-D at a question end it with 130, and leave the terminal as it was', async () => {
    const leave = async (key: 'escape' | 'Ctrl-C' | 'Ctrl-D') => {
      const terminal = onTerminal(['--interactive'], login);
      await terminal.answer('Account to charge', keys[key]);
      const { settingsBefore, settingsAfter, ...ended } = await terminal.ended;
      expect(ended, key).toEqual({ exitCode: 130, stdout: '' });
      expect(settingsAfter, key).toBe(settingsBefore);
      expect(terminal.raw(), key).toContain('Interrupted; nothing was started.');
      // The cursor was hidden for the list.
      const [shown, hidden] = ['\u001b[?25h', '\u001b[?25l'].map((code) => terminal.raw().lastIndexOf(code));
      expect(shown, key).toBeGreaterThan(hidden ?? 0);
    };
    await Promise.all((['escape', 'Ctrl-C', 'Ctrl-D'] as const).map(leave));
    expect(existsSync(answersOf(home))).toBe(false);
  });

  it('says that Slurm does not answer and that the last answers are damaged, offers the description, has no colour with NO_COLOR', async () => {
    const away = recording('slurm-22.05/sinfo-unreachable-refused');
    slurmHas({ partitions: away, nodes: away });
    mkdirSync(path.dirname(answersOf(home)), { recursive: true });
    writeFileSync(answersOf(home), '{"test": {"partit');
    const terminal = onTerminal(['--interactive', '--lab', '-d', '~'], {
      ...login,
      env: { ...login.env, NO_COLOR: '1' },
    });
    await terminal.answer('another one, by its name', down, enter);
    await terminal.answer('Time limit (at most 1h)', enter);
    await terminal.answer('GPUs', '1', enter);
    await terminal.answer('CPUs', enter);
    await terminal.answer('Memory', enter);
    await terminal.answer('Where Jupyter comes from', enter);
    await terminal.answer('Go ahead?', down, down, enter);
    expect(await terminal.ended).toMatchObject({ exitCode: 130, stdout: '' });
    const screen = stripVTControlCharacters(terminal.raw()).replace(/\s+/g, ' ');
    expect(screen).toContain('Slurm does not answer (Unable to contact slurm controller (connect failure)):');
    expect(screen).toContain(`Your last answers are ignored: ${answersOf(home)}: it is damaged.`);
    expect(screen).toContain('start-jupyter --lab -d ~ -p gpu -g 1 ');
    expect(screen).toContain('Cancelled; nothing was started.');
    expect(terminal.raw().match(/\u001b\[[\d;]*m/g) ?? []).toEqual([]);
  });

  it('is refused without a terminal, and beside what is for programs', async () => {
    const refusals = [
      ['there is no terminal'],
      ['--interactive and --json contradict each other', '--json'],
      ['--interactive and -q, --quiet contradict each other', '--quiet'],
      ['--interactive and --dry-run contradict each other', '--dry-run'],
    ] as const;
    const refused = async ([message, ...args]: (typeof refusals)[number]) => {
      const { exitCode, stderr } = await run(['--interactive', ...args], login);
      expect(exitCode, stderr).toBe(2);
      expect(stderr).toContain(message);
      expect(stderr.trimEnd().split('\n').length, stderr).toBeLessThanOrEqual(2);
    };
    await Promise.all(refusals.map(refused));
    expect(stubs.calls()).toEqual([]);
  });
});

describe('where nothing is submitted', () => {
  it('the offer to install JupyterLab may be left with Esc, and is not taken then', async () => {
    const home = freshHome();
    const terminal = onTerminal([], {
      home,
      path: usualPrograms({ without: /^jupyter|^(?:s(?:batch|queue|info)|q\w+|b(?:sub|jobs|kill))$/ }),
    });
    await terminal.answer('is not installed here. Install it into ~/.local/share/', keys.escape);
    expect(await terminal.ended).toMatchObject({ exitCode: 130, stdout: '' });
    expect(terminal.raw()).toContain('Interrupted; nothing was installed.');
    expect(existsSync(path.join(home.path, '.local', 'share'))).toBe(false);
  });

  it('asks where Jupyter comes from and where it starts only', async () => {
    const home = freshHome();
    const login = {
      home,
      path: usualPrograms({ without: /^(?:s(?:batch|queue|info)|q\w+|b(?:sub|jobs|kill))$/ }),
    };
    const terminal = onTerminal(['--interactive', '--here', '-s', 'notebook'], login);
    await terminal.answer('Where Jupyter comes from', enter);
    await terminal.answer('Directory to start in', enter);
    await terminal.answer('Go ahead?', down, enter);
    expect(await terminal.ended).toMatchObject({ exitCode: 0, stdout: 'start-jupyter --notebook --here\n' });
  });
});
