// What V8 makes of a bundle, kept beside it: compiling takes a third of the time until a launch asks its scheduler.
// Plain JavaScript, as is what imports it.
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** A launch that asks nobody and writes nothing: it comes through most of the functions that the others do. */
const launch = ['--dry-run', '--system', 'expanse', '--account', 'abc123'];

/** Removes what was made of an earlier build: V8 would take it where the lengths are the same. */
export function removeCodeCaches(bundle) {
  for (const file of globSync(`${bundle}.*.cache`)) rmSync(file);
}

/** For this very Node.js; bin/entry.cjs looks for it by this name. */
export function writeCodeCache(bundle) {
  makeCodeCache(bundle, `${bundle}.${process.versions.v8}-${process.arch}.cache`);
}

/** Runs the launcher, and writes what was compiled for that to a file. */
export function makeCodeCache(bundle, file) {
  const home = mkdtempSync(path.join(os.tmpdir(), 'start-jupyter-code-cache-'));
  const warmUp = path.join(import.meta.dirname, 'warm-up.cjs');
  try {
    const { status, stderr } = spawnSync(process.execPath, [warmUp, bundle, file, ...launch], {
      cwd: home,
      env: { HOME: home, PATH: process.env.PATH },
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`${bundle} did not run: ${stderr}`);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}
