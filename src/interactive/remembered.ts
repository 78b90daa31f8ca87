/** The last answers, by system, in `answers.json` of the user's state directory. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import * as z from 'zod/mini';
import { makeDirectory, replaceFile, systemWords } from '../file-system.ts';
import { userDirectory } from '../user-directories.ts';
import { shown } from '../values.ts';
import type { Answers } from './questions.ts';

const schema = z.record(z.string(), z.record(z.string(), z.string()));

function answersFile(): string {
  return path.join(userDirectory('XDG_STATE_HOME'), 'answers.json');
}

export interface Remembered {
  readonly answers: Answers;
  /** Why nothing could be read, in a sentence; undefined where all is well. */
  readonly problem: string | undefined;
}

export function recall(system: string): Remembered {
  try {
    const all = readAll();
    return { answers: Object.hasOwn(all, system) ? (all[system] as Answers) : {}, problem: undefined };
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const why = 'code' in (error as object) ? systemWords(error) : 'it is damaged';
    return {
      answers: {},
      problem: isMissing ? undefined : `Your last answers are ignored: ${shown(answersFile(), 200)}: ${why}.`,
    };
  }
}

/** @returns why they could not be kept, in a sentence; undefined where they are */
export function remember(system: string, answers: Answers): string | undefined {
  let all: z.output<typeof schema> = {};
  try {
    all = readAll();
  } catch {
    // There are none yet, or nobody can read them: what is written now is readable.
  }
  try {
    const own = { ...(Object.hasOwn(all, system) ? all[system] : {}), ...answers };
    const entries = [...Object.entries(all).filter(([name]) => name !== system), [system, own]];
    makeDirectory(path.dirname(answersFile()));
    replaceFile(answersFile(), `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`);
    return undefined;
  } catch (error) {
    return `Your answers could not be kept: ${shown(answersFile(), 200)}: ${systemWords(error)}.`;
  }
}

/** @throws where there are none, or something else stands in their place */
function readAll(): z.output<typeof schema> {
  return schema.parse(JSON.parse(readFileSync(answersFile(), 'utf8')));
}
