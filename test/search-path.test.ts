import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { commandOnPath } from '../src/search-path.ts';
import { temporaryDirectory } from './support/directories.ts';

it('a command on PATH is the first executable file of its name: no directory, and nothing that may not be run', () => {
  const [directories, texts, commands] = [temporaryDirectory(), temporaryDirectory(), temporaryDirectory()];
  mkdirSync(path.join(directories, 'jupyter-lab'));
  writeFileSync(path.join(texts, 'jupyter-lab'), '', { mode: 0o644 });
  writeFileSync(path.join(commands, 'jupyter-lab'), '', { mode: 0o755 });
  const environment = { PATH: [directories, '', texts, commands].join(':') };
  expect(commandOnPath('jupyter-lab', environment)).toBe(path.join(commands, 'jupyter-lab'));
  expect(commandOnPath('voila', environment)).toBeUndefined();
});
