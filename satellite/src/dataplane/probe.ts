import { connect, type Socket } from 'node:net';
import type { Target } from './engine.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;

/**
 * Tries to reach redeemed notebooks until each has accepted a connection. Our own job script redeems when Jupyter
 * already answers, and the first try succeeds at once; other clients redeem before it listens.
 */
export class Prober {
  readonly #onAnswer: (token: string) => void;
  readonly #running = new Map<string, { socket?: Socket; timer?: NodeJS.Timeout }>();

  constructor(onAnswer: (token: string) => void) {
    this.#onAnswer = onAnswer;
  }

  start(target: Target): void {
    this.stop(target.token);
    const probe: { socket?: Socket; timer?: NodeJS.Timeout } = {};
    this.#running.set(target.token, probe);
    const attempt = (pause: number): void => {
      const socket = connect({ host: target.host, port: target.port, timeout: 5000 });
      probe.socket = socket;
      socket.on('connect', () => {
        this.stop(target.token);
        this.#onAnswer(target.token);
      });
      const again = (): void => {
        socket.destroy();
        if (this.#running.get(target.token) !== probe) return;
        clearTimeout(probe.timer);
        probe.timer = setTimeout(attempt, pause, Math.min(pause * 1.5, LONGEST_PAUSE_MS)).unref();
      };
      socket.on('error', again);
      socket.on('timeout', again);
    };
    attempt(FIRST_PAUSE_MS);
  }

  stop(token: string): void {
    const probe = this.#running.get(token);
    this.#running.delete(token);
    clearTimeout(probe?.timer);
    probe?.socket?.destroy();
  }

  close(): void {
    for (const token of [...this.#running.keys()]) this.stop(token);
  }
}
