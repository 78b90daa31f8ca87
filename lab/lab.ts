import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { makeAccountingDatabase, makeAccounts, makeDatabase } from './accounting.ts';
import {
  type DaemonName,
  isComplete,
  isRunning,
  killDaemon,
  type PartName,
  partFile,
  startDaemon,
  wantedDaemons,
} from './daemons.ts';
import { LabError, lastLines } from './errors.ts';
import { checkCheckout, installJupyters, makeFilesystem } from './filesystem.ts';
import { configureGridEngine, makeGridEngine } from './gridengine.ts';
import { holder, startHosts, stopHosts } from './hosts.ts';
import { withLock } from './lock.ts';
import { allowDaemons, installCluster, installGridEngine, type Say } from './packages.ts';
import { checkout, type NodeName, nodeNames, stateDirectory } from './paths.ts';

export { killDaemon, type PartName, partNames, startDaemon } from './daemons.ts';
export { LabError } from './errors.ts';
export { installBrowser, installDatabase, installFronts, installPackages, installTools } from './packages.ts';
export { address, caFile, domain, labPath, type NodeName } from './paths.ts';
export {
  type ExecOptions,
  type ExecResult,
  type LabCommand,
  labCommand,
  labExec,
  type Place,
} from './run.ts';
export { addUsers } from './users.ts';

/** Is there once the lab has come up for the first time. */
const completeFile = join(stateDirectory, 'complete');

/**
 * Brings the lab up, installing what it needs, and returns when it works. Where it is up already, this only builds the
 * programs anew and starts what has ended. `parts` are brought up besides, and stay. Throws a LabError that says what is
 * wrong.
 */
export async function up({
  say = () => undefined,
  parts = [],
}: {
  say?: Say;
  parts?: readonly PartName[];
} = {}): Promise<void> {
  checkMachine();
  await withLock(say, async () => {
    process.umask(0o022);
    await buildPrograms(say);
    if (isMade()) {
      await startMissing(say);
    } else {
      if (existsSync(stateDirectory)) {
        say('removing a lab that did not come up, or that the machine was restarted under');
        await remove();
      }
      await make(say);
    }
    for (const part of parts) if (!existsSync(partFile(part))) await makePart[part](say);
    say('the lab is up. Try "npm run lab -- exec -- sinfo".');
  });
}

/** Ends everything that the lab started and removes everything that it made, except for Debian packages. */
export async function down({ say = () => undefined }: { say?: Say } = {}): Promise<void> {
  checkMachine();
  await withLock(say, remove);
}

export interface LabStatus {
  up: boolean;
  nodes: Record<NodeName, boolean>;
  daemons: Partial<Record<DaemonName, boolean>>;
}

/** What of the lab is running. */
export function status(): LabStatus {
  checkMachine();
  const nodes = nodeNames.map((name) => [name, holder(name) !== undefined]);
  return {
    up: existsSync(completeFile) && isComplete(),
    nodes: Object.fromEntries(nodes) as Record<NodeName, boolean>,
    daemons: Object.fromEntries(wantedDaemons().map((name) => [name, isRunning(name)])),
  };
}

/** Starts the proxy; no-op when it runs. */
export async function startSatellite(): Promise<void> {
  await startDaemon('satellite');
  writeFileSync(bundleFile, bundleHash());
}

/** Ends the proxy in good order. */
export async function stopSatellite(): Promise<void> {
  await killDaemon('satellite');
}

/** Ends and starts the proxy. */
export async function restartSatellite(): Promise<void> {
  await stopSatellite();
  await startSatellite();
}

function checkMachine(): void {
  if (process.platform !== 'linux' || !existsSync('/etc/debian_version')) {
    throw new LabError(
      'the lab needs Debian 12 or Ubuntu 22.04, or later: it runs on their packages of Slurm.',
    );
  }
  if (process.getuid?.() !== 0) {
    throw new LabError(
      'the lab needs root, for network namespaces and for users of its own. Try again with sudo.',
    );
  }
}

function isMade(): boolean {
  return existsSync(completeFile) && nodeNames.every((name) => holder(name));
}

async function make(say: Say): Promise<void> {
  await installCluster(say);
  checkCheckout();
  say('making files, users and certificates');
  await makeFilesystem();
  say('making the nodes: login, c1, c2');
  await startHosts();
  // The longest part goes on beside the others. Where one fails the other is waited for: it is not to go on unseen.
  const parts = await Promise.allSettled([startCluster(say), installJupyters(say)]);
  for (const part of parts) if (part.status === 'rejected') throw part.reason;
  writeFileSync(completeFile, '');
}

async function startCluster(say: Say): Promise<void> {
  say('starting the database');
  const early = ['dnsmasq', 'munged-login', 'munged-c1', 'munged-c2'] as const;
  await Promise.all([makeDatabase(), ...early.map(startDaemon)]);
  await startDaemon('mariadbd');
  await makeAccountingDatabase();
  say('starting Slurm');
  await startDaemon('slurmdbd');
  await makeAccounts();
  await startDaemon('slurmctld');
  await Promise.all([startDaemon('slurmd-c1'), startDaemon('slurmd-c2')]);
  say('starting satellite');
  await startSatellite();
  await startDaemon('report-jobs');
}

/** How each part comes into being, on a lab that is up. */
const makePart: Record<PartName, (say: Say) => Promise<void>> = {
  async sge(say) {
    await installGridEngine(say);
    say('starting Grid Engine');
    const daemons = ['sge_qmaster', 'sge_execd-c1', 'sge_execd-c2'] as const;
    for (const name of daemons) await killDaemon(name); // of a try that failed
    await makeGridEngine();
    await startDaemon('sge_qmaster');
    await configureGridEngine();
    await Promise.all([startDaemon('sge_execd-c1'), startDaemon('sge_execd-c2')]);
    writeFileSync(partFile('sge'), '');
    await killDaemon('report-jobs');
    await startDaemon('report-jobs');
  },
  async other(say) {
    say('starting a second cluster');
    for (const name of ['slurmctld-other', 'slurmd-other'] as const) await killDaemon(name); // of a try that failed
    await startDaemon('slurmctld-other');
    await startDaemon('slurmd-other');
    writeFileSync(partFile('other'), '');
  },
};

async function startMissing(say: Say): Promise<void> {
  if (isRunning('satellite') && readFileSync(bundleFile, 'utf8') !== bundleHash()) {
    say('satellite has changed: starting it anew');
    await stopSatellite();
    await killDaemon('report-jobs');
  }
  for (const name of wantedDaemons()) {
    if (isRunning(name)) continue;
    say(`starting ${name}`);
    await (name === 'satellite' ? startSatellite() : startDaemon(name));
  }
}

async function remove(): Promise<void> {
  await stopHosts();
  rmSync(stateDirectory, { recursive: true, force: true });
  allowDaemons();
}

const bundle = join(checkout, 'satellite/dist/satellite.js');
/** Remembers which build of satellite is running. */
const bundleFile = join(stateDirectory, 'daemons/satellite.bundle');

function bundleHash(): string {
  return createHash('sha256').update(readFileSync(bundle)).digest('hex');
}

async function buildPrograms(say: Say): Promise<void> {
  say('building the programs');
  const build = await execa(process.execPath, ['scripts/build.mjs'], {
    cwd: checkout,
    reject: false,
    all: true,
  });
  if (build.exitCode !== 0) throw new LabError(`the programs do not build:\n${lastLines(build.all, 20)}`);
}
