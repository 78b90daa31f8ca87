/** How a job script tells why it ends, when it is ended from outside. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

const partials = path.resolve(import.meta.dirname, '../../batch-templates/partials');

/** Runs these lines in a script with a time limit of a minute; what it says of its end is what it prints. */
function endOf(lines: string): string {
  const text = `
    . ${partials}/ending.sh
    . ${partials}/jupyter.sh
    . ${partials}/site.sh
    say() { :; }; last_words() { echo nothing; }
    end() { echo "$1: $2"; }
    session_dir=/nowhere time_limit=60
    trap 'end_on_signal TERM' TERM USR2
    ${lines}
  `;
  return execFileSync('bash', ['-c', text], { encoding: 'utf8', stdio: 'pipe' });
}

const LIMIT = 'ended: The time limit was reached.\n';

describe('what a scheduler sends to every process of a job may reach another one first', () => {
  /** A child that dies of a signal; this script gets it while it gives it time to come. */
  const killed = `
    SECONDS=60
    sleep() { kill -USR2 $$; }
    bash -c 'kill -USR2 $$' &
    jupyter_pid=$!
  `;

  it.each([
    ['Jupyter, which starts', 'until jupyter_has_ended; do :; done; fail "$(why_it_did_not_start)"'],
    ['Jupyter, which runs', 'stay_until_jupyter_ends'],
    ['a command', 'wait "$jupyter_pid" || fail "The environment is broken."'],
  ])('%s', (_, step) => {
    expect(endOf(killed + step)).toBe(LIMIT);
  });
});

describe('the time limit', () => {
  it('counts from before the script began: whoever is ended just before it, is ended by it', () => {
    expect(endOf('SECONDS=52; kill -TERM $$')).toBe(LIMIT);
    expect(endOf('SECONDS=40; kill -TERM $$')).toBe('ended: The job was cancelled.\n');
  });

  it('counts from when the scheduler says', () => {
    expect(endOf('time_limit_counts_from $(($(date +%s) - 55)); kill -TERM $$')).toBe(LIMIT);
    expect(endOf('time_limit_counts_from "$(date +%s)"; kill -TERM $$')).not.toBe(LIMIT);
  });

  it.each(['', 'Unknown'])('counts from the start of the script where the scheduler says "%s"', (said) => {
    expect(endOf(`SECONDS=30; time_limit_counts_from "${said}"; echo $SECONDS`)).toMatch(/^3[0-9]\n$/);
  });
});
