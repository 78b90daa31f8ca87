import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { hasProgram } from '../support/command.ts';

/**
 * These tests run the programs as people do, so that they are built first. Where nothing may be left out, Debian's
 * Jupyter is installed too.
 */
export default function setup(): void {
  const root = path.join(import.meta.dirname, '../..');
  execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: root, stdio: 'inherit' });
  if (!process.env.START_JUPYTER_TEST_COMPLETE || hasProgram('jupyter-notebook') || process.getuid?.() !== 0)
    return;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  execFileSync('apt-get', ['update', '-qq'], { env, stdio: 'inherit' });
  execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'jupyter-notebook'], {
    env,
    stdio: 'inherit',
  });
}
