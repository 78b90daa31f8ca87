/** The one schema of configuration files; types come from it. */
import * as z from 'zod/mini';
import { isSetting, optionKeys, options, typed } from '../options.ts';
import { InvalidValue, parseDuration, parseName } from '../values.ts';

// Code that is made for a schema pays for itself after hundreds of values; a run of the program reads a few files.
z.config({ jitless: true });

export const schedulerNames = ['slurm', 'pbs', 'torque', 'sge', 'lsf', 'none'] as const;
export type SchedulerName = (typeof schedulerNames)[number];

/** A schema of one reader's values, with its complaint. */
function read<T>(reader: (input: unknown) => T): z.ZodMiniTransform<T> {
  return z.transform((input, context) => {
    try {
      return reader(input);
    } catch (error) {
      if (!(error instanceof InvalidValue)) throw error;
      context.issues.push({ code: 'custom', message: error.message, input });
      return z.NEVER;
    }
  });
}

const settingShape: Record<string, z.ZodMiniType> = Object.fromEntries(
  optionKeys.filter(isSetting).map((key) => [key, z.optional(read<unknown>(options[key].read))]),
);

/** What a system can say itself: it is chosen when its settings are looked at, and so is the profile. */
const { system: _, profile: __, ...systemSettingShape } = settingShape;

const pattern = z.string().check(
  z.refine((text) => {
    try {
      new RegExp(text);
      return true;
    } catch {
      return false;
    }
  }, 'is not a regular expression'),
);

/** Only these are replaced on the compute node; anything else in braces is a mistake, never a command. */
const nodeAddress = matching(
  /^(?:[A-Za-z0-9.-]|\{hostname(?: -[sf])?\})+$/,
  'must be a host or interface name, which may hold {hostname}, {hostname -s} or {hostname -f}',
);

const hostAndPort = matching(
  /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?$/i,
  'must be a host name such as user-content.example.edu, without https://',
).check(portsExist());

const sshHost = '[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\\d{1,5})?';

const sshSchema = z.strictObject({
  login: z.optional(
    matching(new RegExp(`^${sshHost}$`), 'must be HOST or HOST:PORT, as ssh is given it outside').check(
      portsExist(),
    ),
  ),
  jump: z.optional(
    matching(
      new RegExp(`^(?:[\\w.-]+@)?${sshHost}(?:,(?:[\\w.-]+@)?${sshHost})*$`),
      'must be [USER@]HOST[:PORT], several with commas between, as "ssh -J" takes them',
    ).check(portsExist()),
  ),
  computeNodes: z.optional(z.boolean()),
});

const partitionSchema = z.strictObject({
  maxTime: z.optional(read(typed(parseDuration))),
  gpu: z.optional(z.boolean()),
  maxGpus: z.optional(z.int().check(z.positive())),
});

/** A name that stands in a request for resources, where `:`, `=` and `,` would begin another one. */
const resourceName = matching(/^[A-Za-z][\w-]*$/, 'must be the name of a resource');

const pbsDialect = z.strictObject({
  request: z.optional(z.enum(['select', 'nodes'])),
  memory: z.optional(resourceName),
  gpu: z.optional(resourceName),
  gpuType: z.optional(resourceName),
  place: z.optional(
    matching(/^[a-z]+(?::[a-z]+(?:=[A-Za-z][\w-]*)?)*$/, 'must be a placement such as scatter:excl'),
  ),
});

const sgeDialect = z.strictObject({
  parallelEnvironment: z.optional(resourceName),
  memory: z.optional(resourceName),
  gpu: z.optional(resourceName),
  gpuType: z.optional(resourceName),
  notify: z.optional(z.boolean()),
});

const systemSettings = z.strictObject(systemSettingShape);

const systemSchema = z.strictObject({
  title: z.optional(z.string()),
  detect: z.optional(
    z.strictObject({
      hostname: z.optional(pattern),
      clusterName: z.optional(z.string()),
      env: z.optional(z.record(z.string(), pattern)),
      file: z.optional(z.string()),
    }),
  ),
  scheduler: z.optional(z.enum(schedulerNames)),
  proxy: z.optional(z.strictObject({ endpoint: hostAndPort, caFile: z.optional(z.string()) })),
  nodeAddress: z.optional(nodeAddress),
  ssh: z.optional(sshSchema),
  requireAccount: z.optional(z.boolean()),
  gpuDirective: z.optional(z.enum(['gpus', 'gres', 'none'])),
  pbs: z.optional(pbsDialect),
  sge: z.optional(sgeDialect),
  lsf: z.optional(z.strictObject({ memoryPer: z.optional(z.enum(['job', 'task'])) })),
  defaults: z.optional(systemSettings),
  profiles: z.optional(z.record(z.string(), systemSettings)),
  partitions: z.optional(z.record(z.string(), partitionSchema)),
});

/** What `--system` takes. */
const systemName = z.string().check(({ value, issues }) => {
  try {
    parseName(value, 'a system');
  } catch (error) {
    if (!(error instanceof InvalidValue)) throw error;
    issues.push({ code: 'custom', message: error.message, input: value });
  }
});

/** A project's file holds settings only: who can write to a directory must not say which proxy is trusted. */
export const projectFileSchema = z.strictObject(settingShape);
export const fileSchema = z.strictObject({
  ...settingShape,
  systems: z.optional(z.record(systemName, systemSchema)),
});

export type SystemEntry = z.output<typeof systemSchema>;
export type ConfigFile = z.output<typeof fileSchema>;

/** The keys that are allowed at a path of `schema`, for naming the one nearest to a mistyped one. */
export function knownKeys(schema: z.ZodMiniType, keyPath: readonly PropertyKey[]): string[] {
  let current: unknown = schema;
  for (const key of keyPath) {
    current = unwrapped(current);
    if (current instanceof z.ZodMiniObject) current = current.shape[String(key)];
    else if (current instanceof z.ZodMiniRecord) current = current.def.valueType;
    else return [];
  }
  current = unwrapped(current);
  return current instanceof z.ZodMiniObject ? Object.keys(current.shape) : [];
}

function unwrapped(schema: unknown): unknown {
  return schema instanceof z.ZodMiniOptional ? unwrapped(schema.def.innerType) : schema;
}

/** That every port in a text of hosts and ports is one. */
function portsExist(): z.core.$ZodCheck<string> {
  return z.refine(
    (text) => [...text.matchAll(/:(\d+)/g)].every(([, port]) => Number(port) >= 1 && Number(port) <= 65_535),
    'must have a port from 1 to 65535',
  );
}

/** A text of one form, and what to say of others. */
function matching(form: RegExp, message: string): z.ZodMiniString {
  return z.string().check(z.regex(form, message));
}
