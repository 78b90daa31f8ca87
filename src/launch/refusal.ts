/** What a scheduler's refusal may be about, in terms of the launch. */
import { shellQuote } from '../batch/quote.ts';
import type { Settings } from '../config/layers.ts';
import { optionWords } from '../interactive/command-line.ts';
import { commandLineOrigin } from '../launch-spec.ts';
import { type OptionKey, options } from '../options.ts';

/** Says which of these options were given, and where; which of them may be given, where none was. */
export function aboutOptions(
  keys: readonly OptionKey[],
  settings: Settings,
  schedulerArguments: readonly string[],
): string {
  if (keys.length === 0) return '';
  const given = keys.flatMap((key) => {
    const setting = settings[key];
    if (setting === undefined) return [];
    const { value, origin } = setting;
    const words = optionWords({ [key]: value })
      .map(shellQuote)
      .join(' ');
    return [origin === commandLineOrigin(key) ? words : `${words} (${origin})`];
  });
  if (schedulerArguments.length > 0) given.push('what stands after "--"');
  if (given.length > 0) return `It may be about ${given.join(', ')}. `;
  return `It may be about what was left out: ${keys.map((key) => `--${options[key].flag}`).join(', ')}. `;
}
