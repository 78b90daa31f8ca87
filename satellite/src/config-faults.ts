import type * as z from 'zod';
import { nearest } from './nearest.ts';

type Issue = z.core.$ZodIssue;

/** What a key may hold, by zod's name for it. */
const kinds: Readonly<Record<string, string>> = {
  string: 'a text; put it in quotes',
  boolean: 'true or false',
  array: 'a list',
  object: 'keys and values',
  record: 'keys and values',
};

/** What is wrong with a value, where its schema has no words of its own for it. For `error` of zod's parse. */
export function inWords(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? 'is needed' : `must be ${kinds[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return issue.input === undefined ? 'is needed' : `must be ${issue.values.join(' or ')}`;
    case 'too_small':
      return issue.origin === 'number' ? 'is too small' : 'is empty';
    case 'too_big':
      return issue.origin === 'string' ? `is longer than ${issue.maximum} characters` : 'is too large';
    default:
      return undefined;
  }
}

/** A line for each fault, unknown keys first: what they stand for is often what is missing. */
export function faultLines(
  issues: readonly Issue[],
  knownKeys: (path: readonly PropertyKey[]) => readonly string[],
): string[] {
  const faults = issues.flatMap(closest);
  const isUnknown = ({ code }: Issue) => code === 'unrecognized_keys';
  return [...faults.filter(isUnknown), ...faults.filter((issue) => !isUnknown(issue))].flatMap((issue) => {
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => unknownKey([...issue.path, key].join('.'), key, knownKeys(issue.path)));
    return [`${issue.path.join('.')}: ${issue.message}`];
  });
}

/**
 * Of several things that a value may be, the one that was meant, where it is something below the value that is wrong; else the
 * issue itself, which names all of them.
 */
function closest(issue: Issue): Issue[] {
  if (issue.code !== 'invalid_union') return [issue];
  const [nearest] = issue.errors
    .map((faults) => faults.flatMap(closest))
    .filter((faults) => isLike(issue.input, faults) && faults.some(isBelow))
    .sort((a, b) => a.length - b.length);
  return nearest?.map((fault) => ({ ...fault, path: [...issue.path, ...fault.path] })) ?? [issue];
}

function isBelow({ code, path }: Issue): boolean {
  return path.length > 0 || code === 'unrecognized_keys';
}

/** Whether a value has at least the kind of what it was held against and, where that has keys, one of them. */
function isLike(value: unknown, faults: readonly Issue[]): boolean {
  const here = faults.filter(({ path }) => path.length === 0);
  if (here.some(({ code }) => ['invalid_type', 'invalid_value', 'invalid_union'].includes(code)))
    return false;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return true;
  const unknown = here.flatMap((issue) => (issue.code === 'unrecognized_keys' ? issue.keys : []));
  return unknown.length < Object.keys(value).length;
}

function unknownKey(full: string, key: string, known: readonly string[]): string {
  const meant = nearest(key, known);
  const hint = meant === undefined ? `known keys are ${known.join(', ')}.` : `did you mean ${meant}?`;
  return `${full}: is not a known key; ${hint}`;
}
