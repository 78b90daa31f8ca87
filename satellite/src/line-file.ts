import { writeSync } from 'node:fs';

const NEWLINE = 10;

/** Writes some of these bytes, as write(2) does: how many is returned. */
export type Write = (bytes: Buffer) => number;

/**
 * A file of lines whose disk may be full. A line that found no room for its end is ended before the next one begins, and
 * how many lines are missing is said as soon as there is room again.
 */
export class LineFile {
  readonly #write: Write;
  readonly #lossLine: (lines: number) => string;
  /** The file ends within a line. */
  #isBroken = false;
  #lost = 0;

  /** `lossLine` is the line that says how many were lost. */
  constructor(lossLine: (lines: number) => string, write: Write = (bytes) => writeSync(2, bytes)) {
    this.#lossLine = lossLine;
    this.#write = write;
  }

  /** Takes whole lines. */
  append(lines: Buffer): void {
    const isReady = this.#lost === 0 || this.#tellLoss();
    const written = isReady ? this.#put(lines) : 0;
    this.#lost += linesIn(lines.subarray(written));
  }

  #tellLoss(): boolean {
    const line = Buffer.from(`${this.#isBroken ? '\n' : ''}${this.#lossLine(this.#lost)}`);
    if (this.#put(line) < line.length) return false;
    this.#lost = 0;
    return true;
  }

  /** As much as there is room for; says how much that was. */
  #put(bytes: Buffer): number {
    let written = 0;
    try {
      while (written < bytes.length) {
        written += this.#write(bytes.subarray(written));
        this.#isBroken = bytes[written - 1] !== NEWLINE;
      }
    } catch {
      // No room (ENOSPC, EDQUOT) or a disk that is away: the next write tries again.
    }
    return written;
  }
}

function linesIn(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) lines += 1;
  return lines;
}
