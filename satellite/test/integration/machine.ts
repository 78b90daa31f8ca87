/** A machine of its own for a systemd of its own. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Why none can be booted here, as the end of a title; empty where one can. */
export const machineObstacle =
  process.getuid?.() !== 0
    ? ' (left out: only root can boot a container)'
    : existsSync('/usr/bin/systemd-nspawn')
      ? ''
      : ' (left out: there is no systemd-nspawn)';

/** A container with this machine's /usr, an empty /etc and /var, and a loopback network. */
export class Machine {
  readonly #nspawn: ChildProcess;
  #leader = '';

  private constructor(nspawn: ChildProcess) {
    this.#nspawn = nspawn;
  }

  /** @param binds what of this machine is there, too, to be read: paths here and there, with a colon between */
  static async boot(name: string, binds: readonly string[]): Promise<Machine> {
    const nspawn = spawn(
      'systemd-nspawn',
      [
        ...['--quiet', '--boot', '--directory=/', '--volatile=yes', '--private-network'],
        // Also where this machine itself runs without systemd.
        ...['--register=no', '--keep-unit', `--machine=${name}-test-${process.pid}`],
        ...binds.map((bind) => `--bind-ro=${bind}`),
        ...['systemd.unit=sysinit.target', 'systemd.firstboot=no'],
        // No network but loopback will ever be online.
        'systemd.mask=systemd-networkd-wait-online.service',
        'systemd.mask=NetworkManager-wait-online.service',
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const machine = new Machine(nspawn);
    let said = '';
    for (const stream of [nspawn.stdout, nspawn.stderr]) stream.on('data', (data) => (said += data));
    nspawn.once('close', () => (machine.#leader = 'none'));
    for (;;) {
      if (machine.#leader === 'none') throw new Error(`the container did not boot:\n${said}`);
      const { pid } = nspawn;
      const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
      machine.#leader = children.split(' ')[0] ?? '';
      // Without --wait, which may miss what it waits for when it comes this early.
      const state =
        machine.#leader === '' ? '' : (await machine.tries('systemctl', 'is-system-running')).stdout;
      if (/running|degraded/.test(state)) return machine;
      await pause(100);
    }
  }

  /** Runs a command inside. */
  async exec(...command: string[]): Promise<string> {
    return (await run('nsenter', this.#inside(command))).stdout;
  }

  /** The same, whether it succeeds or not. */
  async tries(...command: string[]): Promise<{ ok: boolean; stdout: string }> {
    return run('nsenter', this.#inside(command)).then(
      ({ stdout }) => ({ ok: true, stdout }),
      ({ stdout = '' }) => ({ ok: false, stdout }),
    );
  }

  #inside(command: readonly string[]): string[] {
    return ['--target', this.#leader, '--all', ...command];
  }

  /** Ends it and all that runs in it, without a shutdown. */
  async halt(): Promise<void> {
    const ended = once(this.#nspawn, 'close');
    process.kill(Number(this.#leader), 'SIGKILL');
    await ended;
  }
}
