import { once } from 'node:events';
import { join } from 'node:path';
import { connect } from 'node:tls';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { block, END_HEADERS, END_STREAM, Frames, frame, TYPE } from '../frames.ts';
import {
  DOMAIN,
  notebook,
  OUTSIDE,
  redeemed,
  satellite,
  scratch,
  secureWire,
  siteHost,
  Wire,
  wire,
} from '../support.ts';
import { holds, PATIENCE_MS } from './support.ts';

/*
 * Which site answers: for any handshake, any request target and any Host fields, what answers over real connections is
 * what a second reading of the RFCs says. That reading is below, in another style than the gate's.
 */

const limits = { unknownNamesPerMinute: 1_000_000 };

/** Two live sites. Each answers with its letter, and with the Host and the target that it was given. */
async function houses(config = {}) {
  const proxy = await satellite({ limits, ...config });
  const names: string[] = [];
  for (const letter of ['A', 'B']) {
    const { port } = await notebook(({ headers, url }, response) => {
      response.end(`house ${letter}: ${headers.host} ${url}`);
    });
    names.push(siteHost(await redeemed(proxy.port, port)));
  }
  const [a = '', b = ''] = names;
  return { proxy, port: proxy.port, a, b };
}

/** The same behind TLS. The tokens are issued without it, and outlive that proxy. */
async function secureHouses() {
  const state = join(await scratch(), 'state.sqlite');
  const { proxy, a, b } = await houses({ state });
  await proxy.close();
  const { port } = await satellite({ limits, state, tls: { selfSigned: true } });
  return { port, a, b };
}

type Houses = Pick<Awaited<ReturnType<typeof houses>>, 'a' | 'b'>;
/** Who may answer; `nobody` is for names of ours that lead nowhere. */
type Answerer = 'A' | 'B' | 'manage' | 'nobody' | 'refused';

const isAlnum = (char: string | undefined): boolean =>
  char !== undefined && 'abcdefghijklmnopqrstuvwxyz0123456789'.includes(char);

/** A host name in its one spelling (RFC 3986 section 3.2.2, RFC 1123 section 2.1), without port and root dot. */
function canonical(host: string): string | undefined {
  let name = [...host].map((char) => (char >= 'A' && char <= 'Z' ? char.toLowerCase() : char)).join('');
  const colon = name.lastIndexOf(':');
  if (colon >= 0) {
    const digits = [...name.slice(colon + 1)];
    if (digits.length < 1 || digits.length > 5 || digits.some((char) => char < '0' || char > '9'))
      return undefined;
    name = name.slice(0, colon);
  }
  if (name.endsWith('.')) name = name.slice(0, -1);
  if (host.length > 270 || !isAlnum(name[0]) || !isAlnum(name.at(-1))) return undefined;
  return [...name].every((char) => isAlnum(char) || char === '-' || char === '.') ? name : undefined;
}

/** Who has to answer. `sni` is undefined where the handshake names nobody, or there is none. */
function oracle({ a, b }: Houses, sni: string | undefined, target: string, hosts: string[]): Answerer {
  const [given] = hosts;
  if (hosts.length !== 1 || given === undefined || !target.startsWith('/')) return 'refused';
  const host = canonical(given);
  if (host === undefined) return 'refused';
  if (sni !== undefined && canonical(sni) !== host) return 'refused';
  if (host === a) return 'A';
  if (host === b) return 'B';
  const labels = host.split('.');
  if (host === DOMAIN) return 'nobody';
  if (labels.slice(1).join('.') !== DOMAIN || labels[0] === '') return 'refused';
  return labels[0] === 'manage' ? 'manage' : 'nobody';
}

/** Of ASCII alone: the capital of \xff isn't one byte. */
const capitals = (text: string): string => text.replace(/[a-z]+/g, (letters) => letters.toUpperCase());

/** Changes to a name, of which most make it another one. */
const twists: readonly ((name: string, at: number) => string)[] = [
  (name) => name,
  (name) => capitals(name),
  (name, at) => name.slice(0, at) + capitals(name.slice(at)),
  (name) => `${name}.`,
  (name) => `${name}..`,
  (name) => `.${name}`,
  (name) => `${name}:443`,
  (name) => `${name}.:0`,
  (name) => `${name}:`,
  (name) => `${name}:99999`,
  (name) => `${name}:443443`,
  (name) => `${name}:44x`,
  (name) => `${name}:80:443`,
  (name) => `${name}:+80`,
  (name) => ` ${name}\t`,
  (name) => `x.${name}`,
  (name) => `manage.${name}`,
  (name) => `${name}.evil.test`,
  (name) => `evil.test.${name}`,
  (name) => `evil-${name}`,
  (name) => `xn--${name}`,
  (name) => `_${name}`,
  (name) => `-${name}`,
  (name) => `user@${name}`,
  (name) => `user:pass@${name}`,
  (name) => `${name}@evil.test`,
  (name) => `https://${name}`,
  (name) => `${name}/`,
  (name) => `${name}/..`,
  (name) => `${name}?`,
  (name) => `${name}#`,
  (name) => `${name}\\`,
  (name) => `${name},${name}`,
  (name) => `${name} ${name}`,
  (name) => `"${name}"`,
  (name) => `[${name}]`,
  (name) => name.replace('.', '%2e'),
  (name) => name.replace('-', '%2d'),
  (name) => name.replace('-', '_'),
  (name) => name.replace('.', '..'),
  // UTF-8 in latin1: a full-width dot, a soft hyphen, a Kelvin sign, whose lower case is an ASCII k.
  (name) => name.replace('.', '\xef\xbc\x8e'),
  (name, at) => `${name.slice(0, at)}\xc2\xad${name.slice(at)}`,
  (name) => name.replace('k', '\xe2\x84\xaa'),
  (name, at) => `${name.slice(0, at)}\xff${name.slice(at)}`,
  (name, at) => name.slice(0, at) + name.slice(at + 1),
  (name, at) => `${name.slice(0, at)}%${name.charCodeAt(at).toString(16)}${name.slice(at + 1)}`,
  (name) => `${name}${'.x'.repeat(140)}`,
];

const others = [
  `manage.${DOMAIN}`,
  DOMAIN,
  `no-such-name.${DOMAIN}`,
  `www.${DOMAIN}`,
  `xn--manage-9za.${DOMAIN}`,
  `manage.manage.${DOMAIN}`,
  `manage${DOMAIN}`,
  `sites.test.evil.test`,
  'evil.test',
  'localhost',
  'test',
  '127.0.0.1',
  '2130706433',
  '[::1]',
  '[::ffff:127.0.0.1]:443',
  '::1',
  '*',
  '',
];

/** A name, told by the place it has in the houses' list. */
const place = fc.oneof(fc.constantFrom(-1, -2), fc.nat(others.length - 1));
const name = fc.record({
  place,
  // Twice is enough for most: a dot and capitals, say.
  twists: fc.array(fc.nat(twists.length - 1), { maxLength: 2 }),
  at: fc.nat(12),
});
type Name = typeof name extends fc.Arbitrary<infer T> ? T : never;

function spell({ a, b }: Houses, { place, twists: chosen, at }: Name): string {
  const start = place === -1 ? a : place === -2 ? b : (others[place] ?? '');
  return chosen.reduce((text, i) => (twists[i] ?? String)(text, at), start);
}

const target = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('/', '/healthz', '/getlink.cgi', '/lab/tree?token=x') },
  fc.constantFrom(
    '*',
    'manage',
    'HOST:443',
    'http://HOST/',
    'https://HOST/getlink.cgi',
    'http:/x',
    '?x',
    '\\x',
  ),
  fc.constantFrom(
    '//HOST/getlink.cgi',
    '/http://HOST/',
    '/..',
    '/%2e%2e/',
    '/@HOST/',
    '/x?http://HOST/',
    '/;x',
  ),
);

const request = fc.record({
  target,
  targetName: name,
  // Mostly one, since that is where decisions are made.
  hosts: fc.oneof(
    { weight: 8, arbitrary: fc.tuple(name) },
    { weight: 1, arbitrary: fc.array(name, { maxLength: 3 }) },
  ),
  version: fc.constantFrom('1.1', '1.1', '1.1', '1.0'),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

/** Who has answered, and what has arrived there. */
function whoAnswered(text: string): { by: Answerer; echo?: string } {
  const [, status = '', head = '', body = ''] =
    /^HTTP\/1\.1 (\d{3}) [^\r]*\r\n([\s\S]*?)\r\n\r\n([\s\S]*)$/.exec(text) ?? [];
  const [, house, echo = ''] = /^house ([AB]): (.*)$/s.exec(body) ?? [];
  if (house === 'A' || house === 'B') return { by: house, echo };
  // What has gone through the management's door says so in every answer.
  if (/^X-Content-Type-Options: nosniff\r?$/m.test(head) && !/text\/html/.test(head)) return { by: 'manage' };
  if (status === '400' || status === '421') return { by: 'refused' };
  if (status === '200' && body.startsWith('Please see documentation')) return { by: 'nobody' };
  if (status === '404' && body === 'There is no session at this address.\n') return { by: 'nobody' };
  throw new Error(`nobody knows who this is: ${JSON.stringify(text)}`);
}

function compose(all: Houses, { target: form, targetName, hosts, version }: Request) {
  const spelled = hosts.map((one) => spell(all, one));
  // A target with odd bytes would be refused for these alone.
  const safe = spell(all, { ...targetName, twists: [] });
  const at = form.replace('HOST', safe);
  const fields = spelled.map((host) => `Host: ${host}\r\n`).join('');
  return { spelled, at, text: `GET ${at} HTTP/${version}\r\n${fields}Connection: close\r\n\r\n` };
}

async function check(all: Houses, sni: string | undefined, asked: Request, connection: Wire): Promise<void> {
  const { spelled, at, text } = compose(all, asked);
  const answered = whoAnswered(await connection.send(text).ended());
  connection.socket.destroy();
  // Whitespace around a field's value is no part of it (RFC 9110 section 5.5).
  const trimmed = spelled.map((host) => host.replace(/^[ \t]+|[ \t]+$/g, ''));
  expect(answered.by).toBe(oracle(all, sni, at, trimmed));
  if (answered.echo !== undefined) expect(answered.echo).toBe(`${spelled[0]?.trim()} ${at}`);
}

test(
  'any Host and target without TLS',
  async () => {
    const all = await houses();
    await holds(
      fc.asyncProperty(request, async (asked) => check(all, undefined, asked, await wire(all.port))),
      1500,
    );
  },
  PATIENCE_MS,
);

test(
  'any server name in the handshake, with any Host and target',
  async () => {
    const all = await secureHouses();
    const server = fc.option(name, { nil: undefined });
    await holds(
      fc.asyncProperty(server, request, fc.boolean(), async (chosen, asked, agree) => {
        // Left to chance, handshake and Host would hardly ever agree.
        const first = asked.hosts[0];
        const picked =
          agree && chosen !== undefined && first !== undefined ? { ...chosen, place: first.place } : chosen;
        const sni = picked && Buffer.from(spell(all, picked), 'latin1').toString('utf8');
        // RFC 6066 section 3 has room for 1 to 255 bytes, and OpenSSL sends no more.
        if (sni !== undefined && (sni === '' || sni.includes('\0') || Buffer.byteLength(sni) > 255)) return;
        const socket = connect({
          host: '127.0.0.1',
          port: all.port,
          localAddress: OUTSIDE,
          rejectUnauthorized: false,
          checkServerIdentity: () => undefined,
          ...(sni !== undefined && { servername: sni }),
        } as never);
        try {
          await once(socket, 'secureConnect');
        } catch {
          // Refused in the handshake: nobody has answered.
          socket.destroy();
          return;
        }
        await check(all, sni, asked, new Wire(socket));
      }),
      400,
    );
  },
  PATIENCE_MS,
);

/** The same over HTTP/2, by hand: any number of :authority and Host fields, and any path. */
const streams = fc.record({
  authorities: fc.oneof(
    { weight: 6, arbitrary: fc.tuple(name) },
    { weight: 1, arbitrary: fc.array(name, { maxLength: 2 }) },
  ),
  hosts: fc.oneof(
    { weight: 4, arbitrary: fc.constant<Name[] | 'same'>([]) },
    { weight: 1, arbitrary: fc.constant<Name[] | 'same'>('same') },
    { weight: 1, arbitrary: fc.array(name, { maxLength: 2 }) as fc.Arbitrary<Name[] | 'same'> },
  ),
  path: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom('/healthz', '/healthz?x=/', '//healthz') },
    fc.constantFrom(
      '*',
      '',
      'healthz',
      'http://HOST/healthz',
      '/healthz#',
      '/health z',
      '/healthz\xe9',
      '/\\',
      '/@HOST',
    ),
  ),
});

/** Of several names that are one, it is one (RFC 9113 section 8.3.1). */
function oracleOfStream(all: Houses, sni: string, path: string, names: string[]): Answerer {
  if (!/^[\x21-\x7e]+$/.test(path) || path.includes('#')) return 'refused';
  return oracle(all, sni, path, [...new Set(names)]);
}

test(
  'any server name in the handshake, with any names in streams of HTTP/2',
  async () => {
    const all = await secureHouses();
    await holds(
      fc.asyncProperty(
        fc.constantFrom(-1, -2, 0),
        fc.array(streams, { minLength: 1, maxLength: 4 }),
        async (server, asked) => {
          const sni = spell(all, { place: server, twists: [], at: 0 });
          const socket = await secureWire(all.port, sni);
          const connection = new Frames(socket);
          for (const [i, { authorities, hosts, path: form }] of asked.entries()) {
            const names = authorities.map((one) => spell(all, one));
            const others = hosts === 'same' ? names : hosts.map((one) => spell(all, one));
            const path = form.replace('HOST', all.a);
            const fields: [string, string][] = [
              [':method', 'GET'],
              [':scheme', 'https'],
              ...names.map((text): [string, string] => [':authority', text]),
              [':path', path],
              ...others.map((text): [string, string] => ['host', text]),
            ];
            const stream = 2 * i + 1;
            connection.send(frame(TYPE.headers, END_HEADERS | END_STREAM, stream, block(fields)));
            const expected = [names, others].some((given) => given.length > 1)
              ? 'refused'
              : oracleOfStream(all, sni, path, [...names, ...others]);
            // nghttp2 leaves out a Host that can't be one before it looks for two of them.
            const possible = others.filter((host) => canonical(host) !== undefined);
            const leniently =
              names.length <= 1 && possible.length <= 1
                ? oracleOfStream(all, sni, path, [...names, ...possible])
                : expected;
            if ((await connection.outcome(stream)).startsWith('reset')) {
              expect([expected, leniently]).toContain('refused');
              continue;
            }
            const text = String((await connection.first(TYPE.data, stream)).payload);
            const [, house, echo] = /^house ([AB]): (.*)$/s.exec(text) ?? [];
            const other = text.startsWith('Please see')
              ? 'nobody'
              : /^(ok\n|Oops!)/.test(text)
                ? 'manage'
                : 'refused';
            expect([expected, leniently], text).toContain(house ?? other);
            if (echo !== undefined) expect(echo).toBe(`${names[0] ?? possible[0]} ${path}`);
          }
          socket.destroy();
        },
      ),
      250,
    );
  },
  PATIENCE_MS,
);
