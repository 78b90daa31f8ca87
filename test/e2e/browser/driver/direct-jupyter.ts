import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { installPackages } from '../../../../lab/lab.ts';

/** A Jupyter that was started directly: no job, no proxy. */
export interface DirectJupyter {
  /** Unix socket on which it answers HTTP: no port that anything else could take. */
  readonly socket: string;
  /** Folder that it shows. */
  readonly root: string;
  readonly token: string;
  /** Ends it with its kernels and terminals, and removes its home. */
  stop(): Promise<void>;
}

/** Starts JupyterLab 4 from PyPI. */
export async function startJupyterLab(): Promise<DirectJupyter> {
  return start(await installJupyterLab(), 'jupyter_server_config.json', (common, token, root) => ({
    ServerApp: { ...common, root_dir: root },
    IdentityProvider: { token },
  }));
}

/** JupyterLab 4 from PyPI in a virtual environment; the path of its program. */
export function installJupyterLab(): Promise<string> {
  return installFromPyPI('jupyterlab>=4,<5', 'jupyter-lab');
}

/** Starts classic Notebook 6 from Debian's package. */
export async function startDebianNotebook(): Promise<DirectJupyter> {
  await installPackages(['jupyter-notebook'], 'the classic Notebook', console.error);
  return startNotebook('/usr/bin/jupyter-notebook');
}

/** Starts classic Notebook 6 from PyPI. */
export async function startPyPINotebook(): Promise<DirectJupyter> {
  return startNotebook(await installFromPyPI('notebook>=6,<7', 'jupyter-notebook'));
}

async function startNotebook(program: string): Promise<DirectJupyter> {
  return start(program, 'jupyter_notebook_config.json', (common, token, root) => ({
    NotebookApp: { ...common, token, notebook_dir: root },
  }));
}

/** Installs into a virtual environment that later runs use again; the path of one of its programs. */
async function installFromPyPI(requirement: string, program: string): Promise<string> {
  await installPackages(['python3-venv'], 'virtual environments', console.error);
  const uid = process.getuid?.();
  const environment = join(tmpdir(), `start-jupyter-test-${uid}-${program}`);
  await mkdir(environment, { recursive: true, mode: 0o700 });
  if ((await stat(environment)).uid !== uid)
    throw new Error(`${environment} belongs to someone else. Remove it.`);
  const mark = join(environment, 'complete');
  if (!existsSync(mark)) {
    await execa('/usr/bin/python3', ['-m', 'venv', '--clear', environment]);
    await execa(join(environment, 'bin/pip'), ['install', '--quiet', requirement]);
    await writeFile(mark, '');
  }
  return join(environment, 'bin', program);
}

type Configuration = (common: object, token: string, root: string) => object;

async function start(
  program: string,
  configFile: string,
  configuration: Configuration,
): Promise<DirectJupyter> {
  const home = await mkdtemp(join(tmpdir(), 'jupyter-'));
  const root = join(home, 'work');
  const socket = join(home, 'http.sock');
  const token = crypto.randomUUID();
  const common = { sock: socket, open_browser: false, allow_root: true, allow_remote_access: true };
  await mkdir(root);
  await mkdir(join(home, '.jupyter'));
  await writeFile(join(home, '.jupyter', configFile), JSON.stringify(configuration(common, token, root)), {
    mode: 0o600,
  });

  const jupyter = execa(program, [], {
    cwd: root,
    env: { HOME: home, PATH: '/usr/bin:/bin', LANG: 'C.UTF-8', SHELL: '/bin/bash' },
    extendEnv: false,
    stdin: 'ignore',
    stdout: 'ignore',
    reject: false,
  });
  const stop = async () => {
    jupyter.kill('SIGTERM');
    await jupyter;
    // Its shells and kernels write their histories when it has gone.
    await rm(home, { recursive: true, maxRetries: 10 });
  };
  // It listens before it prints this line.
  for await (const line of createInterface(jupyter.stderr)) {
    if (line.includes('is running at')) return { socket, root, token, stop };
  }
  const { stderr } = await jupyter;
  await rm(home, { recursive: true });
  throw new Error(`${program} ended before it listened:\n${stderr}`);
}
