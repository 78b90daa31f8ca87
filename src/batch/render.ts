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
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { installedFiles, readInstalled } from '../installation.ts';
import { shellQuote } from './quote.ts';

export type TemplateValue = string | number | readonly string[];

/** The built-in templates, a directory of the installation; their partials are in `partials/`. */
export const templatesDirectory = 'batch-templates';

/** What is wrong with a template; a bug in a built-in one. */
export class TemplateError extends Error {}

/**
 * The script of `<templateName>.sh` with its values filled in.
 * @throws TemplateError for a placeholder without a value, in a place where it may not stand, or a directive of several lines
 */
export function renderScript(
  templateName: string,
  directives: readonly string[],
  values: Readonly<Record<string, TemplateValue>>,
): string {
  return renderTemplate(readInstalled(`${templatesDirectory}/${templateName}.sh`), directives, values);
}

/**
 * The same for a user's own template, with the partials beside it going before the built-in ones. Directives follow its
 * first line where it has no place for them.
 * @throws TemplateError also where it would never open its site
 */
export function renderOwnTemplate(
  file: string,
  directives: readonly string[],
  values: Readonly<Record<string, TemplateValue>>,
): string {
  const text = readOwn(file);
  if (!text.startsWith('#!')) throw new TemplateError('its first line is not "#!/bin/bash"');
  const withPlace = /^# \{\{directives\}\}$/m.test(text) ? text : text.replace('\n', '\n# {{directives}}\n');
  const script = renderTemplate(withPlace, directives, values, path.dirname(file));
  // What redeems a token without any part of ours knows no token: a batch script of the original start-jupyter, say.
  if (!script.includes('/redeemtoken.cgi?') || !text.includes('{{'))
    throw new TemplateError(
      'it never opens its site: the line "# {{> site.sh}}" and what calls it is missing',
    );
  return script;
}

/** @throws TemplateError for lines that bash would not read as they were meant */
function readOwn(file: string): string {
  const text = readFileSync(file, 'utf8');
  if (text.includes('\r\n'))
    throw new TemplateError(
      `the lines of ${path.basename(file)} end as on Windows (CR LF), which bash can't run; "dos2unix" mends that`,
    );
  return text;
}

function readPartial(name: string, beside: string | undefined): string {
  const own = beside === undefined ? undefined : path.join(beside, 'partials', name);
  if (own !== undefined && existsSync(own)) return readOwn(own);
  try {
    return readInstalled(`${templatesDirectory}/partials/${name}`);
  } catch (error) {
    // Asked only now: on a shared file system every look costs.
    if (installedFiles(templatesDirectory).includes(`partials/${name}`)) throw error;
    throw new TemplateError(`there is no partial "${name}"`);
  }
}

/** The same for the text of a template. */
export function renderTemplate(
  template: string,
  directives: readonly string[],
  values: Readonly<Record<string, TemplateValue>>,
  beside?: string,
): string {
  const rendered = template
    .trimEnd()
    .split('\n')
    .flatMap((line) => {
      if (line === '# {{directives}}') return directives.map(oneLine);
      const partial = /^# \{\{> ([a-z-]+\.sh)\}\}$/.exec(line);
      if (partial)
        return [
          renderTemplate(readPartial(partial[1] as string, beside), directives, values, beside).trimEnd(),
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
    throw new TemplateError(`a template value may only be the whole right side of an assignment: ${line}`);
  const { name, one, many, comment = '' } = match.groups;
  const key = (one ?? many) as string;
  const value = values[key];
  if (value === undefined) throw new TemplateError(`the template wants "${key}", which has no value`);
  if (Array.isArray(value) !== (many !== undefined))
    throw new TemplateError(`the template value "${key}" is ${many ? 'not ' : ''}a list`);
  const words =
    many === undefined
      ? onOneLine(String(value))
      : `(${(value as readonly string[]).map(onOneLine).join(' ')})`;
  return `${name}=${words === "''" ? '' : words}${comment}`;
}

/**
 * A quoted word in one line of the script, whatever lines `text` has: Grid Engine looks for directives in all of its
 * lines (parse_script_file in its source), and one that stands in a value is none.
 */
function onOneLine(text: string): string {
  // What shellQuote leaves of line breaks stands between single quotes.
  return shellQuote(text).replace(/[\n\r]/g, (end) => `'$'${end === '\n' ? '\\n' : '\\r'}''`);
}

function oneLine(directive: string): string {
  if (/[\0\r\n]/.test(directive))
    throw new TemplateError(`a directive must be one line: ${JSON.stringify(directive)}`);
  return directive;
}
