import { chmod, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { behindFront, gated, navigation, Person, SIGN_IN_HOST, type Visited } from './person.ts';
import { CLIENT_SECRET, provider, signingInAs } from './provider.ts';
import { notebook, OUTSIDE, satellite, scratch, siteHost, wire } from './support.ts';

/** A proxy that asks the provider, and a live site of alice's. */
async function proxyWith(at: string, more: object = {}) {
  const folder = await scratch();
  const clientSecretFile = `${folder}/secret`;
  await writeFile(clientSecretFile, `${CLIENT_SECRET}\n`);
  await chmod(clientSecretFile, 0o600);
  const proxy = await satellite({
    ...behindFront,
    auth: { oidc: { issuer: at, clientId: 'satellite', clientSecretFile, recheck: '1ms', ...more } },
  });
  const upstream = await notebook((_request, response) => response.end('page'));
  upstream.on('upgrade', (_request, socket) =>
    socket.write('HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello'),
  );
  return { proxy, ...(await gated(proxy, upstream.port)) };
}

const signIn = (person: Person, url: string, account: string): Promise<Visited> =>
  person.open(url, {}, signingInAs(account));

describe('OpenID Connect', () => {
  test('lets people in who the provider says are who they say, and out as soon as it does not', async () => {
    const { at, people } = await provider();
    for (const name of ['alice', 'bob']) people.set(name, { groups: ['staff', 'hpc'] });
    people.set('eve', { groups: ['staff'] });
    const { proxy, url, token } = await proxyWith(at, { allow: { groups: ['hpc'] } });

    const alice = new Person(proxy);
    const page = await signIn(alice, `${url}lab?x=1`, 'alice');
    expect([page.status, page.body, page.url.href]).toEqual([200, 'page', `${url}lab?x=1`]);
    const sent = new URL(page.trail[1]?.headers.location ?? '');
    expect(Object.fromEntries(sent.searchParams)).toMatchObject({
      code_challenge_method: 'S256',
      state: expect.stringMatching(/.{20}/),
      nonce: expect.stringMatching(/.{20}/),
    });
    expect((await signIn(new Person(proxy), url, 'bob')).body).toContain('signed in as <strong>bob</strong>');
    const eve = await signIn(new Person(proxy), url, 'eve');
    expect([eve.status, eve.body]).toEqual([403, expect.stringContaining('not one of those')]);

    // A code of the provider's own that another browser has asked for.
    const begun = await new Person(proxy).open(`https://${SIGN_IN_HOST}/`, {}, async (to) => {
      const back = await signingInAs('alice')(to);
      const victim = await new Person(proxy).open(back);
      expect([victim.status, victim.body]).toEqual([403, expect.stringContaining('another browser')]);
      return back;
    });
    expect(begun.body).toContain('as alice.');

    const socket = await wire(proxy.port, OUTSIDE);
    socket.send(
      `GET / HTTP/1.1\r\nHost: ${siteHost(token)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: ${alice.cookie(siteHost(token))}\r\n\r\n`,
    );
    await socket.until(/hello/);
    expect((await alice.open(url)).body).toBe('page');
    people.delete('alice');
    expect((await alice.ask(url, { headers: { Accept: 'application/json' } })).status).toBe(401);
    await socket.ended();
  });

  test('keeps those in for a while whom it knows, when the provider is away, and says so to others', async () => {
    const { at, people, close } = await provider();
    people.set('alice', { groups: [] });
    const { proxy, url } = await proxyWith(at, { recheck: '200ms' });
    const alice = new Person(proxy);
    await signIn(alice, url, 'alice');
    await close();
    expect((await alice.open(url)).status).toBe(200);
    const { proxy: fresh, url: other } = await proxyWith(at);
    const away = await new Person(fresh).open(other);
    expect([away.status, away.body]).toEqual([503, expect.stringContaining('does not answer')]);
    await expect.poll(async () => (await alice.open(url, {}, async () => new URL(url))).status).not.toBe(200);
  });

  test('signs out of the provider, too', async () => {
    const { at, people } = await provider();
    people.set('alice', { groups: [] });
    const { proxy, url } = await proxyWith(at);
    const alice = new Person(proxy);
    await signIn(alice, url, 'alice');
    const out = await alice.ask(`https://${SIGN_IN_HOST}/sign-out`, {
      method: 'POST',
      headers: { ...navigation, Origin: `https://${SIGN_IN_HOST}`, 'Sec-Fetch-Site': 'same-origin' },
    });
    expect(out.headers.location).toMatch(new RegExp(`^${at}/session/end\\?.*post_logout_redirect_uri=`));
    expect((await alice.ask(url)).status).toBe(401);
  });
});
