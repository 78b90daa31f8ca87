import type { Failure } from '../dataplane/engine.ts';
import type { Content } from './content.ts';
import { escapeHtml } from './html.ts';
import { misspellings } from './misspelling.ts';

/* What pages say that are not about how a session goes. */

/** What is known about a name that nobody has a token for: how it is spelled. */
export function unknownContent(name: string): Content {
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

export const busyContent = {
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

export const unsentContent = (heading: string, status: string): Content => ({
  kind: 'trouble',
  title: heading,
  heading,
  status,
  details:
    '<p>What you sent may not have arrived. Go back, wait a little, and send it again; this page does not do so by itself.</p>',
});

export const NO_ANSWER = 'Jupyter does not answer';
export const troubles: Readonly<Record<Failure, { heading?: string; text: string }>> = {
  refused: { text: 'The compute node refuses the connection.' },
  broken: { text: 'The connection to the compute node broke off.' },
  timeout: { text: 'The compute node does not answer.' },
  full: {
    heading: 'Very busy',
    text: 'The proxy has no room for another connection at the moment.',
  },
};

export const troubleContent = (heading: string, status: string): Content => ({
  kind: 'trouble',
  title: heading,
  heading,
  status,
  details: `<p class="note">This page tries again by itself. If it stays like this, look at
<code>start-jupyter status</code> on the login node.</p>`,
});

export const unreachableContent: Content = {
  kind: 'trouble',
  title: 'No answer',
  heading: 'This site does not answer',
  status: 'The server behind it could not be reached, or gave no answer.',
  details: '<p class="note">This page tries again by itself.</p>',
};

export const unsureContent: Content = {
  kind: 'trouble',
  title: 'One moment, please',
  heading: 'One moment, please',
  status: 'Whether there is a session at this address can not be looked up at the moment.',
  details: '<p class="note">This page tries again by itself.</p>',
};

/** What a page of one session says that leads to another, where both share a host name. */
export const siblingContent: Content = {
  kind: 'unknown',
  title: 'Another session',
  heading: 'This leads to another session',
  status: 'A page of one session has asked for another one. They are kept apart.',
  details:
    '<p>If it was you who followed a link: <a href="" target="_blank" rel="noopener noreferrer">open it in a tab of its own</a>.</p>',
};
