/** The one schema of configuration files; types come from it. */
import * as z from 'zod';
import { isSetting, optionKeys, options, typed } from '../options.ts';
import { parseDuration } from '../values.ts';

export const schedulerNames = ['slurm', 'pbs', 'torque', 'sge', 'lsf', 'none'] as const;
export type SchedulerName = (typeof schedulerNames)[number];

const settingShape: Record<string, z.ZodType> = Object.fromEntries(
  optionKeys.filter(isSetting).map((key) => [key, options[key].type.optional()]),
);

/** What a system can say itself: it is chosen when its settings are looked at, and so is the profile. */
const { system: _, profile: __, ...systemSettingShape } = settingShape;

const pattern = z.string().refine(
  (text) => {
    try {
      new RegExp(text);
      return true;
    } catch {
      return false;
    }
  },
  { message: 'is not a regular expression' },
);

/** Only these are replaced on the compute node; anything else in braces is a mistake, never a command. */
const nodeAddress = z.string().regex(/^(?:[A-Za-z0-9.-]|\{hostname(?: -[sf])?\})+$/, {
  message: 'must be a host or interface name, which may hold {hostname}, {hostname -s} or {hostname -f}',
});

const hostAndPort = z.string().regex(/^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?$/i, {
  message: 'must be a host name such as user-content.example.edu, without https://',
});

const sshHost = '[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\\d{1,5})?';

const sshSchema = z.strictObject({
  login: z
    .string()
    .regex(new RegExp(`^${sshHost}$`), { message: 'must be HOST or HOST:PORT, as ssh is given it outside' })
    .optional(),
  jump: z
    .string()
    .regex(new RegExp(`^(?:[\\w.-]+@)?${sshHost}(?:,(?:[\\w.-]+@)?${sshHost})*$`), {
      message: 'must be [USER@]HOST[:PORT], several with commas between, as "ssh -J" takes them',
    })
    .optional(),
  computeNodes: z.boolean().optional(),
});

const partitionSchema = z.strictObject({
  maxTime: typed(parseDuration).optional(),
  gpu: z.boolean().optional(),
  maxGpus: z.number().int().positive().optional(),
});

/** A name that stands in a request for resources, where `:`, `=` and `,` would begin another one. */
const resourceName = z.string().regex(/^[A-Za-z][\w-]*$/, { message: 'must be the name of a resource' });

const pbsDialect = z.strictObject({
  request: z.enum(['select', 'nodes']).optional(),
  memory: resourceName.optional(),
  gpu: resourceName.optional(),
  gpuType: resourceName.optional(),
  place: z
    .string()
    .regex(/^[a-z]+(?::[a-z]+(?:=[A-Za-z][\w-]*)?)*$/, {
      message: 'must be a placement such as scatter:excl',
    })
    .optional(),
});

const sgeDialect = z.strictObject({
  parallelEnvironment: resourceName.optional(),
  memory: resourceName.optional(),
  gpu: resourceName.optional(),
  gpuType: resourceName.optional(),
  notify: z.boolean().optional(),
});

const systemSchema = z.strictObject({
  title: z.string().optional(),
  detect: z
    .strictObject({
      hostname: pattern.optional(),
      clusterName: z.string().optional(),
      env: z.record(z.string(), pattern).optional(),
      file: z.string().optional(),
    })
    .optional(),
  scheduler: z.enum(schedulerNames).optional(),
  proxy: z.strictObject({ endpoint: hostAndPort, caFile: z.string().optional() }).optional(),
  nodeAddress: nodeAddress.optional(),
  ssh: sshSchema.optional(),
  requireAccount: z.boolean().optional(),
  gpuDirective: z.enum(['gpus', 'gres', 'none']).optional(),
  pbs: pbsDialect.optional(),
  sge: sgeDialect.optional(),
  lsf: z.strictObject({ memoryPer: z.enum(['job', 'task']).optional() }).optional(),
  defaults: z.strictObject(systemSettingShape).optional(),
  profiles: z.record(z.string(), z.strictObject(systemSettingShape)).optional(),
  partitions: z.record(z.string(), partitionSchema).optional(),
});

/** A project's file holds settings only: who can write to a directory must not say which proxy is trusted. */
export const projectFileSchema = z.strictObject(settingShape);
export const fileSchema = z.strictObject({
  ...settingShape,
  systems: z.record(z.string(), systemSchema).optional(),
});

export type SystemEntry = z.output<typeof systemSchema>;
export type ConfigFile = z.output<typeof fileSchema>;

/** The keys that are allowed at a path of `schema`, for naming the one nearest to a mistyped one. */
export function knownKeys(schema: z.ZodType, keyPath: readonly PropertyKey[]): string[] {
  let current: unknown = schema;
  for (const key of keyPath) {
    current = unwrapped(current);
    if (current instanceof z.ZodObject) current = current.shape[String(key)];
    else if (current instanceof z.ZodRecord) current = current.valueType;
    else return [];
  }
  current = unwrapped(current);
  return current instanceof z.ZodObject ? Object.keys(current.shape) : [];
}

function unwrapped(schema: unknown): unknown {
  return schema instanceof z.ZodOptional ? unwrapped(schema.unwrap()) : schema;
}
