/** A client of the Satellite protocol, for our own proxy and for SDSC's original. */

import { lookup as dnsLookup, type LookupAddress } from 'node:dns';
import { readFileSync } from 'node:fs';
import type { Agent, IncomingMessage, RequestOptions, request } from 'node:http';
import type { AgentOptions } from 'node:https';
import { isIP, type Socket } from 'node:net';
import { ConfigurationError, ProxyError } from '../errors.ts';
import { fileProblem, systemWords } from '../file-system.ts';
import { nextTurn } from '../interruption.ts';
import { formatDuration, shown } from '../values.ts';

export interface SatelliteAddress {
  /** What requests are sent to, without a trailing slash: `https://manage.user-content.example.edu`. */
  readonly manageUrl: string;
  /** IP address to connect to, instead of asking the DNS for the management host and for sites. */
  readonly connectTo?: string | undefined;
  readonly caFile?: string | undefined;
  /** A Unix socket on this machine through which it is reached, whatever its name means here. */
  readonly socket?: string | undefined;
  /** The port of a site at the other end, where it isn't Jupyter's own. */
  readonly sitePort?: number | undefined;
  /** The port that Jupyter must listen on; undefined: one that is free. */
  readonly jupyterPort?: number | undefined;
}

export interface IssuedToken {
  readonly token: string;
  /** `https://<words>.<domain>/`, or `https://<domain>/<words>/` */
  readonly site: string;
  /** The proxy itself asks who visits: the Jupyter token stays there, and somebody must say whose session it is. */
  readonly gated: boolean;
  /** Nobody but who knows its Jupyter token may change anything about it. */
  readonly claimed: boolean;
}

/** A token in the hands of the session that it belongs to. */
export interface HeldToken {
  readonly token: string;
  /** The Jupyter token that it was issued with, where the proxy wants to see that before anything changes. */
  readonly proof?: string | undefined;
}

/** Whose session it is, and to whom else it is open, at a proxy that asks who visits. */
export interface SiteAccess {
  readonly owner: string;
  readonly sharedWith: readonly string[];
}

export interface TokenStatus {
  readonly state: 'pending' | 'mapped' | 'gone';
  readonly phase: string | undefined;
  readonly reason: string | undefined;
}

/** Who answers at the management host. */
export interface Identity {
  /** Undefined: the original, or another without a JSON API. */
  readonly version: string | undefined;
  /** What time it is there. */
  readonly date: Date | undefined;
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly date: string | undefined;
  /** Seconds, or a date. */
  readonly retryAfter: string | undefined;
}

/** Node's, for HTTP or HTTPS. */
interface HttpClient {
  readonly agent: Agent;
  /** With which the agent opens connections. */
  readonly connection: AgentOptions;
  readonly request: typeof request;
}

/** Milliseconds in which something must come: a connection, an answer, the rest of it; and for all of that. */
const patience = 15_000;
const longest = 60_000;
/** Bytes of an answer. The longest that there is describes a proxy's API, with a tenth of it. */
const largest = 1_000_000;

/** Seconds in which a connection that was opened early must get its request: no server closes it sooner. */
const earliness = 3;

export class SatelliteClient {
  readonly #address: SatelliteAddress;
  readonly #connection: AgentOptions;
  #client: HttpClient | undefined;
  #early: { readonly socket: Socket; readonly openedAt: number } | undefined;

  /** @throws ConfigurationError where the CA file can't be read */
  constructor(address: SatelliteAddress) {
    this.#address = address;
    this.#connection = {
      keepAlive: true,
      ...trusted(address.caFile),
      ...(address.socket === undefined
        ? { lookup: this.#lookup.bind(this) }
        : { socketPath: address.socket }),
    };
  }

  /**
   * Who this is, asked without getting or changing anything.
   * @throws ProxyError where the proxy can't be reached or answers nonsense
   */
  async identify(): Promise<Identity> {
    const described = await this.#send('GET', '/api/v1/openapi.json');
    const date = described.date === undefined ? undefined : new Date(described.date);
    const { title, version } = (parseObject(described.body).info ?? {}) as Record<string, unknown>;
    if (described.status === 200 && title === 'Satellite' && typeof version === 'string')
      return { version: shown(version), date };
    const answer = await this.#send('GET', '/tokenjobstate.cgi');
    if (/^Oops! Missing 'token' parameter/.test(answer.body)) return { version: undefined, date };
    throw answer.status < 500 ? this.#nonsense() : this.#refusal(answer);
  }

  /**
   * Why an original would refuse this host, asked with a token that there can't be.
   * @returns its words; undefined where it lets this host in
   * @throws ProxyError
   */
  async outsiderRefusal(): Promise<string | undefined> {
    const { body } = await this.#send('GET', '/redeemtoken.cgi?token=0&port=9000');
    return / IP not in range /.test(body) ? shown(body.replace(/^Oops! /, ''), 160) : undefined;
  }

  /**
   * A new token: over the JSON API, or as the original gives it out.
   * @param claim the session's Jupyter token, where others share the address that it is redeemed from
   * @throws ProxyError where the proxy can't be reached, refuses, or answers nonsense
   */
  async issueToken(claim?: string): Promise<IssuedToken> {
    const answer = await this.#send('POST', '/api/v1/tokens', proofOf(claim));
    if (answer.status === 201) {
      const { token, site, gated, claimed } = parseObject(answer.body);
      if (isToken(token) && isSite(site, token))
        return { token, site, gated: gated === true, claimed: claimed === true };
      throw this.#nonsense();
    }
    if (answer.status !== 404 && answer.status !== 405) throw this.#refusal(answer);
    return this.#issueFromOriginal();
  }

  /** The original answers every error with status 200 and "Oops!": only the body tells. */
  async #issueFromOriginal(): Promise<IssuedToken> {
    const answer = await this.#send('GET', '/getlink.cgi');
    const token = /^Your token is\s+(\S+)\s*$/.exec(answer.body)?.[1];
    if (answer.status === 200 && isToken(token)) {
      const manage = new URL(this.#address.manageUrl);
      return {
        token,
        site: `${manage.protocol}//${token}.${manage.host.replace(/^manage\./, '')}/`,
        gated: false,
        claimed: false,
      };
    }
    throw this.#refusal(answer);
  }

  /**
   * Says whose session it is, or with whom it is shared from now on; what is left out stays as it is. The Jupyter token
   * proves that it is the owner who says so.
   * @throws ProxyError
   */
  async setAccess(
    token: string,
    wanted: Partial<SiteAccess> & { readonly jupyterToken: string },
  ): Promise<SiteAccess> {
    const answer = await this.#send('PUT', `/api/v1/tokens/${token}/access`, wanted);
    if (answer.status !== 200) throw this.#refusal(answer);
    const { owner, sharedWith } = parseObject(answer.body);
    if (typeof owner !== 'string' || !Array.isArray(sharedWith)) throw this.#nonsense();
    return { owner, sharedWith: sharedWith.map(String) };
  }

  /**
   * Tells the proxy which job a token waits for, so that the waiting page can show the queue.
   * @throws ProxyError
   */
  async linkJob(token: string, jobId: string): Promise<void> {
    const answer = await this.#send('PUT', `/api/v1/tokens/${token}/job`, { jobId });
    if (answer.status < 300) return;
    if (answer.status !== 404 && answer.status !== 405) throw this.#refusal(answer);
    await this.#send('GET', `/linktoken.cgi?token=${token}&jobid=${encodeURIComponent(jobId)}`);
  }

  /** What the proxy knows of a token; undefined where it doesn't know it or has no JSON API. */
  async tokenStatus(token: string): Promise<TokenStatus | undefined> {
    const answer = await this.#send('GET', `/api/v1/tokens/${token}`);
    if (answer.status !== 200) return undefined;
    const { state, phase, reason } = parseObject(answer.body);
    if (state !== 'pending' && state !== 'mapped' && state !== 'gone') return undefined;
    return {
      state,
      phase: typeof phase === 'string' ? phase : undefined,
      reason: typeof reason === 'string' ? reason : undefined,
    };
  }

  /** Why a session that ends before it was live did so, for its waiting page. Best effort: an original has no such thing. */
  async reportPhase({ token, proof }: HeldToken, phase: 'ended' | 'failed', reason: string): Promise<void> {
    await this.#send('PUT', `/api/v1/tokens/${token}/phase`, { phase, reason, ...proofOf(proof) });
  }

  /**
   * Counts the time of a redeemed token anew, where the proxy has such a thing.
   * @returns how long it lives now, in milliseconds; 'gone' where it does no more; undefined where nothing can be said
   * @throws ProxyError where the proxy can't be reached
   */
  async renewToken({ token, proof }: HeldToken): Promise<number | 'gone' | undefined> {
    const answer = await this.#send('POST', `/api/v1/tokens/${token}/renew`, proofOf(proof));
    const { expiresAt, error } = parseObject(answer.body);
    const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
    if (answer.status === 410 || code === 'unknown-token') return 'gone';
    if (answer.status !== 200 || typeof expiresAt !== 'string') return undefined;
    const left = Date.parse(expiresAt) - (answer.date === undefined ? Date.now() : Date.parse(answer.date));
    return Number.isNaN(left) ? undefined : left;
  }

  /** Gives a token back. One that is mapped can be destroyed by its own compute node only; that refusal is no error here. */
  async destroyToken({ token, proof }: HeldToken): Promise<void> {
    if (proof !== undefined) {
      await this.#send('POST', `/api/v1/tokens/${token}/destroy`, proofOf(proof));
      return;
    }
    const answer = await this.#send('DELETE', `/api/v1/tokens/${token}`);
    if (answer.status === 404 || answer.status === 405)
      await this.#send('GET', `/destroytoken.cgi?token=${token}`);
  }

  /** Whether the notebook behind a site answers through the proxy: Jupyter's `/api` is open and tells its version. */
  async siteAnswers(site: string): Promise<boolean> {
    try {
      const { status, body } = await this.#request(new URL('api', site), {
        headers: { accept: 'application/json' },
      });
      return status === 200 && typeof parseObject(body).version === 'string';
    } catch {
      return false;
    }
  }

  /** The same at a proxy that lets nobody through who has not signed in: what it knows itself. */
  async gatedSiteAnswers(token: string): Promise<boolean> {
    try {
      const { body } = await this.#send('GET', `/tokenjobstate.cgi?token=${token}`);
      return body.trim() === 'PR';
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    this.#early?.socket.destroy();
    this.#client?.agent.destroy();
  }

  /**
   * Begins to open the connection that the first request will go over, and asks nothing. What goes wrong shows again when
   * there is a request.
   * @returns the connection, which may not be open yet
   */
  async connect(): Promise<Socket> {
    const { protocol, hostname, port } = new URL(this.#address.manageUrl);
    // Once it is loaded, Node's TLS reads certificates in a thread of its own, for which the context of a connection would wait.
    if (protocol === 'https:') await import('node:https');
    compileAddressPatterns();
    // Another thread looks the name up, while this one makes what a connection takes.
    const addresses = this.#address.socket === undefined ? this.#addresses(hostname) : undefined;
    await this.load();
    const { agent, connection } = this.#client as HttpClient;
    const open = agent.createConnection.bind(agent);
    const target = {
      ...connection,
      ...(addresses && { lookup: answeredBy(addresses) }),
      host: hostname,
      port: Number(port) || (protocol === 'https:' ? 443 : 80),
      path: this.#address.socket ?? null,
      servername: isIP(hostname) ? '' : hostname,
      timeout: patience,
    };
    const socket = open(target) as Socket;
    socket.on('error', () => {});
    this.#early = { socket, openedAt: process.uptime() };
    agent.createConnection = (options, callback) =>
      (options.host === hostname && this.#takeEarly()) || open(options, callback);
    // Once around the event loop, so that the proxy has our greeting before whoever called keeps this thread busy.
    await nextTurn();
    await nextTurn();
    return socket;
  }

  /** All of a host's. What goes wrong is told to whoever waits for them. */
  #addresses(hostname: string): Promise<LookupAddress[]> {
    const addresses = new Promise<LookupAddress[]>((resolve, reject) =>
      this.#lookup(hostname, { all: true }, (error, found) =>
        error ? reject(error) : resolve(found as LookupAddress[]),
      ),
    );
    addresses.catch(() => {});
    return addresses;
  }

  /** Once, and only while the server waits for its request. */
  #takeEarly(): Socket | undefined {
    const { socket, openedAt } = this.#early ?? {};
    this.#early = undefined;
    if (socket === undefined || openedAt === undefined) return undefined;
    if (socket.readable !== false && !socket.destroyed && process.uptime() - openedAt < earliness)
      return socket;
    socket.destroy();
    return undefined;
  }

  async #send(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, content?: unknown): Promise<Answer> {
    const body = content === undefined ? undefined : JSON.stringify(content);
    try {
      return await this.#request(
        new URL(`${this.#address.manageUrl}${path}`),
        {
          method,
          headers: {
            accept: 'application/json, text/plain',
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          },
        },
        body,
      );
    } catch (error) {
      throw new ProxyError(
        `The proxy ${this.#host} can't be reached: ${transportProblem(error)}.`,
        isNameProblem(error)
          ? `${checkName} the DNS; nothing was submitted or left behind.`
          : `${trustAdvice(error, this.#address.caFile) ?? 'Ask your site whether it is down'}; nothing was submitted or left behind.`,
      );
    }
  }

  /**
   * Makes ready what a request takes, without one: Node's own client, which need not be read from a shared file system, and
   * the certificates that are trusted. Most sessions are looked up without any.
   */
  async load(): Promise<void> {
    if (this.#client !== undefined) return;
    if (!this.#address.manageUrl.startsWith('https:')) {
      const { Agent, request } = await import('node:http');
      this.#client = { agent: new Agent(this.#connection), connection: this.#connection, request };
      return;
    }
    const [{ Agent, request }, { createSecureContext }] = await Promise.all([
      import('node:https'),
      import('node:tls'),
    ]);
    const { ca, ...options } = this.#connection;
    const connection = { ...options, secureContext: createSecureContext({ ca }) };
    this.#client = { agent: new Agent(connection), connection, request };
  }

  async #request(
    url: URL,
    options: Pick<RequestOptions, 'method' | 'headers'>,
    body?: string | undefined,
  ): Promise<Answer> {
    await this.load();
    const { agent, request } = this.#client as HttpClient;
    return await new Promise<Answer>((resolve, reject) => {
      const sent = request(url, { ...options, agent, timeout: patience });
      let answer: IncomingMessage | undefined;
      const giveUp = () => void (answer ?? sent).destroy(new Unfinished(answer ? 'UNFINISHED' : 'ETIMEDOUT'));
      const limit = setTimeout(giveUp, longest).unref();
      sent.once('timeout', giveUp);
      sent.once('error', reject);
      sent.once('close', () => clearTimeout(limit));
      sent.once('response', (response) => {
        answer = response;
        const { statusCode: status = 0, headers } = response;
        const { date, 'retry-after': retryAfter } = headers;
        bodyOf(response).then((content) => resolve({ status, body: content, date, retryAfter }), reject);
      });
      sent.end(body);
    });
  }

  get #host(): string {
    return new URL(this.#address.manageUrl).host;
  }

  /** Why an answer isn't the one that was asked for. The body of a page is for browsers, and may be anybody's in between. */
  #refusal({ status, body, retryAfter }: Answer): ProxyError {
    const { error } = parseObject(body);
    const said =
      typeof error === 'object' && error !== null && 'message' in error
        ? String(error.message)
        : /^\s*</.test(body)
          ? ''
          : body.trim().replace(/^Oops!\s*/, '');
    const words = shownLine(said);
    if (status >= 500)
      return new ProxyError(
        `The proxy ${this.#host} has a problem: ${words || `it answers with status ${status}`}`,
        'Try again in a few minutes, and tell whoever runs it if it stays so; nothing was submitted.',
      );
    const isOurs = error !== undefined || /^Oops!/.test(body);
    if (!isOurs && (status < 400 || status === 404)) return this.#nonsense();
    if (status === 429)
      return new ProxyError(
        `The proxy ${this.#host} refuses for now: ${words || 'it has had too many requests from here (status 429)'}`,
        `Try again ${waitOf(retryAfter)}; nothing was submitted.`,
      );
    return new ProxyError(
      `The proxy ${this.#host} refuses: ${words || `status ${status}`}`,
      'Start from a login node of the cluster; if you are on one, tell your site.',
    );
  }

  #nonsense(): ProxyError {
    return new ProxyError(`${this.#host} does not answer as a Satellite proxy does.`, `${checkName} it.`);
  }

  /** Sites live at the management host's address where the DNS of this machine doesn't know them (no wildcard inside). */
  #lookup(
    hostname: string,
    options: object,
    callback: (
      error: NodeJS.ErrnoException | null,
      address: string | LookupAddress[],
      family?: number,
    ) => void,
  ): void {
    const { connectTo, manageUrl } = this.#address;
    const manageHost = new URL(manageUrl).hostname;
    if (connectTo !== undefined) {
      if ('all' in options && options.all) callback(null, [{ address: connectTo, family: 4 }]);
      else callback(null, connectTo, 4);
      return;
    }
    dnsLookup(hostname, options, (error, address, family) => {
      if (error && hostname !== manageHost) dnsLookup(manageHost, options, callback as never);
      else callback(error, address as never, family as never);
    });
  }
}

/**
 * Node holds every name against patterns of IP addresses, again and again. V8 would compile them for its interpreter, and make
 * that better for 3 ms; where the first text has 1000 characters, it compiles them to machine code at once, in less than one
 * (kTierUpForSubjectLengthValue in V8's source).
 */
function compileAddressPatterns(): void {
  isIP(' '.repeat(1000));
}

/** The result of a lookup that was begun before. */
function answeredBy(addresses: Promise<LookupAddress[]>): NonNullable<AgentOptions['lookup']> {
  return (_hostname, { all }, callback) => {
    const answer = (found: LookupAddress[]) =>
      all ? callback(null, found) : callback(null, found[0]?.address as string, found[0]?.family);
    addresses.then(answer, (error) => callback(error, []));
  };
}

/** Rejects where it is too long. */
function bodyOf(response: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let size = 0;
    const pieces: Buffer[] = [];
    response.on('data', (piece: Buffer) => {
      size += piece.length;
      pieces.push(piece);
      if (size > largest) response.destroy(new Unfinished('TOO_LONG'));
    });
    response.once('error', reject);
    response.once('end', () => resolve(Buffer.concat(pieces).toString()));
  });
}

/** Nothing came for too long, or too much. */
class Unfinished extends Error {
  readonly code: string;
  constructor(code: 'ETIMEDOUT' | 'UNFINISHED' | 'TOO_LONG') {
    super('no end');
    this.code = code;
  }
}

/** What a proxy's certificate is held against, where that isn't what the machine trusts. */
export function trusted(caFile: string | undefined): { ca?: Buffer } {
  if (caFile === undefined) return {};
  try {
    return { ca: readFileSync(caFile) };
  } catch (error) {
    throw new ConfigurationError(
      `The proxy's certificate authority ${caFile} can't be read: ${fileProblem(caFile) ?? systemWords(error)}.`,
      'Check proxy.caFile in the configuration.',
    );
  }
}

/** One DNS label of words; nothing else may become a part of a URL. */
function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z0-9]+(?:-[a-z0-9]+)+$/i.test(value) && value.length <= 63;
}

/** A site by its name or by its path: Jupyter is told to be there, and a browser is sent there. */
function isSite(value: unknown, token: string): value is string {
  const url = typeof value === 'string' ? URL.parse(value) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) return false;
  return url.pathname === `/${token}/` || (url.pathname === '/' && url.hostname.startsWith(`${token}.`));
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** In words, what a Retry-After of seconds asks for; a minute unless given. */
function waitOf(retryAfter: string | undefined): string {
  const seconds = /^\d{1,6}$/.test(retryAfter ?? '') ? Math.max(1, Number(retryAfter)) : 60;
  return seconds === 60 ? 'in a minute' : `in ${formatDuration(seconds)}`;
}

function shownLine(text: string): string {
  const line = text.split('\n')[0] ?? '';
  return line.length > 60 ? `${line.slice(0, 200).replace(/[\p{C}]/gu, '')}` : shown(line);
}

const noTls = 'it does not speak TLS';
const noHttp = 'what answers there does not speak HTTP';

const transportProblems: Record<string, string> = {
  ECONNREFUSED: 'it refuses connections',
  ENOTFOUND: 'its name is not known here',
  EAI_AGAIN: 'the name service does not answer',
  EHOSTUNREACH: 'there is no way to it from here',
  ENETUNREACH: 'there is no way to it from here',
  ECONNRESET: 'it closed the connection',
  ETIMEDOUT: 'it does not answer',
  EPROTO: noTls,
  ERR_SSL_WRONG_VERSION_NUMBER: noTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: noTls,
  UNFINISHED: 'it does not finish its answer',
  TOO_LONG: 'its answer is too long to be one',
};

/** What to do where it's the name that may be wrong; continued by who else can be asked. */
export const checkName =
  'Check proxy.endpoint ("start-jupyter systems" shows which file it comes from), or ask whoever runs';

function isNameProblem(error: unknown): boolean {
  return ['ENOTFOUND', 'EAI_AGAIN'].includes(String((error as { code?: unknown }).code));
}

/** What to do where something answers that is not trusted, or speaks no HTTPS; undefined where it's neither. Continued. */
export function trustAdvice(error: unknown, caFile: string | undefined): string | undefined {
  const code = String((error as { code?: unknown }).code ?? '');
  if ([noTls, noHttp].includes(transportProblem({ code })))
    return 'Check the port in proxy.endpoint ("start-jupyter systems" shows which file it comes from): HTTPS must be spoken there';
  if (!isCertificateProblem(code)) return undefined;
  if (/EXPIRED|NOT_YET_VALID/.test(code))
    return 'Ask whoever runs the proxy to renew it, and check the clock of this machine';
  if (/ALTNAME/.test(code)) return `${checkName} the proxy`;
  return caFile === undefined
    ? 'Ask whoever runs the proxy for the file of its authority (PEM), put it where compute nodes see it, too, and name it: proxy.caFile'
    : `${caFile} (proxy.caFile) is not of its authority: ask whoever runs the proxy for the right file`;
}

function isCertificateProblem(code: string): boolean {
  return /CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS|SSL/.test(code);
}

/** Why there is no connection, or none that is trusted, in words. */
export function transportProblem(error: unknown): string {
  const code = String((error as { code?: unknown }).code ?? '');
  const message = error instanceof Error ? error.message : String(error);
  const known = transportProblems[code];
  if (known !== undefined) return known;
  // What Node's parser of HTTP complains of; an answer that only breaks off has a code of this kind, too.
  if (/^HPE_(?!INVALID_EOF)/.test(code)) return noHttp;
  return isCertificateProblem(code)
    ? `its certificate is not trusted (${message.replace(/; if the root CA is installed.*$/s, '')})`
    : shown(message);
}

function proofOf(jupyterToken: string | undefined): { jupyterToken: string } | undefined {
  return jupyterToken === undefined ? undefined : { jupyterToken };
}

/** How a session, or what is kept of its link, holds its token. */
export function heldToken(
  { claimed }: { readonly claimed: boolean },
  { proxyToken, jupyterToken }: { readonly proxyToken: string; readonly jupyterToken: string },
): HeldToken {
  return { token: proxyToken, ...(claimed && { proof: jupyterToken }) };
}
