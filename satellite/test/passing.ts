import { afterEach, beforeEach, vi } from 'vitest';
import { ask } from './support.ts';

const HOUR = 3600_000;
/** The registry's sweep comes at least this often. */
const SWEEP_MS = 61_000;

let hours = 0;

/** Lets the tests of a file decide when time passes: the machine's uptime goes on as ever, and leaps when it is told to. */
export function ownTime(): void {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const now = performance.now.bind(performance);
    vi.spyOn(performance, 'now').mockImplementation(() => now() + hours * HOUR);
  });
  afterEach(() => {
    vi.restoreAllMocks();
    vi.useRealTimers();
  });
}

/** Lets time pass in the proxy at this port, and everything happen that was to happen in it. */
export async function pass(port: number, more: number): Promise<void> {
  hours += more;
  await vi.advanceTimersByTimeAsync(SWEEP_MS);
  // Answered once everything that was to be written before it has been.
  await ask(port, { path: '/healthz' });
}
