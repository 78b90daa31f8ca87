/**
 * Conda environments: a notebook's kernel imports from them. The tool that makes them is a stand-in, since none of the
 * registries that the tests may use has a conda; see test/support/conda-stand-in.sh.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { beforeEach, describe, expect, it } from 'vitest';
import { testWith } from '../support/command.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { type HereLaunch, launchHere } from '../support/here.ts';
import { runInKernel } from '../support/kernel.ts';
import { allEnded } from '../support/processes.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';

const { run: testWithJupyter, note } = testWith('jupyter-notebook');

let home: Home;
/** An installation of conda: bin/ with the tools, envs/. */
let root: string;
let yml: string;

beforeEach(() => {
  home = freshHome();
  root = path.join(temporaryDirectory(), 'miniforge3');
  mkdirSync(path.join(root, 'bin'), { recursive: true });
  for (const name of ['conda', 'mamba', 'micromamba']) standIn('conda-stand-in.sh', name);
  standIn('conda-pack-stand-in.sh', 'conda-pack');
  yml = path.join(temporaryDirectory(), 'environment.yml');
  writeFileSync(yml, 'name: course\ndependencies:\n  - lecture=1.2\n');
});

function standIn(script: string, name: string): void {
  copyFileSync(path.join(import.meta.dirname, '../support', script), path.join(root, 'bin', name));
}

/** A shell in which nobody has initialised conda; with `initialised`, conda's bin is on PATH. */
const machine = (initialised = false, env: Readonly<Record<string, string>> = {}) => ({
  home,
  path: `${initialised ? `${root}/bin:` : ''}${usualPrograms({ without: slurmPrograms })}`,
  env,
});

async function makeEnvironment(prefix: string): Promise<string> {
  await execa(path.join(root, 'bin', 'conda'), ['env', 'create', '--prefix', prefix, '--file', yml], {
    env: { CONDA_ALWAYS_YES: 'true', MAMBA_ALWAYS_YES: 'true' },
  });
  return prefix;
}

async function linkOf(launch: HereLaunch): Promise<string> {
  const link = await launch.line();
  if (link === undefined) throw new Error(`it ended: ${(await launch.ended).stderr}`);
  return link.trim();
}

/** What a kernel says of the environment that it runs in. */
async function kernelSays(launch: HereLaunch): Promise<Record<string, string>> {
  const code = `
import json, os, lecture
print(json.dumps({"version": lecture.version, **{k: os.environ.get(k, "") for k in ("CONDA_PREFIX", "LECTURE_DATA", "LECTURE_MODE")}}))`;
  return JSON.parse(await runInKernel(await linkOf(launch), code));
}

async function end(launch: HereLaunch): Promise<void> {
  launch.kill('SIGINT');
  expect((await launch.ended).exitCode).toBe(130);
  await allEnded(home.path);
}

const calls = () =>
  existsSync(path.join(root, 'bin', '.calls'))
    ? readFileSync(path.join(root, 'bin', '.calls'), 'utf8')
        .trimEnd()
        .split('\n')
    : [];

function log(): string {
  return readdirSync(home.sessions)
    .map((id) => readFileSync(path.join(home.sessions, id, 'job.log'), 'utf8'))
    .join('\n');
}

describe(`--conda-env${note}`, () => {
  testWithJupyter('by path: kernels import from it, activated as conda would', async () => {
    const prefix = await makeEnvironment(path.join(temporaryDirectory(), 'environment'));
    const launch = launchHere(['-q', '--conda-env', prefix], machine());
    expect(await kernelSays(launch)).toEqual({
      version: '1.2',
      CONDA_PREFIX: prefix,
      LECTURE_DATA: `${prefix}/share/lecture`,
      LECTURE_MODE: 'it is "quoted"',
    });
    await end(launch);
  });

  testWithJupyter.each<[string, (prefix: string) => string[], boolean]>([
    ['in the installation whose conda is on PATH', () => [], true],
    ['in the installation of --conda-init', () => ['--conda-init', initFile()], false],
    ['in conda’s own list of environments', listed, false],
    ['in what "conda env list" says', told, true],
  ])('by name, %s', async (_, prepare, initialised) => {
    const elsewhere = path.join(temporaryDirectory(), 'course');
    const inRoot = path.join(root, 'envs', 'course');
    const options = prepare(elsewhere);
    const prefix = await makeEnvironment(prepare === listed || prepare === told ? elsewhere : inRoot);
    const launch = launchHere(['-q', '--conda-env', 'course', ...options], machine(initialised));
    expect(await kernelSays(launch)).toMatchObject({ version: '1.2', CONDA_PREFIX: prefix });
    await end(launch);
  });

  function initFile(): string {
    const file = path.join(temporaryDirectory(), 'init.sh');
    // As conda's own profile.d/conda.sh: a function and a variable, nothing on PATH.
    writeFileSync(file, `export CONDA_EXE='${root}/bin/conda'\nconda() { false; }\necho welcome\n`);
    return file;
  }

  function listed(prefix: string): string[] {
    mkdirSync(path.join(home.path, '.conda'));
    writeFileSync(path.join(home.path, '.conda', 'environments.txt'), `/nowhere/course\n${prefix}\n`);
    return [];
  }

  function told(prefix: string): string[] {
    writeFileSync(path.join(root, 'bin', 'listed'), `course                 ${prefix}\n`);
    return [];
  }

  it('that is not there is refused before anything starts, where that can be known', async () => {
    for (const [args, words] of [
      [['--conda-env', '/nowhere'], /not a conda environment/],
      [['--conda-env', './nowhere'], /not a conda environment/],
      [['--conda-env', 'nowhere'], /no conda environment "nowhere"/],
    ] as const) {
      const { exitCode, stderr } = await run(args, machine());
      expect({ exitCode, stderr }).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(words) });
      expect(existsSync(home.sessions)).toBe(false);
    }
  });

  it('that is not there where the job looks ends it with what to do', async () => {
    const { exitCode, stderr } = await run(['--conda-env', 'nowhere', '--conda-init', initFile()], machine());
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(/no conda environment "nowhere" on .*Name it by its path/);
  });

  testWithJupyter('without Jupyter is refused', async () => {
    const prefix = await makeEnvironment(path.join(root, 'envs', 'bare'));
    await execa('rm', [path.join(prefix, 'bin', 'jupyter-notebook')]);
    const { exitCode, stderr } = await run(['--conda-env', prefix], machine());
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/has no jupyter-lab or jupyter-notebook/);
  });
});

describe(`--conda-yml${note}`, () => {
  testWithJupyter.each<[string, string[], string]>([
    ['conda', [], 'conda'],
    ['--mamba', ['--mamba'], 'mamba'],
  ])('makes an environment for the session with %s', async (_, options, tool) => {
    const scratch = temporaryDirectory();
    const launch = launchHere(
      ['-q', '--conda-yml', yml, '--scratch-dir', scratch, ...options],
      machine(true),
    );
    const { version, CONDA_PREFIX = '' } = await kernelSays(launch);
    expect(version).toBe('1.2');
    expect(CONDA_PREFIX.startsWith(`${scratch}/`)).toBe(true);
    expect(calls()).toEqual([expect.stringMatching(new RegExp(`^${tool} env create --prefix `))]);
    await end(launch);
    expect(readdirSync(scratch)).toEqual([]);
  });

  testWithJupyter('--cache makes it once for each content, and not again', async () => {
    const kept = path.join(home.path, '.cache', 'start-jupyter', 'conda');
    const say = async () => {
      const launch = launchHere(['-q', '--conda-yml', yml, '--cache'], machine(true));
      const { version } = await kernelSays(launch);
      await end(launch);
      return version;
    };
    expect(await say()).toBe('1.2');
    expect(readdirSync(kept)).toEqual([expect.stringMatching(/^[0-9a-f]{64}-\w+\.tar\.gz$/)]);
    expect(calls()).toHaveLength(2); // made, packed
    expect(await say()).toBe('1.2');
    expect(calls()).toHaveLength(2);
    expect(log()).toContain('Unpacking the conda environment');
    writeFileSync(yml, 'dependencies:\n  - lecture=1.3\n');
    expect(await say()).toBe('1.3');
    expect(readdirSync(kept)).toHaveLength(2);
    // One that is damaged is no reason to fail.
    for (const name of readdirSync(kept)) writeFileSync(path.join(kept, name), 'damaged');
    expect(await say()).toBe('1.3');
  });

  testWithJupyter('--cache is safe when two sessions make it at once', async () => {
    await execa('mkfifo', [path.join(root, 'bin', 'wait')]);
    const launches = [1, 2].map(() => launchHere(['-q', '--conda-yml', yml, '--cache'], machine(true)));
    // Both are on their way before either may go on.
    await expect.poll(calls, { timeout: 60_000 }).toHaveLength(2);
    // Opening the pipe meets a reader; its end lets all go on that wait, and who is late finds none to wait for.
    await execa('sh', ['-c', 'exec 3>"$0"; rm "$0"', path.join(root, 'bin', 'wait')]);
    for (const launch of launches) expect((await kernelSays(launch)).version).toBe('1.2');
    const kept = path.join(home.path, '.cache', 'start-jupyter', 'conda');
    const [archive = '', ...more] = readdirSync(kept);
    expect(more).toEqual([]);
    await execa('tar', ['-tzf', path.join(kept, archive)]);
    for (const launch of launches) launch.kill('SIGINT');
    for (const launch of launches) await launch.ended;
  });

  it('that can not be made ends the session with what the tool said', async () => {
    writeFileSync(yml, 'dependencies:\n  - unsatisfiable\n');
    const { exitCode, stderr } = await run(['--conda-yml', yml], machine(true));
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(/could not be made on .*LibMambaUnsatisfiableError/);
    await allEnded(home.path);
  });

  it('where there is no conda says so', async () => {
    const { exitCode, stderr } = await run(['--conda-yml', yml], machine(false));
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(/There is no conda on .*--conda-init FILE/);
  });

  it('that is being made when the launch is interrupted leaves nothing behind', async () => {
    await execa('mkfifo', [path.join(root, 'bin', 'wait')]);
    const launch = launchHere(['--conda-yml', yml], machine(true));
    await expect.poll(calls, { timeout: 60_000 }).toHaveLength(1);
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
    await allEnded(home.path);
  });
});
