/**
 * The notebooks, as a process of their own: one HTTP server for each address in the arguments. Answers 1 KB to a request,
 * and sends back whatever comes through a WebSocket. Tells its ports to its parent.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** RFC 6455 section 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const page = Buffer.alloc(1024, 'x');

const ports: number[] = [];
for (const address of process.argv.slice(2)) {
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    request.resume();
    response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': page.length });
    response.end(page);
  });
  server.on('upgrade', (request, socket: Socket) => {
    const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}${GUID}`);
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept.digest('base64')}\r\n\r\n`,
    );
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  });
  // Whole classes arrive at once.
  server.listen({ port: 0, host: address, backlog: 4096 });
  await once(server, 'listening');
  ports.push((server.address() as AddressInfo).port);
}
process.send?.(ports);
process.once('disconnect', () => process.exit(0));
