/**
 * Loaded into the proxy before its own code (`--import`), so that memory can be compared: answers a message from the
 * bench with what is in use once garbage is collected. Needs `--expose-gc`.
 */
import { setImmediate } from 'node:timers/promises';

process.on('message', async () => {
  // What a collection finds finished is only released in the next turn, and then counted by the one after that.
  for (let i = 0; i < 3; i += 1) {
    globalThis.gc?.();
    await setImmediate();
  }
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
  process.send?.({ rss, heapUsed, external, arrayBuffers });
});
process.channel?.unref();
