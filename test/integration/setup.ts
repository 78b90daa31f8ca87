import { execFileSync } from 'node:child_process';
import path from 'node:path';

/** These tests run the programs as people do, so that they are built first. */
export default function setup(): void {
  const root = path.join(import.meta.dirname, '../..');
  execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: root, stdio: 'inherit' });
}
