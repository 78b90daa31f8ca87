/** Command lines of other launchers give the job that they gave: those of docs/migrating.md are run, and what they become is shown. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/directories.ts';
import { run } from '../support/program.ts';
import { observedCluster } from '../support/untouched.ts';

const guide = readFileSync(path.join(import.meta.dirname, '../../docs/migrating.md'), 'utf8');
const site = /^```yaml\n(.*?)^```$/ms.exec(guide)?.[1] ?? '';

/** Every command line of the guide. */
const lines = [...guide.matchAll(/^```console\n(.*?)^```$/gms)].flatMap(([, text = '']) =>
  text.trim().split('\n'),
);

/** The words of a command line, as bash reads it. */
function words(line: string, home: string): string[] {
  const { stdout } = spawnSync(
    'bash',
    ['-c', `set -- ${line}; shift; for word; do printf '%s\\0' "$word"; done`],
    {
      encoding: 'utf8',
      env: { HOME: home, USER: 'alice', PATH: '/usr/bin:/bin' },
    },
  );
  return stdout.split('\0').slice(0, -1);
}

const cluster = observedCluster();

/** The script that a command line would submit on Expanse, or on the guide's own cluster where it has the profile. */
async function script(line: string): Promise<string> {
  const args = words(line, cluster.home.path);
  const at = args.indexOf('--');
  const own = at === -1 ? args : args.slice(0, at);
  const config = path.join(temporaryDirectory(), 'site.yaml');
  writeFileSync(config, site);
  const system = own.includes('--profile') ? 'mycluster' : 'expanse';
  const account = own.some((word) => /^(?:-A|--account)$/.test(word)) ? [] : ['-A', 'any'];
  const { exitCode, stdout, stderr } = await run(
    [...own, ...account, '--system', system, '--dry-run', ...(at === -1 ? [] : args.slice(at))],
    { ...cluster, env: { ...cluster.env, START_JUPYTER_SITE_CONFIG: config } },
  );
  expect(exitCode, stderr).toBe(0);
  return stdout;
}

/** What a script asks for and is told, without what every script is. */
function asked(text: string): string[] {
  return text
    .split('\n')
    .filter(
      (line) =>
        /^#SBATCH --(?!job-name|output|open-mode|no-requeue|signal)/.test(line) ||
        /^(?:service|modules|venv|conda_\w+|image|binds|container_flags|setup_file|variables|start_dir|idle_timeout)=/.test(
          line,
        ),
    )
    .map((line) =>
      line
        .replace(/^#SBATCH /, '')
        .replace(/ # .*/, '')
        .replaceAll(cluster.home.path, 'HOME'),
    )
    .filter((line) => !/^\w+=(?:\(\))?$/.test(line) && line !== 'start_dir=HOME');
}

/** What the old launcher asked for, read from its source; the order is the script's. */
const meant: readonly (readonly [line: RegExp, asked: readonly string[]])[] = [
  [
    /--partition 'shared' --cpus-per-task 1 /,
    [
      '--account=abc123',
      '--partition=shared',
      '--time=00:30:00',
      '--cpus-per-task=1',
      'modules=(cpu gcc anaconda3)',
    ],
  ],
  [
    /--memory-per-node 93 /,
    [
      '--account=abc123',
      '--partition=gpu-shared',
      '--time=00:30:00',
      '--cpus-per-task=10',
      '--mem=95232M',
      '--gpus=1',
      'service=notebook',
      'start_dir=/expanse/lustre/projects/abc123/alice',
      'modules=(singularitypro)',
      'image=/cm/shared/apps/containers/singularity/pytorch/pytorch-latest.sif',
      'binds=(/expanse /scratch)',
      'container_flags=(--nv)',
    ],
  ],
  [
    /--conda-yml environment\.yml --mamba --cache/,
    [
      '--account=abc123',
      '--partition=debug',
      '--time=00:30:00',
      '--cpus-per-task=4',
      '--mem=8192M',
      'conda_yml=HOME/environment.yml',
      'conda_program=mamba',
      'conda_cache=HOME/.cache/start-jupyter/conda',
    ],
  ],
  [/^start-jupyter$/, ['--account=any', '--partition=shared', '--time=00:30:00']],
  [
    /-t 00:30:00 -g 1 -p gpu-shared -i /,
    [
      '--account=any',
      '--partition=gpu-shared',
      '--time=00:30:00',
      '--gpus=1',
      'image=/share/apps/gpu/singularity/images/pytorch/pytorch-gpu.simg',
    ],
  ],
  [
    /-t 90 -s notebook -g 2 -q$/,
    ['--account=abc123', '--partition=gpu-shared', '--time=01:30:00', '--gpus=2', 'service=notebook'],
  ],
  [
    /--profile course -t 90/,
    [
      '--account=any',
      '--partition=shared',
      '--reservation=course26',
      '--time=01:30:00',
      '--mem=4096M',
      'service=notebook',
      'variables=(COURSE_DATA=/data/course)',
      'idle_timeout=3600',
    ],
  ],
];

test('the command lines of docs/migrating.md are taken, and ask for what they asked for', async () => {
  const outcome = new Map(
    await Promise.all(lines.map(async (line) => [line, asked(await script(line))] as const)),
  );
  expect(outcome.size).toBeGreaterThan(15);
  for (const [wanted, expected] of meant) {
    const line = lines.find((each) => wanted.test(each)) ?? `no line matches ${wanted}`;
    expect(outcome.get(line), line).toEqual(expected);
  }
  expect(cluster.traces()).toEqual([]);
});

test.each([
  [['-i', 'lab'], /write --lab/],
  [['-s', 'image.sif'], /is not a service/],
  [['-n', '4'], /An option of the scheduler itself stands after "--"/],
  [['--spark-home', '/opt/spark'], /Unknown option/],
])("galyleo's %j, which means something else here, is refused", async (args, words) => {
  const { exitCode, stdout, stderr } = await run(args, cluster);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(stderr).toMatch(words);
});
