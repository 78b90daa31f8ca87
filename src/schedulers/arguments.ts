/** What stands after "--" on the command line, read as the command that submits the job will read it. */

/** An option with its value, or a word that belongs to none. */
export interface Argument {
  /** As it was written. */
  readonly typed: string;
  /** By its full name, `-t` or `--time`; undefined: a word that belongs to no option, such as a script. */
  readonly option: string | undefined;
  readonly value?: string | undefined;
  /** Of an option that isn't known, so that `value` may be a word of its own. */
  readonly unknown?: true;
  /** The value that it must have isn't there. */
  readonly incomplete?: true;
}

/** Why a launch can't pass an argument on. */
export interface Unfit {
  /** As it was written. */
  readonly typed: string;
  /**
   * - own: the launcher sets it itself.
   * - time: the time limit, which the job must know.
   * - answer: the command prints something, and submits nothing.
   * - script: it would be submitted in place of the session.
   * - unclear: it may be the value of the option before it, or a script.
   * - incomplete: it lacks its value, and would take what comes next for it.
   */
  readonly why: 'own' | 'time' | 'answer' | 'script' | 'unclear' | 'incomplete';
}

/** Arguments that no launch can do with, whatever the scheduler; `why` says it of options. */
export function unfitAmong(
  args: readonly Argument[],
  why: (argument: Argument & { readonly option: string }) => Unfit['why'] | undefined,
): Unfit[] {
  const reason = (argument: Argument) => {
    const { option } = argument;
    if (option === undefined) return 'script';
    return why({ ...argument, option }) ?? (argument.incomplete ? 'incomplete' : undefined);
  };
  return args.flatMap((argument) => {
    const found = reason(argument);
    return found === undefined ? [] : [{ typed: argument.typed, why: found }];
  });
}

/** Everything that is no option ends the options: what follows it are a script's own arguments. */
const endsOptions = (word: string) => !/^-(?:[^-]|-.)/s.test(word);

// ---- getopt(3) ------------------------------------------------------------------------------------------------------

type Arity = 'none' | 'required' | 'optional';

export interface Grammar {
  /** Letters as getopt(3) takes them: `a:` needs a value, `k::` may have one in the same word. */
  readonly letters: string;
  /** Names without their dashes. */
  readonly names?: ReadonlyMap<string, Arity>;
}

/** Reads arguments as getopt_long(3) does: letters in one word, names shortened, values in the same word or the next. */
export function readGetopt(args: readonly string[], grammar: Grammar): Argument[] {
  const read: Argument[] = [];
  const rest = [...args];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (endsOptions(word)) return [...read, { typed: word, option: undefined }];
    read.push(...(word.startsWith('--') ? [byName(word, rest, grammar)] : byLetters(word, rest, grammar)));
  }
  return read;
}

/** @param rest what follows; a value is taken from it */
function byName(word: string, rest: string[], { names = new Map() }: Grammar): Argument {
  const [, typedName = '', inWord] = /^--([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
  const fitting = [...names.keys()].filter((name) => name.startsWith(typedName));
  const name = names.has(typedName) ? typedName : fitting.length === 1 ? fitting[0] : undefined;
  if (name === undefined) return unknown(word, inWord, rest);
  return withValue(word, `--${name}`, names.get(name) ?? 'none', inWord, rest);
}

function byLetters(word: string, rest: string[], { letters }: Grammar): Argument[] {
  const read: Argument[] = [];
  for (let at = 1; at < word.length; at++) {
    const option = `-${word[at]}`;
    const inWord = word.slice(at + 1) || undefined;
    const arity = arityOf(word[at] as string, letters);
    if (arity === undefined) return [...read, unknown(word, inWord, rest)];
    if (arity !== 'none') return [...read, withValue(word, option, arity, inWord, rest)];
    read.push({ typed: word, option });
  }
  return read;
}

function arityOf(letter: string, letters: string): Arity | undefined {
  const at = letters.indexOf(letter);
  if (at === -1 || letter === ':') return undefined;
  if (letters.startsWith('::', at + 1)) return 'optional';
  return letters[at + 1] === ':' ? 'required' : 'none';
}

function withValue(
  typed: string,
  option: string,
  arity: Arity,
  inWord: string | undefined,
  rest: string[],
): Argument {
  if (inWord !== undefined || arity !== 'required') return { typed, option, value: inWord };
  const value = rest.shift();
  return value === undefined ? { typed, option, incomplete: true } : { typed, option, value };
}

/** With the next word, where that may be its value. */
function unknown(typed: string, inWord: string | undefined, rest: string[]): Argument {
  const value = inWord ?? (rest[0] !== undefined && endsOptions(rest[0]) ? rest.shift() : undefined);
  return { typed, option: typed, value, ...(inWord === undefined && { unknown: true }) };
}

// ---- Words ----------------------------------------------------------------------------------------------------------

/**
 * Reads arguments of a command whose options are words of their own (`-hold_jid 7`).
 * @param valuesOf how many words belong to an option that stands before `next`; undefined where that isn't known: it gets one
 */
export function readWords(
  args: readonly string[],
  valuesOf: (option: string, next: string | undefined) => number | undefined,
): Argument[] {
  const read: Argument[] = [];
  const rest = [...args];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (endsOptions(word)) return [...read, { typed: word, option: undefined }];
    const count = valuesOf(word, rest[0]);
    read.push(
      count === undefined
        ? unknown(word, undefined, rest)
        : { typed: word, option: word, value: rest.splice(0, count).join(' ') },
    );
  }
  return read;
}
