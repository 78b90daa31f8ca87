import type { IncomingMessage, ServerResponse } from 'node:http';
import { send } from '../send.ts';

/** Leads a browser on, also after a form; what it comes from is nobody's business there. */
export function redirect(
  request: IncomingMessage,
  response: ServerResponse,
  location: string,
  cookies: readonly string[],
): void {
  const headers = {
    'Content-Type': 'text/plain',
    'Referrer-Policy': 'no-referrer',
    Location: location,
    ...(cookies.length > 0 && { 'Set-Cookie': [...cookies] }),
  };
  send(request, response, 303, headers, 'Go on where Location says.\n');
}
