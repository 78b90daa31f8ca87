/** What ends a whole job (a time limit, say) is sent to every process of it, and may reach Jupyter before the script. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { expect, it } from 'vitest';

const partials = path.resolve(import.meta.dirname, '../../batch-templates/partials');

/** What the script says whose Jupyter is ended by a signal, and which gets it itself a moment later. */
function endOf(step: string): string {
  const text = `
    finish() { echo "finish: $1"; exit; }
    fail() { echo "fail: $1"; exit; }
    say() { :; }; last_words() { :; }
    . ${partials}/jupyter.sh
    . ${partials}/site.sh
    trap 'finish "The time limit was reached."' USR2
    # The script's own comes once Jupyter is gone for sure.
    { bash -c 'kill -USR2 $$'; } &
    jupyter_pid=$!
    (while kill -0 "$jupyter_pid" 2>/dev/null; do :; done; kill -USR2 $$) 2>/dev/null &
    ${step}
    echo "it ended by itself, $jupyter_status"
  `;
  return execFileSync('bash', ['-c', text], { encoding: 'utf8' });
}

it.each(['until jupyter_has_ended; do :; done', 'stay_until_jupyter_ends'])(
  'is what the script says: %s',
  (step) => {
    expect(endOf(step)).toBe('finish: The time limit was reached.\n');
  },
);
