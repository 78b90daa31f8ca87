import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { Command, Option } from 'commander';
import {
  down,
  type LabCommand,
  LabError,
  labCommand,
  type NodeName,
  type PartName,
  partNames,
  status,
  up,
} from './lab.ts';

const say = (line: string): void => {
  process.stderr.write(`lab: ${line}\n`);
};

/** Runs a command with this terminal and this exit code. */
function attach({ file, args, env }: LabCommand): Promise<number> {
  // Ctrl-C reaches the command from the terminal itself; what others send to this process is passed on.
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { env, stdio: 'inherit', cwd: '/' });
    for (const name of signals) {
      process.on(name, () => {
        if (name !== 'SIGINT' || !process.stdin.isTTY) child.kill(name);
      });
    }
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}

const program = new Command('lab').description(
  'A whole cluster on this machine: login host, two compute nodes, Slurm, Satellite.',
);

program
  .command('up')
  .description('bring the lab up, installing what it needs')
  .addOption(
    new Option(
      '--with <part...>',
      'and what is there only on demand: sge (Grid Engine), other (a second Slurm cluster)',
    ).choices(partNames),
  )
  .action(({ with: parts }: { with?: PartName[] }) => up({ say, parts: parts ?? [] }));

program
  .command('down')
  .description('end it and remove all of it, except for Debian packages')
  .action(async () => {
    await down({ say });
    say('the lab is gone. Debian packages that it installed are still there.');
  });

program
  .command('status')
  .description('say what is running; exit code 1 when the lab is not up')
  .action(() => {
    const { up: isUp, nodes, daemons } = status();
    say(isUp ? 'up' : 'not up, or not completely: "npm run lab -- up" mends that');
    const lines = Object.entries({ ...nodes, ...daemons }).map(
      ([name, alive]) => `${name.padEnd(14)}${alive ? 'up' : 'down'}\n`,
    );
    process.stdout.write(lines.join(''));
    process.exitCode = isUp ? 0 : 1;
  });

program
  .command('exec')
  .description('run a command as a user on a node, with the environment of a login shell')
  .addOption(new Option('--user <name>', 'alice, bob, carol or root').default('alice'))
  .addOption(new Option('--node <name>').choices(['login', 'c1', 'c2']).default('login'))
  .argument('<command...>')
  .action(async (argv: string[], { user, node }: { user: string; node: NodeName }) => {
    process.exitCode = await attach(labCommand(argv, { user, node }));
  });

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof LabError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
