/** Finds and reads configuration files: YAML and JSON, never executed. */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  type Stats,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { CORE_SCHEMA, floatCoreTag, intCoreTag, NOT_RESOLVED, load as parseYaml, Schema } from 'js-yaml';
import type * as z from 'zod/mini';
import { ConfigurationError } from '../errors.ts';
import { existenceProblem, systemWords } from '../file-system.ts';
import { installationOwner, installedPath, readInstalled, siteConfigurationPlaces } from '../installation.ts';
import { suggestion } from '../nearest.ts';
import { userDirectory } from '../user-directories.ts';
import { shown } from '../values.ts';
import { readCatalogue } from './read-catalogue.ts';
import { type ConfigFile, fileSchema, knownKeys, projectFileSchema } from './schema.ts';

export interface LoadedFile {
  readonly path: string;
  readonly content: ConfigFile;
}

/** YAML in which an account called 007 or 1e3 stays what it is: a number is what reads the same when it is written again. */
const schemaOfNames = new Schema(
  CORE_SCHEMA.tags.map((tag) =>
    tag === intCoreTag || tag === floatCoreTag
      ? {
          ...tag,
          resolve: (source: string, isExplicit: boolean, tagName: string) => {
            const value = tag.resolve(source, isExplicit, tagName);
            return isExplicit || String(value) === source ? value : NOT_RESOLVED;
          },
        }
      : tag,
  ),
);

/** A file in which everything is commented out says nothing, which js-yaml takes for an error. */
const readYaml = (text: string): unknown =>
  text.split('\n').every((line) => /^\s*(?:#|$)/.test(line))
    ? {}
    : parseYaml(text, { schema: schemaOfNames });

const readers: Record<string, (text: string) => unknown> = {
  '.yaml': readYaml,
  '.yml': readYaml,
  '.json': JSON.parse,
};
const projectFileNames = ['.start-jupyter.yaml', '.start-jupyter.yml', '.start-jupyter.json'];

/** The catalogue of systems that the program comes with. */
export const builtInFile = installedPath('systems.yaml');

/** One layer's file, which may turn out to be unreadable or wrong when it is loaded. */
export interface FoundFile {
  readonly layer: 'built in' | 'site' | 'user' | 'project' | 'named';
  readonly path: string;
}

/** The files of all layers, lowest first: built-in catalogue, site, user, project, `--config`. */
export function findFiles(
  environment: NodeJS.ProcessEnv,
  workingDirectory: string,
  extraFile?: string,
): FoundFile[] {
  const user = firstExisting(
    ['config.yaml', 'config.yml', 'config.json'].map((name) =>
      path.join(userDirectory('XDG_CONFIG_HOME', environment), name),
    ),
  );
  const found: readonly [FoundFile['layer'], string | undefined][] = [
    ['built in', builtInFile],
    ['site', siteFile(environment)],
    ['user', user],
    ['project', projectFile(workingDirectory)],
    ['named', extraFile === undefined ? undefined : path.resolve(workingDirectory, extraFile)],
  ];
  return found.flatMap(([layer, file]) => (file === undefined ? [] : [{ layer, path: file }]));
}

/** @throws ConfigurationError for a file that can't be read, isn't YAML, or holds what the schema doesn't know. */
export async function loadFile(found: FoundFile): Promise<LoadedFile> {
  if (found.layer === 'built in') return loadBuiltIn();
  return await load(found, found.layer === 'project' ? projectFileSchema : fileSchema);
}

/**
 * The files of all layers, read, lowest first.
 * @param isTaken of which files
 * @throws ConfigurationError for the first that can't be read or is wrong
 */
export async function loadFiles(
  environment: NodeJS.ProcessEnv,
  workingDirectory: string,
  extraFile?: string,
  isTaken: (file: FoundFile) => boolean = () => true,
): Promise<LoadedFile[]> {
  const files: LoadedFile[] = [];
  for (const file of findFiles(environment, workingDirectory, extraFile))
    if (isTaken(file)) files.push(await loadFile(file));
  return files;
}

/** The nearest project file on the way up. */
function projectFile(directory: string): string | undefined {
  const here = firstExisting(projectFileNames.map((name) => path.join(directory, name)));
  const parent = path.dirname(directory);
  return here ?? (parent === directory ? undefined : projectFile(parent));
}

/** Nobody changes it in most places: reading and checking it again would take a tenth of a launch. */
function loadBuiltIn(): LoadedFile {
  const text = readInstalled('systems.yaml');
  const read = readCatalogue();
  return read?.text === text
    ? { path: builtInFile, content: read.content }
    : validated(builtInFile, readYaml(text), fileSchema);
}

/** The systems that the program comes with, whatever other files say. */
export function builtInSystemNames(): string[] {
  return Object.keys(loadBuiltIn().content.systems ?? {});
}

/** A named site file must exist; the usual places need not. */
function siteFile(environment: NodeJS.ProcessEnv): string | undefined {
  const named = environment.START_JUPYTER_SITE_CONFIG;
  if (named) return named;
  const beside = siteConfigurationPlaces().filter((place) => !belongsToStranger(place));
  return firstExisting([...beside, '/etc/start-jupyter/config.yaml']);
}

/** Says of the site's file beside this copy that it is not used, and why; undefined where there is none such. */
export function strangersSiteFile(environment: NodeJS.ProcessEnv): string | undefined {
  if (environment.START_JUPYTER_SITE_CONFIG) return undefined;
  const file = siteConfigurationPlaces().find(belongsToStranger);
  if (file === undefined) return undefined;
  const owner = lstatSync(file, { throwIfNoEntry: false })?.uid;
  return owner === undefined
    ? undefined
    : `${shown(file, 200)} is not used: it belongs to user ${owner}, who has not installed this copy`;
}

/** Advice where a system or a profile is missing: it may stand in a site's file that is not used. */
export function besideStrangersFile(advice: string): string {
  const unused = strangersSiteFile(process.env);
  return unused === undefined ? advice : `${unused}. ${advice}`;
}

function firstExisting(candidates: string[]): string | undefined {
  return candidates.find((candidate) => existsSync(candidate));
}

/**
 * Where a copy lies in a directory where anybody writes (/tmp, a shared scratch), so does `etc/` beside it. Its own owner
 * may configure it.
 */
function belongsToStranger(file: string): boolean {
  const owner = lstatSync(file, { throwIfNoEntry: false })?.uid;
  return owner !== undefined && ![0, process.getuid?.(), installationOwner()].includes(owner);
}

/**
 * A file found on the way up may lie in a directory where anybody writes (/tmp, a shared scratch); it could name a venv to run.
 * @param status of the file that was opened, or of the link that led to it
 */
function refuseStrangersFile(file: string, status: Stats): void {
  const isOwn = [0, process.getuid?.()].includes(status.uid);
  // Where the umask is 002 every user has a group of the same number, with nobody else in it.
  const strangers = status.gid === status.uid ? 0o002 : 0o022;
  const open = isOwn && !status.isSymbolicLink() && (status.mode & strangers) !== 0;
  if (isOwn && !open) return;
  throw new ConfigurationError(
    `${shown(file, 200)} ${open ? 'can be written by other users' : 'belongs to another user'}, and it would decide what runs in your job.`,
    `If you trust it, ${open ? `close it (chmod go-w ${shown(file, 200)}) or ` : ''}name it: --config ${shown(file, 200)}. Otherwise start from another directory.`,
  );
}

/** What lies where every launch looks for it is nobody's to change. Whoever names a file has chosen to trust it. */
function refuseOpenFile(file: string, layer: FoundFile['layer'], { mode }: Stats): void {
  if ((layer !== 'site' && layer !== 'user') || (mode & 0o002) === 0) return;
  const whose = layer === 'site' ? 'Whoever installed start-jupyter here closes it' : 'Close it';
  throw new ConfigurationError(
    `${shown(file, 200)} can be written by everybody, and it decides which proxy is trusted and what runs in your job.`,
    `${whose}: chmod o-w ${shown(file, 200)}. Where the file system keeps no modes, move it to one that does, or name it with --config.`,
  );
}

async function load({ layer, path: file }: FoundFile, schema: z.ZodMiniType): Promise<LoadedFile> {
  const problem = existenceProblem(file);
  if (problem !== undefined)
    throw new ConfigurationError(
      `${shown(file, 200)} can't be read: ${problem}.`,
      'Write the path of a configuration file.',
    );
  if (statSync(file).isDirectory()) throw unreadable(file, 'it is a directory');
  const reader = readers[path.extname(file)];
  if (reader === undefined) throw unreadable(file, 'it is neither YAML nor JSON');
  if (layer === 'project') refuseStrangersFile(file, lstatSync(file));
  const text = read(file, layer);
  if (text.trim() === '') return validated(file, {}, schema);
  try {
    return validated(file, reader(text), schema);
  } catch (error) {
    throw error instanceof ConfigurationError ? error : unreadable(file, firstLine(error));
  }
}

/** Owner and mode are those of what is read, whatever the path leads to a moment later. */
function read(file: string, layer: FoundFile['layer']): string {
  let descriptor: number;
  try {
    // A pipe that nobody writes to would keep the program waiting.
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new ConfigurationError(
      `${shown(file, 200)} can't be read: ${systemWords(error)}.`,
      adviceOnUnreadable(file, layer),
    );
  }
  try {
    const status = fstatSync(descriptor);
    if (!status.isFile()) throw unreadable(file, 'it is not a regular file');
    if (layer === 'project') refuseStrangersFile(file, status);
    refuseOpenFile(file, layer, status);
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}

function adviceOnUnreadable(file: string, layer: FoundFile['layer']): string {
  if (layer === 'site')
    return `Ask whoever installed start-jupyter here to make it readable for all: chmod a+r ${shown(file, 200)}`;
  if (layer === 'user')
    return `Make it readable for yourself (chmod u+r ${shown(file, 200)}), or set HOME to your own home directory.`;
  return 'Ask its owner, or start from another directory.';
}

function unreadable(file: string, why: string): ConfigurationError {
  return new ConfigurationError(
    `${shown(file, 200)} can't be read: ${why}.`,
    'Configuration files are YAML or JSON (.yaml, .yml, .json).',
  );
}

function validated(file: string, config: unknown, schema: z.ZodMiniType): LoadedFile {
  const unnameable = prototypeKey(config);
  if (unnameable !== undefined)
    throw new ConfigurationError(`${file}: "${shown(unnameable)}" is not a setting.`);
  const parsed = schema.safeParse(config ?? {}, { reportInput: true });
  if (!parsed.success) throw complaint(file, schema, parsed.error);
  return { path: file, content: parsed.data as ConfigFile };
}

/**
 * Where a file has a key "__proto__": Zod's records pass over it without a word.
 * @param seen against aliases that lead back to themselves
 */
function prototypeKey(value: unknown, seen = new Set<unknown>()): string | undefined {
  if (typeof value !== 'object' || value === null || seen.has(value)) return undefined;
  seen.add(value);
  for (const [key, inner] of Object.entries(value)) {
    if (key === '__proto__') return key;
    const below = prototypeKey(inner, seen);
    if (below !== undefined) return `${key}.${below}`;
  }
  return undefined;
}

function complaint(file: string, schema: z.ZodMiniType, error: z.core.$ZodError): ConfigurationError {
  const issue = deepest(error.issues);
  const where = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] as string;
    const full = where === '' ? key : `${where}.${key}`;
    return new ConfigurationError(
      `${file}: "${shown(full)}" is not a setting.${suggestion(key, knownKeys(schema, issue.path))}`,
    );
  }
  return new ConfigurationError(`${file}: ${shown(where) || 'the file'}: ${inWords(issue)}.`);
}

/**
 * The one complaint that is told: about a mistyped key rather than about what is missing for it. A union complains with one
 * list per branch; the longest path is the branch that was meant.
 */
function deepest(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue {
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? (issues[0] as z.core.$ZodIssue);
  if (issue.code !== 'invalid_union') return issue;
  const custom = issue.errors.flat().find((inner) => inner.code === 'custom');
  return custom === undefined ? issue : { ...custom, path: [...issue.path, ...custom.path] };
}

const kinds: Readonly<Record<string, string>> = {
  boolean: 'true or false',
  string: 'a text',
  int: 'a whole number',
  number: 'a number',
  array: 'a list',
  object: 'a mapping of keys to values',
  record: 'a mapping of names to values',
};

function inWords(issue: z.core.$ZodIssue): string {
  // A key with nothing behind it, or "~".
  if (issue.input === null) return 'is empty; give it a value, or leave the key out';
  if (issue.code === 'invalid_type')
    return issue.input === undefined ? 'is missing' : `must be ${kinds[issue.expected] ?? issue.expected}`;
  if (issue.code === 'invalid_value') return `must be ${issue.values.join(' or ')}`;
  if (issue.code === 'invalid_key') return issue.issues[0]?.message ?? issue.message;
  if (issue.code === 'too_small') return `must be more than ${issue.minimum}`;
  return issue.message;
}

/** What is wrong, without the file's name, which the parsers put on a line before it. */
function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return shown(text.replace(/^(?:YAML|JSON) Error in [^\n]*\n/, '').split('\n')[0] ?? '', 200);
}
