import { escapeHtml } from './html.ts';
import { type Step, steps, type View } from './view.ts';

/** What changes on a page: sent with it, and in every event after it. */
export interface Content {
  /** Chooses the look. */
  readonly kind: View['kind'] | 'trouble' | 'busy' | 'unknown' | 'sign-in';
  readonly title: string;
  readonly heading: string;
  /** One sentence, read out by screen readers when it changes. */
  readonly status: string;
  /** The rest, as HTML. */
  readonly details: string;
}

const stepTexts: Readonly<Record<Step, string>> = {
  allocated: 'Compute node allocated',
  environment: 'Preparing the software environment',
  jupyter: 'Starting Jupyter',
  checking: 'Checking that Jupyter answers',
};

const KEEP_OPEN = '<p class="note">Keep this page open: Jupyter appears here by itself.</p>';
const LOGS =
  '<p>For the whole story, run this on the login node:</p><pre><code>start-jupyter logs</code></pre>';

/** What to do about some ways of ending, by the words in which the job or its scheduler tells them. */
const advice: readonly [pattern: RegExp, html: string][] = [
  [
    /time limit/i,
    `<p>What you saved is where you left it. Ask for as much time as you need, for example:</p>
<pre><code>start-jupyter -t 4h</code></pre>`,
  ],
  [
    /memory/i,
    `<p>Ask for more memory, for example 32 GB:</p>
<pre><code>start-jupyter -m 32</code></pre>`,
  ],
  [
    /compute node failed|preempted/i,
    `<p>It was nothing you did. Begin a new session on the login node:</p>
<pre><code>start-jupyter</code></pre>`,
  ],
];
const AGAIN = '<p>To begin a new one, run this on the login node:</p><pre><code>start-jupyter</code></pre>';

const adviceOn = (reason: string | null): string | undefined =>
  advice.find(([pattern]) => pattern.test(reason ?? ''))?.[1];

/** A view in words. */
export function contentOf(view: View): Content {
  switch (view.kind) {
    case 'waiting':
      return {
        kind: 'waiting',
        title: 'Waiting for your session',
        heading: 'Waiting for your session',
        status: 'The scheduler has not said anything about it yet.',
        details: `${facts({ Requested: since(view.since) })}${KEEP_OPEN}`,
      };
    case 'queued':
      return queued(view);
    case 'starting': {
      const step = `Step ${steps.indexOf(view.step) + 1} of ${steps.length}`;
      return {
        kind: 'starting',
        title: `${step}: starting Jupyter`,
        heading: 'Starting Jupyter',
        status: `${step}: ${stepTexts[view.step]}.`,
        details: `${stepList(view.step)}${facts({ Job: text(view.jobId), Requested: since(view.since) })}${KEEP_OPEN}`,
      };
    }
    case 'live':
      return {
        kind: 'live',
        title: 'Jupyter is ready',
        heading: 'Jupyter is ready',
        status: 'Opening it now.',
        details: '<noscript><p><a href="">Open Jupyter</a></p></noscript>',
      };
    case 'ended':
      return {
        kind: 'ended',
        title: 'Session ended',
        heading: 'This session has ended',
        status: view.reason ?? 'Nothing runs at this address any more.',
        details: `${adviceOn(view.reason) ?? AGAIN}${facts({ Job: text(view.jobId) })}`,
      };
    case 'failed': {
      const heading = view.wasLive ? 'This session broke off' : 'Jupyter did not start';
      const [status, more] = splitReason(view.reason ?? 'The job gave no reason.');
      const log = more ? `<pre class="reason" tabindex="0">${escapeHtml(more)}</pre>` : '';
      return {
        kind: 'failed',
        title: heading,
        heading,
        status,
        details: `${log}${adviceOn(status) ?? ''}${LOGS}${facts({ Job: text(view.jobId) })}`,
      };
    }
  }
}

function queued(view: Extract<View, { kind: 'queued' }>): Content {
  const { jobId, state, position, estimatedStart, reason } = view;
  const more = {
    details: `${estimatedStart === null ? '' : startTime(new Date(estimatedStart))}${
      position === null || reason === null ? '' : `<p>${escapeHtml(reason)}</p>`
    }${facts({ Job: text(jobId), Requested: since(view.since) })}${KEEP_OPEN}`,
  };
  if (state === null) {
    return {
      kind: 'queued',
      title: 'Submitted to the queue',
      heading: 'Submitted to the queue',
      status: 'The scheduler has not said yet when the job may start.',
      ...more,
    };
  }
  const place = position === 1 ? 'Next in the queue' : `Number ${position} in the queue`;
  return {
    kind: 'queued',
    title: position === null ? 'Waiting in the queue' : `Waiting: ${place.toLowerCase()}`,
    heading: 'Waiting in the queue',
    // Without a place, the reason is the news.
    status: position === null ? (reason ?? `${state}.`) : `${place}.`,
    ...more,
  };
}

function startTime(at: Date): string {
  return `<p class="start"><span>Estimated start</span> <time datetime="${at.toISOString()}">${utc(at)}</time></p>`;
}

/** A moment that has passed; the page's script says how long ago. */
function since(at: number): string {
  const date = new Date(at);
  return `<time class="since" datetime="${date.toISOString()}">${utc(date)}</time>`;
}

const text = (value: string | null): string | null => (value === null ? null : escapeHtml(value));

function utc(date: Date): string {
  return `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

function stepList(current: Step): string {
  const at = steps.indexOf(current);
  const items = steps.map((step, i) => {
    const mark = i < at ? ' class="done"' : i === at ? ' class="now" aria-current="step"' : '';
    const spoken = i < at ? '<span class="hidden"> (done)</span>' : '';
    return `<li${mark}>${stepTexts[step]}${spoken}</li>`;
  });
  return `<ol class="steps">${items.join('')}</ol>`;
}

/** Names and values as HTML; those without a value are left out. */
function facts(pairs: Readonly<Record<string, string | null>>): string {
  const known = Object.entries(pairs).filter(([, value]) => value !== null);
  if (known.length === 0) return '';
  return `<dl>${known.map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join('')}</dl>`;
}

/** A reason's first line says what happened; what follows is mostly the end of a log. */
function splitReason(reason: string): [first: string, rest: string] {
  const at = reason.indexOf('\n');
  return at < 0 ? [reason, ''] : [reason.slice(0, at).trim(), reason.slice(at + 1).replace(/^\n+/, '')];
}
