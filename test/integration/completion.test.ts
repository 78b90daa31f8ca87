/** Completion scripts, in interactive shells of their own: what a person types, a tab, and what stands there then. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { program as satellite } from '../../satellite/src/cli.ts';
import { completionScript } from '../../src/commands/completion.ts';
import { testWith } from '../support/command.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { saveSession } from '../support/sessions.ts';

const start: Readonly<Record<string, (script: string) => { shell: string; commands: string }>> = {
  bash: (script) => ({ shell: 'bash --noprofile --norc -i', commands: `PS1=; source ${script}` }),
  zsh: (script) => ({
    shell: 'zsh -f -i',
    commands: `PS1= RPS1=; autoload -Uz compinit; compinit -u -D; source ${script}`,
  }),
  fish: (script) => ({
    shell: 'fish --no-config -i',
    commands: `function fish_prompt; end; source ${script}`,
  }),
};

let home: Home;
let data: string;

beforeAll(() => {
  home = freshHome();
  saveSession(home, 'kdwxyz');
  saveSession(home, 'kdover', {
    secrets: false,
    record: { outcome: { state: 'ended', reason: 'Over.', at: '2026-11-21T22:00:00.000Z' } },
  });
  saveSession(home, 'gdover', {
    secrets: false,
    record: { outcome: { state: 'ended', reason: 'Over.', at: '2026-11-21T22:00:00.000Z' } },
  });
  data = temporaryDirectory();
  mkdirSync(path.join(data, 'somewhere'));
  writeFileSync(path.join(data, 'somefile.yml'), '');
});

describe.each(Object.keys(start))('%s', (name) => {
  const { run: testWithShell, note } = testWith(name);
  let script: string;

  beforeAll(async () => {
    script = path.join(temporaryDirectory(), `completion.${name}`);
    const { exitCode, stdout } = await run(['completion', name], {
      home,
      path: usualPrograms({ without: slurmPrograms }),
    });
    expect(exitCode).toBe(0);
    writeFileSync(script, `${stdout}\n${completionScript(name, satellite)}`);
  });

  /** What stands on the line after a tab, by running it: the command it is typed for prints its arguments. */
  async function completed(typed: string): Promise<string> {
    const { shell, commands } = start[name]?.(script) ?? { shell: '', commands: '' };
    const bin = temporaryDirectory();
    const result = path.join(bin, 'result');
    const [program = ''] = typed.split(' ');
    writeFileSync(
      path.join(bin, program),
      `#!/bin/sh\nprintf '%s|' "$@" >'${result}.new'\nmv '${result}.new' '${result}'\n`,
      {
        mode: 0o755,
      },
    );
    const terminal = execa('script', ['-qfec', shell, '/dev/null'], {
      cwd: data,
      extendEnv: false,
      env: { ...home.env, PATH: `${bin}:/usr/bin:/bin`, TERM: 'dumb' },
      reject: false,
    });
    let screen = '';
    terminal.stdout.on('data', (chunk) => {
      screen += chunk;
    });
    try {
      terminal.stdin.write(`${commands}; echo re""ady\n`);
      await expect.poll(() => screen, { timeout: 30_000 }).toMatch(/ready\r?\n/);
      terminal.stdin.write(`${typed}\t`);
      // The shell has taken the tab once it has put more on the line than was typed, or given up: Enter comes after it.
      terminal.stdin.write('\n');
      await expect
        .poll(async () => (await execa('cat', [result], { reject: false })).exitCode, { timeout: 30_000 })
        .toBe(0);
      return (await execa('cat', [result])).stdout;
    } finally {
      terminal.kill('SIGKILL');
    }
  }

  testWithShell.each([
    ['start-jupyter --partit', '--partition|'],
    ['start-jupyter --service vo', '--service|voila|'],
    ['start-jupyter sta', 'status|'],
    ['start-jupyter stop kd', 'stop|kdwxyz|'],
    ['start-jupyter status --js', 'status|--json|'],
    ['start-jupyter --config somef', '--config|somefile.yml|'],
    ['start-jupyter --dir somew', '--dir|somewhere/|'],
    ['start-jupyter completion fi', 'completion|fish|'],
    ['start-jupyter -t 5 --not', '-t|5|--notebook|'],
    ['start-jupyter logs gd', 'logs|gdover|'],
    ['start-jupyter systems in', 'systems|init|'],
    ['start-jupyter systems init in', 'systems|init|in|'],
    ['start-jupyter templates eject somew', 'templates|eject|somewhere/|'],
    ['start-jupyter --system expan', '--system|expanse|'],
    ['start-jupyter -- --partit', '--|--partit|'],
    ['satellite rep', 'report-jobs|'],
    ['satellite serve --tls self', 'serve|--tls|selfSigned|'],
    ['satellite status --config somef', 'status|--config|somefile.yml|'],
  ])(`%s, tab${note}`, async (typed, words) => {
    const result = await completed(typed);
    expect(result.replace(/\/\|/g, '|')).toBe(words.replace(/\/\|/g, '|'));
  });
});

it('is refused for a shell that it does not know', async () => {
  const ran = await run(['completion', 'tcsh'], { home, path: usualPrograms({ without: slurmPrograms }) });
  expect(ran).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringMatching(/bash, zsh, fish/) });
});
