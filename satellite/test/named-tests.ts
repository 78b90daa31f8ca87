/**
 * Documents that name tests: a file in backquotes and titles of tests in it in double quotes, with "…" for what is left out.
 * What is named must be there.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';

/** The test files below a folder by the name that documents give them: their path without `.test.ts`, or without `.ts`. */
export function testFiles(folder: URL): Map<string, string> {
  return new Map(
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => [file.replace(/(?:\.test)?\.ts$/, ''), readFileSync(new URL(file, folder), 'utf8')]),
  );
}

/** The cells of the table rows in a piece of Markdown, without heads. */
export function tableRows(markdown: string): string[][] {
  const lines = markdown.split('\n');
  return lines
    .filter(
      (line, at) => line.startsWith('|') && !line.startsWith('| -') && !lines[at + 1]?.startsWith('| -'),
    )
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

/** The text of every string in a program; good enough for titles, which are all on one line. */
function strings(source: string): string[] {
  return [...source.matchAll(/'((?:\\.|[^'\\\n])*)'|"((?:\\.|[^"\\\n])*)"|`((?:\\.|[^`\\])*)`/g)].map(
    ([, single, double, template]) => single ?? double ?? template ?? '',
  );
}

/** @returns how many files are named */
export function expectNamedTests(text: string, files: ReadonlyMap<string, string>): number {
  let source: string | undefined;
  let named = 0;
  for (const [, file, title] of text.matchAll(/`([^`]+)`|"([^"]+)"/g)) {
    if (file !== undefined) {
      source = files.get(file);
      expect(source, `there is no test file ${file}`).toBeDefined();
      named += 1;
      continue;
    }
    const pieces = (title ?? '').split('…').filter((piece) => piece !== '');
    const found = strings(source ?? '').some((each) => pieces.every((piece) => each.includes(piece)));
    expect(found, `no test is called ${title}`).toBe(true);
  }
  return named;
}
