/**
 * `npm run package`: everything that is handed out, into `dist/packages/`:
 *
 *   start-jupyter-VERSION.tgz             the npm package
 *   start-jupyter-linux-x64               both programs and Node.js in one file
 *   start-jupyter-VERSION-linux-x64.tar.gz  the same as a tree with manual pages, completions and a module file
 */
import {
  chmodSync,
  copyFileSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
// @ts-expect-error It comes without types.
import { inject } from 'postject';
import { templatesDirectory } from '../src/batch/render.ts';
import { version } from '../src/installation.ts';
import { bundle } from './bundle.mjs';
import { makeCodeCache } from './code-cache.mjs';
import { writeDocumentation } from './documentation.ts';
import { thirdPartyNotices } from './third-party-notices.ts';

const root = path.join(import.meta.dirname, '..');

/** What an executable for this machine is called. */
export const executableName = `start-jupyter-${os.platform()}-${os.arch()}`;

/**
 * Makes `share/` (manual pages, completions, module file) and the notices of what is bundled, which both packages hold.
 * npm runs this before it packs.
 */
export async function prepareFiles(): Promise<void> {
  const share = path.join(root, 'share');
  writeDocumentation(share, releaseDate());
  const modules = path.join(share, 'modulefiles', 'start-jupyter');
  mkdirSync(modules, { recursive: true });
  copyFileSync(path.join(import.meta.dirname, 'modulefile.tcl'), path.join(modules, version));
  await inWorkspace(async (workspace) => {
    const inputs = await bundle(path.join(root, 'src/programs.ts'), path.join(workspace, 'programs.js'));
    writeFileSync(path.join(root, 'THIRD-PARTY-NOTICES'), thirdPartyNotices(inputs));
  });
}

/** The npm package, as `npm publish` would send it. Returns its path. */
export async function packNpm(directory: string): Promise<string> {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', directory];
  const { stdout } = await execa('npm', args, { cwd: root });
  const [packed] = JSON.parse(stdout) as { filename: string }[];
  if (packed === undefined) throw new Error(`npm pack said: ${stdout}`);
  return path.join(directory, packed.filename);
}

/**
 * Both programs, their files and the Node.js that runs this, in one file: a single executable application, see
 * doc/api/single-executable-applications.md of Node.js 24.
 */
export async function buildExecutable(file: string): Promise<void> {
  await inWorkspace(async (workspace) => {
    const main = path.join(workspace, 'executable.js');
    const programs = path.join(workspace, 'dist', 'programs.js');
    const blob = path.join(workspace, 'blob');
    await bundle(path.join(root, 'src/executable.ts'), main);
    await bundle(path.join(root, 'src/programs.ts'), programs);
    // Where it looks for them while it is not inside an executable.
    for (const name of ['systems.yaml', templatesDirectory])
      symlinkSync(path.join(root, name), path.join(workspace, name));
    makeCodeCache(programs, `${programs}.cache`);
    const assets = ['systems.yaml', ...globSync(`${templatesDirectory}/**/*.sh`, { cwd: root })];
    const configuration = path.join(workspace, 'sea.json');
    writeFileSync(
      configuration,
      JSON.stringify({
        main,
        output: blob,
        assets: {
          ...Object.fromEntries(assets.map((name) => [name, path.join(root, name)])),
          'programs.js': programs,
          'programs.js.cache': `${programs}.cache`,
        },
        disableExperimentalSEAWarning: true,
        // What NODE_OPTIONS says is meant for the user's own Node.js, and may be an option that this one refuses.
        execArgvExtension: 'none',
      }),
    );
    await execa(process.execPath, ['--experimental-sea-config', configuration]);
    const copy = path.join(workspace, 'node');
    copyFileSync(process.execPath, copy);
    await inject(copy, 'NODE_SEA_BLOB', readFileSync(blob), {
      sentinelFuse: 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2',
    });
    chmodSync(copy, 0o755);
    mkdirSync(path.dirname(file), { recursive: true });
    move(copy, file);
  });
}

/** A tree to be unpacked anywhere: `bin/` with the executable under both names, `share/`, and what it may be used for. */
export function makeTree(directory: string, executable: string): void {
  const bin = path.join(directory, 'bin');
  mkdirSync(bin, { recursive: true });
  cpSync(executable, path.join(bin, 'start-jupyter'));
  symlinkSync('start-jupyter', path.join(bin, 'satellite'));
  cpSync(path.join(root, 'share'), path.join(directory, 'share'), { recursive: true });
  for (const name of ['CHANGELOG.md', 'LICENSE', 'README.md', 'THIRD-PARTY-NOTICES', 'docs', 'lab/README.md'])
    cpSync(path.join(root, name), path.join(directory, name), { recursive: true });
}

/** Today, or the day that a reproducible build sets (https://reproducible-builds.org/specs/source-date-epoch/). */
function releaseDate(): string {
  const epoch = process.env.SOURCE_DATE_EPOCH;
  const date = epoch === undefined ? new Date() : new Date(Number(epoch) * 1000);
  return date.toISOString().slice(0, 10);
}

async function inWorkspace(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'start-jupyter-package-'));
  try {
    await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** In one step for whoever runs the old one, also from another file system. */
function move(from: string, to: string): void {
  const beside = `${to}.new`;
  cpSync(from, beside);
  renameSync(beside, to);
}

async function packageAll(): Promise<void> {
  const packages = path.join(root, 'dist', 'packages');
  rmSync(packages, { recursive: true, force: true });
  mkdirSync(packages, { recursive: true });
  await execa(process.execPath, ['scripts/build.mjs'], { cwd: root, stdio: 'inherit' });
  await prepareFiles();
  const made = [await packNpm(packages)];
  const executable = path.join(packages, executableName);
  await buildExecutable(executable);
  made.push(executable);
  await inWorkspace(async (workspace) => {
    const name = `start-jupyter-${version}-${os.platform()}-${os.arch()}`;
    makeTree(path.join(workspace, name), executable);
    const archive = path.join(packages, `${name}.tar.gz`);
    await execa('tar', ['-C', workspace, '--owner=0', '--group=0', '--sort=name', '-czf', archive, name]);
    made.push(archive);
  });
  for (const file of made)
    console.log(`${path.relative(root, file)}  ${(statSync(file).size / 1e6).toFixed(1)} MB`);
}

if (import.meta.main) {
  if (process.argv[2] === 'prepare') await prepareFiles();
  else await packageAll();
}
