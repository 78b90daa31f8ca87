import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { shellQuote } from '../../src/batch/quote.ts';
import {
  renderOwnTemplate,
  renderScript,
  renderTemplate,
  type TemplateValue,
} from '../../src/batch/render.ts';
import { temporaryDirectory } from '../support/directories.ts';

/** What no template, quoting or shell may take for anything but text. */
const hostile: Readonly<Record<string, string>> = {
  empty: '',
  spaces: '  a  b  ',
  'single quotes': "it's ' '' '\\''",
  'double quotes': 'say "hi" ""',
  'a substitution': '$(touch pwned) `touch pwned` \u0024{HOME} $HOME $$ $1',
  'an end of the assignment': 'x; touch pwned #',
  'an end of the quotes': "'; touch pwned; echo '",
  'an end of a list': ') ; touch pwned; x=(',
  newlines: 'a\nb\n\nc\n',
  'a carriage return': 'a\r\nb\r',
  tabs: '\ta\t',
  backslashes: '\\ \\n \\\\ \\',
  globs: '* ? [a-z] {a,b} ~ ~root !! !1',
  'a comment': '# not one',
  'a directive': '\n#SBATCH --account=other\n',
  'template braces': '{{sessionId}} {{> http.sh}} # {{directives}}',
  options: '-n -e --help',
  unicode: 'Zoë 名前 \u202e 👩‍🔬 e\u0301 \u00a0',
  'control characters': '\u0001\u0007\u001b[31m\u007f',
  '10 KB': `'"$(x)\n`.repeat(1450),
};

/** Runs a script and returns what it prints, with a directory of its own to do damage in. */
function bash(script: string): string {
  const cwd = temporaryDirectory();
  const file = path.join(cwd, 'script.sh');
  writeFileSync(file, script);
  return execFileSync('bash', ['-u', file], {
    cwd,
    encoding: 'utf8',
    env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8' },
  });
}

describe.each(Object.entries(hostile))('%s', (_, text) => {
  it('survives quoting as it is', () => {
    expect(bash(`printf %s ${shellQuote(text)}`)).toBe(text);
  });

  it('survives a rendered assignment as it is, and so does what stands around it', () => {
    const script = renderTemplate('before=1\nvalue={{value}} # said once\nafter=2\n', [], { value: text });
    expect(bash(`${script}printf '%s' "$before/$value/$after"\nls`)).toBe(`1/${text}/2script.sh\n`);
  });

  it('survives a rendered list as it is', () => {
    const script = renderTemplate('values=({{values}})\n', [], { values: [text, 'x', text] });
    expect(bash(`${script}printf '%s|' "\${#values[@]}" "\${values[@]}"\nls`)).toBe(
      `3|${text}|x|${text}|script.sh\n`,
    );
  });
});

it('renders an empty list as an empty list', () => {
  expect(bash(`${renderTemplate('values=({{values}})\n', [], { values: [] })}echo "\${#values[@]}"`)).toBe(
    '0\n',
  );
});

it('renders numbers', () => {
  expect(renderTemplate('n={{n}}\n', [], { n: 5 })).toBe('n=5\n');
});

it('refuses a NUL character, which no shell word can hold', () => {
  expect(() => renderTemplate('value={{value}}\n', [], { value: 'a\0b' })).toThrow(/NUL/);
  expect(() => shellQuote('a\0b')).toThrow(RangeError);
});

describe('a placeholder is refused', () => {
  const values: Record<string, TemplateValue> = { value: 'x', values: ['x'] };
  test.each([
    ['within double quotes', 'name="{{value}}"'],
    ['within single quotes', "name='{{value}}'"],
    ['after other text', 'name=a{{value}}'],
    ['before other text', 'name={{value}}a'],
    ['as an argument', 'echo {{value}}'],
    ['as a command', '{{value}}'],
    ['in a comment', '# {{value}}'],
    ['in the comment of an assignment', 'name=x # {{value}}'],
    ['in a second assignment', 'one={{value}} two={{value}}'],
    ['behind a semicolon', 'one=1; two={{value}}'],
    ['indented', '  name={{value}}'],
    ['as an exported one', 'export name={{value}}'],
    ['in a here-document', 'cat <<<{{value}}'],
    ['as a list where a word is meant', 'name={{values}}'],
    ['as a word where a list is meant', 'name=({{value}})'],
    ['as a part of a list', 'name=(a {{values}})'],
    ['appending', 'name+={{value}}'],
    ['as an element', 'name[0]={{value}}'],
    ['without a value', 'name={{nothing}}'],
    ['of two words', 'name={{ value }}'],
    ['left open', 'name={{value'],
    ['as a partial outside of the directory', '# {{> ../slurm.sh}}'],
    ['as a partial that does not exist', '# {{> nothing.sh}}'],
    ['as directives with a text', '# {{directives}} x'],
  ])('%s', (_, line) => {
    expect(() => renderTemplate(`${line}\n`, [], values)).toThrow();
  });
});

it('refuses a directive of several lines, which would be one more directive', () => {
  for (const end of ['\n', '\r', '\0']) {
    expect(() => renderScript('slurm', [`#SBATCH --account=a${end}#SBATCH --uid=0`], {})).toThrow(/one line/);
  }
});

it("refuses lines that end as on Windows in a template of one's own, in words", () => {
  const file = path.join(temporaryDirectory(), 'own.sh');
  writeFileSync(file, '#!/bin/bash\r\nsession={{sessionId}}\r\n# {{> site.sh}}\r\n');
  expect(() => renderOwnTemplate(file, [], { sessionId: 'abcdef' })).toThrow(
    /own\.sh end as on Windows.*dos2unix" mends that$/,
  );
});
