import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { parseConfig } from '../src/config.ts';
import { behindFront, gated, JUPYTER_TOKEN, line, navigation, Person, SIGN_IN_HOST } from './person.ts';
import {
  api,
  ask,
  begin,
  bodyOf,
  DOMAIN,
  inCapitals,
  issue,
  LOGIN,
  listenOn,
  NODE1,
  NODE2,
  notebook,
  OUTSIDE,
  protocols,
  redeemed,
  satellite,
  satelliteOver,
  scratch,
  siteHost,
  visit,
  WEBSOCKET_ACCEPT,
  WEBSOCKET_KEY,
  Wire,
  wire,
} from './support.ts';

/** A proxy with alice and bob in its file. */
async function withFile(more: object = {}) {
  const folder = await scratch();
  const file = `${folder}/users`;
  await writeFile(file, line('alice') + line('bob'));
  const events: Record<string, unknown>[] = [];
  const proxy = await satellite(
    { ...behindFront, auth: { htpasswd: file }, ...more },
    { log: (entry) => events.push(entry) },
  );
  return { proxy, file, folder, events };
}

/** A notebook that tells what it was asked, and whether that came with its token. */
const echo = () =>
  notebook((request, response) => {
    const { url, headers } = request;
    const isIn = headers.authorization === `token ${JUPYTER_TOKEN}`;
    response.end(JSON.stringify({ url, headers, isIn }));
  });

interface Echoed {
  readonly url: string;
  readonly isIn: boolean;
  readonly headers: Record<string, string>;
}

describe('a site', () => {
  test('sends a person to sign in, and lets its owner in, who finds what he asked for', async () => {
    const { proxy } = await withFile();
    const { url } = await gated(proxy, (await echo()).port);
    const alice = new Person(proxy);
    const form = await alice.open(`${url}lab/tree/a%20b.ipynb?x=1&token=abc&y=2`);
    expect([form.status, form.url.hostname]).toEqual([200, SIGN_IN_HOST]);
    expect(form.url.href).not.toContain('abc');
    const page = await alice.signIn(form, 'alice');
    expect(page.status).toBe(200);
    expect(page.url.href).toBe(`${url}lab/tree/a%20b.ipynb?x=1&y=2`);
    expect(page.json<Echoed>()).toMatchObject({ isIn: true, url: '/lab/tree/a%20b.ipynb?x=1&y=2' });
    // Signed in once, he needs no second password for another session.
    const other = await gated(proxy, (await echo()).port);
    expect((await alice.open(other.url)).status).toBe(200);
  });

  test('tells a program what is missing, and gives it nothing', async () => {
    const { proxy } = await withFile();
    const { url } = await gated(proxy, (await echo()).port);
    const answer = await new Person(proxy).ask(`${url}api/contents`, {
      headers: { Accept: 'application/json' },
    });
    expect([answer.status, answer.json()]).toEqual([
      401,
      { error: expect.objectContaining({ code: 'sign-in' }) },
    ]);
    for (const headers of [
      { Authorization: `token ${JUPYTER_TOKEN}` },
      { Cookie: '__Host-satellite-site=x.y' },
      { 'X-Forwarded-User': 'alice' },
    ])
      expect((await new Person(proxy).ask(`${url}?token=${JUPYTER_TOKEN}`, { headers })).status).toBe(401);
  });

  test('is closed to others, until its owner shares it, and again when he takes that back', async () => {
    const { proxy } = await withFile();
    const { port } = proxy;
    const { token, url } = await gated(proxy, (await echo()).port);
    const bob = new Person(proxy);
    const refused = await bob.signIn(await bob.open(url), 'bob');
    expect(refused.status).toBe(403);
    expect(refused.body).toContain('You are signed in as <strong>bob</strong>');
    expect(refused.body).not.toContain('alice');
    const share = (sharedWith: string[], jupyterToken = JUPYTER_TOKEN, from = LOGIN) =>
      api(port, 'PUT', `/tokens/${token}/access`, { jupyterToken, sharedWith }, from);
    expect((await share(['bob'], 'another-token-of-somebody')).status).toBe(403);
    expect((await share(['bob'], JUPYTER_TOKEN, OUTSIDE)).status).toBe(403);
    expect((await bob.open(url)).status).toBe(403);
    expect((await share(['bob'])).json()).toEqual({ owner: 'alice', sharedWith: ['bob'] });
    expect((await bob.open(url)).status).toBe(200);
    await share([], JUPYTER_TOKEN, NODE2);
    expect((await bob.open(url)).status).toBe(403);
  });

  test('is opened by its own job alone, whoever else inside has its link', async () => {
    const { proxy } = await withFile();
    const { port } = proxy;
    const seen: unknown[] = [];
    const thief = await notebook((request, response) => {
      seen.push(request.headers.authorization);
      response.end();
    }, NODE2);
    const token = await issue(port);
    await api(port, 'PUT', `/tokens/${token}/access`, { jupyterToken: JUPYTER_TOKEN, owner: 'alice' });
    const redeem = (more: object, from = NODE2, target = thief.port) =>
      api(port, 'POST', `/tokens/${token}/redeem`, { port: target, ...more }, from);
    expect((await redeem({})).json()).toMatchObject({ error: { code: 'not-yours' } });
    expect((await redeem({ jupyterToken: 'another-token-of-somebody' })).status).toBe(403);
    const path = `/redeemtoken.cgi?token=${token}&port=${thief.port}`;
    expect((await ask(port, { path, from: NODE2 })).body).toMatch(/^Oops! Only who knows its Jupyter token/);
    const own = (await echo()).port;
    expect((await redeem({ jupyterToken: JUPYTER_TOKEN }, NODE1, own)).status).toBe(200);
    expect((await redeem({})).status).toBe(409);
    const alice = new Person(proxy);
    const page = await alice.signIn(await alice.open(`https://${siteHost(token)}/`), 'alice');
    expect(page.json<Echoed>().isIn).toBe(true);
    expect(seen).toEqual([]);
  });

  test('of nobody is open to nobody', async () => {
    const { proxy } = await withFile();
    const token = await redeemed(proxy.port, (await echo()).port);
    const alice = new Person(proxy);
    const page = await alice.signIn(await alice.open(`https://${siteHost(token)}/`), 'alice');
    expect([page.status, page.body]).toEqual([403, expect.stringContaining('has not said whose it is')]);
  });

  test('that is not live yet shows its page to who may come in, and to nobody else', async () => {
    const { proxy } = await withFile();
    const token = await issue(proxy.port);
    await api(proxy.port, 'PUT', `/tokens/${token}/access`, { jupyterToken: JUPYTER_TOKEN, owner: 'alice' });
    const url = `https://${siteHost(token)}/`;
    const state = `${url}.well-known/satellite/state`;
    const alice = new Person(proxy);
    expect((await alice.ask(state)).status).toBe(401);
    expect((await alice.signIn(await alice.open(url), 'alice')).body).toContain('Waiting for your session');
    expect((await alice.ask(state)).json()).toMatchObject({ kind: 'waiting' });
    await api(proxy.port, 'PUT', `/tokens/${token}/phase`, { phase: 'failed', reason: 'out of luck' }, NODE1);
    await api(proxy.port, 'DELETE', `/tokens/${token}`);
    expect((await alice.open(url)).body).toContain('out of luck');
    expect((await visit(proxy.port, token, { headers: navigation })).status).toBe(303);
    // Nor does management tell strangers with the link what became of it.
    const told = (from: string) => api(proxy.port, 'GET', `/tokens/${token}`, undefined, from);
    expect((await told(LOGIN)).json()).toMatchObject({ state: 'gone', reason: 'out of luck' });
    expect((await told(OUTSIDE)).json()).toMatchObject({ state: 'gone', phase: null, reason: null });
  });

  test('is reached by nothing that was copied for another one', async () => {
    const { proxy } = await withFile();
    const target = (await echo()).port;
    const [his, hers] = [await gated(proxy, target, { owner: 'bob' }), await gated(proxy, target)];
    const bob = new Person(proxy);
    await bob.signIn(await bob.open(his.url), 'bob');
    const copied = bob.cookie(siteHost(his.token));
    expect(copied).toContain('__Host-satellite-site=');
    const answer = await new Person(proxy).ask(hers.url, { headers: { Cookie: copied } });
    expect(answer.status).toBe(401);
    const alice = new Person(proxy);
    await alice.signIn(await alice.open(hers.url), 'alice');
    const [, id = '', mac = ''] = /site=([^.]+)\.(.+)/.exec(alice.cookie(siteHost(hers.token))) ?? [];
    for (const forged of [`${id}.${mac.slice(1)}`, `${id}.`, id, `${id}.${mac}x`, `.${mac}`])
      expect(
        (await new Person(proxy).ask(hers.url, { headers: { Cookie: `__Host-satellite-site=${forged}` } }))
          .status,
      ).toBe(401);
  });
});

describe('the way back from signing in', () => {
  test('works once, in the browser that began it, for its site', async () => {
    const { proxy } = await withFile();
    const target = (await echo()).port;
    const [{ url }, other] = [await gated(proxy, target), await gated(proxy, target)];
    const alice = new Person(proxy);
    const form = await alice.open(url);
    const page = await alice.signIn(form, 'alice');
    const entering = page.trail.find(({ headers }) => headers.location?.includes('enter?code='))?.headers
      .location;
    if (entering === undefined) throw new Error('no code');
    const visit = form.trail[0]?.headers['set-cookie']?.[0] ?? '';
    expect(visit).toContain('__Host-satellite-visit=');
    alice.setCookie(new URL(url).hostname, visit);
    expect((await alice.open(entering)).status).toBe(403);

    // A code of his own, given to somebody else to be taken for him.
    const begun = await alice.ask(other.url, { headers: navigation });
    const fresh =
      (await alice.ask(begun.headers.location ?? '', { headers: navigation })).headers.location ?? '';
    expect(fresh).toContain('enter?code=');
    const victim = new Person(proxy);
    await victim.ask(other.url, { headers: navigation });
    expect((await victim.open(fresh)).status).toBe(403);
    expect((await victim.ask(other.url)).status).toBe(401);
  });

  test('never leads away', async () => {
    const { proxy } = await withFile();
    const { token, url } = await gated(proxy, (await echo()).port);
    const alice = new Person(proxy);
    await alice.signIn(await alice.open(url), 'alice');
    const begun = (await new Person(proxy).ask(url, { headers: navigation })).headers.location ?? '';
    const asked = async (changes: Record<string, string>) => {
      const to = new URL(begun);
      for (const [name, value] of Object.entries(changes)) to.searchParams.set(name, value);
      return alice.ask(to, { headers: navigation });
    };
    expect((await asked({ path: '/lab' })).headers.location).toContain(`https://${siteHost(token)}/`);
    const paths = ['//evil.test/', '/\\evil.test', 'https://evil.test/', '/a\r\nSet-Cookie: x=y', '', 'x'];
    const sites = ['evil', `${token}.evil.test/`, `evil.test/${token}`, 'manage', ''];
    for (const changes of [...paths.map((path) => ({ path })), ...sites.map((site) => ({ site }))]) {
      const answer = await asked(changes);
      expect([changes, answer.status, answer.headers.location]).toEqual([changes, 200, undefined]);
      expect(answer.body).toContain('You are signed in');
    }
  });

  test('goes nowhere with a browser that keeps no cookies, and says so', async () => {
    const { proxy } = await withFile();
    const { url } = await gated(proxy, (await echo()).port);
    const alice = new Person(proxy);
    const page = await alice.signIn(await alice.open(url), 'alice');
    const entering = page.trail.find(({ headers }) => headers.location?.includes('enter?code='))?.headers
      .location;
    const answer = await new Person(proxy).open(entering ?? '');
    expect([answer.status, answer.body]).toEqual([403, expect.stringContaining('must allow cookies')]);
  });
});

describe('signing in', () => {
  test('takes the right password of a user, and says the same of a wrong one and of nobody', async () => {
    const { proxy, events } = await withFile();
    const person = new Person(proxy);
    const form = await person.open(`https://${SIGN_IN_HOST}/`);
    const wrong = await person.signIn(form, 'alice', 'wrong');
    const nobody = await person.signIn(form, 'mallory', 'wrong');
    expect([wrong.status, nobody.status]).toEqual([403, 403]);
    expect(nobody.body.replaceAll('mallory', 'alice')).toBe(wrong.body);
    expect(wrong.headers['set-cookie']).toBeUndefined();
    expect((await person.signIn(form, 'alice')).body).toContain('as alice.');
    expect(events.filter(({ event }) => event === 'signed-in')).toMatchObject([{ user: 'alice' }]);
    expect(JSON.stringify(events)).not.toMatch(/alice's|wrong/);
  });

  test('is limited for each user, right or wrong', async () => {
    const { proxy } = await withFile();
    const person = new Person(proxy);
    const form = await person.open(`https://${SIGN_IN_HOST}/`);
    for (let i = 0; i < 6; i += 1) await person.signIn(form, 'alice', 'wrong');
    expect((await person.signIn(form, 'alice')).status).toBe(429);
    expect((await person.signIn(form, 'bob')).status).toBe(200);
  });

  test.each([
    ['another site of ours', { Origin: `https://evil-evil-evil.${DOMAIN}`, 'Sec-Fetch-Site': 'same-site' }],
    ['a stranger', { Origin: 'https://evil.test', 'Sec-Fetch-Site': 'cross-site' }],
    ['an old browser', { Origin: 'https://evil.test' }],
    ['nowhere', {}],
  ])('can not be done by %s', async (_who, headers) => {
    const { proxy } = await withFile();
    for (const path of ['sign-in', 'sign-out']) {
      const answer = await new Person(proxy).ask(`https://${SIGN_IN_HOST}/${path}`, {
        method: 'POST',
        body: new URLSearchParams({ user: 'alice', password: "alice's password" }).toString(),
        headers,
      });
      expect([answer.status, answer.headers['set-cookie']]).toEqual([403, undefined]);
    }
  });

  test('has cookies that no page and no other host can read or set', async () => {
    const { proxy } = await withFile();
    const { url } = await gated(proxy, (await echo()).port);
    const alice = new Person(proxy);
    const { trail } = await alice.signIn(await alice.open(url), 'alice');
    const fields = trail.flatMap(({ headers }) => headers['set-cookie'] ?? []);
    expect(fields.length).toBeGreaterThan(2);
    for (const field of fields) {
      expect(field).toMatch(
        /^__Host-satellite-\w+=[\w.-]*; Path=\/; Max-Age=\d+; Secure; HttpOnly; SameSite=Lax$/,
      );
    }
  });

  test('ends at once everywhere with signing out, open WebSockets with it', async () => {
    const { proxy } = await withFile();
    const { url, token } = await gated(proxy, (await echo()).port);
    const alice = new Person(proxy);
    await alice.signIn(await alice.open(url), 'alice');
    const copied = alice.cookie(siteHost(token));
    const out = await alice.signOut();
    expect(out.body).toContain('You are signed out');
    expect((await new Person(proxy).ask(url, { headers: { Cookie: copied } })).status).toBe(401);
  });

  test('outlives a restart of the proxy; nothing of it, and no token, is readable in the state', async () => {
    const folder = await scratch();
    await writeFile(`${folder}/users`, line('alice'));
    const config = { ...behindFront, state: `${folder}/state`, auth: { htpasswd: `${folder}/users` } };
    const first = await satellite(config);
    const { url, token } = await gated(first, (await echo()).port);
    const alice = new Person(first);
    await alice.signIn(await alice.open(url), 'alice');
    const headers = { Cookie: alice.cookie(siteHost(token)) };
    await first.close();
    const state = await readFile(`${folder}/state`, 'latin1');
    expect(state).toContain(token);
    for (const secret of [JUPYTER_TOKEN, 'alice', headers.Cookie.slice(-20)])
      expect(state).not.toContain(secret);
    expect((await stat(`${folder}/state.key`)).mode & 0o777).toBe(0o600);
    // A new key in front of the old one, which still counts.
    const key = await readFile(`${folder}/state.key`, 'utf8');
    await writeFile(`${folder}/state.key`, `${'0'.repeat(64)}\n${key}`);
    const second = await satellite(config);
    expect((await new Person(second).ask(url, { headers })).json<Echoed>().isIn).toBe(true);
  });
});

/** A WebSocket of somebody who may come in. */
async function socketOf(port: number, person: Person, token: string, extra = '') {
  const client = await wire(port, OUTSIDE);
  client.send(
    `GET /api/kernels/1/channels?token=${JUPYTER_TOKEN}&session_id=2 HTTP/1.1\r\nHost: ${siteHost(token)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${WEBSOCKET_KEY}Cookie: ${person.cookie(siteHost(token))}\r\n${extra}\r\n`,
  );
  return client;
}

/** A notebook that agrees to every WebSocket, and keeps what it was asked. */
async function socketNotebook() {
  const heads: string[] = [];
  const target = await listenOn(
    createServer((socket) => {
      const upstream = new Wire(socket);
      upstream.until(/\r\n\r\n/).then(
        (head) => {
          heads.push(head);
          upstream.send(
            `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${WEBSOCKET_ACCEPT}Set-Cookie: username-x=1\r\nX-Said: ${JUPYTER_TOKEN}\r\nX-${JUPYTER_TOKEN}: x\r\n\r\nhello`,
          );
        },
        () => undefined,
      );
    }),
  );
  return { target, heads };
}

describe('WebSockets', () => {
  test('take the token inside, whatever they bring along, and none comes back', async () => {
    const { proxy } = await withFile();
    const { target, heads } = await socketNotebook();
    const { url, token } = await gated(proxy, target);
    const alice = new Person(proxy);
    const before = await socketOf(proxy.port, alice, token);
    expect(await before.ended()).toMatch(/^HTTP\/1\.1 401 /);
    const form = await alice.open(url);
    await alice.signIn(form, 'alice').catch(() => undefined);
    const own = `Origin: https://${siteHost(token)}\r\nAuthorization: token wrong\r\n`;
    const answer = await (await socketOf(proxy.port, alice, token, own)).until(/hello/);
    expect(answer).toMatch(/^HTTP\/1\.1 101 /);
    expect(answer).not.toContain(JUPYTER_TOKEN);
    expect(answer).not.toContain('username-');
    const head = heads.at(-1) ?? '';
    expect(head).toMatch(/^GET \/api\/kernels\/1\/channels\?session_id=2 HTTP/);
    expect(head.match(/^Authorization: .*/gm)).toEqual([`Authorization: token ${JUPYTER_TOKEN}`]);
    expect(head).not.toContain('__Host-');
  });

  test.each([101, 200])(
    'are answered without the token, whatever the notebook puts it into: %i',
    async (status) => {
      const proxy = await satellite({ trustedProxies: [`${NODE2}/32`], auth: { header: 'X-Remote-User' } });
      const target = await listenOn(
        createServer((socket) =>
          socket.once('data', () =>
            socket.end(
              `HTTP/1.1 ${status} ${JUPYTER_TOKEN}\r\nConnection: Upgrade\r\nUpgrade: ${JUPYTER_TOKEN}\r\n${WEBSOCKET_ACCEPT}${JUPYTER_TOKEN.toUpperCase()}: x\r\nX-After: yes\r\n\r\nhello`,
            ),
          ),
        ),
      );
      const { token } = await gated(proxy, target);
      const client = await wire(proxy.port, NODE2);
      client.send(
        `GET / HTTP/1.1\r\nHost: ${siteHost(token)}\r\nX-Remote-User: alice\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${WEBSOCKET_KEY}\r\n`,
      );
      const answer = await client.until(/hello/);
      expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(inCapitals(answer)).toContain('X-After: yes');
      expect(answer.toLowerCase()).not.toContain(JUPYTER_TOKEN);
    },
  );

  test('of pages on other sites are refused, with every cookie they have', async () => {
    const { proxy } = await withFile();
    const { target } = await socketNotebook();
    const { url, token } = await gated(proxy, target);
    const alice = new Person(proxy);
    await alice.signIn(await alice.open(url), 'alice').catch(() => undefined);
    for (const origin of [
      `https://evil-evil-evil.${DOMAIN}`,
      'https://evil.test',
      `http://${siteHost(token)}`,
      'null',
    ]) {
      const client = await socketOf(proxy.port, alice, token, `Origin: ${origin}\r\n`);
      expect(await client.ended()).toMatch(/^HTTP\/1\.1 403 /);
    }
  });

  const ways = ['removed', 'blocked', 'shared with no more', 'given another password'] as const;

  test('of somebody who may not come in any more end, with his downloads, and he is out', async () => {
    await Promise.all(ways.map(turnOut));
  });
});

/** Bob is in, and is turned out in one of the ways, while alice stays. */
async function turnOut(how: string): Promise<void> {
  const folder = await scratch();
  const [users, blocked] = [`${folder}/users`, `${folder}/blocked`];
  const lineOfAlice = line('alice');
  await writeFile(users, lineOfAlice + line('bob'));
  await writeFile(blocked, '# nobody\n');
  const proxy = await satellite({ ...behindFront, auth: { htpasswd: users, blocked } });
  const upstream = await notebook((request, response) => {
    if (request.url === '/slow') response.write('begun');
    else response.end('page');
  });
  upstream.on('upgrade', (_request, socket) =>
    socket.write(
      `HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${WEBSOCKET_ACCEPT}\r\nhello`,
    ),
  );
  const { url, token } = await gated(proxy, upstream.port, { sharedWith: ['bob'] });
  const [alice, bob] = [new Person(proxy), new Person(proxy)];
  await alice.signIn(await alice.open(url), 'alice');
  await bob.signIn(await bob.open(url), 'bob');
  const [hers, his] = [await socketOf(proxy.port, alice, token), await socketOf(proxy.port, bob, token)];
  for (const socket of [hers, his]) await socket.until(/hello/);
  const download = await wire(proxy.port);
  const cookie = bob.cookie(siteHost(token));
  download.send(`GET /slow HTTP/1.1\r\nHost: ${siteHost(token)}\r\nCookie: ${cookie}\r\n\r\n`);
  await download.until(/begun/);

  if (how === 'blocked') await writeFile(blocked, 'bob\n');
  else if (how === 'shared with no more')
    await api(proxy.port, 'PUT', `/tokens/${token}/access`, { jupyterToken: JUPYTER_TOKEN, sharedWith: [] });
  else await writeFile(users, lineOfAlice + (how === 'removed' ? '' : line('bob', 'new')));
  expect([how, (await bob.ask(url)).status]).toEqual([how, expect.toBeOneOf([401, 403])]);
  await Promise.all([his.ended(), download.ended()]);
  expect((await alice.open(url)).body).toBe('page');
  expect(hers.socket.destroyed).toBe(false);
}

test('a line of `blocked` that blocks nobody is told, once, while the others count', async () => {
  const folder = await scratch();
  const blocked = `${folder}/blocked`;
  await writeFile(blocked, '# left\r\n\r\n  bob  \r\nalice # on leave\r\nEve Smith\r\n');
  const troubles: unknown[] = [];
  const proxy = await satellite(
    {
      ...behindFront,
      auth: { header: 'X-User', blocked, users: { 'Eve Smith': 'eve', alice: 'alice', bob: 'bob' } },
    },
    { log: (entry) => entry.event === 'auth-file' && troubles.push(entry.message) },
  );
  const said = (lines: string) =>
    `${blocked}: line ${lines} blocks nobody: it is not a name; a comment needs a line of its own`;
  expect(troubles).toEqual([said('4')]);
  const token = await issue(proxy.port);
  const access = { jupyterToken: JUPYTER_TOKEN, owner: 'alice', sharedWith: ['bob', 'eve'] };
  await api(proxy.port, 'PUT', `/tokens/${token}/access`, access);
  const seenBy = async (user: string) =>
    (await ask(proxy.port, { from: '127.0.0.1', host: siteHost(token), headers: { 'X-User': user } })).status;
  expect([await seenBy('alice'), await seenBy('bob')]).toEqual([200, 403]);
  expect(troubles).toEqual([said('4')]);
  await writeFile(blocked, 'alice\nbob # too\neve smith\n');
  expect([await seenBy('alice'), await seenBy('bob')]).toEqual([403, 200]);
  expect(troubles).toEqual([said('4'), said('2, 3')]);
});

describe('between proxy and notebook', () => {
  /** What a notebook hears of a request of alice's. */
  async function heard(path: string, headers: Record<string, string> = {}) {
    const { proxy } = await withFile();
    const { url, token } = await gated(proxy, (await echo()).port);
    const alice = new Person(proxy);
    await alice.signIn(await alice.open(url), 'alice');
    const own = alice.cookie(siteHost(token));
    const Cookie = headers.Cookie ? `${headers.Cookie}; ${own}` : own;
    return (await alice.ask(`${url}${path}`, { headers: { ...headers, Cookie } })).json<Echoed>();
  }

  test('only its own token is brought, whatever the visitor brings along', async () => {
    const said = await heard('api?token=wrong&a=%2F&TOKEN=1&t%6Fken=x;token=2&b', {
      Authorization: 'Basic eDp5',
      'Accept-Encoding': 'gzip',
      Cookie: '_xsrf=2|1; username-sites-test=stolen; \x85username-x=odd; theme=dark; __host-satellite-x=1',
    });
    expect(said).toMatchObject({ url: '/api?a=%2F&TOKEN=1&b', isIn: true });
    expect(said.headers['accept-encoding']).toBe('identity');
    expect(said.headers.cookie).toBe('_xsrf=2|1; theme=dark');
  });

  test('a path without a token passes byte for byte', async () => {
    expect((await heard('files/a%2Fb?x=!%00;&&=token&tokens=1')).url).toBe(
      '/files/a%2Fb?x=!%00;&&=token&tokens=1',
    );
  });

  test('the token is in nothing that comes back, and Jupyter’s logins stay at the proxy', async () => {
    const cookies: (string | undefined)[] = [];
    const { proxy } = await withFile();
    const upstream = await notebook((request, response) => {
      cookies.push(request.headers.cookie);
      response.writeHead(200, `OK ${JUPYTER_TOKEN}`, {
        'Content-Length': String(2 * JUPYTER_TOKEN.length + 4),
        Location: `/lab?token=${JUPYTER_TOKEN}`,
        'Set-Cookie': [
          `username-${siteHost('x')}="2|1:0|10:${JUPYTER_TOKEN}"; HttpOnly; Path=/`,
          '__Host-satellite-site=mine; Secure; Path=/',
          '__HOST-satellite-site=mine; Secure; Path=/',
          '_xsrf=2|abc; Path=/',
          `mine=${JUPYTER_TOKEN}; Path=/`,
        ],
        'X-Odd': `a${JUPYTER_TOKEN}b`,
      });
      response.end(`<a ${JUPYTER_TOKEN}${JUPYTER_TOKEN}>`);
    });
    const { url } = await gated(proxy, upstream.port);
    const alice = new Person(proxy);
    const answer = await alice.signIn(await alice.open(url), 'alice');
    const blank = '.'.repeat(JUPYTER_TOKEN.length);
    expect(answer.rawHeaders.join()).not.toContain(JUPYTER_TOKEN);
    expect(answer.headers).toMatchObject({
      location: `/lab?token=${blank}`,
      'x-odd': `a${blank}b`,
      'set-cookie': ['_xsrf=2|abc; Path=/', `mine=${blank}; Path=/`],
    });
    expect(answer.body).toBe(`<a ${blank}${blank}>`);
    await alice.ask(url);
    expect(cookies).toEqual([
      undefined,
      `_xsrf=2|abc; mine=${blank}; username-${siteHost('x')}="2|1:0|10:${JUPYTER_TOKEN}"`,
    ]);
  });

  test.each(protocols)('over %s no field whose name has the token in it comes back', async (protocol) => {
    const secret = 'Abcdef0123456789Abcdef0123456789Abcdef0123456789';
    const proxy = await satelliteOver(protocol, {
      trustedProxies: [`${NODE2}/32`],
      auth: { header: 'X-Remote-User' },
    });
    const upstream = await notebook((_request, response) => {
      response.writeEarlyHints({ link: '</x.css>; rel=preload', [`X-${secret}`]: 'early' });
      response.writeHead(200, {
        Trailer: 'X-End',
        [secret]: 'as it is',
        [`X-${secret.toUpperCase()}`]: 'in capitals',
        [`${secret.toLowerCase()}-x`]: 'in small letters',
        'X-After': 'yes',
      });
      response.addTrailers({ [`X-${secret}`]: 'end' });
      response.end('body');
    });
    const { token } = await gated(proxy, upstream.port, { jupyterToken: secret });
    const begun = await begin(proxy.port, {
      host: siteHost(token),
      headers: { 'X-Remote-User': 'alice' },
      from: NODE2,
    });
    begun.sender.end();
    const head = await begun.head;
    expect(String(await bodyOf(head))).toBe('body');
    expect([head.status, head.headers['x-after']]).toEqual([200, 'yes']);
    expect(begun.hints).toMatchObject([{ status: 103, headers: { link: '</x.css>; rel=preload' } }]);
    const came = JSON.stringify([head.rawHeaders, head.headers, begun.hints, head.trailers()]);
    expect(came.toLowerCase()).not.toContain(secret.toLowerCase());
  });

  test.each([
    [
      'POST',
      { 'Sec-Fetch-Site': 'same-site', 'Sec-Fetch-Mode': 'no-cors', Origin: 'https://a-b-c.sites.test' },
      403,
    ],
    [
      'POST',
      { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' },
      403,
    ],
    ['POST', { Origin: 'https://a-b-c.sites.test' }, 403],
    ['POST', { Origin: 'null' }, 403],
    ['GET', { 'Sec-Fetch-Site': 'same-site', 'Sec-Fetch-Mode': 'no-cors', 'Sec-Fetch-Dest': 'script' }, 403],
    [
      'GET',
      { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'iframe' },
      403,
    ],
    [
      'GET',
      { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' },
      200,
    ],
    ['POST', { 'Sec-Fetch-Site': 'same-origin', Origin: 'https://OWN' }, 200],
    ['POST', { Origin: 'https://OWN' }, 200],
    ['POST', {}, 200],
  ])('pages of other sites can do nothing in his name: %s %j: %i', async (method, headers, status) => {
    const proxy = await satellite({ trustedProxies: [`${NODE2}/32`], auth: { header: 'X-Remote-User' } });
    const { token } = await gated(proxy, (await echo()).port);
    const said = JSON.parse(
      JSON.stringify({ 'X-Remote-User': 'alice', ...headers }).replace('OWN', siteHost(token)),
    );
    expect((await visit(proxy.port, token, { method, headers: said, from: NODE2 })).status).toBe(status);
  });
});

test('pages can not load the host for signing in, with its cookies and codes, behind somebody’s back', async () => {
  const { proxy } = await withFile();
  const { url } = await gated(proxy, (await echo()).port);
  const alice = new Person(proxy);
  const form = await alice.open(url);
  await alice.signIn(form, 'alice');
  const status = async (headers: Record<string, string>) =>
    (await alice.ask(form.url, { headers: { ...navigation, ...headers } })).status;
  expect(await status({ 'Sec-Fetch-Site': 'same-site' })).toBe(303);
  expect(await status({ 'Sec-Fetch-Site': 'cross-site' })).toBe(303);
  for (const what of ['image', 'iframe', 'empty'])
    expect(await status({ 'Sec-Fetch-Site': 'same-site', 'Sec-Fetch-Dest': what }), what).toBe(403);
  expect(await status({ 'Sec-Fetch-Site': 'same-site', 'Sec-Fetch-Mode': 'no-cors' })).toBe(403);
});

describe('a front that says who the visitor is', () => {
  test('is believed where it is trusted, and nobody else is', async () => {
    const proxy = await satellite({ trustedProxies: [`${NODE2}/32`], auth: { header: 'X-Remote-User' } });
    const { token } = await gated(proxy, (await echo()).port);
    const as = (headers: Record<string, string | string[]>, from = NODE2) =>
      visit(proxy.port, token, { headers, from });
    const page = await as({ 'X-Remote-User': 'alice' });
    expect(page.json<Echoed>().isIn).toBe(true);
    expect(page.body).not.toContain('remote-user');
    const refused = [
      as({}),
      as({ 'X-Remote-User': 'alice' }, OUTSIDE),
      as({ 'X-Remote-User': 'alice' }, NODE1),
      as({ 'X-Remote-User': ['alice', 'bob'] }),
      as({ 'X-Remote-User': '' }),
      as({ 'X-Remote-User': 'alice, bob' }),
    ];
    for (const answer of await Promise.all(refused)) expect(answer.status).toBe(401);
    expect((await as({ 'X-Remote-User': 'bob' })).status).toBe(403);
  });

  test('has names of its own for accounts, and who is not among them is nobody', async () => {
    const users = { 'a.lice@example.edu': 'alice' };
    const proxy = await satellite({
      trustedProxies: [`${NODE2}/32`],
      auth: { header: 'X-Remote-User', users },
    });
    const { token } = await gated(proxy, (await echo()).port);
    const as = async (user: string) =>
      (await visit(proxy.port, token, { headers: { 'X-Remote-User': user }, from: NODE2 })).status;
    expect(await as('a.lice@example.edu')).toBe(200);
    for (const user of ['alice', 'constructor', '__proto__']) expect(await as(user)).toBe(403);
  });
});

describe('the configuration', () => {
  const front = { trustedProxies: ['127.0.0.1'] };
  test.each([
    [{ auth: {} }, /^auth: needs one of htpasswd, header and oidc/],
    [{ auth: { htpasswd: 'x', header: 'X-User' } }, /^auth: needs one of/],
    [{ auth: { header: 'X-User' } }, /^auth.header: needs trustedProxies/],
    [{ auth: { header: 'X User' }, ...front }, /^auth.header: is not the name of a header field/],
    [{ auth: { htpasswd: 'x' } }, /^auth: needs TLS/],
    [{ auth: { htpasswd: 'x' }, ...front, siteStyle: 'path' }, /^auth: needs siteStyle: host/],
    [
      {
        auth: { htpasswd: 'x' },
        ...front,
        directHosts: [{ hosts: ['n*'], networks: ['10.0.0.0/8'], ports: '8000-9000' }],
      },
      /^directHosts: are open to everybody/,
    ],
    [{ auth: { htpaswd: 'x' }, ...front }, /^auth.htpaswd: is not a known key; did you mean htpasswd\?/],
    [{ auth: { oidc: { issuer: 'http://login.test' } }, ...front }, /"http:\/\/login.test" is not the https/],
  ])('%j is refused: %s', (config, message) => {
    expect(() => parseConfig({ domain: DOMAIN, tls: 'off', ...config })).toThrow(message);
  });

  test('users with other hashes than bcrypt, and files that are not there or everybody’s, are refused', async () => {
    const folder = await scratch();
    const [file, state] = [`${folder}/users`, `${folder}/state`];
    const start = (auth: object) => satellite({ ...behindFront, state, auth });
    await expect(start({ htpasswd: file })).rejects.toThrow(/^auth.htpasswd: .*no such file/);
    for (const text of [
      'alice:$apr1$x$y\n',
      'alice:secret\n',
      line('alice').replace('$2b$04', '$2b$31'),
      'alice\n',
    ]) {
      await writeFile(file, `# users\n${text}`);
      await expect(start({ htpasswd: file })).rejects.toThrow(/line 2 is not "user:hash" with a bcrypt hash/);
    }
    await writeFile(file, line('alice').replace('$2b$', '$2y$'));
    await expect(start({ htpasswd: file, blocked: `${folder}/none` })).rejects.toThrow(/^auth.blocked: /);
    await (await start({ htpasswd: file })).close();
    await chmod(`${state}.key`, 0o640);
    await expect(start({ htpasswd: file })).rejects.toThrow(/can be read by others; chmod 600/);
    vi.stubEnv('CREDENTIALS_DIRECTORY', folder);
    onTestFinished(() => void vi.unstubAllEnvs());
    await (await start({ htpasswd: file })).close();
    await writeFile(`${state}.key`, 'x\n');
    await expect(start({ htpasswd: file })).rejects.toThrow(/does not hold keys/);
  });
});

describe('the API', () => {
  test.each([
    [{ jupyterToken: JUPYTER_TOKEN }, 403],
    [{ jupyterToken: 'short', owner: 'alice' }, 400],
    [{ jupyterToken: `${JUPYTER_TOKEN}\n`, owner: 'alice' }, 400],
    [{ jupyterToken: JUPYTER_TOKEN, owner: 'a b' }, 400],
    [{ jupyterToken: JUPYTER_TOKEN, owner: '' }, 400],
    [{ owner: 'alice' }, 400],
  ])('takes no %j: %i', async (body, status) => {
    const { proxy } = await withFile();
    const token = await issue(proxy.port);
    expect((await api(proxy.port, 'PUT', `/tokens/${token}/access`, body)).status).toBe(status);
  });

  test('lets the first one speak, and says at the issue that somebody must', async () => {
    const { proxy } = await withFile();
    const issued = await api(proxy.port, 'POST', '/tokens');
    expect(issued.json().gated).toBe(true);
    const path = `/tokens/${issued.json().token}/access`;
    const put = async (owner: string, jupyterToken: string) =>
      (await api(proxy.port, 'PUT', path, { owner, jupyterToken })).status;
    const people = [
      ['alice', JUPYTER_TOKEN],
      ['mallory', 'm'.repeat(48)],
    ] as const;
    const answers = await Promise.all(people.map(([owner, own]) => put(owner, own)));
    expect(answers.toSorted()).toEqual([200, 403]);
    const isAlice = answers[0] === 200;
    const [[owner, own], [other]] = isAlice ? people : [people[1], people[0]];
    expect(await put(other, own)).toBe(403);
    expect(await put(owner, own)).toBe(200);
    await api(proxy.port, 'DELETE', path.replace('/access', ''));
    expect(await put(owner, own)).toBe(410);
    expect(
      (await api(proxy.port, 'PUT', '/tokens/no-such-name/access', { jupyterToken: JUPYTER_TOKEN })).status,
    ).toBe(404);
  });

  test('keeps no owners for a proxy that asks nobody', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const body = { jupyterToken: JUPYTER_TOKEN, owner: 'alice' };
    expect((await api(port, 'PUT', `/tokens/${token}/access`, body)).status).toBe(409);
  });
});
