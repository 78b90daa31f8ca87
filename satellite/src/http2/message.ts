import { METHODS } from 'node:http';
import {
  constants,
  Http2ServerRequest,
  Http2ServerResponse,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';

const { NGHTTP2_INTERNAL_ERROR } = constants;

/** HTTP/1.1 knows these by heart and refuses others; HTTP/2 would take any word. */
const methods: ReadonlySet<string> = new Set(METHODS);

/** RFC 9113 section 8.3.1. Node lets "#" and bytes beyond ASCII through. */
const PATH = /^\/[\x21\x22\x24-\x7e]*$/;

/**
 * A request over HTTP/2, which reads like one over HTTP/1.1: `Host` says what `:authority` says, cookies are one field
 * (RFC 9113 section 8.2.3), and pseudo-header fields are not among the others.
 */
export class Http2Request extends Http2ServerRequest {
  readonly #hosts: readonly (string | undefined)[];
  #hasEnded: boolean;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]) {
    const { ':authority': authority, host } = headers;
    super(stream, headers, {}, asHttp1(rawHeaders, authority ?? host));
    this.#hosts = [authority, host];
    headers.host = authority ?? host;
    this.#hasEnded = stream.endAfterHeaders;
    // A reset ends the stream, too, and Node hands that on as the end of the body.
    stream.once('end', () => {
      if (!stream.aborted) this.#hasEnded = true;
    });
  }

  /** Has all of it arrived? (`complete` is true as well where the client has given up in the middle.) */
  get isWhole(): boolean {
    return this.#hasEnded;
  }

  get hasBody(): boolean {
    return !this.stream.endAfterHeaders && this.headers['content-length'] !== '0';
  }

  /** As of an IncomingMessage. */
  get headersDistinct(): NodeJS.Dict<string[]> {
    const distinct: NodeJS.Dict<string[]> = {};
    for (let i = 0; i < this.rawHeaders.length; i += 2) {
      const name = (this.rawHeaders[i] as string).toLowerCase();
      distinct[name] = [...(distinct[name] ?? []), this.rawHeaders[i + 1] as string];
    }
    return distinct;
  }

  /**
   * What is wrong with it, if anything. nghttp2 has already refused fields of the connection, names in capitals,
   * pseudo-header fields that are missing, doubled or unknown, and bodies that aren't as long as they say.
   */
  get fault(): string | undefined {
    if (!PATH.test(this.url)) return 'The request target must be a path.';
    if (!methods.has(this.method) || this.method === 'CONNECT') return 'This method is not known here.';
    if (this.scheme !== 'https') return 'The scheme must be https.';
    const [authority, host] = this.#hosts;
    // RFC 9113 section 8.3.1: two names for one request are somebody's attempt to be taken for somebody else.
    if (authority !== undefined && host !== undefined && authority !== host)
      return 'Host and :authority are not the same.';
    return undefined;
  }
}

function asHttp1(raw: readonly string[], host: string | undefined): string[] {
  const fields: string[] = host === undefined ? [] : ['Host', host];
  let cookieAt = -1;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    if (name.startsWith(':') || name === 'host') continue;
    if (name === 'cookie' && cookieAt >= 0) fields[cookieAt] += `; ${value}`;
    else {
      fields.push(name, value);
      if (name === 'cookie') cookieAt = fields.length - 1;
    }
  }
  return fields;
}

/** An answer over HTTP/2, to be written like one over HTTP/1.1. */
export class Http2Response extends Http2ServerResponse {
  constructor(stream: ServerHttp2Stream) {
    super(stream);
    let isClosed = false;
    this.once('close', () => {
      isClosed = true;
    });
    // Node says nothing when a client takes a HEAD back.
    stream.once('close', () => {
      if (!isClosed) this.emit('close');
    });
  }

  /** Has all of it gone out? (`writableFinished` is true as well for what was broken off.) */
  get isAnswered(): boolean {
    const { headersSent, writableFinished, aborted, rstCode } = this.stream;
    return headersSent && writableFinished && !aborted && rstCode === 0;
  }

  /** Fields of the connection and the reason have no place in HTTP/2 (RFC 9113 sections 8.2.2 and 8.3.2). */
  override writeHead(
    status: number,
    reason?: string | OutgoingHttpHeaders | readonly string[],
    headers?: OutgoingHttpHeaders | readonly string[],
  ): this {
    const fields = typeof reason === 'string' ? headers : reason;
    if (fields === undefined || Array.isArray(fields)) {
      super.writeHead(status, fields as unknown as OutgoingHttpHeaders);
    } else {
      const { Connection: _, ...rest } = fields as OutgoingHttpHeaders;
      super.writeHead(status, rest);
    }
    return this;
  }

  override setHeader(name: string, value: number | string | readonly string[]): void {
    if (name.toLowerCase() !== 'connection') super.setHeader(name, value);
  }

  writeProcessing(): void {
    this.stream.additionalHeaders({ ':status': 102 });
  }

  /** Breaks the stream off, in a way that nobody takes for its end; others of the connection go on. */
  override destroy(): this {
    this.stream.close(NGHTTP2_INTERNAL_ERROR);
    return this;
  }
}
