import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { jobScripts } from '../../scripts/job-scripts.ts';
import { jobScript } from '../../src/batch/job-script.ts';
import type { LaunchSpec } from '../../src/launch-spec.ts';
import { testWith } from '../support/command.ts';
import { temporaryDirectory } from '../support/directories.ts';
import { plainLaunch } from '../support/launch-spec.ts';

const templates = readdirSync(path.join(import.meta.dirname, '../../batch-templates')).filter((name) =>
  name.endsWith('.sh'),
);
const scripts = jobScripts();
const { run: testWithShellcheck, note } = testWith('shellcheck');

it('knows a rendered script of every template', () => {
  expect([...scripts.keys()].map((name) => `${name}.sh`).sort()).toEqual(templates.sort());
});

describe.each([...scripts])('the script of %s', (_, script) => {
  it('is bash', () => {
    expect(spawnSync('bash', ['-n'], { input: script, encoding: 'utf8' })).toMatchObject({
      status: 0,
      stderr: '',
    });
  });

  testWithShellcheck(`gives shellcheck nothing to say${note}`, () => {
    const { status, stdout } = spawnSync('shellcheck', ['-s', 'bash', '--severity=info', '-'], {
      input: script,
      encoding: 'utf8',
    });
    expect(stdout).toBe('');
    expect(status).toBe(0);
  });

  it('holds no placeholder any more', () => {
    expect(script).not.toContain('{{');
  });

  // Clusters still run bash 4.2 (RHEL 7); what came later is read as something else there, or not at all.
  it.each([
    ['wait -n (4.3)', /\bwait\s+-\w*n/],
    ['namerefs (4.3)', /\b(?:local|declare|typeset)\s+-\w*n\w*\s/],
    ['x@Q and the like (4.4)', /\$\{\w+(?:\[[^\]]*\])?@\w\}/],
    ['readarray -d (4.4)', /\b(?:readarray|mapfile)\s+-\w*d/],
    ['local - (4.4)', /\blocal\s+-(?:\s|$)/m],
    ['EPOCHSECONDS, SRANDOM (5)', /\b(?:EPOCHSECONDS|EPOCHREALTIME|SRANDOM|BASH_ARGV0)\b/],
    ['negative subscripts in assignments (4.3)', /^\s*\w+\[-\d+\]=/m],
    ['[[ -v name[index] ]] (4.3)', /-v\s+\w+\[/],
    ['wait -f, wait -p (5)', /\bwait\s+-\w*[fp]/],
    ['set -u (4.4: empty arrays are unset before)', /^set -\w*u/m],
    [
      'printf of the time without an argument (4.3: it is 1970 before)',
      /%\([^)]*\)T[^'"]*['"]\s*(?:$|[;|&)>])/m,
    ],
    ['shopt of later versions (4.3 and up)', /\bshopt\b.*\b(?:globasciiranges|inherit_errexit|localvar_\w+)/],
  ])('needs no %s', (_what, pattern) => {
    expect(script).not.toMatch(pattern);
  });
});

const proxy = { manageUrl: 'https://manage.sites.test' };

/** The settings as the script's bash sees them, by running it up to where the work begins. */
function settings(script: string, names: readonly string[]): string[] {
  const settingsOnly = script.slice(0, script.indexOf('\nsecrets='));
  const cwd = temporaryDirectory();
  writeFileSync(
    path.join(cwd, 'job.sh'),
    `${settingsOnly}\nprintf '%s\\0' ${names.map((name) => `"$${name}"`).join(' ')}\nls -A\n`,
  );
  return execFileSync('bash', ['job.sh'], { cwd, encoding: 'utf8' }).split('\0');
}

test.each<[string, string]>([
  ['with quotes and substitutions', 'it\'s a $(touch pwned) `touch pwned` "dir"'],
  ['of two lines', 'a\nb; touch pwned'],
  ['with a directive', "'\n#SBATCH --account=other\n'"],
  ['in other scripts', '名前 👩‍🔬'],
  ['of 4 KB', '/'.concat('x$y'.repeat(1300))],
])('a directory and an environment %s arrive as they are', (_, name) => {
  const script = jobScript(
    { ...plainLaunch, directory: name, environment: { ...plainLaunch.environment, venv: name } },
    'abc',
    proxy,
  );
  expect(settings(script, ['start_dir', 'venv', 'session_id', 'time_limit'])).toEqual([
    name,
    name,
    'abc',
    '1800',
    'job.sh\n',
  ]);
});

describe('the directives of Slurm', () => {
  const directives = (change: Partial<LaunchSpec['resources']>, system: Partial<LaunchSpec['system']> = {}) =>
    jobScript(
      {
        ...plainLaunch,
        resources: { ...plainLaunch.resources, ...change },
        system: { ...plainLaunch.system, ...system },
      },
      'abc',
      proxy,
    )
      .split('\n')
      .filter((line) => line.startsWith('#SBATCH'));

  it('are few where nothing is asked for: the rest is left to the site', () => {
    const names = directives({}).map((line) => line.replace(/^#SBATCH --([\w-]+).*/, '$1'));
    expect(names).toEqual(['job-name', 'output', 'open-mode', 'time', 'signal', 'no-requeue']);
  });

  it.each<[Partial<LaunchSpec['resources']>, string]>([
    [{ account: 'abc123' }, '#SBATCH --account=abc123'],
    [{ partition: 'debug,compute' }, '#SBATCH --partition=debug,compute'],
    [{ nodes: 2 }, '#SBATCH --nodes=2'],
    [{ cpus: 4 }, '#SBATCH --cpus-per-task=4'],
    [{ memory: 8192 }, '#SBATCH --mem=8192M'],
    [{ gpu: { count: 1 } }, '#SBATCH --gpus=1'],
    [{ gpu: { type: 'v100', count: 2 } }, '#SBATCH --gpus=v100:2'],
    [{ gres: 'nvme:200' }, '#SBATCH --gres=nvme:200'],
    [{ reservation: 'si26_day-1' }, '#SBATCH --reservation=si26_day-1'],
    [{ qos: 'high' }, '#SBATCH --qos=high'],
    [{ constraint: 'skylake&ib' }, '#SBATCH --constraint="skylake&ib"'],
    [{ constraint: '[rack1|rack2]' }, '#SBATCH --constraint="[rack1|rack2]"'],
    [{ timeLimit: 60 }, '#SBATCH --time=00:01:00'],
    [{ timeLimit: 61 }, '#SBATCH --time=00:02:00'],
    [{ timeLimit: 86_400 }, '#SBATCH --time=1-00:00:00'],
    [{ timeLimit: 131_415 }, '#SBATCH --time=1-12:31:00'],
  ])('%j → %s', (change, line) => {
    expect(directives(change)).toContain(line);
  });

  it('ask for GPUs with --gres where the system wants it so, beside other resources', () => {
    const lines = directives({ gpu: { type: 'v100', count: 1 }, gres: 'nvme:200' }, { gpuDirective: 'gres' });
    expect(lines).toContain('#SBATCH --gres=nvme:200,gpu:v100:1');
    expect(lines.join('\n')).not.toContain('--gpus');
  });

  it('ask for no warning where the whole time is shorter than its notice', () => {
    expect(directives({ timeLimit: 300 }).join('\n')).not.toContain('signal');
    expect(directives({ timeLimit: 1800 })).toContain('#SBATCH --signal=B:USR1@300');
  });
});
