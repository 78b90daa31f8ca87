/** Options as somebody would type them. */
import { shellQuote } from '../batch/quote.ts';
import { type OptionDefinition, type OptionKey, type OptionValues, optionKeys, options } from '../options.ts';
import type { GpuRequest } from '../values.ts';

/** A value of an option as one text, which the option reads as the same value. */
export function optionText(key: OptionKey, value: unknown): string {
  if (key === 'gpu') {
    const { type, count } = value as GpuRequest;
    return type === undefined ? String(count) : `${type}:${count}`;
  }
  if (typeof value === 'number') {
    if (key === 'memory') return value % 1024 === 0 ? `${value / 1024}G` : `${value}M`;
    if (key === 'time' || key === 'wait' || key === 'idleTimeout') return durationText(value);
  }
  return Array.isArray(value) ? value.join(',') : String(value);
}

/** `1d2h30m`, nothing rounded. */
function durationText(seconds: number): string {
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor((seconds % 86_400) / 3600), 'h'],
    [Math.floor((seconds % 3600) / 60), 'm'],
    [seconds % 60, 's'],
  ] as const;
  return parts
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join('');
}

/**
 * The command line that says the same, for a shell: one line where it fits into `width` columns, else several that end with
 * a backslash. An option and its value stay together.
 */
export function commandLine(typed: OptionValues, schedulerArguments: readonly string[], width = 80): string {
  const parts = [
    'start-jupyter',
    ...optionKeys.filter((key) => key !== 'interactive').flatMap((key) => words(key, typed[key])),
    ...(schedulerArguments.length === 0 ? [] : ['--', ...schedulerArguments.map(quoted)]),
  ];
  const lines: string[] = [];
  for (const part of parts) {
    const last = lines.at(-1);
    // Two columns for the space and the backslash.
    if (last !== undefined && last.length + 1 + part.length <= width - 2)
      lines[lines.length - 1] = `${last} ${part}`;
    else lines.push(last === undefined ? part : `    ${part}`);
  }
  return lines.join(' \\\n');
}

/** The same as words of an argument list, without any quotes. */
export function optionWords(typed: OptionValues): string[] {
  return optionKeys.flatMap((key) => {
    const value: unknown = typed[key];
    if (value === undefined || value === false) return [];
    const name = `--${options[key].flag}`;
    if (value === true) return [name];
    const texts = Array.isArray(value) && key !== 'module' ? value.map(String) : [optionText(key, value)];
    return texts.map((text) => `${name}=${text}`);
  });
}

/** An option with its value, ready for a shell; several where it must be repeated. */
function words(key: OptionKey, value: unknown): string[] {
  if (value === undefined || value === false) return [];
  const { flag, short }: OptionDefinition = options[key];
  const name = short === undefined ? `--${flag}` : `-${short}`;
  if (value === true) return [name];
  if (key === 'service') return [`--${value}`];
  const texts = Array.isArray(value) && key !== 'module' ? value.map(String) : [optionText(key, value)];
  return texts.map((text) =>
    // What begins with a dash, or may be left out, stands in one word with its option.
    text.startsWith('-') || key === 'wait' ? `--${flag}=${quoted(text)}` : `${name} ${quoted(text)}`,
  );
}

/** Quoted where a shell would take it for something else; a home directory stays readable. */
function quoted(text: string): string {
  if (/^~\/[\w@%+=:,./-]*$/.test(text) || text === '~') return text;
  if (!/\p{C}/u.test(text)) return shellQuote(text);
  // Characters that a terminal would obey, in the words of bash, zsh and ksh.
  const escaped = text.replace(/[\\']|\p{C}/gu, (character) =>
    /[\\']/.test(character)
      ? `\\${character}`
      : [...Buffer.from(character)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join(''),
  );
  return `$'${escaped}'`;
}
