import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Home } from './directories.ts';

/** A user's own configuration that would open any generation of Jupyter to everybody on the network. */
export function writeOpenConfiguration(home: Home): void {
  const directory = path.join(home.path, '.jupyter');
  mkdirSync(directory);
  const open = ['ServerApp', 'NotebookApp', 'IdentityProvider']
    .map(
      (app) => `c.${app}.token = ''\nc.${app}.password = ''\nc.${app}.ip = '0.0.0.0'\nc.${app}.port = 8888\n`,
    )
    .join('');
  for (const name of [
    'jupyter_config',
    'jupyter_notebook_config',
    'jupyter_server_config',
    'jupyter_lab_config',
  ])
    writeFileSync(path.join(directory, `${name}.py`), open);
  writeFileSync(
    path.join(directory, 'jupyter_notebook_config.json'),
    '{"NotebookApp":{"token":"","password":""}}',
  );
}
