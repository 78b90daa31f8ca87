/** How the findings are shown: one line each where it fits, what to do below, at most 80 columns. */
import { paint } from '../ui/style.ts';
import { alignColumns } from '../ui/table.ts';
import { printable, shown } from '../values.ts';
import type { ClassAccount } from './class.ts';
import { type Area, count, type Finding, type Result } from './finding.ts';

const width = 80;
const titleWidth = 20;
const indent = 2 + 6 + titleWidth;

const marks = {
  ok: ['ok', 'green'],
  warn: ['warn', 'yellow'],
  fail: ['FAIL', 'red'],
  skipped: ['-', 'dim'],
} as const satisfies Record<Result, readonly [string, string]>;

export function areaLines({ name, findings }: Area, stream: NodeJS.WriteStream): string[] {
  return [paint(stream, 'bold', name), ...findings.flatMap((finding) => findingLines(finding, stream)), ''];
}

function findingLines({ title, result, found, advice }: Finding, stream: NodeJS.WriteStream): string[] {
  const [word, colour] = marks[result];
  const [first = '', ...rest] = wrapped(printable(found), width - indent);
  const mark = paint(stream, colour, word) + ' '.repeat(6 - word.length);
  const todo = advice === undefined ? [] : wrapped(printable(advice), width - indent - 2);
  return [
    `  ${mark}${title.padEnd(titleWidth)}${first}`.trimEnd(),
    ...rest.map((line) => ' '.repeat(indent) + line),
    ...todo.map(
      (line, index) => ' '.repeat(indent) + paint(stream, colour, (index === 0 ? '> ' : '  ') + line),
    ),
  ];
}

/** At spaces; a word that is too long (a path) is left whole, to be copied. */
function wrapped(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= columns)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** Those in trouble first. */
export function accountLines(accounts: readonly ClassAccount[], stream: NodeJS.WriteStream): string[] {
  if (accounts.length === 0) return [];
  const sorted = accounts.toSorted((a, b) => Number(b.problems.length > 0) - Number(a.problems.length > 0));
  const cells = sorted.map(({ user, account, home, problems }) => [
    shown(user, 16),
    shown(account ?? '-', 14),
    shown(home ?? '-', 22),
    problems.length === 0 ? 'ok' : '',
  ]);
  const [header = '', ...lines] = alignColumns([
    ['  USER', 'CHARGED TO', 'HOME', ''],
    ...cells.map((row) => [`  ${row[0]}`, ...row.slice(1)]),
  ]);
  return [
    paint(stream, 'bold', header),
    ...lines.flatMap((line, index) => {
      const problems = sorted[index]?.problems ?? [];
      return [
        paint(stream, problems.length === 0 ? 'green' : 'red', line),
        ...problems.flatMap((problem) =>
          wrapped(printable(problem), width - 6).map((part) => `      ${part}`),
        ),
      ];
    }),
    '',
  ];
}

/** @param consequence of what failed */
export function summaryLine(areas: readonly Area[], consequence: string): string {
  const failed = count(areas, 'fail');
  const warned = count(areas, 'warn');
  const warnings = warned === 1 ? '1 warning' : `${warned} warnings`;
  if (failed > 0)
    return `${failed} of ${areas.flatMap(({ findings }) => findings).length} checks failed, ${warnings}: ${consequence}.`;
  return warned > 0 ? `Nothing failed, ${warnings}.` : 'All is well.';
}
