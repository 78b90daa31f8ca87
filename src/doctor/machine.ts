/** What a launch needs of this machine and of the login session, whatever system it is. */
import { accessSync, constants, existsSync, readFileSync, statfsSync, statSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { directoryProblem, systemWords } from '../file-system.ts';
import { commandOnPath } from '../search-path.ts';
import { shown } from '../values.ts';
import { type Finding, fail, ok, skipped, warn } from './finding.ts';
import { octal } from './permissions.ts';

const mebibyte = 2 ** 20;
/** Below these a launch still works, and soon won't. */
const littleSpace = 200 * mebibyte;
const fewInodes = 1000;

/** Free space and inodes where sessions are kept. Quotas are another matter: the write probe finds those that are used up. */
export function spaceFinding(directory: string): Finding {
  const title = 'Space';
  const place = nearestExisting(directory);
  const { bavail, bsize, files, ffree } = statfsSync(place);
  const free = bavail * bsize;
  const amounts = `${inUnits(free)} free${files > 0 ? `, ${ffree} inodes` : ''} (${place})`;
  // Some file systems count no inodes and say 0.
  const isShort = free < littleSpace || (files > 0 && ffree < fewInodes);
  return isShort
    ? warn(
        title,
        amounts,
        'Remove what you no longer need there; "start-jupyter prune" removes old sessions.',
      )
    : ok(title, amounts);
}

function inUnits(bytes: number): string {
  const gibibytes = bytes / 2 ** 30;
  return gibibytes >= 1 ? `${Math.floor(gibibytes)} GiB` : `${Math.floor(bytes / mebibyte)} MiB`;
}

function nearestExisting(directory: string): string {
  return existsSync(directory) ? directory : nearestExisting(path.dirname(directory));
}

/** Whoever can write to home can replace what runs in a job; whoever can read the sessions sees links' names. */
export function privacyFindings(home: string, sessions: string): Finding[] {
  return [
    modeFinding('Home is yours', home, 0o022, 'go-w', 'other users can write to it'),
    existsSync(sessions)
      ? modeFinding('Sessions private', sessions, 0o077, 'go-rwx', 'other users can look into it')
      : ok('Sessions private', `${sessions} will be made for you alone`),
  ];
}

function modeFinding(
  title: string,
  directory: string,
  forbidden: number,
  mend: string,
  problem: string,
): Finding {
  const status = statSync(directory);
  const me = process.getuid?.();
  if (me !== undefined && status.uid !== me && me !== 0)
    return fail(title, `${directory} belongs to another user`, 'Set HOME to your own home directory.');
  return (status.mode & forbidden) === 0
    ? ok(title, `${directory} (mode ${octal(status)})`)
    : warn(title, `${directory}: ${problem} (mode ${octal(status)})`, `chmod ${mend} ${directory}`);
}

const networked =
  /^(?:nfs\d?|lustre|gpfs|beegfs\w*|ceph|fuse\.ceph\w*|wekafs|panfs|afs|cifs|smb3?|pvfs2|orangefs|9p|fuse\.\w+)$/;
const volatile = /^(?:tmpfs|ramfs|overlay)$/;

/**
 * Jobs read their session's directory from a compute node. From here no more can be seen than what kind of file system it is.
 * @param mounts the text of /proc/self/mountinfo
 */
export function sharedHomeFinding(directory: string, mounts: string): Finding {
  const title = 'Seen by the nodes';
  const type = fileSystemOf(nearestExisting(directory), mounts);
  if (type === undefined) return skipped(title, 'the kind of file system is not known');
  if (networked.test(type)) return ok(title, `sessions are on ${type}, which compute nodes can share`);
  if (volatile.test(type))
    return warn(
      title,
      `sessions are on ${type}, which is this machine's own: ${directory}`,
      'Set XDG_STATE_HOME to a directory that compute nodes see, too.',
    );
  return ok(title, `sessions are on a local disk (${type}), which this machine may export to the nodes`);
}

/** proc(5): mount point in the fifth field, type after the dash; the longest mount point counts. */
function fileSystemOf(directory: string, mounts: string): string | undefined {
  const candidates = mounts.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const point = (before.split(' ')[4] ?? '').replace(/\\(\d{3})/g, (_, code) =>
      String.fromCharCode(Number.parseInt(code, 8)),
    );
    const type = after.split(' ')[0];
    const isAbove = point === '/' || directory === point || directory.startsWith(`${point}/`);
    return point !== '' && type && isAbove ? [{ point, type }] : [];
  });
  return candidates.toSorted((a, b) => a.point.length - b.point.length).at(-1)?.type;
}

export function mountTable(): string {
  try {
    return readFileSync('/proc/self/mountinfo', 'utf8');
  } catch {
    return '';
  }
}

/** Directories that exist on one machine only. */
const nodeLocal = /^\/(?:tmp|var\/tmp|run|dev\/shm|scratch\/local)(?:\/|$)/;

export function xdgFinding(environment: NodeJS.ProcessEnv): Finding {
  const title = 'XDG directories';
  const set = ['XDG_STATE_HOME', 'XDG_CONFIG_HOME', 'XDG_CACHE_HOME', 'XDG_DATA_HOME'].filter(
    (name) => environment[name],
  );
  const relative = set.find((name) => !path.isAbsolute(environment[name] ?? ''));
  if (relative !== undefined)
    return warn(
      title,
      `${relative} is no absolute path and counts as unset: ${shown(environment[relative] ?? '')}`,
      `Write it with a slash at its beginning, or: unset ${relative}`,
    );
  const local = set.find((name) => nodeLocal.test(environment[name] ?? ''));
  if (local !== undefined)
    return warn(
      title,
      `${local}=${environment[local]} is on this machine only, and jobs run on others`,
      `Set it to a directory below your home, or: unset ${local}`,
    );
  return ok(
    title,
    set.length === 0
      ? 'as usual, below your home'
      : set.map((name) => `${name}=${environment[name]}`).join(' '),
  );
}

export function temporaryFinding(environment: NodeJS.ProcessEnv): Finding {
  const title = 'Temporary files';
  const directory = environment.TMPDIR || '/tmp';
  const problem = directoryProblem(directory) ?? unwritable(directory);
  if (problem === undefined) return ok(title, directory);
  return environment.TMPDIR
    ? warn(title, `TMPDIR=${shown(directory)}: ${problem}`, 'Make it, or: unset TMPDIR')
    : fail(title, `${directory}: ${problem}`, 'Set TMPDIR to a directory that you can write to.');
}

function unwritable(directory: string): string | undefined {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    return systemWords(error);
  }
}

/** bash complains of a locale that isn't installed, in every job's log, too. */
export async function bashFindings(environment: NodeJS.ProcessEnv): Promise<Finding[]> {
  const bash = commandOnPath('bash', environment);
  if (bash === undefined)
    return [fail('bash', 'is not on PATH', 'Install bash, or add its directory to PATH.')];
  // biome-ignore lint/suspicious/noTemplateCurlyInString: bash replaces it
  const { stdout, stderr } = await execa(bash, ['--norc', '-c', 'echo "${BASH_VERSION%%(*}"'], {
    reject: false,
    extendEnv: false,
    env: { ...environment, BASH_ENV: '' },
    timeout: 10_000,
    stdin: 'ignore',
  });
  const [major = 0, minor = 0] = stdout.split('.').map(Number);
  const version = `${stdout} (${bash})`;
  return [
    major > 4 || (major === 4 && minor >= 2)
      ? ok('bash', version)
      : warn(
          'bash',
          version,
          'Job scripts are written for bash 4.2 or later; so should that of the nodes be.',
        ),
    localeFinding(environment, stderr),
  ];
}

function localeFinding(environment: NodeJS.ProcessEnv, complaints: string): Finding {
  const title = 'Locale';
  const advice = "In your shell's start-up file: export LC_ALL=C.UTF-8";
  const effective = environment.LC_ALL || environment.LC_CTYPE || environment.LANG || 'C';
  const complaint = /setlocale: (.*)/.exec(complaints)?.[1];
  if (complaint !== undefined) return warn(title, shown(complaint, 120), advice);
  // Python takes UTF-8 where it finds one of these, see PEP 538.
  if (/^(?:C|POSIX)$/.test(effective) || /utf-?8/i.test(effective)) return ok(title, effective);
  return warn(
    title,
    `${shown(effective)} is not UTF-8: names of files and notebooks may not survive`,
    advice,
  );
}

/** What the job needs to talk to the proxy, on the compute node; here it can only be seen what this machine has. */
export async function httpToolFinding(
  environment: NodeJS.ProcessEnv,
  { here }: { readonly here: boolean },
): Promise<Finding> {
  const title = 'curl, wget, python3';
  const tools = ['curl', 'wget', 'python3'].filter((name) => commandOnPath(name, environment) !== undefined);
  if (tools.length === 0) {
    const found = 'none is here, and the job needs one to open its link';
    const advice = 'Install curl, or load a module that has one of them (-e NAME does that in the job).';
    return here ? fail(title, found, advice) : warn(title, `${found}; compute nodes may have more`, advice);
  }
  const versions = await Promise.all(tools.map((name) => toolVersion(name, environment)));
  return ok(title, versions.join(', '));
}

async function toolVersion(name: string, environment: NodeJS.ProcessEnv): Promise<string> {
  const { stdout } = await execa(commandOnPath(name, environment) ?? name, ['--version'], {
    reject: false,
    extendEnv: false,
    env: environment,
    timeout: 10_000,
    stdin: 'ignore',
  });
  const version = /\d+(?:\.\d+)+/.exec(stdout)?.[0];
  return version === undefined ? name : `${name} ${version}`;
}

/** The launcher and the job go to the Satellite past any HTTP proxy: it would become the redeeming address. */
export function httpProxyFinding(
  environment: NodeJS.ProcessEnv,
  { local }: { readonly local: boolean },
): Finding {
  const title = 'HTTP proxy';
  const set = ['http_proxy', 'https_proxy', 'all_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'].filter(
    (name) => environment[name],
  );
  if (set.length === 0) return ok(title, 'none is set');
  const exceptions = (environment.no_proxy ?? environment.NO_PROXY ?? '').split(',');
  const leavesLocalhost = exceptions.some((each) => /^\.?localhost$|^\*$/.test(each.trim()));
  if (local && !leavesLocalhost)
    return warn(
      title,
      `${set.join(', ')}: a browser of this machine would ask it for *.localhost`,
      'export no_proxy="localhost,.localhost,127.0.0.1"',
    );
  return ok(title, `${set.join(', ')} set; the launcher and the job reach the Satellite without it`);
}

/** Variables that take the protection away which certificates give. */
export function nodeVariablesFinding(environment: NodeJS.ProcessEnv): Finding {
  const title = 'Variables of Node';
  if (environment.NODE_TLS_REJECT_UNAUTHORIZED === '0')
    return fail(
      title,
      "NODE_TLS_REJECT_UNAUTHORIZED=0: the proxy's certificate is not checked",
      'unset NODE_TLS_REJECT_UNAUTHORIZED, and name a private authority with proxy.caFile.',
    );
  if (environment.NODE_EXTRA_CA_CERTS)
    return warn(
      title,
      `NODE_EXTRA_CA_CERTS=${shown(environment.NODE_EXTRA_CA_CERTS)} is known to this program only, not to the job`,
      'Name the authority with proxy.caFile in the configuration instead.',
    );
  return ok(title, 'none that matters is set');
}

export function terminalFinding(
  environment: NodeJS.ProcessEnv,
  {
    isTTY,
    columns,
    colours,
  }: { readonly isTTY: boolean; readonly columns: number; readonly colours: number },
): Finding {
  const title = 'Terminal';
  if (!isTTY) return ok(title, 'the output goes to a file or a pipe: no colours, no questions');
  const what = `${environment.TERM ?? 'unknown'}, ${columns} columns, ${colours > 1 ? 'colours' : 'no colours'}`;
  return columns < 80
    ? warn(title, what, 'Make it 80 columns wide: tables and QR codes break otherwise.')
    : ok(title, what);
}
