import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';

/** A release of each generation of Jupyter that the job script promises to work with. */
const releases = {
  'notebook-6': ['notebook==6.5.7', 'jupyter-server==1.24.0'],
  'lab-3-server-1': ['jupyterlab==3.6.8', 'jupyter-server==1.24.0', 'notebook==6.5.7', 'voila==0.4.6'],
  'lab-3-server-2': ['jupyterlab==3.6.8', 'jupyter-server==2.21.1'],
  'lab-4': ['jupyterlab==4.6.6', 'jupyter-server==2.21.1', 'voila==0.5.13'],
  'notebook-7': ['notebook==7.6.5', 'jupyter-server==2.21.1'],
} as const;

export type JupyterRelease = keyof typeof releases;

/** Installs them from PyPI, as virtual environments below the directory that are named so. */
export async function installJupyters(directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const script = path.join(import.meta.dirname, '../../lab/virtual-environments.sh');
  const input = Object.entries(releases).map(([name, requirements]) => `${name} ${requirements.join(' ')}\n`);
  await execa('bash', [script, directory], { input: input.join('') });
}
