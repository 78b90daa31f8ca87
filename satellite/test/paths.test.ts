import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { EVENTS_PATH, STATE_PATH, STATE_TYPE } from '../src/pages/paths.ts';
import {
  type Ask,
  api,
  ask,
  DOMAIN,
  freePort,
  inCapitals,
  issue,
  listenOn,
  NODE1,
  notebook,
  OUTSIDE,
  protocols,
  redeemed,
  satellite,
  satelliteOver,
  WEBSOCKET_ACCEPT,
  WEBSOCKET_KEY,
  Wire,
  wire,
} from './support.ts';

/* Sites by path: https://<domain>/<words>/ */

const siteStyle = 'path';
const AS_PAGE = { Accept: 'text/html' };

/** A request to the one host name that all sites have, as a visitor from outside. */
const visit = (port: number, path: string, options: Ask = {}) =>
  ask(port, { from: OUTSIDE, host: DOMAIN, path, ...options });

/** A live site on a notebook that says at which path it was asked, and gives the answer the fields. */
async function live(fields: Record<string, string | string[]> = {}, config = {}) {
  const { port: target } = await notebook(({ url, headers }, response) => {
    for (const [name, value] of Object.entries(fields)) response.setHeader(name, value);
    response.end(JSON.stringify({ url, ...headers }));
  });
  const { port } = await satellite({ siteStyle, ...config });
  return { port, token: await redeemed(port, target), target };
}

describe.each(protocols)('%s', (protocol) => {
  test('the answer to who asks for a token has the address, and the address leads to the notebook', async () => {
    const { port: target } = await notebook(({ url, headers }, response) =>
      response.end(`${headers.host} ${url}`),
    );
    const proxy = await satelliteOver(protocol, { siteStyle });
    const token = await redeemed(proxy.port, target);
    const { site } = (await api(proxy.port, 'GET', `/tokens/${token}`)).json<{ site: string }>();
    const scheme = protocol === 'HTTP/2' ? 'https' : 'http';
    expect(site).toBe(`${scheme}://${DOMAIN}:${proxy.port}/${token}/`);
    expect(proxy.siteUrl(token)).toBe(site);
    expect(proxy.manageUrl).toBe(`${scheme}://manage.${DOMAIN}:${proxy.port}/`);
    for (const path of ['', 'lab?token=x', 'a%2Fb/%2e%2e/c?x=%20', '../x', '/', ';v=1//d']) {
      expect((await visit(proxy.port, `/${token}/${path}`)).body).toBe(`${DOMAIN} /${token}/${path}`);
    }
  });

  test('without its slash a site sends on to where links work, known or not', async () => {
    const { port } = await satelliteOver(protocol, { siteStyle });
    for (const token of [await issue(port), 'no-such-name']) {
      const answer = await visit(port, `/${token}?token=a/b`);
      expect([answer.status, answer.headers.location]).toEqual([307, `/${token}/?token=a/b`]);
    }
  });
});

test('a WebSocket is asked for below the path, and nowhere else', async () => {
  const asked = Promise.withResolvers<Wire>();
  const target = await listenOn(
    createServer({ allowHalfOpen: true }, (socket) => {
      const upstream = new Wire(socket);
      // The proxy's own probe says nothing.
      upstream.until(/\r\n\r\n/).then(
        () => asked.resolve(upstream),
        () => undefined,
      );
    }),
  );
  const { port } = await satellite({ siteStyle });
  const token = await redeemed(port, target);
  const upgrade = (path: string): string =>
    `GET ${path} HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${WEBSOCKET_KEY}\r\n`;
  for (const path of ['/', `/${token}`, '/api/kernels/1/channels', '/no-such-name/api']) {
    expect(await (await wire(port)).send(upgrade(path)).ended(), path).toMatch(/^HTTP\/1\.1 404 /);
  }
  const client = await wire(port);
  client.send(upgrade(`/${token}/terminals/websocket/1%2F2`));
  const upstream = await asked.promise;
  expect(upstream.text).toMatch(new RegExp(`^GET /${token}/terminals/websocket/1%2F2 HTTP/1.1\r\n`));
  upstream.send(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${WEBSOCKET_ACCEPT}` +
      `Set-Cookie: a=1; Domain=${DOMAIN}; Path=/\r\n\r\nhello`,
  );
  expect(inCapitals(await client.until(/hello$/))).toContain(`\r\nSet-Cookie: a=1; Path=/${token}/\r\n`);
  client.send('again');
  await upstream.until(/again$/);
});

describe('who answers', () => {
  test('the domain itself has a plain page, and other paths none', async () => {
    const { port } = await satellite({ siteStyle, limits: { unknownNamesPerMinute: 1 } });
    expect((await visit(port, '/?x')).body).toMatch(/^Please see documentation/);
    for (const path of ['/favicon.ico', '/lab', '//x', '/two-words/', '/A-B-C/', '/%61-b-c/', '/a-b-c.d/']) {
      expect((await visit(port, path)).status, path).toBe(404);
    }
    // None of them was a guess.
    expect((await visit(port, '/no-such-name/')).status).toBe(404);
    expect((await visit(port, '/no-such-name/')).status).toBe(429);
  });

  test('management is on a name of its own, and a name of words is nobody’s', async () => {
    const { port, token } = await live();
    for (const path of ['/api/v1/openapi.json', '/getlink.cgi', '/healthz']) {
      expect((await ask(port, { host: DOMAIN, path })).status, path).toBe(404);
    }
    expect((await visit(port, `/${token}/`, { host: `${token}.${DOMAIN}` })).status).toBe(421);
    expect((await ask(port, { path: `/${token}/` })).status).toBe(404);
  });

  test('plain HTTP is sent to the same path', async () => {
    const { redirectHttpFrom, ...config } = { siteStyle, redirectHttpFrom: '127.0.0.1:0' } as const;
    const redirecting = Promise.withResolvers<number>();
    await satellite(
      { ...config, redirectHttpFrom, tls: { selfSigned: true } },
      { log: (entry) => entry.event === 'redirecting' && redirecting.resolve(entry.port as number) },
    );
    const answer = await visit(await redirecting.promise, '/a-b-c/lab?x');
    expect(answer.status).toBe(308);
    expect(answer.headers.location).toMatch(new RegExp(`^https://${DOMAIN}:\\d+/a-b-c/lab\\?x$`));
  });
});

describe('pages', () => {
  test('a name that is not known, or mistyped, gets help', async () => {
    const { port } = await satellite({ siteStyle });
    const unknown = await visit(port, '/no-such-nme/lab', { headers: AS_PAGE });
    expect([unknown.status, unknown.headers['content-type']]).toEqual([404, 'text/html']);
    expect(unknown.body).toContain('No address has the word “nme” in it');
    const short = await visit(port, '/two-words/', { headers: AS_PAGE });
    expect([short.status, short.body.includes('this one has 2')]).toEqual([404, true]);
  });

  test('the waiting page follows its session below its own path', async () => {
    const { port } = await satellite({ siteStyle });
    const token = await issue(port);
    const page = await visit(port, `/${token}/lab?token=x`, { headers: AS_PAGE });
    expect([page.status, page.headers['content-type']]).toEqual([200, 'text/html']);
    expect(page.body).toContain(`data-prefix="/${token}"`);
    const state = await visit(port, `/${token}${STATE_PATH}`);
    expect([state.status, state.headers['content-type'], state.json().kind]).toEqual([
      200,
      STATE_TYPE,
      'waiting',
    ]);
    expect((await visit(port, STATE_PATH)).status).toBe(404);
    const events = await wire(port);
    events.send(`GET /${token}${EVENTS_PATH} HTTP/1.1\r\nHost: ${DOMAIN}\r\n\r\n`);
    await events.until(/"kind":"waiting"/);
    await api(port, 'POST', `/tokens/${token}/redeem`, { port: (await live()).target }, NODE1);
    await events.until(/"kind":"live"/);
    // From then on every path is the notebook's.
    expect((await visit(port, `/${token}${STATE_PATH}`)).json().url).toBe(`/${token}${STATE_PATH}`);
    // To programs it is not live before it is: there is no original that had paths to be like.
    const waiting = await issue(port);
    expect((await visit(port, `/${waiting}/`)).status).toBe(503);
  });

  test('a notebook that does not answer is said to the page that asks', async () => {
    const { port } = await satellite({ siteStyle });
    const token = await redeemed(port, await freePort());
    const page = await visit(port, `/${token}/lab`, { headers: AS_PAGE });
    expect([page.status, page.body.includes(`data-prefix="/${token}"`)]).toEqual([503, true]);
  });
});

describe('sites of one origin', () => {
  test('cookies stay below the path of who sets them', async () => {
    const given = [
      'plain=1',
      'all=2; Path=/; HttpOnly; Secure',
      `wide=3; domain=${DOMAIN}; path=/other-site-here/; SameSite=Lax`,
      'own=4; Path=/WORDS/lab',
      'last=5; Path=/WORDS/x; PATH = / ; Max-Age=0',
      'near=6;Path=/WORDS-longer/',
      'odd=7; ; Domain ; Path',
      '=8;\tDomain=.test;\tPath=/',
    ];
    const { port: target } = await notebook(({ url = '' }, response) => {
      const words = url.split('/')[1] ?? '';
      response.setHeader(
        'Set-Cookie',
        given.map((cookie) => cookie.replaceAll('WORDS', words)),
      );
      response.end();
    });
    const { port } = await satellite({ siteStyle });
    const token = await redeemed(port, target);
    const path = `Path=/${token}/`;
    expect((await visit(port, `/${token}/`)).headers['set-cookie']).toEqual([
      `plain=1; ${path}`,
      `all=2; HttpOnly; Secure; ${path}`,
      `wide=3; SameSite=Lax; ${path}`,
      `own=4; ${path}lab`,
      `last=5; Max-Age=0; ${path}`,
      `near=6; ${path}`,
      `odd=7; ; ${path}`,
      `=8; ${path}`,
    ]);
  });

  test('of cookies with one name a notebook gets the one with the longest path', async () => {
    const { port, token } = await live();
    const cookies = async (Cookie: string) =>
      (await visit(port, `/${token}/`, { headers: { Cookie } })).json().cookie;
    expect(await cookies('_xsrf=own; a=1; _xsrf=tossed')).toBe('_xsrf=own; a=1');
    expect(await cookies('a=1;b="x"; c')).toBe('a=1;b="x"; c');
    expect(await cookies('__Host-x=1; __HOST-y=2; a=1')).toBe('a=1');
    expect(await cookies('__Host-x=1')).toBeUndefined();
  });

  test('fields that would speak for all of them are left out', async () => {
    const { port, token } = await live({
      'Service-Worker-Allowed': '/',
      'Clear-Site-Data': '"*"',
      'Alt-Svc': 'h2=":8443"',
      NEL: '{}',
      'Report-To': '{}',
      'Strict-Transport-Security': 'max-age=63072000; includeSubDomains',
      'Set-Login': 'logged-in',
      'WWW-Authenticate': 'Basic realm="x"',
      'Content-Security-Policy': "frame-ancestors 'self'",
    });
    const { headers } = await visit(port, `/${token}/`);
    expect(Object.keys(headers).toSorted()).toEqual([
      'connection',
      'content-length',
      'content-security-policy',
      'date',
    ]);
  });

  test('a page of one is refused at another', async () => {
    const { port, token, target } = await live();
    const other = await redeemed(port, target);
    const status = async (Referer: string, headers = {}) =>
      (await visit(port, `/${token}/api`, { headers: { Referer, ...headers } })).status;
    expect(await status(`https://${DOMAIN}/${other}/lab?x`)).toBe(403);
    expect(await status(`https://user@${DOMAIN.toUpperCase()}:8443/${other}/`)).toBe(403);
    expect(await status(`https://${DOMAIN}/${token}/lab?x`)).toBe(200);
    expect(await status(`https://${DOMAIN}/`)).toBe(200);
    expect(await status(`https://evil.test/${other}/`)).toBe(200);
    expect(await status('nonsense')).toBe(200);
    const page = await visit(port, `/${token}/lab`, {
      headers: { Referer: `https://${DOMAIN}/${other}/lab`, ...AS_PAGE },
    });
    // A link of somebody's own works, without a way back into the new tab.
    expect([page.status, page.body.includes('rel="noopener noreferrer"')]).toEqual([403, true]);
  });
});
