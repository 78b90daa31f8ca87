/** One measured value. */
export interface Row {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
}

/** Collects what a run finds, and says each thing as it is found, so that a long run shows where it is. */
export class Report {
  readonly rows: Row[] = [];
  readonly #say: (line: string) => void;

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  add(what: string, value: number, unit: string): void {
    this.rows.push({ what, value, unit });
    this.#say(`${what.padEnd(72)} ${shown(value).padStart(9)} ${unit}`);
  }
}

function shown(value: number): string {
  if (Math.abs(value) >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return value.toPrecision(3);
}
