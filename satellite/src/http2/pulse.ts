import type { ServerHttp2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';

/** More than a ping of ours takes, with what TLS adds to it. */
const PING_BYTES = 100;
/** Slow lines take a while to empty what the kernel holds for them, megabytes of which are one step in our eyes. */
const QUIET_LOOKS = 5;

/**
 * Watches a connection that has requests under way: looks every `interval` (milliseconds), and ends it when its client
 * has neither taken nor said anything for five of them, not even to a ping. It may be gone: while Node waits for a client
 * to take what it was sent, it doesn't read (MaybeStopReading() in node_http2.cc, version 24), and so hears nothing of
 * the end of a connection. Returns what ends the watch.
 */
export function watchPulse(session: ServerHttp2Session, socket: TLSSocket, interval: number): () => void {
  let { bytesRead, bytesWritten } = socket;
  let quiet = 0;
  const timer = setInterval(() => {
    const hasMoved = socket.bytesRead !== bytesRead || socket.bytesWritten - bytesWritten > PING_BYTES;
    if (hasMoved) {
      ({ bytesRead, bytesWritten } = socket);
      quiet = 0;
      return;
    }
    quiet += 1;
    if (quiet >= QUIET_LOOKS) session.destroy();
    // One each time: several would look like something that the client took.
    else if (quiet === 1 && !session.destroyed) session.ping(() => undefined);
  }, interval).unref();
  return () => clearInterval(timer);
}
