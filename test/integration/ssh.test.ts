/** `--access ssh` and `tunnel`, from end to end: the built launcher, real OpenSSH on both ends, a real Jupyter. */
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { hasProgram, testWith } from '../support/command.ts';
import { temporaryDirectory } from '../support/directories.ts';
import { ask, type HereLaunch, launchHere } from '../support/here.ts';
import { allEnded, listeningAddresses, processesWithHome } from '../support/processes.ts';
import { run } from '../support/program.ts';
import { reportKeys } from '../support/sessions.ts';
import { cluster, laptop, nodeAddress } from '../support/ssh-cluster.ts';
import { sshClient, startSshServer } from '../support/sshd.ts';

const jupyter = testWith('jupyter-notebook');
const { run: testWithSsh, note } = hasProgram('/usr/sbin/sshd') ? jupyter : testWith('/usr/sbin/sshd');

const tokenOf = (url: string) => new URL(url).searchParams.get('token') ?? '';

/** Whether a person with the link gets in, and one without it doesn't. */
async function expectJupyterAt(url: string): Promise<void> {
  const { origin } = new URL(url);
  expect((await ask(url, `/api/sessions?token=${tokenOf(url)}`)).status).toBe(200);
  expect((await ask(origin, '/api/sessions')).status).toBe(403);
}

/** Whoever has a port on this machine's loopback. */
async function takePort(port: number): Promise<net.Server> {
  const server = net.createServer((socket) => socket.destroy()).listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function untilLinked(launch: HereLaunch): Promise<string> {
  return (await launch.line())?.trim() ?? '';
}

describe(`--access ssh${note}`, () => {
  testWithSsh('prints a command and a link that work together; --wait notices when they do', async () => {
    const server = await startSshServer({ settings: [`PermitOpen ${nodeAddress}:*`] });
    const { home, call, expectNothingLeft, login } = cluster({ ssh: { login: 'login.cluster.test' } });
    const launch = launchHere(['--access', 'ssh', '--wait'], login);
    const url = await untilLinked(launch);
    const report = JSON.parse((await call('status', '--json')).stdout);
    expect(Object.keys(report).sort()).toEqual([...reportKeys, 'jupyter', 'tunnel'].sort());
    const { port: local } = new URL(url);
    const { port } = report.jupyter;
    const user = os.userInfo().username;
    expect(report).toMatchObject({
      access: 'ssh',
      state: 'ready',
      url,
      jupyter: { address: nodeAddress, port, node: os.hostname(), reachedFrom: 'login' },
      tunnel: `ssh -N -o ExitOnForwardFailure=yes -o ServerAliveInterval=30 -L 127.0.0.1:${local}:${nodeAddress}:${port} ${user}@login.cluster.test`,
    });
    await launch.says(report.tunnel);

    // On the node itself: nothing but that address, and nobody without the token.
    expect(new Set(listeningAddresses(processesWithHome(home.path)))).toEqual(new Set([nodeAddress]));
    expect((await fetch(`http://${nodeAddress}:${port}/api/contents`)).status).toBe(403);
    const address = path.join(home.sessions, report.id, 'secrets', 'address');
    expect(statSync(address).mode & 0o777).toBe(0o600);

    // A port that is taken at the other end makes the command end at once, and say why.
    const client = laptop(sshClient({ 'login.cluster.test': { server } }));
    const paste = (shell = 'sh') =>
      execa(shell, ['-c', report.tunnel], { env: { PATH: client.path }, reject: false, all: true });
    const other = await takePort(Number(local));
    expect(await paste()).toMatchObject({
      exitCode: 255,
      all: expect.stringContaining('Address already in use'),
    });
    other.close();

    const tunnel = paste('bash');
    onTestFinished(() => void tunnel.kill());
    await vi.waitFor(() => expectJupyterAt(url), { timeout: 60_000, interval: 100 });
    await launch.says('The tunnel works.');
    expect(await launch.ended).toMatchObject({ exitCode: 0 });

    const processes = processesWithHome(home.path).map((each) => each.commandLine + each.environment);
    expect(processes.filter((text) => text.includes(tokenOf(url)))).toEqual([]);
    expect(readFileSync(report.log, 'utf8')).not.toContain(tokenOf(url));
    expect((await call('url')).stderr).toBe(`${report.tunnel}\n`);
    expect((await call('stop', report.id)).exitCode).toBe(0);
    expect(existsSync(address)).toBe(false);
    await expectNothingLeft(tokenOf(url));
    tunnel.kill();
    await tunnel;
  });
});

describe(`tunnel${note}`, () => {
  testWithSsh('does all of it, comes back after a dropped connection, and Ctrl-C ends the job', async () => {
    const server = await startSshServer();
    const { home, program: there, pbs, expectNothingLeft } = cluster({});
    const odd = path.join(home.path, `it's a "dir" $(x) \\ !! ~ é`);
    mkdirSync(odd);
    const machine = laptop(sshClient({ 'me@login': { server }, login: { server } }));
    const launch = launchHere(
      ['tunnel', 'login', '--remote-command', there, '-d', odd, '--env', 'A=*;?&|<>', '-A', 'abc123'],
      machine,
    );
    const url = await untilLinked(launch);
    await expectJupyterAt(url);
    expect(pbs.state.jobs()).toMatchObject([{ account: 'abc123', state: 'R' }]);
    const [id] = readdirSync(home.sessions);
    const record = JSON.parse(readFileSync(path.join(home.sessions, id as string, 'session.json'), 'utf8'));
    expect(record.directory).toBe(odd);
    expect(readFileSync(path.join(home.sessions, id as string, 'job.sh'), 'utf8')).toContain("'A=*;?&|<>'");
    // One login carries everything.
    expect(server.connections).toHaveLength(1);

    server.goAway();
    await launch.says('Trying again');
    server.comeBack();
    await launch.says('Connected again');
    await expectJupyterAt(url);
    const commandLines = processesWithHome(machine.home.path).map(({ commandLine }) => commandLine);
    expect(commandLines.filter((line) => line.includes(tokenOf(url)))).toEqual([]);

    // As a terminal does it: to everything in the foreground. No second login is needed to end the job.
    const logins = server.connections.length;
    for (const { pid } of processesWithHome(machine.home.path)) process.kill(pid, 'SIGINT');
    expect(await launch.ended).toMatchObject({
      exitCode: 130,
      stderr: expect.stringContaining('Interrupted; nothing was left running.'),
    });
    expect(server.connections).toHaveLength(logins);
    await expectNothingLeft(tokenOf(url));
    await allEnded(machine.home.path);
  });

  testWithSsh('where connections can not be shared, as on Windows, has one for each purpose', async () => {
    const server = await startSshServer();
    const { program: there, expectNothingLeft } = cluster({});
    const settings = [
      'ControlMaster auto',
      'ControlPersist yes',
      `ControlPath ${temporaryDirectory()}/shared`,
    ];
    const asWindows = pathToFileURL(path.join(import.meta.dirname, '../support/as-windows.mjs')).href;
    const launch = launchHere(['tunnel', 'login', '--no-open', '--remote-command', there], {
      ...laptop(sshClient({ login: { server } }, { settings })),
      env: { NODE_OPTIONS: `--import=${asWindows}`, TEMP: temporaryDirectory() },
    });
    const url = await untilLinked(launch);
    await expectJupyterAt(url);
    expect(server.connections).toHaveLength(2);

    server.connections.at(-1)?.drop();
    await launch.says('Connected again');
    await expectJupyterAt(url);

    launch.kill('SIGINT');
    expect(await launch.ended).toMatchObject({
      exitCode: 130,
      stderr: expect.stringContaining('Interrupted; nothing was left running.'),
    });
    await expectNothingLeft(tokenOf(url));
  });

  testWithSsh(
    'goes on to compute nodes that take ssh, through a jump host; two clusters at once',
    async () => {
      const jump = await startSshServer({ settings: ['PermitOpen 127.0.0.1:*'] });
      const login = await startSshServer();
      const node = await startSshServer({ settings: ['PermitOpen 127.0.0.1:*'] });
      const client = sshClient({
        gate: { server: jump },
        login: { server: login },
        [os.hostname()]: { server: node, alias: `${os.hostname()}.127.0.0.1` },
      });
      const through = cluster({ ssh: { computeNodes: true } });
      const direct = cluster({});
      const machine = laptop(client);
      const first = launchHere(
        ['tunnel', 'login', '--jump', 'gate', '--remote-command', through.program, '--json'],
        machine,
      );
      const second = launchHere(
        ['tunnel', 'login', '--keep', '--remote-command', direct.program],
        laptop(client),
      );
      const { url } = JSON.parse(await untilLinked(first));
      const otherUrl = await untilLinked(second);
      expect(new URL(url).port).not.toBe(new URL(otherUrl).port);
      await expectJupyterAt(url);
      await expectJupyterAt(otherUrl);
      expect(node.connections).toHaveLength(1);
      expect(jump.connections).toHaveLength(1);
      expect(new Set(listeningAddresses(processesWithHome(through.home.path)))).toEqual(
        new Set(['127.0.0.1']),
      );

      // The node's connection alone breaks: the login is not asked for again.
      const logins = login.connections.length;
      node.connections.at(-1)?.drop();
      await vi.waitFor(() => expectJupyterAt(url), { timeout: 60_000, interval: 200 });
      expect(login.connections).toHaveLength(logins);

      // Somebody ends the session there: the tunnel has nothing to lead to any more.
      expect((await through.call('stop', '--all')).exitCode).toBe(0);
      expect(await first.ended).toMatchObject({
        exitCode: 0,
        stderr: expect.stringContaining('Stopped with'),
      });
      second.kill('SIGINT');
      expect((await second.ended).stderr).toContain('goes on');
      expect(JSON.parse((await direct.call('list', '--json')).stdout)).toMatchObject([{ state: 'ready' }]);
      await direct.call('stop', '--all');
      await direct.expectNothingLeft(tokenOf(otherUrl));
      await through.expectNothingLeft(tokenOf(url));
    },
  );
});

describe(`tunnel: what goes wrong${note}`, () => {
  const runTest = hasProgram('/usr/sbin/sshd') || process.env.START_JUPYTER_TEST_COMPLETE ? test : test.skip;

  runTest('is said in words: keys, permissions, hosts, programs', async () => {
    const server = await startSshServer();
    const stranger = await startSshServer({ settings: ['AuthorizedKeysFile /nowhere'] });
    const hosts = { login: { server }, stranger: { server: stranger } };
    const machine = laptop(sshClient(hosts));
    const tunnel = (...args: string[]) => run(['tunnel', ...args], machine);

    expect(await tunnel('stranger')).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining('stranger does not let you in (permission denied).'),
    });
    expect(await tunnel('login')).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/There is no start-jupyter at login .*\n.*--remote-command PATH/),
    });
    expect(await tunnel('no-such-host.invalid')).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining('The name of no-such-host.invalid is not known here.'),
    });
    const unknowing = laptop(sshClient(hosts, { knowsKeys: false }));
    expect(await run(['tunnel', 'login'], unknowing)).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining('The host key of login is not known here'),
    });
    const before = server.connections.length;
    server.changeKey();
    expect(await tunnel('login')).toMatchObject({
      exitCode: 4,
      stderr: expect.stringMatching(/host key of login is not the one .* nothing was sent/),
    });
    expect(server.connections).toHaveLength(before + 1);
    expect(await tunnel('-oProxyCommand=touch x', '-t', '5')).toMatchObject({ exitCode: 2 });
    expect(await tunnel('login', '--jump', '-x')).toMatchObject({ exitCode: 2 });
    await allEnded(machine.home.path);
  });

  testWithSsh(
    'a login node that forbids tunnels is named, and the session does not stay behind',
    async () => {
      const server = await startSshServer({ settings: ['AllowTcpForwarding no'] });
      const { program: there, call, home } = cluster({});
      const machine = laptop(sshClient({ login: { server } }));
      const { exitCode, stderr, stdout } = await run(['tunnel', 'login', '--remote-command', there], machine);
      expect({ exitCode, stdout, stderr }).toMatchObject({
        exitCode: 4,
        stdout: '',
        stderr: expect.stringContaining('login does not allow tunnels (TCP forwarding is turned off there).'),
      });
      expect(JSON.parse((await call('list', '--all', '--json')).stdout)).toMatchObject([{ state: 'ended' }]);
      await allEnded(home.path);
      await allEnded(machine.home.path);
    },
  );

  runTest('start-jupyter there has its own words and exit code', async () => {
    const server = await startSshServer();
    const { program: there, home } = cluster({ requireAccount: true, title: 'Test' });
    const machine = laptop(sshClient({ login: { server } }));
    const { exitCode, stderr } = await run(['tunnel', 'login', '--remote-command', there], machine);
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('At login: Test charges every job to an account, and none is named.'),
    });
    expect(existsSync(home.sessions)).toBe(false);
    await allEnded(machine.home.path);
  });
});
