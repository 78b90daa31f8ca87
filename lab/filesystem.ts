import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { type CertificateFiles, makeCertificates } from './certificates.ts';
import { LabError, lastLines } from './errors.ts';
import type { Say } from './packages.ts';
import { checkout, domain, labPath, nodeAddresses, rootDirectory, stateDirectory } from './paths.ts';

/** Ordinary users; all of them are in the group `class` as well. */
const users = ['alice', 'bob', 'carol'] as const;

const firstUid = 2000;
const satelliteUid = 990;
const classGid = 1999;

const files = join(checkout, 'lab/files');

/** Lays out what the lab's machines see as `/`, except for JupyterLab. */
export async function makeFilesystem(): Promise<void> {
  mkdirSync(stateDirectory, { recursive: true });
  // Passwords' hashes, homes and keys are in it.
  chmodSync(stateDirectory, 0o700);
  for (const directory of [
    'usr',
    'dev',
    'proc',
    'sys',
    'run',
    'tmp',
    'mnt',
    'opt/start-jupyter',
    'opt/modulefiles',
  ]) {
    mkdirSync(labPath(directory), { recursive: true, mode: 0o755 });
  }
  chmodSync(rootDirectory, 0o755);
  copySystemLinks();
  await execa('cp', ['-a', '/etc', labPath('etc')]);
  const ids = writeUsers();
  makeDirectories(ids);
  writeNames();
  writeModules();
  await writeSlurm(ids);
  await writeCertificates(ids);
}

/** `/bin`, `/lib` and their like, which are links into `/usr`. */
function copySystemLinks(): void {
  for (const name of readdirSync('/')) {
    const path = join('/', name);
    if (!lstatSync(path).isSymbolicLink()) continue;
    const target = readlinkSync(path);
    if (/^\/?usr\//.test(target)) symlinkSync(target, labPath(name));
  }
}

type Ids = Map<string, { uid: number; gid: number }>;

/** The machine's system users, the lab's service user and its people. Nobody has a password. */
function writeUsers(): Ids {
  const isSystem = (line: string): boolean =>
    Number(line.split(':')[2]) < 1000 || /:6(4\d\d\d|5534):/.test(line);
  const lines = (file: string): string[] => readFileSync(file, 'utf8').trim().split('\n');
  const passwd = lines('/etc/passwd').filter(isSystem);
  const group = lines('/etc/group').filter(isSystem);
  passwd.push(`satellite:x:${satelliteUid}:${satelliteUid}::/var/lib/satellite:/usr/sbin/nologin`);
  group.push(`satellite:x:${satelliteUid}:`, `class:x:${classGid}:${users.join(',')}`);
  users.forEach((name, index) => {
    const uid = firstUid + index;
    passwd.push(`${name}:x:${uid}:${uid}:${name}:/home/${name}:/bin/bash`);
    group.push(`${name}:x:${uid}:`);
  });
  const locked = (line: string): string => `${line.split(':')[0]}:*:19000:0:99999:7:::`;
  writeFileSync(labPath('etc/passwd'), `${passwd.join('\n')}\n`);
  writeFileSync(labPath('etc/group'), `${group.join('\n')}\n`);
  writeFileSync(labPath('etc/shadow'), `${passwd.map(locked).join('\n')}\n`);
  return new Map(
    passwd.map((line) => {
      const [name = '', , uid, gid] = line.split(':');
      return [name, { uid: Number(uid), gid: Number(gid) }];
    }),
  );
}

function own(path: string, ids: Ids, user: string): void {
  const owner = ids.get(user);
  if (!owner)
    throw new LabError(`the system user "${user}" is missing: its Debian package is not fully installed.`);
  chownSync(path, owner.uid, owner.gid);
}

/** Makes a directory that belongs to a user, with exactly this mode. */
function directory(path: string, ids: Ids, user: string, mode: number): void {
  mkdirSync(labPath(path), { recursive: true });
  chmodSync(labPath(path), mode);
  own(labPath(path), ids, user);
}

function makeDirectories(ids: Ids): void {
  directory('root', ids, 'root', 0o700);
  directory('var/tmp', ids, 'root', 0o1777);
  directory('var/log', ids, 'root', 0o755);
  directory('var/log/munge', ids, 'munge', 0o700);
  directory('var/lib/munge', ids, 'munge', 0o711);
  directory('var/lib/mysql', ids, 'mysql', 0o700);
  directory('var/lib/satellite', ids, 'satellite', 0o700);
  directory('var/spool/slurmctld', ids, 'slurm', 0o700);
  directory('var/spool/slurmctld-other', ids, 'slurm', 0o700);
  directory('var/spool/slurmd', ids, 'root', 0o755);
  directory('var/local', ids, 'root', 0o755);
  symlinkSync('/run', labPath('var/run'));
  directory('home', ids, 'root', 0o755);
  for (const name of users) {
    // carol's is a small file system of its own, see mounts.sh; this is only where it goes.
    cpSync('/etc/skel', labPath(`home/${name}`), { recursive: true });
    for (const entry of readdirSync(labPath(`home/${name}`)))
      own(labPath(`home/${name}/${entry}`), ids, name);
    directory(`home/${name}`, ids, name, 0o700);
  }
}

function writeNames(): void {
  const hosts = Object.entries(nodeAddresses).map(([name, address]) => `${address} ${name}`);
  hosts.push(`${nodeAddresses.login} manage.${domain}`);
  hosts.push(`${nodeAddresses.c1} o1`); // the node of the second cluster
  writeFileSync(labPath('etc/hosts'), `127.0.0.1 localhost\n${hosts.join('\n')}\n`);
  // /etc/hosts has no wildcards: names of sites come from a name server, as everywhere.
  writeFile(
    'etc/resolv.upstream.conf',
    existsSync('/etc/resolv.conf') ? readFileSync('/etc/resolv.conf', 'utf8') : '',
  );
  writeFile('etc/resolv.conf', `nameserver ${nodeAddresses.login}\n`);
  writeFile('etc/hostname', 'login\n');
}

/** Replaces whatever is there, a link too. */
function writeFile(path: string, text: string): void {
  writeFileSync(labPath(`${path}.new`), text);
  // rename(2) replaces the link, not what it leads to.
  renameSync(labPath(`${path}.new`), labPath(path));
}

function writeModules(): void {
  appendFileSync(labPath('etc/environment-modules/initrc'), '\nmodule use --append {/opt/modulefiles}\n');
  for (const name of ['jupyterlab', 'notebook6', 'brokenenv']) {
    cpSync(join(files, `${name}.modulefile`), labPath(`opt/modulefiles/${name}`));
  }
  mkdirSync(labPath('opt/brokenenv/bin'), { recursive: true });
  symlinkSync('/opt/python-that-was-removed/bin/python3', labPath('opt/brokenenv/bin/python3'));
  for (const name of ['jupyter', 'jupyter-lab', 'jupyter-notebook', 'jupyter-server']) {
    const script = labPath(`opt/brokenenv/bin/${name}`);
    writeFileSync(
      script,
      '#!/opt/brokenenv/bin/python3\nimport jupyter_core.command\njupyter_core.command.main()\n',
    );
    chmodSync(script, 0o755);
  }
  cpSync(join(files, 'profile.sh'), labPath('etc/profile.d/start-jupyter.sh'));
}

async function writeSlurm(ids: Ids): Promise<void> {
  // A key of the lab's own: the machine's may be that of a real cluster.
  writeFileSync(labPath('etc/munge/munge.key'), randomBytes(128), { mode: 0o600 });
  for (const name of ['slurm.conf', 'gres.conf', 'slurm-other.conf'])
    cpSync(join(files, name), labPath(`etc/slurm/${name}`));
  cpSync(join(files, 'slurmdbd.conf'), labPath('etc/slurm/slurmdbd.conf'));
  // slurmdbd insists on both.
  chmodSync(labPath('etc/slurm/slurmdbd.conf'), 0o600);
  own(labPath('etc/slurm/slurmdbd.conf'), ids, 'slurm');
  mkdirSync(labPath('etc/slurm/gpu'), { recursive: true });
  // As /dev/null: character device 1, 3.
  for (const index of [0, 1, 2, 3])
    await execa('mknod', [labPath(`etc/slurm/gpu/fake${index}`), 'c', '1', '3']);
}

async function writeCertificates(ids: Ids): Promise<void> {
  directory('etc/satellite', ids, 'satellite', 0o755);
  directory('etc/start-jupyter', ids, 'root', 0o755);
  cpSync(join(files, 'start-jupyter.yaml'), labPath('etc/start-jupyter/config.yaml'));
  cpSync(join(files, 'satellite.yaml'), labPath('etc/satellite/satellite.yaml'));
  const certificates: CertificateFiles = {
    ca: labPath('etc/start-jupyter/ca.pem'),
    cert: labPath('etc/satellite/fullchain.pem'),
    key: labPath('etc/satellite/privkey.pem'),
  };
  await makeCertificates(domain, certificates);
  own(certificates.key, ids, 'satellite');
  // In Debian's bundle, curl, wget and python3 of the lab trust it without being told.
  appendFileSync(labPath('etc/ssl/certs/ca-certificates.crt'), readFileSync(certificates.ca));
}

/** Puts JupyterLab 4 and Notebook 6 into `/opt` of the lab's machines. */
export async function installJupyters(say: Say): Promise<void> {
  say('installing JupyterLab and Notebook from PyPI');
  const script = join(checkout, 'lab/jupyters.sh');
  const result = await execa('unshare', ['--mount', '--', 'bash', script, labPath('opt')], {
    reject: false,
    all: true,
    stdin: 'ignore',
  });
  if (result.exitCode !== 0) {
    throw new LabError(
      `Jupyter could not be installed:\n${lastLines(result.all)}\nCheck that PyPI can be reached ("pip download jupyterlab").`,
    );
  }
}

/** The checkout must be readable for the lab's ordinary users, who get it as `/opt/start-jupyter`. */
export function checkCheckout(): void {
  for (const path of ['.', 'bin', 'bin/start-jupyter', 'node_modules', 'dist', 'dist/start-jupyter.js']) {
    const mode = statSync(join(checkout, path)).mode;
    if ((mode & 0o004) === 0) {
      throw new LabError(
        `${join(checkout, path)} is not readable for other users, so the lab's users could not run the programs. ` +
          `Type "chmod -R go+rX ${checkout}" and try again.`,
      );
    }
  }
}
