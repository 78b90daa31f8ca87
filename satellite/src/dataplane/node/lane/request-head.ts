import { COLON, CR, classOf, LF, REQUEST_NAME, SLASH, suspicion, TARGET, VALUE, valueIn } from './bytes.ts';

/** More is nobody's everyday request. */
const MAX_FIELDS = 100;
/** Up to where numbers are exact, and without what is octal to some. */
const LENGTH = /^(?:0|[1-9]\d{0,14})$/;

const methods: readonly { readonly bytes: Buffer; readonly name: string; readonly hasBody: boolean }[] = [
  ...['GET', 'HEAD', 'OPTIONS', 'DELETE'].map((name) => ({ name, hasBody: false })),
  ...['POST', 'PUT', 'PATCH'].map((name) => ({ name, hasBody: true })),
].map((method) => ({ ...method, bytes: Buffer.from(`${method.name} `) }));

const VERSION = Buffer.from(' HTTP/1.1\r\n');

/** Fields that are looked at; all others pass as they are. */
const suspicious = suspicion([
  'host',
  'connection',
  'keep-alive',
  'content-length',
  'transfer-encoding',
  'upgrade',
  'expect',
  'te',
  'trailer',
  'http2-settings',
  'forwarded',
  'proxy-*',
  'x-forwarded*',
  'x-real-ip',
  'x-scheme',
]);

/** The everyday request's head. One is used again and again, for whatever was read last. */
export class RequestHead {
  method = '';
  target = '';
  host = '';
  /** Does the visitor want the connection closed after this? */
  closes = false;
  /** Of the body; 0 where there is none. */
  contentLength = 0;
  /** Where the Content-Length line is; both 0 where there is none. */
  lengthFrom = 0;
  lengthTo = 0;
  /** Where the body begins. */
  end = 0;
  /** What a proxy in front of us says about its visitor. */
  claims: Record<'x-forwarded-for' | 'x-forwarded-proto' | 'x-forwarded-port', string[]> | undefined;
  /** What goes on to the notebook: from, to, from, to. The blank line isn't in it. */
  readonly runs: number[] = [];

  /**
   * Reads the head of a message from the beginning of `bytes`. True only where it is complete, and such that no two
   * parsers could read it differently: a stricter grammar than Node's, of which everything that is odd, rare or needs an
   * answer of ours is left out. False says nothing about what it is.
   */
  read(bytes: Buffer): boolean {
    const { length } = bytes;
    const method = methods.find((one) => startsWith(bytes, one.bytes, 0));
    if (method === undefined) return false;
    let at = method.bytes.length;
    const targetFrom = at;
    if (bytes[at] !== SLASH) return false;
    while (at < length && ((classOf[bytes[at] as number] as number) & TARGET) !== 0) at += 1;
    if (!startsWith(bytes, VERSION, at)) return false;
    this.method = method.name;
    this.target = bytes.toString('latin1', targetFrom, at);
    this.host = '';
    this.closes = false;
    this.contentLength = 0;
    this.lengthFrom = 0;
    this.lengthTo = 0;
    this.claims = undefined;
    this.runs.length = 0;
    at += VERSION.length;
    let run = 0;
    for (let fields = 0; fields <= MAX_FIELDS; fields += 1) {
      const from = at;
      if (at + 1 >= length) return false;
      if (bytes[at] === CR) {
        if (bytes[at + 1] !== LF || this.host === '') return false;
        if (run < from) this.runs.push(run, from);
        this.end = at + 2;
        return method.hasBody || this.lengthTo === 0;
      }
      while (at < length && ((classOf[bytes[at] as number] as number) & REQUEST_NAME) !== 0) at += 1;
      const colon = at;
      if (colon === from || colon >= length || bytes[colon] !== COLON) return false;
      at += 1;
      while (at < length && ((classOf[bytes[at] as number] as number) & VALUE) !== 0) at += 1;
      if (at + 1 >= length || bytes[at] !== CR || bytes[at + 1] !== LF) return false;
      at += 2;
      if (!suspicious(bytes[from] as number, colon - from)) continue;
      const verdict = this.#weigh(bytes, from, colon, at);
      if (verdict === 'odd') return false;
      if (verdict === 'pass') continue;
      if (run < from) this.runs.push(run, from);
      run = at;
    }
    return false;
  }

  #weigh(bytes: Buffer, from: number, colon: number, next: number): 'pass' | 'stay' | 'odd' {
    const name = bytes.toString('latin1', from, colon).toLowerCase();
    const value = (): string => valueIn(bytes, colon + 1, next - 2);
    switch (name) {
      case 'host':
        if (this.host !== '') return 'odd';
        this.host = value();
        return 'pass';
      case 'connection': {
        const option = value().toLowerCase();
        if (option === 'close') this.closes = true;
        return option === 'close' || option === 'keep-alive' ? 'stay' : 'odd';
      }
      case 'keep-alive':
        return 'stay';
      case 'content-length': {
        const digits = value();
        if (this.lengthTo !== 0 || !LENGTH.test(digits)) return 'odd';
        this.contentLength = Number(digits);
        this.lengthFrom = from;
        this.lengthTo = next;
        return 'pass';
      }
      case 'transfer-encoding':
      case 'upgrade':
      case 'expect':
      case 'te':
      case 'trailer':
      case 'http2-settings':
        return 'odd';
      case 'x-forwarded-for':
      case 'x-forwarded-proto':
      case 'x-forwarded-port':
        this.claims ??= { 'x-forwarded-for': [], 'x-forwarded-proto': [], 'x-forwarded-port': [] };
        this.claims[name].push(value());
        return 'stay';
      case 'forwarded':
      case 'x-forwarded':
      case 'x-real-ip':
      case 'x-scheme':
        return 'stay';
      default:
        if (name.startsWith('x-forwarded-')) return 'stay';
        return name.startsWith('proxy-') ? 'odd' : 'pass';
    }
  }
}

function startsWith(bytes: Buffer, expected: Buffer, at: number): boolean {
  if (at + expected.length > bytes.length) return false;
  for (let i = 0; i < expected.length; i += 1) if (bytes[at + i] !== expected[i]) return false;
  return true;
}
