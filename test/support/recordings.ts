import { readFileSync } from 'node:fs';
import path from 'node:path';

/** What a command said, in the form in which the schedulers' parsers take it. */
export interface Recording {
  readonly command: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** Reads `test/recordings/<name>.txt`: the command after `$`, then stdout, stderr and exit, each under its heading. */
export function recording(name: string): Recording {
  const file = path.join(import.meta.dirname, '..', 'recordings', `${name}.txt`);
  const text = readFileSync(file, 'utf8');
  const match =
    /^\$ (?<command>[^\n]*)\n--- stdout\n(?<stdout>.*?)--- stderr\n(?<stderr>.*?)--- exit (?<exit>\d+)\n$/s.exec(
      text,
    );
  if (!match?.groups) throw new Error(`${file} is not a recording`);
  const { command = '', stdout = '', stderr = '', exit = '' } = match.groups;
  return { command, stdout, stderr, exitCode: Number(exit) };
}
