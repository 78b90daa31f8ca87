/** A first description of an unknown system, from what its scheduler says, for a person to complete. */
import type { SchedulerName } from '../config/schema.ts';
import type { Findings, Offers } from '../schedulers/scheduler.ts';
import { printable } from '../values.ts';

export interface Found {
  readonly name: string;
  readonly scheduler: SchedulerName;
  /** In people's words. */
  readonly schedulerTitle: string;
  /** As the machine calls itself. */
  readonly hostname: string;
  /** Slurm's. */
  readonly clusterName: string | undefined;
  readonly partitions: Offers['partitions'];
  readonly findings: Findings;
}

/** The longest time that a configuration file may name, in seconds. */
const longest = 100 * 86_400;

/** The description as a configuration file; what could not be found out stands in comments. */
export function draft(found: Found): string {
  const { name, scheduler, schedulerTitle, hostname, clusterName } = found;
  const detect = [
    `hostname: ${text(hostPattern(hostname))}`,
    ...(clusterName === undefined ? [] : [`clusterName: ${text(clusterName)}`]),
  ];
  const body = [
    `title: ${text(name)} # the name that people know`,
    '# All login nodes must match, and no other machine.',
    `detect: { ${detect.join(', ')} }`,
    `scheduler: ${scheduler}`,
    "# The site's Satellite; without one there is no link to open.",
    '# proxy: { endpoint: user-content.example.edu }',
    '# Where Jupyter is to bind another address of the node than usual:',
    '# nodeAddress: "{hostname -s}.internal"',
    '# Where a job without an account is refused:',
    '# requireAccount: true',
    ...dialect(found),
    ...partitionLines(found),
  ];
  return [
    `# Begun by "start-jupyter systems init" on ${printable(hostname)},`,
    `# from what ${schedulerTitle} says. Complete it, then put it into`,
    '# /etc/start-jupyter/config.yaml for everybody, or for yourself into',
    '# ~/.config/start-jupyter/config.yaml.',
    'systems:',
    `  ${text(name)}:`,
    ...body.map((line) => `    ${line}`),
    '',
  ].join('\n');
}

/** What this scheduler needs to be told in the site's own words. */
function dialect({
  scheduler,
  findings: { gpuPartitions = [], parallelEnvironments = [] },
}: Found): string[] {
  switch (scheduler) {
    case 'slurm':
      return gpuPartitions.length === 0
        ? []
        : [
            '# Or gres, where --gpus is refused; none, where GPUs come with whole nodes:',
            'gpuDirective: gpus',
          ];
    case 'sge': {
      const [first, ...others] = parallelEnvironments;
      const rest = '# And memory: h_vmem, gpu: gpu, gpuType: gpu_type, if qconf -sc has them.';
      if (first === undefined) return [rest, '# sge: { parallelEnvironment: smp }'];
      return [
        '# One that keeps its slots on one node ($pe_slots, see qconf -sp):',
        ...(others.length === 0 ? [] : [`# Others: ${others.map(printable).join(', ')}.`]),
        rest,
        `sge: { parallelEnvironment: ${text(first)} }`,
      ];
    }
    case 'pbs':
    case 'torque':
      return [
        "# Where the site's resources have names of their own:",
        '# pbs: { gpu: ngpus, gpuType: gpu_model }',
      ];
    default:
      return [];
  }
}

function partitionLines({ partitions, findings: { gpuPartitions = [] } }: Found): string[] {
  if (partitions === undefined || partitions.length === 0)
    return ['# Its partitions could not be found out.', '# partitions: { debug: { maxTime: 30m } }'];
  const usual = partitions.find(({ isDefault }) => isDefault);
  const limited = partitions.map(({ name, available, maxSeconds }) => {
    const known = [
      ...(maxSeconds === undefined || maxSeconds < 1 || maxSeconds > longest
        ? []
        : [`maxTime: ${duration(maxSeconds)}`]),
      ...(gpuPartitions.includes(name) ? ['gpu: true'] : []),
    ];
    const entry = known.length === 0 ? '{}' : `{ ${known.join(', ')} }`;
    return `  ${text(name)}: ${entry}${available ? '' : ' # takes no jobs at the moment'}`;
  });
  return [
    usual === undefined
      ? `# defaults: { partition: ${text(partitions[0]?.name ?? '')}, time: 30m }`
      : `defaults: { partition: ${text(usual.name)}, time: 30m }`,
    'partitions:',
    ...limited,
  ];
}

/** `login2.x.edu` becomes a pattern of all numbers: `^login\d+\.x\.edu$`. */
function hostPattern(hostname: string): string {
  const [label = '', ...domain] = hostname.split('.');
  const numbered = label.replace(/\d+$/, '\\d+');
  return `^${[numbered, ...domain].join('\\.')}$`;
}

function duration(seconds: number): string {
  const [size, unit] = (
    [
      [86_400, 'd'],
      [3600, 'h'],
      [60, 'm'],
    ] as const
  ).find(([each]) => seconds % each === 0) ?? [1, 's'];
  return `${seconds / size}${unit}`;
}

/** A text in YAML: as it is where nothing else could be meant, else in quotes, which YAML reads as JSON does. */
function text(value: string): string {
  return /^[A-Za-z][\w-]*$/.test(value) && !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(value)
    ? value
    : JSON.stringify(value);
}
