/**
 * The values that options and configuration keys take, read from what a person typed. Each reader returns the value
 * in one unit (seconds, MiB) or throws an `InvalidValue` whose message completes "option: …" and says what to type.
 */
export class InvalidValue extends Error {}

/** GPUs of one node's worth of request; `type` as the site names it, lower or upper case kept. */
export interface GpuRequest {
  readonly type?: string;
  readonly count: number;
}

const secondsPerUnit = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** 100 days: beyond any site's limit, and below what a scheduler's own parser would wrap around at. */
const longestSeconds = 100 * secondsPerUnit.d;

/**
 * A length of time in seconds: `30` (minutes), `MM:SS` is refused as ambiguous, `HH:MM:SS`, `D-HH:MM:SS`, `1h30m`.
 */
export function parseDuration(text: string): number {
  const wanted = 'write 30 (minutes), 02:00:00, 1-12:00:00 or 1h30m';
  const seconds = readDuration(text.trim(), wanted);
  if (seconds < 1) throw new InvalidValue(`"${shown(text)}" is no time at all; ${wanted}`);
  if (seconds > longestSeconds) throw new InvalidValue(`"${shown(text)}" is longer than 100 days; ${wanted}`);
  return seconds;
}

function readDuration(text: string, wanted: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text) * secondsPerUnit.m;

  const clock = /^(?:(\d{1,4})-)?(\d{1,5}):([0-5]?\d):([0-5]?\d)$/.exec(text);
  if (clock) {
    const [days = '0', hours = '0', minutes = '0', seconds = '0'] = clock.slice(1);
    if (clock[1] !== undefined && Number(hours) > 23)
      throw new InvalidValue(`"${text}" has more than 23 hours beside its days; ${wanted}`);
    return (
      Number(days) * secondsPerUnit.d +
      Number(hours) * secondsPerUnit.h +
      Number(minutes) * secondsPerUnit.m +
      Number(seconds)
    );
  }

  const units = /^(?=\d)(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m(?:in)?)?(?:(\d{1,7})s)?$/i.exec(text);
  if (units) {
    const [days = '0', hours = '0', minutes = '0', seconds = '0'] = units.slice(1);
    return (
      Number(days) * secondsPerUnit.d +
      Number(hours) * secondsPerUnit.h +
      Number(minutes) * secondsPerUnit.m +
      Number(seconds)
    );
  }
  throw new InvalidValue(`"${shown(text)}" is not a length of time; ${wanted}`);
}

/** `1h 30m`, `45s`, `2d`: the two largest units of a number of seconds. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [
    [Math.floor(whole / secondsPerUnit.d), 'd'],
    [Math.floor((whole % secondsPerUnit.d) / secondsPerUnit.h), 'h'],
    [Math.floor((whole % secondsPerUnit.h) / secondsPerUnit.m), 'm'],
    [whole % secondsPerUnit.m, 's'],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  if (first === -1) return '0s';
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join(' ');
}

const mebibytesPerUnit = { M: 1, G: 1024, T: 1024 * 1024 } as const;

/** Memory in MiB: a bare number is GB; `512M`, `4G`, `4GB`, `4GiB`, `1.5T`. */
export function parseMemory(text: string): number {
  const wanted = 'write 8 (GB), 512M, 16G or 1T';
  const match = /^(\d{1,9}(?:\.\d{1,3})?)\s*(?:([MGT])(?:i?B)?)?$/i.exec(text.trim());
  if (!match) throw new InvalidValue(`"${shown(text)}" is not an amount of memory; ${wanted}`);
  const unit = (match[2] ?? 'G').toUpperCase() as keyof typeof mebibytesPerUnit;
  const mebibytes = Math.ceil(Number(match[1]) * mebibytesPerUnit[unit]);
  if (mebibytes < 1) throw new InvalidValue(`"${shown(text)}" is no memory at all; ${wanted}`);
  if (mebibytes > 1024 * mebibytesPerUnit.T)
    throw new InvalidValue(`"${shown(text)}" is more than any node has; ${wanted}`);
  return mebibytes;
}

/** A whole number from 1 to `most`, of the things named by `what`. */
export function parseCount(text: string, what: string, most: number): number {
  if (!/^\d{1,7}$/.test(text.trim()))
    throw new InvalidValue(`"${shown(text)}" is not a number of ${what}; write a whole number such as 1`);
  const count = Number(text);
  if (count < 1) throw new InvalidValue(`${count} ${what} can't run anything; write 1 or more`);
  if (count > most)
    throw new InvalidValue(`${count} ${what} is more than any system has; write at most ${most}`);
  return count;
}

/** `2` or `a100:2`. */
export function parseGpu(text: string): GpuRequest {
  const match = /^(?:([A-Za-z][\w.-]{0,63}):)?(\d{1,4})$/.exec(text.trim());
  if (!match)
    throw new InvalidValue(
      `"${shown(text)}" is not a number of GPUs; write 1, or a type and a number such as a100:1`,
    );
  const count = parseCount(match[2] as string, 'GPUs', 1024);
  return match[1] === undefined ? { count } : { type: match[1], count };
}

/** A generic-resource list as Slurm writes it: `gpu:1`, `gpu:a100:2,nvme:200`. */
export function parseGres(text: string): string {
  const item = String.raw`[A-Za-z][\w.-]*(?::[A-Za-z][\w.-]*)?(?::[1-9]\d{0,8}[KMGT]?)?`;
  if (text.length > 256 || !new RegExp(`^${item}(?:,${item})*$`).test(text)) {
    throw new InvalidValue(
      `"${shown(text)}" is not a list of generic resources; write gpu:1 or gpu:a100:2,nvme:200`,
    );
  }
  return text;
}

/** A name that the scheduler knows something by (account, partition): no spaces, quotes or shell characters. */
export function parseName(text: string, what: string): string {
  if (!/^[A-Za-z0-9_][\w.:@+/-]{0,127}$/.test(text)) {
    throw new InvalidValue(
      `"${shown(text)}" can't be the name of ${what}; use letters, digits and any of _ . : @ + / -`,
    );
  }
  return text;
}

/** What a link is kept under: the name of a file. */
export function parseKeptName(text: string): string {
  if (!/^[A-Za-z0-9][\w-]{0,63}$/.test(text))
    throw new InvalidValue(`"${shown(text)}" can't be the name of a link; use letters, digits, _ and -`);
  return text;
}

/** A server as ssh is given it: `user@host`, `host`, `user@host:2222`; nothing that ssh could take for an option. */
export function parseServer(text: string): string {
  const name = String.raw`[A-Za-z0-9_](?:[\w.-]{0,251}[A-Za-z0-9_])?`;
  const match = new RegExp(`^(?:${name}@)?${name}(?::(\\d{1,5}))?$`).exec(text);
  const port = Number(match?.[1] ?? 22);
  if (!match || port < 1 || port > 65_535)
    throw new InvalidValue(`"${shown(text)}" is not a server; write USER@HOST, or USER@HOST:PORT`);
  return text;
}

/** Node features and what joins them, as sbatch(1) describes --constraint: `skylake&ib`, `[rack1|rack2]`, `a*2&b`. */
export function parseConstraint(text: string): string {
  const ok = text.length <= 256 && /^[\w.:=&|*!()[\],-]+$/.test(text) && /^[\w(![]/.test(text);
  if (!ok || !/[A-Za-z0-9]/.test(text) || !isBalanced(text)) {
    throw new InvalidValue(
      `"${shown(text)}" is not an expression of node features; write skylake, "skylake&ib" or "rack1|rack2"`,
    );
  }
  return text;
}

/** Whether every bracket is closed by its own kind. */
function isBalanced(text: string): boolean {
  const open: string[] = [];
  for (const character of text) {
    if (character === '(') open.push(')');
    if (character === '[') open.push(']');
    if ((character === ')' || character === ']') && open.pop() !== character) return false;
  }
  return open.length === 0;
}

/** Environment modules, in the order in which they are to be loaded: `gcc/12,python/3.11`. */
export function parseModules(text: string): string[] {
  const names = text.split(',').map((name) => name.trim());
  for (const name of names) {
    if (!/^[A-Za-z0-9_][\w.+/@:=~-]{0,199}$/.test(name)) {
      throw new InvalidValue(
        `"${shown(name)}" can't be the name of a module; write NAME, NAME/VERSION, or several with commas between`,
      );
    }
  }
  return names;
}

/** Bash's own, which can't be given, and what would take Jupyter's door or its private directory away. */
const reservedVariables =
  /^(?:BASHOPTS|BASH_VERSINFO|EUID|PPID|SHELLOPTS|UID|BASH_ENV|ENV|JUPYTER_(?:TOKEN|TOKEN_FILE|PORT|IP|RUNTIME_DIR)|JPY_.*)$/;

/** An environment variable: `NAME=VALUE`, or `NAME` alone for the value that it has where the launch is typed. */
export function parseVariable(text: string): string {
  const [name = ''] = text.split('=', 1);
  if (!/^[A-Za-z_]\w{0,127}$/.test(name))
    throw new InvalidValue(`"${shown(name)}" can't be the name of a variable; write NAME=VALUE`);
  if (reservedVariables.test(name)) throw new InvalidValue(`${name} is not yours to set here; leave it out`);
  refuseNoText(text, 'a variable');
  if (text.length > 32_768) throw new InvalidValue(`the value of ${name} is longer than 32768 characters`);
  return text;
}

/** A conda environment: a path where there is a slash in it, else a name as conda allows it. */
export function parseCondaEnv(text: string): string {
  if (text.includes('/')) return parsePath(text);
  if (!/^[A-Za-z0-9_][\w.+-]{0,127}$/.test(text))
    throw new InvalidValue(
      `"${shown(text)}" can't be the name of a conda environment; write its name, or its path`,
    );
  return text;
}

/** A container image: a path, or a URI such as `docker://quay.io/jupyter/scipy-notebook`. */
export function parseImage(text: string): string {
  if (/^(?:jupyterlab|lab|notebook|voila)$/.test(text))
    throw new InvalidValue(
      `"${text}" is a service, not an image; write --${text.replace('jupyter', '')}, or ./${text} for a file`,
    );
  if (!/^[a-z][a-z0-9-]*:\/\//.test(text)) return parsePath(text);
  if (!/^(?:docker|oras|library|shub|https?):\/\/[\w./:@%+-]{1,400}$/.test(text))
    throw new InvalidValue(
      `"${shown(text)}" is not an image; write a path, or docker://NAME, oras://NAME or library://NAME`,
    );
  return text;
}

/** What an image sees of the machine: `/data`, `/data:/mnt`, `/data:/mnt:ro`, several with commas between. */
export function parseBinds(text: string): string[] {
  const specs = text.split(',');
  refuseNoText(text, 'a path');
  for (const spec of specs) {
    const [source = '', target, mode, ...more] = spec.split(':');
    const isRight =
      source !== '' &&
      !/[\0\r\n]/.test(spec) &&
      spec.length <= 4096 &&
      (target === undefined || target.startsWith('/')) &&
      (mode === undefined || mode === 'ro' || mode === 'rw') &&
      more.length === 0;
    if (!isRight)
      throw new InvalidValue(
        `"${shown(spec)}" can't be bound; write SOURCE, SOURCE:/TARGET or SOURCE:/TARGET:ro`,
      );
  }
  return specs;
}

/** Refuses what can't be written into a script as it is. Node.js reads bytes that are not UTF-8 as U+FFFD. */
function refuseNoText(text: string, what: string): void {
  if (text.includes('\0')) throw new InvalidValue(`${what} cannot hold a NUL character`);
  if (!text.isWellFormed() || text.includes('\ufffd'))
    throw new InvalidValue(`${what} can only hold UTF-8, and "${shown(text)}" holds something else`);
}

/** A path as typed; `~/` is home. Refuses only what no path can be. */
export function parsePath(text: string): string {
  if (text === '') throw new InvalidValue('the path is empty');
  refuseNoText(text, 'a path');
  if (text.length > 4096) throw new InvalidValue('the path is longer than 4096 characters');
  return text;
}

/** A path in which the job replaces two names; any other in braces would name a directory as it is. */
export function parseScratchDirectory(text: string): string {
  const unknown = /\{(?!(?:user|job)\})\w+\}/.exec(text)?.[0];
  if (unknown !== undefined)
    throw new InvalidValue(`${shown(unknown)} is not replaced; only {user} and {job} are`);
  return parsePath(text);
}

/** Somebody's text on one line, without characters that a terminal would obey or hide. */
export function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '�');
}

/** Somebody's text as it may be shown in a message: one line, printable, not endless. */
export function shown(text: string, longest = 60): string {
  const line = printable(text);
  return line.length > longest ? `${line.slice(0, longest - 3)}…` : line;
}
