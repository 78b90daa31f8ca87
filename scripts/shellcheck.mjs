// Runs shellcheck over every shell file of the project, and over the job scripts as they are submitted.
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { jobScripts } from './job-scripts.ts';

const workspace = mkdtempSync(path.join(os.tmpdir(), 'start-jupyter-shellcheck-'));
try {
  const rendered = [...jobScripts()].map(([name, script]) => {
    const file = path.join(workspace, `${name}.rendered.sh`);
    writeFileSync(file, script);
    return file;
  });
  const files = [...rendered, ...globSync('{lab,bench}/**/*.sh'), 'bin/start-jupyter', 'bin/satellite'];
  const result = spawnSync('shellcheck', ['--severity=info', '-x', '--source-path=SCRIPTDIR', ...files], {
    stdio: 'inherit',
  });
  if (result.error?.code === 'ENOENT') {
    if (process.env.CI) throw new Error('shellcheck is not installed, and CI must not leave it out');
    console.error('lint: shellcheck is not installed; the shell files were not checked');
  } else {
    process.exitCode = result.status ?? 1;
  }
} finally {
  rmSync(workspace, { recursive: true, force: true });
}
