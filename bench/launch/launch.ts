import { globSync, readFileSync, rmSync } from 'node:fs';
import { address, domain, labExec, labPath } from '../../lab/lab.ts';
import { fetchSite, stopAll } from '../../test/e2e/support/launcher.ts';
import type { Report } from '../report.ts';
import { compareTimes } from './times.ts';

const here = '/opt/start-jupyter/bench/launch';
const byHand = `${here}/by-hand.sh ${domain} /etc/start-jupyter/ca.pem`;

/**
 * A launch in the lab, by an ordinary user, until its link is printed: start-jupyter beside a shell script of the same
 * steps, one after the other; beside the same script with those at the same time that can be; and beside one that doesn't
 * ask Jupyter where its user's configuration is. The first two also with an account, for which they ask the accounting and
 * start-jupyter the controller. The jobs are held, so that none runs beside what is measured.
 */
export async function benchLaunch(rounds: number, report: Report): Promise<void> {
  await stopAll('alice');
  await bothWork();
  const commands = {
    'start-jupyter': 'start-jupyter --quiet -- --hold',
    'by hand': `${byHand} -- --hold`,
    'by hand, overlapping': `${byHand} -o -- --hold`,
    'by hand without Jupyter': `${byHand} -n -- --hold`,
    'start-jupyter with an account': 'start-jupyter --quiet --account demo -- --hold',
    'by hand with an account': `${byHand} -A demo -- --hold`,
    'by hand with an account, overlapping': `${byHand} -o -A demo -- --hold`,
  };
  try {
    const ran = await labExec(['bash', `${here}/rounds.sh`, String(rounds), ...Object.values(commands)]);
    const runs = ran.stdout.split('\n').map((line) => line.split(' ').map(Number) as [number, number]);
    const turns = Object.keys(commands).map((name, i): [string, number[]] => {
      const times = runs.filter(([place]) => place === i).map(([, time]) => time / 1000);
      if (times.length !== rounds) throw new Error(`${name} has run ${times.length} times: ${ran.stderr}`);
      return [name, times];
    });
    const compare = (what: string, [ours, ...others]: readonly [number, ...number[]]): void => {
      const compared = [ours, ...others].map((i) => turns[i] as (typeof turns)[number]);
      compareTimes(what, new Map(compared), [compared[0]?.[0] as string], report);
    };
    compare('a launch', [0, 1, 2, 3]);
    compare('a launch for an account', [4, 5, 6]);
    await countCalls(report);
  } finally {
    await cleanUp();
  }
}

/** What is compared is a launch: behind both links there must be a Jupyter. */
async function bothWork(): Promise<void> {
  for (const command of ['start-jupyter --quiet', byHand]) {
    const { stdout: link } = await labExec(command.split(' '));
    const deadline = performance.now() + 60_000;
    let text = '';
    while (!text.includes('Jupyter') || text.includes('satellite/events')) {
      if (performance.now() > deadline)
        throw new Error(`behind ${link} there is no Jupyter: ${text.slice(0, 500)}`);
      ({ text } = await fetchSite(new URL('/login', link).href));
    }
  }
  await cleanUp();
}

async function cleanUp(): Promise<void> {
  await stopAll('alice');
  await labExec(['scancel', '--user=alice']);
}

/** What one launch asks of the machine, by strace. */
async function countCalls(report: Report): Promise<void> {
  const log = 'launch.strace';
  const traced = [
    'execve',
    'openat',
    'open',
    'stat',
    'newfstatat',
    'statx',
    'access',
    'faccessat2',
    'readlink',
    'connect',
  ];
  // A file for each thread: in one of all, calls that overlap are torn apart.
  const strace = ['strace', '-ff', '-e', `trace=${traced.join(',')}`, '-o', log];
  const ran = await labExec([...strace, 'start-jupyter', '--quiet', '--', '--hold'], { reject: false });
  if (ran.exitCode !== 0) {
    console.error(`The calls of a launch were not counted: ${ran.stderr}`);
    return;
  }
  const files = globSync(labPath(`/home/alice/${log}.*`));
  const calls = files.flatMap((file) => readFileSync(file, 'utf8').split('\n'));
  for (const file of files) rmSync(file);
  const below = (directory: string, pattern: RegExp) =>
    calls.filter((call) => pattern.test(call) && call.includes(`"${directory}`) && !call.includes('execve('))
      .length;
  const count = (pattern: RegExp) => calls.filter((call) => pattern.test(call)).length;
  report.add('programs that a launch starts, itself included', count(/execve\(.* = 0$/), '');
  report.add('connections to the proxy', count(new RegExp(`connect\\(.*htons\\(443\\).*${address}`)), '');
  for (const [what, directory] of [
    ['the installation', '/opt/start-jupyter/'],
    ['home', '/home/alice/'],
  ] as const) {
    report.add(`files opened in ${what}`, below(directory, /open(?:at)?\(.* = \d+$/), '');
    report.add(
      `other looks at paths in ${what}`,
      below(directory, /(?:stat|statx|newfstatat|access|readlink)\(/),
      '',
    );
  }
}
