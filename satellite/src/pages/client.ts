import { EVENTS_PATH, STATE_PATH, STATE_TYPE } from './paths.ts';

/*
 * What runs in the browser, written for the browser: small, without modules, and hashed into the page's CSP.
 */

/** Counts down to an estimated start, and up from a moment that has passed, by the proxy's clock and in local time. */
const clocks = `
const skew = Date.parse(document.body.dataset.now) - Date.now();
function span(seconds) {
  const h = Math.floor(seconds / 3600), m = Math.floor(seconds / 60) % 60, s = seconds % 60;
  return h > 47 ? Math.round(h / 24) + ' days' : h ? h + ' h ' + m + ' min' : m ? m + ' min ' + s + ' s' : s + ' s';
}
function localTime(at) {
  const sameDay = at.toDateString() === new Date().toDateString();
  return at.toLocaleString([], sameDay ? { hour: '2-digit', minute: '2-digit' } : { weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
}
function tick() {
  for (const time of document.querySelectorAll('time')) {
    const at = new Date(time.dateTime), left = Math.round((at - Date.now() - skew) / 1000);
    const text = time.className === 'since' ? span(Math.max(0, -left)) + ' ago'
      : localTime(at) + ', ' + (left > 0 ? 'in ' + span(left) : left > -120 ? 'any moment now' : 'but it takes longer');
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(tick, 1000);
tick();`;

/**
 * A notification for who asked for one and looks elsewhere. Asks the browser only when the visitor has asked the page;
 * where a page may not notify (no HTTPS, refused before, Android, which wants a service worker) nothing is offered.
 */
const notice = `
const offer = document.getElementById('offer');
const asked = document.getElementById('asked');
let noticeWanted = false;
function canNotify() {
  if (!isSecureContext || !('Notification' in window) || Notification.permission === 'denied') return false;
  if (Notification.permission === 'granted') return true;
  try { new Notification(''); } catch { return false; }
  return true;
}
offer.hidden = !canNotify();
offer.onclick = async () => {
  noticeWanted = await Notification.requestPermission() === 'granted';
  offer.hidden = true;
  asked.textContent = noticeWanted ? 'You will be notified when it starts, or if it can not.' : 'Your browser does not allow notifications here.';
};
function notify(page) {
  const notification = new Notification(page.heading, { body: page.status, tag: 'satellite' });
  notification.onclick = () => { window.focus(); notification.close(); };
}
// Some browsers close a page's notifications when it goes away: then the site opens when the visitor comes back.
function openSite(page) {
  if (!noticeWanted || document.hasFocus()) return location.reload();
  notify(page);
  window.onfocus = document.onvisibilitychange = () => { if (!document.hidden) location.reload(); };
}`;

/**
 * Follows the session through events; by asking now and then where they don't get through; opens the site when it is
 * live. EVENTS_PATH sends a heartbeat every 15 seconds.
 */
export const followScript = `${clocks}
${notice}
function show(page) {
  document.title = page.title;
  document.body.dataset.kind = page.kind;
  document.querySelector('link[rel=icon]').href = page.icon;
  for (const id of ['heading', 'status']) {
    const element = document.getElementById(id);
    if (element.textContent !== page[id]) element.textContent = page[id];
  }
  const details = document.getElementById('details');
  if (details.dataset.shown !== page.details) {
    details.innerHTML = details.dataset.shown = page.details;
    tick();
  }
  if (page.kind === 'trouble') return location.reload();
  over = page.kind === 'live' || page.kind === 'ended' || page.kind === 'failed';
  if (!over) return;
  events?.close();
  offer.hidden = true;
  asked.textContent = '';
  if (page.kind === 'live') openSite(page);
  else if (noticeWanted && !document.hasFocus()) notify(page);
}
const prefix = document.body.dataset.prefix ?? '';
let over = false, events, heard = false, heardAt = 0, failures = 0, timer;
function reached(yes) {
  failures = yes ? 0 : failures + 1;
  const text = failures > 2 ? 'The proxy can not be reached at the moment. This page tries again by itself.' : '';
  const lost = document.getElementById('lost');
  if (lost.textContent !== text) lost.textContent = text;
}
async function ask() {
  clearTimeout(timer);
  events?.close();
  events = undefined;
  try {
    const answer = await fetch(prefix + '${STATE_PATH}', { cache: 'no-store', headers: { accept: '${STATE_TYPE}' }, signal: AbortSignal.timeout(10000) });
    if (answer.headers.get('content-type') === '${STATE_TYPE}') {
      show(await answer.json());
      reached(true);
    } else if (answer.status === 429 || answer.status >= 500) reached(false);
    else return location.reload();
  } catch { reached(false); }
  if (!over) timer = setTimeout(ask, Math.min(15000, 3000 * 1.5 ** failures));
}
function listen() {
  heardAt = Date.now();
  try { events = new EventSource(prefix + '${EVENTS_PATH}'); } catch { return ask(); }
  events.onmessage = (event) => { hear(); show(JSON.parse(event.data)); };
  events.addEventListener('still', hear);
  events.onerror = () => {
    reached(false);
    if (events && (events.readyState === EventSource.CLOSED || !heard && failures > 2)) {
      events.close();
      events = undefined;
      timer = setTimeout(ask, 1000);
    }
  };
}
function hear() {
  heard = true;
  heardAt = Date.now();
  reached(true);
}
// Something on the way may hold events back: the first one comes at once, or none ever will.
setInterval(() => { if (events && !over && Date.now() - heardAt > (heard ? 40000 : 8000)) ask(); }, 2000);
// A computer that slept may have a connection that only looks open.
function wake() {
  if (over || document.hidden) return;
  if (!events) return ask();
  if (Date.now() - heardAt < 20000) return;
  events.close();
  listen();
}
document.addEventListener('visibilitychange', wake);
for (const name of ['online', 'pageshow']) window.addEventListener(name, wake);
listen();
`;

/** Tries the same address again until it gives something better than trouble. */
export const retryScript = `
let pause = 1000;
let timer;
async function again() {
  clearTimeout(timer);
  let wait = 0;
  try {
    const answer = await fetch(location.href, { method: 'HEAD', cache: 'no-store', redirect: 'manual', signal: AbortSignal.timeout(30000) });
    if (answer.status !== 429 && (answer.status < 502 || answer.status > 504)) return location.reload();
    if (answer.status === 429) wait = 1000 * (Number(answer.headers.get('retry-after')) || 60);
  } catch {}
  pause = Math.min(pause * 1.5, 10000);
  timer = setTimeout(again, Math.max(wait, pause));
}
timer = setTimeout(again, 1000 * document.body.dataset.retry || pause);
`;
