import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, it, test } from 'vitest';
import { temporaryDirectory } from '../support/directories.ts';
import { type Ran, run } from '../support/program.ts';
import { type ObservedCluster, observedCluster } from '../support/untouched.ts';

let cluster: ObservedCluster;

beforeEach(() => {
  cluster = observedCluster();
});

const launch = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  run(args, { home: cluster.home, path: cluster.path, env: { ...cluster.env, ...env } });

/** One clear line, at most one that says what to do, nothing else; with `--json` one object that says it too. */
function expectRefusal({ exitCode, stdout, stderr }: Ran, args: readonly string[], wanted = 2): void {
  const what = `${JSON.stringify(args).slice(0, 200)} → ${stderr}`;
  expect(exitCode, what).toBe(wanted);
  if (args.includes('--json')) {
    expect(stdout.endsWith('}\n'), what).toBe(true);
    const report = JSON.parse(stdout);
    expect(report, what).toMatchObject({ state: 'failed', id: null, jobId: null, url: null });
    expect(report.reason, what).toMatch(/\S/);
  } else {
    expect(stdout, what).toBe('');
  }
  const lines = stderr.split('\n');
  expect(lines.pop(), what).toBe('');
  expect(lines.length, what).toBeGreaterThan(0);
  expect(lines.length, what).toBeLessThanOrEqual(2);
  expect(lines[0], what).toMatch(/^start-jupyter: \S/);
  expect(stderr.replaceAll('\n', ''), what).not.toMatch(/[\p{Cc}\u202e]/u);
  expect(Math.max(...lines.map((line) => line.length)), what).toBeLessThan(400);
  expect(stderr, what).not.toMatch(/undefined|\[object|Invalid input|bug in start-jupyter/);
}

/** Runs command lines, a few at a time, and checks that each is refused and that nobody noticed. */
async function expectRefusals(
  commandLines: readonly (readonly string[])[],
  mentions?: RegExp,
): Promise<void> {
  const waiting = [...commandLines];
  const worker = async () => {
    for (let args = waiting.shift(); args !== undefined; args = waiting.shift()) {
      const ran = await launch(args);
      expectRefusal(ran, args);
      if (mentions) expect(ran.stderr, JSON.stringify(args)).toMatch(mentions);
    }
  };
  await Promise.all([worker(), worker(), worker()]);
  expect(cluster.traces()).toEqual([]);
}

it('sees a launch that means it: the scheduler is asked', async () => {
  const watched = observedCluster();
  const ran = await run(['-p', 'debug'], { home: watched.home, path: watched.path, env: watched.env });
  expect(ran.exitCode).toBe(5);
  // The proxy, to which the way is made meanwhile, can't be reached either.
  expect(ran.stderr).toContain("Slurm can't be reached");
  expect(ran.stderr).not.toContain('proxy');
  expect(watched.traces()).toContainEqual(expect.stringMatching(/^sinfo /));
});

it('sees a launch that means it: the proxy is asked', async () => {
  const watched = observedCluster();
  const ran = await run(['--here', '--access', 'satellite', '-y', '--venv', '/nowhere'], {
    home: watched.home,
    path: watched.path,
    env: watched.env,
  });
  // Not even then: the environment is looked at first.
  expect(ran.exitCode).toBe(2);
  expect(watched.traces()).toEqual([]);

  const venv = path.join(temporaryDirectory(), 'venv');
  mkdirSync(path.join(venv, 'bin'), { recursive: true });
  for (const name of ['python', 'jupyter-lab'])
    writeFileSync(path.join(venv, 'bin', name), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  const asked = await run(['--here', '--venv', venv], {
    home: watched.home,
    path: watched.path,
    env: watched.env,
  });
  expect(asked.exitCode).toBe(4);
  expect(watched.traces()).toContain('lookup manage.sites.test');
});

/** Not names, numbers, sizes or lengths of time of any kind. */
const nonsense = [
  '',
  ' ',
  '$(id)',
  '`id`',
  'a b',
  'a;b',
  "a'b",
  'a\nb',
  '../x',
  'ä',
  '\u202e1',
  '\u001b[31m',
  'x'.repeat(5000),
];

const wrong: Readonly<
  Record<string, { readonly names: readonly string[]; readonly values: readonly string[] }>
> = {
  account: { names: ['-A', '--account'], values: ['-', '--', '-x', '.x', 'a=b', 'a,b', 'a*', 'a#b', 'a%b'] },
  partition: {
    names: ['-p', '--partition', '--queue'],
    values: ['-', '-x', '.x', 'a=b', 'a*', 'a#b', 'a%b', 'a,b;c'],
  },
  time: {
    names: ['-t', '--time'],
    values: [
      '0',
      '-1',
      '1.5',
      'banana',
      '30:00',
      '1:60:00',
      '1-24:00:00',
      '101d',
      '0h',
      '1h 30m',
      '9999999999',
      'infinite',
      '1e3',
    ],
  },
  nodes: {
    names: ['-N', '--nodes'],
    values: ['0', '-1', '1.5', 'one', '10001', '1-2', '1e2', '0x1', '1,2', 'NaN', 'Infinity'],
  },
  cpus: {
    names: ['-c', '--cpus'],
    values: ['0', '-1', '1.5', 'one', '10001', '1-2', '1e2', '0x1', '1,2', 'NaN', '8c'],
  },
  memory: {
    names: ['-m', '--memory'],
    values: ['0', '-1', '8K', '8P', 'lots', '8,5', '.5', '1e3', '2000T', 'G', '0x8', '9999999999'],
  },
  gpu: {
    names: ['-g', '--gpu', '--gpus'],
    values: ['0', '-1', '1.5', 'banana', 'a100', 'a100:', 'a100:0', ':1', 'a:1:1', '1025', 'gpu:a100:1'],
  },
  gres: {
    names: ['--gres'],
    values: ['gpu:0', 'gpu:', ':1', 'gpu:-1', 'gpu:1,', ',gpu:1', '1', 'gpu:1 nvme:1', 'gpu=1', 'gpu:a:b:1'],
  },
  reservation: {
    names: ['-R', '--reservation'],
    values: ['-', '--', '-x', '.x', 'a=b', 'a*', 'a#b', 'a%b'],
  },
  qos: { names: ['--qos'], values: ['-', '-x', '.x', 'a=b', 'a*', 'a#b', 'a%b', 'a,b'] },
  constraint: {
    names: ['-C', '--constraint'],
    values: ['-x', '&', '&a', '(a', 'a)', '[a)', 'a]', 'a<b', 'a"b', 'a%b', 'a\\b', '*2', '()'],
  },
  service: {
    names: ['-s', '--service', '--interface'],
    values: ['Lab', 'LAB', 'jupyter', 'labs', 'emacs', 'lab,notebook', '1', 'true', 'voilà', 'rstudio'],
  },
  module: {
    names: ['-e', '--module', '--env-modules'],
    values: ['gcc,', ',gcc', 'gcc,,python', '-gcc', '--x', 'a#b', 'gcc\tpython', 'a|b', 'a>b', '*'],
  },
  env: {
    names: ['--env'],
    values: ['=x', '1A=x', 'A-B=x', 'UID=0', 'JUPYTER_TOKEN=x', 'JPY_X=1', 'BASH_ENV=/x', 'NOT_SET_HERE'],
  },
  idleTimeout: {
    names: ['--idle-timeout'],
    values: ['0', '-1', '1.5', 'banana', '30:00', '101d', 'never', '0h'],
  },
  access: {
    names: ['--access'],
    values: ['Satellite', 'telepathy', 'https', 'proxy', '1', 'none', 'satellite,local', 'true', 'no', 'SSH'],
  },
  system: {
    names: ['--system'],
    values: ['tset', 'expnase', 'nowhere', '-x', '.x', 'a=b', 'TEST', 'test ', 'a*', 'a#b'],
  },
};

describe.each(Object.entries(wrong))('%s', (_, { names, values }) => {
  it('has at least ten wrong values', () => {
    expect(values.length + nonsense.length).toBeGreaterThanOrEqual(10);
  });

  it('refuses each', async () => {
    const every = [...values, ...nonsense];
    // A value that begins with a dash has to be given with "=", as in any program.
    await expectRefusals(
      every.map((value, index) => {
        const name = names[index % names.length] as string;
        return value.startsWith('-') && name.startsWith('--') ? [`${name}=${value}`] : [name, value];
      }),
    );
  });

  it('refuses to go without a value', async () => {
    await expectRefusals([
      ...names.map((name) => [name]),
      [names[0] as string, '--json'],
      ['-q', names[0] as string],
    ]);
  });
});

describe('paths', () => {
  const file = path.join(temporaryDirectory(), 'file');
  writeFileSync(file, '');
  const missing = [
    '/nowhere',
    'nowhere',
    '~/nowhere',
    './x',
    '../x/y',
    file,
    `${file}/x`,
    '/dev/null',
    '',
    ' ',
    '$(id)',
    'a\nb',
    '/proc/1/root/x',
    'x'.repeat(5000),
    '/'.padEnd(4000, 'x'),
  ];

  it.each([['-d', '--dir', '--notebook-dir'], ['--venv']])(
    '%s refuses what is not there',
    async (...names) => {
      await expectRefusals(missing.map((value, index) => [names[index % names.length] as string, value]));
    },
  );

  it('--setup refuses what is not there', async () => {
    await expectRefusals(missing.filter((value) => value !== file).map((value) => ['--setup', value]));
  });

  it('--venv refuses a directory that is no environment', async () => {
    await expectRefusals(
      [
        ['--venv', '/'],
        ['--venv', '.'],
        ['--venv', '~'],
        ['--venv', '/usr/share'],
      ],
      /bin\/python|jupyter/,
    );
  });

  it('--config refuses files that are not there or no configuration, as a matter of configuration', async () => {
    const place = temporaryDirectory();
    const broken: Readonly<Record<string, string>> = {
      'tab.yaml': 'a:\n\tb: 1\n',
      'open.yaml': '{',
      'list.yaml': '- a\n',
      'text.yaml': 'hello\n',
      'key.yaml': 'partiton: debug\n',
      'value.yaml': 'time: banana\n',
      'binary.yaml': '\u0000\u0001\u0002',
      'bad.json': '{"a": }',
      'script.js': 'process.exit(0)',
      'script.sh': 'exit 0',
    };
    for (const [name, text] of Object.entries(broken)) writeFileSync(path.join(place, name), text);
    const candidates = [
      ...Object.keys(broken).map((name) => path.join(place, name)),
      ...missing.filter((value) => value !== '' && value.length < 4097 && value !== '/dev/null'),
    ];
    for (const candidate of candidates)
      expectRefusal(await launch(['--config', candidate]), ['--config', candidate], 3);
    expectRefusal(await launch(['--config', '']), ['--config', '']);
    expect(cluster.traces()).toEqual([]);
  });
});

describe('switches', () => {
  const switches = [
    ['--lab'],
    ['--notebook'],
    ['--quiet', '-q'],
    ['--info', '-I'],
    ['--json'],
    ['--dry-run'],
    ['--here'],
    ['--yes', '-y'],
  ];

  it.each(switches)('%s takes no value', async (...names) => {
    const [long = '', short] = names;
    const attached = ['=x', '=', '=true', '=false', '=1', '=yes', '= ', '=$(id)', 'x'].map((value) => [
      `${long}${value}`,
    ]);
    const bundled = ['x', '=1', '0', '$'].map((value) => [`${short}${value}`]);
    const detached = [...names.map((name) => [name, 'x']), [long, 'true']];
    await expectRefusals([...attached, ...(short === undefined ? [] : bundled), ...detached]);
  });

  it('that are given one are told so', async () => {
    await expectRefusals([['--quiet=yes']], /Option '--quiet' takes no value/);
  });

  const conflicts = [
    ['--lab', '--notebook'],
    ['--lab', '-s', 'notebook'],
    ['--notebook', '--interface', 'lab'],
    ['-q', '--json'],
    ['--quiet', '--info'],
    ['--json', '--dry-run'],
    ['-I', '--dry-run'],
    ['-q', '--qr'],
    ['--open', '--dry-run'],
    ['-w', '--dry-run'],
    ['--wait', '--info'],
    ['-g', '1', '--gres', 'gpu:1'],
    ['-g', '4', '-p', 'gpu-shared'],
    ['-t', '31', '-p', 'debug'],
    ['--access', 'local'],
    ...[
      '-A a',
      '-p debug',
      '-t 5',
      '-N 1',
      '-c 1',
      '-m 1',
      '-g 1',
      '--gres gpu:1',
      '-R r',
      '--qos q',
      '-C c',
    ].map((text) => ['--here', ...text.split(' ')]),
    ['--here', '--', '--exclusive'],
  ];

  it('that contradict each other are refused, in either order', async () => {
    await expectRefusals(conflicts);
    await expectRefusals(
      conflicts.slice(0, 10).map((args) => (args.length === 2 ? [...args].reverse() : args)),
    );
  });

  it('that nobody knows are refused with the nearest that is known', async () => {
    await expectRefusals(
      [
        ['--lb'],
        ['--notebok'],
        ['--quite'],
        ['--jsn'],
        ['--dryrun'],
        ['--acount', 'x'],
        ['--partion', 'x'],
        ['--partion=x'],
        ['list', '--jsn=1'],
        ['--tiem', '5'],
        ['--time-limt=3'],
        ['--queu=x'],
        ['--batch', 'x'],
      ],
      /Did you mean --/,
    );
    await expectRefusals([['-x'], ['-Z'], ['-qx'], ['--'.concat('x'.repeat(200))], ['--no-lab'], ['-é']]);
  });

  it('--wait refuses what is no length of time', async () => {
    const values = [
      '0',
      '-1',
      'banana',
      '30:00',
      '1.5',
      '101d',
      '1e3',
      'forever',
      '1:60:00',
      '0h',
      '$(id)',
      'ä',
    ];
    await expectRefusals(values.map((value) => [`--wait=${value}`]));
  });
});

describe('words that are no options', () => {
  it('are refused with the nearest command', async () => {
    await expectRefusals(
      [['lst'], ['stpo'], ['statsu'], ['lauch'], ['log']],
      /Did you mean "?(?:list|stop|status|launch|logs)"?/,
    );
    await expectRefusals([
      ['x'],
      ['notebook.ipynb'],
      ['launch', 'x'],
      ['lab', '-t', '5'],
      ['-q', 'x'],
      [''],
      ['ä'],
      ['$(id)'],
      ['x'.repeat(5000)],
    ]);
  });

  it('are refused by the other commands too', async () => {
    await expectRefusals([
      ['list', 'x'],
      ['list', '--al'],
      ['list', '--time', '5'],
      ['status', 'a', 'b'],
      ['status', '--jsn'],
      ['url'],
      ['url', ''],
      ['url', 'nope'],
      ['url', 'a', 'b'],
      ['logs'],
      ['logs', 'nope'],
      ['logs', '-x', 'a'],
      ['stop'],
      ['stop', 'nope'],
      ['stop', '--all', 'a'],
      ['stop', '--al'],
      ['status'],
      ['status', 'x'.repeat(5000)],
      ['url', 'a\nb\u001b[31m'],
      ['stop', '../../etc'],
    ]);
  });
});

describe('variables', () => {
  const values: Readonly<Record<string, readonly string[]>> = {
    ACCOUNT: ['a b', '$(id)', '-x'],
    PARTITION: ['a b', 'a;b', '*'],
    TIME: ['0', 'banana', '30:00'],
    NODES: ['0', 'x'],
    CPUS: ['-1', '1.5'],
    MEMORY: ['lots', '0'],
    GPU: ['banana', '0'],
    GRES: ['gpu:0', 'a b'],
    RESERVATION: ['a b', '*'],
    QOS: ['a b', '-x'],
    CONSTRAINT: ['a b', '(a', '$(id)'],
    SERVICE: ['emacs', 'Lab'],
    MODULE: ['a;b', ','],
    ACCESS: ['telepathy', 'x'],
    SYSTEM: ['nowhere', 'a b'],
    DIR: ['/nowhere'],
    VENV: ['/nowhere'],
    HERE: ['maybe', '2'],
    ENV: ['=x', 'NOT_SET_HERE'],
    SETUP: ['/nowhere'],
    CONDA_ENV: ['a b', '/nowhere', 'nowhere'],
    CONDA_YML: ['/nowhere'],
    IMAGE: ['/nowhere', 'ftp://x'],
    BIND: [':/x', '/x:y'],
    BATCH_SCRIPT: ['/nowhere'],
    FORCE: ['maybe', 'true'],
    PROFILE: ['nowhere', 'a b'],
    OPEN: ['maybe'],
    MAMBA: ['maybe'],
    MODULE_PATH: ['x'.repeat(5000)],
    SCRATCH_DIR: ['x'.repeat(5000)],
    IDLE_TIMEOUT: ['never', '0'],
    QUIET: ['maybe', 'ok'],
    YES: ['y', 'ok'],
    WAIT: ['never', '0'],
  };

  test.each(Object.entries(values))('START_JUPYTER_%s refuses %j', async (name, texts) => {
    for (const text of texts) {
      const ran = await launch([], { [`START_JUPYTER_${name}`]: text });
      expectRefusal(ran, [name, text], ran.exitCode === 3 ? 3 : 2);
      expect(ran.stderr).toContain(`START_JUPYTER_${name}`);
    }
    expect(cluster.traces()).toEqual([]);
  });
});
