import { execFileSync } from 'node:child_process';
import os from 'node:os';
import { describe, expect, it } from 'vitest';
import { type TunnelPlan, tunnelCommand, tunnelPlan } from '../../src/access/ssh.ts';
import { remoteProgram, remoteWord } from '../../src/tunnel/remote-word.ts';
import { sshProblem } from '../../src/tunnel/ssh-problem.ts';
import { hasProgram } from '../support/command.ts';
import { plainLaunch } from '../support/launch-spec.ts';

const jupyter = { address: '10.21.0.11', port: 24310, node: 'c1' };
const plan: TunnelPlan = {
  user: 'ada',
  login: 'login.example.edu',
  jump: null,
  throughNode: false,
  localPort: 17360,
};
const command = (changes: Partial<TunnelPlan>) => tunnelCommand({ ...plan, ...changes }, jupyter);
const start =
  'ssh -N -o ExitOnForwardFailure=yes -o ServerAliveInterval=30 -L 127.0.0.1:17360:10.21.0.11:24310';

describe('the command of a tunnel', () => {
  it.each([
    ['a login node that is reached directly', {}, 'ada@login.example.edu'],
    ['another port', { login: 'login.example.edu:2222' }, '-p 2222 ada@login.example.edu'],
    ['a jump host', { jump: 'ada@gate:22' }, '-J ada@gate:22 ada@login.example.edu'],
    ['nobody whose name a shell might misread', { user: null }, 'login.example.edu'],
    [
      'a compute node that takes ssh',
      { throughNode: true },
      '-J ada@login.example.edu -o HostKeyAlias=c1.login.example.edu ada@c1',
    ],
    [
      'one behind two hosts',
      { throughNode: true, jump: 'gate', login: 'login:2222' },
      '-J gate,ada@login:2222 -o HostKeyAlias=c1.login ada@c1',
    ],
  ] as const)('%s', (_, changes, end) => {
    expect(command(changes)).toBe(`${start} ${end}`);
  });

  it('has nothing in it that bash, zsh, fish, PowerShell or cmd would read otherwise', () => {
    expect(command({ throughNode: true, jump: 'me@gate:22' })).toMatch(/^[\w .,:=@-]+$/);
  });
});

describe('the plan of a tunnel', () => {
  const system = (ssh: object) => ({ ...plainLaunch.system, ssh });
  const planned = (ssh: object, environment: NodeJS.ProcessEnv = {}, inUse: number[] = []) =>
    tunnelPlan({ here: false, system: system(ssh) }, new Set(inUse), environment);

  it('takes the hosts that the system names', () => {
    expect(planned({ login: 'l.example.edu', jump: 'g', computeNodes: true })).toMatchObject({
      login: 'l.example.edu',
      jump: 'g',
      throughNode: true,
      user: os.userInfo().username,
    });
  });

  it('finds the login node out where nobody names it', () => {
    expect(planned({}).login).toBe(os.hostname());
    const connection = { SSH_CONNECTION: '192.0.2.9 50000 192.0.2.1 2222' };
    expect(planned({}, connection).login).toBe(
      os.hostname().includes('.') ? os.hostname() : '192.0.2.1:2222',
    );
    expect(planned({}, { SSH_CONNECTION: '2001:db8::9 1 2001:db8::1 22' }).login).toBe(os.hostname());
    expect(planned({}, { ...connection, SLURM_SUBMIT_HOST: 'login2' }).login).toBe('login2');
  });

  it('has the same port for the same login, and another for each session at once', () => {
    const { localPort } = planned({ login: 'a' });
    expect(planned({ login: 'a' }).localPort).toBe(localPort);
    expect(localPort).toBeGreaterThanOrEqual(10_240);
    const ports: number[] = [];
    for (let session = 0; session < 16; session++) ports.push(planned({ login: 'a' }, {}, ports).localPort);
    expect(new Set(ports).size).toBe(16);
    expect(Math.max(...ports)).toBe(localPort + 15);
  });
});

describe('a word for the shell at the other end', () => {
  const texts = [
    '',
    'plain-1.0/x',
    "it's",
    '$(id) `id` $HOME ~ ~root',
    '"a" \\ \\\\ \\n \\',
    '!! !$ a!b',
    '* ? [a] {b,c} <in >out |pipe & ; # (x)',
    '=ls ^a^b %1 -rf --x=y',
    'Grüße 日本 🙂',
    'tab\there',
  ];
  const shells = ['sh', 'bash', 'dash', 'zsh', 'fish', 'tcsh'].filter(hasProgram);

  it.each(shells)('is read by %s as it was meant', (shell) => {
    const line = ['printf', "'%s|'", ...texts.map(remoteWord)].join(' ');
    const printed = execFileSync(shell, ['-c', line], {
      encoding: 'utf8',
      env: { HOME: '/h', PATH: '/usr/bin:/bin', LANG: 'C.UTF-8' },
    });
    expect(printed).toBe(`${texts.join('|')}|`);
  });

  it('can hold no line break', () => {
    for (const text of ['a\nb', 'a\r', '\0']) expect(() => remoteWord(text)).toThrow(/line break/);
  });

  it('leaves the home directory to the account there', () => {
    expect(remoteProgram('~/my bin/start-jupyter')).toBe('~/my\\ bin/start-jupyter');
    expect(remoteProgram('~root/x')).toBe('\\~root/x');
  });
});

describe('what ssh complains of', () => {
  it.each([
    ['ada@l: Permission denied (publickey,keyboard-interactive).', /does not let you in/, true],
    [
      '@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.',
      /is not the one/,
      true,
    ],
    [
      'No ED25519 host key is known for l.\nHost key verification failed.',
      /is not known here, and nobody/,
      true,
    ],
    ['ssh: Could not resolve hostname l: Name or service not known', /name of l is not known/, false],
    ['ssh: connect to host l port 22: Connection refused', /Nobody takes ssh connections/, false],
    ['ssh: connect to host l port 22: Connection timed out', /does not answer/, false],
    ['something new \u001b[31m', /failed: something new/, false],
    ['', /The connection to l failed\./, false],
  ])('%j', (said, message, final) => {
    const problem = sshProblem('l', said);
    expect(problem.message).toMatch(message);
    expect(problem.message).not.toMatch(/\p{Cc}/u);
    expect(problem).toMatchObject({ final, exitCode: 4 });
  });
});
