/** Whether this copy of the program is whole, and others can use it where it is meant for them. */
import { existsSync, lstatSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { schedulerNames } from '../config/schema.ts';
import { installationOwner, isSelfContained, version } from '../installation.ts';
import { type Finding, fail, ok } from './finding.ts';
import { closedToOthers } from './permissions.ts';

/** What a launch reads of a copy, from its root. */
const parts = [
  'package.json',
  'systems.yaml',
  'batch-templates',
  'bin',
  'dist/start-jupyter.js',
  'dist/embedded-satellite.js',
  'dist/execa.js',
  'dist/prompts.js',
];

/**
 * @param root the directory of the copy
 * @param forOthers true where other users are to run it, whoever owns it
 */
export function installationFindings(
  root: string,
  { forOthers }: { readonly forOthers: boolean },
): Finding[] {
  const program = `start-jupyter ${version}`;
  if (isSelfContained)
    return [
      ok('Program', `${program}, ${process.execPath} (Node.js ${process.versions.node} inside)`),
      readability([process.execPath], process.execPath, forOthers),
    ];
  return [
    ok('Node.js', `${process.versions.node} (${process.execPath})`),
    completeness(root, program),
    readability([...filesOf(root), process.execPath], root, forOthers),
  ];
}

function completeness(root: string, program: string): Finding {
  const title = 'Program';
  const templates = schedulerNames.map((name) => `batch-templates/${name}.sh`);
  const missing = [...parts, ...templates].filter((part) => !existsSync(path.join(root, part)));
  return missing.length === 0
    ? ok(title, `${program} in ${root}`)
    : fail(title, `${program} in ${root} lacks ${missing.join(', ')}`, 'Install it anew.');
}

/** A copy of one's own needs no readers; a global one with a part that is closed fails for others in odd places. */
function readability(files: readonly string[], root: string, forOthers: boolean): Finding {
  const title = 'Readable for others';
  const me = process.getuid?.();
  if (!forOthers && me !== 0 && installationOwner() === me)
    return ok(title, 'not looked at: this copy is your own');
  const closed = files.map(closedToOthers).find((each) => each !== undefined);
  if (closed === undefined) return ok(title, 'every user of this machine');
  const all = closed.path.startsWith(`${root}/`) ? `, or all at once: chmod -R a+rX ${root}` : '';
  return fail(title, `${closed.path} ${closed.problem}`, closed.mend + all);
}

function filesOf(root: string): string[] {
  const there = parts.map((part) => path.join(root, part)).filter((file) => existsSync(file));
  return [root, ...there.flatMap(below)];
}

function below(file: string): string[] {
  if (!lstatSync(file).isDirectory()) return [file];
  try {
    return [file, ...readdirSync(file).flatMap((name) => below(path.join(file, name)))];
  } catch {
    return [file]; // closed to us, too: that is found out by its mode
  }
}
