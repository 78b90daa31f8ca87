import { InterruptedError } from './errors.ts';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Turns Ctrl-C, TERM and HUP into an AbortSignal, so that what was begun can be undone; further ones change nothing while
 * that happens. It stays so to the end of the process: a signal that comes after the link was printed comes too late, and
 * must not make a launch look undone that is not.
 */
export function interruption(): AbortSignal {
  const controller = new AbortController();
  const abort = () => controller.abort(new InterruptedError('Interrupted; nothing was left running.'));
  for (const name of signals) process.on(name, abort);
  return controller.signal;
}

/**
 * What the promise comes to, unless the signal is aborted before.
 * @param grace milliseconds after that in which what is under way may still come to its own end
 */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal, grace = 0): Promise<T> {
  if (grace === 0) signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const abort = () => {
      timer = setTimeout(() => reject(signal.reason), grace);
    };
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    });
  });
}

/**
 * Resolves after so many milliseconds.
 * @throws InterruptedError in the moment the signal is aborted
 */
export function pause(milliseconds: number, interrupted: AbortSignal): Promise<void> {
  interrupted.throwIfAborted();
  return new Promise((resolvePause, rejectPause) => {
    const onAbort = () => {
      clearTimeout(timer);
      rejectPause(
        interrupted.reason instanceof InterruptedError
          ? interrupted.reason
          : new InterruptedError('Interrupted.'),
      );
    };
    const timer = setTimeout(() => {
      interrupted.removeEventListener('abort', onAbort);
      resolvePause();
    }, milliseconds);
    interrupted.addEventListener('abort', onAbort, { once: true });
  });
}

/** Once around the event loop: what waits for the network has had its turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
