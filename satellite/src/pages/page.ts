import { createHash } from 'node:crypto';
import { followScript, retryScript } from './client.ts';
import type { Content } from './content.ts';
import { escapeHtml } from './html.ts';
import { style } from './style.ts';

const ICON = `data:image/svg+xml,${encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="4" fill="#0b6e75"/><circle cx="13" cy="3" r="2" fill="#0b6e75"/></svg>',
)}`;

const PICTURE =
  '<svg viewBox="0 0 72 72" aria-hidden="true"><circle class="orbit" cx="36" cy="36" r="30"/><circle class="planet" cx="36" cy="36" r="13"/><circle class="moon" cx="66" cy="36" r="5.5"/></svg>';

/** What a page does by itself: follow a session's start, try again, or nothing. */
export type Behaviour = 'follow' | 'retry' | 'rest';

const scripts: Readonly<Record<Behaviour, string>> = { follow: followScript, retry: retryScript, rest: '' };

const sourceHash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

function policy(behaviour: Behaviour): string {
  const script = scripts[behaviour];
  return [
    "default-src 'none'",
    `style-src ${sourceHash(style)}`,
    ...(script ? [`script-src ${sourceHash(script)}`, "connect-src 'self'"] : []),
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

const policies: Readonly<Record<Behaviour, string>> = {
  follow: policy('follow'),
  retry: policy('retry'),
  rest: policy('rest'),
};

/** The header fields of a page. */
export function pageHeaders(behaviour: Behaviour): Record<string, string> {
  return {
    'Content-Type': 'text/html',
    'Cache-Control': 'no-store',
    'Content-Security-Policy': policies[behaviour],
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
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

/** A whole page. Loads nothing; without JavaScript it asks for itself again every few seconds. */
export function renderPage(content: Content, behaviour: Behaviour, operator: Operator): string {
  const script = scripts[behaviour];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escapeHtml(content.title)}</title>
<link rel="icon" href="${ICON}">
${behaviour === 'rest' ? '' : '<noscript><meta http-equiv="refresh" content="5"></noscript>\n'}<style>${style}</style>
</head>
<body data-kind="${content.kind}">
<main>
${PICTURE}
<h1 id="heading">${escapeHtml(content.heading)}</h1>
<p id="status" role="status" aria-live="polite">${escapeHtml(content.status)}</p>
<div id="details">${content.details}</div>
</main>
${footer(operator)}${script ? `<script>${script}</script>\n` : ''}</body>
</html>
`;
}
