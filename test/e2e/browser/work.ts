import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { expect } from 'vitest';
import { temporaryDirectory } from '../../support/directories.ts';
import type { JupyterPage } from './jupyter-page.ts';

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

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}
