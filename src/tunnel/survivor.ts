/**
 * Who is left when this program is killed without notice. Connections of ssh, and what was begun at their other end, would
 * otherwise go on with nobody who could end them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { canShare, escaped } from './connection.ts';

/**
 * The end of its input is the end of this program; the last line says what to run at the other end then. An ssh that has not
 * been let in yet finds no place for its socket, and ends by itself. $0 is the private directory, $1 the same in ssh's words.
 */
const script = `
trap "" INT QUIT HUP TERM
ending=
while IFS= read -r line; do ending=$line; done
there=$1
shift
[ -z "$ending" ] || ssh "$@" "$ending"
for socket in n l; do
  [ ! -S "$0/$socket" ] || ssh -F none -S "$there/$socket" -O exit login
done
rm -rf "$0"
`;

export class Survivor {
  readonly #child: ChildProcess | undefined;

  /**
   * @param directory private, with the sockets of shared connections; removed in the end
   * @param ssh options and destination for a command there
   */
  constructor(directory: string, ssh: readonly string[]) {
    if (!canShare) return;
    // In a session of its own: what ends everything in a terminal does not end it.
    this.#child = spawn('/bin/sh', ['-c', script, directory, escaped(directory), ...ssh], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    // Where it can't be started, or was killed, there is no survivor.
    this.#child.on('error', () => {});
    this.#child.stdin?.on('error', () => {});
  }

  /** @param command what ends the session there, in words for the shell there; empty where nothing is to be ended */
  shallRun(command: string): void {
    this.#child?.stdin?.write(`${command}\n`);
  }

  /** Nothing is left to do: whatever was begun is ended or meant to stay. */
  async release(): Promise<void> {
    const child = this.#child;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    this.shallRun('');
    child.stdin?.end();
    await once(child, 'exit');
  }
}
