import { quantile } from '../bench.ts';
import type { Report, Spread } from '../report.ts';

/**
 * Adds a table of times in milliseconds, and of the ratios in each round of those in `ratiosOf` to everybody's: medians, and
 * between what a tenth and nine tenths of them lie.
 */
export function compareTimes(
  what: string,
  times: ReadonlyMap<string, readonly number[]>,
  ratiosOf: readonly string[],
  report: Report,
): void {
  report.table(
    what,
    [{ name: 'time', unit: 'ms' }, ...ratiosOf.map((name) => ({ name: `${name} ÷ it`, unit: '' }))],
    [...times].map(([name, own]) => ({
      name,
      values: [
        spread(own),
        ...ratiosOf.map((one) =>
          spread(own.map((time, round) => (times.get(one)?.[round] ?? Number.NaN) / time)),
        ),
      ],
    })),
  );
}

const spread = (values: readonly number[]): Spread => ({
  value: quantile(values, 0.5),
  low: quantile(values, 0.1),
  high: quantile(values, 0.9),
});
