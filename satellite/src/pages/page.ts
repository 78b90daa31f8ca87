import { createHash } from 'node:crypto';
import { frameAncestors } from '../dataplane/framed.ts';
import { followScript, retryScript } from './client.ts';
import type { Content } from './content.ts';
import { escapeHtml } from './html.ts';
import { iconOf } from './icon.ts';
import { style } from './style.ts';

const PICTURE =
  '<svg viewBox="0 0 72 72" aria-hidden="true"><circle class="orbit" cx="36" cy="36" r="30"/><circle class="planet" cx="36" cy="36" r="13"/><circle class="moon" cx="66" cy="36" r="5.5"/></svg>';

/** What a page does by itself: follow a session's start, try again, or nothing. */
export type Behaviour = 'follow' | 'retry' | 'rest';

const scripts: Readonly<Record<Behaviour, string>> = { follow: followScript, retry: retryScript, rest: '' };

const sourceHash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

function policy(behaviour: Behaviour, formAction = "'none'"): string {
  const script = scripts[behaviour];
  return [
    "default-src 'none'",
    `style-src ${sourceHash(style)}`,
    ...(script ? [`script-src ${sourceHash(script)}`, "connect-src 'self'"] : []),
    'img-src data:',
    "base-uri 'none'",
    `form-action ${formAction}`,
    "frame-ancestors 'none'",
  ].join('; ');
}

const policies: Readonly<Record<Behaviour, string>> = {
  follow: policy('follow'),
  retry: policy('retry'),
  rest: policy('rest'),
};

/** The header fields of a page. */
export function pageHeaders(behaviour: Behaviour, parents: readonly string[] = []): Record<string, string> {
  return {
    'Content-Type': 'text/html',
    'Cache-Control': 'no-store',
    'Content-Security-Policy':
      parents.length === 0
        ? policies[behaviour]
        : policies[behaviour].replace("frame-ancestors 'none'", `frame-ancestors ${frameAncestors(parents)}`),
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
  };
}

/** The same for a page with a form, which may send it to these sources (Content Security Policy, form-action). */
export function formPageHeaders(formAction: string): Record<string, string> {
  return {
    ...pageHeaders('rest'),
    'Content-Security-Policy': policy('rest', formAction),
    // Without any, a form says that it comes from nowhere (Fetch, "Origin" header).
    'Referrer-Policy': 'same-origin',
  };
}

/** What the operator says on every page. Links are checked where the configuration is. */
export interface Operator {
  readonly title?: string | undefined;
  readonly contact?: string | undefined;
  readonly help?: string | undefined;
}

/** The operator's lines at the foot of a page; nothing where there is nothing to say. */
function footer({ title, contact, help }: Operator): string {
  const parts = [
    ...(title ? [`<span>${escapeHtml(title)}</span>`] : []),
    ...(help ? [`<a href="${escapeHtml(help)}" rel="noreferrer">Documentation</a>`] : []),
    ...(contact ? [`<a href="${escapeHtml(contact)}" rel="noreferrer">${contactText(contact)}</a>`] : []),
  ];
  return parts.length === 0 ? '' : `<footer>${parts.join('')}</footer>\n`;
}

function contactText(contact: string): string {
  const address = /^mailto:([^?]+)/.exec(contact)?.[1];
  return address === undefined ? 'Ask for help' : escapeHtml(address);
}

/** Only a page that follows a session has something to tell later. */
const OFFER = `<button type="button" id="offer" hidden>Notify me when it starts</button>
<p id="asked" role="status"></p>
`;

/** What only some pages need. */
export interface PageExtra {
  /** Seconds until it should ask again. */
  readonly pause?: number;
  /** What the paths of the site begin with, where sites share a host name. */
  readonly prefix?: string;
  /** The origins of pages that may embed it. */
  readonly parents?: readonly string[];
}

/**
 * A whole page. Loads nothing; without JavaScript it asks for itself again every few seconds, after `pause` of them where
 * that is given.
 */
export function renderPage(
  content: Content,
  behaviour: Behaviour,
  operator: Operator,
  { pause, prefix }: PageExtra = {},
): string {
  const script = scripts[behaviour];
  const refresh = `<noscript><meta http-equiv="refresh" content="${pause ?? 5}"></noscript>\n`;
  const follows = behaviour === 'follow';
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escapeHtml(content.title)}</title>
<link rel="icon" href="${iconOf(content.kind)}">
${behaviour === 'rest' ? '' : refresh}<style>${style}</style>
</head>
<body data-kind="${content.kind}"${follows ? ` data-now="${new Date().toISOString()}"` : ''}${pause === undefined ? '' : ` data-retry="${pause}"`}${prefix ? ` data-prefix="${escapeHtml(prefix)}"` : ''}>
<main>
${PICTURE}
<h1 id="heading">${escapeHtml(content.heading)}</h1>
<p id="status" role="status">${escapeHtml(content.status)}</p>
${follows ? '<p id="lost" role="status"></p>\n' : ''}<div id="details">${content.details}</div>
${follows ? OFFER : ''}</main>
${footer(operator)}${script ? `<script>${script}</script>\n` : ''}</body>
</html>
`;
}
