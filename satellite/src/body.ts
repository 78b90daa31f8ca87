import type { IncomingMessage } from 'node:http';
import { isWhole } from './http.ts';

/** The body can't be taken; `status` says why. */
export class BodyError extends Error {
  override name = 'BodyError';
  readonly status: 400 | 408 | 413;
  constructor(status: 400 | 408 | 413, message: string) {
    super(message);
    this.status = status;
  }
}

/** Reads a whole body of at most `limit` bytes as UTF-8 within `patience` milliseconds. Rejects with a BodyError. */
export function readBody(request: IncomingMessage, limit: number, patience: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const timer = setTimeout(() => stop(new BodyError(408, 'The body took too long to arrive.')), patience);
    const stop = (error: BodyError): void => {
      clearTimeout(timer);
      request.removeListener('data', take);
      request.pause();
      reject(error);
    };
    const take = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > limit) stop(new BodyError(413, `The body is larger than ${limit} bytes.`));
      else chunks.push(chunk);
    };
    request.on('data', take);
    request.once('end', () => {
      clearTimeout(timer);
      if (!isWhole(request)) reject(new BodyError(400, 'The body broke off.'));
      else resolve(Buffer.concat(chunks).toString('utf8'));
    });
    request.once('close', () => {
      if (!isWhole(request)) stop(new BodyError(400, 'The body broke off.'));
    });
  });
}

/**
 * Reads and drops what is left of a body, `limit` bytes and `patience` milliseconds at most: a connection that is closed with
 * something unread is reset, which may overtake the answer.
 */
export function dropRest(request: IncomingMessage, limit: number, patience: number): Promise<void> {
  return new Promise((resolve) => {
    let size = 0;
    const stop = (): void => {
      clearTimeout(timer);
      request.off('data', drop);
      resolve();
    };
    const drop = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > limit) stop();
    };
    const timer = setTimeout(stop, patience);
    request.on('data', drop);
    request.once('end', stop);
    request.once('close', stop);
    request.resume();
  });
}
