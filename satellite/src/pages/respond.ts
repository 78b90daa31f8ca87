import type { IncomingMessage, ServerResponse } from 'node:http';
import type { SatelliteConfig } from '../config.ts';
import { type Failure, failureStatus } from '../dataplane/engine.ts';
import { send, sendError } from '../send.ts';
import type { TokenRecord } from '../tokens/record.ts';
import type { TokenRegistry } from '../tokens/registry.ts';
import { type Content, contentOf } from './content.ts';
import { iconOf } from './icon.ts';
import {
  busyContent,
  NO_ANSWER,
  siblingContent,
  troubleContent,
  troubles,
  unknownContent,
  unreachableContent,
  unsentContent,
  unsureContent,
} from './notices.ts';
import { type Behaviour, type Operator, type PageExtra, pageHeaders, renderPage } from './page.ts';
import { EVENTS_PATH, OWN_PREFIX, STATE_PATH, STATE_TYPE } from './paths.ts';
import { type View, viewOf } from './view.ts';

const RECORDED_UNKNOWN = 'Please see documentation on how to use this service.\n';
const HEARTBEAT_MS = 15_000;

/** Does the client say that it wants a page, and isn't a script or an image that says so by habit? */
export function acceptsPage(request: IncomingMessage): boolean {
  return isNavigation(request) && acceptsHtml(request);
}

function acceptsHtml({ headers }: IncomingMessage): boolean {
  return /\btext\/html\b/i.test(headers.accept ?? '');
}

/** A visit rather than a part of a page: what curl without options does is one, what a page's fetch() does is none. */
function isNavigation(request: IncomingMessage): boolean {
  if (request.method !== 'GET' && request.method !== 'HEAD') return false;
  const destination = request.headers['sec-fetch-dest'];
  return destination === undefined || isFrame(destination);
}

/** A form that a browser has sent, whose answer fills a tab. */
function isForm(request: IncomingMessage): boolean {
  return (
    request.method === 'POST' && isFrame(request.headers['sec-fetch-dest'] ?? '') && acceptsHtml(request)
  );
}

function isFrame(destination: string | string[]): boolean {
  return destination === 'document' || destination === 'iframe' || destination === 'frame';
}

/** What curl without options asks a site for, where the site has a host name as the original's have. */
function wantsAnything(request: IncomingMessage): boolean {
  const isRoot = /^\/(\?|$)/.test(request.url ?? '');
  return isRoot && isNavigation(request) && /^(\*\/\*)?$/.test(request.headers.accept?.trim() ?? '');
}

/** What visitors see where there is no live site. */
export class Pages {
  readonly #registry: TokenRegistry;
  readonly #operator: Operator;
  readonly #siteStyle: SatelliteConfig['siteStyle'];
  readonly #streams = new Set<ServerResponse>();
  #isClosing = false;

  constructor(registry: TokenRegistry, config: Operator & Pick<SatelliteConfig, 'siteStyle'>) {
    this.#registry = registry;
    this.#operator = config;
    this.#siteStyle = config.siteStyle;
  }

  /** What the paths of a token's site begin with, which its visitors see and we don't look at. */
  #prefixOf(token: string): string {
    return this.#siteStyle === 'path' ? `/${token}` : '';
  }

  /** A name that nobody has a token for. */
  unknown(request: IncomingMessage, response: ServerResponse, name: string): void {
    if (acceptsPage(request)) this.#page(request, response, 404, unknownContent(name), 'rest');
    else if (wantsAnything(request))
      send(request, response, 200, { 'Content-Type': 'text/plain' }, RECORDED_UNKNOWN);
    else sendError(request, response, 404, 'unknown', 'There is no session at this address.');
  }

  /** A name that may be a session's: what would know it can't be asked. */
  unsure(request: IncomingMessage, response: ServerResponse): void {
    const { status } = unsureContent;
    if (acceptsPage(request)) this.#page(request, response, 503, unsureContent, 'retry', { pause: 5 });
    else sendError(request, response, 503, 'unsure', status, 5);
  }

  /** A page of another site on the same host name asks. */
  sibling(request: IncomingMessage, response: ServerResponse): void {
    if (acceptsPage(request)) this.#page(request, response, 403, siblingContent, 'rest');
    else sendError(request, response, 403, 'other-site', 'A page of another session may not ask for this.');
  }

  /** A client (429) or a site (503) with more requests than it may have; `pause` in seconds until it may have more. */
  busy(
    request: IncomingMessage,
    response: ServerResponse,
    status: keyof typeof busyContent,
    message: string,
    pause: number,
  ): void {
    if (!acceptsPage(request)) sendError(request, response, status, 'busy', message, pause);
    else this.#page(request, response, status, busyContent[status], 'retry', { pause });
  }

  /** A site that isn't live: not yet, or no longer. */
  waiting(request: IncomingMessage, response: ServerResponse, record: TokenRecord): void {
    const path = (request.url?.split('?', 1)[0] ?? '').slice(this.#prefixOf(record.token).length);
    if (path.startsWith(OWN_PREFIX)) this.#own(request, response, record, path);
    else this.#show(request, response, record, record.state === 'gone' ? 410 : 200);
  }

  /** A mapped site whose notebook gave no answer. */
  trouble(request: IncomingMessage, response: ServerResponse, record: TokenRecord, failure: Failure): void {
    // Redeemed before the notebook listens: that is a start like any other, and nobody's fault.
    if (failure === 'refused' && !this.#registry.isAnswering(record.token)) {
      this.#show(request, response, record, 503);
      return;
    }
    const status = failureStatus[failure];
    const { heading = NO_ANSWER, text } = troubles[failure];
    if (isForm(request)) {
      this.#page(request, response, status, unsentContent(heading, text), 'rest');
      return;
    }
    if (request.url === `${this.#prefixOf(record.token)}${STATE_PATH}`) {
      // Asked by a page that had not heard of the site's being live: it is to show trouble, too.
      send(request, response, status, { 'Content-Type': STATE_TYPE }, stateOf(troubleContent(heading, text)));
      return;
    }
    if (acceptsPage(request)) {
      this.#page(request, response, status, troubleContent(heading, text), 'retry');
      return;
    }
    sendError(request, response, status, 'trouble', text, 5);
  }

  /** A server that is no session's gives no answer. `parents` may embed the page that says so. */
  unreachable(
    request: IncomingMessage,
    response: ServerResponse,
    failure: Failure,
    parents: readonly string[] = [],
  ): void {
    const status = failureStatus[failure];
    if (acceptsPage(request)) this.#page(request, response, status, unreachableContent, 'retry', { parents });
    else sendError(request, response, status, 'trouble', unreachableContent.status, 5);
  }

  /** Ends all event streams; the pages come back for new ones. */
  close(): void {
    this.#isClosing = true;
    for (const stream of this.#streams) stream.end();
  }

  #show(
    request: IncomingMessage,
    response: ServerResponse,
    record: TokenRecord,
    pageStatus: 200 | 410 | 503,
  ): void {
    const view = viewOf(this.#registry, record);
    const content = contentOf(view);
    // The recorded answer to a plain curl is the page, with 200; but what programs and images get must not look right.
    const prefix = this.#prefixOf(record.token);
    if (acceptsPage(request) || (pageStatus === 200 && wantsAnything(request))) {
      this.#page(request, response, pageStatus, content, isOver(view) ? 'rest' : 'follow', { prefix });
      return;
    }
    const message = `${content.heading}. ${content.status}`;
    if (pageStatus === 410) sendError(request, response, 410, view.kind, message);
    else sendError(request, response, 503, view.kind, message, 5);
  }

  #own(request: IncomingMessage, response: ServerResponse, record: TokenRecord, path: string): void {
    if (path === EVENTS_PATH && request.method === 'GET') this.#events(request, response, record.token);
    else if (path === STATE_PATH && (request.method === 'GET' || request.method === 'HEAD')) {
      const content = contentOf(viewOf(this.#registry, record));
      send(request, response, 200, { 'Content-Type': STATE_TYPE }, stateOf(content));
    } else send(request, response, 404, { 'Content-Type': 'text/plain' }, 'There is nothing here.\n');
  }

  #events(request: IncomingMessage, response: ServerResponse, token: string): void {
    response.writeHead(200, {
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-store',
      'X-Accel-Buffering': 'no',
    });
    response.write('retry: 1000\n\n');
    this.#streams.add(response);
    let last = '';
    const update = (): void => {
      // Who is slow to read gets what is true when there is room for it, not all that was true before.
      if (response.writableNeedDrain) return;
      const record = this.#registry.find(token);
      if (record === undefined) {
        response.end();
        return;
      }
      const view = viewOf(this.#registry, record);
      const data = stateOf(contentOf(view));
      if (data !== last) response.write(`data: ${data}\n\n`);
      last = data;
      if (view.kind === 'live' || isOver(view) || this.#isClosing) response.end();
    };
    const heartbeat = setInterval(() => {
      if (!response.writableNeedDrain) response.write('event: still\ndata:\n\n');
    }, HEARTBEAT_MS);
    response.on('drain', update);
    const stop = this.#registry.watch(token, update);
    const finish = (): void => {
      clearInterval(heartbeat);
      stop();
      this.#streams.delete(response);
    };
    response.on('finish', finish);
    response.on('close', finish);
    request.resume();
    update();
  }

  #page(
    request: IncomingMessage,
    response: ServerResponse,
    status: number,
    content: Content,
    behaviour: Behaviour,
    extra: PageExtra = {},
  ): void {
    const { pause } = extra;
    const headers = {
      ...pageHeaders(behaviour, extra.parents),
      ...(pause !== undefined && { 'Retry-After': String(pause) }),
    };
    send(request, response, status, headers, renderPage(content, behaviour, this.#operator, extra));
  }
}

/** A page's content as its script takes it. */
function stateOf(content: Content): string {
  return JSON.stringify({ ...content, icon: iconOf(content.kind) });
}

function isOver(view: View): boolean {
  return view.kind === 'ended' || view.kind === 'failed';
}
