/** What people install, as they get it: the npm package, the executable that needs no Node.js, the module file. */
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it, test } from 'vitest';
import { lmodDirectory } from '../../lab/packages.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { run as runSatellite } from '../../satellite/test/integration/program.ts';
import { buildExecutable, makeTree, packNpm, prepareFiles } from '../../scripts/package.ts';
import { testWith } from '../support/command.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { ask, launchHere, runtimeDirectories, secretsOf } from '../support/here.ts';
import { allEnded } from '../support/processes.ts';
import { type Ran, run, slurmPrograms, usualPrograms } from '../support/program.ts';

const root = path.join(import.meta.dirname, '../..');
const { run: testWithJupyter, note: withoutJupyter } = testWith('jupyter-notebook');
const { run: testWithModules, note: withoutModules } = testWith('/usr/lib/x86_64-linux-gnu/modulecmd.tcl');
const { run: testWithLmod, note: withoutLmod } = testWith(`${lmodDirectory}/libexec/lmod`);
const isRoot = process.getuid?.() === 0;
const testAsRoot = isRoot || process.env.START_JUPYTER_TEST_COMPLETE ? test : test.skip;

/** A user id that no password file knows. */
const nobodysId = 54321;

let home: Home;
/** Of the tree: `bin/`, `share/`. */
let tree: string;
/** Where npm has installed to. */
let prefix: string;
/** A search path without Node.js and without a scheduler. */
let withoutNode: string;

beforeAll(async () => {
  home = freshHome();
  withoutNode = usualPrograms({ without: new RegExp(`${slurmPrograms.source}|^(?:node|nodejs|npm|npx)$`) });
  await prepareFiles();
  const packages = temporaryDirectory();
  prefix = temporaryDirectory();
  tree = path.join(temporaryDirectory(), 'start-jupyter');
  await Promise.all([
    packNpm(packages).then((file) =>
      // Nothing else is installed with it, so that it works without a network.
      execa('npm', ['install', '--global', '--offline', '--prefix', prefix, file], {
        env: { npm_config_cache: temporaryDirectory() },
      }),
    ),
    (async () => {
      const executable = path.join(packages, 'executable');
      await buildExecutable(executable);
      makeTree(tree, executable);
    })(),
  ]);
  // Made for us alone, and other users are to run what is below.
  chmodSync(prefix, 0o755);
});

/** A search path with this Node.js in front. */
function withNode(node = process.execPath): string {
  const bin = temporaryDirectory();
  chmodSync(bin, 0o755);
  symlinkSync(node, path.join(bin, 'node'));
  return `${bin}:${withoutNode}`;
}

const installed = (name: string) => path.join(prefix, 'bin', name);

/** Relative links of all documents below a directory that lead nowhere, as `document → link`. */
function deadLinks(directory: string): string[] {
  return globSync('**/*.md', { cwd: directory }).flatMap((document) => {
    const links = readFileSync(path.join(directory, document), 'utf8').matchAll(
      /\]\(([^)#\s]+)[^)]*\)|\b(?:src|href|srcset)="([^"#]+)/g,
    );
    return [...links]
      .map(([, inText, inTag]) => inText ?? inTag ?? '')
      .filter(
        (link) => !/^[a-z]+:/.test(link) && !existsSync(path.join(directory, path.dirname(document), link)),
      )
      .map((link) => `${document} → ${link}`);
  });
}

it('leads nowhere with no link of its documents; the npm package leaves pictures out', () => {
  expect(globSync('**/*.md', { cwd: tree }).length).toBeGreaterThan(10);
  expect(deadLinks(tree)).toEqual([]);
  const dead = deadLinks(path.join(prefix, 'lib/node_modules/start-jupyter'));
  expect(dead.filter((each) => !each.endsWith('.png'))).toEqual([]);
});

describe('the npm package', () => {
  it('installs both programs, and brings what they need and nothing else', async () => {
    for (const name of ['start-jupyter', 'satellite']) {
      const ran = await run(['--version'], { home, path: withNode(), program: installed(name) });
      expect(ran).toMatchObject({ exitCode: 0, stdout: `${packageJson.version}\n`, stderr: '' });
      expect(existsSync(path.join(prefix, 'share/man/man1', `${name}.1`))).toBe(true);
    }
    const modules = path.join(prefix, 'lib/node_modules');
    expect(readdirSync(modules)).toEqual(['start-jupyter']);
    const files = readdirSync(path.join(modules, 'start-jupyter'), { recursive: true }).map(String);
    for (const needed of [
      'LICENSE',
      'README.md',
      'THIRD-PARTY-NOTICES',
      'systems.yaml',
      'batch-templates/slurm.sh',
    ])
      expect(files).toContain(needed);
    expect(
      files.filter((file) => /\.ts$|^(?:(?:src|test|node_modules)\b|lab\/(?!README\.md$))/.test(file)),
    ).toEqual([]);
  });

  it('starts with the configuration below the prefix, which an upgrade leaves alone', async () => {
    const file = path.join(prefix, 'etc/start-jupyter/config.yaml');
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, 'partition: of-the-prefix\n');
    const { stdout } = await run(['--info'], { home, path: withNode(), program: installed('start-jupyter') });
    expect(stdout).toMatch(new RegExp(`of-the-prefix +${file}`));
    rmSync(file);
  });

  it('says in one line that there is no Node.js, or that it is too old', async () => {
    const old = path.join(temporaryDirectory(), 'node');
    const pretence = "Object.defineProperty(process, 'versions', { value: { node: '18.20.4' } })";
    writeFileSync(`${old}.cjs`, pretence);
    writeFileSync(old, `#!/bin/sh\nexec ${process.execPath} -r ${old}.cjs "$@"\n`, { mode: 0o755 });
    const program = installed('start-jupyter');
    const none = await run(['list'], { home, path: withoutNode, program });
    expect(none).toMatchObject({ exitCode: 3, stdout: '' });
    expect(none.stderr).toMatch(/^start-jupyter: Node.js was not found\. .*\n$/);
    const tooOld = await run(['list'], { home, path: withNode(old), program });
    expect(tooOld).toMatchObject({ exitCode: 3, stdout: '' });
    expect(tooOld.stderr).toMatch(
      /^This program needs Node.js 24 or later, and .* is 18.20.4\.\nLoad a newer one .*\n$/,
    );
  });

  testAsRoot(
    `works for a user id that nobody knows, who may write nothing here${isRoot ? '' : ' (left out: not root)'}`,
    async () => {
      // All of it where anybody can reach it, as the checkout may not be.
      const bin = temporaryDirectory();
      chmodSync(bin, 0o755);
      cpSync(process.execPath, path.join(bin, 'node'));
      const as = async (environment: Record<string, string>, ...args: string[]): Promise<Ran> => {
        const id = String(nobodysId);
        const { exitCode, stdout, stderr } = await execa(
          'setpriv',
          ['--reuid', id, '--regid', id, '--clear-groups', installed('start-jupyter'), ...args],
          {
            extendEnv: false,
            env: { PATH: `${bin}:/usr/bin:/bin`, ...environment },
            cwd: '/',
            reject: false,
          },
        );
        return { exitCode, stdout, stderr };
      };
      for (const environment of [{}, { HOME: '' }] as Record<string, string>[]) {
        const homeless = await as(environment, '--dry-run');
        expect(homeless).toMatchObject({ exitCode: 3, stdout: '' });
        expect(homeless.stderr).toContain(
          `You have no home directory: HOME is not set, and the password file has none for user ${nobodysId}.`,
        );
      }
      const unwritable = await as({ HOME: prefix }, '--here');
      expect(unwritable).toMatchObject({ exitCode: 3, stdout: '' });
      const writable = temporaryDirectory();
      chownSync(writable, nobodysId, nobodysId);
      // Where Slurm is installed a dry run has a word about it.
      expect(await as({ HOME: writable }, '--dry-run', '--quiet')).toMatchObject({ exitCode: 0, stderr: '' });
      expect(await as({ HOME: writable }, 'list')).toMatchObject({ exitCode: 0 });
    },
  );
});

describe('the executable, where there is no Node.js', () => {
  /** In an empty directory, all by itself. */
  let alone: { readonly home: Home; readonly path: string; readonly program: string; readonly cwd: string };

  beforeAll(() => {
    const program = path.join(temporaryDirectory(), 'start-jupyter-linux-x64');
    cpSync(path.join(tree, 'bin/start-jupyter'), program);
    alone = { home, path: withoutNode, program, cwd: path.dirname(program) };
  });

  it('says its version, also where NODE_OPTIONS are meant for another Node.js', async () => {
    const ran = await run(['--version'], { ...alone, env: { NODE_OPTIONS: '--no-such-option' } });
    expect(ran).toEqual({ exitCode: 0, stdout: `${packageJson.version}\n`, stderr: '' });
  });

  it('has the catalogue of systems, templates and completion inside', async () => {
    const systems = await run(['systems', '--json'], alone);
    expect(systems).toMatchObject({ exitCode: 0 });
    expect(systems.stdout).toContain('"expanse"');
    const script = await run(['--dry-run', '--system', 'expanse', '-A', 'abc123', '-p', 'compute'], alone);
    expect(script).toMatchObject({ exitCode: 0 });
    expect(script.stdout).toMatch(/^#!\/bin\/bash\n#SBATCH /);
    expect((await run(['templates', 'eject', 'mine'], alone)).exitCode).toBe(0);
    const { stdout: differences } = await execa('diff', [
      '-r',
      path.join(root, 'batch-templates'),
      path.join(alone.cwd, 'mine'),
    ]);
    expect(differences).toBe('');
    expect(JSON.parse((await run(['templates', '--json'], alone)).stdout)).toMatchObject({ directory: null });
    const fromCheckout = await run(['completion', 'zsh'], {
      ...alone,
      program: installed('start-jupyter'),
      path: withNode(),
    });
    expect((await run(['completion', 'zsh'], alone)).stdout).toBe(fromCheckout.stdout);
  });

  it("reads etc/ beside it, unless that is a stranger's", async () => {
    const file = path.join(alone.cwd, 'etc/config.yaml');
    mkdirSync(path.dirname(file));
    writeFileSync(file, 'partition: of-the-site\n');
    expect((await run(['--info'], alone)).stdout).toMatch(new RegExp(`of-the-site +${file}`));
    if (!isRoot) return;
    chownSync(file, nobodysId, nobodysId);
    expect((await run(['--info'], alone)).stdout).not.toContain('of-the-site');
  });

  testWithJupyter(`starts Jupyter, behind a satellite of its own${withoutJupyter}`, async () => {
    const launch = launchHere(['--quiet'], alone);
    const link = (await launch.line()) ?? '';
    expect((await ask(link, `/api/sessions?token=${secretsOf(link).jupyterToken}`)).status).toBe(200);
    expect((await ask(link, '/api/sessions')).status).toBe(403);
    const runtime = runtimeDirectories(home.path);
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
    await allEnded(home.path);
    expect(runtime.filter((directory) => existsSync(directory))).toEqual([]);
  });

  it('is satellite under that name', async () => {
    const satellite = path.join(tree, 'bin/satellite');
    expect(await run(['serve'], { ...alone, program: satellite })).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/^satellite: /),
    });
    const options = [
      '--domain',
      'sites.test',
      '--tls',
      'off',
      '--listen',
      '127.0.0.1:0',
      '--state',
      path.join(alone.cwd, 'state.sqlite'),
    ];
    const proxy = runSatellite([satellite, 'serve', ...options], { PATH: withoutNode });
    const { port } = await proxy.logged('listening');
    const { status } = await ask(`http://some-thing-else.sites.test:${port}/`, '/', { accept: 'text/html' });
    expect(status).toBe(404);
  });
});

describe('the module file', () => {
  /** What is found after a module was loaded, and what the environment is after it was unloaded. */
  async function loadAndUnload(
    begin: string,
    environment: Record<string, string>,
  ): Promise<{ loaded: string; unloaded: string }> {
    const show =
      'command -v start-jupyter; satellite --version; man -w start-jupyter ls; echo "$XDG_DATA_DIRS"; echo "$PATH"';
    const script = `${begin}
      module use ${tree}/share/modulefiles
      module load start-jupyter
      ${show}; echo ----
      module unload start-jupyter
      man -w ls; echo "$PATH"`;
    const { stdout } = await execa('bash', ['--noprofile', '--norc', '-c', script], {
      extendEnv: false,
      env: { HOME: home.path, PATH: '/usr/bin:/bin', ...environment },
      reject: false,
    });
    const [loaded = '', unloaded = ''] = stdout.split('----\n');
    return { loaded, unloaded };
  }

  function expectModule({ loaded, unloaded }: { loaded: string; unloaded: string }): void {
    const [program, version, page, systemPage, data, searchPath] = loaded.trim().split('\n');
    expect([program, version, page]).toEqual([
      `${tree}/bin/start-jupyter`,
      packageJson.version,
      `${tree}/share/man/man1/start-jupyter.1`,
    ]);
    expect(systemPage).toMatch(/^\/usr\/share\/man\//);
    expect(data).toBe(`${tree}/share:/usr/local/share:/usr/share`);
    expect(searchPath).toBe(`${tree}/bin:/usr/bin:/bin`);
    expect(unloaded.trim().split('\n')).toEqual([systemPage, '/usr/bin:/bin']);
  }

  testWithModules(`works with Environment Modules${withoutModules}`, async () => {
    expectModule(await loadAndUnload('. /usr/share/modules/init/bash', {}));
  });

  testWithLmod(`works with Lmod${withoutLmod}`, async () => {
    // What Lmod's init/bash sets where it is installed.
    const place = {
      LMOD_PKG: lmodDirectory,
      LMOD_DIR: `${lmodDirectory}/libexec`,
      LMOD_CMD: `${lmodDirectory}/libexec/lmod`,
    };
    expectModule(await loadAndUnload('module() { eval "$("$LMOD_CMD" bash "$@")"; }', place));
  });

  it('lies beside completions that the shells find', async () => {
    const files = readdirSync(path.join(tree, 'share'), { recursive: true });
    for (const name of ['start-jupyter', 'satellite'])
      for (const file of [
        `bash-completion/completions/${name}`,
        `zsh/site-functions/_${name}`,
        `fish/vendor_completions.d/${name}.fish`,
      ])
        expect(files).toContain(file);
    expect(readFileSync(path.join(tree, 'share/bash-completion/completions/satellite'), 'utf8')).toContain(
      'complete -F _satellite satellite',
    );
  });
});
