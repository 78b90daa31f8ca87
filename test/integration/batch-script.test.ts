/** The user's own job script template, and the built-in ones to make it from. */
import { appendFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { testWith } from '../support/command.ts';
import { freshHome, temporaryDirectory } from '../support/directories.ts';
import { ask, launchHere } from '../support/here.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { type ObservedCluster, observedCluster } from '../support/untouched.ts';

const { run: testWithJupyter, note } = testWith('jupyter-notebook');

let cluster: ObservedCluster;
let templates: string;

const launch = (...args: string[]) => run(args, cluster);

beforeEach(async () => {
  cluster = observedCluster();
  templates = path.join(temporaryDirectory(), 'templates');
  expect((await launch('templates', 'eject', templates)).exitCode).toBe(0);
});

const directives = (script: string) => script.split('\n').filter((line) => line.startsWith('#SBATCH'));

describe('templates', () => {
  it('are listed, with --json too', async () => {
    const { stdout } = await launch('templates');
    expect(stdout).toMatch(/^\/.*batch-templates\/slurm\.sh$/m);
    const listed = JSON.parse((await launch('templates', '--json')).stdout);
    expect(listed.templates).toContain('slurm.sh');
  });

  it('are never written over', async () => {
    appendFileSync(path.join(templates, 'slurm.sh'), '# mine\n');
    const { exitCode, stderr } = await launch('templates', 'eject', templates);
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/nothing of yours/),
    });
    expect(readFileSync(path.join(templates, 'slurm.sh'), 'utf8')).toContain('# mine');
  });

  it.each([
    [['eject'], 2, /Where to/],
    [['show'], 2, /knows no "show"/],
    [['eject', '/proc/nowhere'], 3, /can't be written/],
  ])('refuse %j', async (args, exitCode, words) => {
    const ran = await launch('templates', ...args);
    expect(ran.exitCode).toBe(exitCode);
    expect(ran.stderr).toMatch(words);
  });
});

describe('--batch-script', () => {
  it('as ejected gives the same script as without', async () => {
    const usual = await launch('--dry-run', '-p', 'debug');
    const own = await launch('--dry-run', '-p', 'debug', '-b', path.join(templates, 'slurm.sh'));
    expect(own).toEqual(usual);
  });

  it('gets its directives after its first line where it has no place for them', async () => {
    const file = path.join(templates, 'slurm.sh');
    writeFileSync(file, readFileSync(file, 'utf8').replace('# {{directives}}', '#SBATCH --exclusive'));
    const { stdout } = await launch('--dry-run', '-p', 'debug', '-b', file);
    expect(stdout.split('\n')[1]).toMatch(/^#SBATCH/);
    expect(directives(stdout)).toEqual(
      expect.arrayContaining(['#SBATCH --partition=debug', '#SBATCH --exclusive']),
    );
  });

  it('with --force has its own directives and no others', async () => {
    const file = path.join(templates, 'slurm.sh');
    writeFileSync(
      file,
      readFileSync(file, 'utf8').replace('# {{directives}}', '#SBATCH --account=mine\n# {{directives}}'),
    );
    const { exitCode, stdout, stderr } = await launch('--dry-run', '-f', '-b', file);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(directives(stdout)).toEqual(['#SBATCH --account=mine']);
    expect(stdout).not.toContain('{{');
  });

  it('may change a partial, and only that one', async () => {
    appendFileSync(path.join(templates, 'partials', 'address.sh'), '\n# changed here\n');
    for (const name of readdirSync(path.join(templates, 'partials')))
      if (name !== 'address.sh') writeFileSync(path.join(templates, 'partials', name), '');
    writeFileSync(
      path.join(templates, 'mine.sh'),
      readFileSync(path.join(templates, 'slurm.sh'), 'utf8').replaceAll('{{> site.sh}}', '{{> site.sh}}'),
    );
    // Emptied partials take the site away, which is seen.
    const broken = await launch('--dry-run', '-b', path.join(templates, 'mine.sh'));
    expect(broken.exitCode).toBe(2);
    expect(broken.stderr).toMatch(/never opens its site/);

    const alone = path.join(temporaryDirectory(), 'templates');
    mkdirSync(path.join(alone, 'partials'), { recursive: true });
    for (const name of ['mine.sh', 'partials/address.sh'])
      writeFileSync(path.join(alone, name), readFileSync(path.join(templates, name)));
    const { stdout } = await launch('--dry-run', '-b', path.join(alone, 'mine.sh'));
    expect(stdout).toContain('# changed here');
    expect(stdout).toContain('redeemtoken.cgi');
  });

  it.each<[string, string, RegExp]>([
    ['without a shell', 'echo hello\n', /first line/],
    ['that never opens its site', '#!/bin/bash\njupyter-lab\n', /never opens its site/],
    [
      "of the original, which redeems another launcher's token",
      '#!/bin/bash\nurl="https://manage.$endpoint/redeemtoken.cgi?token=$api_token&port=$PORT"\ncurl $url\n',
      /never opens its site/,
    ],
    ['with a value where none may stand', '#!/bin/bash\necho {{sessionId}}\n', /right side of an assignment/],
    ['with a value that nobody knows', '#!/bin/bash\nx={{nothing}}\n', /"nothing", which has no value/],
    ['with a partial that is not there', '#!/bin/bash\n# {{> nothing.sh}}\n', /no partial "nothing\.sh"/],
  ])('%s is refused before anybody is contacted', async (_, text, words) => {
    const file = path.join(templates, 'mine.sh');
    writeFileSync(file, text);
    const ran = await launch('-b', file);
    expect(ran).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringMatching(words) });
    expect(ran.stderr.trimEnd().split('\n')).toHaveLength(2);
    expect(cluster.traces()).toEqual([]);
  });

  it.each([
    [['-b', '/nowhere'], /does not exist/],
    [['-b', '/tmp'], /is not a file/],
    [['-f'], /no script to submit/],
    [['-b', 'x', '-s', 'lab'], /contradict/],
    [['-b', 'x', '--notebook'], /contradict/],
    [['-b', 'x', '-f', '-p', 'debug'], /none are added/],
  ])('%j is refused', async (args, words) => {
    const ran = await launch(...args);
    expect(ran).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringMatching(words) });
    expect(cluster.traces()).toEqual([]);
  });
});

describe(`a template of one's own${note}`, () => {
  testWithJupyter('is what runs', async () => {
    const home = freshHome();
    const file = path.join(templates, 'none.sh');
    writeFileSync(
      file,
      readFileSync(file, 'utf8').replace(
        '\nprepare_environment\n',
        '\nsay "by my own script"\nprepare_environment\n',
      ),
    );
    const session = launchHere(['--json', '-b', file], {
      home,
      path: usualPrograms({ without: slurmPrograms }),
    });
    const report = JSON.parse((await session.line()) ?? '{}');
    expect((await ask(report.url, '/api')).status).toBe(200);
    expect(readFileSync(report.log, 'utf8')).toContain('by my own script');
    session.kill('SIGINT');
    expect((await session.ended).exitCode).toBe(130);
  });
});
