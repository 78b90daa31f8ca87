import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { browserObstacle, openBrowser } from '../browser.ts';
import { api, cleanup, freePort, issue, NODE1, OUTSIDE, satellite } from '../support.ts';
import { heading, jupyter, openPage, status, type VisitOptions } from '../visitor.ts';

/*
 * How a page keeps up with its session when something is in the way: middleboxes, sleep, a proxy that goes away, a clock
 * that is wrong, a visitor who looks elsewhere.
 */

let browser: Browser;
beforeAll(async () => {
  if (!leftOut) browser = await openBrowser();
}, 600_000);
afterAll(() => browser?.close());

/** Where nothing may be left out, the tests run and fail. */
const leftOut = browserObstacle !== undefined && !process.env.START_JUPYTER_TEST_COMPLETE;
const note = leftOut ? ` (left out: ${browserObstacle})` : '';

const open = (port: number, token: string, options?: VisitOptions) => openPage(browser, port, token, options);
/** The page's clock runs on by itself, and can be put forward. */
const clock = { prepare: (page: Page) => page.clock.install() };

/** Something between browser and proxy that keeps event streams to itself, from their beginning or when told. */
async function middlebox(target: number, holdsFromTheBeginning: boolean) {
  let isHolding = holdsFromTheBeginning;
  const server = createServer((incoming, outgoing) => {
    const forward = request({
      host: '127.0.0.1',
      port: target,
      path: incoming.url,
      method: incoming.method,
      headers: incoming.headers,
      agent: false,
    });
    forward.on('response', (answer) => {
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      const isStream = answer.headers['content-type'] === 'text/event-stream';
      answer.on('data', (chunk) => {
        if (!(isStream && isHolding)) outgoing.write(chunk);
      });
      answer.on('end', () => {
        if (!(isStream && isHolding)) outgoing.end();
      });
    });
    forward.on('error', () => outgoing.destroy());
    outgoing.on('close', () => forward.destroy());
    incoming.pipe(forward);
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  cleanup(() => {
    server.close();
    server.closeAllConnections();
  });
  return { port: (server.address() as AddressInfo).port, hold: () => (isHolding = true) };
}

describe.skipIf(leftOut)(`a page follows its session${note}`, () => {
  test.each([
    ['a middlebox holds events back', true],
    ['EventSource is blocked', false],
  ])('where %s', async (_, behindMiddlebox) => {
    const { port } = await satellite();
    const upstream = await jupyter();
    const token = await issue(port);
    const entry = behindMiddlebox ? (await middlebox(port, true)).port : port;
    const path = '/lab/tree/deep/x%20y.ipynb?token=secret&reset';
    const page = await open(entry, token, {
      path,
      prepare: async (one) => {
        await one.clock.install();
        if (!behindMiddlebox) await one.addInitScript('delete window.EventSource');
      },
    });
    await heading(page, 'Waiting for your session');
    await page.clock.fastForward(10_000);
    await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'jupyter' });
    await page.clock.fastForward(5000);
    await status(page, 'Step 3 of 4');
    await api(port, 'POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1);
    await page.clock.fastForward(5000);
    await heading(page, 'JupyterLab');
    expect(await page.locator('#url').textContent()).toBe(path);
  });

  test('after a sleep in which its connection died without a word', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const between = await middlebox(port, false);
    const page = await open(between.port, token, clock);
    await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'environment' });
    await status(page, 'Step 2 of 4');
    between.hold();
    await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'failed', reason: 'The disk is full.' });
    await page.clock.fastForward(120_000);
    await heading(page, 'Jupyter did not start');
  });

  test('says so while the proxy is away, and goes on when it is back', async () => {
    const listen = `${OUTSIDE}:${await freePort(OUTSIDE)}`;
    const first = await satellite({ listen });
    const token = await issue(first.port);
    const page = await open(first.port, token);
    await heading(page, 'Waiting for your session');
    await first.close();
    await status(page, 'The proxy can not be reached');
    // With a state that knows nothing of the token, as if it had been forgotten meanwhile.
    await satellite({ listen });
    await heading(page, 'There is no session at this address');
  });

  test('to the end of its time', async () => {
    const { port } = await satellite({ tokenTtl: '2s' });
    const page = await open(port, await issue(port));
    await heading(page, 'This session has ended');
    await status(page, 'Nothing was started at this address in time.');
  });

  test('from a start that it missed to trouble, and out of it', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const page = await open(port, token, {
      prepare: (one) => one.addInitScript('delete window.EventSource'),
    });
    await heading(page, 'Waiting for your session');
    const upstream = await jupyter();
    upstream.removeAllListeners('request');
    let isBroken = true;
    upstream.on('request', (incoming, response) => {
      if (isBroken) incoming.socket.destroy();
      else response.end('<h1>JupyterLab</h1>');
    });
    await api(port, 'POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1);
    await heading(page, 'Jupyter does not answer');
    isBroken = false;
    await heading(page, 'JupyterLab');
  });
});

describe.skipIf(leftOut)(`what a page shows beside its text${note}`, () => {
  test('a countdown by the clock of the proxy, never below nothing', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '1' });
    const estimatedStart = new Date(Date.now() + 90_000).toISOString();
    await api(port, 'POST', '/jobs', [{ id: '1', state: 'PENDING', position: 1, estimatedStart }]);
    // The visitor's computer is three hours ahead.
    const page = await open(port, token, {
      prepare: (one) => one.clock.install({ time: Date.now() + 3 * 3600_000 }),
    });
    const start = page.locator('.start');
    await start.getByText(/, in 1 min \d+ s$/).waitFor();
    expect(await start.textContent()).toContain('Estimated start');
    await page.clock.fastForward(95_000);
    await start.getByText(/, any moment now$/).waitFor();
    await page.clock.fastForward(180_000);
    await start.getByText(/, but it takes longer$/).waitFor();
    await page.getByText(/^4 min \d+ s ago$/).waitFor();
  });

  test('title and icon of the tab', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const page = await open(port, token);
    const icon = () => page.locator('link[rel=icon]').getAttribute('href');
    const before = await icon();
    expect(await page.title()).toBe('Waiting for your session');
    await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'checking' });
    await status(page, 'Step 4 of 4');
    expect(await page.title()).toBe('Step 4 of 4: starting Jupyter');
    const starting = await icon();
    await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'failed', reason: 'no' });
    await heading(page, 'Jupyter did not start');
    expect(new Set([before, starting, await icon()]).size).toBe(3);
  });

  test('no motion where none is wanted, and no buttons on paper', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const page = await open(port, token);
    const motion = () => page.evaluate("getComputedStyle(document.querySelector('.moon')).animationName");
    expect(await motion()).toBe('orbit');
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await motion()).toBe('none');
    await page.emulateMedia({ media: 'print' });
    expect(await page.getByRole('button').count()).toBe(0);
  });
});

describe.skipIf(leftOut)(`a notification${note}`, () => {
  /** Browsers let a page notify in a secure context only, which names below localhost are. */
  const local = { domain: 'localhost' };
  /** Notes what would be shown, and looks away from the page. */
  const watch = async (page: Page) => {
    await page.addInitScript(`
      window.shown = [];
      const { permission } = Notification;
      window.Notification = class {
        static permission = permission;
        static requestPermission = async () => permission;
        constructor(title, options) { if (title) shown.push([title, options.body]); }
      };`);
  };

  async function asked(port: number, token: string, permissions: string[]) {
    const page = await open(port, token, { ...local, permissions, prepare: watch });
    const button = page.getByRole('button', { name: 'Notify me when it starts' });
    return { page, button };
  }

  test('comes when it was asked for and the visitor is elsewhere; the site opens when they are back', async () => {
    const { port } = await satellite(local);
    const upstream = await jupyter();
    const manage = 'manage.localhost';
    const call = (method: string, path: string, body?: unknown, from?: string) =>
      api(port, method, path, body, from, manage);
    const { token } = (await call('POST', '/tokens')).json<{ token: string }>();
    const { page, button } = await asked(port, token, ['notifications']);
    // By keyboard alone.
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.textContent')).toBe(await button.textContent());
    await page.keyboard.press('Enter');
    await status(page, 'You will be notified');
    await page.evaluate('document.hasFocus = () => false');
    await call('POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1);
    await heading(page, 'Jupyter is ready');
    expect(await page.evaluate('shown')).toEqual([['Jupyter is ready', 'Opening it now.']]);
    await page.evaluate("dispatchEvent(new Event('focus'))");
    await heading(page, 'JupyterLab');
  });

  test('is not offered where the browser has been told not to', async () => {
    const { port } = await satellite(local);
    const { token } = (await api(port, 'POST', '/tokens', undefined, undefined, 'manage.localhost')).json<{
      token: string;
    }>();
    const { page, button } = await asked(port, token, []);
    await heading(page, 'Waiting for your session');
    expect(await page.evaluate('Notification.permission')).toBe('denied');
    expect(await button.count()).toBe(0);
  });
});
