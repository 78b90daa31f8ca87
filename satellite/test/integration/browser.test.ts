import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import axe from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LogEntry } from '../../src/index.ts';
import { browserObstacle, openBrowser } from '../browser.ts';
import { behindFront, gated, line } from '../person.ts';
import {
  api,
  cleanup,
  DOMAIN,
  freePort,
  issue,
  NODE1,
  notebook,
  OUTSIDE,
  redeemed,
  satellite,
  satelliteOver,
  scratch,
  secureWire,
  siteHost,
  visit,
} from '../support.ts';
import { heading, jupyter, openPage, status } from '../visitor.ts';

/** A real browser, opened while there is nothing to see yet. */
let browser: Browser;
beforeAll(async () => {
  if (!leftOut) browser = await openBrowser();
}, 600_000);
afterAll(() => browser?.close());

/** Where nothing may be left out, the tests run and fail. */
const leftOut = browserObstacle !== undefined && !process.env.START_JUPYTER_TEST_COMPLETE;
const note = leftOut ? ` (left out: ${browserObstacle})` : '';

const open = (...args: Tail<Parameters<typeof openPage>>) => openPage(browser, ...args);
type Tail<T extends unknown[]> = T extends [unknown, ...infer Rest] ? Rest : never;

describe.skipIf(leftOut)(`a page that was opened early${note}`, () => {
  test('goes through queue and start to the notebook by itself', async () => {
    const { port } = await satellite();
    const upstream = await jupyter();
    const token = await issue(port);
    const page = await open(port, token);
    await heading(page, 'Waiting for your session');
    await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '4711' });
    const estimatedStart = new Date(Date.now() + 3600_000).toISOString();
    await api(port, 'POST', '/jobs', [
      { id: '4711', state: 'PENDING', position: 2, estimatedStart, reason: 'Priority' },
    ]);
    await heading(page, 'Waiting in the queue');
    await status(page, 'Number 2 in the queue.');
    await page.getByText(/in (1 h 0 min|59 min)/).waitFor();
    await api(port, 'POST', '/jobs', [{ id: '4711', state: 'RUNNING' }]);
    await heading(page, 'Starting Jupyter');
    await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'checking' });
    await status(page, 'Step 4 of 4');
    expect(await page.locator('[aria-current=step]').textContent()).toBe('Checking that Jupyter answers');
    await api(port, 'POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1);
    await heading(page, 'JupyterLab');
    expect(await page.locator('#url').textContent()).toBe('/lab?token=secret');
    expect(new URL(page.url()).hash).toBe('#cell');
  });

  test('shows why a session failed, and stays so', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const page = await open(port, token);
    await api(port, 'PUT', `/tokens/${token}/phase`, {
      phase: 'failed',
      reason: 'The disk is full.\n<b>df</b> says 0',
    });
    await api(port, 'DELETE', `/tokens/${token}`);
    await heading(page, 'Jupyter did not start');
    await status(page, 'The disk is full.');
    await page.getByText('<b>df</b> says 0').waitFor();
    await page.getByText('start-jupyter logs').waitFor();
    await page.reload();
    await heading(page, 'Jupyter did not start');
  });

  test('outlives a restart of the proxy', async () => {
    const state = `${await scratch()}/state.sqlite`;
    const config = { state, listen: `${OUTSIDE}:${await freePort(OUTSIDE)}` };
    const first = await satellite(config);
    const upstream = await jupyter();
    const token = await issue(first.port);
    const page = await open(first.port, token);
    await heading(page, 'Waiting for your session');
    await first.close();
    const second = await satellite(config);
    await api(second.port, 'PUT', `/tokens/${token}/phase`, { phase: 'jupyter' });
    await status(page, 'Step 3 of 4');
    // And a start that ends while the proxy is away.
    await second.close();
    const third = await satellite(config);
    await api(third.port, 'POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1);
    await heading(page, 'JupyterLab');
  });

  test('works without JavaScript', async () => {
    const { port } = await satellite();
    const upstream = await jupyter();
    const token = await issue(port);
    const page = await open(port, token, { path: '/lab?token=secret', javaScriptEnabled: false });
    await heading(page, 'Waiting for your session');
    await api(port, 'POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1);
    await heading(page, 'JupyterLab');
  });
});

async function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

describe.skipIf(leftOut)(`a page about trouble${note}`, () => {
  test('tries again until the notebook is back', async () => {
    const { port } = await satellite();
    const upstream = await jupyter();
    const target = await freePort();
    await closed(upstream);
    await once(upstream.listen(target, NODE1), 'listening');
    const token = await redeemed(port, target);
    const page = await open(port, token);
    await heading(page, 'JupyterLab');
    await closed(upstream);
    await page.reload();
    await heading(page, 'Jupyter does not answer');
    upstream.listen(target, NODE1);
    await heading(page, 'JupyterLab');
  });

  test('waits for a notebook that was redeemed too early', async () => {
    const { port } = await satellite();
    const target = await freePort();
    const token = await redeemed(port, target);
    const page = await open(port, token);
    await status(page, 'Step 4 of 4');
    const upstream = await jupyter();
    await closed(upstream);
    upstream.listen(target, NODE1);
    await heading(page, 'JupyterLab');
  });
});

describe.skipIf(leftOut)(`HTTP/2${note}`, () => {
  test('carries pages, their events and two sites side by side; WebSockets have connections of their own', async () => {
    const log: LogEntry[] = [];
    const { port } = await satelliteOver('HTTP/2', {}, { log: (entry) => log.push(entry) });
    const peer = await secureWire(port, `manage.${DOMAIN}`);
    const { publicKey } = new X509Certificate(peer.getPeerCertificate(true).raw);
    const spki = publicKey.export({ type: 'spki', format: 'der' });
    const trusting = await openBrowser(createHash('sha256').update(spki).digest('base64'));
    cleanup(() => trusting.close());
    const context = await trusting.newContext();
    const upstream = await notebook((request, response) => {
      response.setHeader('Content-Type', 'text/html');
      response.end(`<h1>${request.headers.host?.split('.')[0]}</h1><script>
        const socket = new WebSocket('wss://' + location.host + '/ws');
        socket.onmessage = ({ data }) => document.body.append(data);
      </script>`);
    });
    upstream.on('upgrade', (request, socket: Socket) => {
      const accept = createHash('sha1')
        .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64');
      const head = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n';
      socket.write(`${head}Sec-WebSocket-Accept: ${accept}\r\n\r\n\x81\x05hello`, 'latin1');
    });
    const tokens = [await issue(port), await issue(port)];
    const pages = [];
    for (const token of tokens) {
      const page = await context.newPage();
      await page.goto(`https://${siteHost(token)}:${port}/lab?token=secret`);
      await heading(page, 'Waiting for your session');
      pages.push({ page, token });
    }
    for (const { page, token } of pages) {
      await api(port, 'POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1);
      await heading(page, token);
      await page.getByText('hello').waitFor();
      const protocol = `performance.getEntriesByType('navigation')[0].nextHopProtocol`;
      expect(await page.evaluate(protocol)).toBe('h2');
    }
    // One certificate for both: the browser tried the second site on the first one's connection, and heard 421.
    const misdirected = log.filter(({ why }) => why === 'This connection was made for another host.');
    expect(misdirected.length).toBeGreaterThan(0);
  });
});

describe.skipIf(leftOut)(`accessibility${note}`, () => {
  const running = { state: 'RUNNING' };
  const states: Record<string, (port: number, token: string) => Promise<unknown>> = {
    waiting: async () => undefined,
    submitted: (port, token) => api(port, 'PUT', `/tokens/${token}/job`, { jobId: '2' }),
    queued: (port) =>
      api(port, 'POST', '/jobs', [
        {
          id: '1',
          state: 'PENDING',
          position: 3,
          estimatedStart: '2030-01-01T00:00:00Z',
          reason: 'Priority',
        },
      ]),
    starting: async (port, token) => {
      await api(port, 'POST', '/jobs', [{ id: '1', ...running }]);
      await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'environment' });
    },
    failed: async (port, token) => {
      await api(port, 'PUT', `/tokens/${token}/phase`, {
        phase: 'failed',
        reason: `The module does not exist.\n${'a line of the log\n'.repeat(100)}`,
      });
    },
    ended: (port, token) => api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'ended' }),
    trouble: async (port, token) => {
      const upstream = await notebook((request) => request.socket.destroy());
      await api(port, 'POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1);
    },
    'time-limit': (port) => api(port, 'POST', '/jobs', [{ id: '1', state: 'TIMEOUT' }]),
    unknown: async () => undefined,
    busy: (port) => visit(port, 'another-unknown-name'),
  };
  /** Where the page's kind is not the name of the state. */
  const kinds: Record<string, string> = { submitted: 'queued', 'time-limit': 'failed' };
  const looks = [
    { colorScheme: 'light', width: 1280, height: 800 },
    { colorScheme: 'dark', width: 320, height: 568 },
  ] as const;

  test.each(Object.entries(states))('of the page of a session that is %s', async (kind, reach) => {
    const { port } = await satellite({
      title: 'Example <HPC>',
      contact: 'mailto:help@example.edu',
      help: 'https://docs.example.edu/',
      limits: { unknownNamesPerMinute: kind === 'busy' ? 1 : 100 },
    });
    const token = await issue(port);
    if (!['waiting', 'submitted'].includes(kind))
      await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '1' });
    await reach(port, token);
    const name = kind === 'unknown' || kind === 'busy' ? 'no-such-name' : token;
    for (const { colorScheme, ...size } of looks) {
      const page = await browser.newPage({ colorScheme, viewport: size, bypassCSP: true });
      cleanup(() => page.close());
      await page.goto(`http://${siteHost(name)}:${port}/lab`);
      await page.locator(`[data-kind=${kinds[kind] ?? kind}]`).waitFor();
      await page.getByText('Example <HPC>').waitFor();
      expect(await page.getByRole('link', { name: 'help@example.edu' }).getAttribute('href')).toBe(
        'mailto:help@example.edu',
      );
      await expectAccessible(page);
    }
  });

  test('of the pages on which one signs in, and is refused', async () => {
    const users = `${await scratch()}/users`;
    await writeFile(users, line('alice'));
    const proxy = await satellite({ ...behindFront, auth: { htpasswd: users }, title: 'Example <HPC>' });
    const front = await satellite({
      ...behindFront,
      auth: { header: 'X-Remote-User' },
      title: 'Example <HPC>',
    });
    const { token } = await gated(front, 9000);
    for (const { colorScheme, ...size } of looks) {
      const extraHTTPHeaders = { 'X-Remote-User': 'eve<i>' };
      const page = await browser.newPage({ colorScheme, viewport: size, bypassCSP: true, extraHTTPHeaders });
      cleanup(() => page.close());
      await page.goto(`http://auth.${DOMAIN}:${proxy.port}/`);
      await page.getByLabel('Password').waitFor();
      await expectAccessible(page);
      await page.goto(`http://${siteHost(token)}:${front.port}/`);
      await page.getByText('eve<i>').waitFor();
      await expectAccessible(page);
    }
  });
});

/** Nothing that axe complains of, and nothing beside the screen. */
async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(axe.source);
  // As text: these run in the browser, whose names the tests' types don't know.
  const violations = await page.evaluate(`axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  }).then(({ violations }) =>
    violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ')))`);
  expect(violations).toEqual([]);
  expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
}
