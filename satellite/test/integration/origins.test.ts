/** What a real browser makes of sites that share an origin, and of a site in somebody else's page. */
import { createHash, X509Certificate } from 'node:crypto';
import type { BrowserContext, Page } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import type { SatelliteConfigInput } from '../../src/config.ts';
import { browserObstacle, openBrowser } from '../browser.ts';
import { api, cleanup, DOMAIN, issue, NODE1, notebook, satelliteOver, secureWire } from '../support.ts';
import { heading } from '../visitor.ts';

/** Where nothing may be left out, the tests run and fail. */
const leftOut = browserObstacle !== undefined && !process.env.START_JUPYTER_TEST_COMPLETE;
const note = leftOut ? ` (left out: ${browserObstacle})` : '';

/** A proxy with TLS, and a browser that trusts it by any name. */
async function trusted(config: Partial<SatelliteConfigInput>) {
  const { port } = await satelliteOver('HTTP/2', config);
  const peer = await secureWire(port, `manage.${DOMAIN}`);
  const { publicKey } = new X509Certificate(peer.getPeerCertificate(true).raw);
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const browser = await openBrowser(createHash('sha256').update(spki).digest('base64'));
  cleanup(() => browser.close());
  return { port, context: await browser.newContext() };
}

async function show(context: BrowserContext, address: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(address);
  return page;
}

describe.skipIf(leftOut)(`sites by path${note}`, () => {
  test('open by themselves, and stay out of each other’s way as far as that goes', async () => {
    const { port, context } = await trusted({ siteStyle: 'path' });
    const { port: target } = await notebook(({ url = '', headers }, response) => {
      const words = url.split('/')[1];
      if (url.endsWith('/cookies')) response.end(headers.cookie ?? '');
      else if (url.endsWith('/worker.js')) {
        response.setHeader('Content-Type', 'text/javascript');
        response.setHeader('Service-Worker-Allowed', '/');
        response.end('');
      } else {
        response.setHeader('Content-Type', 'text/html');
        response.setHeader('Set-Cookie', [`_xsrf=${words}; Path=/`, `${words}=1; Path=/; HttpOnly`]);
        response.end(`<h1>${url}</h1>`);
      }
    });
    const base = `https://${DOMAIN}:${port}`;
    const [one, other] = [await issue(port), await issue(port)];
    const redeem = (token: string) => api(port, 'POST', `/tokens/${token}/redeem`, { port: target }, NODE1);

    const page = await show(context, `${base}/${one}?token=secret#cell`);
    await heading(page, 'Waiting for your session');
    await api(port, 'PUT', `/tokens/${one}/phase`, { phase: 'jupyter' });
    await heading(page, 'Starting Jupyter');
    await redeem(one);
    await heading(page, `/${one}/?token=secret`);
    expect(page.url()).toBe(`${base}/${one}/?token=secret#cell`);

    await redeem(other);
    const hostile = await show(context, `${base}/${other}/`);
    await hostile.evaluate(
      `document.cookie = '_xsrf=tossed; path=/'; document.cookie = 'new=tossed; path=/'`,
    );
    const cookies = (await page.evaluate(`fetch('cookies').then((answer) => answer.text())`)) as string;
    expect(cookies.split('; ').toSorted()).toEqual([`${one}=1`, `_xsrf=${one}`, 'new=tossed'].toSorted());
    const worker = `navigator.serviceWorker.register('worker.js', { scope: '/' }).catch((error) => error.name)`;
    expect(await hostile.evaluate(worker)).toBe('SecurityError');
    expect(await hostile.evaluate(`fetch('/${one}/cookies').then(({ status }) => status)`)).toBe(403);

    // A link of somebody's own works all the same, without a way back.
    await hostile.evaluate(`location.href = '/${one}/lab'`);
    await heading(hostile, 'This leads to another session');
    const [opened] = await Promise.all([
      context.waitForEvent('page'),
      hostile.getByText('open it in a tab of its own').click(),
    ]);
    await heading(opened, `/${one}/lab`);
    expect(await opened.evaluate('opener')).toBe(null);
  });
});

describe.skipIf(leftOut)(`a host by its name${note}`, () => {
  test('works in a frame of the named parents, with its cookies, and in nobody else’s', async () => {
    const { port: target } = await notebook(({ url, headers }, response) => {
      if (url === '/cookies') {
        response.end(headers.cookie ?? 'none');
        return;
      }
      response.setHeader('Content-Type', 'text/html');
      response.setHeader('X-Frame-Options', 'DENY');
      response.setHeader('Set-Cookie', 'session=1; Path=/; SameSite=Strict; HttpOnly');
      response.end(`<script>
        fetch('/cookies').then((answer) => answer.text()).then((text) => parent.postMessage(text, '*'));
      </script>`);
    }, '127.0.0.1');
    let frame = '';
    const { port: pages } = await notebook((_request, response) => {
      response.setHeader('Content-Type', 'text/html');
      response.end(
        `<script>onmessage = ({ data }) => { document.body.append('cookies: ' + data); };</script><body><iframe src="${frame}"></iframe>`,
      );
    });
    const portal = 'portal.example.test';
    const stranger = 'stranger.example.test';
    const frameAncestors = [`https://*.${portal}`, `https://${portal}`].map((origin) => `${origin}:*`);
    const rule = { hosts: ['localhost'], networks: ['127.0.0.0/8'], ports: '1024-65535', frameAncestors };
    const to = `http://${NODE1}:${pages}`;
    const { port, context } = await trusted({
      directHosts: [rule],
      routes: { [portal]: to, [stranger]: to },
    });
    frame = `https://localhost-${target}.${DOMAIN}:${port}/`;
    const good = await show(context, `https://${portal}:${port}/`);
    await good.getByText('cookies: session=1').waitFor();
    const bad = await show(context, `https://${stranger}:${port}/`);
    // What the browser shows in its place is nobody's origin.
    expect(await bad.frames()[1]?.evaluate('origin')).toBe('null');
    expect(await bad.getByText('cookies:').count()).toBe(0);
  });
});
