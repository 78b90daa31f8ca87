import { hopByHop } from '../headers.ts';
import { COLON, CR, classOf, LF, SPACE, suspicion, TOKEN, VALUE, valueIn } from './bytes.ts';

const LENGTH = /^(?:0|[1-9]\d{0,14})$/;
const VERSION = Buffer.from('HTTP/1.');

const suspicious = suspicion([...hopByHop, 'content-length', 'date', 'strict-transport-security']);

/** What became of reading. */
export type Reading = 'whole' | 'incomplete' | 'broken';

/** An answer's head. One is used again and again, for whatever was read last. */
export class ResponseHead {
  status = 0;
  /** Undefined where the length isn't known beforehand. */
  contentLength: number | undefined;
  isChunked = false;
  /** May the connection carry another request? */
  keepsAlive = true;
  /** For how many seconds it is kept, where that is said. */
  keepAliveTime: number | undefined;
  hasDate = false;
  /** Where the body begins. */
  end = 0;
  /** Status, reason and the fields that go on to the visitor, as they came: `200 OK\r\nName: value\r\n`. */
  text = '';
  readonly #replacesHsts: boolean;
  #named: string[] = [];

  constructor(replacesHsts: boolean) {
    this.#replacesHsts = replacesHsts;
  }

  /** Reads a head from `from`, and no further than `length`. It is as strict as Node's parser, and a little more. */
  read(bytes: Buffer, from: number, length: number): Reading {
    let at = from;
    for (const expected of VERSION) {
      if (at >= length) return 'incomplete';
      if (bytes[at] !== expected) return 'broken';
      at += 1;
    }
    // "1 200 OK\r\n": one digit, a space, three digits, a space and whatever reason.
    if (at + 5 >= length) return 'incomplete';
    const minor = (bytes[at] as number) - 48;
    const status = digits(bytes, at + 2);
    if ((minor !== 0 && minor !== 1) || bytes[at + 1] !== SPACE || status < 100) return 'broken';
    at += 5;
    const reasonFrom = at;
    if (bytes[at] !== SPACE && bytes[at] !== CR) return 'broken';
    while (at < length && ((classOf[bytes[at] as number] as number) & VALUE) !== 0) at += 1;
    if (at + 1 >= length) return endOfLine(bytes, at, length);
    if (bytes[at] !== CR || bytes[at + 1] !== LF) return 'broken';
    at += 2;
    this.status = status;
    this.contentLength = undefined;
    this.isChunked = false;
    this.keepsAlive = minor === 1;
    this.keepAliveTime = undefined;
    this.hasDate = false;
    this.#named.length = 0;
    const hasNoLength = status === 204 || status === 205;
    let text = '';
    let run = reasonFrom - 3;
    for (;;) {
      const lineFrom = at;
      if (at >= length) return 'incomplete';
      if (bytes[at] === CR) {
        if (at + 1 >= length) return 'incomplete';
        if (bytes[at + 1] !== LF) return 'broken';
        this.text = text + bytes.toString('latin1', run, at);
        this.end = at + 2;
        if (this.isChunked && this.contentLength !== undefined) return 'broken';
        if (this.#named.length > 0) this.text = without(this.text, this.#named);
        return 'whole';
      }
      while (at < length && ((classOf[bytes[at] as number] as number) & TOKEN) !== 0) at += 1;
      const colon = at;
      if (colon >= length) return 'incomplete';
      if (colon === lineFrom || bytes[colon] !== COLON) return 'broken';
      at += 1;
      while (at < length && ((classOf[bytes[at] as number] as number) & VALUE) !== 0) at += 1;
      if (at + 1 >= length) return endOfLine(bytes, at, length);
      if (bytes[at] !== CR || bytes[at + 1] !== LF) return 'broken';
      at += 2;
      if (!suspicious(bytes[lineFrom] as number, colon - lineFrom)) continue;
      const name = bytes.toString('latin1', lineFrom, colon).toLowerCase();
      const isKept = this.#weigh(name, bytes, colon + 1, at - 2, hasNoLength);
      if (isKept === undefined) return 'broken';
      if (isKept) continue;
      text += bytes.toString('latin1', run, lineFrom);
      run = at;
    }
  }

  /** Does a field go on to the visitor? Undefined where it makes no sense. */
  #weigh(name: string, bytes: Buffer, from: number, to: number, hasNoLength: boolean): boolean | undefined {
    switch (name) {
      case 'date':
        this.hasDate = true;
        return true;
      case 'strict-transport-security':
        return !this.#replacesHsts;
      case 'content-length': {
        const value = valueIn(bytes, from, to);
        if (this.contentLength !== undefined || !LENGTH.test(value)) return undefined;
        this.contentLength = Number(value);
        return !hasNoLength;
      }
      case 'transfer-encoding':
        if (this.isChunked || valueIn(bytes, from, to).toLowerCase() !== 'chunked') return undefined;
        this.isChunked = true;
        return false;
      case 'keep-alive': {
        const [, seconds] = /timeout=(\d{1,9})/i.exec(valueIn(bytes, from, to)) ?? [];
        if (seconds !== undefined) this.keepAliveTime = Number(seconds);
        return false;
      }
      case 'connection':
        for (const part of valueIn(bytes, from, to).toLowerCase().split(',')) {
          const option = part.trim();
          if (option === 'close') this.keepsAlive = false;
          else if (option !== '' && !hopByHop.has(option) && option !== 'content-length')
            this.#named.push(option);
        }
        return false;
      default:
        return !hopByHop.has(name);
    }
  }
}

/** What is missing at the end of a line: its end, or sense. */
function endOfLine(bytes: Buffer, at: number, length: number): Reading {
  return at >= length || bytes[at] === CR ? 'incomplete' : 'broken';
}

/** Three of them as a number; -1 where they are none. */
function digits(bytes: Buffer, at: number): number {
  let number = 0;
  for (let i = at; i < at + 3; i += 1) {
    const digit = (bytes[i] as number) - 48;
    if (digit < 0 || digit > 9) return -1;
    number = number * 10 + digit;
  }
  return number;
}

/** Leaves out the fields that Connection names (RFC 9110 section 7.6.1). */
function without(text: string, names: readonly string[]): string {
  return text
    .split('\r\n')
    .filter((line, i) => i === 0 || !names.includes(line.slice(0, line.indexOf(':')).toLowerCase()))
    .join('\r\n');
}
