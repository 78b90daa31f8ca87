import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { beforeEach, describe, expect, it } from 'vitest';
import { testWith } from '../support/command.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { ask, launchHere, secretsOf } from '../support/here.ts';
import { allEnded, filesHolding, processesWithHome } from '../support/processes.ts';
import { program, run, slurmPrograms, usualPrograms } from '../support/program.ts';
import { reportKeys } from '../support/sessions.ts';

const { run: testWithJupyter, note } = testWith('jupyter-notebook');

let home: Home;

beforeEach(() => {
  home = freshHome();
});

const workstation = () => ({ home, path: usualPrograms({ without: slurmPrograms }) });

/** A virtual environment, as far as a launch looks at it, whose jupyter-lab is a script of the test's own. */
function environmentWith(jupyterLab: string): string {
  const bin = path.join(temporaryDirectory(), 'venv', 'bin');
  mkdirSync(bin, { recursive: true });
  symlinkSync('/usr/bin/python3', path.join(bin, 'python'));
  writeFileSync(path.join(bin, 'jupyter-lab'), `#!/bin/bash\n${jupyterLab}\n`, { mode: 0o755 });
  return path.dirname(bin);
}

/** The shell's way to the configuration file that the job script wrote, in its private directory. */
const configuration = 'config=$(cut -d= -f2- <<<"$1"); here=$(dirname "$config")';

function logOf(): string {
  const [id = ''] = readdirSync(home.sessions);
  return readFileSync(path.join(home.sessions, id, 'job.log'), 'utf8');
}

/** A launch that comes to nothing: nothing runs, nothing is kept secret any more, and "status" tells the same reason. */
async function expectFailure(venv: string, reason: RegExp): Promise<void> {
  const { exitCode, stdout, stderr } = await run(['--venv', venv], workstation());
  expect({ exitCode, stdout }).toEqual({ exitCode: 6, stdout: '' });
  const [why = '', hint = ''] = stderr.trimEnd().split('\n').slice(-2);
  expect(why).toMatch(reason);
  expect(hint).toMatch(/start-jupyter logs \w+/);
  await allEnded(home.path);
  const [id = ''] = readdirSync(home.sessions);
  expect(existsSync(path.join(home.sessions, id, 'secrets'))).toBe(false);
  const status = JSON.parse((await run(['status', '--json'], workstation())).stdout);
  expect(status).toMatchObject({ state: 'failed', url: null, reason: expect.stringMatching(reason) });
  expect((await run(['logs', id], workstation())).stderr).toMatch(reason);
}

describe('a Jupyter that can not start', () => {
  it('gives its last words as the reason', async () => {
    const venv = environmentWith(
      "echo 'Traceback (most recent call last):' >&2\necho 'ModuleNotFoundError: No module named jupyterlab' >&2\nexit 1",
    );
    await expectFailure(venv, /could not be started.*ModuleNotFoundError: No module named jupyterlab/);
  });

  it('gives its status where it says nothing', async () => {
    await expectFailure(environmentWith('exit 7'), /status 7 and said nothing/);
  });

  it('gives its last words even where they are endless or not printable', async () => {
    const venv = environmentWith(
      "head -c 100000 /dev/zero | tr '\\0' x\nprintf '\\n\\033[31mred\\a\\n'\nexit 1",
    );
    const { exitCode, stderr } = await run(['--venv', venv], workstation());
    expect(exitCode).toBe(6);
    expect(stderr).toContain('red');
    expect(stderr.length).toBeLessThan(2000);
    expect(stderr.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
  });

  it('tells it with --json as one object with the keys of the SPEC', async () => {
    const { exitCode, stdout } = await run(
      ['--json', '--venv', environmentWith('echo broken; exit 1')],
      workstation(),
    );
    expect(exitCode).toBe(6);
    const report = JSON.parse(stdout);
    expect(Object.keys(report).sort()).toEqual([...reportKeys, 'reason'].sort());
    expect(report).toMatchObject({ state: 'failed', url: null, reason: expect.stringContaining('broken') });
  });

  it('because its environment has no working Python is told so', async () => {
    const venv = environmentWith('exit 1');
    const python = path.join(venv, 'bin', 'python');
    rmSync(python);
    writeFileSync(python, '#!/no/such/interpreter\n', { mode: 0o755 });
    await expectFailure(venv, /virtual environment .* is broken/);
  });

  it('because bash can not be started is told so, and leaves nothing behind', async () => {
    const broken = temporaryDirectory();
    writeFileSync(path.join(broken, 'bash'), '#!/no/such/interpreter\n', { mode: 0o755 });
    const others = usualPrograms({ without: new RegExp(`${slurmPrograms.source}|^bash$`) });
    const ran = await run(['--venv', environmentWith('exit 1')], { home, path: `${broken}:${others}` });
    expect(ran).toMatchObject({ exitCode: 6, stdout: '', stderr: expect.stringContaining('bash: ') });
    expect(readdirSync(home.sessions)).toEqual([]);
  });

  it('because it was started in a directory that is gone is told so before anything begins', async () => {
    const { exitCode, stderr } = await run(
      ['-d', '/nowhere', '--venv', environmentWith('exit 1')],
      workstation(),
    );
    expect(exitCode).toBe(2);
    expect(stderr).toContain('/nowhere');
  });
});

describe(`a Jupyter that is not as it should be${note}`, () => {
  testWithJupyter('whose port somebody else took in the meantime comes up on another', async () => {
    const venv = environmentWith(`${configuration}
port=$(sed -n 's/^port = //p' "$config")
echo "$port" >>"\${0%/*}/ports"
if [ "$(wc -l <"\${0%/*}/ports")" -eq 1 ]; then
  mkfifo "$here/listening"
  python -c 'import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
open(sys.argv[2], "w").close()
time.sleep(60)' "$port" "$here/listening" >/dev/null 2>&1 &
  read -r _ <"$here/listening"
fi
exec jupyter-notebook "$@"`);
    const launch = launchHere(['--json', '--venv', venv], workstation());
    const report = JSON.parse((await launch.line()) ?? '{}');
    expect(report).toMatchObject({ state: 'ready' });
    const ports = readFileSync(path.join(venv, 'bin', 'ports'), 'utf8')
      .trim()
      .split('\n');
    expect(new Set(ports).size).toBe(2);
    expect((await ask(report.url, '/api/sessions')).status).toBe(403);
    expect((await ask(report.url, `/api/sessions?token=${secretsOf(report.url).jupyterToken}`)).status).toBe(
      200,
    );
    expect(logOf()).toMatch(new RegExp(`Port ${ports[0]} was taken`));
    launch.kill('SIGINT');
    expect((await launch.ended).exitCode).toBe(130);
  });

  testWithJupyter('that prints its token has it taken out of the log', async () => {
    const venv = environmentWith(`${configuration}
echo "token: $(cat "$here/jupyter-token") twice $(cat "$here/jupyter-token")"
echo "http://127.0.0.1/?token=$(cat "$here/jupyter-token")" >&2
exec jupyter-notebook "$@"`);
    const launch = launchHere(['--quiet', '--venv', venv], workstation());
    const link = (await launch.line()) ?? '';
    const { jupyterToken } = secretsOf(link);
    await expect.poll(logOf).toContain('token: ... twice ...');
    expect(logOf()).not.toContain(jupyterToken);
    launch.kill('SIGINT');
    await launch.ended;
    expect(filesHolding([home.path], [jupyterToken])).toEqual([]);
  });

  testWithJupyter('that lets anybody in is never opened', async () => {
    const venv = environmentWith(`${configuration}
echo "c.NotebookApp.token = ''; c.NotebookApp.password = ''" >>"$config"
exec jupyter-notebook "$@"`);
    await expectFailure(venv, /lets anybody in without a token.*Nothing was opened/);
    expect(logOf()).not.toContain('The site is open');
  });

  testWithJupyter("that is somebody else's on our port is not taken for ours", async () => {
    const venv = environmentWith(`${configuration}
echo started >>"\${0%/*}/starts"
if [ "$(wc -l <"\${0%/*}/starts")" -eq 1 ]; then
  # A foreign process in a session of its own answers on the port with a Jupyter of its own; ours never comes up.
  mkdir "$here/foreign"
  cp "$config" "$here/foreign/"; cp "$here/jupyter-token" "$here"/site-* "$here/foreign/"
  JUPYTER_RUNTIME_DIR=$here/foreign setsid --fork jupyter-notebook --config="$here/foreign/\${config##*/}" >/dev/null 2>&1
  port=$(sed -n 's/^port = //p' "$config")
  until curl -s -o /dev/null "http://127.0.0.1:$port/api"; do :; done
fi
exec jupyter-notebook "$@"`);
    const launch = launchHere(['--json', '--venv', venv], workstation());
    const report = JSON.parse((await launch.line()) ?? '{}');
    expect(report).toMatchObject({ state: 'ready' });
    expect(readFileSync(path.join(venv, 'bin', 'starts'), 'utf8')).toBe('started\nstarted\n');
    launch.kill('SIGINT');
    await launch.ended;
    for (const { pid } of processesWithHome(home.path)) process.kill(pid, 'SIGKILL');
  });
});

describe('a program for requests that never returns', () => {
  it('is ended, with what it has started, and so is the session', async () => {
    const venv = environmentWith(`exec python -c '
import http.server, sys

class Jupyter(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path.endswith("/api") else 403)
        self.end_headers()

config = dict(line.split(" = ", 1) for line in open(sys.argv[1].split("=")[1]).read().splitlines()[:2])
http.server.HTTPServer(("127.0.0.1", int(config["port"])), Jupyter).serve_forever()' "$1"`);
    const place = temporaryDirectory();
    const program = (name: string, text: string) =>
      writeFileSync(path.join(place, name), `#!/bin/bash\n${text}\n`, { mode: 0o755 });
    program('curl', "trap '' TERM INT HUP; /usr/bin/sleep 1000; /usr/bin/sleep 1000");
    // Time passes a hundred times as fast for the job script, which gives each request some seconds.
    program('sleep', 'exec /usr/bin/sleep "$1e-2"');
    const { path: usual } = workstation();
    const launch = launchHere(['--venv', venv], { home, path: `${place}:${usual}` });
    const { exitCode, stderr } = await launch.ended;
    expect(exitCode).toBe(6);
    expect(stderr).toMatch(/The proxy .* can't be reached from .*: curl did not end within 20 seconds\./);
    await allEnded(home.path);
    const [id = ''] = readdirSync(home.sessions);
    expect(existsSync(path.join(home.sessions, id, 'secrets'))).toBe(false);
  });
});

// Mounts need root; in a mount namespace of their own nothing of them stays.
describe.runIf(process.getuid?.() === 0)('a home', () => {
  /** The program in a namespace of its own, after shell commands that do something to $HOME there. */
  const inNamespace = (prepare: string, ...args: string[]) =>
    execa('unshare', ['--mount', 'sh', '-c', `${prepare} && exec "$0" "$@"`, program, ...args], {
      extendEnv: false,
      reject: false,
      env: { ...home.env, PATH: workstation().path },
    });

  it('that is read-only is told so, with exit code 3', async () => {
    const { exitCode, stdout, stderr } = await inNamespace(
      'mount -t tmpfs -o ro none "$HOME"',
      '--here',
      '--venv',
      environmentWith(''),
    );
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' });
    expect(stderr).toMatch(/home directory can't be written.*read-only/);
  });

  it('that is full is told so, with exit code 3', async () => {
    const full =
      'mount -t tmpfs -o size=64k none "$HOME" && { dd if=/dev/zero of="$HOME/full" bs=4k 2>/dev/null || true; }';
    const { exitCode, stdout, stderr } = await inNamespace(full, '--here', '--venv', environmentWith(''));
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' });
    expect(stderr).toMatch(/home directory can't be written.*no space left/);
    expect(stderr.trimEnd().split('\n').length).toBeLessThanOrEqual(2);
  });

  it('that has no room for a session is told so', async () => {
    const full = 'mount -t tmpfs -o size=1m,nr_inodes=4 none "$HOME"';
    const { exitCode, stderr } = await inNamespace(full, '--here', '--venv', environmentWith(''));
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(/home directory can't be written/);
  });
});
