/** What nodes have, and how much of it is free at the moment: sums over what a scheduler says of each node. */

export interface Share {
  /** Undefined where only the total is known. */
  readonly free: number | undefined;
  readonly total: number;
}

export interface GpuShare extends Share {
  /** As the site names it; undefined where GPUs have no types. */
  readonly type: string | undefined;
}

export interface Capacity {
  readonly nodes: Share | undefined;
  readonly cpus: Share | undefined;
  /** Undefined where the scheduler doesn't say; empty where there are none. */
  readonly gpus: readonly GpuShare[] | undefined;
  /** Of the largest node; a node is the most that one job can have of them. */
  readonly largest: {
    readonly cpus: number | undefined;
    /** MiB. */
    readonly memory: number | undefined;
  };
}

export const unknownCapacity: Capacity = {
  nodes: undefined,
  cpus: undefined,
  gpus: undefined,
  largest: { cpus: undefined, memory: undefined },
};

/** One node as its scheduler sees it. */
export interface NodeReport {
  /** Whether a job could start there; on others nothing is free. */
  readonly usable: boolean;
  /** Whether no job is there. */
  readonly idle: boolean;
  readonly cpus: Share;
  /** MiB. */
  readonly memory: number | undefined;
  readonly gpus: readonly GpuShare[] | undefined;
}

export function capacityOf(nodes: readonly NodeReport[]): Capacity {
  const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
  const usable = nodes.filter((node) => node.usable);
  const reported = nodes.filter(({ gpus }) => gpus !== undefined);
  const types = new Set(reported.flatMap(({ gpus }) => gpus ?? []).map(({ type }) => type));
  const ofType = (type: string | undefined) => (node: NodeReport) =>
    (node.gpus ?? []).filter((gpu) => gpu.type === type);
  return {
    nodes: { free: usable.filter(({ idle }) => idle).length, total: nodes.length },
    cpus: {
      free: sum(usable.map(({ cpus }) => Math.max(0, cpus.free ?? 0))),
      total: sum(nodes.map(({ cpus }) => cpus.total)),
    },
    gpus:
      reported.length === 0
        ? undefined
        : [...types].map((type) => {
            const free = usable.flatMap(ofType(type)).map((gpu) => gpu.free);
            return {
              type,
              free: free.includes(undefined) ? undefined : sum(free.map((count) => Math.max(0, count ?? 0))),
              total: sum(nodes.flatMap(ofType(type)).map(({ total }) => total)),
            };
          }),
    largest: {
      cpus: largest(nodes.map(({ cpus }) => cpus.total)),
      memory: largest(nodes.flatMap(({ memory }) => memory ?? [])),
    },
  };
}

function largest(amounts: readonly number[]): number | undefined {
  return amounts.length === 0 ? undefined : Math.max(...amounts);
}

/** An amount of memory as PBS and Torque print it, in MiB: `24684096kb`, `32gb`; a bare number is bytes. */
export function mebibytes(text: string | undefined): number | undefined {
  const [, amount, unit = ''] = /^(\d+)([kmgt]?)b?$/i.exec(text ?? '') ?? [];
  if (amount === undefined) return undefined;
  const powers: Readonly<Record<string, number>> = { '': -2, k: -1, m: 0, g: 1, t: 2 };
  return Math.floor(Number(amount) * 1024 ** (powers[unit.toLowerCase()] ?? 0));
}
