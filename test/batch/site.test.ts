/** How a job opens its site, with every answer that the proxy may give. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../support/directories.ts';

const partial = path.resolve(import.meta.dirname, '../../batch-templates/partials/site.sh');

/** Runs open_site against these answers: what `http` returns (2: an error status, 1: none at all) and what was said. */
function openSite(
  marks: readonly ('gated' | 'claimed')[],
  answers: readonly (readonly [status: number, said: string])[],
) {
  const secrets = path.join(temporaryDirectory(), 'secrets');
  mkdirSync(secrets);
  for (const mark of marks) writeFileSync(path.join(secrets, mark), '');
  const program = `
    answers=("$@")
    http() {
      echo "asked $*"
      [[ \${answers[0]-} ]] || { echo 'asked too often'; exit 9; }
      http_answer=\${answers[0]#*|} http_problem=
      local status=\${answers[0]%%|*}
      answers=("\${answers[@]:1}")
      return "$status"
    }
    fail() { echo "failed: $*"; exit 1; }
    phase() { :; }; record() { :; }; sleep() { :; }
    status_of() { echo 403; }; one_line() { echo "$1"; }; say() { echo "$*"; }
    secrets=${secrets} proxy_token=one-two-three port=8888 jupyter_token=s3cret manage_url=https://manage.test manage_host=manage.test
    . ${partial}
    open_site
  `;
  const given = answers.map(([status, said]) => `${status}|${said}`);
  const { stdout } = spawnSync('bash', ['-c', program, 'job', ...given], { encoding: 'utf8' });
  const lines = stdout.trimEnd().split('\n');
  return {
    first: lines[0],
    end: lines.at(-1),
    asked: lines.filter((line) => line.startsWith('asked')).length,
  };
}

const OPEN = 'The site is open.';
const ELSEWHERE = expect.stringMatching(/^failed: This session's link leads to somebody else/);
const used = [0, 'Oops! Unknown nonce or nonce already used'] as const;
const noAnswer = [1, ''] as const;
const error = [2, ''] as const;

it('as the original has it, without its own secret', () => {
  const first = 'asked GET /redeemtoken.cgi?token=one-two-three&port=8888';
  expect(openSite([], [[0, 'Success!']])).toEqual({ first, end: OPEN, asked: 1 });
});

it.each(['gated', 'claimed'] as const)('with the Jupyter token where it is %s', (mark) => {
  const first = 'asked POST /api/v1/tokens/one-two-three/redeem {"port":8888,"jupyterToken":"s3cret"}';
  expect(openSite([mark], [[0, '{"state":"mapped"}']])).toEqual({ first, end: OPEN, asked: 1 });
});

it.each([
  ['an answer that got lost', false, [noAnswer, used, [0, 'PR']], OPEN],
  ['one that got lost where visitors are asked', true, [noAnswer, error, [0, 'M'], [0, 'M']], OPEN],
  ['somebody who was faster', false, [used], ELSEWHERE],
  ['somebody who was faster where visitors are asked', true, [error, [0, 'PR']], ELSEWHERE],
  ['a proxy that can not write', true, [error, [0, 'PE'], [0, '{"state":"mapped"}']], OPEN],
  ['a refusal', false, [[0, 'Oops! No.']], 'failed: The proxy refused to open the site: Oops! No.'],
  [
    'a proxy that stays away',
    true,
    Array(6).fill(noAnswer),
    expect.stringMatching(/^failed: The proxy manage.test can't be reached/),
  ],
] as const)('%s', (_what, gated, answers, end) => {
  expect(openSite(gated ? ['gated'] : [], answers)).toMatchObject({ end, asked: answers.length });
});
