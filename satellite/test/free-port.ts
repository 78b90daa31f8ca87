import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * A port on which nobody listens, now and, as good as certainly, later: it is below those that the kernel gives to connections
 * and to servers that ask for any (Linux: ip_local_port_range, from 32,768), of which other tests have thousands.
 */
export async function freePort(address: string): Promise<number> {
  for (;;) {
    const server = createServer();
    const port = randomInt(10_240, 32_768);
    try {
      await once(server.listen(port, address), 'listening');
      return port;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  }
}
