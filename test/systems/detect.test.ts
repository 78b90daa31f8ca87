import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { loadFiles } from '../../src/config/files.ts';
import { mergeSystems } from '../../src/config/layers.ts';
import type { SystemEntry } from '../../src/config/schema.ts';
import { ConfigurationError, UsageError } from '../../src/errors.ts';
import { findSystem, type MachineFacts, machineFacts } from '../../src/systems/detect.ts';
import { temporaryDirectory } from '../support/directories.ts';
import { stubCommands } from '../support/stubs.ts';

interface Machine {
  readonly hostname?: string;
  readonly clusterName?: string;
  readonly commands?: readonly string[];
  readonly environment?: Record<string, string>;
  readonly files?: readonly string[];
}

/** A machine as it would present itself; `asked` tells whether Slurm was asked for its name. */
function machine({
  hostname = 'somewhere',
  clusterName,
  commands = [],
  environment = {},
  files = [],
}: Machine) {
  const facts = {
    hostnames: [hostname],
    environment,
    asked: false as boolean,
    fileExists: (file: string) => files.includes(file),
    hasCommand: (name: string) => commands.includes(name),
    clusterName: async () => {
      facts.asked = true;
      return clusterName;
    },
  } satisfies MachineFacts & { asked: boolean };
  return facts;
}

const catalogue = (entries: Readonly<Record<string, SystemEntry>>) => new Map(Object.entries(entries));
const scheduler = 'slurm' as const;
const typed = (value: string) => ({ value, origin: '--system' });

describe('a system is recognised', () => {
  const systems = catalogue({
    byHost: { scheduler, detect: { hostname: '^login\\d+\\.one\\.edu$' } },
    byCluster: { scheduler, detect: { clusterName: 'two' } },
    byEnvironment: { scheduler, detect: { env: { CENTRE: '^three$', ZONE: '.' } } },
    byFile: { scheduler, detect: { file: '/etc/four' } },
    byAll: {
      scheduler,
      detect: { hostname: '^all', clusterName: 'five', env: { CENTRE: 'five' }, file: '/etc/five' },
    },
    never: { scheduler },
    neverEither: { scheduler, detect: {} },
  });

  test.each<[string, Machine]>([
    ['byHost', { hostname: 'login2.one.edu' }],
    ['byCluster', { clusterName: 'two' }],
    ['byEnvironment', { environment: { CENTRE: 'three', ZONE: 'b' } }],
    ['byFile', { files: ['/etc/four'] }],
    [
      'byAll',
      { hostname: 'all-1', clusterName: 'five', environment: { CENTRE: 'five' }, files: ['/etc/five'] },
    ],
  ])('%s', async (name, facts) => {
    expect((await findSystem(systems, undefined, machine(facts))).name).toBe(name);
  });

  test.each<[string, Machine]>([
    ['a host name that only holds it', { hostname: 'xlogin2.one.edu.evil' }],
    ['a cluster name that only begins so', { clusterName: 'two-b' }],
    ['one of two variables', { environment: { CENTRE: 'three' } }],
    ['an empty variable', { environment: { CENTRE: 'three', ZONE: '' } }],
    ['another file', { files: ['/etc/fourth'] }],
    ['all but one rule', { hostname: 'all-1', clusterName: 'five', environment: { CENTRE: 'five' } }],
  ])('not by %s', async (_, facts) => {
    expect((await findSystem(systems, undefined, machine(facts))).name).toBe('generic-none');
  });

  it('without asking Slurm where cheaper facts rule it out', async () => {
    const facts = machine({ hostname: 'laptop' });
    await findSystem(
      catalogue({ x: { scheduler, detect: { hostname: '^login', clusterName: 'x' } } }),
      undefined,
      facts,
    );
    expect(facts.asked).toBe(false);
  });
});

it('refuses to choose between several, and says how to', async () => {
  const systems = catalogue({
    one: { scheduler, detect: { hostname: 'login' } },
    two: { scheduler, detect: { env: { X: '1' } } },
    three: { scheduler, detect: { hostname: 'other' } },
  });
  const error: unknown = await findSystem(
    systems,
    undefined,
    machine({ hostname: 'login1', environment: { X: '1' } }),
  ).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ConfigurationError);
  expect(error).toMatchObject({
    message: expect.stringMatching(/one, two\./),
    hint: expect.stringContaining('--system'),
  });
});

describe('a named system', () => {
  const systems = catalogue({
    expanse: { scheduler, title: 'SDSC Expanse', detect: { hostname: '^login' } },
    other: { scheduler, detect: { hostname: 'elsewhere' } },
    unfinished: { title: 'No scheduler' },
  });

  it('is taken, whatever machine this is', async () => {
    expect(await findSystem(systems, typed('other'), machine({ hostname: 'login1' }))).toMatchObject({
      name: 'other',
      title: 'other',
    });
  });

  it('that is unknown is told the nearest and all that are known', async () => {
    const error: unknown = await findSystem(systems, typed('expnase'), machine({})).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(UsageError);
    expect(error).toMatchObject({
      message: expect.stringContaining('Did you mean "expanse"?'),
      hint: expect.stringContaining('expanse, other'),
    });
  });

  it('that is unknown is a mistake of the file that names it', async () => {
    const named = { value: 'expnase', origin: '/home/a/config.yaml' };
    const error: unknown = await findSystem(systems, named, machine({})).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error).toMatchObject({ message: expect.stringContaining('/home/a/config.yaml') });
  });

  it('that says nothing of its scheduler is a mistake in its file', async () => {
    await expect(findSystem(systems, typed('unfinished'), machine({}))).rejects.toThrow(ConfigurationError);
  });

  it('gets what its entry leaves out', async () => {
    expect(await findSystem(systems, typed('other'), machine({}))).toEqual({
      name: 'other',
      title: 'other',
      scheduler: 'slurm',
      proxy: undefined,
      nodeAddress: undefined,
      requireAccount: false,
      gpuDirective: 'gpus',
      partitions: {},
    });
  });
});

describe('a machine that nobody has described', () => {
  test.each<[string, Machine, string, string]>([
    ['without a scheduler', {}, 'generic-none', 'none'],
    ['with Slurm that answers', { commands: ['sbatch'], clusterName: 'x' }, 'generic-slurm', 'slurm'],
    ['with Slurm packages but no cluster', { commands: ['sbatch'] }, 'generic-none', 'none'],
    ['with PBS', { commands: ['qsub'], files: ['/etc/pbs.conf'] }, 'generic-pbs', 'pbs'],
    [
      'with PBS elsewhere',
      { commands: ['qsub'], environment: { PBS_CONF_FILE: '/opt/pbs.conf' }, files: ['/opt/pbs.conf'] },
      'generic-pbs',
      'pbs',
    ],
    [
      'with Grid Engine',
      {
        commands: ['qsub'],
        environment: { SGE_ROOT: '/opt/sge' },
        files: ['/opt/sge/default/common/act_qmaster'],
      },
      'generic-sge',
      'sge',
    ],
    [
      'with a cell of Grid Engine of its own',
      {
        commands: ['qsub'],
        environment: { SGE_ROOT: '/opt/sge', SGE_CELL: 'x' },
        files: ['/opt/sge/x/common/act_qmaster'],
      },
      'generic-sge',
      'sge',
    ],
    [
      "with Grid Engine's packages but no cluster",
      { commands: ['qsub'], files: ['/var/lib/gridengine/default/common/act_qmaster'] },
      'generic-none',
      'none',
    ],
    [
      'with LSF',
      { commands: ['bsub'], environment: { LSF_ENVDIR: '/opt/lsf/conf' }, files: ['/opt/lsf/conf/lsf.conf'] },
      'generic-lsf',
      'lsf',
    ],
    [
      'with Torque',
      { commands: ['qsub'], files: ['/var/spool/torque/server_name'] },
      'generic-torque',
      'torque',
    ],
    ['with a qsub and nothing more', { commands: ['qsub'] }, 'generic-none', 'none'],
    ['with a cluster but no sbatch', { clusterName: 'x' }, 'generic-none', 'none'],
  ])('%s is a generic one', async (_, facts, name, expected) => {
    expect(await findSystem(new Map(), undefined, machine(facts))).toMatchObject({
      name,
      scheduler: expected,
    });
  });

  it('is a generic one with what an entry of that name says of it', async () => {
    const proxy = { endpoint: 'user-content.example.edu' };
    const systems = new Map<string, SystemEntry>([['generic-slurm', { proxy, requireAccount: true }]]);
    const facts = { commands: ['sbatch'], clusterName: 'x' };
    expect(await findSystem(systems, undefined, machine(facts))).toMatchObject({
      name: 'generic-slurm',
      title: 'an unknown Slurm cluster',
      scheduler: 'slurm',
      proxy,
      requireAccount: true,
    });
    expect((await findSystem(systems, undefined, machine({}))).proxy).toBeUndefined();
  });

  it('can be named, with what an entry of that name says of it', async () => {
    const proxy = { endpoint: 'user-content.example.edu' };
    const systems = new Map<string, SystemEntry>([['generic-slurm', { proxy }]]);
    const facts = machine({});
    expect(await findSystem(systems, typed('generic-slurm'), facts)).toMatchObject({
      name: 'generic-slurm',
      title: 'an unknown Slurm cluster',
      scheduler: 'slurm',
      proxy,
    });
    expect(await findSystem(systems, typed('generic-none'), facts)).toMatchObject({ scheduler: 'none' });
    await expect(findSystem(systems, typed('generic-x'), facts)).rejects.toThrow(UsageError);
    expect(facts.asked).toBe(false);
  });
});

/** The catalogue as it comes, without anybody's own files. */
async function builtIn(): Promise<Map<string, SystemEntry>> {
  const empty = path.join(temporaryDirectory(), 'site.yaml');
  writeFileSync(empty, '');
  return mergeSystems(
    await loadFiles({ START_JUPYTER_SITE_CONFIG: empty, XDG_CONFIG_HOME: path.dirname(empty) }, '/'),
  );
}

describe('the built-in catalogue', () => {
  /** Login nodes as the systems' guides name them, and what else their machines show. */
  const loginNodes: readonly (readonly [hostname: string, name: string, shows: Machine])[] = [
    ['login01', 'expanse', { clusterName: 'expanse' }],
    ['login02.expanse.sdsc.edu', 'expanse', { clusterName: 'expanse' }],
    ['login2.stampede3.tacc.utexas.edu', 'stampede3', {}],
    ['login2.frontera.tacc.utexas.edu', 'frontera', {}],
    ['login1.ls6.tacc.utexas.edu', 'lonestar6', {}],
    ['login2.vista.tacc.utexas.edu', 'vista', {}],
    ['dt-login01', 'delta', {}],
    ['dt-login04.delta.ncsa.illinois.edu', 'delta', {}],
    ['login12.frontier', 'frontier', {}],
    ['login01.frontier.olcf.ornl.gov', 'frontier', {}],
    ['polaris-login-01', 'polaris', {}],
    ['aurora-uan-0011', 'aurora', {}],
    ['aurora-uan-0011.aurora.alcf.anl.gov', 'aurora', {}],
    ['derecho6', 'derecho', {}],
    ['casper-login1', 'casper', {}],
    ['lumi-uan01.csc.fi', 'lumi', {}],
    ['roihu-cpu-login1.csc.fi', 'roihu', {}],
    ['roihu-gpu-login2', 'roihu', {}],
    ['ln01', 'archer2', { files: ['/work/y07/shared/archer2-lmod'] }],
    ['daint-ln002', 'daint', {}],
  ];

  test.each(loginNodes)('takes %s for %s', async (hostname, name, shows) => {
    const facts = machine({ hostname, ...shows });
    expect((await findSystem(await builtIn(), undefined, facts)).name).toBe(name);
  });

  it('has a login node of every system in the table above', async () => {
    expect(new Set(loginNodes.map(([, name]) => name))).toEqual(new Set((await builtIn()).keys()));
  });

  test.each([
    ['login1', undefined],
    // Every second cluster has a login1; the cluster's own name decides.
    ['login1', 'stampede3'],
    ['login1', 'frontier'],
    ['login01', 'another'],
    ['login01', undefined],
    ['login2.cluster.example.edu', 'cluster'],
    ['ln01', 'another'],
    ['uan01', undefined],
    ['laptop', undefined],
    ['my-derecho6', undefined],
    ['login1.ls6.tacc.utexas.edu.example.org', undefined],
    ['c401-064.frontera.tacc.utexas.edu', undefined],
  ])('takes %s of cluster %s for none of its systems', async (hostname, clusterName) => {
    const facts = machine({
      hostname,
      commands: ['sbatch'],
      ...(clusterName === undefined ? {} : { clusterName }),
    });
    expect((await findSystem(await builtIn(), undefined, facts)).name).toMatch(/^generic-/);
  });

  it('is recognised on a laptop without asking anybody', async () => {
    const facts = machine({ hostname: 'laptop' });
    await findSystem(await builtIn(), undefined, facts);
    expect(facts.asked).toBe(false);
  });

  it('has complete entries, whose default partitions are among those it lists', async () => {
    for (const [name, entry] of await builtIn()) {
      expect(entry, name).toMatchObject({
        title: expect.any(String),
        scheduler: expect.any(String),
        detect: expect.anything(),
      });
      const { partition } = entry.defaults ?? {};
      // Expanse's "shared" has no limit of its own to write down.
      if (partition !== undefined && name !== 'expanse')
        expect(Object.keys(entry.partitions ?? {}), name).toContain(partition);
    }
  });

  it("has defaults within its partitions' limits", async () => {
    for (const [name, { defaults, partitions }] of await builtIn()) {
      const limit = partitions?.[String(defaults?.partition)]?.maxTime ?? Number.POSITIVE_INFINITY;
      expect(limit, name).toBeGreaterThanOrEqual(Number(defaults?.time ?? 1800));
    }
  });
});

describe('the facts of this machine', () => {
  it('hold the name in slurm.conf without asking anybody', async () => {
    const file = path.join(temporaryDirectory(), 'slurm.conf');
    writeFileSync(file, '# ClusterName=commented\nControlMachine=x\nclustername = mine # ours\n');
    expect(await machineFacts({ SLURM_CONF: file, PATH: '' }, { offline: true }).clusterName()).toBe('mine');
  });

  it('tell whether the name was wanted and Slurm, which is here, was not asked for it', async () => {
    const nameless = path.join(temporaryDirectory(), 'slurm.conf');
    writeFileSync(nameless, '');
    const named = path.join(temporaryDirectory(), 'slurm.conf');
    writeFileSync(named, 'ClusterName=mine\n');
    const stubs = stubCommands();
    stubs.add('scontrol', {});
    const withheld = async (SLURM_CONF: string, PATH: string) => {
      const facts = machineFacts({ SLURM_CONF, PATH }, { offline: true });
      expect(facts.isNameWithheld()).toBe(false);
      await facts.clusterName();
      return facts.isNameWithheld();
    };
    expect(await withheld(nameless, stubs.directory)).toBe(true);
    expect(await withheld(nameless, '/nowhere')).toBe(false);
    expect(await withheld(named, stubs.directory)).toBe(false);
    expect(stubs.calls()).toEqual([]);
  });

  it('hold a command only where PATH has an executable of that name', () => {
    const facts = machineFacts({ PATH: '/nowhere::/bin:/usr/bin' }, { offline: true });
    expect(facts.hasCommand('sh')).toBe(true);
    expect(facts.hasCommand('no-such-command')).toBe(false);
  });
});
