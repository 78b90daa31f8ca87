import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DOMAIN, LOGIN, NODE1, notebook, OUTSIDE, redeemed, satellite, siteHost, wire } from '../support.ts';
import { holds, PATIENCE_MS } from './support.ts';

/*
 * Who somebody is: whatever a stranger claims, and through however many honest proxies he comes, he is himself or
 * nobody, to notebooks and to management.
 */

const FRONTS = ['127.99.0.1', '127.99.0.2', '127.99.0.3'];

/** Addresses as people spell them, rightly and wrongly, ours among them. */
const address = fc.oneof(
  fc.constantFrom(LOGIN, NODE1, ...FRONTS, '127.0.0.1', '::1', '::ffff:127.21.0.1', '0:0:0:0:0:ffff:7f15:1'),
  fc.constantFrom(
    '127.21.1',
    '0177.21.0.1',
    '2132082689',
    '0x7f150001',
    'localhost',
    'unknown',
    '_hidden',
    '',
  ),
  fc.ipV4(),
  fc.ipV6(),
);
const claim = fc.oneof(
  { weight: 4, arbitrary: address },
  fc.tuple(address, fc.nat(99_999)).map(([host, port]) => `${host}:${port}`),
  address.map((host) => `[${host}]:80`),
  address.map((host) => `"${host}"`),
  address.map((host) => `for=${host}`),
  address.map((host) => ` ${host}\t`),
  fc.string().map((text) => text.replace(/[^\t\x20-\x7e]/g, '~')),
);
const list = fc.array(claim, { maxLength: 4 }).map((claims) => claims.join(', '));

/** One field that says who the client is, in all the spellings that anything behind us might read. */
const field = fc
  .tuple(
    fc.constantFrom(
      ...[
        'X-Forwarded-For',
        'x-forwarded-for',
        'X_Forwarded_For',
        'X-Forwarded_For',
        'X-Forwarded',
        'Forwarded',
      ],
      ...['X-Real-IP', 'X_Real_IP', 'X-Forwarded-Host', 'X-Forwarded-Proto', 'X-Forwarded-Port', 'X-Scheme'],
      ...[
        'X-Forwarded-Server',
        'X-Forwarded-Prefix',
        'X-Forwarded-By',
        'X-Forwarded-Client-Cert',
        'X-Forwarded-User',
      ],
    ),
    list,
  )
  .map(([name, value]) => [name, value] as const);

const visit = fc.record({
  claims: fc.array(field, { maxLength: 5 }),
  stranger: fc.constantFrom<string[]>(OUTSIDE, '127.0.77.7', '127.22.0.1'),
  /** The honest proxies that he comes through, the one next to us last. */
  through: fc.array(fc.constantFrom(...FRONTS), { maxLength: 3 }),
  /** How they write an address down. */
  spelling: fc.constantFrom('plain', 'port', 'mapped', 'brackets'),
  /** Whether they add to the last field, or add one of their own behind it. */
  ownField: fc.boolean(),
});
type Visit = typeof visit extends fc.Arbitrary<infer T> ? T : never;

function spell(address: string, { spelling }: Visit): string {
  if (spelling === 'port') return `${address}:51234`;
  if (spelling === 'mapped') return `::ffff:${address}`;
  return spelling === 'brackets' ? `[::ffff:${address}]:51234` : address;
}

/** What arrives here: the stranger's claims, and behind them what each honest proxy knows of its own peer. */
function fieldsOf(asked: Visit): string {
  const fields: (readonly [string, string])[] = [...asked.claims];
  const peers = [asked.stranger, ...asked.through].slice(0, asked.through.length);
  for (const peer of peers) {
    const last = fields.findLastIndex(([name]) => name.toLowerCase() === 'x-forwarded-for');
    const before = asked.ownField ? undefined : fields[last];
    const value = spell(peer, asked);
    if (before === undefined) fields.push(['X-Forwarded-For', value]);
    // As nginx's $proxy_add_x_forwarded_for does it.
    else fields[last] = [before[0], before[1] === '' ? value : `${before[1]}, ${value}`];
  }
  return fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
}

async function house() {
  const { port: target } = await notebook(({ rawHeaders }, response) =>
    response.end(JSON.stringify(rawHeaders)),
  );
  const { port } = await satellite({
    trustedProxies: ['127.99.0.0/24'],
    limits: { unknownNamesPerMinute: 1_000_000, tokensPerMinute: 1_000_000 },
  });
  return { port, token: await redeemed(port, target) };
}

async function ask(port: number, host: string, path: string, asked: Visit) {
  const client = await wire(port, asked.through.at(-1) ?? asked.stranger);
  client.send(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${fieldsOf(asked)}Connection: close\r\n\r\n`);
  const text = await client.ended();
  client.socket.destroy();
  const cut = text.indexOf('\r\n\r\n');
  return { status: Number(text.slice(9, 12)), body: text.slice(cut + 4) };
}

test(
  'a notebook hears who the stranger is, once, and nothing of his claims',
  async () => {
    const { port, token } = await house();
    await holds(
      fc.asyncProperty(visit, async (asked) => {
        const { status, body } = await ask(port, siteHost(token), '/', asked);
        if (status === 400) return;
        expect(status).toBe(200);
        const raw = JSON.parse(body) as string[];
        const heard = new Map<string, string[]>();
        for (let i = 0; i < raw.length; i += 2) {
          const name = (raw[i] as string).toLowerCase().replaceAll('_', '-');
          heard.set(name, [...(heard.get(name) ?? []), raw[i + 1] as string]);
        }
        expect(heard.get('x-forwarded-for')).toEqual([asked.stranger]);
        expect(heard.get('x-real-ip')).toEqual([asked.stranger]);
        expect(heard.get('x-forwarded-host')).toEqual([siteHost(token)]);
        expect(heard.get('forwarded')?.join()).toMatch(new RegExp(`for="?${asked.stranger}"?(;|$)`));
        const known = /^(x-forwarded-(for|host|proto|port)|x-real-ip|forwarded)$/;
        const telling = /^(x-forwarded.*|x-real-ip|x-scheme|forwarded)$/;
        expect([...heard.keys()].filter((name) => telling.test(name) && !known.test(name))).toEqual([]);
      }),
      1000,
    );
  },
  PATIENCE_MS,
);

test(
  'management gives a stranger nothing, whoever he says he is',
  async () => {
    const { port, token } = await house();
    const operation = fc.constantFrom(
      '/getlink.cgi',
      `/destroytoken.cgi?token=${token}`,
      `/redeemtoken.cgi?token=${token}&port=9000`,
      `/linktoken.cgi?token=${token}&jobid=1`,
      '/api/v1/jobs',
    );
    await holds(
      fc.asyncProperty(visit, operation, async (asked, path) => {
        const { status, body } = await ask(port, `manage.${DOMAIN}`, path, asked);
        if (status === 400) return;
        const who = / IP not in range |"code":"outside-network"/;
        expect(body).toMatch(who);
      }),
      1000,
    );
    // What is inside is let in through the same fronts.
    const inside: Visit = { claims: [], stranger: LOGIN, through: FRONTS, spelling: 'plain', ownField: true };
    expect((await ask(port, `manage.${DOMAIN}`, '/getlink.cgi', inside)).body).toMatch(/^Your token is/);
  },
  PATIENCE_MS,
);
