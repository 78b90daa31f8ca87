import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/**
 * A port that nobody has on this address at the moment, to be told to others before it is taken; below the range that the
 * kernel hands out for connections, so that only listeners compete for it. Rejects with the system's error where the address
 * is not this machine's.
 */
export async function freePort(address = '127.0.0.1'): Promise<number> {
  for (;;) {
    const server = createServer();
    try {
      await once(server.listen(randomInt(10_240, 32_768), address), 'listening');
      return (server.address() as AddressInfo).port;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  }
}

/** The system's word for why nobody could listen there at the moment, such as `EADDRINUSE`; undefined where somebody could. */
export function portRefusal(port: number, address: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code));
    server.listen(port, address, () => server.close(() => resolve(undefined)));
  });
}
