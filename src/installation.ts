/** Where this copy of the program keeps what it comes with: beside it, or inside the self-contained executable. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import * as sea from 'node:sea';
import { fileURLToPath } from 'node:url';
import packageJson from '../package.json' with { type: 'json' };

/** The program's own version, as its package declares it. */
export const { version } = packageJson;

/** Whether this is the executable that brings its own Node.js and files. */
export const isSelfContained = sea.isSea();

/**
 * The directory that this copy was installed as. A checkout and an npm package: the one above this file, also when it
 * has been bundled. The executable: the one above `bin/`, or where it lies.
 */
export const installationRoot = isSelfContained
  ? rootOfExecutable(process.execPath)
  : path.dirname(path.dirname(fileURLToPath(import.meta.url)));

function rootOfExecutable(executable: string): string {
  const directory = path.dirname(executable);
  return path.basename(directory) === 'bin' ? path.dirname(directory) : directory;
}

/** The user id of whoever installed this copy. */
export function installationOwner(): number {
  return statSync(isSelfContained ? process.execPath : installationRoot).uid;
}

/** How messages call a file that the program comes with. */
export function installedPath(name: string): string {
  return isSelfContained ? `${name} inside ${process.execPath}` : path.join(installationRoot, name);
}

/** The text of a file that the program comes with. @param name its path below the installation, such as `systems.yaml` */
export function readInstalled(name: string): string {
  return isSelfContained
    ? sea.getAsset(name, 'utf8')
    : readFileSync(path.join(installationRoot, name), 'utf8');
}

/** The paths of the files that the program comes with in a directory and below, from that directory. */
export function installedFiles(directory: string): string[] {
  const names = isSelfContained
    ? sea
        .getAssetKeys()
        .filter((key) => key.startsWith(`${directory}/`))
        .map((key) => key.slice(directory.length + 1))
    : readdirSync(path.join(installationRoot, directory), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) =>
          path.relative(path.join(installationRoot, directory), path.join(entry.parentPath, entry.name)),
        );
  return names.sort();
}

/** Where a site's configuration may lie beside a global copy, first choice first. */
export function siteConfigurationPlaces(root = installationRoot): string[] {
  // npm installs below PREFIX/lib/node_modules, which an upgrade replaces; PREFIX/etc stays.
  const [, prefix] = /^(.*)\/lib\/node_modules\/[^/]+$/.exec(root) ?? [];
  const shared = path.join(prefix ?? root, 'etc', 'start-jupyter', 'config.yaml');
  // Other programs' configuration lies in there.
  return ['/', '/usr', '/usr/local'].includes(root)
    ? [shared]
    : [path.join(root, 'etc', 'config.yaml'), shared];
}
