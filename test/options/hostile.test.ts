/**
 * Whatever is typed into an option, and wherever home is: it is refused in one line, or it arrives as it was typed. Nothing of
 * it is run, and the scheduler reads no directive that nobody asked for.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { plannedAddress } from '../../src/access/open.ts';
import { jobScript } from '../../src/batch/job-script.ts';
import { mergeLayers, readOption } from '../../src/config/layers.ts';
import { type SchedulerName, schedulerNames } from '../../src/config/schema.ts';
import { PersonError } from '../../src/errors.ts';
import { type LaunchSpec, launchSpec } from '../../src/launch-spec.ts';
import { type OptionKey, options } from '../../src/options.ts';
import { typedLayers } from '../../src/resolve.ts';
import type { SubmittingScheduler } from '../../src/schedulers/registry.ts';
import { temporaryDirectory } from '../support/directories.ts';
import { plainLaunch } from '../support/launch-spec.ts';
import { dialects } from './rows.ts';

/** As satellite/test/fuzz does it: the usual run draws the same cases each time, FUZZ_RUNS asks for that many new ones. */
const asked = process.env.FUZZ_RUNS;
const runs = asked === undefined ? { numRuns: 120, seed: 20_261_122 } : { numRuns: Number(asked) };

/** What a shell, a template or a scheduler might take for more than text. */
const pieces = [
  ...[
    '$(touch pwned)',
    '`touch pwned`',
    '; touch pwned',
    '\ntouch pwned\n',
    '& touch pwned &',
    '| touch pwned',
  ],
  ...[
    "'; touch pwned; '",
    '"; touch pwned; "',
    ') ; touch pwned; x=(',
    '\u0024{x:=$(touch pwned)}',
    '$((`touch pwned`))',
  ],
  ...[
    '\n#SBATCH --account=pwned\n',
    '\n#PBS -A pwned\n',
    '\n#$ -P pwned\n',
    '\n#BSUB -P pwned\n',
    '\r#$ -P pwned\r',
  ],
  ...["'", '"', '\\', '\n', '\r', '\t', ' ', '\0', '\u001b[31m', '\u202e', '\u2028', '\u007f', '\ud800'],
  ...[
    '{{sessionId}}',
    '# {{directives}}',
    '%',
    '%j',
    '*',
    '?',
    '[',
    '~',
    '!',
    '#',
    '-',
    '--',
    '/',
    ':',
    ',',
    '=',
    '&',
  ],
  ...['Zoë', '名前', '👩‍🔬', 'x'.repeat(10_240)],
];

/** Values that each option takes, to which something may be added. */
const plausible: Partial<Record<OptionKey, string>> = {
  account: 'abc123',
  partition: 'shared',
  time: '30',
  nodes: '1',
  cpus: '2',
  memory: '4G',
  gpu: 'a100:1',
  gres: 'gpu:1',
  reservation: '42',
  qos: 'high',
  constraint: 'ib',
  service: 'lab',
  dir: '/home/a/work',
  idleTimeout: '1h',
  module: 'gcc/12',
  modulePath: '/opt/modules',
  venv: '/opt/venv',
  condaEnv: 'course',
  condaInit: '/opt/conda.sh',
  condaYml: '/opt/environment.yml',
  image: '/opt/image.sif',
  bind: '/data:/mnt:ro',
  env: 'NAME=value',
  setup: '/opt/setup.sh',
  scratchDir: '/scratch',
};
const keys = Object.keys(plausible) as OptionKey[];

const nasty = fc
  .array(fc.constantFrom(...pieces), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join(''));
/** Texts that may be anything, beside those for which most of that is refused. */
const free: readonly OptionKey[] = ['dir', 'modulePath', 'env', 'setup', 'scratchDir'];
const sources = [
  ['venv'],
  ['condaEnv', 'condaInit'],
  ['condaYml'],
  ['image', 'bind'],
  [],
] as const satisfies OptionKey[][];

const textFor = (key: OptionKey) =>
  fc.oneof(
    {
      weight: [...free, ...sources.flat()].includes(key) ? 1 : 8,
      arbitrary: fc.constant(plausible[key] ?? ''),
    },
    { weight: 2, arbitrary: nasty.map((text) => `${plausible[key]}${text}`) },
    { weight: 1, arbitrary: nasty },
    { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
  );

const typed = fc
  .tuple(
    fc.subarray([...free], { minLength: 1 }),
    fc.subarray(
      keys.filter((key) => !free.includes(key) && !sources.flat().includes(key as never)),
      { maxLength: 2 },
    ),
    fc.constantFrom(...sources),
  )
  .chain((chosen) => fc.tuple(...chosen.flat().map((key) => fc.tuple(fc.constant(key), textFor(key)))));

/** The script, or the one line that refuses. */
function launch(
  values: readonly (readonly [OptionKey, string])[],
  scheduler: SchedulerName,
): { spec: LaunchSpec; script: string } | PersonError {
  const system =
    scheduler === 'none'
      ? { ...plainLaunch.system, scheduler, proxy: undefined }
      : { ...plainLaunch.system, scheduler, ...dialects[scheduler] };
  try {
    const settings = mergeLayers([
      { origin: 'built in', values: { dir: '~' } },
      ...typedLayers(Object.fromEntries(values.map(([key, text]) => [key, readOption(key, text)]))),
    ]);
    const spec = launchSpec(settings, system, '/project');
    return { spec, script: jobScript(spec, 'ID', plannedAddress(spec)) };
  } catch (error) {
    if (error instanceof PersonError) return error;
    throw error;
  }
}

function expectOneLine({ message, hint = '' }: PersonError): void {
  for (const text of [message, hint]) {
    expect(text).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    expect(text.length).toBeLessThan(500);
  }
}

const prefixes: Readonly<Record<SubmittingScheduler, string>> = {
  slurm: '#SBATCH ',
  pbs: '#PBS ',
  torque: '#PBS ',
  sge: '#$ ',
  lsf: '#BSUB ',
};

/** The words of the directives, as the scheduler splits them: at spaces, with quotes and backslashes. */
function directiveWords(script: string, prefix: string): string[][] {
  return script
    .split('\n')
    .filter((line) => line.startsWith(prefix))
    .map((line) =>
      [...line.slice(prefix.length).matchAll(/(?:"(?:\\.|[^"\\])*"|\\.|[^\s"\\])+/g)].map(([word]) =>
        word.replace(/\\(.)|"/g, '$1'),
      ),
    );
}

const allowed: Readonly<Record<SubmittingScheduler, RegExp>> = {
  slurm:
    /^--(?:job-name|output|open-mode|account|partition|reservation|qos|constraint|time|nodes|cpus-per-task|mem|gpus|gres|signal|no-requeue)$/,
  pbs: /^-(?:S|N|j|o|r|A|q|l)$/,
  torque: /^-(?:S|N|j|o|r|A|q|l)$/,
  sge: /^-(?:S|N|j|o|notify|r|P|q|ar|pe|l)$/,
  lsf: /^-(?:J|o|rn|P|q|U|W|n|R|M|gpu)$/,
};

function expectDirectives({ resources }: LaunchSpec, script: string, scheduler: SubmittingScheduler): void {
  const directives = directiveWords(script, prefixes[scheduler]);
  const head = script.split('\n').slice(1, directives.length + 1);
  expect(
    head.every((line) => line.startsWith(prefixes[scheduler])),
    'all of them stand at the top',
  ).toBe(true);
  const others = script.split('\n').filter((line) => /^#(?:SBATCH|PBS|BSUB|\$)/.test(line));
  expect(others).toHaveLength(directives.length);
  for (const [name = ''] of directives) expect(name.split('=', 1)[0]).toMatch(allowed[scheduler]);
  const { account } = resources;
  const accounts = directives.flatMap(([name = '', value]) =>
    name.startsWith('--account=')
      ? [name.slice(10)]
      : name === (scheduler === 'pbs' || scheduler === 'torque' ? '-A' : '-P')
        ? [value]
        : [],
  );
  expect(accounts).toEqual(account === undefined ? [] : [account]);
}

/** What the script's own bash has in the names that it was given, and what else its settings did. */
function settings(script: string): { values: Record<string, string[]>; files: string[] } {
  const cwd = temporaryDirectory();
  const names = [...script.slice(0, script.indexOf('\nsecrets=')).matchAll(/^(\w+)=/gm)].map(
    ([, name]) => name,
  );
  const print = `
for sj_name in ${names.join(' ')}; do
  sj_all="$sj_name[@]" sj_values=("\${!sj_all}")
  printf '%s\\0' "$sj_name" "\${#sj_values[@]}"
  printf '%s\\0' "\${sj_values[@]}"
done
`;
  writeFileSync(path.join(cwd, 'job.sh'), script);
  writeFileSync(path.join(cwd, 'settings.sh'), script.slice(0, script.indexOf('\nsecrets=')) + print);
  const { stdout, stderr, status } = spawnSync('bash', ['-c', 'bash -n job.sh && bash settings.sh'], {
    cwd,
    encoding: 'utf8',
    // A socket there would make bash take itself for a remote shell, which reads .bashrc.
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8' },
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const values: Record<string, string[]> = {};
  const words = stdout.split('\0');
  for (let at = 0; at < words.length - 1; ) {
    const [name = '', count] = words.slice(at, at + 2);
    values[name] = words.slice(at + 2, at + 2 + Number(count));
    // printf prints an empty text where there is none.
    at += 2 + Math.max(1, Number(count));
  }
  return { values, files: readdirSync(cwd).sort() };
}

const home = fc.oneof(
  fc.constant('/home/a'),
  nasty.map((text) => `/home/${text.replaceAll('\0', '').slice(0, 200)}`),
);

test('arrives as it was typed, or is refused in one line', { timeout: 6 * 3600_000 }, () => {
  let accepted = 0;
  fc.assert(
    fc.property(typed, home, fc.constantFrom(...schedulerNames), (values, homeDirectory, scheduler) => {
      vi.stubEnv('HOME', homeDirectory);
      const result = launch(values, scheduler);
      if (result instanceof PersonError) return expectOneLine(result);
      accepted += 1;
      const { spec, script } = result;
      const { values: seen, files } = settings(script);
      expect(files).toEqual(['job.sh', 'settings.sh']);
      const { environment } = spec;
      const wanted: Record<string, readonly string[]> = {
        service: [spec.service ?? ''],
        start_dir: [spec.directory],
        modules: environment.modules,
        module_path: environment.modulePath,
        venv: [environment.venv ?? ''],
        conda_env: [environment.conda?.env ?? ''],
        conda_init: [environment.conda?.init ?? ''],
        conda_yml: [environment.conda?.yml ?? ''],
        image: [environment.container?.image ?? ''],
        binds: environment.container?.binds ?? [],
        variables: environment.variables,
        setup_file: [environment.setup ?? ''],
        scratch_dir: [environment.scratchDirectory ?? ''],
        session_dir: [path.join(homeDirectory, '.local/state/start-jupyter/sessions/ID')],
      };
      expect(seen).toMatchObject(wanted);
      if (scheduler !== 'none') expectDirectives(spec, script, scheduler);
    }),
    runs,
  );
  vi.unstubAllEnvs();
  // A property of what is always refused would say nothing.
  expect(accepted).toBeGreaterThan(asked === undefined ? 20 : 0);
});

test.each(keys)('every hostile text in --$0', (key) => {
  for (const text of pieces.flatMap((piece) => [piece, `${plausible[key]}${piece}`])) {
    const result = launch([[key, text]], 'slurm');
    if (result instanceof PersonError) expectOneLine(result);
    else expectDirectives(result.spec, result.script, 'slurm');
  }
  expect(options[key]).toBeDefined();
});
