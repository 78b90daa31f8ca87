/** What a job script tells the proxy of its progress, whatever the proxy says to it. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { expect, it } from 'vitest';

const partials = path.resolve(import.meta.dirname, '../../batch-templates/partials');

/** The phases of which a proxy hears that gives these answers: statuses of `http` (2: an error status, 1: none at all). */
function phasesHeard(phases: readonly string[], answers: readonly number[]): string[] {
  const text = `
    . ${partials}/report.sh
    . ${partials}/http.sh
    answers=(${answers.join(' ')})
    http() {
      echo "$3" >&3
      local status=\${answers[0]-0}
      answers=("\${answers[@]:1}")
      return "$status"
    }
    secrets=/nowhere proxy_token=one-two-three manage_url=https://manage.test kept_link=
    ${phases.map((phase) => `tell_proxy ${phase} why`).join('\n')}
  `;
  const heard = execFileSync('bash', ['-c', `exec 3>&1; ${text}`], { encoding: 'utf8' });
  return [...heard.matchAll(/"phase":"(\w+)"/g)].map(([, phase]) => phase as string);
}

it('each phase', () => {
  expect(phasesHeard(['allocated', 'jupyter', 'ended'], [])).toEqual(['allocated', 'jupyter', 'ended']);
});

it.each([
  ['an original Satellite, which knows none', 2],
  ['a proxy that is away for a moment', 1],
])('only the first and the last: %s', (_proxy, status) => {
  for (const last of ['ended', 'failed'])
    expect(phasesHeard(['allocated', 'environment', 'jupyter', last], [status])).toEqual(['allocated', last]);
});
