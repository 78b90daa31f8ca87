import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Dispatcher, errors } from 'undici';
import { isAnswered, isBeyondCounting, isWhole } from '../../http.ts';
import { Http2Response } from '../../http2/message.ts';
import type { SiteTraffic } from '../../operation/traffic.ts';
import type { Failure, Visit } from '../engine.ts';
import { responseHeaders, trailerFields } from './headers.ts';
import { Redactor } from './redactor.ts';

/**
 * One request on its way through: takes undici's events and writes them to the visitor, holding the notebook back while
 * the visitor is slow.
 */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #site: SiteTraffic;
  readonly #visit: Visit;
  readonly #hsts: string | undefined;
  readonly #redactor: Redactor | undefined;
  readonly #onFailure: (failure: Failure, error: Error) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #started = false;
  #written = false;
  /** Nothing more comes from the notebook, or is wanted from it. */
  #over = false;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    site: SiteTraffic,
    visit: Visit,
    hsts: string | undefined,
    onFailure: (failure: Failure, error: Error) => void,
  ) {
    this.#request = request;
    this.#response = response;
    this.#site = site;
    this.#visit = visit;
    this.#hsts = hsts;
    this.#redactor = visit.edits?.secret && new Redactor(visit.edits.secret);
    this.#onFailure = onFailure;
    response.on('drain', () => this.#controller?.resume());
  }

  /** Ends both sides at once: the visitor has left, or the site is gone. */
  abandon(): void {
    if (!this.#over) {
      this.#over = true;
      this.#controller?.abort(new errors.RequestAbortedError());
    }
    if (!isAnswered(this.#response)) this.#response.destroy();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#over) controller.abort(new errors.RequestAbortedError());
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    parsed: Record<string, string | string[] | undefined>,
    message?: string,
  ): void {
    const response = this.#response;
    if (isBeyondCounting(String(parsed['content-length'] ?? ''))) {
      controller.abort(new Error('the answer is longer than can be counted'));
      return;
    }
    // undici types leave the raw fields out of the controller.
    const { rawHeaders } = controller as unknown as { rawHeaders: (Buffer | string)[] };
    const headers = responseHeaders(rawHeaders, this.#visit, this.#hsts, status);
    if (status < 200) {
      if (status === 103) hint(response, headers);
      else if (status === 102) response.writeProcessing();
      return;
    }
    // Node adds Date where the notebook gave none (RFC 9110 section 6.6.1), and frames the body anew.
    // A reason phrase is for people, and Node refuses to send some.
    const isSound = message !== undefined && /^[\t\x20-\x7e\x80-\xff]*$/.test(message);
    // Nor does anybody read it, where a secret could be in it.
    const reason = isSound && !this.#redactor ? message : '';
    response.writeHead(status, reason, headers);
    this.#started = true;
    // A body's first bytes mostly come with the headers and go out with them; an event stream's may be minutes away.
    process.nextTick(() => {
      if (!this.#written && !response.writableEnded && !response.destroyed) response.flushHeaders();
    });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#site.bytesOut += chunk.length;
    const shown = this.#redactor ? this.#redactor.push(chunk) : chunk;
    if (shown.length === 0) return;
    this.#written = true;
    if (!this.#response.write(shown)) controller.pause();
  }

  onResponseEnd(_controller: Dispatcher.DispatchController, trailers: NodeJS.Dict<string | string[]>): void {
    const response = this.#response;
    this.#over = true;
    const rest = this.#redactor?.end();
    if (rest?.length) response.write(rest);
    // Where there is a secret they stay here: nothing of Jupyter's has any.
    if (!this.#redactor && (response.chunkedEncoding || response instanceof Http2Response)) {
      response.addTrailers(trailerFields(trailers));
    }
    response.end();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#over) return;
    this.#over = true;
    // In mid-answer there is only one honest thing left: a connection that breaks, so that nothing looks complete.
    if (this.#started || this.#response.headersSent) {
      this.#response.destroy();
      return;
    }
    if (this.#request.destroyed && !isWhole(this.#request)) return;
    this.#onFailure(failureOf(error), error);
  }
}

/** What an error of the connection to the notebook means to a visitor. */
export function failureOf(error: Error & { code?: string }): Failure {
  switch (error.code) {
    case 'UND_ERR_CONNECT_TIMEOUT':
    case 'UND_ERR_HEADERS_TIMEOUT':
    case 'ETIMEDOUT':
      return 'timeout';
    case 'ECONNREFUSED':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EHOSTDOWN':
      return 'refused';
    // No file descriptor left for us (the process's limit, the system's), or no port of ours.
    case 'EMFILE':
    case 'ENFILE':
    case 'EADDRNOTAVAIL':
      return 'full';
    default:
      return 'broken';
  }
}

/** Hints help or they don't: those that Node won't send are left out. */
function hint(response: ServerResponse, headers: readonly string[]): void {
  try {
    response.writeEarlyHints(group(headers));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}

/** Flat header fields by name, as writeEarlyHints wants them. */
function group(headers: readonly string[]): Record<string, string | string[]> {
  const grouped: Record<string, string[]> = {};
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    grouped[name] = [...(grouped[name] ?? []), headers[i + 1] as string];
  }
  return grouped;
}
