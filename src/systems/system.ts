import type { SchedulerName } from '../config/schema.ts';

/** One HPC system, complete: an entry of the catalogue, or a generic one made for an unknown machine. */
export interface System {
  readonly name: string;
  readonly title: string;
  readonly scheduler: SchedulerName;
  readonly proxy: ProxyAddress | undefined;
  /** Name or interface that Jupyter binds on the compute node; undefined: the address that the proxy sees. */
  readonly nodeAddress: string | undefined;
  /** How people reach this system with ssh, for tunnels. */
  readonly ssh?: SshDoors | undefined;
  readonly requireAccount: boolean;
  /** How this system's Slurm wants GPUs asked for; `none`: by partition alone, and its nodes' GPUs are all the job's. */
  readonly gpuDirective: 'gpus' | 'gres' | 'none';
  /** How this system's PBS or Torque wants resources asked for. */
  readonly pbs?: PbsDialect | undefined;
  /** What this system's Grid Engine calls resources. */
  readonly sge?: SgeDialect | undefined;
  /** What an amount of memory is for in this system's LSF: `task` where RESOURCE_RESERVE_PER_TASK is on. */
  readonly lsf?: { readonly memoryPer?: 'job' | 'task' | undefined } | undefined;
  readonly partitions: Readonly<Record<string, Partition>>;
}

/** Sites name resources as they like, and some accept one form of request only. What is left out is as PBS comes. */
export interface PbsDialect {
  /** `-l select=…` of PBS Professional and OpenPBS, or the older `-l nodes=…:ppn=…`, Torque's only one. */
  readonly request?: 'select' | 'nodes' | undefined;
  /** The resource that stands for memory: `mem`. */
  readonly memory?: string | undefined;
  /** The resource that counts GPUs: `ngpus`, with `nodes` `gpus`. */
  readonly gpu?: string | undefined;
  /** The resource that names a type of GPU; without it none can be asked for. With `nodes` a type is a node property. */
  readonly gpuType?: string | undefined;
  /** `-l place=…` of every job; without it `scatter` for jobs of several nodes. */
  readonly place?: string | undefined;
}

/** Names are the site's own in Grid Engine; what has none here can't be asked for. See sge_complex(5), sge_pe(5). */
export interface SgeDialect {
  /** For jobs of more than one slot, on one node: its allocation rule is $pe_slots. */
  readonly parallelEnvironment?: string | undefined;
  /** The resource that stands for memory, counted for every slot. */
  readonly memory?: string | undefined;
  /** The resource that counts GPUs, for the job as a whole. */
  readonly gpu?: string | undefined;
  /** The resource that names a type of GPU. */
  readonly gpuType?: string | undefined;
  /** False: jobs aren't told before they are killed or suspended. */
  readonly notify?: boolean | undefined;
}

export interface ProxyAddress {
  /** Host name (and port, where it isn't 443) under which sites live; `manage.<endpoint>` is the management host. */
  readonly endpoint: string;
  /** PEM file to trust instead of the system's authorities. */
  readonly caFile?: string | undefined;
}

/** Hosts are `HOST` or `HOST:PORT`, as a laptop outside calls them. */
export interface SshDoors {
  /** Undefined: the name of the login node that a launch is typed on. */
  readonly login?: string | undefined;
  /** `[USER@]HOST[:PORT]`, several with commas between, as `ssh -J` takes them; undefined: login nodes are reached directly. */
  readonly jump?: string | undefined;
  /** Compute nodes let those in with ssh who have a job there: tunnels end on the node itself. */
  readonly computeNodes?: boolean | undefined;
}

export interface Partition {
  /** Seconds. */
  readonly maxTime?: number | undefined;
  readonly gpu?: boolean | undefined;
  readonly maxGpus?: number | undefined;
}
