import {
  chmodSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { LabError, lastLines } from './errors.ts';

export type Say = (line: string) => void;

const clusterPackages = [
  'ca-certificates',
  'curl',
  'dnsmasq-base',
  'environment-modules',
  'iproute2',
  'jupyter-notebook',
  'mariadb-server',
  'munge',
  'openssl',
  'procps',
  'python3-venv',
  'slurm-client',
  'slurmctld',
  'slurmd',
  'slurmdbd',
  'util-linux',
  'wget',
];

/** Installs the Debian packages that the lab's machines run. */
export async function installCluster(say: Say): Promise<void> {
  await installPackages(clusterPackages, 'the cluster', say);
}

/** Installs Grid Engine. */
export async function installGridEngine(say: Say): Promise<void> {
  await installPackages(['gridengine-client', 'gridengine-exec', 'gridengine-master'], 'Grid Engine', say);
}

/** Installs a browser and the tool that tells it to trust the lab's CA. */
export async function installBrowser(say: Say): Promise<void> {
  await installPackages(['chromium', 'libnss3-tools'], 'the browser', say);
}

/** Installs what the tests outside of the lab need. */
export async function installTools(say: Say): Promise<void> {
  const tools = [
    'bsdutils',
    'curl',
    'environment-modules',
    'fish',
    'groff-base',
    'jupyter-notebook',
    'libfaketime',
    'man-db',
    'mandoc',
    'nghttp2-client',
    'openssh-client',
    'openssh-server',
    'openssl',
    'procps',
    'python3-venv',
    'shellcheck',
    'systemd-container',
    'wget',
    'zsh',
  ];
  await installPackages(tools, 'the tests', say);
  await unpackLmod(say);
}

/** Installs the web servers that may stand in front of the proxy, or of several; of Apache the program alone. */
export async function installFronts(say: Say): Promise<void> {
  await installPackages(
    ['apache2-bin', 'caddy', 'haproxy', 'libnginx-mod-stream', 'nginx'],
    'the fronts',
    say,
  );
}

/** Installs the database that several proxies may share; tests start servers of their own. */
export async function installDatabase(say: Say): Promise<void> {
  await installPackages(['postgresql-15'], 'the database', say);
}

/** Where Lmod is unpacked to: Debian's package can't be installed beside environment-modules, which the lab runs. */
export const lmodDirectory = '/var/lib/start-jupyter-test/lmod';

async function unpackLmod(say: Say): Promise<void> {
  if (existsSync(lmodDirectory)) return;
  await installPackages(
    ['lua-filesystem', 'lua-json', 'lua-posix', 'lua-term', 'lua5.3', 'tcl'],
    'Lmod',
    say,
  );
  const workspace = mkdtempSync(path.join(os.tmpdir(), 'start-jupyter-lmod-'));
  try {
    // Its sandbox user may not write where only we may.
    await execa('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', 'lmod'], { cwd: workspace });
    const [file = ''] = globSync('lmod_*.deb', { cwd: workspace });
    await execa('dpkg-deb', ['-x', path.join(workspace, file), path.join(workspace, 'unpacked')]);
    const [lmod = ''] = globSync('unpacked/usr/share/lmod/*', { cwd: workspace });
    mkdirSync(path.dirname(lmodDirectory), { recursive: true });
    await execa('cp', ['-rL', path.join(workspace, lmod), lmodDirectory]);
  } finally {
    rmSync(workspace, { recursive: true, force: true });
  }
}

/** Installs the Debian packages that are not there yet. Throws a LabError that says what is wrong, or what to type. */
export async function installPackages(packages: string[], what: string, say: Say): Promise<void> {
  const missing = await notInstalled(packages);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new LabError(
      `only root can install ${missing.join(' ')}. Type: sudo apt-get install ${missing.join(' ')}`,
    );
  }
  say(`installing Debian packages for ${what}: ${missing.join(' ')}`);
  const allowDaemons = forbidDaemons();
  try {
    const options = ['-q', '-y', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=300'];
    const first = await apt(['install', ...options, ...missing]);
    // Package lists are fetched only when the ones at hand do not lead to the packages.
    if (first.exitCode !== 0) {
      const lists = await apt(['update', '-q']);
      const second = lists.exitCode === 0 ? await apt(['install', ...options, ...missing]) : lists;
      if (second.exitCode !== 0) {
        throw new LabError(
          `apt-get could not install ${missing.join(' ')}:\n${lastLines(second.all)}\n` +
            'Check that Debian\'s packages can be reached ("apt-get update"), then try again.',
        );
      }
    }
  } finally {
    allowDaemons();
  }
}

async function apt(args: string[]): Promise<{ exitCode: number | undefined; all: string }> {
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  const { exitCode, all, code } = await execa('apt-get', args, {
    env,
    reject: false,
    all: true,
    stdin: 'ignore',
  });
  return { exitCode, all: code === 'ENOENT' ? 'There is no apt-get here.' : all };
}

async function notInstalled(packages: string[]): Promise<string[]> {
  const format = `-f=\${Package} \${db:Status-Status}\\n`;
  // Fails when one of them is unknown, and still prints the others.
  const { stdout } = await execa('dpkg-query', ['-W', format, ...packages], {
    reject: false,
  });
  const installed = new Set(
    stdout
      .split('\n')
      .filter((line) => line.endsWith(' installed'))
      .map((line) => line.split(' ')[0]),
  );
  return packages.filter((name) => !installed.has(name));
}

const policyFile = '/usr/sbin/policy-rc.d';
const policyMark = '# start-jupyter lab: packages that are being installed must not start daemons';

/**
 * Keeps Debian's packages from starting their daemons on the machine (see invoke-rc.d(8)); a policy that is there
 * already is left alone. Returns what undoes it.
 */
function forbidDaemons(): () => void {
  if (existsSync(policyFile)) return () => undefined;
  writeFileSync(policyFile, `#!/bin/sh\n${policyMark}\nexit 101\n`);
  chmodSync(policyFile, 0o755);
  return allowDaemons;
}

/** Removes the policy of an installation that was cut short. */
export function allowDaemons(): void {
  if (existsSync(policyFile) && readFileSync(policyFile, 'utf8').includes(policyMark)) rmSync(policyFile);
}
