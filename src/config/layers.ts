/** The merge of the layers: each setting's value and where it came from; the last layer that says something wins. */
import { nearest } from 'satellite/nearest';
import { UsageError } from '../errors.ts';
import {
  environmentVariable,
  flagOf,
  isSetting,
  type OptionKey,
  type OptionValues,
  optionKeys,
  options,
} from '../options.ts';
import { InvalidValue } from '../values.ts';
import type { LoadedFile } from './files.ts';
import type { SystemEntry } from './schema.ts';

export interface Layer {
  /** Where its values come from, in words for `--info`. */
  readonly origin: string;
  readonly values: OptionValues;
}

export interface Setting<K extends OptionKey = OptionKey> {
  readonly value: NonNullable<OptionValues[K]>;
  readonly origin: string;
}

export type Settings = { readonly [K in OptionKey]?: Setting<K> };

/** Merges layers, lowest first. */
export function mergeLayers(layers: readonly Layer[]): Settings {
  const merged: Partial<Record<OptionKey, Setting>> = {};
  for (const { origin, values } of layers) {
    for (const key of optionKeys) {
      const value = values[key];
      if (value !== undefined) merged[key] = { value, origin } as Setting;
    }
  }
  return merged as Settings;
}

/** The layer of a configuration file: its settings without its systems. */
export function fileLayer(file: LoadedFile): Layer {
  const { systems: _, ...values } = file.content;
  return { origin: file.path, values: values as OptionValues };
}

/**
 * The layer of the `START_JUPYTER_*` variables.
 * @throws UsageError for a value that its option would refuse.
 */
export function environmentLayers(environment: NodeJS.ProcessEnv): Layer[] {
  return optionKeys.filter(isSetting).flatMap((key) => {
    const variable = environmentVariable(key);
    const text = environment[variable];
    return text === undefined || text === ''
      ? []
      : [{ origin: variable, values: { [key]: readOption(key, text, variable) } }];
  });
}

const variablePrefix = 'START_JUPYTER_';

/**
 * `START_JUPYTER_*` variables that say nothing to this program and are spelled much like one that does. Others with that
 * beginning may be a site's own, such as those of its modules.
 */
export function misspeltVariables(
  environment: NodeJS.ProcessEnv,
): { readonly name: string; readonly meant: string }[] {
  const settings = optionKeys.filter(isSetting).map(environmentVariable);
  const ending = (name: string) => name.slice(variablePrefix.length);
  return Object.keys(environment)
    .filter((name) => name.startsWith(variablePrefix) && !settings.includes(name))
    .flatMap((name) => {
      const near = nearest(ending(name), settings.map(ending));
      return near === undefined ? [] : { name, meant: variablePrefix + near };
    });
}

/**
 * Reads one option's text.
 * @throws UsageError that names the flag (or variable), the reason and what to type instead.
 */
export function readOption<K extends OptionKey>(
  key: K,
  input: unknown,
  name: string = flagOf(key),
): OptionValues[K] {
  try {
    return options[key].read(input) as OptionValues[K];
  } catch (error) {
    if (!(error instanceof InvalidValue)) throw error;
    throw new UsageError(`${name}: ${error.message}.`);
  }
}

/** The systems of all files by name; a later file's keys win inside an entry, its `defaults`, `partitions` and `profiles` are merged key by key. */
export function mergeSystems(files: readonly LoadedFile[]): Map<string, SystemEntry> {
  const systems = new Map<string, SystemEntry>();
  for (const { content } of files) {
    for (const [name, entry] of Object.entries(content.systems ?? {})) {
      const earlier = systems.get(name) ?? {};
      systems.set(name, {
        ...earlier,
        ...entry,
        defaults: { ...earlier.defaults, ...entry.defaults },
        partitions: { ...earlier.partitions, ...entry.partitions },
        profiles: { ...earlier.profiles, ...entry.profiles },
      });
    }
  }
  return systems;
}
