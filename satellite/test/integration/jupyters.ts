/** Real Jupyters from PyPI, whose environments are kept between runs. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { freePort, NODE1 } from '../support.ts';

export interface Jupyter {
  readonly name: string;
  readonly from: readonly string[];
  /** Its module, and the class that its settings belong to. */
  readonly module: string;
  readonly settings: string;
}

export const jupyterLab: Jupyter = {
  name: 'JupyterLab 4',
  from: ['jupyterlab==4.6.6', 'jupyter-server==2.21.1'],
  module: 'jupyterlab',
  settings: 'ServerApp',
};

/** With documents that several people edit at once. */
export const collaborativeLab: Jupyter = {
  ...jupyterLab,
  name: 'JupyterLab 4 with jupyter-collaboration',
  from: [...jupyterLab.from, 'jupyter-collaboration==5.0.4'],
};

export const notebook6: Jupyter = {
  name: 'Notebook 6',
  from: ['notebook==6.5.7', 'jupyter-server==1.24.0'],
  module: 'notebook',
  settings: 'NotebookApp',
};

/** The Python of an environment with these. */
export async function install(from: readonly string[]): Promise<string> {
  const folder = fileURLToPath(new URL('../../../node_modules/.cache/', import.meta.url));
  const place = join(folder, from.join('-').replaceAll('==', '-'));
  if (!existsSync(place)) {
    await mkdir(dirname(place), { recursive: true });
    const made = await mkdtemp(`${place}.`);
    const script = fileURLToPath(new URL('../../../lab/virtual-environments.sh', import.meta.url));
    try {
      await execa('bash', [script, made], { input: `jupyter ${from.join(' ')}\n` });
      // It can't be moved: its programs name their Python by its whole path.
      await symlink(join(made, 'jupyter'), place);
    } catch (error) {
      await rm(made, { recursive: true });
      // Another test was faster.
      if (!existsSync(place)) throw error;
    }
  }
  return join(place, 'bin/python');
}

/** How long a Jupyter may take to end in order. */
const STOP_MS = 15_000;

/** Starts one in a folder, on a free port; gives the port, what it says, and what ends it. */
export async function startJupyter(
  { from, module, settings }: Jupyter,
  token: string,
  home: string,
  address = NODE1,
) {
  const python = await install(from);
  const port = await freePort(address);
  const child = spawn(
    python,
    [
      ...['-m', module, '--no-browser', '--allow-root', `--ip=${address}`, `--port=${port}`],
      ...[`--${settings}.allow_remote_access=True`, `--${settings}.trust_xheaders=True`],
    ],
    {
      cwd: home,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: `${dirname(python)}:/usr/bin:/bin`, HOME: home, JUPYTER_TOKEN: token },
    },
  );
  const ended = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    // Jupyter asks its kernels and its extensions, one of which may have no answer.
    const patience = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(patience);
  };
  const said: string[] = [];
  const lines = createInterface({ input: child.stderr });
  const isReady = new Promise<void>((resolve, reject) => {
    lines.on('line', (text) => {
      said.push(text);
      if (/ is running at/.test(text)) resolve();
    });
    void ended.then(() => reject(new Error(said.join('\n'))));
  });
  await isReady;
  return { port, said, stop };
}
