/** What earlier sessions have left. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { directoryProblem } from '../file-system.ts';
import { observe } from '../sessions/observe.ts';
import { isOver } from '../sessions/session.ts';
import { listSessions, sessionDirectoryNames, sessionsDirectory } from '../sessions/store.ts';
import { unreadableSessions } from '../sessions/unreadable.ts';
import { type Finding, fail, ok, warn } from './finding.ts';

/** From here on they are worth a word. */
const many = 50;

/** Observing settles what has ended unseen, as `list` does. */
export async function sessionFindings(): Promise<Finding[]> {
  const directory = sessionsDirectory();
  if (!existsSync(directory)) return [ok('Sessions', 'none yet')];
  const problem = directoryProblem(directory);
  if (problem !== undefined)
    return [
      fail('Sessions', `${directory}: ${problem}`, `Make it readable for yourself: chmod u+rwx ${directory}`),
    ];
  const observed = await observe(listSessions());
  const over = observed.filter(({ state }) => isOver(state)).length;
  const names = readdirSync(directory).filter((name) => !name.startsWith('.'));
  const unreadable = unreadableSessions();
  const remains = sessionDirectoryNames().length - observed.length - unreadable.length;
  const unanswered = observed.find(({ job }) => job?.kind === 'unreachable');
  const found = `${observed.length - over} running, ${over} over`;
  return [
    over >= many ? warn('Sessions', found, 'start-jupyter prune') : ok('Sessions', found),
    ...(unanswered?.job?.kind === 'unreachable'
      ? [warn('Running sessions', `nobody knows how they are: ${unanswered.job.message}`, 'Try again later.')]
      : []),
    ...unreadable.map(({ id, problem, isDamaged }) =>
      warn(
        'Unreadable session',
        `${id}: its record ${problem}`,
        isDamaged
          ? "start-jupyter prune removes it once it is over; end a running one where it was started (--here), or with the scheduler's own commands."
          : 'Use the version of start-jupyter that it was started with.',
      ),
    ),
    ...(remains > 0
      ? [
          warn(
            'Broken sessions',
            `${remains} without a record`,
            'start-jupyter prune removes them after a day.',
          ),
        ]
      : []),
    secretsFinding(directory, names),
  ];
}

/** Secrets are made private; somebody may have opened them since. */
function secretsFinding(directory: string, names: readonly string[]): Finding {
  const title = 'Secrets private';
  const places = names
    .map((name) => path.join(directory, name, 'secrets'))
    .filter((place) => existsSync(place));
  const open = places.find((place) => (statSync(place).mode & 0o077) !== 0);
  return open === undefined
    ? ok(title, places.length === 0 ? 'no session has any' : `those of ${places.length} sessions`)
    : fail(title, `other users can read ${open}`, `chmod -R go-rwx ${directory}, then stop that session.`);
}
