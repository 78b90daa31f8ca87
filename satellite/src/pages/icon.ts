import type { Content } from './content.ts';

const ACCENT = '#0b8289';
const ALERT = '#c2410c';
const REST = '#7b868a';

/** The mark of a tab: how far a session is, at a glance and without colours, too. On light and on dark tabs. */
const drawings: Readonly<Record<Content['kind'], string>> = {
  waiting: ring(REST),
  queued: `${ring(REST)}${dot(ACCENT, 3)}`,
  starting: `${ring(ACCENT)}<path d="M8 8V1.5A6.5 6.5 0 0 1 8 14.5Z" fill="${ACCENT}"/>`,
  live: dot(ACCENT, 7),
  ended: `${ring(REST)}<path d="M5 8h6" stroke="${REST}" stroke-width="2"/>`,
  failed: `${ring(ALERT)}${cross(ALERT)}`,
  trouble: `${ring(ALERT)}<path d="M8 4.5v4.5M8 10.5v1.5" stroke="${ALERT}" stroke-width="2"/>`,
  busy: `${ring(ALERT)}<path d="M8 4.5V8l2.5 2" fill="none" stroke="${ALERT}" stroke-width="2"/>`,
  'sign-in': `${ring(ACCENT)}${dot(ACCENT, 2.5)}`,
  unknown: `${ring(REST)}${cross(REST)}`,
};

function ring(colour: string): string {
  return `<circle cx="8" cy="8" r="6.5" fill="none" stroke="${colour}" stroke-width="2"/>`;
}

function dot(colour: string, radius: number): string {
  return `<circle cx="8" cy="8" r="${radius}" fill="${colour}"/>`;
}

function cross(colour: string): string {
  return `<path d="M5.5 5.5l5 5M10.5 5.5l-5 5" stroke="${colour}" stroke-width="2"/>`;
}

/** The icon of a page as a data: URL. */
export function iconOf(kind: Content['kind']): string {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">${drawings[kind]}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
