// Runs shellcheck over every shell file of the project where shellcheck is installed.
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';

const files = [...globSync('batch-templates/**/*.sh'), ...globSync('lab/**/*.sh'), 'bin/start-jupyter', 'bin/satellite'];
const result = spawnSync('shellcheck', ['--severity=info', '-x', '--source-path=SCRIPTDIR', ...files], { stdio: 'inherit' });
if (result.error?.code === 'ENOENT') {
  if (process.env.CI) throw new Error('shellcheck is not installed, and CI must not leave it out');
  console.error('lint: shellcheck is not installed; the shell files were not checked');
} else {
  process.exitCode = result.status ?? 1;
}
