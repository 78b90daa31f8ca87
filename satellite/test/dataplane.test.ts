import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createTcpServer, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describe, expect, test } from 'vitest';
import { haproxyIs } from './differences.ts';
import {
  api,
  ask,
  begin,
  bodyOf,
  endOf,
  engine,
  freePort,
  lastAnswer,
  listenOn,
  NODE1,
  notebook,
  OUTSIDE,
  type Protocol,
  protocols,
  redeemed,
  satelliteOver,
  shareHaproxy,
  siteHost,
  visit,
  wire,
} from './support.ts';

shareHaproxy();

/** A notebook that says what it was asked. */
const echo = (request: IncomingMessage, response: ServerResponse): void => {
  const hash = createHash('sha256');
  let size = 0;
  request.on('data', (chunk: Buffer) => {
    size += chunk.length;
    hash.update(chunk);
  });
  request.on('end', () => {
    const { method, url, headers, rawHeaders } = request;
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ method, url, headers, rawHeaders, size, sha256: hash.digest('hex') }));
  });
};

interface Echoed {
  method: string;
  url: string;
  headers: Record<string, string>;
  rawHeaders: string[];
  size: number;
  sha256: string;
}

/** A live site on a real server. */
async function live(
  listener: (request: IncomingMessage, response: ServerResponse) => void,
  protocol: Protocol = 'HTTP/1.1',
) {
  const upstream = await notebook(listener);
  const { port } = await satelliteOver(protocol);
  const token = await redeemed(port, upstream.port);
  return { port, token, upstream };
}

/** A live site on a server that speaks bytes. */
async function liveRaw(onConnection: (socket: Socket) => void, limits = {}, protocol: Protocol = 'HTTP/1.1') {
  // The proxy's own probe connects too, and says nothing.
  const target = await listenOn(
    createTcpServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => undefined);
      onConnection(socket);
    }),
  );
  const { port } = await satelliteOver(protocol, { limits });
  const token = await redeemed(port, target);
  return { port, token };
}

/** Calls back with each socket that sends something, and the first of it. */
const onFirstData =
  (callback: (socket: Socket, text: string) => void) =>
  (socket: Socket): void => {
    socket.on('error', () => undefined);
    socket.once('data', (data) => callback(socket, data.toString('latin1')));
  };

/** Asks a site as somebody from outside. */
const visitor = (token: string) => ({ host: siteHost(token), from: OUTSIDE });

describe('over HTTP/1.1', () => {
  test('a fragment, which no browser sends, is refused as over HTTP/2', async () => {
    const { port, token } = await live(echo);
    expect((await visit(port, token, { path: '/a?b#c' })).status).toBe(400);
  });

  test('fields of the connection stay behind, also those that Connection names', async () => {
    const { port, token } = await live(echo);
    const client = await wire(port);
    client.send(
      [
        'GET / HTTP/1.1',
        `Host: ${siteHost(token)}`,
        'Connection: close, X-Secret, X-Forwarded-For, Host',
        'X-Secret: 1',
        'Keep-Alive: timeout=1',
        'TE: trailers',
        'Trailer: X-Sum',
        'Proxy-Authorization: Basic eA==',
        'Proxy-Connection: keep-alive',
        'Upgrade: h2c',
        'X-Plain: kept',
        'x-odd-CASE: Kept',
        'X-Twice: 1',
        'X-Twice: 2',
        '',
        '',
      ].join('\r\n'),
    );
    const text = await client.ended();
    const { rawHeaders, headers } = JSON.parse(text.slice(text.indexOf('{'))) as Echoed;
    expect(Object.keys(headers).toSorted()).toEqual([
      'connection',
      'forwarded',
      'host',
      'x-forwarded-for',
      'x-forwarded-host',
      'x-forwarded-port',
      'x-forwarded-proto',
      'x-odd-case',
      'x-plain',
      'x-real-ip',
      'x-twice',
    ]);
    expect(rawHeaders).toEqual(expect.arrayContaining(['x-odd-CASE', 'Kept']));
    expect(headers['x-twice']).toBe('1, 2');
    expect(headers['x-forwarded-for']).toBe(OUTSIDE);
  });

  test('Expect: 100-continue is answered once the notebook is there, and only then', async () => {
    const { port, token } = await live(echo);
    const client = await wire(port);
    client.send(
      `POST / HTTP/1.1\r\nHost: ${siteHost(token)}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n`,
    );
    await client.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    client.send('hello');
    expect(await client.until(/"size":5/)).toMatch(/HTTP\/1\.1 200 OK/);

    const nobody = await redeemed(port, await freePort());
    const refused = await wire(port);
    refused.send(
      `POST / HTTP/1.1\r\nHost: ${siteHost(nobody)}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n`,
    );
    expect(await lastAnswer(refused)).toMatch(/^HTTP\/1\.1 503 /);
  });

  describe('a notebook that answers before the body is over', () => {
    /** Has sent a third of its body when the answer is there. */
    async function answeredEarly() {
      const { port, token } = await live((incoming, response) => {
        if (incoming.url === '/next') response.end('next');
        else response.writeHead(413, { 'Content-Length': '9' }).end('too large');
      });
      const client = await wire(port);
      const host = siteHost(token);
      client.send(`POST / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 300000\r\n\r\n${'x'.repeat(100_000)}`);
      await client.until(/HTTP\/1\.1 413 [\s\S]*too large$/);
      return { client, host };
    }

    test('is heard', async () => {
      await answeredEarly();
    });

    test('ends no connection', async () => {
      const { client, host } = await answeredEarly();
      client.send('x'.repeat(200_000));
      client.send(`GET /next HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      expect(await client.ended()).toMatch(/HTTP\/1\.1 200 OK[\s\S]*next$/);
    });
  });

  test("status line, fields and body are the notebook's own", async () => {
    const { port, token } = await liveRaw(
      onFirstData((socket) => {
        socket.end(
          'HTTP/1.1 299 Quite Fine\r\nX-Latin: caf\xe9\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nDate: then\r\n' +
            'Connection: X-Inner, close\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 4\r\n\r\n\x00\xff\r\n',
          'latin1',
        );
      }),
    );
    const client = await wire(port);
    client.send(`GET / HTTP/1.1\r\nHost: ${siteHost(token)}\r\nConnection: close\r\n\r\n`);
    expect(await client.ended()).toBe(
      'HTTP/1.1 299 Quite Fine\r\nX-Latin: caf\xe9\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nDate: then\r\n' +
        'Content-Length: 4\r\nConnection: close\r\n\r\n\x00\xff\r\n',
    );
  });
});

describe.each(protocols)('%s', (protocol) => {
  describe('a request on its way in', () => {
    test.each([
      '/a%2Fb/%2e%2e/c?x=%20&y=+&z=%C3%A9',
      '/lab/tree/;v=1//double?token=abc&&empty=',
      '/%zz?%',
      '/api/contents/Notebook%201.ipynb?content=0&1632=',
      '/it\'s(all)[right]{here}|^`"<>',
    ])('path and query pass byte for byte: %s', async (path) => {
      const { port, token } = await live(echo, protocol);
      expect((await visit(port, token, { path })).json<Echoed>().url).toBe(path);
    });

    test('Host is passed on, with its port and as it was spelled', async () => {
      const { port, token } = await live(echo, protocol);
      const host = `${token.toUpperCase()}.sites.TEST:8443`;
      expect((await visit(port, token, { host })).json<Echoed>().headers.host).toBe(host);
    });

    test('what strangers claim about themselves is replaced', async () => {
      const { port, token } = await live(echo, protocol);
      const answer = await visit(port, token, {
        headers: {
          'X-Forwarded-For': '6.6.6.6, 7.7.7.7',
          'X-Forwarded-Proto': 'gopher',
          'X-Forwarded-Host': 'evil.test',
          'X-Forwarded-Port': '666',
          'X-Forwarded-Prefix': '/evil',
          'X-Real-IP': '6.6.6.6',
          X_Forwarded_For: '6.6.6.6',
          'X-Scheme': 'gopher',
          Forwarded: 'for=6.6.6.6',
        },
      });
      const { headers } = answer.json<Echoed>();
      const proto = protocol === 'HTTP/2' ? 'https' : 'http';
      // A name may hold such a word itself.
      expect(answer.body.replaceAll(token, '')).not.toMatch(/6\.6\.6\.6|7\.7\.7\.7|evil|666|gopher/);
      expect(headers).toMatchObject({
        'x-forwarded-for': OUTSIDE,
        'x-forwarded-proto': proto,
        'x-forwarded-host': siteHost(token),
        'x-forwarded-port': proto === 'https' ? '443' : '80',
        'x-real-ip': OUTSIDE,
        forwarded: `for=${OUTSIDE};proto=${proto};host="${siteHost(token)}"`,
      });
    });

    test('a trusted proxy is believed, and strangers behind it are not', async () => {
      const upstream = await notebook(echo);
      const { port } = await satelliteOver(protocol, { trustedProxies: ['127.0.0.9/32', '10.9.0.0/16'] });
      const token = await redeemed(port, upstream.port);
      const headers = {
        'X-Forwarded-For': '6.6.6.6, 198.51.100.7, 10.9.1.1',
        'X-Forwarded-Proto': protocol === 'HTTP/2' ? 'http' : 'https',
        'X-Forwarded-Port': '8443',
      };
      const believed = (await visit(port, token, { headers, from: '127.0.0.9' })).json<Echoed>().headers;
      expect(believed).toMatchObject({
        'x-forwarded-for': '198.51.100.7',
        'x-real-ip': '198.51.100.7',
        'x-forwarded-proto': headers['X-Forwarded-Proto'],
        'x-forwarded-port': '8443',
      });
      const stranger = (await visit(port, token, { headers, from: '127.0.0.8' })).json<Echoed>().headers;
      expect(stranger['x-forwarded-for']).toBe('127.0.0.8');
      expect(stranger['x-forwarded-proto']).not.toBe(headers['X-Forwarded-Proto']);
      for (const unclear of ['unknown', '198.51.100.7%00']) {
        const { status } = await visit(port, token, {
          headers: { 'X-Forwarded-For': unclear },
          from: '127.0.0.9',
        });
        expect(status, unclear).toBe(400);
      }
    });

    test('a large body arrives whole, with and without a length', async () => {
      const pieces = engine === 'node' ? 120 : 40;
      const { port, token } = await live(echo, protocol);
      const piece = randomBytes(1024 * 1024);
      const expected = createHash('sha256');
      for (let i = 0; i < pieces; i += 1) expected.update(piece);
      const sha256 = expected.digest('hex');
      for (const headers of [{ 'Content-Length': String(pieces * piece.length) }, {}]) {
        const { sender, head } = await begin(port, {
          ...visitor(token),
          method: 'PUT',
          path: '/api/contents/big',
          headers,
        });
        await pipeline(
          Readable.from(
            (function* () {
              for (let i = 0; i < pieces; i += 1) yield piece;
            })(),
          ),
          sender,
        );
        const { size, sha256: got } = JSON.parse(String(await bodyOf(await head))) as Echoed;
        expect({ size, sha256: got }).toEqual({ size: pieces * piece.length, sha256 });
      }
    });

    test('a notebook that reads slowly holds the sender back', async () => {
      const resume = Promise.withResolvers<void>();
      const { port, token } = await live((incoming, response) => {
        incoming.pause();
        void resume.promise.then(() => {
          incoming.resume();
          incoming.on('end', () => response.end('done'));
        });
      }, protocol);
      const { sender, head } = await begin(port, { ...visitor(token), method: 'POST' });
      // Writes until nothing has moved for a while: buffers on the way are finite, so the sender has to come to a stop.
      const piece = Buffer.alloc(1024 * 1024);
      let sent = 0;
      for (;;) {
        sent += 1;
        expect(sent).toBeLessThan(200);
        if (sender.write(piece)) continue;
        const drained = await Promise.race([
          once(sender, 'drain').then(() => true),
          new Promise<false>((resolve) => setTimeout(resolve, 500, false)),
        ]);
        if (!drained) break;
      }
      resume.resolve();
      sender.end();
      expect(String(await bodyOf(await head))).toBe('done');
    });

    test('that breaks off never looks whole to the notebook', async () => {
      const outcomes: string[] = [];
      const first = Promise.withResolvers<void>();
      const over = Promise.withResolvers<void>();
      const { port, token } = await live((incoming, response) => {
        incoming.on('data', () => first.resolve());
        incoming.on('end', () => outcomes.push('whole'));
        incoming.on('error', () => undefined);
        response.on('close', over.resolve);
      }, protocol);
      for (const headers of [{ 'Content-Length': '10' }, {}]) {
        const { sender, leave } = await begin(port, { ...visitor(token), method: 'POST', headers });
        sender.write('half');
        await first.promise;
        leave();
        await over.promise;
      }
      expect(outcomes).toEqual([]);
    });
  });

  describe('an answer on its way out', () => {
    test('events arrive as they are sent, and headers before any of them', async () => {
      const go = Promise.withResolvers<ServerResponse>();
      const { port, token } = await live((_request, response) => {
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        response.flushHeaders();
        go.resolve(response);
      }, protocol);
      const { sender, head } = await begin(port, { ...visitor(token), path: '/events' });
      sender.end();
      const upstream = await go.promise;
      const { reader, headers } = await head;
      expect(headers['content-type']).toBe('text/event-stream');
      for (const event of ['one', 'two']) {
        upstream.write(`data: ${event}\n\n`);
        const [chunk] = await once(reader, 'data');
        expect(String(chunk)).toBe(`data: ${event}\n\n`);
      }
    });

    test('ranges, early hints, trailers, HEAD and 304 pass', async () => {
      const { port, token } = await live((incoming, response) => {
        if (incoming.url === '/range') {
          response.writeHead(206, { 'Content-Range': 'bytes 2-4/10' }).end(`got ${incoming.headers.range}`);
        } else if (incoming.url === '/hints') {
          response.writeEarlyHints({ link: '</style.css>; rel=preload' }, () => response.end('after'));
        } else if (incoming.url === '/trailers') {
          response.writeHead(200, { 'Transfer-Encoding': 'chunked' });
          response.write('body');
          response.addTrailers({ 'X-Sum': '42' });
          response.end();
        } else if (incoming.url === '/304') {
          response.writeHead(304, { ETag: '"x"' }).end();
        } else {
          response.writeHead(200, { 'Content-Length': '1234' }).end();
        }
      }, protocol);
      const range = await visit(port, token, { path: '/range', headers: { Range: 'bytes=2-4' } });
      expect([range.status, range.headers['content-range'], range.body]).toEqual([
        206,
        'bytes 2-4/10',
        'got bytes=2-4',
      ]);
      expect((await visit(port, token, { path: '/304' })).status).toBe(304);
      const head = await visit(port, token, { path: '/', method: 'HEAD' });
      expect([head.headers['content-length'], head.body]).toEqual(['1234', '']);
      const fetched = async (path: string) => {
        const begun = await begin(port, { ...visitor(token), path, headers: { TE: 'trailers' } });
        begun.sender.end();
        const head = await begun.head;
        return { ...begun, body: String(await bodyOf(head)), trailers: head.trailers() };
      };
      const hinted = await fetched('/hints');
      expect([hinted.body, hinted.hints]).toEqual([
        'after',
        [{ status: 103, headers: expect.objectContaining({ link: '</style.css>; rel=preload' }) }],
      ]);
      const summed = await fetched('/trailers');
      expect([summed.body, summed.trailers['x-sum']]).toEqual(['body', '42']);
    });

    test('a visitor who reads slowly holds the notebook back', async () => {
      const piece = Buffer.alloc(1024 * 1024, 'x');
      const pieces = engine === 'node' ? 300 : 130;
      let sent = 0;
      const stuck = Promise.withResolvers<void>();
      const { port, token } = await live(async (_request, response) => {
        response.writeHead(200, { 'Content-Length': String(pieces * piece.length) });
        for (; sent < pieces; sent += 1) {
          if (response.write(piece)) continue;
          const drained = once(response, 'drain').then(() => true);
          if (!(await Promise.race([drained, new Promise<false>((done) => setTimeout(done, 500, false))]))) {
            stuck.resolve();
            await drained;
          }
        }
        response.end();
      }, protocol);
      const { sender, head } = await begin(port, visitor(token));
      sender.end();
      const { reader } = await head;
      await stuck.promise;
      expect(sent).toBeLessThan(100);
      let received = 0;
      for await (const chunk of reader) received += chunk.length;
      expect(received).toBe(pieces * piece.length);
    });

    test.each([
      ['with a length', 'Content-Length: 100\r\n\r\nonly this', 'reset'],
      ['with a length', 'Content-Length: 100\r\n\r\nonly this', 'end'],
      ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n', 'reset'],
      ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n', 'end'],
      ['up to the end of the connection', '\r\nonly this', 'reset'],
    ])('an answer %s that breaks off never looks complete (%s, %s)', async (_how, beginning, end) => {
      const begun = Promise.withResolvers<Socket>();
      const { port, token } = await liveRaw(
        onFirstData((socket) => {
          socket.write(`HTTP/1.1 200 OK\r\n${beginning}`, () => begun.resolve(socket));
        }),
        {},
        protocol,
      );
      const { sender, head } = await begin(port, visitor(token));
      sender.end();
      const { reader } = await head;
      const [chunk] = await once(reader, 'data');
      expect(String(chunk)).toBe('only this');
      const isWhole = endOf(reader);
      const socket = await begun.promise;
      if (end === 'reset') socket.resetAndDestroy();
      else socket.end();
      expect(await isWhole).toBe(false);
    });

    test('an answer up to the end of the connection is whole where that ends in order', async () => {
      const { port, token } = await liveRaw(
        onFirstData((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\nall of it')),
        {},
        protocol,
      );
      expect((await visit(port, token)).body).toBe('all of it');
    });

    test('a visitor who leaves is reported to the notebook', async () => {
      const left = Promise.withResolvers<void>();
      const { port, token } = await live((_request, response) => {
        response.on('close', () => left.resolve());
        response.write('first');
      }, protocol);
      const { sender, head, leave } = await begin(port, visitor(token));
      sender.end();
      await once((await head).reader, 'data');
      leave();
      await left.promise;
    });

    test("a kept-alive connection that the notebook has just closed is not the visitor's trouble", async () => {
      let connections = 0;
      const { port, token } = await liveRaw(
        (socket) => {
          socket.on('error', () => undefined);
          let requests = 0;
          socket.on('data', () => {
            if (requests === 0) connections += 1;
            requests += 1;
            if (requests > 1) socket.resetAndDestroy();
            else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
          });
        },
        {},
        protocol,
      );
      // Of what isn't a page HAProxy says that it is to be asked again, over HTTP/2 (REFUSED_STREAM).
      for (let i = 0; i < 3; i += 1)
        expect((await visit(port, token, { headers: { Accept: 'text/html' } })).body).toBe('ok');
      expect(connections).toBe(3);
    });
  });

  describe('a notebook that does not answer', () => {
    const page = { Accept: 'text/html,*/*;q=0.8' };

    test('not listening yet: the start goes on, with 503', async () => {
      const { port } = await satelliteOver(protocol);
      const token = await redeemed(port, await freePort());
      const answer = await visit(port, token, { headers: page });
      expect([answer.status, answer.headers['content-type']]).toEqual([503, 'text/html']);
      expect(answer.body).toContain('Starting Jupyter');
      expect((await visit(port, token)).headers['content-type']).toBe('text/plain');
    });

    test('no longer listening: 502, as a page for people and as text for programs', async () => {
      const { port, token, upstream } = await live(echo, protocol);
      expect((await visit(port, token)).status).toBe(200);
      upstream.closeAllConnections();
      upstream.close();
      await once(upstream, 'close');
      const answer = await visit(port, token, { headers: page });
      expect([answer.status, answer.headers['content-type']]).toEqual([502, 'text/html']);
      const plain = await visit(port, token, { headers: { Accept: 'text/plain' } });
      expect([plain.status, plain.headers['content-type'], plain.body]).toEqual([
        502,
        'text/plain',
        'The compute node refuses the connection.\n',
      ]);
    });

    test('breaking off before the answer: 502; silent: 504', async () => {
      const breaking = await liveRaw(
        onFirstData((socket) => socket.resetAndDestroy()),
        {},
        protocol,
      );
      expect((await visit(breaking.port, breaking.token, { headers: page })).status).toBe(502);
      const silent = await liveRaw(() => undefined, { answerTime: '1s' }, protocol);
      expect((await visit(silent.port, silent.token)).status).toBe(504);
    });

    test('speaking something else: 502', async () => {
      const { port, token } = await liveRaw(
        onFirstData((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n')),
        {},
        protocol,
      );
      expect((await visit(port, token)).status).toBe(502);
    });
  });

  describe('the end of a token', () => {
    test('closes what is open at once, and nothing else', async () => {
      const upstream = await notebook((_request, response) => void response.write('open'));
      const { port } = await satelliteOver(protocol);
      const [ended, other] = [await redeemed(port, upstream.port), await redeemed(port, upstream.port)];
      const open = async (token: string) => {
        const { sender, head } = await begin(port, visitor(token));
        sender.end();
        const { reader } = await head;
        await once(reader, 'data');
        return { over: endOf(reader), reader };
      };
      const [first, second] = [await open(ended), await open(other)];
      expect((await api(port, 'DELETE', `/tokens/${ended}`, undefined, NODE1)).status).toBe(204);
      // Before HAProxy 2.8 a stream ends as if all had been said.
      const isWhole = engine === 'haproxy' && protocol === 'HTTP/2' && haproxyIs({ before: '2.8' });
      expect([await first.over, second.reader.closed]).toEqual([isWhole, false]);
      expect((await visit(port, ended)).status).toBe(410);
      expect((await ask(port, { path: `/tokenjobstate.cgi?token=${other}` })).body).toBe('PR');
    });
  });
});
