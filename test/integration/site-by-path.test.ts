/** Behind a proxy whose sites are paths of one host name, Jupyter is told to be there. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { testWith } from '../support/command.ts';
import { freshHome, temporaryDirectory } from '../support/directories.ts';
import { launchHere, runtimeDirectories, secretsOf } from '../support/here.ts';
import { runInKernel } from '../support/kernel.ts';
import { allEnded, filesHolding, processesWithHome } from '../support/processes.ts';
import { slurmPrograms, usualPrograms } from '../support/program.ts';
import { type SatelliteProcess, startSatelliteProcess } from '../support/satellite.ts';

const { run: testWithJupyter, note } = testWith('jupyter-notebook');

let satellite: SatelliteProcess;

beforeAll(async () => {
  satellite = await startSatelliteProcess('--site-style', 'path');
});
afterAll(() => satellite.stop());

/** A launch through that proxy, here; its user's home, and how it reports. */
async function launched() {
  const home = freshHome();
  const site = path.join(temporaryDirectory(), 'site.yaml');
  const proxy = { endpoint: satellite.endpoint, caFile: satellite.caFile };
  const system = { title: 'Test', scheduler: 'none', detect: {}, proxy, nodeAddress: '127.0.0.1' };
  writeFileSync(site, JSON.stringify({ systems: { test: system }, service: 'notebook' }));
  const launch = launchHere(['--json', '--here', '--system', 'test'], {
    home,
    path: usualPrograms({ without: slurmPrograms }),
    env: { ...satellite.env, START_JUPYTER_SITE_CONFIG: site },
  });
  const line = await launch.line();
  if (line === undefined) throw new Error(`it ended: ${(await launch.ended).stderr}`);
  const { url, log } = JSON.parse(line) as { url: string; log: string };
  return { home, launch, url, log };
}

describe(`a site by its path${note}`, () => {
  testWithJupyter('works like any other, from the link to the end', async () => {
    const { home, launch, url, log } = await launched();
    const { jupyterToken, words } = secretsOf(url);
    expect(url).toBe(`https://${satellite.endpoint}/${words}/?token=${jupyterToken}`);
    const ask = (below: string, headers = {}) => satellite.ask(new URL(below, url).href, headers);

    expect((await ask('api/sessions')).status).toBe(403);
    expect((await ask(`api/sessions?token=${jupyterToken}`)).status).toBe(200);
    expect((await ask('/api')).status).toBe(404);
    const page = await ask(`tree?token=${jupyterToken}`);
    expect([page.status, page.body.includes(`data-base-url="/${words}/"`)]).toEqual([200, true]);
    expect(await runInKernel(url, 'print(6 * 7)', satellite.caFile)).toBe('42');

    const running = processesWithHome(home.path);
    expect(
      running.filter(({ commandLine, environment }) => `${commandLine}${environment}`.includes(words)),
    ).toEqual([]);
    expect(readFileSync(log, 'utf8')).not.toContain(words);

    const runtime = runtimeDirectories(home.path);
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
    await allEnded(home.path);
    expect(runtime.filter((directory) => existsSync(directory))).toEqual([]);
    expect(filesHolding([home.path], [jupyterToken, words])).toEqual([]);
    await expect.poll(() => satellite.tokensInUse()).toEqual([]);
  });
});
