/** What sinfo(1) and scontrol(1) say of partitions and their nodes. */
import { capacityOf, type GpuShare, type NodeReport } from '../capacity.ts';
import { lines } from '../command.ts';
import type { AccountAccess, Offers, Vacancies } from '../scheduler.ts';
import { timeLimit } from './command.ts';

export function parsePartitions(stdout: string): NonNullable<Offers['partitions']> {
  return lines(stdout).flatMap((line) => {
    const [name = '', available, limit = ''] = line.split('|');
    // With several clusters a line names each of them.
    return available === undefined
      ? []
      : [
          {
            name: name.replace(/\*$/, ''),
            isDefault: name.endsWith('*'),
            available: available === 'up',
            maxSeconds: timeLimit(limit),
          },
        ];
  });
}

/** One line for each kind of node in a partition: `gpu*|gpu:a100:4(S:0-1),nvme:1`, `compute|(null)`. */
export function parseGpuPartitions(stdout: string): string[] {
  const withGpus = lines(stdout)
    .map((line) => line.split('|'))
    .filter(([, gres = '']) => /(?:^|,)gpu:/.test(gres))
    .map(([name = '']) => name.replace(/\*$/, ''));
  return [...new Set(withGpus)];
}

/**
 * One line for each node in each of its partitions: `c1 compute* mixed 4/12/0/16 32000 gpu:v100:4(S:0-1) gpu:v100:1(IDX:0)`.
 * None of the fields holds a space; undefined where nothing can be read.
 */
export function parseNodes(stdout: string): Vacancies | undefined {
  const nodes = lines(stdout).flatMap((line) => {
    const [name, partition, state = '', cpus = '', memory, gres = '', used = ''] = line.split(/\s+/);
    const [, idleCpus, allCpus] = /^\d+\/(\d+)\/\d+\/(\d+)$/.exec(cpus) ?? [];
    if (partition === undefined || allCpus === undefined) return [];
    const report: NodeReport = {
      // The rest is down, drained, in maintenance or reserved; "*" is for nodes that do not respond.
      usable: /^(?:idle|mixed|allocated|completing|planned)/.test(state) && !state.includes('*'),
      idle: state.startsWith('idle'),
      cpus: { free: Number(idleCpus), total: Number(allCpus) },
      memory: Number(memory) || undefined,
      gpus: gpuShares(gres, used),
    };
    return [{ name, partition: partition.replace(/\*$/, ''), report }];
  });
  if (nodes.length === 0) return undefined;
  const names = [...new Set(nodes.map(({ partition }) => partition))];
  return {
    all: capacityOf([...new Map(nodes.map(({ name, report }) => [name, report])).values()]),
    partitions: new Map(
      names.map((name) => [
        name,
        capacityOf(nodes.filter(({ partition }) => partition === name).map(({ report }) => report)),
      ]),
    ),
  };
}

/** `PartitionName=long AllowGroups=ALL DenyAccounts=student AllowQos=ALL …`, one line each; those for all are left out. */
export function parseAccess(stdout: string): Map<string, AccountAccess> {
  const limited = lines(stdout).flatMap((line): [string, AccountAccess][] => {
    const [, name] = /^PartitionName=(\S+)/.exec(line) ?? [];
    const [, word, accounts = ''] = / (Allow|Deny)Accounts=(\S+)/.exec(line) ?? [];
    if (name === undefined || word === undefined || accounts === 'ALL') return [];
    return [[name, { kind: word === 'Allow' ? 'only' : 'allBut', accounts: accounts.split(',') }]];
  });
  return new Map(limited);
}

/** A node's GPUs by type, from its generic resources and those in use. */
function gpuShares(gres: string, used: string): GpuShare[] {
  const inUse = gpuCounts(used);
  // Where types are not told apart in what is used, neither can they be in what is free.
  return [...gpuCounts(gres)].map(([type, total]) => ({
    type,
    total,
    free: total - (inUse.get(type) ?? inUse.get(undefined) ?? 0),
  }));
}

/** `gpu:a100:4(S:0-1),gpu:2,nvme:1` by type; what stands in parentheses are sockets and indices. */
export function gpuCounts(gres: string): Map<string | undefined, number> {
  const counts = new Map<string | undefined, number>();
  for (const item of gres.replace(/\([^)]*\)/g, '').split(',')) {
    const match = /^gpu(?::([^:]+))??(?::(\d+))?$/.exec(item);
    if (match === null) continue;
    const [, type, count = '1'] = match;
    counts.set(type, (counts.get(type) ?? 0) + Number(count));
  }
  return counts;
}
