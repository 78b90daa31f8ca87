import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { expect } from 'vitest';
import { temporaryDirectory } from '../../support/directories.ts';
import { answerTimeout, type JupyterPage } from './jupyter-page.ts';
import type { JupyterLabPage } from './jupyterlab-page.ts';

/** A cell, a terminal, and 200 MB both ways through a Jupyter of this machine that shows the folder `work`. */
export async function expectToWork(jupyter: JupyterPage, work: string): Promise<void> {
  expect(await jupyter.runCell('6*7')).toBe('42');
  expect(await jupyter.terminal('echo $((6*7))')).toBe('42');
  const files = temporaryDirectory();
  const [sent, received] = [path.join(files, 'sent.bin'), path.join(files, 'received.bin')];
  writeFileSync(sent, randomBytes(200 * 1024 * 1024));
  await jupyter.upload(sent);
  await jupyter.download('sent.bin', received);
  const checksum = await sha256(sent);
  expect(await sha256(path.join(work, 'sent.bin'))).toBe(checksum);
  expect(await sha256(received)).toBe(checksum);
}

/**
 * Two browsers see what the other types in one notebook. jupyter-collaboration asks for a notebook in a folder by a path
 * with `%2F`, and in rooms whose names have colons.
 */
export async function expectToCollaborate(one: JupyterLabPage, other: JupyterLabPage): Promise<void> {
  await one.type('\n# from one');
  await other.firstEditor.getByText('# from one').waitFor({ timeout: answerTimeout });
  await other.type('\n# from the other');
  await one.firstEditor.getByText('# from the other').waitFor({ timeout: answerTimeout });
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}
