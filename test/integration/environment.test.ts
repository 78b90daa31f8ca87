/** What a person brings along takes effect in the Jupyter that runs: asked from inside of it. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { lmodDirectory } from '../../lab/packages.ts';
import { testWith } from '../support/command.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { ask, type HereLaunch, launchHere, secretsOf } from '../support/here.ts';
import { runInKernel } from '../support/kernel.ts';
import { allEnded, processesWithHome } from '../support/processes.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { stubCommands } from '../support/stubs.ts';

const { run: testWithJupyter, note } = testWith('jupyter-notebook');
const { run: testWithLmod, note: withoutLmod } = testWith(`${lmodDirectory}/libexec/lmod`);

let home: Home;

beforeEach(() => {
  home = freshHome();
});

const workstation = (env: Readonly<Record<string, string>> = {}) => ({
  home,
  path: usualPrograms({ without: slurmPrograms }),
  env,
});

/** The environment of the Jupyter of a launch, once its site answers. */
async function jupyterEnvironment(launch: HereLaunch): Promise<Record<string, string>> {
  await linkOf(launch);
  const jupyter = processesWithHome(home.path).find(({ commandLine }) =>
    commandLine.includes('jupyter_start_config.py'),
  );
  return Object.fromEntries(
    (jupyter?.environment ?? '')
      .split('\0')
      .filter((line) => line.includes('='))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

async function linkOf(launch: HereLaunch): Promise<string> {
  const link = await launch.line();
  if (link === undefined) throw new Error(`it ended: ${(await launch.ended).stderr}`);
  return link.trim();
}

function setupFile(text: string): string {
  const file = path.join(temporaryDirectory(), 'set up.sh');
  writeFileSync(file, text);
  return file;
}

/** A real one, around the machine's Jupyter, with something of its own to import, and a kernel as ipykernel installs it. */
function virtualEnvironment(): string {
  const venv = path.join(temporaryDirectory(), 'venv');
  execFileSync('/usr/bin/python3', ['-m', 'venv', '--system-site-packages', '--without-pip', venv]);
  const [packages = ''] = globSync(path.join(venv, 'lib/python3*/site-packages'));
  writeFileSync(path.join(packages, 'venv_brings.py'), 'here = "from the venv"\n');
  const python = path.join(venv, 'bin/python');
  const kernel = path.join(venv, 'share/jupyter/kernels/python3');
  mkdirSync(kernel, { recursive: true });
  const argv = [python, '-m', 'ipykernel_launcher', '-f', '{connection_file}'];
  writeFileSync(
    path.join(kernel, 'kernel.json'),
    JSON.stringify({ argv, display_name: 'Python', language: 'python' }),
  );
  writeFileSync(
    path.join(venv, 'bin/jupyter-notebook'),
    `#!${python}\nfrom notebook.notebookapp import main\nmain()\n`,
    { mode: 0o755 },
  );
  return venv;
}

function log(): string {
  const [id = ''] = readdirSync(home.sessions);
  return readFileSync(path.join(home.sessions, id, 'job.log'), 'utf8');
}

describe(`--env${note}`, () => {
  // Names of the job script's own variables among them: they are the user's there, and stay the script's here.
  const hostile: Readonly<Record<string, string>> = {
    EMPTY: '',
    SPACES: '  a  b ',
    QUOTES: `'"\\'"'`,
    SUBSTITUTION: '$(touch pwned) `touch pwned` $HOME',
    LINES: 'a\nb\n',
    EQUALS: 'a=b=c',
    UNICODE: 'Zoë 名前',
    runtime: '/nowhere',
    port: '1',
    jupyter: '/bin/false',
    service: 'emacs',
    variables: 'x',
    session_dir: '/nowhere',
    secrets: '/',
    PATHS: '/a:/b',
    line: '#!/nowhere',
    name: 'n',
  };

  testWithJupyter('arrives as it was typed, whatever it holds and is called', async () => {
    const typed = Object.entries(hostile).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    const launch = launchHere(
      ['-q', ...typed, '--env', 'FROM_HERE'],
      workstation({ FROM_HERE: 'it is here' }),
    );
    expect(await jupyterEnvironment(launch)).toMatchObject({ ...hostile, FROM_HERE: 'it is here' });
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
    await allEnded(home.path);
    expect(existsSync(path.join(home.path, 'pwned'))).toBe(false);
  });

  it('without a value here is refused', async () => {
    const { exitCode, stderr } = await run(['--env', 'NOT_SET'], workstation());
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/NOT_SET has no value here/);
  });
});

describe(`--setup${note}`, () => {
  // With Lmod, which the login had and whose place it hands on.
  testWithLmod(
    `is sourced last, sees variables and modules, and may use any name${withoutLmod}`,
    async () => {
      const place = temporaryDirectory();
      writeFileSync(path.join(place, 'setup_brings.py'), 'here = "from the setup file"\n');
      const modules = temporaryDirectory();
      const luaModule = `setenv("COURSE", "advanced")\nprepend_path("PYTHONPATH", "${modules}")\n`;
      writeFileSync(path.join(modules, 'course.lua'), luaModule);
      writeFileSync(path.join(modules, 'module_brings.py'), 'here = "from Lmod"\n');
      const file = setupFile(`
set -- lost
runtime=/nowhere port=1 secrets=/
export GREETING="hello $WHO, $COURSE" runtime PYTHONPATH=${place}:$PYTHONPATH
declare -x DECLARED=yes
umask 022
false
`);
      // Debian's package, but where it was unpacked to, beside the Environment Modules of this machine.
      const login = { MODULESHOME: temporaryDirectory() };
      const init = readFileSync(path.join(lmodDirectory, 'init/bash'), 'utf8');
      mkdirSync(path.join(login.MODULESHOME, 'init'));
      writeFileSync(
        path.join(login.MODULESHOME, 'init/bash'),
        init.replaceAll('/usr/share/lmod/lmod', lmodDirectory),
      );
      const options = ['--module-path', modules, '-e', 'course', '--setup', file, '--env', 'WHO=world'];
      const launch = launchHere(['-q', ...options], workstation(login));
      const said = await runInKernel(
        await linkOf(launch),
        `
import os, module_brings, setup_brings
print(module_brings.here, setup_brings.here, sep="; ")
print(*(os.environ[name] for name in ("GREETING", "DECLARED", "runtime", "LOADEDMODULES")), sep="; ")`,
      );
      expect(said).toBe('from Lmod; from the setup file\nhello world, advanced; yes; /nowhere; course');
    },
  );

  testWithJupyter('may bring the Jupyter that starts', async () => {
    const place = temporaryDirectory();
    writeFileSync(
      path.join(place, 'jupyter-lab'),
      '#!/bin/bash\necho brought along >&2\nexec jupyter-notebook "$@"\n',
      {
        mode: 0o755,
      },
    );
    const launch = launchHere(['-q', '--setup', setupFile(`PATH='${place}':$PATH`)], workstation());
    await linkOf(launch);
    expect(log()).toContain(`Starting ${place}/jupyter-lab`);
    expect(log()).toContain('brought along');
  });

  testWithJupyter('that leaves something running, which speaks when all is over, spoils no log', async () => {
    const late = 'while [ -d "$JUPYTER_RUNTIME_DIR" ]; do sleep 0.05; done; echo the last word';
    const launch = launchHere(['-q', '--setup', setupFile(`(${late}) &`)], workstation());
    await linkOf(launch);
    launch.kill('SIGINT');
    await launch.ended;
    await allEnded(home.path);
    expect(log().trimEnd().split('\n').at(-1)).toBe('the last word');
  });

  it('that ends the shell ends the session, with what it said last', async () => {
    const file = setupFile('echo "no licence for you" >&2\nexit 3\n');
    const { exitCode, stderr } = await run(['--setup', file], workstation());
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(/The setup file .*set up\.sh ended the shell on .*: no licence for you/);
    await allEnded(home.path);
  });

  it('that bash does not understand ends the session, with what bash says', async () => {
    const { exitCode, stderr } = await run(
      ['--setup', setupFile('export A=1\nif [ 1 ]; then\n')],
      workstation(),
    );
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(
      /The setup file .*set up\.sh is broken on .*: .*set up\.sh: line \d+: syntax error/,
    );
    await allEnded(home.path);
  });

  it('that nothing can be found after is told so', async () => {
    const { exitCode, stderr } = await run(['--setup', setupFile('PATH=/nowhere')], workstation());
    expect(exitCode).toBe(6);
    expect(stderr).toContain(
      `jupyter-lab was not found on ${os.hostname()}. Name an environment that has it with -e, --venv, --conda-env or --image.`,
    );
  });

  it('that is just running when the launch is interrupted leaves nothing behind', async () => {
    const place = temporaryDirectory();
    const launch = launchHere(
      ['--setup', setupFile(`mkfifo '${place}/never'; cat '${place}/never'`)],
      workstation(),
    );
    await launch.says('preparing the environment');
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
    await allEnded(home.path);
  });

  it('that starts one thing after another leaves none of them behind', async () => {
    const place = temporaryDirectory();
    const busy = `mkfifo '${place}/never'; for i in {1..1500}; do cat '${place}/never' & done; wait`;
    const launch = launchHere(['--json', '--setup', setupFile(busy)], workstation());
    await launch.says('preparing the environment');
    await expect
      .poll(() => processesWithHome(home.path).filter(({ commandLine }) => commandLine.startsWith('cat ')))
      .not.toEqual([]);
    // Such a launch did not come up, whoever ended it.
    expect((await run(['stop', '--all'], workstation())).exitCode).toBe(0);
    const report = JSON.parse((await launch.line()) ?? '{}');
    expect(report).toMatchObject({
      state: 'failed',
      url: null,
      reason: expect.stringContaining('Stopped with'),
    });
    expect((await launch.ended).exitCode).toBe(6);
    await allEnded(home.path);
  });

  it('is taken for a file that exists', async () => {
    for (const file of ['/nowhere', '/tmp']) {
      const { exitCode, stderr } = await run(['--setup', file], workstation());
      expect(exitCode).toBe(2);
      expect(stderr).toMatch(/--setup: .*(?:does not exist|is not a file)/);
    }
  });
});

// The module command of Debian's environment-modules, which a batch shell has to find by itself.
describe.runIf(existsSync('/usr/share/modules/init/bash'))(`--module and --module-path${note}`, () => {
  const moduleFile = (name: string, text: string) => {
    const directory = path.join(temporaryDirectory(), 'module files');
    mkdirSync(directory);
    writeFileSync(path.join(directory, name), `#%Module\n${text}\n`);
    return directory;
  };

  testWithJupyter(
    'load what is in a directory of your own, in order, beside a virtual environment, variables and scratch space',
    async () => {
      const first = moduleFile('base', 'setenv COURSE base');
      const second = moduleFile('course', 'prereq base\nsetenv COURSE advanced');
      appendFileSync(path.join(second, 'course'), `prepend-path PYTHONPATH {${second}}\n`);
      writeFileSync(path.join(second, 'module_brings.py'), 'here = "from the module"\n');
      const venv = virtualEnvironment();
      const scratch = path.join(temporaryDirectory(), 'a scratch');
      const options = [
        ...['--module-path', `${first},${second}`, '-e', 'base', '-e', 'course', '--venv', venv],
        ...['--env', 'WHO=world', '--scratch-dir', `${scratch}/{user}/job_{job}`],
      ];
      const launch = launchHere(['--json', ...options], workstation());
      const { id, url } = JSON.parse((await launch.line()) ?? '{}');
      const said = await runInKernel(
        url,
        `
import os, sys, tempfile, module_brings, venv_brings
print(module_brings.here, venv_brings.here, sep="; ")
print(os.environ["COURSE"], os.environ["WHO"], sys.prefix, tempfile.gettempdir(), sep="; ")`,
      );
      const parent = path.join(scratch, home.env.USER ?? '', `job_${id}`);
      const [name = ''] = readdirSync(parent);
      expect(said).toBe(
        `from the module; from the venv\nadvanced; world; ${venv}; ${path.join(parent, name)}`,
      );
      expect(log()).toMatch(/module load base\n(?:.*\n)*.*module load course/);
      expect(statSync(path.join(parent, name)).mode & 0o777).toBe(0o700);

      launch.kill('SIGINT');
      await launch.ended;
      await allEnded(home.path);
      // A directory of this user alone, left where others look for room too, would keep them out.
      expect(existsSync(scratch)).toBe(false);
      expect(existsSync(path.dirname(scratch))).toBe(true);
    },
  );

  it('that are not there end the session with the reason', async () => {
    const directory = moduleFile('base', '');
    const missing = await run(['--module-path', directory, '-e', 'bsae'], workstation());
    expect(missing.exitCode).toBe(6);
    expect(missing.stderr).toMatch(/The module "bsae" could not be loaded on /);
    const nowhere = await run(['--module-path', '/nowhere'], workstation());
    expect(nowhere.exitCode).toBe(6);
    expect(nowhere.stderr).toMatch(/The module path \/nowhere does not exist on /);
  });
});

describe(`a home and paths of names that a shell would trip over${note}`, () => {
  testWithJupyter('are where Jupyter runs, and nothing in them is', async () => {
    home = freshHome(`it's "home" $(touch pwned) 名前 %d ; touch pwned`);
    const place = (name: string) => {
      const directory = path.join(
        home.path,
        `${name}'s\n#$ -P x\n $(touch pwned) "${name}" \\ \`touch pwned\` {user} é`,
      );
      mkdirSync(directory);
      return directory;
    };
    const [work, venv, scratch, settings] = [
      place('work'),
      place('venv'),
      place('scratch'),
      place('settings'),
    ];
    writeFileSync(path.join(work, 'here.txt'), '');
    mkdirSync(path.join(venv, 'bin'));
    for (const [name, text] of [
      ['python', '#!/bin/sh\nexec /usr/bin/python3 "$@"\n'],
      ['jupyter-lab', '#!/bin/sh\nexec jupyter-notebook "$@"\n'],
    ] as const)
      writeFileSync(path.join(venv, 'bin', name), text, { mode: 0o755 });
    const setup = path.join(settings, 'set up.sh');
    writeFileSync(setup, 'export FROM_SETUP="$PWD"');
    const options = ['--dir', work, '--venv', venv, '--scratch-dir', scratch, '--setup', setup];
    const launch = launchHere(['-q', '--here', ...options], { ...workstation(), cwd: work });
    const link = await linkOf(launch);
    const { jupyterToken } = secretsOf(link);
    expect((await ask(link, `/api/contents?token=${jupyterToken}`)).body).toContain('here.txt');
    const [jupyter] = processesWithHome(home.path).filter(({ commandLine }) =>
      commandLine.includes('jupyter_start_config.py'),
    );
    const environment = `\0${jupyter?.environment}`;
    expect(environment).toContain(`\0VIRTUAL_ENV=${venv}\0`);
    expect(environment).toContain(`\0FROM_SETUP=${work}\0`);
    expect(environment).toContain(`\0TMPDIR=${scratch.replace('{user}', os.userInfo().username)}/sj-`);
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
    await allEnded(home.path);
    const left = readdirSync(path.dirname(home.path), { recursive: true, encoding: 'utf8' });
    expect(left.filter((file) => path.basename(file) === 'pwned')).toEqual([]);
    expect(left.filter((file) => /(?:^|\/)sj-/.test(file))).toEqual([]);
  });
});

describe(`--scratch-dir${note}`, () => {
  it('that can not be made ends the session with the reason', async () => {
    const { exitCode, stderr } = await run(['--scratch-dir', '/proc/nowhere'], workstation());
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(/scratch directory can't be made on .*: .*nowhere/);
  });
});

describe(`a home in which files can not be locked${note}`, () => {
  const where = `
ip = get_ipython()
print(ip.history_manager.hist_file)
print(greeting)`;

  testWithJupyter.each([
    [
      'has the history of cells elsewhere, and the rest of IPython',
      1,
      /^\/tmp\/sj-\w+\/ipython\/profile_default\/history\.sqlite\nhello$/,
    ],
    ['that can be locked has it at home', 0, /\/home\/\.ipython\/profile_default\/history\.sqlite\nhello$/],
  ])('%s', async (_, status, says) => {
    const startup = path.join(home.path, '.ipython', 'profile_default', 'startup');
    mkdirSync(startup, { recursive: true });
    writeFileSync(path.join(startup, '00.py'), 'greeting = "hello"\n');
    // What flock(1) says where the server has no lock service.
    const stubs = stubCommands();
    stubs.add('flock', { stderr: 'flock: No locks available\n', exitCode: status });
    const launch = launchHere(['-q'], { ...workstation(), path: `${stubs.directory}:${workstation().path}` });
    expect(await runInKernel(await linkOf(launch), where)).toMatch(says);
    expect(log().includes("can't be locked")).toBe(status === 1);
  });
});

describe(`what leaks in from where the launch was typed${note}`, () => {
  testWithJupyter(
    'is left behind where it would point elsewhere, and kept where it is meant so',
    async () => {
      const leaking = {
        XDG_RUNTIME_DIR: '/run/user/0',
        JUPYTER_TOKEN: 'of-another',
        JUPYTER_TOKEN_FILE: '/nowhere',
        JUPYTER_PORT: '1',
        JUPYTER_SERVER_URL: 'http://elsewhere.test/',
        JPY_API_TOKEN: 'x',
        JUPYTERHUB_API_TOKEN: 'secret',
        START_JUPYTER_YES: 'true',
      };
      const meant = { JUPYTER_PATH: '/my/kernels', PYTHONPATH: '/my/modules', OMP_NUM_THREADS: '2' };
      const launch = launchHere(['-q'], workstation({ ...leaking, ...meant }));
      const environment = await jupyterEnvironment(launch);
      expect(environment).toMatchObject(meant);
      for (const name of Object.keys(leaking)) expect(environment).not.toHaveProperty(name);
    },
  );

  testWithJupyter("of Python's, is not for another Python", async () => {
    const venv = path.join(temporaryDirectory(), 'venv');
    mkdirSync(path.join(venv, 'bin'), { recursive: true });
    for (const [name, text] of [
      ['python', '#!/bin/sh\nexec /usr/bin/python3 "$@"\n'],
      ['jupyter-lab', '#!/bin/sh\nexec jupyter-notebook "$@"\n'],
    ] as const)
      writeFileSync(path.join(venv, 'bin', name), text, { mode: 0o755 });
    const leaking = { PYTHONPATH: '/nowhere', PYTHONHOME: '/nowhere', CONDA_PREFIX: '/nowhere' };
    const launch = launchHere(['-q', '--venv', venv], workstation(leaking));
    const environment = await jupyterEnvironment(launch);
    for (const name of Object.keys(leaking)) expect(environment).not.toHaveProperty(name);
    expect(environment.VIRTUAL_ENV).toBe(venv);
  });
});
