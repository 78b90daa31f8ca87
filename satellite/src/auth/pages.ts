import type { Content } from '../pages/content.ts';
import { escapeHtml } from '../pages/html.ts';

/** Where to go on after signing in, as it travels through forms and addresses. */
export interface Destination {
  readonly site: string;
  readonly state: string;
  readonly path: string;
}

/** The form for name and password. */
export function signInContent(to: Destination | undefined, user: string, fault: string | undefined): Content {
  const hidden = Object.entries(to ?? {})
    .map(([name, value]) => `<input type="hidden" name="${name}" value="${escapeHtml(value)}">`)
    .join('');
  return {
    kind: 'sign-in',
    title: 'Sign in',
    heading: 'Sign in',
    status: to ? 'to see whether this session is open to you.' : 'to visit your sessions.',
    details: `${fault ? `<p class="fault" role="alert">${escapeHtml(fault)}</p>` : ''}<form method="post" action="/sign-in">${hidden}
<label>User name <input name="user" value="${escapeHtml(user)}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="200" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button></form>
<p class="note">Look at the address bar before you type a password: it is asked for here and nowhere else.</p>`,
  };
}

const signOutForm = '<form method="post" action="/sign-out"><button>Sign out</button></form>';

export function signedInContent(user: string): Content {
  return {
    kind: 'sign-in',
    title: 'Signed in',
    heading: 'You are signed in',
    status: `as ${user}.`,
    details: `<p>Open the address of a session to go on.</p>${signOutForm}`,
  };
}

export const signedOutContent: Content = {
  kind: 'ended',
  title: 'Signed out',
  heading: 'You are signed out',
  status: 'No session is open to this browser any more.',
  details: '<p><a href="/">Sign in again</a></p>',
};

/** By a front, which is where one signs in and out. */
export const frontContent: Content = {
  kind: 'sign-in',
  title: 'Signing in',
  heading: 'Open the address of a session',
  status: 'Who you are is known from the page on which you have signed in.',
  details: '',
};

/** Something went wrong between the pages; beginning anew helps. */
export function tryAgainContent(heading: string, status: string): Content {
  return {
    kind: 'trouble',
    title: heading,
    heading,
    status,
    details: '<p>Open the address of your session again. Your browser must allow cookies here.</p>',
  };
}

/** Known, and not to be let in. `user` is undefined where the page must not say; `signOut` is where he can become another. */
export function refusedContent(
  user: string | undefined,
  status: string,
  signOut: string | undefined,
): Content {
  return {
    kind: 'failed',
    title: 'Not for you',
    heading: 'This session is not open to you',
    status,
    details: `${user === undefined ? '' : `<p>You are signed in as <strong>${escapeHtml(user)}</strong>.</p>`}
<p>Its owner can share it, on the login node:</p><pre><code>start-jupyter share ID USER</code></pre>${
      signOut === undefined
        ? ''
        : `<p><a href="${escapeHtml(signOut)}">Sign out, or sign in as somebody else</a></p>`
    }`,
  };
}

/** Nobody has said whose site it is. */
export const ownerlessContent: Content = {
  kind: 'failed',
  title: 'Nobody’s session',
  heading: 'Nobody may open this session',
  status: 'The program that started it has not said whose it is.',
  details:
    '<p>This proxy lets only the owner in, and those with whom he shares. Start the session again with an up-to-date <code>start-jupyter</code>.</p>',
};
