import type { SchedulerName } from '../config/schema.ts';
import type { Scheduler } from './scheduler.ts';
import { slurm } from './slurm.ts';

/** Every scheduler that jobs can be submitted to. */
export const schedulers: Readonly<Record<Exclude<SchedulerName, 'none'>, Scheduler>> = { slurm };
