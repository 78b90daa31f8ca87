/** From a workstation, through a real ssh, to the satellite of a server: its site, what it survives, and what the key can't do. */
import { execFile } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { testWith } from '../support/command.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { type HereLaunch, launchHere, secretsOf } from '../support/here.ts';
import { allEnded, processesWithHome } from '../support/processes.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { type SatelliteProcess, startSatelliteProcess } from '../support/satellite.ts';
import { type SshServer, sshClient, startSshServer } from '../support/sshd.ts';

const { run: testWithSshd, note } = testWith('jupyter-notebook', '/usr/sbin/sshd');

/** The account that docs/access.md gives to all workstations, and what it says of it for sshd. */
const account = 'notebooks';
const matchBlock = documentedBlock();
/** Only root can have an account more: without it the block is for the account of whoever runs the tests. */
const isRoot = process.getuid?.() === 0;

let satellite: SatelliteProcess;
let server: SshServer;
beforeAll(async () => {
  [satellite, server] = await Promise.all([
    startSatelliteProcess('--site-ports', '20000-29999'),
    startSshServer({
      settings: ['LogLevel DEBUG1'],
      ...(isRoot
        ? { account, matchBlock }
        : { matchBlock: matchBlock.replace(account, os.userInfo().username) }),
    }),
  ]);
  server.authorize();
});
afterAll(() => satellite?.stop());

function documentedBlock(): string {
  const guide = readFileSync(path.join(import.meta.dirname, '../../docs/access.md'), 'utf8');
  return /^```\n# \/etc\/ssh\/sshd_config\.d\/notebooks\.conf\n((?:.*\n)*?)```$/m.exec(guide)?.[1] ?? '';
}

const openConnections = () => server.connections.filter(({ isOpen }) => isOpen);

interface Workstation {
  readonly home: Home;
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
  /** Where its ssh and that one's settings are. */
  readonly programs: string;
}

/** A machine of its own: nothing of the server is here but its address. */
function workstation({ without = slurmPrograms, programs = clientPrograms() } = {}): Workstation {
  const site = path.join(temporaryDirectory(), 'site.yaml');
  const system = {
    title: 'Workstation',
    scheduler: 'none',
    detect: {},
    proxy: { endpoint: satellite.endpoint, caFile: satellite.caFile },
  };
  writeFileSync(site, JSON.stringify({ systems: { workstation: system }, service: 'notebook' }));
  return {
    home: freshHome(),
    path: `${programs}:${usualPrograms({ without })}`,
    env: { START_JUPYTER_SITE_CONFIG: site },
    programs,
  };
}

const clientPrograms = (options = {}) => sshClient({ '127.0.0.1': { server } }, options);
const via = () => `${server.user}@127.0.0.1:${server.port}`;
const launchArguments = (...more: string[]) => ['--system', 'workstation', '--via', via(), ...more];

/** The line that a launch asks to be pasted. */
async function lineOf(how: Workstation): Promise<string> {
  const { exitCode, stdout, stderr } = await run(launchArguments(), how);
  expect([exitCode, stdout]).toEqual([3, '']);
  const line = stderr.split('\n').find((each) => each.startsWith('restrict,'));
  expect(stderr).toContain('does not know the key of this workstation yet');
  return line ?? '';
}

async function linkOf(launch: HereLaunch): Promise<string> {
  const link = await launch.line();
  if (link === undefined) throw new Error(`it ended: ${(await launch.ended).stderr}`);
  return link.trim();
}

/** Resolves once something is so; the test's own time limit is the end of it. */
async function until(what: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await what())) await setTimeout(100);
}

const destination = () => `${server.user}@127.0.0.1`;

/** ssh with this key, as somebody could type it who has another purpose than the launcher; with an agent and a display. */
function sshWith({ programs }: Workstation, key: string) {
  const login = ['-i', key, '-o', 'ExitOnForwardFailure=yes', '-p', `${server.port}`];
  return (...words: string[]): Promise<string> =>
    promisify(execFile)('ssh-agent', [path.join(programs, 'ssh'), ...login, ...words], {
      timeout: 60_000,
      env: { ...process.env, DISPLAY: ':0' },
    }).then(
      () => 'opened',
      ({ stderr, killed }) => (killed ? 'opened' : `refused: ${stderr}`),
    );
}

const sshOf = ({ home }: Workstation) =>
  processesWithHome(home.path).find(({ commandLine }) => /^\/usr\/bin\/ssh\s/.test(commandLine))
    ?.pid as number;

describe(`from a workstation through ssh${note}`, () => {
  testWithSshd('the line to paste, the site, a lost connection, a sleep, and the end', async () => {
    const how = workstation();
    const line = await lineOf(how);
    const [options = ''] = line.split(' ssh-ed25519 ');
    expect(options).toMatch(
      /^restrict,port-forwarding,permitlisten="127\.0\.0\.1:2\d{4}",permitopen="127\.0\.0\.1:\d+",command="false"$/,
    );
    const key = path.join(how.home.path, '.config/start-jupyter/reverse_ed25519');
    expect(statSync(key).mode & 0o777).toBe(0o600);
    await expect.poll(() => satellite.tokensInUse()).toEqual([]);

    server.authorize(line);
    const launch = launchHere(launchArguments('--json'), how);
    const report = JSON.parse((await launch.line()) ?? '{}');
    expect(report).toMatchObject({ access: 'reverse', scheduler: 'none', state: 'ready' });
    const { url } = report;
    const { jupyterToken, words } = secretsOf(url);
    const api = new URL('api/sessions', url).href;
    const withToken = { authorization: `token ${jupyterToken}` };
    expect((await satellite.ask(api, withToken)).status).toBe(200);
    expect((await satellite.ask(api)).status).toBe(403);
    await expect.poll(() => satellite.tokensInUse()).toHaveLength(1);
    // Every workstation comes from the address that has redeemed it: its name alone must not be enough.
    const manage = url.replace(words, 'manage');
    const destroyed = await satellite.ask(new URL(`/destroytoken.cgi?token=${words}`, manage).href);
    expect(destroyed.body).toMatch(/^Oops! Only who knows its Jupyter token/);
    expect((await satellite.ask(api, withToken)).status).toBe(200);
    // Neither of the two tokens is anywhere that others can read.
    const running = processesWithHome(how.home.path);
    for (const secret of [jupyterToken, words])
      expect(
        running.filter(({ commandLine, environment }) => `${commandLine}${environment}`.includes(secret)),
      ).toEqual([]);
    const socket = JSON.parse(
      readFileSync(path.join(how.home.sessions, report.id, 'session.json'), 'utf8'),
    ).manageSocket;
    expect(statSync(path.dirname(socket)).mode & 0o077).toBe(0);

    // A connection that is cut: people see a page that says so and tries again, and then Jupyter, at the same name.
    server.goAway();
    await launch.says('is lost');
    const lost = await satellite.ask(api, { ...withToken, accept: 'text/html' });
    expect([502, 503]).toContain(lost.status);
    expect(lost.body).toMatch(/tries again|try again|again by itself/i);
    server.comeBack();
    await launch.says('is back; the link is the same');
    expect((await satellite.ask(api, withToken)).status).toBe(200);

    // A laptop that sleeps: nothing answers, and the server gives the connection up.
    const asleep = sshOf(how);
    process.kill(asleep, 'SIGSTOP');
    for (const connection of openConnections()) connection.drop();
    expect([502, 503]).toContain((await satellite.ask(api, withToken)).status);
    process.kill(asleep, 'SIGCONT');
    await until(async () => (await satellite.ask(api, withToken)).status === 200);
    expect(sshOf(how)).not.toBe(asleep);

    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
    await expect.poll(() => satellite.tokensInUse()).toEqual([]);
    expect((await satellite.ask(api, withToken)).status).toBe(410);
    await allEnded(how.home.path);
    expect(existsSync(path.dirname(socket))).toBe(false);
    await expect.poll(openConnections).toEqual([]);
  });

  testWithSshd(
    'a launch that is killed gives its token back through the connection, which then ends',
    async () => {
      // Without curl: python3 finds the way through the socket, too.
      const how = workstation({ without: new RegExp(`${slurmPrograms.source}|^curl$`) });
      server.authorize(await lineOf(how));
      const launch = launchHere(launchArguments('--quiet'), how);
      await linkOf(launch);
      launch.kill('SIGKILL');
      await launch.ended;
      await until(() => satellite.tokensInUse().length === 0);
      await allEnded(how.home.path);
      await until(() => openConnections().length === 0);
    },
  );

  testWithSshd(
    'a link that is kept is the same after Jupyter was killed, and is renewed meanwhile',
    async () => {
      const how = workstation();
      server.authorize(await lineOf(how));
      const kept = path.join(how.home.path, '.local/state/start-jupyter/kept/desk.json');
      const first = launchHere(launchArguments('--keep-link', 'desk', '--json'), how);
      const { url, id } = JSON.parse((await first.line()) ?? '{}');
      expect(statSync(kept).mode & 0o777).toBe(0o600);
      process.kill(
        processesWithHome(how.home.path).find(({ commandLine }) =>
          commandLine.includes('jupyter_start_config.py'),
        )?.pid as number,
        'SIGKILL',
      );
      expect((await first.ended).exitCode).toBe(6);
      expect(existsSync(path.join(how.home.sessions, id, 'secrets'))).toBe(false);
      expect([502, 503]).toContain((await satellite.ask(url)).status);

      const second = launchHere(launchArguments('--keep-link', 'desk', '--quiet'), how);
      expect(await linkOf(second)).toBe(url);
      const { jupyterToken } = secretsOf(url);
      expect(
        (await satellite.ask(new URL('api/sessions', url).href, { authorization: `token ${jupyterToken}` }))
          .status,
      ).toBe(200);

      // Somebody else's notebook, or a second one with the same key, has no place there.
      const { exitCode, stderr } = await run(launchArguments(), how);
      expect([exitCode, stderr]).toEqual([4, expect.stringMatching(/does not give port 2\d{4} to this key/)]);

      second.kill('SIGTERM');
      expect((await second.ended).exitCode).toBe(130);
      await expect.poll(() => satellite.tokensInUse()).toHaveLength(1);
    },
  );

  testWithSshd('the key opens nothing else', async () => {
    const how = workstation();
    const line = await lineOf(how);
    server.authorize(line);
    const key = path.join(how.home.path, '.config/start-jupyter/reverse_ed25519');
    const [, own = ''] = /permitlisten="127\.0\.0\.1:(\d+)"/.exec(line) ?? [];
    const another = own === '20000' ? 20001 : 20000;
    const ssh = sshWith(how, key);
    expect(await ssh(destination(), 'id')).toMatch(/^refused/);
    expect(await ssh('-s', destination(), 'sftp')).toMatch(/^refused/);
    expect(await ssh('-tt', destination())).toMatch(/PTY allocation request failed/);
    // Somebody's own port is somebody else's no place; nor is every address of the server.
    for (const place of [`127.0.0.1:${another}`, `0.0.0.0:${another}`])
      expect(await ssh('-N', '-R', `${place}:127.0.0.1:1`, destination())).toMatch(
        /remote port forwarding failed/,
      );
    expect(await ssh('-W', `127.0.0.1:${server.port}`, destination())).toMatch(/prohibited/);

    // A stranger's key, and a server that is another one, end a launch at once.
    const stranger = { ...workstation(), home: freshHome() };
    expect(await run(launchArguments(), stranger)).toMatchObject({ exitCode: 3, stdout: '' });
    const other = line.split(' ').slice(-4).join(' ');
    expect(other).not.toContain('restrict');
    const unknown = workstation({ programs: clientPrograms({ knowsKeys: false }) });
    expect(await run(launchArguments(), unknown)).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining('is not known here'),
    });
    await expect.poll(() => satellite.tokensInUse()).toHaveLength(1);
  });

  testWithSshd('the account is for nothing else, even for a key whose line allows everything', async () => {
    const how = workstation();
    const line = await lineOf(how);
    server.authorize(line.slice(line.indexOf('ssh-ed25519')));
    const key = path.join(how.home.path, '.config/start-jupyter/reverse_ed25519');
    const ssh = sshWith(how, key);
    expect(await ssh(destination(), 'id')).toMatch(/^refused/);
    expect(await ssh('-s', destination(), 'sftp')).toMatch(/^refused/);
    expect(await ssh('-tt', destination())).toMatch(/PTY allocation request failed/);
    const open = temporaryDirectory();
    chmodSync(open, 0o777);
    expect(await ssh('-R', `${open}/socket:127.0.0.1:1`, destination())).toMatch(
      /remote port forwarding failed/,
    );
    // An agent, a display, and a port for the whole network.
    expect(await ssh('-A', '-Y', '-R', '0.0.0.0:0:127.0.0.1:1', destination())).toMatch(
      /X11 forwarding request failed/,
    );
    const log = readFileSync(server.log, 'utf8');
    expect(log).toContain('session_auth_agent_req: agent forwarding disabled');
    expect(log).toContain('forwarding listening on 127.0.0.1 port');
    expect(log).not.toContain('forwarding listening on 0.0.0.0 port');

    // A server that is another one ends a launch at once.
    server.changeKey();
    expect(await run(launchArguments(), how)).toMatchObject({
      exitCode: 3,
      stderr: expect.stringContaining('is another one than before'),
    });
  });
});
