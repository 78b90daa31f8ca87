import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { LogEntry } from '../../src/index.ts';
import {
  api,
  DOMAIN,
  issue,
  LOGIN,
  NODE1,
  NODE2,
  notebook,
  OUTSIDE,
  redeemed,
  satellite,
  wire,
} from '../support.ts';
import { holds, nasty, PATIENCE_MS } from './support.ts';

/*
 * Whatever is asked of the management host, over a raw connection: an answer comes, it is none of a program that has
 * lost its way, it tells nobody's token, and tokens that it didn't name are as they were.
 */

/** What is put in the place of TOKEN, and of GONE, is known when the proxy runs. */
const tokenish = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('TOKEN', 'GONE', `TOKEN.${DOMAIN}`, 'TOKEN.', 'token-of-nobody') },
  nasty,
);
const encode = (text: string): string => encodeURIComponent(text.toWellFormed());
/** A parameter's value as it is, encoded, twice encoded, or badly so. */
const parameter = fc
  .tuple(fc.oneof(tokenish, fc.integer().map(String), nasty), fc.constantFrom(0, 1, 1, 1, 2, 3))
  .map(([text, how]) =>
    how === 0 ? text : how === 1 ? encode(text) : how === 2 ? encode(encode(text)) : `${encode(text)}%`,
  );
const odd = fc
  .array(
    fc.tuple(
      fc.constantFrom('token', 'jobid', 'port', 'jobstates', 'TOKEN', 'token[]', '', '__proto__'),
      parameter,
    ),
    { maxLength: 4 },
  )
  .map((pairs) => pairs.map(([name, value]) => `${name}=${value}`).join('&'));
const usual = fc.constantFrom(
  'token=TOKEN&port=9000',
  'token=TOKEN&jobid=7',
  'token=TOKEN',
  'token=GONE&port=9000',
);
const query = fc.oneof(
  odd,
  usual,
  fc.tuple(usual, odd).map((both) => both.join('&')),
);

const path = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        fc.constantFrom(
          'getlink',
          'linktoken',
          'redeemtoken',
          'destroytoken',
          'tokenjobstate',
          'update-jobs',
        ),
        fc.constantFrom('.cgi', '.cgi', '.cgi', '.cgi', '.cgi', '.CGI', '.cgi/', '', '.cgi%00', '.cgi;x'),
      )
      .map((parts) => `/${parts.join('')}`),
  },
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        tokenish.map((text) => text.split('/').map(encode).join('/')),
        fc.constantFrom(
          '',
          '',
          '/redeem',
          '/redeem',
          '/job',
          '/job',
          '/phase',
          '/phase',
          '/',
          '/..',
          '/constructor',
        ),
      )
      .map((parts) => `/api/v1/tokens/${parts.join('')}`),
  },
  { weight: 3, arbitrary: fc.constantFrom('/api/v1/tokens', '/api/v1/jobs', '/api/v1/openapi.json') },
  {
    weight: 1,
    arbitrary: fc
      .tuple(
        fc.constantFrom('/api/v2', '/api', '//api/v1', '/API/V1', '/api/v1/'),
        fc.constantFrom('/tokens/TOKEN', '/jobs', '/openapi.json', '/'),
      )
      .map((parts) => parts.join('')),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      ...['/', '/healthz', '/metrics', '/.well-known/satellite/events', '/favicon.ico', '/../../etc/passwd'],
    ),
  },
  { weight: 1, arbitrary: fc.webPath().map((text) => `/${text}`) },
);

const json = fc
  .oneof(
    fc.constantFrom(
      { port: 9000 },
      { port: 80 },
      { port: '9000' },
      { port: 9000.5 },
      { jobId: '7' },
      { jobId: 7 },
      { jobId: null },
    ),
    fc.record({ phase: fc.constantFrom('jupyter', 'failed', 'ended', 'x'), reason: fc.option(nasty) }),
    fc.record({ jobId: nasty }),
    fc.array(
      fc.record(
        {
          id: fc.oneof(nasty, fc.integer(), fc.constantFrom('7', '8')),
          state: fc.oneof(nasty, fc.constantFrom('PENDING', 'RUNNING', 'COMPLETED', '__proto__')),
          position: fc.oneof(fc.integer(), fc.double(), fc.constant(Number.MAX_SAFE_INTEGER)),
          estimatedStart: fc.oneof(
            nasty,
            fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
            fc.constantFrom(
              '9999-12-31T23:59:59-23:59',
              '0000-01-01T00:00:00Z',
              '2026-02-30T00:00:00Z',
              '2026-06-30T23:59:60Z',
            ),
          ),
          reason: nasty,
          __proto__: fc.constant(null),
        },
        { requiredKeys: ['id'] },
      ),
      { maxLength: 5 },
    ),
    fc.jsonValue(),
  )
  .map((value) => JSON.stringify(value));
const body = fc.oneof(
  { weight: 4, arbitrary: json },
  { weight: 2, arbitrary: fc.constant('') },
  {
    weight: 2,
    arbitrary: fc.constantFrom('{"port":9000}', '{"jobId":"7"}', '{"phase":"failed","reason":"why"}'),
  },
  query,
  fc.constantFrom(
    '{',
    '{"port":9000}x',
    '[[[[',
    '{"port":1e999}',
    '"\\ud800"',
    'null',
    '{"port":9000,"port":80}',
    '\ufeff{}',
  ),
  fc.constant(`${'['.repeat(20_000)}`),
  nasty,
);

const method = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'HEAD') },
  fc.constantFrom('OPTIONS', 'PATCH', 'TRACE', 'PROPFIND', 'SEARCH', 'PURGE', 'M-SEARCH'),
);

const fieldValue = fc
  .string({ unit: 'binary', maxLength: 60 })
  .map((text) => text.replace(/[^\t\x20-\x7e\x80-\xff]/g, '~'));
const fields = fc.array(
  fc.oneof(
    fc.constantFrom(
      ...[
        'Content-Type: application/json',
        'Content-Type: x/\xff',
        'Accept: text/html',
        'Accept-Encoding: gzip',
        'TE: trailers',
      ],
      ...[
        'Expect: 100-continue',
        'Range: bytes=0-1',
        'If-None-Match: *',
        'X-HTTP-Method-Override: DELETE',
        'Connection: close',
      ],
      ...[
        `Origin: https://TOKEN.${DOMAIN}`,
        'Origin: null',
        `Origin: http://evil.test`,
        'Upgrade: h2c',
        'Upgrade: websocket',
      ],
      ...[
        'X-Forwarded-For: 127.21.0.1',
        'X-Forwarded-Host: evil.test',
        'Forwarded: for=127.21.0.1',
        'Authorization: Basic x',
      ],
      ...[
        'Transfer-Encoding: chunked',
        'Content-Length: 0',
        'Connection: Upgrade',
        'Connection: content-length',
        '__proto__: x',
      ],
    ),
    fc
      .tuple(fc.constantFrom('Accept', 'Origin', 'Cookie', 'Referer', 'X-Any', 'constructor'), fieldValue)
      .map((pair) => pair.join(': ')),
  ),
  { maxLength: 4 },
);

const request = fc.record({
  method,
  path,
  query: fc.option(query),
  fields,
  body,
  framing: fc.constantFrom('length', 'length', 'length', 'chunks', 'none'),
  from: fc.constantFrom(LOGIN, LOGIN, NODE1, NODE1, NODE2, OUTSIDE),
});

test(
  'anything asked of management has an answer, and no other token in it',
  async () => {
    const errors: LogEntry[] = [];
    const { port } = await satellite(
      { limits: { tokensPerMinute: 1_000_000, unknownNamesPerMinute: 1_000_000, headerTime: '1s' } },
      { log: (entry) => entry.event.endsWith('-error') && errors.push(entry) },
    );
    const target = await notebook((_request, response) => response.end());
    /** Nobody names these. */
    const secrets = [await issue(port), await redeemed(port, target.port)];
    const known = await Promise.all(
      secrets.map(async (token) => (await api(port, 'GET', `/tokens/${token}`)).body),
    );
    const gone = await issue(port);
    await api(port, 'DELETE', `/tokens/${gone}`);

    await holds(
      fc.asyncProperty(request, async (asked) => {
        const token = await issue(port);
        const fill = (text: string): string =>
          Buffer.from(
            text.replaceAll('TOKEN', token).replaceAll('GONE', gone).toWellFormed(),
            'utf8',
          ).toString('latin1');
        // Bytes that can't be in a target are tried elsewhere: here they would be all that is tried.
        const uri = fill(asked.query === null ? asked.path : `${asked.path}?${asked.query}`).replace(
          /[^\x21-\x7e]/g,
          '+',
        );
        const content = fill(asked.body);
        const framing = {
          none: '',
          length: `Content-Length: ${content.length}\r\n`,
          chunks: 'Transfer-Encoding: chunked\r\n',
        }[asked.framing];
        const sent = {
          none: '',
          length: content,
          chunks: content === '' ? '0\r\n\r\n' : `${content.length.toString(16)}\r\n${content}\r\n0\r\n\r\n`,
        }[asked.framing];
        const lines = asked.fields.map((line) => `${fill(line)}\r\n`).join('');
        const client = await wire(port, asked.from);
        // Its own end tells the proxy that no more comes, so that an answer's end is always the connection's.
        client.socket.end(
          `${asked.method} ${uri} HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n${lines}${framing}\r\n${sent}`,
          'latin1',
        );
        const text = await client.ended();
        client.socket.destroy();

        // A body that is announced and doesn't come is the end of the connection, and of an answer that waits for it.
        if (text === '' && asked.framing === 'none' && lines.includes('Transfer-Encoding')) return;
        const answers = text.match(/^HTTP\/1\.1 \d{3} [A-Z][^\r\n]*\r\n/gm) ?? [];
        const [status = ''] = answers.filter((line) => !line.includes(' 100 '));
        expect(status, JSON.stringify(text)).toMatch(
          /^HTTP\/1\.1 (200|201|204|400|403|404|405|408|409|410|413|415|417|421|431|501) /,
        );
        expect(errors).toEqual([]);
        expect(text).not.toMatch(
          /\bat [^\n]*\.(ts|js):\d+|node:internal|Error:|\[object |(:|received) (undefined|NaN)/,
        );
        for (const secret of secrets) expect(text).not.toContain(secret);
        const issued =
          /"token":"([a-z-]+)"[^{]*"state":"pending","expiresAt"|Your token is \n([a-z-]+)\n/.exec(text);
        if (issued) expect([LOGIN, NODE1, NODE2]).toContain(asked.from);
      }),
      700,
    );
    // By the calendar a moment later than before, perhaps.
    const same = (body: string): string => body.replace(/"expiresAt":"[^"]*"/, '');
    for (const [i, token] of secrets.entries())
      expect(same((await api(port, 'GET', `/tokens/${token}`)).body)).toBe(same(known[i] ?? ''));
  },
  PATIENCE_MS,
);
