import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { vi } from 'vitest';
import { SIGN_IN_HOST } from './person.ts';
import { cleanup } from './support.ts';

/*
 * With a real provider in this process (oidc-provider, certified by the OpenID Foundation): its own sign-in pages are
 * gone through as a browser does.
 */

export const CLIENT_SECRET = 'a secret that the provider and the proxy share';

interface Account {
  readonly groups: readonly string[];
}

/** A provider on loopback, and the people it knows; `more` is configuration of its own. */
export async function provider(more: object = {}) {
  // It warns of settings that are for trying out, which is what they are for here.
  for (const method of ['info', 'warn'] as const)
    vi.spyOn(console, method).mockImplementation(() => undefined);
  // @ts-expect-error It has no types of its own.
  const { default: Provider } = await import('oidc-provider');
  const people = new Map<string, Account>();
  const server: Server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const oidc = new Provider(at, {
    clients: [
      {
        client_id: 'satellite',
        client_secret: CLIENT_SECRET,
        redirect_uris: [`https://${SIGN_IN_HOST}/callback`],
        post_logout_redirect_uris: [`https://${SIGN_IN_HOST}/`],
        grant_types: ['authorization_code', 'refresh_token'],
        token_endpoint_auth_method: 'client_secret_post',
      },
    ],
    claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
    features: { devInteractions: { enabled: true } },
    pkce: { required: () => true },
    issueRefreshToken: () => true,
    ...more,
    findAccount: (_context: unknown, id: string) => {
      const person = people.get(id);
      if (person === undefined) return undefined;
      return { accountId: id, claims: () => ({ sub: id, preferred_username: id, groups: person.groups }) };
    },
  });
  server.on('request', oidc.callback());
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  cleanup(() => server.listening && close());
  return { at, people, close };
}

/** Goes through the provider's pages as this account, and gives the address that it sends the browser back to. */
export function signingInAs(account: string) {
  const cookies = new Map<string, string>();
  const ask = async (url: URL, form?: string) => {
    const outgoing = request(url, {
      method: form === undefined ? 'GET' : 'POST',
      headers: {
        Cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; '),
        ...(form !== undefined && { 'Content-Type': 'application/x-www-form-urlencoded' }),
      },
      agent: false,
    });
    outgoing.end(form);
    const [response] = await once(outgoing, 'response');
    for (const field of response.headers['set-cookie'] ?? []) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(field) ?? [];
      cookies.set(name as string, value as string);
    }
    let body = '';
    for await (const chunk of response) body += chunk;
    return { location: response.headers.location as string | undefined, body };
  };
  return async (start: URL): Promise<URL> => {
    let at = start;
    let form: string | undefined;
    for (let i = 0; i < 12; i += 1) {
      const { location, body } = await ask(at, form);
      form = undefined;
      if (location !== undefined) {
        at = new URL(location, at);
        if (at.hostname === SIGN_IN_HOST) return at;
        continue;
      }
      at = new URL(/action="([^"]+)"/.exec(body)?.[1] ?? '', at);
      const prompt = /name="prompt" value="(\w+)"/.exec(body)?.[1] ?? '';
      form = new URLSearchParams({ prompt, login: account, password: 'x' }).toString();
    }
    throw new Error(`the provider does not send ${account} back`);
  };
}
