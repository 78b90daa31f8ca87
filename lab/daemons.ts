import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { LabError, lastLines } from './errors.ts';
import { enter, holder } from './hosts.ts';
import { daemonDirectory, domain, type NodeName, nodeNames, stateDirectory } from './paths.ts';
import { isAlive, type ProcessRecord, readRecord, record, signal, until, writeRecord } from './processes.ts';

/** What the lab has on demand, beside what it always has. */
export const partNames = ['sge', 'other'] as const;
export type PartName = (typeof partNames)[number];

/** Is there once a part has come up for the first time. */
export const partFile = (part: PartName): string => join(stateDirectory, `complete-${part}`);
const hasPart = (part: PartName): boolean => existsSync(partFile(part));

interface Daemon {
  node: NodeName;
  /** The part that it belongs to; undefined: always there. */
  part?: PartName;
  /** Runs in the foreground and logs to stderr. */
  argv: string[] | (() => string[]);
  /** A command on its node that succeeds once the daemon answers. */
  probe: string[];
}

const as = (user: string, ...options: string[]): string[] => {
  return [
    'setpriv',
    `--reuid=${user}`,
    `--regid=${user}`,
    '--init-groups',
    '--no-new-privs',
    ...options,
    '--',
  ];
};
const lowPorts = [
  '--inh-caps=-all,+net_bind_service',
  '--ambient-caps=-all,+net_bind_service',
  '--bounding-set=-all,+net_bind_service',
];
const satellite = '/opt/start-jupyter/bin/satellite';
const management = `https://manage.${domain}/`;

const caOption = ['--ca-file', '/etc/start-jupyter/ca.pem'];

const munge = (node: NodeName): Daemon => ({
  node,
  argv: [...as('munge'), 'munged', '--foreground'],
  probe: ['munge', '--no-input'],
});
const slurmd = (node: NodeName): Daemon => ({
  node,
  argv: ['slurmd', '-D', '-N', node],
  probe: [
    'bash',
    '-c',
    `sinfo --noheader --nodes=${node} --format=%t | grep --quiet --line-regexp -E 'idle|mix|alloc|comp'`,
  ],
});

// SGE_ND keeps them in the foreground, see sge_qmaster(8).
const gridEngine = (daemon: string): string[] => [
  'env',
  'SGE_ROOT=/var/lib/gridengine',
  'SGE_CELL=default',
  'SGE_ND=1',
  daemon,
];
const execd = (node: NodeName): Daemon => ({
  node,
  part: 'sge',
  argv: gridEngine('sge_execd'),
  // A host that has reported no load yet shows dashes instead.
  probe: ['bash', '-c', `qhost -h ${node} | grep --quiet '^${node} .*lx-.* [0-9.]*[0-9] '`],
});

const otherCluster = '/etc/slurm/slurm-other.conf';

const table = {
  dnsmasq: {
    node: 'login',
    argv: [
      ...['dnsmasq', '--keep-in-foreground', '--log-facility=-', '--conf-file=/dev/null', '--pid-file='],
      ...['--listen-address=10.21.0.1', '--bind-interfaces', `--address=/${domain}/10.21.0.1`],
      '--resolv-file=/etc/resolv.upstream.conf',
    ],
    probe: ['getent', 'hosts', `some-site-name.${domain}`],
  },
  'munged-login': munge('login'),
  'munged-c1': munge('c1'),
  'munged-c2': munge('c2'),
  mariadbd: {
    node: 'login',
    argv: [
      ...['mariadbd', '--no-defaults', '--user=mysql', '--datadir=/var/lib/mysql', '--skip-networking'],
      ...['--socket=/run/mysqld/mysqld.sock', '--pid-file=/run/mysqld/mysqld.pid'],
      // What slurmdbd asks for.
      '--innodb-lock-wait-timeout=900',
    ],
    probe: ['mariadb-admin', '--no-defaults', '--socket=/run/mysqld/mysqld.sock', 'ping'],
  },
  slurmdbd: {
    node: 'login',
    argv: [...as('slurm'), 'slurmdbd', '-D'],
    probe: ['sacctmgr', '--noheader', 'show', 'cluster'],
  },
  slurmctld: { node: 'login', argv: [...as('slurm'), 'slurmctld', '-D'], probe: ['scontrol', 'ping'] },
  'slurmd-c1': slurmd('c1'),
  'slurmd-c2': slurmd('c2'),
  satellite: {
    node: 'login',
    argv: [...as('satellite', ...lowPorts), satellite, 'serve', '--config', '/etc/satellite/satellite.yaml'],
    probe: ['curl', '--silent', '--show-error', '--output', '/dev/null', management],
  },
  'report-jobs': {
    node: 'login',
    argv: () => [
      ...as('satellite'),
      ...[satellite, 'report-jobs', '--to', management, ...caOption],
      // One for all of them: each would take the others' jobs for gone.
      ...['--scheduler', 'slurm', ...(hasPart('sge') ? ['sge'] : [])],
    ],
    probe: ['true'],
  },
  sge_qmaster: {
    node: 'login',
    part: 'sge',
    argv: gridEngine('sge_qmaster'),
    probe: ['qconf', '-sh'],
  },
  'slurmctld-other': {
    node: 'login',
    part: 'other',
    argv: [...as('slurm'), 'slurmctld', '-D', '-f', otherCluster],
    probe: ['env', `SLURM_CONF=${otherCluster}`, 'scontrol', 'ping'],
  },
  'slurmd-other': {
    node: 'c1',
    part: 'other',
    argv: ['slurmd', '-D', '-f', otherCluster, '-N', 'o1'],
    // Known to the accounting by then: that is where --clusters looks.
    probe: [
      'bash',
      '-c',
      'sinfo --clusters=other --noheader --nodes=o1 --format=%t | grep --quiet --line-regexp idle',
    ],
  },
  'sge_execd-c1': execd('c1'),
  'sge_execd-c2': execd('c2'),
} satisfies Record<string, Daemon>;

/** The lab's daemons. */
export type DaemonName = keyof typeof table;

/** Those that the lab always has, and those of the parts that it was given. */
export function wantedDaemons(): DaemonName[] {
  return (Object.entries(table) as [DaemonName, Daemon][])
    .filter(([, { part }]) => part === undefined || hasPart(part))
    .map(([name]) => name);
}

const startTimeout = 30_000;

/** Whether the daemon's process is there. */
export function isRunning(name: DaemonName): boolean {
  return running(name) !== undefined;
}

function running(name: DaemonName): ProcessRecord | undefined {
  const known = readRecord(join(daemonDirectory, `${name}.json`));
  return known && isAlive(known) ? known : undefined;
}

/** Where a daemon's output goes, as a path of the machine. */
function daemonLog(name: DaemonName): string {
  return join(daemonDirectory, `${name}.log`);
}

/** Starts a daemon unless it runs, and waits until it answers. Throws with its last words when it doesn't. */
export async function startDaemon(name: DaemonName): Promise<void> {
  if (isRunning(name)) return;
  const daemon: Daemon = table[name];
  mkdirSync(daemonDirectory, { recursive: true });
  // What an earlier one said would only confuse whoever looks for this one's last words.
  const log = openSync(daemonLog(name), 'w', 0o600);
  const argv = typeof daemon.argv === 'function' ? daemon.argv() : daemon.argv;
  const [command = '', ...args] = enter(daemon.node, argv);
  const env = { PATH: '/usr/sbin:/usr/bin', HOME: '/', LANG: 'C.UTF-8' };
  const child = spawn(command, args, { detached: true, stdio: ['ignore', log, log], cwd: '/', env });
  closeSync(log);
  if (child.pid === undefined) throw new LabError(`could not run ${command}: it is not installed.`);
  child.unref();
  const process = record(child.pid);
  writeRecord(join(daemonDirectory, `${name}.json`), process);
  const [probe = '', ...probeArgs] = enter(daemon.node, daemon.probe);
  const answers = await until(async () => {
    if (!isAlive(process)) return true;
    const answer = await execa(probe, probeArgs, {
      env,
      extendEnv: false,
      reject: false,
      stdin: 'ignore',
      timeout: 5000,
    });
    return answer.exitCode === 0;
  }, startTimeout);
  if (!isAlive(process) || !answers) {
    const what = isAlive(process)
      ? `does not answer after ${startTimeout / 1000} s`
      : 'ended right after its start';
    throw new LabError(
      `${name} ${what}. Its last lines:\n${lastLines(readFileSync(daemonLog(name), 'utf8'))}\nAll of them are in ${daemonLog(name)}`,
    );
  }
}

/**
 * Ends a daemon and waits until it is gone. By default in good order; SIGKILL is a crash, and takes along what it had
 * not saved yet (slurmctld: jobs of the last five seconds).
 */
export async function killDaemon(name: DaemonName, how: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  const process = running(name);
  if (!process) return;
  signal(process, how);
  if (!(await until(() => !isAlive(process), 30_000))) {
    throw new LabError(`${name} (process ${process.pid}) does not end on ${how}.`);
  }
}

/** Whether every node and every daemon that is wanted is up. */
export function isComplete(): boolean {
  return nodeNames.every((node) => holder(node)) && wantedDaemons().every(isRunning);
}
