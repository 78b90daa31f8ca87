import type { TLSSocket } from 'node:tls';

/** RFC 9113 section 6. */
export const TYPE = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const END_STREAM = 1;
export const END_HEADERS = 4;

/** RFC 9113 section 7. */
export const CODE = {
  none: 0,
  protocol: 1,
  internal: 2,
  refused: 7,
  cancel: 8,
  calm: 11,
} as const;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Buffer | string = ''): Buffer {
  const bytes = Buffer.from(payload as string);
  const head = Buffer.alloc(9);
  head.writeUIntBE(bytes.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, bytes]);
}

/** A header block of literals (RFC 7541 section 6.2.2), which says whatever it is told to say. */
export function block(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));
}

function literal(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  const length: number[] = [];
  let rest = bytes.length;
  if (rest < 127) length.push(rest);
  else {
    length.push(127);
    for (rest -= 127; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** HTTP/2 by hand: sends any frame, in any order, and collects what comes back. */
export class Frames {
  readonly socket: TLSSocket;
  readonly seen: Frame[] = [];
  #rest = Buffer.alloc(0);
  #ended = false;
  readonly #waiting = new Set<() => void>();

  constructor(socket: TLSSocket) {
    this.socket = socket;
    const wake = (): void => {
      for (const waiter of this.#waiting) waiter();
    };
    socket.on('data', (data: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, data]);
      while (this.#rest.length >= 9 && this.#rest.length >= 9 + this.#rest.readUIntBE(0, 3)) {
        const end = 9 + this.#rest.readUIntBE(0, 3);
        this.seen.push({
          type: this.#rest[3] as number,
          flags: this.#rest[4] as number,
          stream: this.#rest.readUInt32BE(5),
          payload: this.#rest.subarray(9, end),
        });
        this.#rest = this.#rest.subarray(end);
      }
      wake();
    });
    for (const event of ['end', 'close', 'error'] as const) {
      socket.on(event, () => {
        this.#ended = true;
        wake();
      });
    }
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    this.send(frame(TYPE.settings, 0, 0));
  }

  send(...frames: Buffer[]): this {
    this.socket.write(Buffer.concat(frames));
    return this;
  }

  /** The first such frame, as soon as it is there. Rejects if the other side ends before. */
  first(type: number, stream: number): Promise<Frame> {
    return this.#when(() => {
      const found = this.seen.find((one) => one.type === type && one.stream === stream);
      if (!found && this.#ended) throw new Error(`the connection ended without a frame of type ${type}`);
      return found;
    });
  }

  /** The code that a stream was reset with, or the status that it was answered with. */
  async outcome(stream: number): Promise<string> {
    const found = await this.#when(() => {
      const of = this.seen.filter((one) => one.stream === stream);
      const answer =
        of.find(({ type }) => type === TYPE.headers) ?? of.find(({ type }) => type === TYPE.reset);
      if (!answer && this.#ended) throw new Error('the connection ended without an answer');
      return answer;
    });
    return found.type === TYPE.reset ? `reset ${found.payload.readUInt32BE()}` : `${statusIn(found.payload)}`;
  }

  ended(): Promise<true> {
    return this.#when(() => this.#ended || undefined);
  }

  #when<T>(condition: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const check = (): void => {
        try {
          const found = condition();
          if (found === undefined) return;
          resolve(found);
        } catch (error) {
          reject(error);
        }
        this.#waiting.delete(check);
      };
      this.#waiting.add(check);
      check();
    });
  }
}

/** :status comes first, as an entry of the static table (RFC 7541 appendix A) or as a literal with its name from there. */
function statusIn(payload: Buffer): number {
  let at = 0;
  // A change of the table's size.
  while (((payload[at] ?? 0) & 0xe0) === 0x20) at += 1;
  const first = payload[at] ?? 0;
  const indexed = [200, 204, 206, 304, 400, 404, 500][(first & 0x7f) - 8];
  if (first & 0x80) return indexed ?? 0;
  const length = payload[at + 1] ?? 0;
  const value = payload.subarray(at + 2, at + 2 + (length & 0x7f));
  return Number(length & 0x80 ? digitsIn(value) : value.toString('latin1'));
}

/** Three digits in Huffman's code (RFC 7541 appendix B), where 0, 1 and 2 have five bits and the others six. */
function digitsIn(coded: Buffer): string {
  let bits = [...coded].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  let digits = '';
  while (digits.length < 3) {
    const short = Number.parseInt(bits.slice(0, 5), 2);
    const isShort = short < 3;
    digits += isShort ? short : Number.parseInt(bits.slice(0, 6), 2) - 22;
    bits = bits.slice(isShort ? 5 : 6);
  }
  return digits;
}
