import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ask, DOMAIN, NODE1, notebook, OUTSIDE, redeemed, satellite, wire } from '../support.ts';
import { holds, PATIENCE_MS } from './support.ts';

/*
 * Which site answers where paths decide: sites by path, beside a fixed site below a path of the same host name, one at the
 * root of another, and one whose path is left out. Any Host and any path over real connections, and a second reading of
 * the rules below, in another style than the gate's.
 */

const HUB = 'hub.example.test';
const ONLY = 'only.example.test';

type House = 'A' | 'B' | 'C' | 'D' | 'E';
/** `nobody` is for hosts of ours where nothing is, `on` for the same path with a slash. */
type Answerer = House | 'manage' | 'nobody' | 'on' | 'refused';

/** Two sites and three fixed ones. Each answers with its letter, and with the Host and the target that it was given. */
async function houses() {
  const ports: number[] = [];
  for (const letter of 'ABCDE') {
    const { port } = await notebook(({ headers, url }, response) => {
      response.end(`house ${letter}: ${headers.host} ${url}`);
    });
    ports.push(port);
  }
  const [forA = 0, forB = 0, ...fixed] = ports;
  const [c, d, e] = fixed.map((port) => `http://${NODE1}:${port}`) as [string, string, string];
  const { port } = await satellite({
    siteStyle: 'path',
    limits: { unknownNamesPerMinute: 1_000_000 },
    routes: { [`${DOMAIN}/jhub`]: c, [HUB]: d, [`${ONLY}/only`]: { to: e, stripPrefix: true } },
  });
  return { port, a: await redeemed(port, forA), b: await redeemed(port, forB) };
}

type Houses = Awaited<ReturnType<typeof houses>>;

/** A name of the ones below, its spelling aside: case, a port, a dot at the end. */
const plainName = (host: string): string => host.toLowerCase().replace(/:.*$/, '').replace(/\.$/, '');

const isWords = (segment: string): boolean => {
  const words = segment.split('-');
  return (
    words.length >= 3 &&
    words.length <= 6 &&
    words.every(
      (word) => word.length >= 1 && word.length <= 9 && [...word].every((c) => c >= 'a' && c <= 'z'),
    )
  );
};

/** Is there a dot segment behind the first one, for somebody who decodes before he looks? */
function leadsOut(segments: readonly string[]): boolean {
  const decoded = segments
    .join('/')
    .replaceAll(/%2e/gi, '.')
    .replaceAll(/%2f|%5c|\\/gi, '/')
    .replaceAll(/%3b/gi, ';');
  return decoded.split('/').some((segment) => ['.', '..'].includes(segment.split(';')[0] ?? ''));
}

function oracle({ a, b }: Houses, host: string, target: string): { by: Answerer; seen?: string } {
  const name = plainName(host);
  if (target.includes('#')) return { by: 'refused' };
  const [path = ''] = target.split('?', 1);
  const [, first = '', ...rest] = path.split('/');
  const inside = (by: House, seen: string): { by: Answerer; seen?: string } => {
    if (rest.length === 0) return { by: 'on' };
    return leadsOut(rest) ? { by: 'refused' } : { by, seen };
  };
  if (name === `manage.${DOMAIN}`) return { by: 'manage' };
  if (name === HUB) return { by: 'D', seen: target };
  if (name === ONLY) return first === 'only' ? inside('E', target.slice('/only'.length)) : { by: 'nobody' };
  if (name !== DOMAIN) return { by: 'refused' };
  if (first === 'jhub') return inside('C', target);
  if (!isWords(first)) return { by: 'nobody' };
  if (rest.length === 0) return { by: 'on' };
  return first === a ? { by: 'A', seen: target } : first === b ? { by: 'B', seen: target } : { by: 'nobody' };
}

const HOSTS = [DOMAIN, DOMAIN, DOMAIN, HUB, ONLY, ONLY, `manage.${DOMAIN}`, `A.${DOMAIN}`, `www.${DOMAIN}`];
const host = fc
  .tuple(
    fc.constantFrom(...HOSTS),
    fc.constantFrom(
      (text: string) => text,
      String,
      (text: string) => text.toUpperCase(),
    ),
    fc.constantFrom('', '', '', ':443', '.', '.:8080'),
  )
  .map(([name, spell, more]) => `${spell(name)}${more}`);

/** A, B and AB stand for the words of the sites, known only once they are there. */
const SEGMENTS = [
  'A',
  'B',
  'jhub',
  'only',
  'no-such-name',
  'x',
  '',
  '..',
  '.',
  '%2e%2E',
  '.%2e',
  '...',
  '.;x',
  '%2f',
];
const ODD = [
  'A.',
  'A%20',
  '%41',
  'A;x',
  'A-',
  '-A',
  'AB',
  'A%2fB',
  'A%2f..%2fB',
  '..%2fB',
  '..\\B',
  'x%5c..',
  'JHUB',
];
const segment = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...SEGMENTS) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(...ODD, 'jhubx', 'jhub.', 'getlink.cgi', '.well-known', "it's|^`"),
  },
);
const target = fc
  .tuple(
    fc.array(segment, { minLength: 1, maxLength: 5 }),
    fc.constantFrom('', '', '?x', '?next=/A/../B', '#/A/', '?#'),
  )
  .map(([segments, more]) => `/${segments.join('/')}${more}`);

const spell = ({ a, b }: Houses, text: string): string =>
  text.replaceAll(/(?<![A-Z])A/g, a).replaceAll(/B(?![A-Z])/g, b);

function whoAnswered(text: string): { by: Answerer; echo?: string; location?: string } {
  const [, status = '', head = '', body = ''] =
    /^HTTP\/1\.1 (\d{3}) [^\r]*\r\n([\s\S]*?)\r\n\r\n([\s\S]*)$/.exec(text) ?? [];
  const [, house, echo = ''] = /^house ([A-E]): (.*)$/s.exec(body) ?? [];
  if (house !== undefined) return { by: house as House, echo };
  if (/^X-Content-Type-Options: nosniff\r?$/m.test(head)) return { by: 'manage' };
  if (status === '307') return { by: 'on', location: /^Location: (.*?)\r?$/m.exec(head)?.[1] ?? '' };
  if (status === '404' || body.startsWith('Please see documentation')) return { by: 'nobody' };
  if (status === '400' || status === '421') return { by: 'refused' };
  throw new Error(`nobody knows who this is: ${JSON.stringify(text)}`);
}

test(
  'any Host and path, where sites are paths and fixed ones beside them',
  async () => {
    const all = await houses();
    await holds(
      fc.asyncProperty(host, target, async (givenHost, givenTarget) => {
        const name = spell(all, givenHost);
        const path = spell(all, givenTarget);
        const client = await wire(all.port);
        client.send(`GET ${path} HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`);
        const answered = whoAnswered(await client.ended());
        client.socket.destroy();
        const { by, seen } = oracle(all, name, path);
        expect(answered.by).toBe(by);
        if (seen !== undefined) expect(answered.echo).toBe(`${name} ${seen}`);
        // On the same host, the same path with its slash, and what followed it.
        if (answered.location !== undefined)
          expect(answered.location).toBe(path.replace(/^(\/[^/?#]*)/, '$1/'));
      }),
      1200,
    );
  },
  PATIENCE_MS,
);

/** Attributes of cookies, as notebooks and their enemies write them. */
const attribute = fc.constantFrom(
  ...[
    'Path=/',
    'path=/A/',
    'Path=/A/lab',
    'PATH = /B/',
    'Path',
    'Path=',
    'Path=/A',
    'Path=/A/../B/',
    'path=/Ax/',
  ],
  ...[
    'Domain=sites.test',
    ' domain=.test',
    'Domain',
    '\tDOMAIN\t=\tsites.test',
    'Domain=',
    'HttpOnly',
    'Secure',
  ],
  ...[
    'SameSite=None',
    'Max-Age=0',
    'Expires=Thu, 01 Jan 1970 00:00:00 GMT',
    'Partitioned',
    '',
    ' ',
    'x=Path=/',
    '=',
  ],
);

test(
  'no Set-Cookie of a site leaves its path or its host',
  async () => {
    let cookie = '';
    const { port: target } = await notebook((_request, response) => {
      response.setHeader('Set-Cookie', cookie);
      response.end();
    });
    const { port } = await satellite({ siteStyle: 'path' });
    const token = await redeemed(port, target);
    await holds(
      fc.asyncProperty(fc.array(attribute, { maxLength: 6 }), async (attributes) => {
        cookie = ['name=value', ...attributes.map((text) => text.replace('/A', `/${token}`))].join(';');
        const answer = await ask(port, { from: OUTSIDE, host: DOMAIN, path: `/${token}/` });
        const [field = ''] = answer.headers['set-cookie'] ?? [];
        // As browsers read it (RFC 6265 section 5.2): the last Path counts, and any Domain.
        const [pair, ...read] = field.split(';').map((text) => text.replace(/^[ \t]+|[ \t]+$/g, ''));
        const named = (wanted: string): string[] =>
          read
            .map((text) => text.split('='))
            .filter(([name = '']) => name.trim().toLowerCase() === wanted)
            .map(([, ...value]) => value.join('=').trim());
        expect(pair).toBe('name=value');
        expect(named('domain')).toEqual([]);
        expect(named('path').at(-1)).toMatch(new RegExp(`^/${token}/`));
        // What is none of ours to change is there, in its order.
        const kept = attributes
          .map((text) => text.trim())
          .filter((text) => !/^(path|domain)\s*(=|$)/i.test(text));
        expect(read.filter((text) => !/^path=/i.test(text))).toEqual(kept);
      }),
      300,
    );
  },
  PATIENCE_MS,
);
