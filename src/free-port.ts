import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/**
 * One that nobody has at the moment, to be told to others before Jupyter takes it; below the range that the kernel hands out
 * for connections, so that only listeners compete for it.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer();
    try {
      await once(server.listen(randomInt(10_240, 32_768), '127.0.0.1'), 'listening');
      return (server.address() as AddressInfo).port;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  }
}
