/** qsub: reads options and directives, refuses what a real one refuses, and queues the job. */
import { copyFileSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Refusal } from '../stand-in/job-files.ts';
import { schedule } from './mom.ts';
import { type Job, now, type State } from './state.ts';

/** Recorded in use; `-S` and `-r`, `-A`, `-W umask=` from qsub(1B). */
const takesValue = new Set(['-A', '-q', '-N', '-o', '-e', '-j', '-l', '-W', '-v', '-S', '-r']);
const switches = new Set(['-h']);

type Options = Map<string, string[]>;

export function qsub(state: State, args: readonly string[]): void {
  const { options, operands } = readOptions(state, args);
  const [script] = operands;
  if (operands.length !== 1 || script === undefined) state.unrecorded(`qsub ${args.join(' ')}`);
  for (const [name, values] of directives(state, readFileSync(script, 'utf8'))) {
    // The command line wins; -l is looked at resource by resource.
    if (name === '-l') options.set('-l', [...values, ...(options.get('-l') ?? [])]);
    else if (!options.has(name)) options.set(name, values);
  }
  const id = state.locked(() => {
    const job = newJob(state, options, { script: path.resolve(script), submitArguments: args.join(' ') });
    state.save(job);
    copyFileSync(script, state.spool(job.id, 'SC'));
    return job.id;
  });
  process.stdout.write(`${id}\n`);
  schedule(state);
}

function readOptions(
  state: State,
  args: readonly string[],
): { readonly options: Options; readonly operands: string[] } {
  const options: Options = new Map();
  const operands: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const word = args[index] as string;
    const name = word.slice(0, 2);
    if (!word.startsWith('-')) operands.push(word);
    else if (switches.has(word)) options.set(word, []);
    else if (takesValue.has(name)) {
      if (word.length === 2) index += 1;
      const value = word.length > 2 ? word.slice(2) : args[index];
      if (value === undefined) return state.unrecorded(`qsub ${args.join(' ')}`);
      options.set(name, [...(options.get(name) ?? []), value]);
    } else return state.unrecorded(`qsub ${word}`);
  }
  return { options, operands };
}

/** `#PBS` lines before the first command, split at spaces; quotes and backslashes as in a shell. */
function directives(state: State, script: string): Options {
  const options: Options = new Map();
  for (const line of script.split('\n')) {
    if (line.startsWith('#PBS')) {
      const words = [...line.slice(4).matchAll(/(?:[^\s"'\\]|\\.|"[^"]*"|'[^']*')+/g)].map(([word]) =>
        word.replace(/\\(.)|"([^"]*)"|'([^']*)'/g, '$1$2$3'),
      );
      for (const [name, values] of readOptions(state, words).options)
        options.set(name, [...(options.get(name) ?? []), ...values]);
    } else if (line.trim() !== '' && !line.startsWith('#') && !line.startsWith(':')) break;
  }
  return options;
}

function refuse(message: string, exitCode: number): never {
  throw new Refusal(`qsub: ${message}`, exitCode);
}

function newJob(
  state: State,
  options: Options,
  { script, submitArguments }: { readonly script: string; readonly submitArguments: string },
): Job {
  const { server, queues, flavour } = state.settings;
  const one = (name: string) => options.get(name)?.at(-1);
  const queue = one('-q') ?? (Object.keys(queues)[0] as string);
  const limits = queues[queue];
  const isTorque = flavour === 'torque';
  if (limits === undefined) {
    if (isTorque) refuse('submit error (Unknown queue MSG=cannot locate queue)', 172);
    refuse('Unknown queue', 170);
  }
  const resources = (isTorque ? requestedOfTorque : requested)(state, options.get('-l') ?? []);
  if (limits.maxSeconds !== undefined && seconds(resources.walltime) > limits.maxSeconds) {
    if (isTorque)
      refuse(
        'submit error (Job exceeds queue resource limits MSG=cannot satisfy queue max walltime requirement)',
        190,
      );
    refuse('Job violates queue and/or server resource limits', 188);
  }
  const name = one('-N') ?? path.basename(script);
  if (!(isTorque ? /^[A-Za-z][\w+.-]{0,14}$/ : /^[A-Za-z][\w+.-]{0,229}$/).test(name))
    return state.unrecorded(`qsub -N ${name}`);
  const umask = /^umask=(\d+)$/.exec(one('-W') ?? 'umask=077');
  if (umask === null) return state.unrecorded(`qsub -W ${one('-W')}`);

  const number = state.nextNumber();
  const held = options.has('-h');
  const created = now();
  const { HOME = '/', LANG, LOGNAME, PATH, MAIL, SHELL } = process.env;
  const at = (option: string, letter: string) =>
    `${server}:${path.resolve(one(option) ?? `${name}.${letter}${number}`)}`;
  const account = one('-A');
  const shell = one('-S');
  return {
    id: `${number}.${server}`,
    name,
    state: held ? 'H' : 'Q',
    substate: held ? 20 : 10,
    queue,
    ...(account === undefined ? {} : { account }),
    hold: held ? 'u' : 'n',
    join: one('-j') ?? 'n',
    output: at('-o', 'o'),
    error: at('-e', 'e'),
    ...(shell === undefined ? {} : { shell }),
    rerunable: one('-r') !== 'n',
    ...(options.has('-W') ? { umask: umask[1] as string } : {}),
    resources,
    variables: Object.fromEntries(
      Object.entries({
        PBS_O_HOME: HOME,
        PBS_O_LANG: LANG,
        PBS_O_LOGNAME: LOGNAME,
        PBS_O_PATH: PATH,
        PBS_O_MAIL: MAIL,
        PBS_O_SHELL: SHELL,
        PBS_O_INTERACTIVE_AUTH_METHOD: 'resvport',
        PBS_O_INTERACTIVE_ENCRYPT_METHOD: '',
        PBS_O_WORKDIR: process.cwd(),
        PBS_O_SYSTEM: 'Linux',
        PBS_O_QUEUE: queue,
        PBS_O_HOST: server,
        ...asked(options.get('-v') ?? []),
      }).filter((pair): pair is [string, string] => pair[1] !== undefined),
    ),
    submitArguments,
    script,
    home: HOME,
    ctime: created,
    mtime: created,
    qtime: created,
    ...(held ? {} : { etime: created }),
  };
}

/** `-v NAME=VALUE,NAME` */
function asked(lists: readonly string[]): Record<string, string | undefined> {
  return Object.fromEntries(
    lists
      .flatMap((list) => list.split(','))
      .map((item) => {
        const [name = '', ...value] = item.split('=');
        return [name, value.length > 0 ? value.join('=') : process.env[name]];
      }),
  );
}

const chunkResources = new Set(['ncpus', 'mem', 'vmem', 'host', 'vnode', 'arch', 'mpiprocs', 'ompthreads']);

/** Resource_List as the server completes it. */
function requested(state: State, requests: readonly string[]): Record<string, string | number> {
  const wanted: Record<string, string> = {};
  for (const item of requests.flatMap((request) => request.split(','))) {
    const [, name = '', value = ''] = /^(\w+)=(.*)$/.exec(item) ?? [];
    if (!['select', 'place', 'walltime'].includes(name)) return state.unrecorded(`qsub -l ${item}`);
    wanted[name] = value;
  }
  const { select, place, walltime } = wanted;
  const [count, chunk] = select === undefined ? [1, { ncpus: '1' }] : readSelect(state, select);
  const ncpus = Number(chunk.ncpus ?? 1) * count;
  const mem = chunk.mem;
  if (mem !== undefined && !/^\d+[mM]b$/.test(mem)) return state.unrecorded(`qsub -l select=…:mem=${mem}`);
  return {
    ...(mem === undefined ? {} : { mem: `${Number.parseInt(mem, 10) * count}mb` }),
    ncpus,
    nodect: count,
    place: place ?? (select === undefined ? 'pack' : 'free'),
    select: select ?? '1:ncpus=1',
    ...(walltime === undefined ? {} : { walltime }),
  };
}

/** `-l nodes=1:ppn=2`, `-l mem=`, `-l walltime=`; a node has one processor where nobody asks for more. */
function requestedOfTorque(state: State, requests: readonly string[]): Record<string, string | number> {
  const wanted: Record<string, string> = {};
  for (const item of requests.flatMap((request) => request.split(','))) {
    const [, name = '', value = ''] = /^(\w+)=(.*)$/.exec(item) ?? [];
    if (!['nodes', 'mem', 'walltime'].includes(name)) return state.unrecorded(`qsub -l ${item}`);
    wanted[name] = value;
  }
  const [, count = '', processors = '1'] =
    /^(\d+)(?::ppn=(\d+))?$/.exec(wanted.nodes ?? '1') ?? state.unrecorded(`qsub -l nodes=${wanted.nodes}`);
  return { ncpus: Number(count) * Number(processors), nodect: Number(count), ...wanted };
}

function readSelect(state: State, select: string): readonly [number, Record<string, string>] {
  if (select.includes('+')) return state.unrecorded(`qsub -l select=${select}`);
  const [count = '', ...items] = select.split(':');
  if (!/^[1-9]\d*$/.test(count)) refuse('Illegal attribute or resource value Resource_List.select', 166);
  const chunk: Record<string, string> = {};
  for (const item of items) {
    const [name = '', value = ''] = item.split('=');
    if (!chunkResources.has(name)) refuse(`Unknown resource: ${name}`, 187);
    chunk[name] = value;
  }
  return [Number(count), chunk];
}

export function seconds(time: string | number | undefined): number {
  return String(time ?? 0)
    .split(':')
    .reduce((sum, part) => sum * 60 + Number(part), 0);
}
