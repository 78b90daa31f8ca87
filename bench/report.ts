/** The median of several values, and the least and the greatest of them. */
export interface Spread {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** One measured value, or the median of several. */
export interface Row extends Partial<Spread> {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  /** Where it stands, if in a table. */
  readonly cell?: { readonly table: string; readonly line: string; readonly column: string };
}

/** One line of a table. */
export interface Line {
  readonly name: string;
  readonly values: readonly Spread[];
}

/** Collects what a run finds, and says each thing as it is found, so that a long run shows where it is. */
export class Report {
  readonly rows: Row[] = [];
  /** Versions of what was measured, by name. */
  readonly programs: Record<string, string> = {};
  /** Tells people something. */
  readonly say: (line: string) => void;

  constructor(say: (line: string) => void) {
    this.say = say;
  }

  addProgram(name: string, version: string): void {
    this.programs[name] = version;
    this.say(`${name} ${version}`);
  }

  add(what: string, found: number | Spread, unit: string): void {
    const spread = typeof found === 'number' ? { value: found } : found;
    this.rows.push({ what, ...spread, unit });
    this.say(`${what.padEnd(72)} ${shown(spread.value).padStart(9)} ${unit}${margin(spread)}`);
  }

  /** Values for several of a kind, side by side: each is a row of its own, "title, line: column". */
  table(
    title: string,
    columns: readonly { readonly name: string; readonly unit: string }[],
    lines: readonly Line[],
  ): void {
    const text = [['', ...columns.map(({ name, unit }) => (unit === '' ? name : `${name} (${unit})`))]];
    for (const { name: line, values } of lines) {
      const cells = values.map((spread, i) => {
        const { name = '', unit = '' } = columns[i] ?? {};
        const cell = { table: title, line, column: name };
        this.rows.push({ what: `${title}, ${line}: ${name}`, ...spread, unit, cell });
        return shown(spread.value) + margin(spread);
      });
      text.push([line, ...cells]);
    }
    const widths = range(columns.length + 1).map((i) =>
      Math.max(...text.map((cells) => cells[i]?.length ?? 0)),
    );
    this.say(`\n${title}`);
    for (const [first = '', ...rest] of text)
      this.say(
        [first.padEnd(widths[0] ?? 0), ...rest.map((cell, i) => cell.padStart(widths[i + 1] ?? 0))].join(
          '  ',
        ),
      );
  }
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

function margin({ value, low = value, high = value }: Partial<Spread> & { value: number }): string {
  return low === high ? '' : ` [${shown(low)}–${shown(high)}]`;
}

function shown(value: number): string {
  if (Math.abs(value) >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return value.toPrecision(3);
}
