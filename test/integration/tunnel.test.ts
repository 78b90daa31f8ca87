/** What `tunnel` makes of logins and ends that are out of order: real OpenSSH, with a stand-in for start-jupyter at the other end. */
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../src/free-port.ts';
import { testWith } from '../support/command.ts';
import { temporaryDirectory } from '../support/directories.ts';
import { ask, launchHere, runtimeDirectories } from '../support/here.ts';
import { allEnded } from '../support/processes.ts';
import { run, runInto } from '../support/program.ts';
import { laptop } from '../support/ssh-cluster.ts';
import { type ServerSettings, sshClient, startSshServer } from '../support/sshd.ts';

const { run: testWithSsh, note } = testWith('/usr/sbin/sshd');
const addresses = Object.values(os.networkInterfaces()).flatMap((some) => some ?? []);
const testWithIpv6 = addresses.some(({ address }) => address === '::1') ? testWithSsh : test.skip;

/** What someone's start-up files say to every login: also something like an answer, and a line without an end. */
const noise = `echo 'Welcome.'; echo '{"id":"zzzzzz","state":"failed","url":null,"reason":"noise"}'; printf 'Mail: 3 '`;

/** A login that runs these words before the command that it was asked for. */
const firstRuns = (words: string): ServerSettings => ({
  settings: [`ForceCommand ${words}; eval "$SSH_ORIGINAL_COMMAND"`],
});

interface FarEnd {
  /** As --remote-command takes it. */
  readonly program: string;
  /** How it was called so far. */
  calls(): string[];
}

/**
 * A start-jupyter whose session abcdef is ready at once and runs in the foreground until it is stopped, as one without a
 * scheduler does.
 */
async function farEnd(): Promise<FarEnd> {
  const jupyter = http
    .createServer((_, response) => response.end('{"version":"2.0.0"}'))
    .listen(0, '127.0.0.1');
  await once(jupyter, 'listening');
  onTestFinished(() => {
    jupyter.closeAllConnections();
    jupyter.close();
  });
  const { port } = jupyter.address() as net.AddressInfo;
  const directory = temporaryDirectory();
  const file = (name: string) => path.join(directory, name);
  const report = {
    ...{ id: 'abcdef', state: 'ready', url: 'http://localhost:17360/?token=t0ken' },
    jupyter: { address: '127.0.0.1', port, node: 'n1', reachedFrom: 'login' },
  };
  writeFileSync(file('report'), `${JSON.stringify(report)}\n`);
  writeFileSync(
    file('start-jupyter'),
    `#!/bin/sh
echo "$*" >>'${file('calls')}'
case $1 in
  stop) : >'${file('over')}' ;;
  status) cat '${file('report')}' ;;
  *)
    echo 'Session abcdef begins on this machine.' >&2
    cat '${file('report')}'
    tenths=0
    while [ ! -e '${file('over')}' ] && [ $((tenths += 1)) -lt 600 ]; do sleep 0.1; done
    ;;
esac
`,
  );
  chmodSync(file('start-jupyter'), 0o755);
  onTestFinished(() => writeFileSync(file('over'), ''));
  return {
    program: file('start-jupyter'),
    calls: () => (existsSync(file('calls')) ? readFileSync(file('calls'), 'utf8').trim().split('\n') : []),
  };
}

/** Somebody's machine that knows one login, and a session that is there. */
async function tunnelTo(settings: ServerSettings, clientSettings: readonly string[] = []) {
  const server = await startSshServer(settings);
  const there = await farEnd();
  const machine = laptop(sshClient({ login: { server } }, { settings: clientSettings }));
  const words = ['tunnel', 'login', '--no-open', '--remote-command', there.program];
  return { server, there, machine, words };
}

const answersAt = async (link: string) => expect((await ask(link, '/api')).status).toBe(200);

describe(`tunnel and a login that is out of order${note}`, () => {
  testWithSsh('what start-up files print is no answer', async () => {
    const { there, machine, words } = await tunnelTo(firstRuns(noise));
    const launch = launchHere(words, machine);
    await answersAt((await launch.line())?.trim() ?? '');
    launch.kill('SIGINT');
    expect(await launch.ended).toMatchObject({ exitCode: 130 });
    expect(there.calls()).toEqual(['--access ssh --json', 'stop abcdef']);
    await allEnded(machine.home.path);
  });

  testWithSsh('one that ends before anything is run is told so', async () => {
    const { machine, words } = await tunnelTo(firstRuns('echo "Only for mail."; exit 3'));
    expect(await run(words, machine)).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining(
        'The shell at login ended before it had run start-jupyter (Only for mail.).',
      ),
    });
  });

  testWithSsh('a port that is taken is looked for before the launch, and again after it', async () => {
    const directory = temporaryDirectory();
    const { server, there, machine, words } = await tunnelTo(
      firstRuns(`until [ -e '${directory}/go' ]; do sleep 0.05; done`),
    );
    const port = await freePort();
    const launch = launchHere([...words, '--port', String(port)], machine);
    await expect.poll(() => server.connections.length).toBe(1);
    await launch.says('Starting Jupyter at login');
    const taken = net.createServer().listen(port, '127.0.0.1');
    await once(taken, 'listening');
    onTestFinished(() => void taken.close());
    writeFileSync(path.join(directory, 'go'), '');
    const late = await launch.ended;
    expect(late.exitCode).toBe(2);
    expect(late.stderr).toContain(`--port: ${port} is taken on this machine, so the session was ended.`);
    expect(there.calls()).toEqual(['--access ssh --json', 'stop abcdef']);

    expect(await run([...words, '--port', String(port)], machine)).toMatchObject({
      exitCode: 2,
      stderr: `start-jupyter: --port: ${port} is taken on this machine.\n  Name another one, or leave it out.\n`,
    });
    expect(server.connections).toHaveLength(1);
  });

  testWithSsh('a program that is no start-jupyter is told what it did', async () => {
    const { machine } = await tunnelTo({});
    const directory = temporaryDirectory();
    const told = (name: string, script: string, what: string) => {
      const program = path.join(directory, name);
      writeFileSync(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      const words = ['tunnel', 'login', '--no-open', '--remote-command', program];
      return expect(run(words, machine)).resolves.toMatchObject({
        exitCode: 4,
        stdout: '',
        stderr: expect.stringContaining(`What runs at login as start-jupyter ${what}.\n`),
      });
    };
    await Promise.all([
      told('line', String.raw`exec tr '\0' a </dev/zero`, 'prints without end'),
      told('lines', 'exec yes >&2', 'prints without end'),
      told('false', 'exit 1', 'was no launch: it ended with status 1 and said nothing'),
    ]);
  });

  testWithSsh(
    'Ctrl-C before anything is known of the session says what may be there, and no more',
    async () => {
      const { machine, server } = await tunnelTo({});
      const directory = temporaryDirectory();
      const program = path.join(directory, 'start-jupyter');
      writeFileSync(
        program,
        `#!/bin/sh
echo begun >&2
tenths=0
while [ ! -e '${directory}/over' ] && [ $((tenths += 1)) -lt 600 ]; do sleep 0.1; done
`,
        { mode: 0o755 },
      );
      onTestFinished(() => writeFileSync(path.join(directory, 'over'), ''));
      const launch = launchHere(['tunnel', 'login', '--no-open', '--remote-command', program], machine);
      await launch.says('login: begun');
      launch.kill('SIGINT');
      await launch.says('Ending what was begun at login');
      for (const connection of server.connections) connection.drop();
      const { exitCode, stderr } = await launch.ended;
      expect(exitCode).toBe(130);
      expect(stderr).toContain('Interrupted; a session may have begun at login all the same.');
      expect(stderr).not.toContain('nothing was left');
    },
  );

  testWithIpv6('a host that is to be reached with IPv6 only has its tunnel there', async () => {
    const { there, machine, words } = await tunnelTo({ address: '::1' }, ['AddressFamily inet6']);
    const taken = net.createServer().listen(0, '::1');
    await once(taken, 'listening');
    onTestFinished(() => void taken.close());
    const { port } = taken.address() as net.AddressInfo;
    expect(await run([...words, '--port', String(port)], machine)).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining(`--port: ${port} is taken on this machine.`),
    });
    expect(there.calls()).toEqual([]);

    const launch = launchHere([...words, '--json'], machine);
    const { url, localPort } = JSON.parse((await launch.line()) ?? '{}');
    expect(url).toBe(`http://[::1]:${localPort}/?token=t0ken`);
    expect((await fetch(url)).status).toBe(200);
    launch.kill('SIGTERM');
    expect(await launch.ended).toMatchObject({ exitCode: 130 });
  });
});

describe(`a tunnel that ends${note}`, () => {
  testWithSsh.for([[], ['--json'], ['--keep']])('as its link can not be written: %j', async (options) => {
    const { there, machine, words } = await tunnelTo({});
    const { exitCode, stderr } = await runInto('/dev/full', [...words, ...options], machine);
    expect(stderr).toContain(
      "The link can't be written (no space left on device), so the session was ended.",
    );
    expect(exitCode).toBe(6);
    expect(there.calls()).toContain('stop abcdef');
    await allEnded(machine.home.path);
  });

  testWithSsh('says that the session goes on where it could not be ended', async () => {
    const { server, there, machine, words } = await tunnelTo({});
    const launch = launchHere([...words, '--json'], machine);
    await launch.line();
    server.changeKey();
    for (const connection of server.connections) connection.drop();
    const { exitCode, stderr } = await launch.ended;
    expect(exitCode).toBe(4);
    expect(stderr).toMatch(/host key of login is not the one .* nothing was sent/);
    expect(stderr).toContain(
      `The session abcdef goes on at login. End it yourself: ssh login ${there.program} stop abcdef`,
    );
  });

  testWithSsh('with kill -9 leaves neither ssh nor a session; with --keep the session', async () => {
    const ended = await tunnelTo(firstRuns(noise));
    const kept = await tunnelTo({});
    const launches = [
      launchHere(ended.words, ended.machine),
      launchHere([...kept.words, '--keep'], kept.machine),
    ];
    await Promise.all(launches.map((launch) => launch.line()));
    const directories = [ended, kept].flatMap(({ machine }) => runtimeDirectories(machine.home.path));
    expect(directories).toHaveLength(2);
    for (const launch of launches) launch.kill('SIGKILL');
    await Promise.all([ended, kept].map(({ machine }) => allEnded(machine.home.path)));
    // What is left at the other end does it, and is no process of this machine's.
    await expect.poll(() => ended.there.calls()).toContain('stop abcdef');
    expect(kept.there.calls()).toEqual(['--access ssh --json']);
    expect(directories.filter((directory) => existsSync(directory))).toEqual([]);
    await expect
      .poll(() => [ended, kept].flatMap(({ server }) => server.connections.filter(({ isOpen }) => isOpen)))
      .toEqual([]);
  });
});
