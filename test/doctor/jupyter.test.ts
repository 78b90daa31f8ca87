/** What `doctor` finds out about Jupyter without running it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, it, test } from 'vitest';
import { installedVersions, jupyterFindings, looseConfigurationFinding } from '../../src/doctor/jupyter.ts';
import { gpuFindings, partitionFindings } from '../../src/doctor/scheduler.ts';
import type { LaunchSpec } from '../../src/launch-spec.ts';
import { temporaryDirectory } from '../support/directories.ts';
import { plainLaunch } from '../support/launch-spec.ts';

let prefix: string;

beforeEach(() => {
  prefix = temporaryDirectory();
  mkdirSync(path.join(prefix, 'bin'));
});

const put = (file: string, text = '') => {
  mkdirSync(path.dirname(path.join(prefix, file)), { recursive: true });
  writeFileSync(path.join(prefix, file), text, { mode: 0o755 });
};
const launch = (
  environment: Partial<LaunchSpec['environment']>,
  rest: Partial<LaunchSpec> = {},
): LaunchSpec => ({
  ...plainLaunch,
  ...rest,
  environment: { ...plainLaunch.environment, ...environment },
});
const findings = (spec: LaunchSpec, env: NodeJS.ProcessEnv = {}) =>
  jupyterFindings(spec, {}, env).map(({ title, result, found, advice }) => [
    title,
    result,
    `${found} ${advice ?? ''}`,
  ]);

test('versions are read from the names of metadata', () => {
  for (const name of [
    'jupyterlab-4.6.4.dist-info',
    'jupyter_server-2.21.1.dist-info',
    'jupyterlab_server-2.0.dist-info',
  ])
    mkdirSync(path.join(prefix, 'lib/python3.12/site-packages', name), { recursive: true });
  mkdirSync(path.join(prefix, 'lib/python3/dist-packages/notebook-6.4.12-py3.11.egg-info'), {
    recursive: true,
  });
  expect(installedVersions(prefix)).toEqual({
    jupyterlab: '4.6.4',
    jupyter_server: '2.21.1',
    notebook: '6.4.12',
  });
  expect(installedVersions('/no/where')).toEqual({});
});

describe('a virtual environment', () => {
  it('is checked as a launch does, and passes once the advice is followed', () => {
    const [first] = findings(launch({ venv: prefix }));
    expect(first).toEqual(['Virtual environment', 'fail', expect.stringContaining('python3 -m venv')]);
    put('bin/python');
    expect(findings(launch({ venv: prefix }))[0]?.[2]).toContain('pip install jupyterlab');
    put('bin/jupyter-lab');
    mkdirSync(path.join(prefix, 'lib/python3.9/site-packages/jupyterlab-2.3.2.dist-info'), {
      recursive: true,
    });
    expect(findings(launch({ venv: prefix }))).toEqual([
      ['Virtual environment', 'ok', `${prefix} `],
      ['Versions', 'warn', expect.stringMatching(/JupyterLab 2\.3\.2 .*Upgrade JupyterLab: 3/)],
    ]);
  });
});

describe('modules', () => {
  const env = () => ({ MODULEPATH: path.join(prefix, 'modules') });

  it('are looked for in MODULEPATH', () => {
    expect(findings(launch({ modules: ['python/3.12'] }), env())).toEqual([
      ['Modules', 'warn', expect.stringContaining('module avail')],
    ]);
    put('modules/python/3.12.lua');
    put('modules/gcc/13/.keep');
    expect(findings(launch({ modules: ['python/3.12', 'gcc'] }), env())).toEqual([
      ['Modules', 'ok', 'python/3.12, gcc '],
    ]);
  });

  it('are found in a directory that the launch adds', () => {
    put('own/lab');
    expect(findings(launch({ modules: ['lab'], modulePath: [path.join(prefix, 'own')] }))[0]?.[1]).toBe('ok');
  });

  it('are not known to a shell without them', () => {
    expect(findings(launch({ modules: ['x'] }))[0]?.[2]).toContain('no MODULEPATH');
  });
});

describe('Jupyter on PATH', () => {
  const env = () => ({ PATH: path.join(prefix, 'bin') });

  it('may be missing here where a job looks for it', () => {
    expect(findings(launch({}), env())).toEqual([
      ['Jupyter on PATH', 'warn', expect.stringContaining('--venv')],
    ]);
  });

  it('is offered where it would run here, if there is a Python', () => {
    const here = launch({}, { here: true });
    expect(findings(here, env())[0]?.[1]).toBe('fail');
    put('bin/python3');
    expect(findings(here, env())[0]).toEqual([
      'Jupyter on PATH',
      'warn',
      expect.stringMatching(/offers to install JupyterLab .*--yes/),
    ]);
    put('bin/jupyter-notebook');
    expect(findings(here, env())[0]).toEqual(['Jupyter on PATH', 'ok', `${prefix}/bin/jupyter-notebook `]);
  });
});

describe("Jupyter's own files", () => {
  test.each([
    ['jupyter_server_config.py', "c.IdentityProvider.token = ''", 'an empty token'],
    ['jupyter_notebook_config.py', 'c.NotebookApp.password = u""', 'an empty password'],
    ['jupyter_notebook_config.py', "c.NotebookApp.allow_origin = '*'", 'any origin'],
    ['jupyter_config.py', 'c.ServerApp.disable_check_xsrf=True', 'no XSRF check'],
    [
      'jupyter_server_config.json',
      '{"ServerApp": {"token": "", "ip": "0.0.0.0"}}',
      'an empty token, every address',
    ],
    ['jupyter_lab_config.py', 'c.ServerApp.allow_unauthenticated_access = True', 'unauthenticated access'],
  ])('%s with %s is named', (name, text, words) => {
    put(name, `# a comment\n${text}\n`);
    expect(looseConfigurationFinding([prefix])).toMatchObject({
      result: 'warn',
      found: expect.stringContaining(`${path.join(prefix, name)}: ${words}`),
    });
  });

  it('that are commented out or strict are fine', () => {
    put('jupyter_server_config.py', "# c.IdentityProvider.token = ''\nc.ServerApp.ip = '127.0.0.1'\n");
    put('other.py', "c.IdentityProvider.token = ''\n");
    expect(looseConfigurationFinding([prefix, '/no/where'])).toMatchObject({ result: 'ok' });
  });
});

describe('partitions', () => {
  const offered = [
    { name: 'compute', available: true, maxSeconds: 7200, isDefault: true },
    { name: 'old', available: false, maxSeconds: undefined, isDefault: false },
  ];
  const system = (partitions: LaunchSpec['system']['partitions']) => ({ ...plainLaunch.system, partitions });
  const results = (partitions: LaunchSpec['system']['partitions'], wanted?: string) =>
    partitionFindings(system(partitions), { partitions: offered }, wanted).map(({ title, result }) => [
      title,
      result,
    ]);

  it('are as they are described', () => {
    expect(results({ compute: { maxTime: 7200 } })).toEqual([['Partition', 'ok']]);
    expect(results({ compute: { maxTime: 7201 } }, 'compute')).toEqual([['Description', 'warn']]);
    expect(results({ gone: {} }, 'compute')).toEqual([['Description', 'warn']]);
  });

  it('may be closed, or none of them the default', () => {
    expect(results({}, 'old')).toEqual([['Takes jobs', 'warn']]);
    expect(
      partitionFindings(
        plainLaunch.system,
        { partitions: offered.map((each) => ({ ...each, isDefault: false })) },
        undefined,
      ),
    ).toMatchObject([{ title: 'Partition', result: 'warn' }]);
  });

  test.each<[string | undefined, boolean, readonly string[] | undefined, string | undefined]>([
    ['gpu', true, ['gpu'], 'ok'],
    ['compute', true, ['gpu'], 'fail'],
    ['compute', true, [], 'fail'],
    ['compute', true, undefined, 'skipped'],
    ['compute', false, undefined, undefined],
    ['compute', false, ['other'], 'warn'],
    ['compute', false, ['gpu'], 'ok'],
  ])('%s with GPUs asked for (%s), reported in %j: %s', (partition, wanted, reported, result) => {
    const spec = {
      ...plainLaunch,
      system: system({ gpu: { gpu: true } }),
      resources: { ...plainLaunch.resources, partition, gpu: wanted ? { count: 1 } : undefined },
    };
    expect(gpuFindings(spec, reported)[0]?.result).toBe(result);
  });
});
