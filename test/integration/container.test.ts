/**
 * Container images. The engine is a stand-in that refuses what it does not know, since neither Debian nor the other
 * registries that the tests may use have one; it speaks as Apptainer 1.4.1 does, see
 * test/support/apptainer-stand-in.sh.
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { testWith } from '../support/command.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { ask, launchHere, secretsOf } from '../support/here.ts';
import { runInKernel } from '../support/kernel.ts';
import { allEnded } from '../support/processes.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';

const { run: testWithJupyter, note } = testWith('jupyter-notebook');

let home: Home;
let engines: string;
let image: string;

beforeEach(() => {
  home = freshHome();
  engines = temporaryDirectory();
  image = path.join(temporaryDirectory(), 'an image');
  mkdirSync(path.join(image, 'bin'), { recursive: true });
  program('jupyter-lab', 'exec /usr/bin/jupyter-notebook "$@"');
});

const engine = (name: string) =>
  copyFileSync(path.join(import.meta.dirname, '../support/apptainer-stand-in.sh'), path.join(engines, name));

/** A program of the image. */
const program = (name: string, text: string) =>
  writeFileSync(path.join(image, 'bin', name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });

const machine = (env: Readonly<Record<string, string>> = {}) => ({
  home,
  path: `${engines}:${usualPrograms({ without: new RegExp(`${slurmPrograms.source}|^(?:jupyter-lab|voila)$`) })}`,
  env,
});

const calls = () => readFileSync(path.join(engines, '.calls'), 'utf8').trimEnd().split('\n');

describe.each(['apptainer', 'singularity'])(`--image with %s${note}`, (name) => {
  testWithJupyter('runs Jupyter from it, with what it is to see', async () => {
    engine(name);
    const data = temporaryDirectory();
    const launch = launchHere(
      [
        ...['-q', '-i', image, '-B', `${data}:/mnt:ro,${home.path}`, '--bind', '.', '--nv', '-d', data],
        ...['--env', 'name=n', '--env', 'WHO=me', '--scratch-dir', data],
      ],
      machine(),
    );
    const link = (await launch.line())?.trim() ?? '';
    expect((await ask(link, '/api/sessions')).status).toBe(403);
    const said = await runInKernel(
      link,
      'import os; print(os.environ["APPTAINER_CONTAINER"], os.environ["WHO"], os.environ["name"], os.getcwd())',
    );
    expect(said).toBe(`${image} me n ${data}`);
    expect(calls()).toEqual(expect.arrayContaining([`bind ${data}:/mnt:ro`, `bind ${home.path}`]));
    expect(calls()[0]).toMatch(/^exec .*--nv --pwd /);
    expect(calls().join('\n')).not.toContain(secretsOf(link).jupyterToken);
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
    await allEnded(home.path);
  });
});

describe(`--image${note}`, () => {
  it('without Jupyter inside is told so', async () => {
    engine('apptainer');
    // The stand-in's images see the machine's programs, among which there is no voila.
    const voila = await run(['-i', image, '--voila'], machine());
    expect(voila.exitCode).toBe(6);
    expect(voila.stderr).toMatch(/voila was not found in the image .*an image/);
  });

  it('without an engine is told so', async () => {
    const { exitCode, stderr } = await run(['-i', image], machine());
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(/Neither apptainer nor singularity was found/);
  });

  it("that the engine can't use ends with the engine's words", async () => {
    engine('apptainer');
    const { exitCode, stderr } = await run(['-i', 'docker://example.test/nothing'], machine());
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(/: FATAL: +Unable to handle docker:\/\/example\.test\/nothing uri.*refused$/m);
    await allEnded(home.path);
  });

  it.each<[string[], RegExp]>([
    [['-i', '/nowhere.sif'], /does not exist/],
    [['-i', 'x', '--venv', '/nowhere'], /Jupyter comes from one place/],
    [['-i', 'x', '--conda-env', 'y'], /Jupyter comes from one place/],
    [['--conda-env', 'x', '--conda-yml', 'y'], /Jupyter comes from one place/],
    [['--nv'], /means something with -i, --image only/],
    [['--bind', '/x'], /means something with -i, --image only/],
    [['--rocm', '--conda-env', 'x'], /means something with -i, --image only/],
    [['--cache'], /means something with --conda-yml only/],
    [['--mamba', '--conda-env', 'x'], /means something with --conda-yml only/],
    [['--conda-init', '/x'], /means something with --conda-env or --conda-yml only/],
    [['-i', 'lab'], /"lab" is a service, not an image; write --lab/],
    [['-i', 'ftp://x'], /is not an image/],
    [['-i', 'docker://a b'], /is not an image/],
    [['-i', 'x', '-B', ':/x'], /can't be bound/],
    [['-i', 'x', '-B', '/x:y'], /can't be bound/],
    [['-i', 'x', '-B', '/x:/y:rx'], /can't be bound/],
    [['--conda-env', 'a b'], /can't be the name/],
    [['--conda-yml', '/nowhere'], /does not exist/],
  ])('%j is refused', async (args, words) => {
    const { exitCode, stdout, stderr } = await run(args, machine());
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toMatch(words);
    expect(stderr.trimEnd().split('\n').length).toBeLessThanOrEqual(2);
  });
});
