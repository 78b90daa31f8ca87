/**
 * Each generation of Jupyter, directly and from a container image (there behind a proxy whose sites are paths), with the
 * same demands on all: its interface and a kernel work for the owner of the link, strangers are refused whatever the
 * user's own configuration says, the log tells of no trouble and of no secret, and nothing is left. Both ways at a time:
 * they wait for one another's processes as little as for their own.
 */
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { testWith } from '../support/command.ts';
import { freshHome, temporaryDirectory } from '../support/directories.ts';
import { launchHere, runtimeDirectories, secretsOf } from '../support/here.ts';
import { installJupyters, type JupyterRelease } from '../support/jupyters.ts';
import { runInKernel } from '../support/kernel.ts';
import { writeOpenConfiguration } from '../support/open-configuration.ts';
import { allEnded, filesHolding, listeningAddresses, processesWithHome } from '../support/processes.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { type SatelliteProcess, startSatelliteProcess } from '../support/satellite.ts';

const { run: testWithJupyter, note } = testWith('jupyter-notebook');

const places = temporaryDirectory();

let byPath: SatelliteProcess;

beforeAll(async () => {
  [byPath] = await Promise.all([startSatelliteProcess('--site-style', 'path'), installJupyters(places)]);
});
afterAll(() => byPath.stop());

/** What a user's machine is told, for launches through that proxy. */
function throughProxy(): {
  readonly options: readonly string[];
  readonly env: Readonly<Record<string, string>>;
} {
  const file = path.join(temporaryDirectory(), 'site.yaml');
  const proxy = { endpoint: byPath.endpoint, caFile: byPath.caFile };
  const system = { title: 'Test', scheduler: 'none', detect: {}, proxy, nodeAddress: '127.0.0.1' };
  writeFileSync(file, JSON.stringify({ systems: { test: system } }));
  return { options: ['--here', '--system', 'test'], env: { ...byPath.env, START_JUPYTER_SITE_CONFIG: file } };
}

interface Generation {
  readonly name: string;
  /** Undefined: the one that the machine has. */
  readonly release?: JupyterRelease;
  readonly service: 'lab' | 'notebook' | 'voila';
  /** What /api says is running. */
  readonly version: RegExp;
  /** A page of the interface, and what is on it. */
  readonly page: string;
  readonly shows: string;
  /** From an image too, unless another generation has shown already what that would. */
  readonly fromImage: boolean;
}

const generations: readonly Generation[] = [
  {
    name: 'Notebook 6.4 of Debian',
    service: 'notebook',
    version: /^6\.4\./,
    page: '/tree',
    shows: 'notebook_list',
    fromImage: true,
  },
  {
    name: 'Notebook 6.5',
    release: 'notebook-6',
    service: 'notebook',
    version: /^6\.5\./,
    page: '/tree',
    shows: 'notebook_list',
    fromImage: false, // as Notebook 6.4
  },
  {
    name: 'Notebook 7',
    release: 'notebook-7',
    service: 'notebook',
    version: /^2\./,
    page: '/tree',
    shows: 'jupyter-config-data',
    fromImage: true,
  },
  {
    name: 'JupyterLab 3 on Jupyter Server 1',
    release: 'lab-3-server-1',
    service: 'lab',
    version: /^1\./,
    page: '/lab',
    shows: 'jupyter-config-data',
    fromImage: false, // as Voilà 0.4, on the same Jupyter Server, and JupyterLab 3 on its successor
  },
  {
    name: 'JupyterLab 3 on Jupyter Server 2',
    release: 'lab-3-server-2',
    service: 'lab',
    version: /^2\./,
    page: '/lab',
    shows: 'jupyter-config-data',
    fromImage: true,
  },
  {
    name: 'JupyterLab 4',
    release: 'lab-4',
    service: 'lab',
    version: /^2\./,
    page: '/lab',
    shows: 'jupyter-config-data',
    fromImage: true,
  },
  {
    name: 'Voilà 0.4 on Jupyter Server 1',
    release: 'lab-3-server-1',
    service: 'voila',
    version: /^1\./,
    page: '/voila/render/six.ipynb',
    shows: 'times seven is 42',
    fromImage: true,
  },
  {
    name: 'Voilà 0.5 on Jupyter Server 2',
    release: 'lab-4',
    service: 'voila',
    version: /^2\./,
    page: '/voila/render/six.ipynb',
    shows: 'times seven is 42',
    fromImage: true,
  },
];

/** A notebook that computes something. */
const notebook = {
  cells: [
    {
      cell_type: 'code',
      execution_count: null,
      id: 'one',
      metadata: {},
      outputs: [],
      source: ["print('six times seven is', 6*7)"],
    },
  ],
  metadata: { kernelspec: { display_name: 'Python 3', language: 'python', name: 'python3' } },
  nbformat: 4,
  nbformat_minor: 5,
};

/** How a generation is reached, and whether its site has a path instead of a name. */
const directly = { what: 'directly', image: false, hasPath: false };
const ways = [directly, { what: 'from an image, with a path for its site', image: true, hasPath: true }];

describe.each(generations)(`$name${note}`, ({ release, service, version, page, shows, fromImage }) => {
  const prefix = release === undefined ? '/usr' : path.join(places, release);

  const works = async ({ image, hasPath }: (typeof ways)[number]) => {
    const home = freshHome();
    writeOpenConfiguration(home);
    writeFileSync(path.join(home.path, 'six.ipynb'), JSON.stringify(notebook));
    const engines = temporaryDirectory();
    const { options, env } = hasPath ? throughProxy() : { options: [], env: {} };
    const machine = { home, path: `${engines}:${usualPrograms({ without: slurmPrograms })}`, env };

    const venv = release === undefined ? [] : ['--venv', prefix];
    const where = image ? ['--image', imageOf(prefix, engines)] : venv;
    const launch = launchHere(['--json', `--${service}`, ...options, ...where], machine);
    const { url, log } = JSON.parse((await launch.line()) ?? '{}');
    const { jupyterToken, words } = secretsOf(url);
    const runtime = runtimeDirectories(home.path);
    const ask = (below: string) => byPath.ask(new URL(`.${below}`, url).href);
    expect(new URL(url).pathname).toBe(hasPath ? `/${words}/` : '/');

    const api = await ask('/api');
    expect(JSON.parse(api.body).version).toMatch(version);
    expect(new Set(listeningAddresses(processesWithHome(home.path)))).toEqual(new Set(['127.0.0.1']));
    for (const place of ['/api/sessions', '/api/contents', `/api/kernels?token=${jupyterToken.slice(1)}0`])
      expect([place, (await ask(place)).status]).toEqual([place, 403]);
    expect((await ask(page)).status).toBe(302);
    expect((await ask(`/api/sessions?token=${jupyterToken}`)).status).toBe(200);

    const shown = await ask(`${page}?token=${jupyterToken}`);
    expect(shown.status).toBe(200);
    expect(shown.body).toContain(shows);
    const said = await runInKernel(
      url,
      'import ipykernel, sys; print(6*7, sys.prefix, ipykernel.__file__)',
      hasPath ? byPath.caFile : undefined,
    );
    expect(said).toMatch(new RegExp(`^42 ${prefix} ${prefix}/lib/python3.*/ipykernel/__init__.py$`));

    // Before its end: Python trips over a signal that comes while it writes to the log.
    expect(readFileSync(log, 'utf8')).not.toMatch(/Traceback|\[[EC] |FAILED|WARNING/);

    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
    await allEnded(home.path);
    expect(runtime.filter((directory) => existsSync(directory))).toEqual([]);
    expect(filesHolding([home.path], [jupyterToken, words])).toEqual([]);
    const status = JSON.parse((await run(['status', '--json'], machine)).stdout);
    expect(status).toMatchObject({ state: 'ended', url: null });
  };

  const taken = fromImage ? ways : [directly];
  testWithJupyter(taken.map(({ what }) => what).join('; '), () => Promise.all(taken.map(works)));
});

/** An image with the programs of an installation, and an engine for it: see test/support/apptainer-stand-in.sh. */
function imageOf(prefix: string, engines: string): string {
  const image = path.join(temporaryDirectory(), 'image');
  mkdirSync(image);
  symlinkSync(path.join(prefix, 'bin'), path.join(image, 'bin'));
  symlinkSync(
    path.join(import.meta.dirname, '../support/apptainer-stand-in.sh'),
    path.join(engines, 'apptainer'),
  );
  return image;
}
