/** What V8 has compiled before is beside the bundle of a checkout: it makes a start faster, and nothing else different. */
import { copyFileSync, cpSync, globSync, mkdirSync, rmSync, truncateSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { freshHome, temporaryDirectory } from '../support/directories.ts';
import { run } from '../support/program.ts';

const home = freshHome();
const root = path.join(import.meta.dirname, '../..');
let copy: string;

beforeAll(() => {
  copy = temporaryDirectory();
  mkdirSync(path.join(copy, 'dist'));
  for (const name of ['bin', 'batch-templates'])
    cpSync(path.join(root, name), path.join(copy, name), { recursive: true });
  for (const name of [
    'package.json',
    'systems.yaml',
    'dist/package.json',
    'dist/start-jupyter.js',
    ...caches(root),
  ])
    copyFileSync(path.join(root, name), path.join(copy, name));
});

function caches(directory: string): string[] {
  return globSync('dist/*.cache', { cwd: directory });
}

async function dryRun(): Promise<string> {
  const { exitCode, stdout, stderr } = await run(['--dry-run', '--system', 'expanse', '-A', 'abc123'], {
    home,
    program: path.join(copy, 'bin/start-jupyter'),
    path: `${path.dirname(process.execPath)}:${process.env.PATH}`,
  });
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return stdout;
}

it('is there, is broken, or is not there: the program does the same', async () => {
  const [cache = ''] = caches(copy);
  const withCache = await dryRun();
  truncateSync(path.join(copy, cache), 100_000);
  expect(await dryRun()).toBe(withCache);
  rmSync(path.join(copy, cache));
  expect(await dryRun()).toBe(withCache);
  expect(withCache).toContain('#SBATCH --account=abc123');
});
