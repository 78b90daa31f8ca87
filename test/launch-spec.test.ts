import { describe, expect, it, test } from 'vitest';
import { mergeLayers, type Settings } from '../src/config/layers.ts';
import { ConfigurationError, PersonError, UsageError } from '../src/errors.ts';
import { commandLineOrigin, type LaunchSpec, launchSpec } from '../src/launch-spec.ts';
import { type OptionKey, type OptionValues, optionKeys } from '../src/options.ts';
import type { System } from '../src/systems/system.ts';

const cluster: System = {
  name: 'test',
  title: 'Test',
  scheduler: 'slurm',
  proxy: { endpoint: 'sites.test' },
  nodeAddress: undefined,
  requireAccount: false,
  gpuDirective: 'gpus',
  partitions: { debug: { maxTime: 1800 }, long: {}, 'gpu-shared': { gpu: true, maxGpus: 3 } },
};
const workstation: System = {
  ...cluster,
  name: 'generic-none',
  title: 'this machine',
  scheduler: 'none',
  proxy: undefined,
};

/** Settings as typed, over settings from a file. */
function settings(typed: OptionValues, fromFile: OptionValues = {}): Settings {
  const layers = optionKeys
    .filter((key) => typed[key] !== undefined)
    .map((key: OptionKey) => ({ origin: commandLineOrigin(key), values: { [key]: typed[key] } }));
  return mergeLayers([{ origin: '/home/a/config.yaml', values: fromFile }, ...layers]);
}

const spec = (typed: OptionValues, system = cluster, fromFile: OptionValues = {}): LaunchSpec =>
  launchSpec(settings(typed, fromFile), system, '/project');

function refusal(typed: OptionValues, system = cluster, fromFile: OptionValues = {}): PersonError {
  try {
    spec(typed, system, fromFile);
  } catch (error) {
    expect(error).toBeInstanceOf(PersonError);
    return error as PersonError;
  }
  throw new Error('it was taken');
}

it('is one record that nobody can change', () => {
  const made = spec({
    partition: 'debug',
    time: 600,
    nodes: 1,
    cpus: 2,
    memory: 4096,
    gpu: { count: 1 },
    module: ['gcc'],
  });
  expect(made).toMatchObject({
    access: 'satellite',
    here: false,
    service: undefined,
    resources: {
      partition: 'debug',
      timeLimit: 600,
      nodes: 1,
      cpus: 2,
      memory: 4096,
      gpu: { count: 1 },
      account: undefined,
    },
    environment: { modules: ['gcc'], venv: undefined },
  });
  expect(Object.isFrozen(made)).toBe(true);
});

describe('the limits of a partition', () => {
  it('are kept to the second', () => {
    expect(spec({ partition: 'debug', time: 1800 }).resources.timeLimit).toBe(1800);
    const error = refusal({ partition: 'debug', time: 1801 });
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain('30m');
    expect(error.hint).toContain('-t 30');
  });

  it('hold for each of several partitions', () => {
    expect(refusal({ partition: 'long,debug', time: 3600 }).message).toContain('"debug"');
    expect(spec({ partition: 'long', time: 3600 }).resources.partition).toBe('long');
  });

  it('hold for the time that nobody asked for', () => {
    const short = { ...cluster, partitions: { debug: { maxTime: 600 } } };
    const error = refusal({ partition: 'debug' }, short, { time: 1800 });
    expect(error.message).toMatch(/allows 10m at most, and 30m \(.+\) is more/);
    expect(error.hint).toContain('-t 10');
  });

  it('hold for a time and a partition of files: a mistake in them, with the one of each named', () => {
    const error = refusal({}, cluster, { partition: 'debug', time: 10_800 });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toBe(
      '/home/a/config.yaml: partition: "debug" allows 30m at most, and the time of 3h (/home/a/config.yaml) is more.',
    );
    expect(error.hint).toContain('"time: 30"');
    for (const typed of [{ partition: 'debug' }, { time: 10_800 }])
      expect(refusal(typed, cluster, { partition: 'debug', time: 10_800 })).toBeInstanceOf(UsageError);
  });

  it('hold for GPUs', () => {
    expect(spec({ partition: 'gpu-shared', gpu: { count: 3 } }).resources.gpu).toEqual({ count: 3 });
    const error = refusal({ partition: 'gpu-shared', gpu: { count: 4 } });
    expect(error).toBeInstanceOf(UsageError);
    expect(error.hint).toContain('-g 3');
  });

  it('are unknown for a partition that the configuration does not describe', () => {
    expect(spec({ partition: 'new', time: 8_640_000 }).resources.partition).toBe('new');
  });

  it('that a file asks too much of are a mistake in that file', () => {
    const error = refusal({ partition: 'gpu-shared' }, cluster, { gpu: { count: 4 } });
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain('/home/a/config.yaml');
  });
});

describe('an account', () => {
  const strict = { ...cluster, requireAccount: true };

  it('is asked for where the system charges every job', () => {
    const error = refusal({}, strict);
    expect(error).toBeInstanceOf(UsageError);
    expect(error.hint).toContain('-A NAME');
  });

  it('may come from a file', () => {
    expect(spec({}, strict, { account: 'abc123' }).resources.account).toBe('abc123');
  });

  it('is not needed here', () => {
    expect(spec({ here: true }, strict).resources.account).toBeUndefined();
  });
});

describe('--gpu and --gres', () => {
  test.each(['gpu:1', 'gpu', 'gpu:v100:2', 'nvme:200,gpu:1'])('contradict each other for %s', (gres) => {
    expect(refusal({ gpu: { count: 1 }, gres })).toBeInstanceOf(UsageError);
  });

  test.each(['nvme:200', 'gpumem:1'])('go together for %s', (gres) => {
    expect(spec({ gpu: { count: 1 }, gres }).resources.gres).toBe(gres);
  });
});

describe('here', () => {
  const resources: OptionValues[] = [
    { account: 'a' },
    { partition: 'debug' },
    { time: 600 },
    { nodes: 1 },
    { cpus: 1 },
    { memory: 1024 },
    { gpu: { count: 1 } },
    { gres: 'gpu:1' },
    { reservation: 'r' },
    { qos: 'q' },
    { constraint: 'c' },
  ];

  test.each(resources)('%j is refused: nobody would grant it', (typed) => {
    const withHere = refusal({ here: true, ...typed });
    expect(withHere).toBeInstanceOf(UsageError);
    expect(withHere.message).toContain('--here');
    const withoutScheduler = refusal(typed, workstation);
    expect(withoutScheduler).toBeInstanceOf(UsageError);
    expect(withoutScheduler.message).toContain('no scheduler');
  });

  it("a file's or a system's resources are not used, and no limit is set", () => {
    expect(
      spec({ here: true }, cluster, { time: 600, gpu: { count: 9 }, partition: 'gpu-shared' }).resources
        .timeLimit,
    ).toBeUndefined();
  });

  it('is what a machine without a scheduler does, with local access', () => {
    expect(spec({}, workstation)).toMatchObject({ here: true, access: 'local' });
  });

  it('is where a machine without a scheduler starts, whatever a file says of --here', () => {
    expect(spec({}, workstation, { here: false })).toMatchObject({ here: true, access: 'local' });
  });

  it("goes through the system's proxy where it has one", () => {
    expect(spec({ here: true })).toMatchObject({ here: true, access: 'satellite' });
    expect(spec({ here: true, access: 'local' })).toMatchObject({ access: 'local' });
  });
});

describe('access', () => {
  it('that is local needs Jupyter here', () => {
    const error = refusal({ access: 'local' });
    expect(error).toBeInstanceOf(UsageError);
    expect(error.hint).toContain('--here');
    expect(refusal({}, cluster, { access: 'local' })).toBeInstanceOf(ConfigurationError);
  });

  it('through a satellite needs one to be known', () => {
    expect(refusal({}, { ...cluster, proxy: undefined })).toBeInstanceOf(ConfigurationError);
    expect(refusal({ access: 'satellite' }, workstation)).toBeInstanceOf(ConfigurationError);
  });
});

describe('a link that is kept', () => {
  const typed = { here: true, keepLink: 'desk' };

  it('needs a proxy that keeps it', () => {
    expect(spec(typed).keepLink).toBe('desk');
    expect(spec({ ...typed, via: 'me@server' }).keepLink).toBe('desk');
    for (const access of ['local', 'ssh'] as const) {
      const error = refusal({ ...typed, access });
      expect(error).toBeInstanceOf(UsageError);
      expect(error.message).toMatch(/^--keep-link: /);
      expect(error.hint).toContain('--via USER@SERVER');
      expect(refusal({ ...typed, access }, workstation).message).toBe(error.message);
    }
    expect(refusal({ ...typed, access: 'ssh' }, cluster, {}).message).toContain('ssh access');
  });

  it('is one of this machine', () => {
    expect(refusal({ keepLink: 'desk' })).toBeInstanceOf(UsageError);
  });
});

describe('where GPUs come with the nodes of a partition', () => {
  const system: System = {
    ...cluster,
    gpuDirective: 'none',
    partitions: { normal: {}, rtx: { gpu: true }, 'rtx-dev': { gpu: true, maxGpus: 4 } },
  };

  it('a partition that has them may be asked', () => {
    expect(spec({ gpu: { count: 2 }, partition: 'rtx,rtx-dev' }, system).resources.gpu).toEqual({ count: 2 });
  });

  test.each([['normal'], ['rtx,normal'], ['unheard-of'], [undefined]])('%s may not', (partition) => {
    const { message, hint } = refusal(
      { gpu: { count: 1 }, ...(partition === undefined ? {} : { partition }) },
      system,
    );
    expect(message).toMatch(/^-g, --gpu: on Test GPUs come with whole nodes/);
    expect(hint).toBe('Choose one with -p: rtx, rtx-dev.');
  });

  it('more than its nodes have are refused as elsewhere', () => {
    expect(refusal({ gpu: { count: 5 }, partition: 'rtx-dev' }, system).hint).toContain('-g 4');
  });
});

it('says what to do where no proxy is known', () => {
  const { message, hint } = refusal({}, { ...cluster, proxy: undefined });
  expect(message).toBe('No Satellite proxy is known for Test, so there is no link to open.');
  expect(hint).toMatch(/systems: \{ test: \{ proxy: \{ endpoint: HOST \} \} \}.*config\.yaml/);
  expect(hint).toContain('docs/satellite.md');
});
