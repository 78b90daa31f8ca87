import { EVENTS_PATH, STATE_PATH, STATE_TYPE } from './paths.ts';

/*
 * What runs in the browser, written for the browser: small, without modules, and hashed into the page's CSP.
 */

/** Counts down to an estimated start in the visitor's own time. */
const countdown = `
function tick() {
  for (const time of document.querySelectorAll('time')) {
    const at = new Date(time.dateTime), left = Math.round((at - Date.now()) / 1000);
    const sameDay = at.toDateString() === new Date().toDateString();
    const clock = at.toLocaleString([], sameDay ? { hour: '2-digit', minute: '2-digit' } : { weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
    const h = Math.floor(left / 3600), m = Math.floor(left / 60) % 60, s = left % 60;
    const rest = left <= 0 ? 'any moment now' : 'in ' + (h > 47 ? Math.round(h / 24) + ' days' : h ? h + ' h ' + m + ' min' : m ? m + ' min ' + s + ' s' : s + ' s');
    const text = clock + ', ' + rest;
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(tick, 1000);
tick();`;

/** Follows the session through events; by asking now and then where they don't get through; opens the site when it is live. */
export const followScript = `${countdown}
function show(page) {
  document.title = page.title;
  document.body.dataset.kind = page.kind;
  for (const id of ['heading', 'status']) {
    const element = document.getElementById(id);
    if (element.textContent !== page[id]) element.textContent = page[id];
  }
  const details = document.getElementById('details');
  if (details.dataset.shown !== page.details) {
    details.innerHTML = details.dataset.shown = page.details;
    tick();
  }
  if (page.kind === 'live') location.reload();
  return page.kind === 'live' || page.kind === 'ended' || page.kind === 'failed';
}
async function ask() {
  try {
    const answer = await fetch('${STATE_PATH}', { cache: 'no-store' });
    if (answer.headers.get('content-type') !== '${STATE_TYPE}') return location.reload();
    if (show(await answer.json())) return;
  } catch {}
  setTimeout(ask, 3000);
}
const events = new EventSource('${EVENTS_PATH}');
// Something on the way may hold events back: the first one comes at once, or none ever will.
const patience = setTimeout(() => { events.close(); ask(); }, 8000);
events.onmessage = (event) => { clearTimeout(patience); if (show(JSON.parse(event.data))) events.close(); };
events.onerror = () => {
  if (events.readyState !== EventSource.CLOSED) return;
  clearTimeout(patience);
  setTimeout(ask, 1000);
};
`;

/** Tries the same address again until it gives something better than trouble. */
export const retryScript = `
let pause = 1000;
async function again() {
  try {
    const answer = await fetch(location.href, { method: 'HEAD', cache: 'no-store', redirect: 'manual' });
    if (answer.status < 502 || answer.status > 504) return location.reload();
  } catch {}
  pause = Math.min(pause * 1.5, 10000);
  setTimeout(again, pause);
}
setTimeout(again, pause);
`;
