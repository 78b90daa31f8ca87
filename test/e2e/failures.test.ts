/** Jupyter that can't start ends the job, and launcher, log and page give the same true reason. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { labExec, up } from '../../lab/lab.ts';
import {
  fetchSite,
  type LaunchReport,
  launch,
  pageText,
  secretsIn,
  sessionStatus,
  startJupyter,
  stopAll,
} from './support/launcher.ts';
import { filesWith } from './support/secrets.ts';

beforeAll(() => up());
afterAll(() => stopAll('alice', 'carol'));

/** Launches with `--wait`, expects exit code 6, and holds launcher, status, log and page against one another. */
async function expectFailure(
  args: string[],
  reason: RegExp,
  user = 'alice',
  { logged = true } = {},
): Promise<LaunchReport> {
  const dashes = args.indexOf('--');
  const own = dashes === -1 ? args : args.slice(0, dashes);
  const result = await startJupyter(
    [...own, '--wait', '--json', ...(dashes === -1 ? [] : args.slice(dashes))],
    { user },
  );
  expect(result.stderr).toMatch(reason);
  expect(result.exitCode).toBe(6);
  const report = JSON.parse(result.stdout) as LaunchReport;
  expect(report.state).toBe('failed');
  expect(report.reason).toMatch(reason);
  if (logged) {
    const logs = await labExec(['start-jupyter', 'logs', report.id], { user });
    expect(logs.stdout).toMatch(reason);
  }
  return report;
}

/** A launch without `--wait`, for its page: the link is given out before the job fails. */
async function expectOnPage(args: string[], reason: RegExp, user = 'alice'): Promise<void> {
  const session = await launch(args, { user });
  await expect.poll(() => pageText(session.url), { timeout: 60_000 }).toMatch(reason);
  expect((await sessionStatus(session.id, { user })).state).toBe('failed');
  const { jupyterToken } = secretsIn(session.url);
  expect(await filesWith([jupyterToken])).toEqual([]);
}

const cases: { name: string; args: string[]; reason: RegExp }[] = [
  {
    name: 'a module that does not exist',
    args: ['-e', 'no-such-module'],
    reason: /The module "no-such-module" could not be loaded on c[12]: .*no-such-module/,
  },
  {
    name: 'a Jupyter whose interpreter is gone',
    args: ['--lab', '-e', 'brokenenv'],
    reason:
      /brokenenv\/bin\/jupyter-lab is broken on c[12]: its Python, \/opt\/brokenenv\/bin\/python3, does not exist/,
  },
  {
    name: 'JupyterLab where there is only Notebook',
    args: ['--lab'],
    reason: /jupyter-lab was not found on c[12]\. Name an environment that has it/,
  },
];

describe.each(cases)('$name', ({ args, reason }) => {
  test('fails with the same reason in launcher, log and page', async () => {
    await expectFailure(args, reason);
    await expectOnPage(args, reason);
  });
});

test('a virtual environment whose Python is gone', async () => {
  await labExec([
    'bash',
    '-c',
    'mkdir -p venv/bin && ln -sfn /opt/gone/python3 venv/bin/python && printf "#!/opt/gone/python3\\n" >venv/bin/jupyter-lab && chmod +x venv/bin/jupyter-lab',
  ]);
  // The login node sees at once that nothing is there to run.
  const refused = await startJupyter(['--venv', 'venv']);
  expect(refused.exitCode).toBe(2);

  // A Python that is there but can't run is found out by the job.
  await labExec([
    'bash',
    '-c',
    'rm venv/bin/python && printf "#!/bin/sh\\necho python: cannot execute on this CPU >&2\\nexit 126\\n" >venv/bin/python && chmod +x venv/bin/python',
  ]);
  const reason =
    /virtual environment \/home\/alice\/venv is broken on c[12]: its Python does not run \(.*cannot execute on this CPU\)/;
  await expectFailure(['--venv', 'venv'], reason);
  await expectOnPage(['--venv', 'venv'], reason);
});

test('a port that is taken between choice and bind: Jupyter comes up on another', async () => {
  // A Jupyter in front of the real one takes its port on the first start, as a faster neighbour would.
  const neighbour = `#!/bin/bash
config=\${1#--config=}
if [[ ! -e $HOME/neighbour.pid ]]; then
  /opt/jupyterlab/bin/python - "$config" <<'END' &
import re, socket, sys
text = open(sys.argv[1]).read()
address, port = re.search('address = "(.*)"', text)[1], int(re.search('port = (.*)', text)[1])
listener = socket.create_server((address, port))
open("/home/alice/neighbour.ready", "w").write(str(port))
while True:
    listener.accept()
END
  echo $! >$HOME/neighbour.pid
  until [[ -s $HOME/neighbour.ready ]]; do sleep 0.05; done
fi
exec /opt/jupyterlab/bin/jupyter-lab "$@"
`;
  await labExec(
    [
      'bash',
      '-c',
      'rm -rf taken neighbour.*; mkdir -p taken/bin; ln -s /opt/jupyterlab/bin/python taken/bin/python; cat >taken/bin/jupyter-lab; chmod +x taken/bin/jupyter-lab',
    ],
    { input: neighbour },
  );
  const session = await launch(['--lab', '--venv', 'taken', '--wait']);
  expect(session.state).toBe('ready');
  const { stdout } = await labExec(['start-jupyter', 'logs', session.id]);
  const taken = (await labExec(['cat', 'neighbour.ready'])).stdout;
  expect(stdout).toMatch(new RegExp(`Port ${taken} was taken by somebody else`));
  expect(stdout).not.toMatch(new RegExp(`Jupyter answers on .*, port ${taken}\\.`));
  await labExec(['start-jupyter', 'stop', session.id]);
  await labExec(['bash', '-c', 'kill $(cat neighbour.pid)'], {
    node: /on (c[12])$/m.exec(stdout)?.[1] as 'c1' | 'c2',
  });
});

test('a configuration of the user that would move Jupyter elsewhere does not', async () => {
  const own = `c.ServerApp.base_url = "/elsewhere/"
c.ServerApp.certfile = "/nowhere.pem"
c.ServerApp.sock = "/tmp/nowhere.sock"
c.ServerApp.port = 8888
c.ServerApp.token = ""
c.IdentityProvider.token = ""
c.ServerApp.allow_origin = "*"
c.ServerApp.disable_check_xsrf = True
`;
  const files = ['config', 'server_config', 'lab_config'].map((name) => `.jupyter/jupyter_${name}.py`);
  await labExec(['bash', '-c', 'mkdir -p .jupyter && tee "$@" >/dev/null', 'bash', ...files], { input: own });
  try {
    const session = await launch(['--lab', '-e', 'jupyterlab', '--wait']);
    expect(session.state).toBe('ready');
    const { origin } = new URL(session.url);
    expect((await fetchSite(`${origin}/api/sessions`, { accept: 'application/json' })).status).toBe(403);
    await labExec(['start-jupyter', 'stop', session.id]);
  } finally {
    await labExec(['rm', '-r', '.jupyter']);
  }
});

describe('a home directory', () => {
  const root = (...argv: string[]) => labExec(argv, { user: 'root' });
  const fill = () =>
    labExec(['bash', '-c', 'dd if=/dev/zero of=filler bs=64k 2>/dev/null; true'], { user: 'carol' });
  const heal = async () => {
    await root('mount', '-o', 'remount,rw', '/home/carol');
    await root('rm', '-f', '/home/carol/filler');
  };
  afterEach(heal);

  test('that is full is refused on the login node', async () => {
    await fill();
    const result = await startJupyter(['--notebook'], { user: 'carol' });
    expect(result.exitCode).toBe(3);
    expect(result.stderr).toMatch(/home directory can't be written.*no space left on device/i);
    expect(result.stdout).toBe('');
  });

  test('that is read-only is refused on the login node', async () => {
    await root('mount', '-o', 'remount,ro', '/home/carol');
    const result = await startJupyter(['--notebook'], { user: 'carol' });
    expect(result.exitCode).toBe(3);
    expect(result.stderr).toMatch(/home directory can't be written.*read-only/i);
  });

  test('that fills while the job waits: job, page and launcher say so', async () => {
    const session = await launch(['--notebook', '--', '--begin=now+3'], { user: 'carol' });
    await fill();
    const reason = /home directory can't be written on c[12]: No space left on device/i;
    await expect.poll(() => pageText(session.url), { timeout: 60_000 }).toMatch(reason);
    await heal();
    const status = await sessionStatus(session.id, { user: 'carol' });
    expect(status.state).toBe('failed');
    expect(status.reason).toMatch(reason);
  });

  test('that turns read-only while the job waits: page and launcher say so', async () => {
    const session = await launch(['--notebook', '--', '--begin=now+3'], { user: 'carol' });
    await root('mount', '-o', 'remount,ro', '/home/carol');
    await expect.poll(() => pageText(session.url), { timeout: 60_000 }).toMatch(/did not start|failed/i);
    await heal();
    const status = await sessionStatus(session.id, { user: 'carol' });
    expect(status.state).toBe('failed');
    const page = await pageText(session.url);
    expect(page).toContain(status.reason);
  });
});
