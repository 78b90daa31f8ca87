/**
 * Renders job scripts. The templates are bash with three additions:
 *
 *   # {{directives}}        a line that the scheduler's directives replace
 *   # {{> file.sh}}         a line that a partial replaces
 *   name={{value}}          an assignment; the value arrives as one quoted shell word
 *   name=({{values}})       the same for a list: one quoted word each
 *
 * A value stands nowhere else: as the whole right side of an assignment quoting is always right, so a template
 * can't forget it or undo it. Everything that breaks the rule is refused when the template is read.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { installationRoot } from '../installation.ts';
import { shellQuote } from './quote.ts';

export type TemplateValue = string | number | readonly string[];

const directory = path.join(installationRoot, 'batch-templates');

/**
 * The script of `<templateName>.sh` with its values filled in.
 * @throws Error for a placeholder without a value, in a place where it may not stand, or a directive of several lines
 */
export function renderScript(
  templateName: string,
  directives: readonly string[],
  values: Readonly<Record<string, TemplateValue>>,
): string {
  return renderTemplate(readTemplate(`${templateName}.sh`), directives, values);
}

function readTemplate(name: string): string {
  return readFileSync(path.join(directory, name), 'utf8');
}

/** The same for the text of a template. */
export function renderTemplate(
  template: string,
  directives: readonly string[],
  values: Readonly<Record<string, TemplateValue>>,
): string {
  const rendered = template
    .trimEnd()
    .split('\n')
    .flatMap((line) => {
      if (line === '# {{directives}}') return directives.map(oneLine);
      const partial = /^# \{\{> ([a-z-]+\.sh)\}\}$/.exec(line);
      if (partial)
        return [
          renderTemplate(
            readTemplate(path.join('partials', partial[1] as string)),
            directives,
            values,
          ).trimEnd(),
          '',
        ];
      return line.includes('{{') ? [renderAssignment(line, values)] : [line];
    });
  return `${rendered.join('\n')}\n`;
}

function renderAssignment(line: string, values: Readonly<Record<string, TemplateValue>>): string {
  const match = /^(?<name>\w+)=(?:\{\{(?<one>\w+)\}\}|\(\{\{(?<many>\w+)\}\}\))(?<comment> # [^{]*)?$/.exec(
    line,
  );
  if (!match?.groups)
    throw new Error(`a template value may only be the whole right side of an assignment: ${line}`);
  const { name, one, many, comment = '' } = match.groups;
  const key = (one ?? many) as string;
  const value = values[key];
  if (value === undefined) throw new Error(`the template wants "${key}", which has no value`);
  if (Array.isArray(value) !== (many !== undefined))
    throw new Error(`the template value "${key}" is ${many ? 'not ' : ''}a list`);
  const words =
    many === undefined
      ? shellQuote(String(value))
      : `(${(value as readonly string[]).map(shellQuote).join(' ')})`;
  return `${name}=${words === "''" ? '' : words}${comment}`;
}

function oneLine(directive: string): string {
  if (/[\0\r\n]/.test(directive))
    throw new Error(`a directive must be one line: ${JSON.stringify(directive)}`);
  return directive;
}
