/** The licences of what is bundled: they ask to be handed on with it. */
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** @param inputs paths of the files that went into a bundle */
export function thirdPartyNotices(inputs: readonly string[]): string {
  const directories = new Set(inputs.flatMap((input) => packageDirectory(input) ?? []));
  const notices = [...directories].map(notice).sort();
  return `${[
    'The programs of start-jupyter contain the packages below, each with its licence. The executable contains',
    `Node.js ${process.version}, whose licence is https://github.com/nodejs/node/blob/${process.version}/LICENSE.`,
    ...new Set(notices),
  ].join('\n\n')}\n`;
}

function packageDirectory(input: string): string | undefined {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0];
}

/** @throws where a package says nothing of its licence */
function notice(directory: string): string {
  const { name, version, license } = JSON.parse(readFileSync(path.join(directory, 'package.json'), 'utf8'));
  const [file] = globSync('{LICEN[CS]E,licen[cs]e}*', { cwd: directory });
  const text = file === undefined ? '' : readFileSync(path.join(directory, file), 'utf8').trim();
  if (text === '' && license === undefined) throw new Error(`${name} does not say what its licence is`);
  return `---- ${name} ${version} (${license ?? 'see below'})\n\n${text}`.trimEnd();
}
