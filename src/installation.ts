import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The directory that holds `systems.yaml` and `batch-templates/`: one above this file, in a checkout and in the bundle. */
export const installationRoot = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** The program's own version, as its package declares it. */
export function version(): string {
  return JSON.parse(readFileSync(path.join(installationRoot, 'package.json'), 'utf8')).version;
}
