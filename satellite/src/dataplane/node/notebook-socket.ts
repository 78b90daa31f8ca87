import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import type { Target } from '../engine.ts';

/**
 * What the first `length` bytes from a notebook are for; they are gone once it returns. Returns false where no more are
 * wanted until the socket is resumed.
 */
type Receive = (bytes: Buffer, length: number) => boolean;

/**
 * Where the bytes of all notebooks arrive, each piece copied out at once. Without it Node allocates 64 KB for each read, of
 * which a message needs little.
 */
const arrivals = Buffer.allocUnsafeSlow(64 * 1024);

/** A connection to a notebook whose bytes come by a call instead of a 'data' event; everything else is as in any socket. */
export class NotebookSocket {
  readonly socket: Socket;
  receive: Receive = () => true;

  constructor({ host, port, tls }: Target) {
    const onread = { buffer: arrivals, callback: (length: number) => this.receive(arrivals, length) };
    const options = { host, port, onread, allowHalfOpen: true, noDelay: true };
    this.socket = tls ? connectTls({ ...options, ...tls, ALPNProtocols: ['http/1.1'] }) : connect(options);
  }
}

/**
 * The same connection as Node's HTTP client knows it, for the handshake. Let go of after a 101, when the bytes are received
 * by somebody else; until then the end of one is the end of the other.
 */
export class HandshakeStream extends Duplex {
  readonly #notebook: NotebookSocket;

  constructor(notebook: NotebookSocket) {
    super();
    this.#notebook = notebook;
    const { socket } = notebook;
    notebook.receive = (bytes, length) => this.push(Buffer.from(bytes.subarray(0, length)));
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  /** Leaves the connection to whoever receives its bytes from now on. */
  letGo(): void {
    const { socket } = this.#notebook;
    socket.off('end', this.#onEnd);
    socket.off('error', this.#onError);
    socket.off('close', this.#onClose);
  }

  readonly #onEnd = (): void => {
    this.push(null);
  };

  readonly #onError = (error: Error): void => {
    this.destroy(error);
  };

  readonly #onClose = (): void => {
    this.destroy();
  };

  override _read(): void {
    this.#notebook.socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#notebook.socket.write(chunk, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#notebook.socket.destroy();
    done(error);
  }
}
