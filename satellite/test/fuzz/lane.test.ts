import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { duplexPair } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { responseHeaders } from '../../src/dataplane/node/headers.ts';
import { Chunks } from '../../src/dataplane/node/lane/chunks.ts';
import { RequestHead } from '../../src/dataplane/node/lane/request-head.ts';
import { ResponseHead } from '../../src/dataplane/node/lane/response-head.ts';
import { inspectRequest } from '../../src/gate/hygiene.ts';
import { holds, PATIENCE_MS } from './support.ts';

/*
 * The lane's own parsers beside Node's: what they take, Node takes, and understands the same.
 */

const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');

/** Text in which a byte or a few are missing, doubled, or others. */
const damaged = (text: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc
    .tuple(
      text,
      fc.array(
        fc.record({
          at: fc.nat(400),
          cut: fc.nat(3),
          put: fc.oneof(
            fc.constantFrom(
              '',
              '\r',
              '\n',
              '\r\n',
              ' ',
              '\t',
              ':',
              '\0',
              '#',
              '\x7f',
              '_',
              ',',
              ';',
              '0',
              '\xff',
            ),
            fc.string({ unit: 'binary-ascii', maxLength: 3 }),
          ),
        }),
        { maxLength: 2 },
      ),
    )
    .map(([whole, damages]) =>
      damages.reduce((now, { at, cut, put }) => {
        const place = at % (now.length + 1);
        return now.slice(0, place) + put + now.slice(place + cut);
      }, whole),
    );

const fieldName = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom('Cookie', 'Accept', 'X-Plain', 'User-Agent', 'priority', 'TeX', 'x-y'),
  },
  fc.constantFrom(
    'Connection',
    'Keep-Alive',
    'Content-Length',
    'Transfer-Encoding',
    'Upgrade',
    'Expect',
    'TE',
    'Trailer',
    'Forwarded',
    'X-Forwarded',
    'X-Forwarded-For',
    'x-forwarded-proto',
    'X-Real-IP',
    'X-Scheme',
    'Proxy-Authorization',
    'Date',
    'Strict-Transport-Security',
    'Host',
  ),
);
const fieldValue = fc.oneof(
  fc.constantFrom(
    '',
    'close',
    'keep-alive',
    'X-Plain, close',
    '5',
    '05',
    '5, 5',
    'chunked',
    'a.test',
    '10.0.0.1',
    'timeout=5',
  ),
  fc.string({ unit: 'grapheme-ascii', maxLength: 20 }),
  fc.constant('caf\xe9\tau lait'),
);
const field = fc
  .tuple(fieldName, fc.constantFrom(': ', ':', ':  ', ':\t'), fieldValue, fc.constantFrom('', '', ' '))
  .map((parts) => `${parts.join('')}\r\n`);

const requestText = fc
  .tuple(
    fc.constantFrom('GET', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'BREW', 'get'),
    fc.constantFrom(
      '/',
      '/a?b=%2F#c',
      '/lab/tree/x y',
      '/api/%2e%2e/;|"<>\\^`{}',
      '//x',
      '*',
      'http://b.test/',
    ),
    fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0'),
    fc.array(field, { maxLength: 5 }),
  )
  .map(
    ([method, target, version, fields]) =>
      `${method} ${target} ${version}\r\nHost: a.test\r\n${fields.join('')}\r\n`,
  );

/** What Node's server makes of it. */
async function byNode(bytes: Buffer): Promise<IncomingMessage | undefined> {
  const server = createServer({ requireHostHeader: false });
  const [here, there] = duplexPair();
  const heard = Promise.withResolvers<IncomingMessage | undefined>();
  server.on('request', (request) => heard.resolve(request));
  server.on('upgrade', () => heard.resolve(undefined));
  server.on('checkContinue', (request) => heard.resolve(request));
  server.on('clientError', () => heard.resolve(undefined));
  server.emit('connection', there);
  there.on('close', () => heard.resolve(undefined));
  here.on('error', () => undefined);
  here.end(bytes);
  const request = await heard.promise;
  here.destroy();
  there.destroy();
  return request;
}

const staysBehind = /^(?:connection|keep-alive|forwarded|x-forwarded(?:-.*)?|x-real-ip|x-scheme)$/i;

const pairs = (flat: readonly string[]): string[] =>
  flat.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${flat[i + 1]}`] : []));

describe("a request's head", () => {
  test(
    'that is taken is one to Node and to the gate, too, and goes on as it came',
    async () => {
      let taken = 0;
      await holds(
        fc.asyncProperty(damaged(requestText), async (text) => {
          const bytes = bytesOf(text);
          const head = new RequestHead();
          if (!head.read(bytes)) return;
          taken += 1;
          const request = await byNode(bytes.subarray(0, head.end));
          expect(request && [request.method, request.url]).toEqual([head.method, head.target]);
          if (request === undefined) return;
          expect(inspectRequest(request)).toBeUndefined();
          expect(request.headers.host).toBe(head.host);
          expect(Number(request.headers['content-length'] ?? 0)).toBe(head.contentLength);
          expect(/close/i.test(request.headers.connection ?? '')).toBe(head.closes);
          let onward = '';
          for (let i = 0; i < head.runs.length; i += 2)
            onward += bytes.toString('latin1', head.runs[i], head.runs[i + 1]);
          const passed = await byNode(bytesOf(`${onward}\r\n`));
          expect(passed && [passed.method, passed.url]).toEqual([head.method, head.target]);
          const kept = pairs(request.rawHeaders).filter(
            (line) => !staysBehind.test(line.split(':', 1)[0] ?? ''),
          );
          expect(pairs(passed?.rawHeaders ?? [])).toEqual(kept);
        }),
        1500,
      );
      expect(taken).toBeGreaterThan(50);
    },
    PATIENCE_MS,
  );

  test('is none before its last byte has come', async () => {
    await holds(
      fc.asyncProperty(requestText, async (text) => {
        const bytes = bytesOf(text);
        const head = new RequestHead();
        for (let i = 0; i < bytes.length; i += 1) expect(head.read(bytes.subarray(0, i))).toBe(false);
      }),
      100,
    );
  });
});

const responseText = fc
  .tuple(
    fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/1.2', 'ICY'),
    fc.constantFrom(
      '200 OK',
      '204 No Content',
      '205 Reset',
      '304',
      '404 Not Found',
      '599 ',
      '099 x',
      '1000 x',
      '200 caf\xe9',
    ),
    fc.array(field, { maxLength: 5 }),
  )
  .map(([version, status, fields]) => `${version} ${status}\r\n${fields.join('')}\r\n`);

/** What Node's client makes of it, with its body where it takes one. */
async function byNodesClient(
  bytes: Buffer,
): Promise<{ response: IncomingMessage; body?: string } | undefined> {
  const [here, there] = duplexPair();
  const heard = Promise.withResolvers<{ response: IncomingMessage; body?: string } | undefined>();
  const outgoing = httpRequest({ createConnection: () => here as never });
  outgoing.on('error', () => heard.resolve(undefined));
  outgoing.on('response', (response) => {
    response.toArray().then(
      (chunks) => heard.resolve({ response, body: Buffer.concat(chunks).toString('latin1') }),
      () => heard.resolve({ response }),
    );
  });
  outgoing.end();
  there.on('error', () => undefined);
  there.once('data', () => there.end(bytes));
  const result = await heard.promise;
  here.destroy();
  there.destroy();
  return result;
}

describe("an answer's head", () => {
  test(
    'that is taken is one to Node, too, and goes on like those of other ways',
    async () => {
      let taken = 0;
      await holds(
        fc.asyncProperty(damaged(responseText), fc.boolean(), async (text, hsts) => {
          const bytes = bytesOf(text);
          const head = new ResponseHead(hsts);
          if (head.read(bytes, 0, bytes.length) !== 'whole' || head.status < 200) return;
          taken += 1;
          const heard = await byNodesClient(bytes.subarray(0, head.end));
          expect(heard?.response.statusCode).toBe(head.status);
          const { rawHeaders = [] } = heard?.response ?? {};
          const visit = { client: { address: '127.0.0.1' }, proto: 'https' as const };
          const others = responseHeaders(rawHeaders, visit, hsts ? 'x' : undefined, head.status);
          const lines = head.text.split('\r\n').slice(1, -1);
          expect(lines.map((line) => line.replace(/^([^:]*):[ \t]*(.*?)[ \t]*$/s, '$1: $2'))).toEqual(
            pairs(hsts ? others.slice(0, -2) : others),
          );
        }),
        1500,
      );
      expect(taken).toBeGreaterThan(50);
    },
    PATIENCE_MS,
  );

  test('is whole with its last byte, and incomplete before', async () => {
    await holds(
      fc.asyncProperty(responseText, async (text) => {
        const bytes = bytesOf(text);
        const head = new ResponseHead(false);
        if (head.read(bytes, 0, bytes.length) !== 'whole') return;
        for (let i = 0; i < bytes.length; i += 1) expect(head.read(bytes, 0, i)).toBe('incomplete');
      }),
      100,
    );
  });
});

/** A chunked body, and what is in it. */
const chunked = fc
  .tuple(
    fc.array(
      fc.tuple(
        fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 40 }),
        fc.constantFrom('', ';a=b', ';x'),
      ),
      {
        maxLength: 4,
      },
    ),
    fc.constantFrom('', 'X-Sum: 1\r\n'),
  )
  .map(([chunks, trailer]) => ({
    text: `${chunks.map(([data, extension]) => `${data.length.toString(16)}${extension}\r\n${data}\r\n`).join('')}0\r\n${trailer}\r\n`,
    data: chunks.map(([data]) => data).join(''),
  }));

/** Reads a body that comes in pieces; undefined where it makes no sense or doesn't end. */
function dechunked(text: string, cuts: readonly number[]): { data: string; rest: number } | undefined {
  const chunks = new Chunks();
  const places = [...new Set(cuts.map((cut) => cut % (text.length + 1)))].sort((a, b) => a - b);
  let data = '';
  let from = 0;
  for (const to of [...places, text.length]) {
    const piece = bytesOf(text.slice(from, to));
    const { end, rest } = chunks.read(piece, 0, piece.length);
    data += piece.toString('latin1', 0, end);
    from = to;
    if (chunks.isWhole) return { data, rest: rest + text.length - to };
    if (chunks.isBroken) return undefined;
  }
  return undefined;
}

describe('a chunked body', () => {
  test('is the same wherever it is cut', async () => {
    await holds(
      fc.asyncProperty(chunked, fc.array(fc.nat(), { maxLength: 9 }), async ({ text, data }, cuts) => {
        expect(dechunked(`${text}more`, cuts)).toEqual({ data, rest: 4 });
        expect(dechunked(text.slice(0, -1), cuts)).toBeUndefined();
      }),
      500,
    );
  });

  test(
    'that is taken is one to Node, too, and the same',
    async () => {
      await holds(
        fc.asyncProperty(damaged(chunked.map(({ text }) => text)), async (text) => {
          const ours = dechunked(text, []);
          if (ours === undefined) return;
          const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
          const heard = await byNodesClient(bytesOf(head + text.slice(0, text.length - ours.rest)));
          expect(heard?.body).toBe(ours.data);
        }),
        1000,
      );
    },
    PATIENCE_MS,
  );
});
