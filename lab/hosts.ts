import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { LabError, lastLines } from './errors.ts';
import {
  address,
  checkout,
  type NodeName,
  nodeAddresses,
  nodeNames,
  rootDirectory,
  stateDirectory,
} from './paths.ts';
import {
  isAlive,
  type ProcessRecord,
  processesUnder,
  readRecord,
  record,
  signal,
  until,
  writeRecord,
} from './processes.ts';

const bridge = 'sjlab0';
const computeNodes = nodeNames.filter((name) => name !== 'login');

function holderFile(node: NodeName): string {
  return join(stateDirectory, 'nodes', `${node}.json`);
}

/** The process that keeps a node's namespaces alive; undefined when the node is down. */
export function holder(node: NodeName): ProcessRecord | undefined {
  const known = readRecord(holderFile(node));
  return known && isAlive(known) ? known : undefined;
}

/** The command that runs another one, as root, as a process of a node. It becomes that command: signals reach it. */
export function enter(node: NodeName, argv: string[]): string[] {
  const target = holder(node);
  if (!target) throw new LabError(`the lab's ${node} is not up. Type "npm run lab -- up" first.`);
  return ['nsenter', `--target=${target.pid}`, '--mount', '--uts', '--net', '--', ...argv];
}

/** Makes the lab's machines: namespaces with a view of the files of their own, connected by a bridge. */
export async function startHosts(): Promise<void> {
  mkdirSync(join(stateDirectory, 'nodes'), { recursive: true });
  await makeBridge();
  const script = join(checkout, 'lab/mounts.sh');
  await hold('login', [
    'unshare',
    '--mount',
    '--uts',
    '--',
    'bash',
    script,
    'login',
    rootDirectory,
    checkout,
  ]);
  for (const node of computeNodes) {
    const start = [
      'unshare',
      '--mount',
      '--uts',
      '--net',
      '--',
      'bash',
      '/opt/start-jupyter/lab/mounts.sh',
      node,
    ];
    await hold(node, enter('login', start));
    await connect(node);
  }
}

/** Starts a node's holder and waits until it says that the node's files are in place. */
async function hold(node: NodeName, [command = '', ...args]: string[]): Promise<void> {
  const child = spawn(command, args, { detached: true, stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' });
  const problem = await ready(child);
  if (problem !== undefined || child.pid === undefined) {
    throw new LabError(
      `could not make the namespaces of ${node}:\n${lastLines(problem ?? '')}\n` +
        'The lab needs root with all its rights (CAP_SYS_ADMIN): most containers do not give them.',
    );
  }
  child.unref();
  writeRecord(holderFile(node), record(child.pid));
}

/** Resolves to undefined when the child prints "ready", to what it said otherwise when it ends without. */
function ready(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    let said = '';
    child.stderr?.on('data', (chunk) => {
      said += chunk;
    });
    child.once('error', (error) => resolve(error.message));
    child.once('close', () => resolve(said));
    if (!child.stdout) throw new Error('the holder was started without a pipe');
    createInterface(child.stdout).on('line', (line) => {
      if (line !== 'ready') return;
      child.removeAllListeners('close');
      child.stdout?.destroy();
      child.stderr?.destroy();
      resolve(undefined);
    });
  });
}

async function makeBridge(): Promise<void> {
  const { stdout } = await execa('ip', ['-o', '-4', 'addr', 'show', 'to', '10.21.0.0/16']);
  if (stdout.trim() !== '') {
    throw new LabError(
      `this machine already has an address in 10.21.0.0/16, which the lab needs for itself:\n${lastLines(stdout)}`,
    );
  }
  await ip('link', 'add', bridge, 'type', 'bridge');
  await ip('addr', 'add', `${address}/16`, 'dev', bridge);
  await ip('link', 'set', bridge, 'up');
}

async function connect(node: NodeName): Promise<void> {
  const outside = `sjlab-${node}`;
  const target = holder(node);
  if (!target)
    throw new LabError(`the namespaces of ${node} went away while they were being connected. Try again.`);
  await ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(target.pid));
  await ip('link', 'set', outside, 'master', bridge, 'up');
  await inNode(node, 'ip', 'addr', 'add', `${nodeAddresses[node]}/16`, 'dev', 'eth0');
  await inNode(node, 'ip', 'link', 'set', 'lo', 'up');
  await inNode(node, 'ip', 'link', 'set', 'eth0', 'up');
}

async function ip(...args: string[]): Promise<void> {
  const result = await execa('ip', args, { reject: false });
  if (result.exitCode !== 0)
    throw new LabError(`could not make the lab's network ("ip ${args.join(' ')}"): ${result.stderr}`);
}

async function inNode(node: NodeName, ...argv: string[]): Promise<void> {
  const [command = '', ...args] = enter(node, argv);
  await execa(command, args);
}

/** Ends every process that lives in the lab's namespaces, with which these go, and removes the network. */
export async function stopHosts(): Promise<void> {
  const left = (): ProcessRecord[] => processesUnder(rootDirectory);
  const gone = await until(() => {
    for (const process of left()) signal(process, 'SIGKILL');
    return left().length === 0;
  }, 10_000);
  if (!gone) {
    const pids = left().map((process) => process.pid);
    throw new LabError(
      `processes of the lab can't be ended: ${pids.join(' ')}. See what they wait for with "ps -o pid,stat,wchan,args -p ${pids.join(',')}".`,
    );
  }
  await execa('ip', ['link', 'delete', bridge], { reject: false });
}
