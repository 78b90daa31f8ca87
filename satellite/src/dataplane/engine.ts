import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Client } from '../gate/client.ts';

/** Where a site points. */
export interface Target {
  /** What its connections and its traffic are kept by: the token of a session, another name for other sites. */
  readonly token: string;
  readonly host: string;
  readonly port: number;
  /** How it is known to be the right one, where it speaks TLS: the name and the authority of its certificate. */
  readonly tls?: { readonly servername: string; readonly ca?: Buffer | undefined };
}

/** What a visitor's connection looks like from outside, for the X-Forwarded-* headers. */
export interface Visit {
  readonly client: Client;
  readonly proto: 'http' | 'https';
  readonly edits?: Edits;
  /** The target as the other side is to see it, where that isn't what the visitor asked for. */
  readonly url?: string;
}

/** What is changed on the way. Header fields are flat: name, value, name, value. */
export interface Edits {
  /** In those for the notebook. */
  request?(fields: readonly string[]): string[];
  /** In those for the visitor. */
  response?(fields: readonly string[]): string[];
  /** Taken out of every body for the visitor. */
  readonly secret?: Buffer;
}

/** Why a live site's notebook gave no answer: nobody listens, it broke off, it took too long, or we can't connect to it. */
export type Failure = 'refused' | 'broken' | 'timeout' | 'full';

/** The status of the answer that says so (RFC 9110 section 15.6). */
export const failureStatus: Readonly<Record<Failure, 502 | 503 | 504>> = {
  refused: 502,
  broken: 502,
  timeout: 504,
  full: 503,
};

/** What carries the traffic of live sites. */
export interface Engine {
  /**
   * Hands a request to the site's notebook and the answer back. Where there is none, `onFailure` is called with the
   * response still untouched, and must answer.
   */
  request(
    request: IncomingMessage,
    response: ServerResponse,
    target: Target,
    visit: Visit,
    onFailure: (failure: Failure) => void,
  ): void;
  /** The same for an upgrade. `onOpen` is called if the notebook agrees; `onFailure` must answer on the raw socket. */
  upgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    target: Target,
    visit: Visit,
    onOpen: () => void,
    onFailure: (failure: Failure) => void,
  ): void;
  /** Closes everything that is open for a site, at once. */
  drop(token: string): void;
  /** Closes everything. */
  close(): void;
}
