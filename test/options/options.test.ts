/** Options × schedulers: what is rendered, or why it is refused. The outcome is docs/options.md. */
import { beforeEach, describe, expect, it, test, vi } from 'vitest';
import { plannedAddress } from '../../src/access/open.ts';
import { jobScript } from '../../src/batch/job-script.ts';
import { templatesDirectory } from '../../src/batch/render.ts';
import { mergeLayers, readOption } from '../../src/config/layers.ts';
import { type SchedulerName, schedulerNames } from '../../src/config/schema.ts';
import { PersonError } from '../../src/errors.ts';
import { installedPath } from '../../src/installation.ts';
import { launchSpec } from '../../src/launch-spec.ts';
import {
  environmentVariable,
  flagOf,
  type OptionDefinition,
  type OptionKey,
  optionKeys,
  options,
} from '../../src/options.ts';
import { typedLayers } from '../../src/resolve.ts';
import { type SubmittingScheduler, schedulers } from '../../src/schedulers/registry.ts';
import type { System } from '../../src/systems/system.ts';
import { plainLaunch } from '../support/launch-spec.ts';
import { markdownTable } from '../support/markdown.ts';
import {
  always,
  type Cell,
  dialectRows,
  dialects,
  launcherOptions,
  resourceRows,
  scriptRows,
  type Typed,
  templateOptions,
} from './rows.ts';

beforeEach(() => {
  vi.stubEnv('HOME', '/home/a');
  return () => vi.unstubAllEnvs();
});

const submitting = Object.keys(schedulers) as SubmittingScheduler[];

function systemOf(scheduler: SchedulerName, says: Partial<System> = {}): System {
  return scheduler === 'none'
    ? { ...plainLaunch.system, scheduler, proxy: undefined }
    : { ...plainLaunch.system, scheduler, ...dialects[scheduler], ...says };
}

/** The job script of what was typed, by the way that a command line takes. */
function script(typed: Typed, system: System): string {
  const keys = Object.keys(typed) as OptionKey[];
  const values = Object.fromEntries(keys.map((key) => [key, readOption(key, typed[key])]));
  const settings = mergeLayers([{ origin: 'built in', values: { dir: '/home/a' } }, ...typedLayers(values)]);
  const spec = launchSpec(settings, system, '/project');
  return jobScript(spec, 'ID', plannedAddress(spec));
}

const prefix = /^#(?:SBATCH|PBS|BSUB|\$) /;
const log = '/home/a/.local/state/start-jupyter/sessions/ID/job.log';

function directives(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => prefix.test(line))
    .map((line) => line.replace(prefix, '').replace(log, 'LOG'));
}

/** Lines of a script that another one doesn't have, without their comments. */
function added(text: string, before: string): string[] {
  const known = new Set(before.split('\n'));
  return text
    .split('\n')
    .filter((line) => !known.has(line))
    .map((line) => line.replace(/ # .*/, ''));
}

function expectCell(typed: Typed, system: System, cell: Cell): void {
  if (!('refused' in cell)) {
    const rendered = directives(script(typed, system));
    const own = always[system.scheduler as SubmittingScheduler];
    expect(rendered.filter((line) => !own.includes(line)).sort()).toEqual([...cell].sort());
    expect(rendered).toEqual(expect.arrayContaining([...own]));
    return;
  }
  const refusal = refusalOf(typed, system);
  expect(refusal.message).toContain(cell.refused);
  expect(refusal.hint, 'what to do instead').toBeTruthy();
}

function refusalOf(typed: Typed, system: System): PersonError {
  try {
    script(typed, system);
  } catch (error) {
    if (error instanceof PersonError) return error;
    throw error;
  }
  throw new Error('it was taken');
}

it('every option has its row', () => {
  const rows = [...resourceRows, ...scriptRows].flatMap(({ typed }) => Object.keys(typed));
  expect([...new Set([...rows, ...templateOptions, ...launcherOptions])].sort()).toEqual(
    [...optionKeys].sort(),
  );
});

test.each(submitting)('%s is asked for nothing that nobody asked for', (scheduler) => {
  expect(directives(script({}, systemOf(scheduler)))).toEqual(always[scheduler]);
});

describe.each(resourceRows.map((row) => [said(row.typed), row] as const))('%s', (_, row) => {
  test.each(submitting)('with %s', (scheduler) => {
    expectCell(row.typed, systemOf(scheduler), row[scheduler]);
  });

  test('without a scheduler is refused', () => {
    expect(refusalOf(row.typed, systemOf('none')).message).toContain(
      'asks a scheduler for resources, but no scheduler was found on this machine',
    );
  });
});

test.each(dialectRows.map((row) => [`${row.scheduler} with ${row.says}: ${said(row.typed)}`, row] as const))(
  '%s',
  (_, { scheduler, system, typed, cell }) => {
    expectCell(typed, systemOf(scheduler, system), cell);
  },
);

describe.each(scriptRows.map((row) => [said(row.typed), row] as const))('%s', (_, { typed, assignments }) => {
  test.each(schedulerNames)('is the same with %s', (scheduler) => {
    const system = systemOf(scheduler);
    expect(added(script(typed, system), script({}, system)).sort()).toEqual([...assignments].sort());
  });
});

test.each(launcherOptions.map((key) => [`--${options[key].flag}`, key] as const))(
  '%s changes no job',
  (_, key) => {
    const { argument }: OptionDefinition = options[key];
    const typed: Typed = { [key]: argument === undefined || key === 'wait' ? true : 'x' };
    for (const scheduler of schedulerNames)
      expect(script(typed, systemOf(scheduler))).toBe(script({}, systemOf(scheduler)));
  },
);

describe('which script it is', () => {
  test.each(submitting)('with %s', (scheduler) => {
    const system = systemOf(scheduler);
    const file = installedPath(`${templatesDirectory}/${scheduler}.sh`);
    expect(script({ batchScript: file, cpus: '1' }, system)).toBe(script({ cpus: '1' }, system));
    expect(directives(script({ batchScript: file, force: true }, system))).toEqual([]);
    expect(refusalOf({ force: true }, system).message).toContain('there is no script to submit');
    expect(refusalOf({ batchScript: file, force: true, cpus: '1' }, system).message).toContain(
      'none are added',
    );
    expect(script({ access: 'satellite' }, system)).toBe(script({}, system));
    expect(refusalOf({ access: 'local' }, system).message).toContain('needs Jupyter on this machine');
    const here = script({ here: true, access: 'local' }, system);
    expect(here).toBe(script({}, systemOf('none')));
    expect(refusalOf({ here: true, cpus: '1' }, system).message).toContain('nothing is submitted');
  });
});

// ---- docs/options.md ------------------------------------------------------------------------------------------------

/** What is typed: `-c 4 -m 8`. */
function said(typed: Typed): string {
  return Object.entries(typed)
    .map(([key, value]) => {
      const { short, flag }: OptionDefinition = options[key as OptionKey];
      const name = short === undefined ? `--${flag}` : `-${short}`;
      const text =
        /[\s&|'{},]/.test(String(value)) && !/^[\w,./-]+$/.test(String(value)) ? `"${value}"` : value;
      return value === true ? name : `${name} ${text}`;
    })
    .join(' ');
}

const code = (text: string) => `\`${text}\``;

function cellText(cell: Cell): string {
  if ('refused' in cell) return `refused: ${cell.refused}`;
  return cell.length === 0 ? 'nothing' : cell.map(code).join(' ');
}

/** `-p`, `--partition`, and what else it answers to. */
function spellings(key: OptionKey): string {
  const { aliases = [] }: OptionDefinition = options[key];
  return [...flagOf(key).split(', '), ...aliases.map((alias) => `${alias.length === 1 ? '-' : '--'}${alias}`)]
    .map(code)
    .join(', ');
}

test('docs/options.md says so', async () => {
  const meanings = (keys: readonly OptionKey[]) =>
    markdownTable(
      ['option', 'meaning'],
      keys.map((key) => [spellings(key), options[key].help]),
    );
  const titles = submitting.map((scheduler) => schedulers[scheduler].title);
  const text = `# Options and what becomes of them

What each option becomes in the job, on every scheduler. \`start-jupyter --help\` says what they mean, \`--dry-run\` shows the
whole script.

This page is written by \`test/options/options.test.ts\`, which asks the launcher, and fails when an answer changes.

## What the scheduler is asked for

Directives of the job script (\`#SBATCH\`, \`#PBS\`, \`#$\`, \`#BSUB\`). Without a scheduler (\`--here\`, or a machine that has none)
all of these are refused where they are typed, and not used where they are defaults of a file. Every job has, beside them:
${submitting.map((scheduler) => `${schedulers[scheduler].title}: ${always[scheduler].map(code).join(' ')}`).join('; ')}.

${markdownTable(
  ['typed', ...titles],
  resourceRows.map((row) => [code(said(row.typed)), ...submitting.map((name) => cellText(row[name]))]),
)}

The Grid Engine of these examples has been told its names (\`sge: { parallelEnvironment: smp, memory: h_vmem, gpu: gpu,
gpuType: gpu_type }\`), and PBS that of its types of GPUs (\`pbs: { gpuType: gpu_model }\`). Systems may say other things of
themselves ([systems.md](systems.md)):

${markdownTable(
  ['system', 'says', 'typed', 'becomes'],
  dialectRows.map(({ scheduler, says, typed, cell }) => [
    schedulers[scheduler].title,
    code(says),
    code(said(typed)),
    cellText(cell),
  ]),
)}

## What the job script does

The same on every scheduler, and without one: an assignment at the head of the script.

${markdownTable(
  ['typed', 'in the script'],
  scriptRows.map(({ typed, assignments }) => [code(said(typed)), assignments.map(code).join(' ')]),
)}

## Which script it is

${meanings(templateOptions)}

## What only the launcher hears of

${meanings(launcherOptions)}

## Every spelling

${markdownTable(
  ['option', 'in a file', 'in the environment'],
  optionKeys.map((key) => [
    spellings(key),
    ...((options[key] as OptionDefinition).commandLineOnly
      ? ['', '']
      : [code(key), code(environmentVariable(key))]),
  ]),
)}
`;
  await expect(text).toMatchFileSnapshot('../../docs/options.md');
});
