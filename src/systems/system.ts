import type { SchedulerName } from '../config/schema.ts';

/** One HPC system, complete: an entry of the catalogue, or a generic one made for an unknown machine. */
export interface System {
  readonly name: string;
  readonly title: string;
  readonly scheduler: SchedulerName;
  readonly proxy: ProxyAddress | undefined;
  /** Name or interface that Jupyter binds on the compute node; undefined: the address that the proxy sees. */
  readonly nodeAddress: string | undefined;
  readonly requireAccount: boolean;
  /** How this system's Slurm wants GPUs asked for. */
  readonly gpuDirective: 'gpus' | 'gres';
  readonly partitions: Readonly<Record<string, Partition>>;
}

export interface ProxyAddress {
  /** Host name (and port, where it isn't 443) under which sites live; `manage.<endpoint>` is the management host. */
  readonly endpoint: string;
  /** PEM file to trust instead of the system's authorities. */
  readonly caFile?: string | undefined;
}

export interface Partition {
  /** Seconds. */
  readonly maxTime?: number | undefined;
  readonly gpu?: boolean | undefined;
  readonly maxGpus?: number | undefined;
}
