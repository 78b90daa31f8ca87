import { InterruptedError } from './errors.ts';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface Interruption extends Disposable {
  /** Aborts with an InterruptedError at the first Ctrl-C, TERM or HUP. */
  readonly signal: AbortSignal;
}

/**
 * Turns signals into an AbortSignal, so that what was begun can be undone; further ones change nothing while that
 * happens. Disposing it gives the signals their usual meaning back.
 */
export function interruption(): Interruption {
  const controller = new AbortController();
  const abort = () => controller.abort(new InterruptedError('Interrupted; nothing was left running.'));
  for (const name of signals) process.on(name, abort);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const name of signals) process.off(name, abort);
    },
  };
}
