/** Where `bin/start-jupyter` finds its installation, however it is called. */
import { execFileSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { temporaryDirectory } from '../support/directories.ts';

const root = path.join(import.meta.dirname, '../..');
let links: string;

beforeAll(() => {
  links = temporaryDirectory();
  symlinkSync(root, path.join(links, 'current'));
  symlinkSync('current/bin/start-jupyter', path.join(links, 'jupyter'));
});

test.each([
  ['by its path', () => [root, 'bin/start-jupyter']],
  ['through a link to its directory', () => [links, 'current/bin/start-jupyter']],
  ['through a link to itself', () => [links, './jupyter']],
  ['by a name alone', () => [path.join(links, 'current/bin'), 'sh', 'start-jupyter']],
])('%s it is the one directory that no link leads away from', (_how, call) => {
  const [cwd, file = '', ...args] = call();
  const output = execFileSync(file, [...args, 'templates', '--json'], {
    cwd,
    // What the script sets itself, and what changes how a shell changes directories.
    env: { ...process.env, self: '/nowhere', CDPATH: root },
    encoding: 'utf8',
  });
  expect(JSON.parse(output).directory).toBe(path.join(root, 'batch-templates'));
});
