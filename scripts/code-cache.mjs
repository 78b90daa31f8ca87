// What V8 makes of a bundle, kept beside it: compiling takes a third of the time until a launch asks its scheduler.
// Plain JavaScript, as is what imports it.
import { spawnSync } from 'node:child_process';
import { globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/**
 * A launch on a cluster. Nobody is asked anything while a program is built: scheduler and proxy are made up (warm-up.cjs), and
 * where there is no openssl for a certificate, there is no proxy, and the launch is refused.
 */
const launch = ['--quiet', '--account', 'abc123'];
/** Launched; refused by the proxy; or sooner, where nothing in /tmp may be executed. */
const ends = [0, 4, 3];

/** The site's, in YAML. */
const configuration = `systems:
  warm-up:
    title: "Nobody's cluster"
    detect: { hostname: . }
    scheduler: slurm
    proxy: { endpoint: 'localhost:PORT', caFile: proxy.pem }
    nodeAddress: '{hostname -s}'
    defaults: { partition: compute, time: 30m }
    partitions: { debug: { maxTime: 30m } }
system: warm-up
`;

/** Commands of the scheduler, each as the lines of a shell script. */
const commands = {
  sinfo: 'echo "compute*|up|1-00:00:00"',
  scontrol: 'exit 1',
  sacctmgr: 'exit 1',
  sbatch: 'echo 1',
  squeue: ':',
  scancel: ':',
};

/** Removes what was made of an earlier build: V8 would take it where the lengths are the same. */
export function removeCodeCaches(bundle) {
  for (const file of globSync(`${bundle}.*.cache`)) rmSync(file);
}

/** For this very Node.js; bin/entry.cjs looks for it by this name. */
export function writeCodeCache(bundle) {
  makeCodeCache(bundle, `${bundle}.${process.versions.v8}-${process.arch}.cache`);
}

/** Certificate and key of the made-up proxy; nothing where there is no openssl. */
function selfSigned() {
  const names = ['-subj', '/CN=proxy', '-addext', 'subjectAltName=DNS:manage.localhost'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', '-'];
  return (
    spawnSync('openssl', ['req', '-x509', '-days', '1', ...key, ...names], { encoding: 'utf8' }).stdout ?? ''
  );
}

/** Runs the launcher, and writes what was compiled for that to a file. */
export function makeCodeCache(bundle, file) {
  const home = mkdtempSync(path.join(os.tmpdir(), 'start-jupyter-code-cache-'));
  const warmUp = path.join(import.meta.dirname, 'warm-up.cjs');
  try {
    const bin = path.join(home, 'bin');
    const siteConfiguration = path.join(home, 'config.yaml');
    mkdirSync(bin);
    writeFileSync(siteConfiguration, configuration);
    writeFileSync(path.join(home, 'proxy.pem'), selfSigned());
    for (const [name, script] of Object.entries(commands))
      writeFileSync(path.join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const { status, stderr } = spawnSync(process.execPath, [warmUp, bundle, file, ...launch], {
      cwd: home,
      env: { HOME: home, PATH: `${bin}:${process.env.PATH}`, START_JUPYTER_SITE_CONFIG: siteConfiguration },
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
    });
    if (!ends.includes(status)) throw new Error(`${bundle} did not run: ${stderr}`);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}
