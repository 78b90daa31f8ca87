/** Which question comes next, and what the answers mean as options. Pure: facts and earlier answers in, one question out. */
import { readOption, type Setting } from '../config/layers.ts';
import { PersonError } from '../errors.ts';
import { launchSpec } from '../launch-spec.ts';
import type { OptionKey, OptionValues, Service } from '../options.ts';
import { isDefault } from '../resolve.ts';
import type { GpuShare, Share } from '../schedulers/capacity.ts';
import { alignColumns } from '../ui/table.ts';
import { formatDuration, type GpuRequest } from '../values.ts';
import { optionText } from './command-line.ts';
import { described, type Facts, type PartitionFacts } from './facts.ts';

/** Answers by the ids of their questions, as texts; an empty one leaves the matter to the defaults. */
export type Answers = Readonly<Partial<Record<QuestionId, string>>>;

export type QuestionId =
  | 'account'
  | 'partition'
  | 'partitionName'
  | 'time'
  | 'gpuType'
  | 'gpu'
  | 'cpus'
  | 'memory'
  | 'environment'
  | 'module'
  | 'condaEnv'
  | 'venv'
  | 'service'
  | 'dir';

export interface Choice {
  readonly value: string;
  readonly label: string;
  /** What stays on the screen once it is chosen. */
  readonly short: string;
  /** Why it can't be chosen. */
  readonly disabled?: string;
}

export type Question = {
  readonly id: QuestionId;
  /** The option that is asked for. */
  readonly option: OptionKey;
  readonly message: string;
  /** The answer that is offered. */
  readonly preferred: string;
} & (
  | { readonly kind: 'choice'; readonly choices: readonly Choice[] }
  | { readonly kind: 'text'; readonly required?: boolean }
);

/** Chosen where the partition is none of the listed ones; a character that no name may begin with. */
const another = '-';

type Asker = (facts: Facts, answers: Answers) => Question | undefined;

/** In their order; each is asked only where it matters, and only once. */
const askers: readonly (readonly [QuestionId, Asker])[] = [
  ['account', account],
  ['partition', partition],
  ['partitionName', partitionName],
  ['time', time],
  ['gpuType', gpuType],
  ['gpu', gpuCount],
  ['cpus', cpus],
  ['memory', memory],
  ['environment', environment],
  ['module', (_, answers) => named(answers, 'module', 'Modules, with commas between')],
  ['condaEnv', (_, answers) => named(answers, 'condaEnv', 'Name or path of the conda environment')],
  ['venv', (_, answers) => named(answers, 'venv', 'Path of the virtual environment')],
  ['service', service],
  ['dir', directory],
];

/** The next question; undefined once nothing that matters is open. */
export function nextQuestion(facts: Facts, answers: Answers): Question | undefined {
  for (const [id, ask] of askers) {
    const question = answers[id] === undefined ? ask(facts, answers) : undefined;
    if (question !== undefined) return question;
  }
  return undefined;
}

/**
 * What the answers say as options, without those that would hold anyway.
 * @throws UsageError for one that its option would refuse
 */
export function optionValues({ settings, system, accounts = [] }: Facts, answers: Answers): OptionValues {
  const [onlyAccount] = accounts.length === 1 && system.requireAccount ? accounts : [];
  const { gpu = '', gpuType: type = '' } = answers;
  const hasType = ![anyGpu, noGpu, ''].includes(type);
  const wanted: Partial<Record<OptionKey, string | undefined>> = {
    account: answers.account ?? (settings.account === undefined ? onlyAccount : undefined),
    partition: answers.partition === another ? answers.partitionName : answers.partition,
    time: answers.time,
    gpu: gpu === '0' || gpu === '' ? undefined : `${hasType ? `${type}:` : ''}${gpu}`,
    cpus: answers.cpus,
    memory: answers.memory,
    module: answers.module,
    condaEnv: answers.condaEnv,
    venv: answers.venv,
    service: answers.service,
    dir: answers.dir,
  };
  const said = (Object.entries(wanted) as [OptionKey, string | undefined][])
    .filter(([, text]) => text !== undefined && text !== '')
    .map(([key, text]) => [key, readOption(key, text)] as const)
    .filter(([key, value]) => optionText(key, value) !== currentText(settings[key], key));
  return Object.fromEntries(said) as OptionValues;
}

/** A setting's value as it would be typed. */
function currentText(setting: Setting | undefined, key: OptionKey): string | undefined {
  return setting && optionText(key, setting.value);
}

/** Whether somebody has said it: what is only a default is asked for. */
function isGiven({ settings, system }: Facts, key: OptionKey): boolean {
  const setting = settings[key];
  return setting !== undefined && !isDefault(setting, system);
}

// ---- The questions --------------------------------------------------------------------------------------------------

function account(facts: Facts): Question | undefined {
  const { accounts = [], system } = facts;
  if (facts.here || isGiven(facts, 'account') || accounts.length === 1) return undefined;
  const usual = currentText(facts.settings.account, 'account');
  const asked = { id: 'account', option: 'account' } as const;
  if (accounts.length === 0)
    return system.requireAccount && usual === undefined
      ? { ...asked, kind: 'text', message: 'Account to charge', preferred: '', required: true }
      : undefined;
  const own = accounts.map((name) => ({ value: name, label: name, short: name }));
  const none = { value: '', label: 'your default account', short: 'your default account' };
  return {
    ...asked,
    kind: 'choice',
    message: 'Account to charge',
    choices: usual === undefined && !system.requireAccount ? [none, ...own] : own,
    preferred: usual ?? '',
  };
}

function partition(facts: Facts, answers: Answers): Question | undefined {
  // A reservation of PBS is a queue of its own.
  const isReserved = facts.system.scheduler === 'pbs' && facts.settings.reservation !== undefined;
  if (facts.here || isReserved || isGiven(facts, 'partition')) return undefined;
  const asked = { id: 'partition', option: 'partition' } as const;
  const word = facts.system.scheduler === 'slurm' ? 'Partition' : 'Queue';
  const usual = facts.partitions.find(({ isDefault: is }) => is)?.name ?? '';
  if (facts.partitions.length === 0)
    return {
      ...asked,
      kind: 'text',
      message: `${word} (empty: the site's default)`,
      preferred: currentText(facts.settings.partition, 'partition') ?? '',
    };
  const own = payers(facts, answers);
  const unnamed = `the one that ${facts.scheduler} chooses`;
  const rows = alignColumns(facts.partitions.map((each) => partitionCells(each, own)));
  const givenTime = isGiven(facts, 'time') ? (facts.settings.time?.value ?? 0) : 0;
  const listed = facts.partitions.map(({ name, available, maxSeconds }, index): Choice => {
    const choice = { value: name, label: rows[index] ?? name, short: name };
    if (!available) return { ...choice, disabled: '(takes no jobs now)' };
    return (maxSeconds ?? givenTime) < givenTime ? { ...choice, disabled: '(too short)' } : choice;
  });
  const { nodes, cpus: slots } = facts.capacity;
  const hasOwn = facts.partitions.some(({ capacity }) => capacity !== undefined);
  const overall = [shareText(nodes, 'nodes'), shareText(slots, 'CPUs')].filter((text) => text !== '');
  const legend = hasOwn
    ? ' (free/all at the moment)'
    : overall.length > 0
      ? ` (free in all: ${overall.join(', ')})`
      : '';
  return {
    ...asked,
    kind: 'choice',
    message: `${word}${legend}`,
    choices: [
      ...(usual === '' ? [{ value: '', label: unnamed, short: unnamed }] : []),
      ...listed,
      ...(facts.partitionsAreAll
        ? []
        : [{ value: another, label: 'another one, by its name', short: 'another one' }]),
    ],
    preferred: usual,
  };
}

/** The account that is to be charged, or those that may be it; undefined where nobody says. */
function payers({ accounts, settings }: Facts, answers: Answers): readonly string[] | undefined {
  const chosenAccount = answers.account || settings.account?.value;
  return chosenAccount === undefined ? accounts : [chosenAccount];
}

/** Marked rather than closed: newer versions of Slurm let the children of an account in as well. */
function isForOthers({ access }: PartitionFacts, own: readonly string[] | undefined): boolean {
  if (access === undefined || own === undefined || own.length === 0) return false;
  const isNamed = (account: string) => access.accounts.includes(account.toLowerCase());
  return access.kind === 'only' ? !own.some(isNamed) : own.every(isNamed);
}

function partitionCells(facts: PartitionFacts, own: readonly string[] | undefined): string[] {
  const { name, isDefault: usual, maxSeconds, capacity } = facts;
  return [
    name + (usual ? ' *' : ''),
    maxSeconds === undefined ? '' : `≤ ${formatDuration(maxSeconds)}`,
    shareText(capacity?.nodes, 'nodes'),
    shareText(capacity?.cpus, 'CPUs'),
    [
      ...(isForOthers(facts, own) ? ['for other accounts'] : []),
      ...(capacity?.gpus ?? []).map((gpu) => shareText(gpu, gpu.type ?? 'GPUs')),
    ].join(' '),
  ];
}

/** `3/4 v100`; the total alone where it isn't known how many are free. */
function shareText(share: Share | undefined, what: string): string {
  if (share === undefined) return '';
  return `${share.free === undefined ? '' : `${share.free}/`}${share.total} ${what}`;
}

function partitionName(_: Facts, answers: Answers): Question | undefined {
  if (answers.partition !== another) return undefined;
  return {
    id: 'partitionName',
    option: 'partition',
    kind: 'text',
    message: 'Its name',
    preferred: '',
    required: true,
  };
}

function time(facts: Facts, answers: Answers): Question | undefined {
  if (facts.here || isGiven(facts, 'time') || facts.settings.time === undefined) return undefined;
  const limit = timeLimit(facts, answers);
  const usual = facts.settings.time.value;
  const preferred = limit !== undefined && usual > limit ? limit : usual;
  return {
    id: 'time',
    option: 'time',
    kind: 'text',
    message: `Time limit${limit === undefined ? '' : ` (at most ${formatDuration(limit)})`}`,
    preferred: optionText('time', preferred),
  };
}

/** Seconds that all of the chosen partitions allow. */
export function timeLimit(facts: Facts, answers: Answers): number | undefined {
  const limits = chosen(facts, answers).flatMap(({ maxSeconds }) => maxSeconds ?? []);
  return limits.length === 0 ? undefined : Math.min(...limits);
}

/** The partitions that the job is for, as far as they are listed; the usual one where none is named. */
function chosen({ partitions, settings }: Facts, answers: Answers): PartitionFacts[] {
  const answer = answers.partition === another ? answers.partitionName : answers.partition;
  const names = (answer ?? currentText(settings.partition, 'partition') ?? '').split(',');
  return partitions.filter(({ name, isDefault: usual }) => (names[0] === '' ? usual : names.includes(name)));
}

const noGpu = 'none';
/** Any of them: no type of GPU begins with this character. */
const anyGpu = '*';

/** The GPUs that the chosen partitions have; undefined where they may have some, and nobody says which. */
export function gpusFor(facts: Facts, answers: Answers): readonly GpuShare[] | undefined {
  const [first] = chosen(facts, answers);
  const entry = first && described(facts.system, first.name);
  const { gpus } = first?.capacity ?? facts.capacity;
  // What a description says stands where a scheduler doesn't count GPUs, or knows them by another name.
  if (entry?.gpu) return gpus !== undefined && gpus.length > 0 ? gpus : undefined;
  return gpus ?? (entry === undefined ? undefined : []);
}

/** Whether the scheduler has words for a request. */
function can({ settings, system }: Facts, gpu: GpuRequest): boolean {
  const { partition: _, ...others } = settings;
  try {
    launchSpec({ ...others, gpu: { value: gpu, origin: '' } }, { ...system, requireAccount: false }, '/');
    return true;
  } catch (error) {
    if (!(error instanceof PersonError)) throw error;
    return false;
  }
}

/** Where GPUs come with whole nodes there is nothing to choose, and requests for parts of nodes are refused. */
function comesInNodes({ system }: Facts): boolean {
  return system.scheduler === 'slurm' && system.gpuDirective === 'none';
}

function gpuChoice(facts: Facts, answers: Answers): readonly GpuShare[] | 'unknown' | undefined {
  const { gres } = facts.settings;
  const isAsked = facts.here || isGiven(facts, 'gpu') || /(?:^|,)gpu\b/.test(gres?.value ?? '');
  if (isAsked || comesInNodes(facts) || !can(facts, { count: 1 })) return undefined;
  const gpus = gpusFor(facts, answers);
  return gpus === undefined ? 'unknown' : gpus.length === 0 ? undefined : gpus;
}

function gpuType(facts: Facts, answers: Answers): Question | undefined {
  const gpus = gpuChoice(facts, answers);
  if (gpus === undefined || gpus === 'unknown') return undefined;
  const types = gpus.filter(
    (gpu) => gpu.type !== undefined && can(facts, { type: gpu.type, count: 1 }),
  ) as (GpuShare & { type: string })[];
  if (types.length < 2) return undefined;
  const rows = alignColumns(types.map((gpu) => [gpu.type, `${shareText(gpu, '').trim()}`]));
  const usual = facts.settings.gpu?.value;
  return {
    id: 'gpuType',
    option: 'gpu',
    kind: 'choice',
    message: 'GPUs (free/all at the moment)',
    choices: [
      ...(usual === undefined ? [{ value: noGpu, label: 'none', short: 'none' }] : []),
      ...types.map(({ type }, index) => ({ value: type, label: rows[index] ?? type, short: type })),
      { value: anyGpu, label: 'of any type', short: 'of any type' },
    ],
    preferred: usual?.type ?? (usual === undefined ? noGpu : anyGpu),
  };
}

function gpuCount(facts: Facts, answers: Answers): Question | undefined {
  const gpus = gpuChoice(facts, answers);
  if (gpus === undefined || answers.gpuType === noGpu) return undefined;
  const asked = { id: 'gpu', option: 'gpu', kind: 'text' } as const;
  if (answers.gpuType !== undefined)
    return { ...asked, message: 'How many of them', preferred: String(facts.settings.gpu?.value.count ?? 1) };
  const preferred = currentText(facts.settings.gpu, 'gpu') ?? '0';
  if (gpus === 'unknown') return { ...asked, message: 'GPUs', preferred };
  const known = gpus.map((gpu) => shareText(gpu, gpu.type ?? '').trim()).join(', ');
  return { ...asked, message: `GPUs (free/all: ${known})`, preferred };
}

function cpus(facts: Facts, answers: Answers): Question | undefined {
  if (facts.here || isGiven(facts, 'cpus') || comesInNodes(facts)) return undefined;
  return amount(facts, 'cpus', 'CPUs', largestNode(facts, answers).cpus?.toString());
}

function memory(facts: Facts, answers: Answers): Question | undefined {
  if (facts.here || isGiven(facts, 'memory') || comesInNodes(facts)) return undefined;
  const most = largestNode(facts, answers).memory;
  return amount(facts, 'memory', 'Memory', most === undefined ? undefined : `${Math.floor(most / 1024)} GB`);
}

/** @param most what the largest node has */
function amount(facts: Facts, id: 'cpus' | 'memory', what: string, most: string | undefined): Question {
  const usual = currentText(facts.settings[id], id);
  const remarks = [
    ...(most === undefined ? [] : [`up to ${most} on a node`]),
    ...(usual === undefined ? ["empty: the site's default"] : []),
  ];
  return {
    id,
    option: id,
    kind: 'text',
    message: remarks.length === 0 ? what : `${what} (${remarks.join('; ')})`,
    preferred: usual ?? '',
  };
}

/** The largest node of the chosen partitions. */
export function largestNode(facts: Facts, answers: Answers) {
  return (chosen(facts, answers)[0]?.capacity ?? facts.capacity).largest;
}

const environments = ['module', 'condaEnv', 'venv', 'condaYml', 'image', 'setup'] as const;

function environment(facts: Facts): Question | undefined {
  if (facts.settings.batchScript !== undefined) return undefined;
  if (environments.some((key) => isGiven(facts, key))) return undefined;
  const usual = environments.find((key) => facts.settings[key] !== undefined);
  const found = usual && currentText(facts.settings[usual], usual);
  const asIs = found === undefined ? 'whatever Jupyter is found there' : `as configured: ${usual} ${found}`;
  return {
    id: 'environment',
    option: 'venv',
    kind: 'choice',
    message: 'Where Jupyter comes from',
    choices: [
      { value: '', label: asIs, short: asIs },
      { value: 'module', label: 'environment modules', short: 'modules' },
      { value: 'condaEnv', label: 'a conda environment', short: 'conda' },
      { value: 'venv', label: 'a virtual environment', short: 'venv' },
    ],
    preferred: '',
  };
}

function named(answers: Answers, id: 'module' | 'condaEnv' | 'venv', message: string): Question | undefined {
  if (answers.environment !== id) return undefined;
  return { id, option: id, kind: 'text', message, preferred: '', required: true };
}

const titles: Readonly<Record<Service, string>> = {
  lab: 'JupyterLab',
  notebook: 'Jupyter Notebook',
  voila: 'Voilà: notebooks as applications',
};

function service(facts: Facts, answers: Answers): Question | undefined {
  if (facts.settings.batchScript !== undefined || isGiven(facts, 'service')) return undefined;
  const venv = answers.environment === '' ? facts.settings.venv?.value : answers.venv;
  const isElsewhere = answers.module !== undefined || answers.condaEnv !== undefined;
  const found = isElsewhere ? undefined : facts.servicesIn(venv);
  // Where there is none yet, one is installed.
  const there = found === undefined || found.length === 0 ? (['lab', 'notebook', 'voila'] as const) : found;
  const usual = currentText(facts.settings.service, 'service');
  if (there.length === 1 && there[0] !== 'voila' && usual === undefined) return undefined;
  const first = 'JupyterLab, or Notebook where it is missing';
  const either = usual === undefined && there.includes('lab') && there.includes('notebook');
  return {
    id: 'service',
    option: 'service',
    kind: 'choice',
    message: 'Interface',
    choices: [
      ...(either ? [{ value: '', label: first, short: 'JupyterLab, or Notebook' }] : []),
      ...there.map((name) => ({ value: name, label: titles[name], short: name })),
    ],
    preferred: usual ?? (either ? '' : (there[0] ?? '')),
  };
}

function directory(facts: Facts): Question | undefined {
  if (isGiven(facts, 'dir')) return undefined;
  return {
    id: 'dir',
    option: 'dir',
    kind: 'text',
    message: 'Directory to start in',
    preferred: currentText(facts.settings.dir, 'dir') ?? '~',
  };
}
