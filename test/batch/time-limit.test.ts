import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { expect, it } from 'vitest';

const partial = path.join(import.meta.dirname, '../../batch-templates/partials/time-limit.sh');

/** What a script says that lives until it is told, or its watch has ended; one second of it is the last five minutes' notice. */
function script(timeLimit: string, then: string): string {
  const text = `
    time_limit=${timeLimit}
    source '${partial}'
    trap 'echo told' USR1
    watch_time_limit
    ${then}; true
  `;
  return execFileSync('bash', ['-c', text], { encoding: 'utf8' });
}

it('tells the script five minutes before the time is over', () => {
  expect(script('301', 'wait')).toBe('told\n');
});

it.each(['300', '60', "''"])('tells nothing where the limit is %s', (timeLimit) => {
  expect(script(timeLimit, 'echo "watch: $limit_watch"; wait')).toBe('watch: \n');
});

it('leaves nothing behind when the session ends earlier', () => {
  const left = script(
    '4000',
    'until pgrep -P "$limit_watch" >/dev/null; do :; done; kill "$limit_watch"; wait "$limit_watch"; pgrep -f "^sleep 3700$" -s 0 || echo none',
  );
  expect(left).toBe('none\n');
});
