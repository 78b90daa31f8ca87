import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { buildExecutable } from '../../scripts/package.ts';
import { range, scratch } from '../bench.ts';
import type { Report } from '../report.ts';
import { compareTimes } from './times.ts';

const root = path.join(import.meta.dirname, '../..');
const program = path.join(root, 'bin/start-jupyter');
/** The one with which a checkout runs the programs. */
const node = path.join(root, 'node_modules/node/bin/node');

/** How long the programs take to start, beside a Node.js that does nothing; and what they read. */
export async function benchStart(rounds: number, report: Report): Promise<void> {
  const home = path.join(scratch(), 'home');
  mkdirSync(home);
  const executable = path.join(scratch(), 'start-jupyter');
  await buildExecutable(executable);
  const dryRun = ['--dry-run', '--system', 'expanse', '--account', 'abc123'];
  const commands: Record<string, readonly [string, ...string[]]> = {
    'node -e 0': [node, '-e', '0'],
    'start-jupyter --version': [program, '--version'],
    'the executable, --version': [executable, '--version'],
    'start-jupyter --help': [program, '--help'],
    'start-jupyter --dry-run': [program, ...dryRun],
    'the executable, --dry-run': [executable, ...dryRun],
  };
  const times = inTurns(rounds, Object.values(commands), home);
  const turns = new Map(Object.keys(commands).map((name, i) => [name, times[i] as number[]]));
  const both = ['start-jupyter --version', 'the executable, --version'];
  compareTimes('a start', turns, both, report);
  const files = filesRead([program, '--version'], home);
  if (files === undefined) {
    report.say('strace is not installed: what files are read was not counted');
    return;
  }
  report.add('files that --version reads beside those of Node.js', files.length, '');
  report.add(
    'files that --dry-run reads beside those of Node.js',
    filesRead([program, ...dryRun], home)?.length ?? Number.NaN,
    '',
  );
}

/** Milliseconds of each run; all of them one after the other, forwards and backwards. */
function inTurns(
  rounds: number,
  commands: readonly (readonly [string, ...string[]])[],
  home: string,
): number[][] {
  const times = commands.map((): number[] => []);
  for (const round of range(rounds + 1)) {
    const order = [...commands.keys()];
    for (const i of round % 2 === 0 ? order : order.reverse()) {
      const [file, ...args] = commands[i] as readonly [string, ...string[]];
      const started = performance.now();
      const { status, stderr } = spawnSync(file, args, {
        env: { HOME: home, PATH: '/usr/bin:/bin' },
        cwd: home,
        stdio: ['ignore', 'ignore', 'pipe'],
        encoding: 'utf8',
      });
      if (status !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${status}: ${stderr}`);
      // The first round brings files into memory.
      if (round > 0) times[i]?.push(performance.now() - started);
    }
  }
  return times;
}

/** Paths of this installation, or of home, that are opened successfully; undefined without strace. */
function filesRead(command: readonly string[], home: string): string[] | undefined {
  if (!existsSync('/usr/bin/strace')) {
    return undefined;
  }
  const log = path.join(scratch(), 'strace');
  execFileSync(
    'strace',
    ['-f', '-e', 'trace=openat,open', '-e', 'status=successful', '-o', log, ...command],
    {
      env: { HOME: home, PATH: '/usr/bin:/bin' },
      cwd: home,
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  const opened = [...readFileSync(log, 'utf8').matchAll(/open(?:at)?\([^"]*"([^"]+)"/g)].map(
    ([, file = '']) => file,
  );
  const ours = [realpathSync(root), home];
  return [...new Set(opened)].filter(
    (file) => ours.some((directory) => file.startsWith(`${directory}/`)) && file !== realpathSync(node),
  );
}
