import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { SatelliteConfig } from '../config.ts';
import { type Failure, failureStatus } from '../dataplane/engine.ts';
import { hasUnreadBody } from '../http.ts';
import type { TokenRecord } from '../tokens/record.ts';
import type { TokenRegistry } from '../tokens/registry.ts';
import { type Content, contentOf } from './content.ts';
import { escapeHtml } from './html.ts';
import { iconOf } from './icon.ts';
import { misspellings } from './misspelling.ts';
import { type Behaviour, type Operator, type PageExtra, pageHeaders, renderPage } from './page.ts';
import { EVENTS_PATH, OWN_PREFIX, STATE_PATH, STATE_TYPE } from './paths.ts';
import { type View, viewOf } from './view.ts';

const RECORDED_UNKNOWN = 'Please see documentation on how to use this service.\n';
const HEARTBEAT_MS = 15_000;
const FAREWELL_MS = 5000;

/** What is known about a name that nobody has a token for: how it is spelled. */
function unknownContent(name: string): Content {
  const faults = misspellings(name);
  const spelling = faults.map((fault) => `<li>${escapeHtml(fault)}</li>`).join('');
  return {
    kind: 'unknown',
    title: 'No session here',
    heading: 'There is no session at this address',
    status:
      faults.length > 0
        ? 'The address seems to be mistyped.'
        : 'It ended more than a day ago, or a word of it is not the right one.',
    details: `${spelling && `<ul>${spelling}</ul>`}<p>An address is three words with hyphens between them, exactly as
<code>start-jupyter</code> printed it. To see the addresses of your sessions, run this on the login node:</p>
<pre><code>start-jupyter list</code></pre>`,
  };
}

const busyContent = {
  429: {
    kind: 'busy',
    title: 'Too many requests',
    heading: 'One moment, please',
    status: 'Too many addresses that do not exist were tried from your network.',
    details:
      '<p>That protects everybody’s sessions against guessing. This page tries again by itself in a minute; there is nothing to do.</p>',
  },
  503: {
    kind: 'busy',
    title: 'Too many requests',
    heading: 'One moment, please',
    status: 'This session has too many requests under way.',
    details:
      '<p class="note">This page tries again by itself. Closing other tabs of the same session helps.</p>',
  },
} satisfies Record<number, Content>;

const unsentContent = (heading: string, status: string): Content => ({
  kind: 'trouble',
  title: heading,
  heading,
  status,
  details:
    '<p>What you sent may not have arrived. Go back, wait a little, and send it again; this page does not do so by itself.</p>',
});

const NO_ANSWER = 'Jupyter does not answer';
const troubles: Readonly<Record<Failure, { heading?: string; text: string }>> = {
  refused: { text: 'The compute node refuses the connection.' },
  broken: { text: 'The connection to the compute node broke off.' },
  timeout: { text: 'The compute node does not answer.' },
  full: {
    heading: 'Very busy',
    text: 'The proxy has no room for another connection at the moment.',
  },
};

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

const troubleContent = (heading: string, status: string): Content => ({
  kind: 'trouble',
  title: heading,
  heading,
  status,
  details: `<p class="note">This page tries again by itself. If it stays like this, look at
<code>start-jupyter status</code> on the login node.</p>`,
});

const unreachableContent: Content = {
  kind: 'trouble',
  title: 'No answer',
  heading: 'This site does not answer',
  status: 'The server behind it could not be reached, or gave no answer.',
  details: '<p class="note">This page tries again by itself.</p>',
};

const unsureContent: Content = {
  kind: 'trouble',
  title: 'One moment, please',
  heading: 'One moment, please',
  status: 'Whether there is a session at this address can not be looked up at the moment.',
  details: '<p class="note">This page tries again by itself.</p>',
};

/** What a page of one session says that leads to another, where both share a host name. */
const siblingContent: Content = {
  kind: 'unknown',
  title: 'Another session',
  heading: 'This leads to another session',
  status: 'A page of one session has asked for another one. They are kept apart.',
  details:
    '<p>If it was you who followed a link: <a href="" target="_blank" rel="noopener noreferrer">open it in a tab of its own</a>.</p>',
};

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

/** For a program: a sentence, as JSON where it reads that. `pause` in seconds until it should try again. */
export function sendError(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  code: string,
  message: string,
  pause?: number,
): void {
  const wantsJson = /\bjson\b/i.test(request.headers.accept ?? '');
  const headers = {
    'Content-Type': wantsJson ? 'application/json' : 'text/plain',
    ...(pause !== undefined && { 'Retry-After': String(pause) }),
  };
  const body = wantsJson ? JSON.stringify({ error: { code, message } }) : message;
  send(request, response, status, headers, `${body}\n`);
}

function isOver(view: View): boolean {
  return view.kind === 'ended' || view.kind === 'failed';
}

/** One whole answer of our own. */
export function send(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string | string[]>>,
  body: string,
): void {
  response.writeHead(status, {
    'Cache-Control': 'no-store',
    ...headers,
    'Content-Length': Buffer.byteLength(body),
    // What is left of a body would be taken for the next request.
    ...(hasUnreadBody(request) && { Connection: 'close' }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** The same on a raw socket, which is closed after it. */
export function sendRaw(socket: Duplex, status: number, text: string): void {
  if (socket.destroyed) return;
  // The other side may leave its half open for as long as it likes.
  socket.once('finish', () => socket.destroy());
  // And need not read what we say.
  const timer = setTimeout(() => socket.destroy(), FAREWELL_MS).unref();
  socket.once('close', () => clearTimeout(timer));
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(text)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n${text}`,
  );
}
