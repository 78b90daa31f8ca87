/** `start-jupyter open [ID]` */
import { ConfigurationError } from '../errors.ts';
import { findSession, openingPage } from '../sessions/store.ts';
import { openInBrowser } from '../ui/browser.ts';
import { linkOf } from './url.ts';

/** @throws SessionError where the session is over; ConfigurationError where no browser can be opened here */
export async function run(id: string | undefined, { json }: { readonly json?: boolean }): Promise<number> {
  const session = await linkOf(findSession(id));
  const problem = await openInBrowser(openingPage(session.id), session.url);
  if (problem !== undefined)
    throw new ConfigurationError(
      `No browser can be opened: ${problem}.`,
      `Print the link instead: start-jupyter url ${session.id}`,
    );
  if (json) process.stdout.write(`${JSON.stringify({ id: session.id, opened: true })}\n`);
  return 0;
}
