import { escapeHtml } from './html.ts';
import { type Step, steps, type View } from './view.ts';

/** What changes on a page: sent with it, and in every event after it. */
export interface Content {
  /** Chooses the look. */
  readonly kind: View['kind'] | 'trouble' | 'unknown';
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
const AGAIN = '<p>To begin a new one, run this on the login node:</p><pre><code>start-jupyter</code></pre>';

/** A view in words. */
export function contentOf(view: View): Content {
  switch (view.kind) {
    case 'waiting':
      return {
        kind: 'waiting',
        title: 'Waiting for your session',
        heading: 'Waiting for your session',
        status: 'The scheduler has not said anything about it yet.',
        details: KEEP_OPEN,
      };
    case 'queued':
      return queued(view);
    case 'starting':
      return {
        kind: 'starting',
        title: 'Starting Jupyter',
        heading: 'Starting Jupyter',
        status: `Step ${steps.indexOf(view.step) + 1} of ${steps.length}: ${stepTexts[view.step]}.`,
        details: `${stepList(view.step)}${facts([['Job', view.jobId]])}${KEEP_OPEN}`,
      };
    case 'live':
      return {
        kind: 'live',
        title: 'Opening Jupyter',
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
        details: AGAIN,
      };
    case 'failed': {
      const heading = view.wasLive ? 'This session broke off' : 'Jupyter did not start';
      const [status, more] = splitReason(view.reason ?? 'The job gave no reason.');
      return {
        kind: 'failed',
        title: heading,
        heading,
        status,
        details: `${more ? `<pre class="reason" tabindex="0">${escapeHtml(more)}</pre>` : ''}${LOGS}`,
      };
    }
  }
}

function queued({
  jobId,
  state,
  position,
  estimatedStart,
  reason,
}: Extract<View, { kind: 'queued' }>): Content {
  const place = position === 1 ? 'Next in the queue' : `Number ${position} in the queue`;
  const start = estimatedStart === null ? '' : startTime(new Date(estimatedStart));
  const because = reason === null ? '' : `<p>${escapeHtml(reason)}</p>`;
  return {
    kind: 'queued',
    title: position === null ? 'Waiting in the queue' : `Waiting: ${place.toLowerCase()}`,
    heading: 'Waiting in the queue',
    // Without a place, the reason is the news.
    status: position === null ? (reason ?? `${state}.`) : `${place}.`,
    details: `${start}${position === null ? '' : because}${facts([['Job', jobId]])}${KEEP_OPEN}`,
  };
}

function startTime(at: Date): string {
  return `<p class="start"><span>Estimated start</span> <time datetime="${at.toISOString()}">${utc(at)}</time></p>`;
}

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

function facts(pairs: readonly (readonly [string, string | null])[]): string {
  const known = pairs.filter(([, value]) => value !== null);
  if (known.length === 0) return '';
  return `<dl>${known.map(([name, value]) => `<dt>${name}</dt><dd>${escapeHtml(value ?? '')}</dd>`).join('')}</dl>`;
}

/** A reason's first line says what happened; what follows is mostly the end of a log. */
function splitReason(reason: string): [first: string, rest: string] {
  const at = reason.indexOf('\n');
  return at < 0 ? [reason, ''] : [reason.slice(0, at).trim(), reason.slice(at + 1).replace(/^\n+/, '')];
}
