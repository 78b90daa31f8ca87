/** `start-jupyter config`: the configuration that a launch would have, and where each value comes from. */
import type { OptionValues } from '../options.ts';
import { resolve, sayIgnored } from '../resolve.ts';
import { printInfo } from './launch-info.ts';

export async function run({ json, ...typed }: OptionValues): Promise<number> {
  const { settings, system, files } = await resolve(typed, { offline: false });
  sayIgnored(settings);
  printInfo(settings, system, { json: Boolean(json), files });
  return 0;
}
