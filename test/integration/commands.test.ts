import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { beforeEach, describe, expect, it, onTestFinished, test } from 'vitest';
import { optionKeys, options } from '../../src/options.ts';
import { processSpace } from '../../src/sessions/local-process.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { program, type Ran, run, runInto, slurmPrograms, start, usualPrograms } from '../support/program.ts';
import { recording } from '../support/recordings.ts';
import { reportKeys, saveSession } from '../support/sessions.ts';
import { type Stubs, stubCommands } from '../support/stubs.ts';
import { observedCluster } from '../support/untouched.ts';

const commands = [
  'launch',
  'list',
  'status',
  'url',
  'open',
  'logs',
  'stop',
  'prune',
  'config',
  'doctor',
  'systems',
  'templates',
  'completion',
];
const escapeCode = /\u001b/;

let home: Home;
let stubs: Stubs;

beforeEach(() => {
  home = freshHome();
  stubs = stubCommands();
});

/** A Slurm that answers as recorded. */
function slurmSays(answers: Readonly<Record<string, string>>): void {
  for (const [command, name] of Object.entries(answers)) stubs.add(command, recording(`slurm-22.05/${name}`));
}

const searchPath = () => `${stubs.directory}:${usualPrograms({ without: slurmPrograms })}`;
const call = (...args: string[]): Promise<Ran> => run(args, { home, path: searchPath() });

describe('help', () => {
  test.each(['', ...commands])('of "%s" fits into 80 columns', async (name) => {
    const { exitCode, stdout, stderr } = await call(...(name === '' ? [] : [name]), '--help');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(stdout).toMatch(/^Usage: /);
  });

  it('is a command, too', async () => {
    expect(await call('help')).toEqual(await call('--help'));
    expect(await call('help', 'stop')).toEqual(await call('stop', '--help'));
    expect(await call('help', 'help')).toEqual(await call('--help'));
    expect(await call('help', 'nothing')).toEqual(await call('nothing'));
    expect(await call('help', 'nothing')).toMatchObject({
      exitCode: 2,
      stdout: '',
      stderr: expect.stringContaining('There is no command "nothing".'),
    });
  });

  it('shows every option and every command', async () => {
    const { stdout } = await call('--help');
    for (const key of optionKeys)
      expect(stdout).toMatch(new RegExp(`^ +(?:-\\w, )?--${options[key].flag}\\b`, 'm'));
    for (const name of commands) expect(stdout).toMatch(new RegExp(`^  ${name}\\b`, 'm'));
  });
});

it('tells its version', async () => {
  const { version } = JSON.parse(readFileSync(path.join(import.meta.dirname, '../../package.json'), 'utf8'));
  expect(await call('--version')).toEqual({ exitCode: 0, stdout: `${version}\n`, stderr: '' });
});

describe('NODE_OPTIONS that are left over from a debugger', () => {
  // Node.js would wait there for the debugger.
  it.each(['--inspect=0', '--inspect-brk=0', '--inspect-wait=0', '--inspect --inspect_brk=0'])(
    '%s let nobody into either program',
    async (inspect) => {
      for (const copy of [program, path.join(path.dirname(program), 'satellite')]) {
        const env = { NODE_OPTIONS: inspect };
        const ran = await run(['--help'], { home, path: searchPath(), env, program: copy });
        expect(ran).toMatchObject({ exitCode: 0, stderr: '' });
      }
    },
  );

  it('reach what the launcher starts', async () => {
    const seen = path.join(temporaryDirectory(), 'seen');
    writeFileSync(
      path.join(stubs.directory, 'squeue'),
      `#!/bin/sh\necho "$NODE_OPTIONS" >'${seen}'\nexit 1\n`,
      { mode: 0o755 },
    );
    saveSession(home, 'abcdef', {});
    await run(['status'], { home, path: searchPath(), env: { NODE_OPTIONS: '--inspect=0' } });
    expect(readFileSync(seen, 'utf8')).toBe('--inspect=0\n');
  });
});

describe('--dry-run', () => {
  it('prints the script that would be submitted, contacts nobody and writes nothing', async () => {
    const cluster = observedCluster();
    const wanted = [
      '-p',
      'debug',
      '-t',
      '20',
      '-A',
      'abc123',
      '-g',
      'v100:2',
      '-c',
      '4',
      '-m',
      '8',
      '-e',
      'gcc/12',
      '--module',
      'python',
      '-d',
      '/tmp',
    ];
    const ran = await run(['--dry-run', ...wanted], cluster);
    expect(ran).toMatchObject({ exitCode: 0, stderr: '' });
    expect(cluster.traces()).toEqual([]);
    expect(spawnSync('bash', ['-n'], { input: ran.stdout, encoding: 'utf8' })).toMatchObject({
      status: 0,
      stderr: '',
    });
    for (const line of [
      '#SBATCH --partition=debug',
      '#SBATCH --time=00:20:00',
      '#SBATCH --account=abc123',
      '#SBATCH --gpus=v100:2',
      '#SBATCH --cpus-per-task=4',
      '#SBATCH --mem=8192M',
      'modules=(gcc/12 python)',
      'start_dir=/tmp',
    ]) {
      expect(ran.stdout.split('\n').map((each) => each.replace(/ # .*/, ''))).toContain(line);
    }
  });

  it('prints the same for a launch right here', async () => {
    const ran = await call('--dry-run', '--here');
    expect(ran).toMatchObject({ exitCode: 0, stderr: '' });
    expect(ran.stdout).not.toContain('#SBATCH');
    expect(existsSync(path.join(home.path, '.local'))).toBe(false);
  });
});

describe('--info', () => {
  it('tells every setting and where it came from, and does nothing', async () => {
    const cluster = observedCluster();
    const ran = await run(['--info', '-t', '2h'], {
      ...cluster,
      env: { ...cluster.env, START_JUPYTER_MEMORY: '8' },
    });
    expect(ran).toMatchObject({ exitCode: 0, stderr: '' });
    expect(cluster.traces()).toEqual([]);
    expect(ran.stdout).toMatch(/^system +test \(Test\) +scheduler: slurm$/m);
    expect(ran.stdout).toMatch(/^time +2h +-t, --time$/m);
    expect(ran.stdout).toMatch(/^memory +8192 MiB +START_JUPYTER_MEMORY$/m);
    expect(ran.stdout).toMatch(/^partition +compute +defaults of test \(\/.+\)$/m);
    expect(ran.stdout).toMatch(/^account +not set$/m);
  });

  it('tells the same as one JSON object', async () => {
    const cluster = observedCluster();
    const ran = await run(['--info', '--json', '-t', '2h'], cluster);
    expect(ran).toMatchObject({ exitCode: 0, stderr: '' });
    const { system, settings } = JSON.parse(ran.stdout);
    expect(ran.stdout.match(/\n/g)).toHaveLength(1);
    expect(system).toMatchObject({ name: 'test', scheduler: 'slurm' });
    expect(settings).toMatchObject({
      time: { value: 7200, origin: '-t, --time' },
      partition: { value: 'compute', origin: expect.stringMatching(/^defaults of test \(\/.+\)$/) },
      account: null,
    });
  });
});

describe('without sessions', () => {
  it.each<[string[], number, string | RegExp, RegExp]>([
    [['list'], 0, '', /No session is running/],
    [['list', '--all'], 0, '', /No session is running/],
    [['list', '--json'], 0, '[]\n', /^$/],
    [['status'], 2, '', /no sessions yet/],
    [['status', 'abc'], 2, '', /There is no session "abc"/],
    [['url', 'abc'], 2, '', /There is no session "abc"/],
    [['logs', 'abc'], 2, '', /There is no session "abc"/],
    [['stop', 'abc'], 2, '', /There is no session "abc"/],
    [['stop', '--all'], 0, '', /No session is running/],
    [['stop', '--all', '--json'], 0, '[]\n', /^$/],
    [['stop'], 2, '', /Which session/],
  ])('%j', async (args, exitCode, stdout, stderr) => {
    const ran = await call(...args);
    expect(ran).toMatchObject({ exitCode, stdout });
    expect(ran.stderr).toMatch(stderr);
    expect(ran.stderr.trimEnd().split('\n').length).toBeLessThanOrEqual(2);
    expect(existsSync(home.sessions)).toBe(false);
  });
});

describe('a session whose job runs', () => {
  beforeEach(() => {
    slurmSays({ squeue: 'squeue-running', sacct: 'sacct-unknown' });
    saveSession(home, 'abcdef', { events: [['allocated'], ['ready']], log: 'one line\nsecond line\n' });
  });
  const url = 'https://one-two-three.sites.test/?token=jupytertokenabcdef';

  it('is listed', async () => {
    const { exitCode, stdout, stderr } = await call('list');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toMatch(/^SESSION .*\nabcdef +ready +3 +test +\S.* +\/home\/a\n$/);
    expect(stdout).not.toContain('jupytertoken');
  });

  it.each([
    ['list', '--json'],
    ['status', '--json'],
    ['status', 'abcdef', '--json'],
    ['status', '3', '--json'],
    ['status', 'ab', '--json'],
  ])('%s %s %s tells what the SPEC names and nothing else', async (...args) => {
    const { exitCode, stdout, stderr } = await call(...args);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const told = JSON.parse(stdout);
    const report = Array.isArray(told) ? told[0] : told;
    expect(Object.keys(report)).toEqual(reportKeys);
    expect(report).toMatchObject({
      id: 'abcdef',
      scheduler: 'slurm',
      jobId: '3',
      url,
      state: 'ready',
      // As squeue was recorded.
      expiresAt: new Date(1795305585_000).toISOString(),
    });
    expect(path.dirname(report.log)).toBe(path.join(home.sessions, 'abcdef'));
  });

  it('shows its state to a person without the secret', async () => {
    const { exitCode, stdout } = await call('status');
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^state +Ready/m);
    expect(stdout).not.toContain('jupytertoken');
  });

  it('gives its link, alone', async () => {
    expect(await call('url', 'abcdef')).toEqual({ exitCode: 0, stdout: `${url}\n`, stderr: '' });
    expect(JSON.parse((await call('url', 'abcdef', '--json')).stdout)).toEqual({ id: 'abcdef', url });
  });

  it('shows its log', async () => {
    expect(await call('logs', 'abcdef')).toEqual({
      exitCode: 0,
      stdout: 'one line\nsecond line\n',
      stderr: '',
    });
    expect(JSON.parse((await call('logs', 'abcdef', '--json')).stdout)).toEqual({
      id: 'abcdef',
      state: 'ready',
      log: 'one line\nsecond line\n',
    });
  });

  it('is followed to its end', async () => {
    const following = start(['logs', '-f', 'abcdef'], { home, path: searchPath() });
    for await (const line of following.iterable()) {
      if (line !== 'second line') continue;
      appendFileSync(path.join(home.sessions, 'abcdef', 'job.log'), 'last line\n');
      writeFileSync(
        path.join(home.sessions, 'abcdef', 'events'),
        '1795303785\tended\tJupyter was shut down.\n',
      );
    }
    const { exitCode, stdout, stderr } = await following;
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: 'one line\nsecond line\nlast line\n' });
    expect(stderr).toContain('Jupyter was shut down.');
  });

  it('is followed until nobody reads any more, also while nothing is logged', {
    timeout: 60_000,
  }, async () => {
    const script = '"$@" | head -1';
    const ran = await execa(
      '/bin/bash',
      ['-o', 'pipefail', '-c', script, 'sh', program, 'logs', '-f', 'abcdef'],
      {
        env: { ...home.env, PATH: searchPath() },
        extendEnv: false,
        reject: false,
        stdin: 'ignore',
      },
    );
    expect(ran).toMatchObject({ exitCode: 0, stdout: 'one line', stderr: '' });
  });
});

it.each([['list', '--json'], ['completion', 'bash'], ['--version'], ['-V']])(
  '%s %s says that its output can not be written',
  async (...args) => {
    expect(await runInto('/dev/full', args, { home, path: searchPath() })).toEqual({
      exitCode: 3,
      stdout: '',
      stderr: "start-jupyter: The output can't be written: no space left on device.\n",
    });
  },
);

it.each(['--version', '-V', '--help'])('satellite %s says so, too', async (option) => {
  const satellite = path.join(import.meta.dirname, '../../bin/satellite');
  const ran = await runInto('/dev/full', [option], { home, path: searchPath(), program: satellite });
  expect(ran).toMatchObject({ exitCode: 3, stdout: '' });
  expect(ran.stderr).toMatch(/^satellite: The output can't be written: [^\n]*no space left[^\n]*\n$/);
});

describe('stop', () => {
  beforeEach(() => {
    saveSession(home, 'abcdef', { events: [['allocated'], ['ready']] });
  });
  /** A job that runs until scancel is called. */
  const cancellable = () => {
    slurmSays({ scancel: 'scancel-ok', squeue: 'squeue-running', sacct: 'sacct-cancelled' });
    stubs.after('scancel', 'squeue', recording('slurm-22.05/squeue-unknown'));
  };
  const secrets = () => existsSync(path.join(home.sessions, 'abcdef', 'secrets'));

  it('cancels the job, sees it gone, and leaves no secret', async () => {
    cancellable();
    const ran = await call('stop', 'abcdef');
    expect(ran).toMatchObject({ exitCode: 0, stdout: '' });
    expect(ran.stderr).toContain('Stopped with "start-jupyter stop"');
    expect(stubs.calls()[0]).toBe('scancel 3');
    expect(secrets()).toBe(false);
    expect(await call('url', 'abcdef')).toMatchObject({ exitCode: 6, stdout: '' });
  });

  it('tells one object, or a list for --all', async () => {
    cancellable();
    const one = await call('stop', 'abcdef', '--json');
    expect(JSON.parse(one.stdout)).toMatchObject({
      id: 'abcdef',
      state: 'ended',
      url: null,
      expiresAt: null,
    });
    expect(Object.keys(JSON.parse(one.stdout))).toEqual([...reportKeys, 'reason']);
    saveSession(home, 'second', {});
    cancellable();
    const all = await call('stop', '--all', '--json');
    expect(JSON.parse(all.stdout)).toMatchObject([{ id: 'second', state: 'ended' }]);
  });

  it.each(['scancel-unreachable-refused', 'scancel-unreachable-silent', 'scancel-somebody-elses'])(
    'that meets %s says so with exit code 5 and keeps the session as it is',
    async (scancel) => {
      slurmSays({ scancel, squeue: 'squeue-running' });
      const ran = await call('stop', 'abcdef');
      expect(ran).toMatchObject({ exitCode: 5, stdout: '' });
      expect(ran.stderr).toMatch(/Unable to contact|timed out|permission denied/);
      expect(secrets()).toBe(true);
      expect(JSON.parse((await call('status', '--json')).stdout)).toMatchObject({ state: 'ready' });
    },
  );

  describe('of a session without a scheduler', () => {
    /** A process with the number that the session's own had, and what became of it. */
    const bystander = async (host: string) => {
      const child = spawn('sleep', ['600'], { stdio: 'ignore' });
      const exit = once(child, 'exit');
      const local = { host, pid: child.pid as number };
      saveSession(home, 'abcdef', { record: { scheduler: 'none', jobId: null, local }, events: [['ready']] });
      const ran = await call('stop', 'abcdef');
      child.kill('SIGKILL');
      const [, endedBy] = await exit;
      return { ...ran, endedBy };
    };

    it('leaves another process alone that has its number by now', async () => {
      const ran = await bystander(os.hostname());
      expect(ran).toMatchObject({ exitCode: 0, endedBy: 'SIGKILL' });
      expect(secrets()).toBe(false);
    });

    // Process numbers of one's own need root. The process runs on: only where it was started can anybody tell.
    it.runIf(process.getuid?.() === 0)('leaves alone what another container of this name runs', async () => {
      const directory = saveSession(home, 'abcdef');
      const child = spawn('bash', ['-c', 'read -r', path.join(directory, 'job.sh')], {
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      onTestFinished(() => void child.kill('SIGKILL'));
      const exit = once(child, 'exit');
      const local = { host: os.hostname(), pid: child.pid as number, ...processSpace() };
      const record = { scheduler: 'none', jobId: null, local } as const;
      saveSession(home, 'abcdef', { record, events: [['ready']] });
      const there = `"$0" list; "$0" prune; "$0" stop abcdef; echo "code $?"; "$0" status`;
      const { stdout, stderr } = await execa(
        'unshare',
        ['--uts', '--net', '--pid', '--fork', '--mount-proc', 'bash', '-c', there, program],
        { env: { ...home.env, PATH: searchPath() }, extendEnv: false, reject: false },
      );
      expect(stdout).toMatch(/^abcdef +ready .*\ncode 5\n(?:.*\n)*state +Ready/m);
      expect(stderr).toMatch(
        /There is nothing to remove\.\n(?:.*\n)*.*runs on .*, but not here.*\n.*where it was started/,
      );
      expect(secrets()).toBe(true);

      const ended = call('stop', 'abcdef');
      expect(await exit).toEqual([null, 'SIGTERM']);
      expect(await ended).toMatchObject({ exitCode: 0 });
    });

    it('of this machine before it was restarted is over; of a machine of its name it is not', async () => {
      const local = { ...processSpace(), host: os.hostname(), pid: 1, boot: 'another' };
      const record = { scheduler: 'none', jobId: null, local } as const;
      saveSession(home, 'abcdef', { record: { ...record, submittedAt: '2020-01-01T00:00:00.000Z' } });
      expect(await call('stop', 'abcdef')).toMatchObject({ exitCode: 0 });
      saveSession(home, 'ghjkmn', { record: { ...record, submittedAt: new Date().toISOString() } });
      expect(await call('stop', 'ghjkmn')).toMatchObject({ exitCode: 5 });
    });

    it('ends nothing on a machine that it does not run on, and says which it is', async () => {
      const ran = await bystander('elsewhere');
      expect(ran).toMatchObject({ exitCode: 5, stdout: '', endedBy: 'SIGKILL' });
      expect(ran.stderr).toContain('runs on elsewhere');
      expect(secrets()).toBe(true);
    });
  });
});

describe('a controller that is away', () => {
  beforeEach(() => {
    slurmSays({ squeue: 'squeue-unreachable-refused', sacct: 'sacct-unknown' });
    saveSession(home, 'abcdef', { events: [['allocated'], ['ready']] });
  });

  it('ends nothing: unreachable is not gone', async () => {
    const status = await call('status');
    expect(status).toMatchObject({ exitCode: 0 });
    expect(status.stdout).toContain('Unable to contact slurm controller');
    expect(JSON.parse((await call('list', '--json')).stdout)).toMatchObject([
      { state: 'ready', url: expect.any(String) },
    ]);
    expect(existsSync(path.join(home.sessions, 'abcdef', 'secrets'))).toBe(true);
  });
});

describe.each([
  ['squeue-held', '4', 'queued', /held by you/],
  ['squeue-pending-estimate', '7', 'queued', /no free node yet; estimated start/],
  ['squeue-pending-dependency', '8', 'queued', /waits for another job/],
  ['squeue-running', '3', 'starting', /c1/],
  ['squeue-completing', '9', 'starting', /c1/],
  ['squeue-timeout', '12', 'ended', /time limit/],
  ['squeue-cancelled', '7', 'ended', /cancelled/],
  ['squeue-failed', '10', 'failed', /failed/],
  ['squeue-unknown', '3', 'ended', /does not know the job/],
])('%s', (name, jobId, state, words) => {
  it(`is ${state}, in a person's words`, async () => {
    slurmSays({ squeue: name, sacct: 'sacct-unknown' });
    const directory = saveSession(home, 'abcdef', { record: { jobId } });
    const json = JSON.parse((await call('status', '--json')).stdout);
    expect(json.state).toBe(state);
    const { stdout } = await call('status');
    expect(stdout).toMatch(words);
    const over = state === 'ended' || state === 'failed';
    expect(json.reason === undefined).toBe(!over);
    expect(existsSync(path.join(directory, 'secrets'))).toBe(!over);
    expect(json.url === null).toBe(over);
  });
});

describe('several sessions', () => {
  beforeEach(() => {
    slurmSays({ squeue: 'squeue-running', sacct: 'sacct-unknown' });
    for (const [id, jobId] of [
      ['abcdef', '3'],
      ['abcxyz', '4'],
      ['ab', '5'],
    ] as const) {
      saveSession(home, id, {
        record: { jobId, outcome: { state: 'ended', reason: 'It ended.', at: '2026-11-21T22:00:00.000Z' } },
      });
    }
  });

  it.each(['status', 'url', 'logs', 'stop'])(
    '%s wants to know which one a common beginning means',
    async (command) => {
      const ran = await call(command, 'abc');
      expect(ran).toMatchObject({ exitCode: 2, stdout: '' });
      expect(ran.stderr).toMatch(/abcdef, abcxyz/);
    },
  );

  it('are told apart by as much as is needed', async () => {
    expect(JSON.parse((await call('status', 'abcx', '--json')).stdout).id).toBe('abcxyz');
    expect(JSON.parse((await call('status', 'ab', '--json')).stdout).id).toBe('ab');
    expect(JSON.parse((await call('status', '4', '--json')).stdout).id).toBe('abcxyz');
  });

  it('that ended are listed where that is asked for', async () => {
    const short = await call('list');
    expect(short.stdout).toBe('');
    expect(short.stderr).toContain('3 ended');
    expect((await call('list', '--all')).stdout.trimEnd().split('\n')).toHaveLength(4);
  });
});

describe('a broken session beside good ones', () => {
  it.each([
    ['nothing', ''],
    ['half a file', '{"id":"broken","sys'],
    ['null', 'null'],
    ['a list', '[]'],
    ['a text', '"x"'],
    ['an empty object', '{}'],
    ['another shape', '{"id":5,"submittedAt":7,"scheduler":"cron"}'],
    [
      'an unknown scheduler',
      '{"id":"broken","submittedAt":"2026-11-21T21:00:00.000Z","scheduler":"cron","jobId":"1","outcome":null,"local":null}',
    ],
  ])('that holds %s hides none of them', async (_, text) => {
    slurmSays({ squeue: 'squeue-running', scancel: 'scancel-ok', sacct: 'sacct-unknown' });
    saveSession(home, 'abcdef', { events: [['ready']] });
    const broken = path.join(home.sessions, 'broken');
    mkdirSync(broken);
    writeFileSync(path.join(broken, 'session.json'), text);
    mkdirSync(path.join(home.sessions, 'empty'));
    writeFileSync(path.join(home.sessions, 'file'), '');
    const list = await call('list');
    expect(list).toMatchObject({
      exitCode: 0,
      stderr: expect.stringMatching(/^Session broken .*record.*\n$/),
    });
    expect(list.stdout).toContain('abcdef');
    expect(JSON.parse((await call('list', '--json')).stdout)).toMatchObject([{ id: 'abcdef' }]);
    expect(await call('status', 'abcdef')).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await call('status', 'broken')).toMatchObject({ exitCode: 3 });
  });
});

describe('colour', () => {
  const places = () => {
    slurmSays({ squeue: 'squeue-running', sacct: 'sacct-unknown' });
    saveSession(home, 'abcdef', { events: [['ready']] });
  };
  /** The program on a terminal, as script(1) makes one. */
  const onTerminal = async (args: string, env: Readonly<Record<string, string>> = {}) => {
    const { stdout } = await execa(
      'script',
      ['--quiet', '--return', '--command', `${program} ${args}`, '/dev/null'],
      {
        extendEnv: false,
        env: { ...home.env, TERM: 'xterm', PATH: searchPath(), ...env },
        reject: false,
        stdin: 'ignore',
      },
    );
    return stdout;
  };

  it.each(['list', 'status', 'nonsense', '--info', '--help'])(
    '%s has none in a pipe, even where a terminal would',
    async (command) => {
      places();
      const { stdout, stderr } = await run([command], {
        home,
        path: searchPath(),
        env: { TERM: 'xterm-256color', COLORTERM: 'truecolor' },
      });
      expect(stdout + stderr).not.toMatch(escapeCode);
      expect(stdout + stderr).not.toBe('');
    },
  );

  it.each(['list', 'status', 'nonsense', '--info'])(
    '%s has it on a terminal, unless NO_COLOR is set',
    async (command) => {
      places();
      expect(await onTerminal(command)).toMatch(escapeCode);
      const plain = await onTerminal(command, { NO_COLOR: '1' });
      expect(plain).not.toMatch(escapeCode);
      expect(plain).not.toBe('');
    },
  );
});

it("keeps to itself whatever else is in the user's state directory", async () => {
  const elsewhere = temporaryDirectory();
  slurmSays({ squeue: 'squeue-running', sacct: 'sacct-unknown' });
  saveSession({ ...home, sessions: path.join(elsewhere, 'start-jupyter', 'sessions') }, 'abcdef', {
    events: [['ready']],
  });
  const { stdout } = await run(['list'], { home, path: searchPath(), env: { XDG_STATE_HOME: elsewhere } });
  expect(stdout).toContain('abcdef');
});

describe('config', () => {
  it('tells the files that were read and every value with its origin, and asks nobody without need', async () => {
    const cluster = observedCluster();
    const file = path.join(cluster.home.path, '.config', 'start-jupyter', 'config.yaml');
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, 'partition: debug\n');
    const ran = await run(['config'], cluster);
    expect(ran).toMatchObject({ exitCode: 0, stderr: '' });
    expect(ran.stdout).toMatch(new RegExp(`^file +${file}$`, 'm'));
    expect(ran.stdout).toMatch(new RegExp(`^partition +debug +${file}$`, 'm'));
    const { system, files, settings } = JSON.parse((await run(['config', '--json'], cluster)).stdout);
    expect(system.name).toBe('test');
    expect(files.at(-1)).toBe(file);
    expect(settings.partition).toEqual({ value: 'debug', origin: file });
    expect(cluster.traces().filter((trace) => !trace.includes('.config'))).toEqual([]);
  });
});

describe('prune', () => {
  const ended = (at: string) => ({
    secrets: false,
    record: { outcome: { state: 'ended' as const, reason: 'Over.', at } },
  });

  it('removes what is over, as old as was said, and nothing that runs', async () => {
    slurmSays({ squeue: 'squeue-running', sacct: 'sacct-running' });
    saveSession(home, 'aaaaaa', ended('2026-01-01T00:00:00.000Z'));
    saveSession(home, 'bbbbbb', ended(new Date().toISOString()));
    saveSession(home, 'cccccc', { events: [['ready']] });
    mkdirSync(path.join(home.sessions, 'dddddd'));
    const old = await call('prune', '--older-than', '1d', '--json');
    expect(old).toMatchObject({ exitCode: 0, stdout: '{"removed":["aaaaaa"]}\n' });
    expect((await call('prune')).stderr).toBe('Removed: bbbbbb\n');
    expect((await call('prune')).stderr).toBe('There is nothing to remove.\n');
    expect(existsSync(path.join(home.sessions, 'cccccc', 'secrets'))).toBe(true);
    expect(existsSync(path.join(home.sessions, 'dddddd'))).toBe(true);
  });

  it('removes what it finds to be over in that moment', async () => {
    slurmSays({ squeue: 'squeue-unknown', sacct: 'sacct-unknown' });
    saveSession(home, 'aaaaaa');
    expect((await call('prune')).stderr).toBe('Removed: aaaaaa\n');
  });

  it('refuses what is no length of time', async () => {
    expect(await call('prune', '--older-than', 'banana')).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('--older-than'),
    });
  });
});

describe('a launch that was killed while it submitted', () => {
  const unfinished = { jobId: null, host: os.hostname() };
  const me = `--user=${process.getuid?.()}`;

  it('has a session all the same where there is a job, which is found by its log', async () => {
    const directory = saveSession(home, 'aaaaaa', { record: unfinished });
    saveSession(home, 'bbbbbb', { record: { ...unfinished, submittedAt: new Date().toISOString() } });
    stubs.answer('squeue', {
      [`squeue --noheader ${me} --Format=JobID:20,StdOut:4096`]: {
        stdout: [`4 /elsewhere/job.log`, `3 ${directory}/job.log`]
          .map((line) => `${line.replace(' ', ' '.repeat(19))}${' '.repeat(4000)}\n`)
          .join(''),
      },
      [`squeue --noheader --states=all ${me} --jobs=3 --format=%i|%T|%r|%S|%e|%N`]: recording(
        'slurm-22.05/squeue-running',
      ),
    });
    const listed = JSON.parse((await call('list', '--json')).stdout);
    expect(listed).toMatchObject([
      { id: 'bbbbbb', jobId: null, state: 'submitted' },
      { id: 'aaaaaa', jobId: '3', state: 'starting' },
    ]);
    const stop = await call('stop', 'bbbbbb');
    expect(stop).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('has no job yet') });
    expect(stubs.calls().filter((each) => each.startsWith('scancel'))).toEqual([]);
  });

  it('is over where there is none, and its secrets are gone', async () => {
    const directory = saveSession(home, 'aaaaaa', { record: unfinished });
    slurmSays({ squeue: 'squeue-commands' });
    expect(JSON.parse((await call('status', '--json')).stdout)).toMatchObject({
      state: 'failed',
      reason: 'The launch was ended before it had submitted the job.',
      url: null,
    });
    expect(existsSync(path.join(directory, 'secrets'))).toBe(false);
  });

  it('is left as it is while the scheduler does not answer, and on another machine', async () => {
    saveSession(home, 'aaaaaa', { record: unfinished });
    saveSession(home, 'bbbbbb', { record: { ...unfinished, host: 'another' } });
    slurmSays({ squeue: 'squeue-unreachable-refused' });
    expect((await call('prune')).stderr).toBe('There is nothing to remove.\n');
    expect(JSON.parse((await call('list', '--json')).stdout)).toMatchObject([
      { state: 'submitted' },
      { state: 'submitted' },
    ]);
  });
});

describe('a job that runs and whose launch never heard which it is', () => {
  const unheard = { jobId: null, host: os.hostname() };

  it.each(['slurm', 'pbs', 'torque', 'sge', 'lsf'] as const)('is a session, with %s', async (scheduler) => {
    const directory = saveSession(home, 'aaaaaa', {
      record: { ...unheard, scheduler, timeLimit: null },
      events: [['ready']],
    });
    slurmSays({ squeue: 'squeue-commands' });
    expect(JSON.parse((await call('status', '--json')).stdout)).toMatchObject({
      state: 'ready',
      jobId: null,
    });
    expect(existsSync(path.join(directory, 'secrets'))).toBe(true);
    const stop = await call('stop', 'aaaaaa');
    expect(stop).toMatchObject({ exitCode: 5, stdout: '' });
    expect(stop.stderr).toMatch(/start-jupyter logs aaaaaa.*end it with "(?:scancel|qdel|bkill)"/);
  });

  it('has ended a day after its time limit at the latest', async () => {
    const directory = saveSession(home, 'aaaaaa', { record: { ...unheard, scheduler: 'pbs' } });
    writeFileSync(path.join(directory, 'events'), '1700000000\tready\t\n');
    expect(JSON.parse((await call('status', '--json')).stdout)).toMatchObject({ state: 'ended', url: null });
    expect(existsSync(path.join(directory, 'secrets'))).toBe(false);
  });

  it('is not taken for what it can not have written', async () => {
    const directory = saveSession(home, 'aaaaaa', {
      record: { ...unheard, scheduler: 'pbs', submittedAt: new Date().toISOString() },
    });
    for (const noted of ['', '12.hea', '-W force\n', '12 13\n']) {
      writeFileSync(path.join(directory, 'job-id'), noted);
      expect(JSON.parse((await call('status', '--json')).stdout)).toMatchObject({ jobId: null });
    }
  });
});

it('lists hundreds of old sessions with two commands, and with none once they are known to be over', async () => {
  slurmSays({ squeue: 'squeue-unknown', sacct: 'sacct-several' });
  for (let index = 0; index < 300; index++)
    saveSession(home, `old${index}`, { record: { jobId: String(index + 1) } });
  expect(JSON.parse((await call('list', '--json')).stdout)).toHaveLength(300);
  expect(stubs.calls().map((each) => each.split(' ')[0])).toEqual(['squeue', 'sacct']);
  expect((await call('list')).stderr).toContain('300 ended');
  expect(stubs.calls()).toHaveLength(2);
});

it('says what is wrong with a home whose path holds a line break', async () => {
  const odd = path.join(temporaryDirectory(), 'two\nlines');
  mkdirSync(odd);
  const ran = await run(['list'], {
    home: { ...home, path: odd, env: { ...home.env, HOME: odd } },
    path: searchPath(),
  });
  expect(ran.exitCode).toBe(3);
  expect(ran.stderr).toMatch(/home directory holds a line break/);
});

describe('in a directory that has been removed', () => {
  const gone = async (...args: string[]) => {
    const script = 'mkdir gone; cd gone; rmdir ../gone; exec "$@"';
    const { exitCode, stdout, stderr } = await execa('/bin/dash', ['-c', script, 'sh', program, ...args], {
      cwd: temporaryDirectory(),
      env: { ...home.env, PATH: searchPath() },
      extendEnv: false,
      reject: false,
      stdin: 'ignore',
    });
    // dash, which starts the program, has a line of its own about it.
    return { exitCode, stdout, stderr: stderr.replace(/^sh: .*getcwd.*\n?/, '') };
  };

  it.each([['--dry-run'], ['doctor'], ['systems'], ['templates']])('%s says so', async (...args) => {
    const ran = await gone(...args);
    expect(ran).toMatchObject({ exitCode: 3, stdout: '' });
    expect(ran.stderr).toMatch(/^start-jupyter: The directory that you are in has been removed\.\n.*cd.*$/);
  });

  it('a launch with --json says so in its object, and sessions are listed all the same', async () => {
    const ran = await gone('--json');
    expect(ran.exitCode).toBe(3);
    expect(JSON.parse(ran.stdout)).toMatchObject({
      state: 'failed',
      reason: expect.stringMatching(/removed/),
    });
    expect(await gone('list')).toMatchObject({ exitCode: 0, stderr: 'No session is running.' });
  });
});
