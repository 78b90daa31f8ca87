import type { Duplex } from 'node:stream';

/**
 * Takes what a socket has read where Node pushes it into the stream, past the stream's queue and events and the tick after
 * each piece: a tenth of what a message costs here. After `take` has returned false, `_read()` brings more. The stream must
 * be empty. Calling what is returned leaves all that comes from then on to the stream again.
 */
export function takeAtPush(socket: Duplex, take: (chunk: Buffer) => boolean): () => void {
  const push = socket.push;
  socket.push = (chunk: Buffer | null) => (chunk === null ? push.call(socket, null) : take(chunk));
  // Lets the end come through.
  socket.resume();
  return () => {
    socket.push = push;
  };
}
