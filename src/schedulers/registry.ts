import type { SchedulerName } from '../config/schema.ts';
import { lsf } from './lsf.ts';
import { pbs } from './pbs.ts';
import type { Scheduler } from './scheduler.ts';
import { sge } from './sge.ts';
import { slurm } from './slurm.ts';
import { torque } from './torque.ts';

export type SubmittingScheduler = Exclude<SchedulerName, 'none'>;

/** Every scheduler that jobs can be submitted to. */
export const schedulers: Readonly<Record<SubmittingScheduler, Scheduler>> = { slurm, pbs, torque, sge, lsf };
