import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer as createHttpServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import type { CertificateFiles } from '../../../../satellite/test/certificate.ts';

/** An HTTPS site on loopback that shows a page of its own until something takes its place. */
export interface TestSite {
  readonly port: number;
  /** Title of the page; the tab reloads itself when the page is no longer there. */
  showWaiting(title: string): void;
  /** From now on every connection leads to this Unix socket. */
  goLive(socket: string): void;
  close(): Promise<void>;
}

/** Starts the site on a free port of 127.0.0.1. */
export async function openTestSite(files: CertificateFiles): Promise<TestSite> {
  let waitingTitle = '';
  let upstream: string | undefined;
  // Never listens: it is handed the connections that arrive while the site isn't live.
  const waiting = createHttpServer((_request, response) => sendWaitingPage(response, waitingTitle));
  const connections = new Set<TLSSocket>();

  const site = createTlsServer(
    { cert: await readFile(files.cert), key: await readFile(files.key) },
    (visitor) => {
      connections.add(visitor);
      visitor.on('close', () => connections.delete(visitor));
      if (upstream === undefined) {
        waiting.emit('connection', visitor);
      } else {
        const jupyter = connect(upstream);
        passOn(visitor, jupyter);
        passOn(jupyter, visitor);
      }
    },
  );
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');

  return {
    port: (site.address() as AddressInfo).port,
    showWaiting: (title) => {
      waitingTitle = title;
    },
    goLive: (socket) => {
      upstream = socket;
    },
    close: async () => {
      site.close();
      for (const connection of connections) connection.destroy();
      await once(site, 'close');
    },
  };
}

/** Passes on what one side says; when it goes, for whatever reason, so does the other. */
function passOn(from: Duplex, to: Duplex): void {
  from.pipe(to);
  from.on('error', () => to.destroy());
  from.on('close', () => to.destroy());
}

function sendWaitingPage(response: ServerResponse, title: string): void {
  response.setHeader('content-type', 'text/html');
  response.setHeader('x-waiting', title);
  // The next request must come over a connection of its own, which may lead elsewhere.
  response.setHeader('connection', 'close');
  response.end(`<!doctype html><title>${title}</title><h1>${title}</h1><script>
    setInterval(async () => {
      const title = (await fetch(location.href)).headers.get('x-waiting');
      if (title === null) location.reload();
      else document.title = document.querySelector('h1').textContent = title;
    }, 100);
  </script>`);
}
