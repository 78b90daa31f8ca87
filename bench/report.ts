/** One measured value. */
export interface Row {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  /** The least and the greatest, where it is the median of several. */
  readonly low?: number;
  readonly high?: number;
}

/** One line of a table. */
export interface Line {
  readonly name: string;
  readonly values: readonly { readonly value: number; readonly low: number; readonly high: number }[];
}

/** Collects what a run finds, and says each thing as it is found, so that a long run shows where it is. */
export class Report {
  readonly rows: Row[] = [];
  /** Tells people something. */
  readonly say: (line: string) => void;

  constructor(say: (line: string) => void) {
    this.say = say;
  }

  add(what: string, value: number, unit: string): void {
    this.rows.push({ what, value, unit });
    this.say(`${what.padEnd(72)} ${shown(value).padStart(9)} ${unit}`);
  }

  /** Values for several of a kind, side by side: each is a row of its own, "title, line: column". */
  table(
    title: string,
    columns: readonly { readonly name: string; readonly unit: string }[],
    lines: readonly Line[],
  ): void {
    const text = [['', ...columns.map(({ name, unit }) => (unit === '' ? name : `${name} (${unit})`))]];
    for (const { name: line, values } of lines) {
      const cells = values.map(({ value, low, high }, i) => {
        const { name = '', unit = '' } = columns[i] ?? {};
        this.rows.push({ what: `${title}, ${line}: ${name}`, value, unit, low, high });
        return low === high ? shown(value) : `${shown(value)} [${shown(low)}–${shown(high)}]`;
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

function shown(value: number): string {
  if (Math.abs(value) >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return value.toPrecision(3);
}
