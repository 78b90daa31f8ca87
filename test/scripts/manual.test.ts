import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Command, Option } from 'commander';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { programs } from '../../scripts/documentation.ts';
import { manualPage } from '../../scripts/manual.ts';
import { testWith } from '../support/command.ts';
import { temporaryDirectory } from '../support/directories.ts';

const { run: testWithMandoc, note: withoutMandoc } = testWith('mandoc');
const { run: testWithGroff, note: withoutGroff } = testWith('groff');

const hostile = [
  '.so /etc/passwd',
  String.raw`'br and \fBa \*(xy back\\slash\n ends with \ `,
  'it\'s "quoted" – `not` <meant> ~ ^ - -- --flag Voilà 🙂',
];

function hostileProgram(): Command {
  const program = new Command('dot-program')
    .description(hostile.join('\n'))
    .version('1.0', '-V, --version', '.x');
  program.addHelpText('after', "\nExamples:\n.so /etc/passwd\n\\fBx\n'y");
  for (const [index, text] of hostile.entries()) {
    program.addOption(
      new Option(`-${index}, --option-${index} <A"B>`, text).helpGroup(`Gr"oup \\fB${index}:`),
    );
    program.command(`.command${index} [WHAT]`).description(text).option('--json', text);
  }
  return program;
}

function written(page: string): string {
  const file = path.join(temporaryDirectory(), 'page.1');
  writeFileSync(file, page);
  return file;
}

const facts = { version: '1.0-x', date: '2026-11-22', seeAlso: ['other(1)'] };
const pages = [
  ...programs().map(({ program, manual }) => [program.name(), manual('2026-11-22')] as const),
  ['a program with hostile texts', manualPage(hostileProgram(), facts)] as const,
];

describe.each(pages)('the manual page of %s', (name, page) => {
  testWithMandoc(`gives mandoc nothing to say${withoutMandoc}`, async () => {
    const { all } = await execa('mandoc', ['-Tlint', written(page)], { all: true, reject: false });
    expect(all).toBe('');
  });

  testWithGroff(`gives groff nothing to say, and shows every word${withoutGroff}`, async () => {
    const ran = await execa('groff', ['-man', '-Tutf8', '-ww', '-rLL=200n', written(page)], {
      env: { GROFF_NO_SGR: '1' },
    });
    expect(ran.stderr).toBe('');
    const shown = ran.stdout.replace(/.\x08/g, '');
    expect(shown).toContain('SEE ALSO');
    if (name.includes('hostile'))
      for (const text of hostile) for (const word of text.trim().split(/\s+/)) expect(shown).toContain(word);
  });
});

describe.each(programs().map((each) => [each.program.name(), each] as const))(
  'the manual page of %s',
  (_, { program, manual }) => {
    const [own = '', ofCommands = ''] = manual('2026-11-22').split('.SH COMMANDS');

    /** How often an option is explained. */
    const places = (page: string, flag = '') =>
      page
        .split('\n.TP\n')
        .map((part) => part.split('\n', 1)[0]?.replace(/\\f[BIR]|\\(?=-)/g, '') ?? '')
        .filter((term) => term.split(/[ ,]+/).includes(flag)).length;

    it('has every option that --help has, once', () => {
      for (const { long, hidden } of program.options)
        expect([long, places(own, long)]).toEqual([long, hidden ? 0 : 1]);
    });

    it('has the options of every command', () => {
      const missing = program.commands
        .flatMap((command) => command.options)
        .filter(({ long, hidden }) => !hidden && places(own + ofCommands, long) === 0);
      expect(missing).toEqual([]);
    });
  },
);
