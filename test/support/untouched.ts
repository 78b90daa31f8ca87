import { existsSync, lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { freshHome, type Home, temporaryDirectory } from './directories.ts';
import { slurmPrograms, usualPrograms } from './program.ts';
import { stubCommands } from './stubs.ts';

/** A login node of a made-up cluster on which whatever a launch does is seen. */
export interface ObservedCluster {
  readonly home: Home;
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
  /** Calls of the scheduler, look-ups, connections and changes of files since the start, as lines. */
  traces(): string[];
}

const siteFile = `
systems:
  test:
    title: Test
    detect: { env: { TEST_CLUSTER: yes } }
    scheduler: slurm
    proxy: { endpoint: sites.test }
    defaults: { partition: compute }
    partitions: { debug: { maxTime: 30m }, compute: {}, gpu-shared: { maxGpus: 3 } }
`;

export function observedCluster(): ObservedCluster {
  const home = freshHome();
  const place = temporaryDirectory();
  const site = path.join(place, 'site.yaml');
  writeFileSync(site, siteFile);
  const stubs = stubCommands();
  for (const name of ['sbatch', 'squeue', 'sinfo', 'sacct', 'sacctmgr', 'scancel', 'scontrol']) {
    stubs.add(name, { stderr: `${name}: error: this test wants nobody to ask\n`, exitCode: 1 });
  }
  const network = path.join(place, 'network');
  const observer = pathToFileURL(path.join(import.meta.dirname, 'network-observer.mjs')).href;
  const before = files(home.path);
  return {
    home,
    path: `${stubs.directory}:${usualPrograms({ without: slurmPrograms })}`,
    env: {
      START_JUPYTER_SITE_CONFIG: site,
      TEST_CLUSTER: 'yes',
      NODE_OPTIONS: `--import=${observer}`,
      OBSERVED_NETWORK: network,
    },
    traces: () => [
      ...stubs.calls(),
      ...(existsSync(network) ? readFileSync(network, 'utf8').trimEnd().split('\n') : []),
      ...files(home.path).filter((file) => !before.includes(file)),
    ],
  };
}

/** Every file below a directory with what a change of it would change. */
function files(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((name) => {
    const { mtimeMs, size, mode } = lstatSync(path.join(directory, name));
    return `${name} ${mode.toString(8)} ${size} ${mtimeMs}`;
  });
}
