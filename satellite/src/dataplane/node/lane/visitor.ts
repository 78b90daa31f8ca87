import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Client } from '../../../gate/client.ts';
import { hostName } from '../../../gate/host.ts';
import type { Failure } from '../../engine.ts';
import { forwardedFields } from '../headers.ts';
import { Outgoing } from '../outgoing.ts';
import { takeAtPush } from '../take-at-push.ts';
import type { Lane } from './lane.ts';
import type { Notebook } from './notebook.ts';
import type { RequestHead } from './request-head.ts';
import type { Upstream } from './upstream.ts';

/** What a slow visitor may have waiting for him here, in bytes, before the notebook is held back. */
const HIGH_WATER = 128 * 1024;
/** What may arrive here before its turn. */
const MAX_EARLY = 64 * 1024;

/** Methods that may be sent a second time without harm (RFC 9110 section 9.2.2), and have no body to send again. */
const repeatable: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** A visitor's connection, for as long as it asks for nothing but what live sites have. */
export class Visitor {
  readonly socket: Socket;
  /** Is the connection closed after the answer? */
  closes = false;
  /** Has the notebook begun to answer? */
  hasAnswer = false;
  status = 0;
  readonly #lane: Lane;
  readonly #outgoing: Outgoing;
  #leaveToStream: () => void = () => undefined;
  /** What the TLS handshake was made for; undefined where there was none, or no name in it. */
  readonly #servername: string | undefined;
  readonly #proto: 'http' | 'https';
  /** By the other end of the connection; undefined where every request may have another. */
  readonly #peer: Client | undefined;
  /** Of the request before, which mostly had the same. */
  #host = '';
  #label: string | undefined;
  #forwarded = '';
  /** The request under way; undefined between two of them. */
  #notebook: Notebook | undefined;
  #upstream: Upstream | undefined;
  #client: Client;
  #method = '';
  #target = '';
  #started = 0;
  /** Its head as it came, and where in that the length of its body stands. */
  #asked: Buffer | undefined;
  #askedEnd = 0;
  #lengthFrom = 0;
  #lengthTo = 0;
  /** Its head as it goes to the notebook. */
  #text = '';
  #mayRepeat = false;
  /** What is still to come of its body, in bytes. */
  #bodyLeft = 0;
  /** What has come behind it. */
  #early: Buffer[] = [];
  #earlyBytes = 0;
  /** Is the notebook held back until the visitor has taken what there is? */
  #holdsBack = false;
  #hasAsked = false;
  /** Is nothing more of what the visitor sends wanted for now? */
  #isHeld = false;
  /** When something moved last, in the lane's time. */
  #moved: number;

  constructor(lane: Lane, socket: Socket) {
    this.#lane = lane;
    this.socket = socket;
    this.#outgoing = new Outgoing(socket);
    const { encrypted, servername } = socket as Partial<TLSSocket>;
    this.#proto = encrypted ? 'https' : 'http';
    this.#servername = typeof servername === 'string' && servername !== '' ? servername : undefined;
    this.#peer = lane.door.peer(socket);
    this.#client = this.#peer ?? { address: '' };
    this.#moved = lane.now;
    socket.on('drain', this.#onDrain);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  /** Begins to listen. Once the lane knows the visitor: his connection may be handed over at once. */
  listen(): void {
    const { socket } = this;
    // What a balancer's header has brought along.
    const early = socket.read() as Buffer | null;
    this.#leaveToStream = takeAtPush(socket, this.#onData);
    if (early !== null) this.#onData(early);
  }

  get wantsHeadOnly(): boolean {
    return this.#method === 'HEAD';
  }

  /** Has the whole request gone to the notebook? */
  get isSent(): boolean {
    return this.#bodyLeft === 0;
  }

  get isBusy(): boolean {
    return this.#notebook !== undefined;
  }

  /**
   * Takes a piece of the answer: what is between `from` and `to` is of its body, the text around it isn't. False asks the
   * notebook to wait.
   */
  write(before: string, bytes: Buffer, from: number, to: number, after: string, isLast: boolean): boolean {
    this.#moved = this.#lane.now;
    (this.#notebook as Notebook).traffic.bytesOut += to - from;
    if (isLast) {
      this.#upstream = undefined;
      this.#outgoing.write(before, bytes, from, to, after, this.#onAnswered);
      return true;
    }
    this.#outgoing.write(before, bytes, from, to, after);
    this.#holdsBack = this.socket.writableLength > HIGH_WATER;
    return !this.#holdsBack;
  }

  /** There is no answer: asks once more where that can do no harm, or has somebody else say so. */
  onFailure(failure: Failure, isStale: boolean): void {
    this.#upstream = undefined;
    // A kept-alive connection may die at the very moment it is used again: that says nothing about the notebook.
    if (isStale && this.#mayRepeat) {
      this.#mayRepeat = false;
      this.#send();
      return;
    }
    const asked = this.#asked as Buffer;
    // What has gone to the notebook already doesn't come a second time.
    const head =
      this.#lengthTo === 0
        ? [asked.subarray(0, this.#askedEnd)]
        : [
            asked.subarray(0, this.#lengthFrom),
            Buffer.from(`Content-Length: ${this.#bodyLeft}\r\n`),
            asked.subarray(this.#lengthTo, this.#askedEnd),
          ];
    this.#handOver(Buffer.concat([...head, ...this.#early]), failure);
  }

  onUpstreamDrain(): void {
    this.#moved = this.#lane.now;
    if (this.#bodyLeft > 0) this.#readOn();
  }

  /** Closes what has waited too long. */
  check(now: number): void {
    const { limits } = this.#lane;
    const waited = now - this.#moved;
    if (this.#upstream !== undefined && !this.hasAnswer && this.isSent && waited > limits.answerTime) {
      this.#upstream.destroy();
      this.onFailure('timeout', false);
    } else if (this.isBusy || !this.isSent) {
      if (waited > limits.stallTime) this.socket.destroy();
    } else if (this.#hasAsked) {
      if (waited > limits.idleTime) this.socket.destroy();
    } else if (waited > limits.headerTime) {
      this.#leave();
      this.#lane.onSilence(this.socket);
    }
  }

  /** We are closing: what is under way comes to its end, and nothing is begun. */
  stop(): void {
    this.closes = true;
    if (!this.isBusy && !this.#hasAsked) this.#handOver(undefined);
  }

  /** False where no more is wanted until #readOn(). */
  readonly #onData = (bytes: Buffer): boolean => {
    this.#moved = this.#lane.now;
    this.#isHeld = false;
    if (this.#bodyLeft > 0) this.#takeBody(bytes);
    else if (this.isBusy) this.#keep(bytes);
    else this.#begin(bytes);
    return !this.#isHeld;
  };

  readonly #onDrain = (): void => {
    this.#moved = this.#lane.now;
    if (!this.#holdsBack) return;
    this.#holdsBack = false;
    this.#upstream?.resume();
  };

  readonly #onAnswered = (error?: Error | null): void => {
    this.#moved = this.#lane.now;
    if (!this.isBusy) return;
    this.#settle(!error);
    if (error) return;
    if (this.closes) {
      this.socket.destroySoon();
      return;
    }
    // What is left of a body that nobody wants is read all the same.
    if (this.#bodyLeft > 0) this.#readOn();
    else if (this.#earlyBytes > 0) this.#handOver(Buffer.concat(this.#early));
  };

  /** Like Node: who has nothing more to say has left. */
  readonly #onEnd = (): void => {
    if (this.isBusy) this.socket.destroy();
    else this.socket.destroySoon();
  };

  readonly #onError = (): void => {
    this.socket.destroy();
  };

  readonly #onClose = (): void => {
    this.#lane.visitors.delete(this);
    this.#upstream?.destroy();
    this.#upstream = undefined;
    if (this.isBusy) this.#settle(false);
  };

  #readOn(): void {
    if (!this.socket.destroyed) this.socket._read(0);
  }

  #begin(bytes: Buffer): void {
    const lane = this.#lane;
    const { head, door } = lane;
    // With another request behind it (pipelining), others know what to do.
    if (lane.isStopping || !head.read(bytes) || bytes.length - head.end > head.contentLength) {
      this.#handOver(bytes);
      return;
    }
    const client = this.#peer ?? door.identify(this.socket, head.claims);
    if (head.host !== this.#host || this.#peer === undefined) this.#meet(head.host, client);
    const target = this.#label && client && door.admit(this.#label, client);
    if (client === undefined || !target) {
      this.#handOver(bytes);
      return;
    }
    this.#hasAsked = true;
    this.#client = client;
    this.#remember(bytes, head);
    const notebook = lane.notebook(target);
    this.#notebook = notebook;
    notebook.traffic.openRequests += 1;
    notebook.visitors.add(this);
    lane.busy += 1;
    this.#text = '';
    for (let i = 0; i < head.runs.length; i += 2)
      this.#text += bytes.toString('latin1', head.runs[i], head.runs[i + 1]);
    this.#text += this.#forwarded;
    const body = bytes.subarray(head.end);
    this.#bodyLeft = head.contentLength;
    this.#mayRepeat = head.contentLength === 0 && repeatable.has(head.method);
    if (body.length === 0) this.#send();
    else {
      // One write where the head brings the body along.
      const upstream = notebook.connection();
      upstream.socket.cork();
      this.#send(upstream);
      this.#takeBody(body);
      upstream.socket.uncork();
    }
  }

  #remember(bytes: Buffer, head: RequestHead): void {
    this.#started = performance.now();
    this.#asked = bytes;
    this.#askedEnd = head.end;
    this.#lengthFrom = head.lengthFrom;
    this.#lengthTo = head.lengthTo;
    this.#method = head.method;
    this.#target = head.target;
    this.closes = head.closes;
    this.hasAnswer = false;
    this.status = 0;
  }

  /** Learns which site a Host means, and what the notebook is told of the visitor. */
  #meet(host: string, client: Client | undefined): void {
    this.#host = host;
    const name = hostName(host);
    this.#label = undefined;
    // RFC 9110 section 7.4: what the TLS handshake was made for and what is asked for must be the same site.
    if (name === undefined || client === undefined) return;
    if (this.#servername !== undefined && hostName(this.#servername) !== name) return;
    this.#label = this.#lane.door.labelOf(name);
    const fields = forwardedFields(client, client.proto ?? this.#proto, host);
    this.#forwarded = '';
    for (let i = 0; i < fields.length; i += 2) this.#forwarded += `${fields[i]}: ${fields[i + 1]}\r\n`;
    this.#forwarded += '\r\n';
  }

  #send(upstream = (this.#notebook as Notebook).connection()): void {
    this.#upstream = upstream;
    upstream.serve(this, this.#text);
  }

  #takeBody(bytes: Buffer): void {
    const piece = bytes.length > this.#bodyLeft ? bytes.subarray(0, this.#bodyLeft) : bytes;
    this.#bodyLeft -= piece.length;
    if (this.#upstream !== undefined) {
      (this.#notebook as Notebook).traffic.bytesIn += piece.length;
      if (!this.#upstream.socket.write(piece) && this.#bodyLeft > 0) this.#isHeld = true;
    }
    if (piece.length === bytes.length) return;
    const rest = bytes.subarray(piece.length);
    if (this.isBusy) this.#keep(rest);
    else this.#begin(rest);
  }

  /** What comes before its turn waits. */
  #keep(bytes: Buffer): void {
    this.#early.push(bytes);
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes > MAX_EARLY) this.#isHeld = true;
  }

  /** The request is over, with its whole answer or without. */
  #settle(isComplete: boolean): void {
    const lane = this.#lane;
    const notebook = this.#notebook as Notebook;
    this.#release(notebook);
    lane.door.account(
      {
        client: this.#client.address,
        label: notebook.target.token,
        method: this.#method,
        target: this.#target,
      },
      this.status,
      this.#started,
      isComplete,
    );
  }

  #release(notebook: Notebook): void {
    this.#notebook = undefined;
    this.#asked = undefined;
    this.#lane.busy -= 1;
    notebook.traffic.openRequests -= 1;
    notebook.visitors.delete(this);
  }

  /** Leaves the connection to Node's server for good, with what has come of the next request. */
  #handOver(bytes: Buffer | undefined, failure?: Failure): void {
    const { socket } = this;
    if (this.#notebook !== undefined) {
      // It will be counted there.
      this.#notebook.traffic.requests -= 1;
      this.#release(this.#notebook);
    }
    this.#leave();
    this.#lane.handOver(socket, bytes, failure);
  }

  #leave(): void {
    const { socket } = this;
    this.#lane.visitors.delete(this);
    this.#leaveToStream();
    socket.off('drain', this.#onDrain);
    socket.off('end', this.#onEnd);
    socket.off('error', this.#onError);
    socket.off('close', this.#onClose);
  }
}
