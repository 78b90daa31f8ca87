import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ClientHttp2Stream } from 'node:http2';
import { createServer, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import type { SatelliteConfigInput } from '../src/config.ts';
import type { LogEntry, StartOptions } from '../src/index.ts';
import { block, CODE, END_HEADERS, END_STREAM, Frames, frame, TYPE } from './frames.ts';
import {
  api,
  ask,
  beginHttp2,
  bodyOf,
  DOMAIN,
  engine,
  issue,
  LOGIN,
  listenOn,
  NODE1,
  notebook,
  redeemed,
  satellite,
  satelliteOver,
  secureWire,
  session,
  siteHost,
  still,
  visit,
  Wire,
} from './support.ts';

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

/** A live site on a real server. */
async function live(
  listener: Listener,
  config: Partial<SatelliteConfigInput> = {},
  options: StartOptions = {},
) {
  const upstream = await notebook(listener);
  const { port } = await satelliteOver('HTTP/2', config, options);
  const token = await redeemed(port, upstream.port);
  return { port, token, upstream, host: siteHost(token) };
}

/** A live site whose notebook sends these bytes to every request. */
async function answering(bytes: string, then: (socket: Socket) => void = () => undefined) {
  const target = await listenOn(
    createServer((socket: Socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => socket.write(bytes, 'latin1', () => then(socket)));
    }),
  );
  const { port } = await satelliteOver('HTTP/2');
  return { port, token: await redeemed(port, target) };
}

/** A connection of frames to a site. */
const frames = async (port: number, host: string) => new Frames(await secureWire(port, host));

const get = (host: string, path = '/'): [string, string][] => [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', host],
  [':path', path],
];

const request = (stream: number, fields: readonly (readonly [string, string])[]): Buffer =>
  frame(TYPE.headers, END_HEADERS | END_STREAM, stream, block(fields));

/** Sends a GET on a connection that may carry others. */
function fetchOn(...[on, ask]: Parameters<typeof beginHttp2>) {
  const begun = beginHttp2(on, ask);
  begun.sender.end();
  return begun;
}

async function textOn(...args: Parameters<typeof beginHttp2>): Promise<string> {
  return String(await bodyOf(await fetchOn(...args).head));
}

/** Resolves at the end of a stream, whatever brings that about. */
const closed = (stream: ClientHttp2Stream): Promise<void> =>
  new Promise((resolve) => stream.on('close', resolve));

describe('requests that say something odd', () => {
  /** Changes one of the four pseudo-header fields, or adds fields. */
  const fields: [what: string, expected: RegExp, change: (host: string) => [string, string][]][] = [
    ...[' ', '/a b', '/a\tb', '/a#b', '/caf\xe9', '/a\x7f', '*', '', 'a', 'http://manage.sites.test/'].map(
      (path): (typeof fields)[number] => [
        `the path ${JSON.stringify(path)}`,
        /^(reset 1|400)$/,
        (host) => get(host, path),
      ],
    ),
    ['OPTIONS *', /^400$/, (host) => [[':method', 'OPTIONS'], ...get(host, '*').slice(1)]],
    [
      'CONNECT',
      /^400$/,
      (host) => [
        [':method', 'CONNECT'],
        [':authority', host],
      ],
    ],
    [
      'CONNECT for a WebSocket, which is not on offer',
      /^reset 1$/,
      (host) => [[':method', 'CONNECT'], [':protocol', 'websocket'], ...get(host).slice(1)],
    ],
    ['a method that is none', /^400$/, (host) => [[':method', 'FROB'], ...get(host).slice(1)]],
    ['a method of two words', /^reset 1$/, (host) => [[':method', 'GET /'], ...get(host).slice(1)]],
    ['the wrong scheme', /^400$/, (host) => [[':method', 'GET'], [':scheme', 'http'], ...get(host).slice(2)]],
    ['another Host', /^400$/, (host) => [...get(host), ['host', `manage.${DOMAIN}`]]],
    ['two Hosts', /^reset 1$/, (host) => [...get(host), ['host', host], ['host', host]]],
    ['no host at all', /^reset 1$/, (host) => get(host).filter(([name]) => name !== ':authority')],
    ['somebody in the authority', /^reset 1$/, (host) => get(`somebody@${host}`)],
    ["somebody else's authority", /^421$/, () => get('evil.test')],
    ['the authority of another site', /^421$/, () => get(`manage.${DOMAIN}`)],
    ['two authorities', /^reset 1$/, (host) => [...get(host), [':authority', 'evil.test']]],
    ['a pseudo-header field too late', /^reset 1$/, (host) => [['x', 'y'], ...get(host)]],
    ['an unknown pseudo-header field', /^reset 1$/, (host) => [[':what', 'y'], ...get(host)]],
    ['a name in capitals', /^reset 1$/, (host) => [...get(host), ['X-Name', 'y']]],
    ...(
      [
        ['connection', 'close'],
        ['transfer-encoding', 'chunked'],
        ['upgrade', 'websocket'],
        ['keep-alive', 'timeout=5'],
        ['proxy-connection', 'keep-alive'],
        ['te', 'gzip'],
        ['content-length', '44'],
        ['content-length', '+0'],
        ['content_length', '4'],
        ['transfer_encoding', 'chunked'],
      ] as const
    ).map(([name, value]): (typeof fields)[number] => [
      `${name}: ${value}`,
      name.includes('_') ? /^400$/ : /^reset 1$/,
      (host) => [...get(host), [name, value]],
    ]),
  ];

  test.each(fields)('%s: refused, and the connection goes on', async (_what, expected, change) => {
    const seen: string[] = [];
    const log: LogEntry[] = [];
    const { port, host } = await live(
      (incoming, response) => {
        seen.push(incoming.url ?? '');
        response.end();
      },
      {},
      { log: (entry) => log.push(entry) },
    );
    const wire = await frames(port, host);
    wire.send(request(1, change(host)));
    const outcome = await wire.outcome(1);
    // HAProxy answers where satellite resets, and the other way round.
    expect(outcome).toMatch(engine === 'node' ? expected : /^(reset 1|4\d\d)$/);
    wire.send(request(3, get(host, '/next')));
    expect(await wire.outcome(3)).toBe('200');
    expect(seen).toEqual(['/next']);
    // By the proxy, that is: a notebook in Node would refuse some of these as well.
    const isSaid = ({ event, status }: LogEntry): boolean =>
      event === 'refused' || (engine === 'haproxy' && (event === 'unreadable' || status === 400));
    if (!outcome.startsWith('reset')) await expect.poll(() => log.some(isSaid)).toBe(true);
  });

  test('fields that end others or hold nonsense reach nobody', async () => {
    const { port, host } = await live((incoming, response) => {
      response.end(JSON.stringify(incoming.rawHeaders));
    });
    const wire = await frames(port, host);
    const odd: [string, string][] = [
      ['x-one', 'a\r\nx-smuggled: b'],
      ['x-two', 'a\nx-smuggled: b'],
      ['x-three', 'a\0b'],
      ['x-four: x-smuggled', 'b'],
      ['x-five\r\nx-smuggled', 'b'],
      ['x six', 'b'],
      ['http2-settings', 'AAMA'],
      ['te', 'trailers'],
    ];
    for (const [i, field] of odd.entries()) {
      const stream = 2 * i + 1;
      wire.send(request(stream, [...get(host), field]));
      // HAProxy takes no request that has such a name or value.
      const isTaken = engine === 'node' || /^(te|http2-settings)$/.test(field[0]);
      expect(await wire.outcome(stream)).toBe(isTaken ? '200' : 'reset 1');
      if (!isTaken) continue;
      const { payload } = await wire.first(TYPE.data, stream);
      expect(String(payload).replaceAll(host, '')).not.toMatch(
        /smuggled|x-(one|two|three|four|five)|x six|http2|"te"/i,
      );
    }
  });

  test.each([
    ['too short', '10', ['half']],
    ['too long', '2', ['more']],
    ['too long by a second piece', '4', ['four', 'more']],
  ])('a body that is %s never looks whole', async (_what, length, pieces) => {
    let whole = 0;
    const { port, host } = await live((incoming, response) => {
      if (incoming.url === '/next') {
        response.end();
        return;
      }
      incoming.on('error', () => undefined);
      incoming.resume().on('end', () => {
        whole += 1;
        response.end();
      });
    });
    const wire = await frames(port, host);
    wire.send(
      frame(TYPE.headers, END_HEADERS, 1, block([...get(host), ['content-length', length]])),
      ...pieces.map((piece, i) => frame(TYPE.data, i === pieces.length - 1 ? END_STREAM : 0, 1, piece)),
    );
    // Node closes the whole connection if it is too long.
    expect(await wire.outcome(1).catch(() => 'closed')).toMatch(/^(reset 1|closed)$/);
    expect((await visit(port, host.split('.', 1)[0] as string, { path: '/next' })).status).toBe(200);
    expect(whole).toBe(0);
  });

  test.each([CODE.none, CODE.cancel])(
    'nor one that is taken back in the middle, with code %i',
    async (code) => {
      const outcome = Promise.withResolvers<string>();
      const begun = Promise.withResolvers<void>();
      const { port, host } = await live((incoming) => {
        incoming.on('error', () => undefined);
        incoming.once('data', () => begun.resolve());
        incoming.on('end', () => outcome.resolve('whole'));
        incoming.on('close', () => outcome.resolve('broken'));
      });
      const wire = await frames(port, host);
      wire.send(frame(TYPE.headers, END_HEADERS, 1, block(get(host))), frame(TYPE.data, 0, 1, 'half'));
      await begun.promise;
      wire.send(frame(TYPE.reset, 0, 1, Buffer.from([0, 0, 0, code])));
      expect(await outcome.promise).toBe('broken');
    },
  );
});

describe('a request on its way in', () => {
  const echo: Listener = (incoming, response) => {
    const { method, url, headers, headersDistinct } = incoming;
    const cookies = headersDistinct.cookie;
    incoming.resume().on('end', () => response.end(JSON.stringify({ method, url, headers, cookies })));
  };

  test('has one Host and one Cookie, however many pieces those came in', async () => {
    const { port, host } = await live(echo);
    const wire = await frames(port, host);
    const cookies = Array.from({ length: 200 }, (_, i): [string, string] => ['cookie', `c${i}=${i}`]);
    wire.send(request(1, [...get(host, '/a?b=%20'), ...cookies, ['cookie', 'x=y; z=1']]));
    expect(await wire.outcome(1)).toBe('200');
    const seen = JSON.parse(String((await wire.first(TYPE.data, 1)).payload));
    expect(seen).toMatchObject({ method: 'GET', url: '/a?b=%20', headers: { host } });
    expect(seen.cookies).toEqual([[...cookies.map(([, value]) => value), 'x=y; z=1'].join('; ')]);
    expect(seen.headers).not.toHaveProperty('transfer-encoding');
  });

  test('may name its host the old way, if it is the same', async () => {
    const { port, host } = await live(echo);
    const wire = await frames(port, host);
    const [method, scheme, , path] = get(host) as [
      [string, string],
      [string, string],
      [string, string],
      [string, string],
    ];
    wire.send(request(1, [method, scheme, path, ['host', host]]), request(3, [...get(host), ['host', host]]));
    expect([await wire.outcome(1), await wire.outcome(3)]).toEqual(['200', '200']);
  });

  test('waits for 100 Continue if it wants to', async () => {
    const { port, host } = await live(echo);
    const { stream, head } = beginHttp2(await session(port, host), {
      host,
      method: 'POST',
      headers: { expect: '100-continue', 'content-length': '5' },
    });
    await once(stream, 'continue');
    stream.end('hello');
    expect((await head).status).toBe(200);
  });

  test('is heard although the notebook answers before its body is over', async () => {
    const { port, host } = await live((incoming, response) => {
      if (incoming.url === '/next') response.end('next');
      else response.writeHead(413, { 'Content-Length': '9' }).end('too large');
    });
    const on = await session(port, host);
    const { sender, head } = beginHttp2(on, { host, method: 'POST' });
    sender.write(Buffer.alloc(50_000));
    expect((await head).status).toBe(413);
    expect(String(await bodyOf(await head))).toBe('too large');
    expect(await textOn(on, { host, path: '/next' })).toBe('next');
  });
});

describe('one connection', () => {
  test('says for which site it was made', async () => {
    const { port, host } = await live((_request, response) => response.end());
    const [origins] = await once(await session(port, host), 'origin');
    expect(origins).toEqual([`https://${host}:${port}`]);
  });

  test('serves the site that it was made for, and goes on after 421', async () => {
    const { port, host, token } = await live((_request, response) => response.end('the notebook'));
    const other = siteHost(
      await redeemed(port, (await notebook((_, response) => response.end('other'))).port),
    );
    const on = await session(port, host);
    expect(await textOn(on, { host: other })).toBe('This connection was made for another host.\n');
    expect((await fetchOn(on, { host: `${token}.evil.test` }).head).status).toBe(421);
    expect(await textOn(on, { host })).toBe('the notebook');
  });

  test('carries on when one of its streams is cut off by the end of a token', async () => {
    const hanging: Listener = (_request, response) => void response.write('open');
    const { port, token, host } = await live(hanging);
    const upstream = await notebook((incoming, response) => {
      response.write('open');
      if (incoming.url === '/more') response.end('and done');
    });
    const kept = siteHost(await redeemed(port, upstream.port));
    // Made without a name, so that it may ask for two sites.
    const on = await session(port, '');
    const [cut, stays] = [fetchOn(on, { host }), fetchOn(on, { host: kept })];
    for (const { head } of [cut, stays]) await once((await head).reader, 'data');
    const over = closed(cut.stream.resume());
    await api(port, 'DELETE', `/tokens/${token}`, undefined, NODE1);
    await over;
    // HAProxy 2.6 ends it as if all had been said.
    if (engine === 'node') expect(cut.stream.rstCode).toBe(CODE.internal);
    expect(stays.stream.closed).toBe(false);
    expect(await textOn(on, { host: kept, path: '/more' })).toBe('openand done');
  });

  test.each([
    ['download', 'GET'],
    ['upload', 'POST'],
  ])('is not held up by a %s that stands still', async (_what, method) => {
    const piece = Buffer.alloc(1024 * 1024);
    let sent = 0;
    const stuck = Promise.withResolvers<void>();
    const { port, host } = await live(async (incoming, response) => {
      if (incoming.url === '/quick') {
        incoming.resume().on('end', () => response.end(Buffer.alloc(3_000_000)));
        return;
      }
      incoming.pause();
      incoming.on('error', () => undefined);
      if (method === 'POST') return;
      for (; sent < 300; sent += 1) if (!response.write(piece) && (await still(response))) break;
      stuck.resolve();
    });
    const on = await session(port, host);
    const { sender, head } = beginHttp2(on, { host, method });
    if (method === 'POST') {
      for (; sent < 300; sent += 1) if (!sender.write(piece) && (await still(sender))) break;
    } else {
      const { reader } = await head;
      reader.pause();
      await stuck.promise;
    }
    expect(sent).toBeLessThan(50);
    const quick = beginHttp2(on, { host, path: '/quick', method: 'POST' });
    quick.sender.end(Buffer.alloc(3_000_000));
    expect((await bodyOf(await quick.head)).length).toBe(3_000_000);
  });

  test('has room for the uploads of somebody far away, on one stream and on all of them', async () => {
    const { port, host } = await live((_request, response) => void response.write('open'));
    const [settings] = await once(await session(port, host), 'remoteSettings');
    const wire = await frames(port, host);
    const more = (await wire.first(TYPE.windowUpdate, 0)).payload.readUInt32BE();
    expect([settings.initialWindowSize, 65_535 + more]).toEqual([256 * 1024, 4 * 1024 * 1024]);
  });

  test('has at most 128 requests under way', async () => {
    const { port, host } = await live((_request, response) => void response.write('open'));
    const on = await session(port, host);
    const [settings] = await once(on, 'remoteSettings');
    // HAProxy takes WebSockets over HTTP/2, too.
    expect(settings).toMatchObject({
      maxConcurrentStreams: 128,
      enableConnectProtocol: engine === 'haproxy',
    });
    const many = Buffer.concat(Array.from({ length: 129 }, (_, i) => request(2 * i + 1, get(host))));
    const early = await frames(port, host);
    // A client that hasn't heard of it yet may try again; one that has breaks its word.
    early.send(many);
    expect([await early.outcome(255), await early.outcome(257)]).toEqual(['200', `reset ${CODE.refused}`]);
    const late = await frames(port, host);
    await late.first(TYPE.settings, 0);
    late.send(frame(TYPE.settings, 1, 0), many);
    if (engine === 'haproxy') {
      expect(await late.outcome(257)).toBe(`reset ${CODE.refused}`);
      return;
    }
    expect((await late.first(TYPE.goaway, 0)).payload.readUInt32BE(4)).toBe(CODE.protocol);
    await late.ended();
  });
});

describe('an answer on its way out', () => {
  test('has no fields of the connection, and all others', async () => {
    const { port, token } = await answering(
      'HTTP/1.1 299 Quite Fine\r\nX-Latin: caf\xe9\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nDate: then\r\n' +
        'Content-Type: text/x\r\nContent-Type: text/y\r\nConnection: close\r\n' +
        'Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nTE: gzip\r\nTrailer: y\r\n' +
        'Content-Length: 4\r\n\r\n\x00\xff\r\n',
    );
    const answer = await visit(port, token);
    expect(answer.status).toBe(299);
    expect(answer.rawHeaders).toEqual([
      ...[':status', '299', 'x-latin', 'caf\xe9', 'set-cookie', 'a=1', 'set-cookie', 'b=2', 'date', 'then'],
      ...['content-type', 'text/x', 'content-type', 'text/y', 'content-length', '4'],
    ]);
  });

  test('has nothing that belongs to a connection of old, or that it names there', async () => {
    const { port, token } = await answering(
      'HTTP/1.1 200 OK\r\nDate: then\r\nConnection: X-Inner\r\nX-Inner: 1\r\nHTTP2-Settings: x\r\nContent-Length: 2\r\n\r\nok',
    );
    expect((await visit(port, token)).rawHeaders).toEqual([
      ...[':status', '200', 'date', 'then', 'content-length', '2'],
    ]);
  });

  test.each([
    ['of 204 with a length', 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n', 204, ''],
    ['of 205 with a body', 'HTTP/1.1 205 Reset\r\nContent-Length: 2\r\n\r\nno', 205, ''],
    ['of 304', 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', 304, ''],
    ['after 102', 'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', 200, 'ok'],
    [
      'after a hint that makes no sense',
      'HTTP/1.1 103 Early Hints\r\nLink: nonsense\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
      200,
      'ok',
    ],
    [
      'after an unasked 100',
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
      engine === 'node' ? 502 : 200,
      engine === 'node' ? /broke off/ : 'ok',
    ],
    ['of 2^53 bytes', 'HTTP/1.1 200 OK\r\nContent-Length: 9007199254740993\r\n\r\nok', 502, /broke off/],
    ['with a status beyond 599', 'HTTP/1.1 999 What\r\nContent-Length: 2\r\n\r\nok', 502, /broke off/],
  ])('%s passes', async (_what, bytes, status, body) => {
    const { port, token } = await answering(bytes);
    const answer = await visit(port, token);
    expect([answer.status, answer.body]).toEqual([
      status,
      typeof body === 'string' ? body : expect.stringMatching(body),
    ]);
  });

  test('can not harm the proxy by odd trailers', async () => {
    const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n';
    const trailers =
      'X-Sum: 42\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nHost: x\r\nKeep-Alive: 1\r\n' +
      'Content-Type: a\r\nContent-Type: b\r\nTE: x\r\nUpgrade: y\r\nHTTP2-Settings: z\r\n__proto__: q\r\n';
    const { port, token } = await answering(`${chunked}${trailers}\r\n`);
    const begun = fetchOn(await session(port, siteHost(token)), { host: siteHost(token) });
    const head = await begun.head;
    expect(String(await bodyOf(head))).toBe('body');
    expect(head.trailers()['x-sum']).toBe('42');
    expect(Object.keys(head.trailers())).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(connection|host|upgrade|te)$/)]),
    );
  });

  test('that breaks off ends with a reset, never with the end of the stream', async () => {
    for (const framing of [
      'Content-Length: 100\r\n\r\n',
      'Transfer-Encoding: chunked\r\n\r\n4\r\n',
      '\r\n',
    ]) {
      const { port, token } = await answering(`HTTP/1.1 200 OK\r\n${framing}half`, (socket) =>
        socket.resetAndDestroy(),
      );
      const wire = await frames(port, siteHost(token));
      wire.send(request(1, get(siteHost(token))));
      const { payload } = await wire.first(TYPE.reset, 1);
      expect(payload.readUInt32BE()).toBe(CODE.internal);
      const ends = wire.seen.filter(
        ({ type, flags }) => (type === TYPE.data || type === TYPE.headers) && flags & END_STREAM,
      );
      expect(ends).toEqual([]);
    }
  });
});

describe('a visitor who leaves', () => {
  /** A site that takes one request at a time, and whose requests never end by themselves. */
  async function single() {
    let open = 0;
    let wake = (): void => undefined;
    const site = await live(
      (_request, response) => {
        open += 1;
        wake();
        response.on('close', () => {
          open -= 1;
          wake();
        });
      },
      { limits: { requestsPerSite: 1 } },
    );
    const reach = (count: number): Promise<void> =>
      new Promise((resolve) => {
        wake = () => {
          if (open === count) resolve();
        };
        wake();
      });
    return { ...site, reach };
  }

  test.each(['GET', 'HEAD', 'POST'])(
    'before a %s is answered takes it back from the notebook',
    async (method) => {
      const { port, host, reach } = await single();
      const on = await session(port, host);
      for (let i = 0; i < 3; i += 1) {
        const { leave, stream } = beginHttp2(on, { host, method });
        if (method === 'POST') stream.write('half');
        // Not 503: the one before has left nothing behind.
        await reach(1);
        leave();
        await reach(0);
      }
    },
  );

  test.each([CODE.none, CODE.cancel])(
    'in the middle of an upload that the notebook does not read (code %i) leaves nothing behind',
    async (code) => {
      const { port, host } = await live(
        (incoming, response) => {
          if (incoming.url === '/next') response.end();
          else incoming.pause();
        },
        { limits: { requestsPerSite: 1 } },
      );
      const on = await session(port, host);
      const { stream } = beginHttp2(on, { host, method: 'POST' });
      for (let i = 0; i < 100; i += 1)
        if (!stream.write(Buffer.alloc(1_000_000)) && (await still(stream))) break;
      const next = async (): Promise<number> => (await fetchOn(on, { host, path: '/next' }).head).status;
      expect(await next()).toBe(503);
      stream.close(code);
      let status = 503;
      for (let i = 0; i < 1000 && status === 503; i += 1) status = await next();
      expect(status).toBe(200);
    },
  );

  test('in the middle of a download that it does not take, without a word, is noticed', async () => {
    let stalled = (): void => undefined;
    let left = (): void => undefined;
    const isStalled = new Promise<void>((resolve) => {
      stalled = resolve;
    });
    const isLeft = new Promise<void>((resolve) => {
      left = resolve;
    });
    const { port, host } = await live(
      (_request, response) => {
        let timer: NodeJS.Timeout;
        const more = (): void => {
          clearTimeout(timer);
          while (response.write(Buffer.alloc(1_000_000)));
          timer = setTimeout(stalled, 300);
        };
        response.on('drain', more).on('close', left);
        more();
      },
      { limits: { idleTime: '1s' } },
    );
    // In a process of its own: nothing in this one may read for it.
    const client = spawn('curl', [
      ...['--silent', '--insecure', '--http2', '--limit-rate', '100k', '--output', '/dev/null'],
      ...['--connect-to', `::127.0.0.1:${port}`, `https://${host}/`],
    ]);
    await isStalled;
    client.kill('SIGKILL');
    await isLeft;
  });

  test('who takes nothing for a while, but answers, keeps what he asked for', async () => {
    let finish = (): void => undefined;
    const { port, host } = await live(
      (_request, response) => {
        response.write('begun ');
        finish = () => response.end('and ended');
      },
      { limits: { idleTime: '1s' } },
    );
    const on = await session(port, host);
    const head = await fetchOn(on, { host }).head;
    await pause(6000);
    finish();
    expect((await bodyOf(head)).toString()).toBe('begun and ended');
  });

  test.each(['destroy', 'end'] as const)(
    'with the whole connection (%s) takes all of it back',
    async (how) => {
      const { port, host, reach } = await single();
      for (let i = 0; i < 2; i += 1) {
        const wire = await frames(port, host);
        wire.send(request(1, get(host)));
        await reach(1);
        wire.socket[how]();
        await reach(0);
      }
    },
  );
});

describe('limits', () => {
  test('of a site count streams', async () => {
    const { port, host } = await live((_request, response) => void response.write('open'), {
      limits: { requestsPerSite: 2 },
    });
    const on = await session(port, host);
    for (let i = 0; i < 2; i += 1) expect((await fetchOn(on, { host }).head).status).toBe(200);
    expect((await fetchOn(on, { host }).head).status).toBe(503);
  });

  test('of a client count streams like connections', async () => {
    const { port, host } = await live((_request, response) => void response.write('open'), {
      limits: { connectionsPerClient: 3 },
    });
    const on = await session(port, host);
    const open = [fetchOn(on, { host }), fetchOn(on, { host })];
    for (const { head } of open) expect((await head).status).toBe(200);
    const refused = fetchOn(on, { host });
    await closed(refused.stream);
    expect(refused.stream.rstCode).toBe(CODE.refused);
    // Others are not held responsible.
    const other = await session(port, host, { from: '127.0.0.2' });
    expect((await fetchOn(other, { host }).head).status).toBe(200);
    open[0]?.leave();
    // The proxy hears of it a little later than we do.
    const tryAgain = (): Promise<number> =>
      fetchOn(on, { host }).head.then(
        (head) => head.status,
        () => 0,
      );
    let status = 0;
    for (let i = 0; i < 1000 && status !== 200; i += 1) status = await tryAgain();
    expect(status).toBe(200);
  });

  test('of a header are those of HTTP/1.1', async () => {
    const { port, host } = await live((_request, response) => response.end(), {
      limits: { headerSize: 8192 },
    });
    const on = await session(port, host);
    expect((await fetchOn(on, { host, headers: { x: 'x'.repeat(7000) } }).head).status).toBe(200);
    // Some more, or 16 KB in all, fits into a buffer of HAProxy's.
    const tooLong = 'x'.repeat(engine === 'node' ? 9000 : 17_000);
    // Whether or not the client has agreed to it.
    for (const agreement of [[], [frame(TYPE.settings, 1, 0)]]) {
      const wire = await frames(port, host);
      await wire.first(TYPE.settings, 0);
      wire.send(...agreement, request(1, [...get(host), ['x', tooLong]]));
      if (engine === 'haproxy') {
        await wire.ended();
        continue;
      }
      expect(await wire.outcome(1)).toBe(`reset ${CODE.calm}`);
      wire.send(request(3, get(host)));
      expect(await wire.outcome(3)).toBe('200');
    }
  });

  test('a connection without a request is closed, whatever else it says, and one with a request is not', async () => {
    const { port, host } = await live((_request, response) => void response.write('open'), {
      // Before its first request HAProxy waits for a connection as it does for a header.
      limits: { idleTime: '1s', ...(engine === 'haproxy' && { headerTime: '1s' }) },
    });
    const silent = await secureWire(port, host);
    const busy = await session(port, host);
    await fetchOn(busy, { host }).head;
    const half = await frames(port, host);
    half.send(frame(TYPE.headers, END_STREAM, 1, block(get(host))));
    const pinging = await frames(port, host);
    const pings = setInterval(() => pinging.send(frame(TYPE.ping, 0, 0, Buffer.alloc(8))), 50);
    await Promise.all([once(silent.resume(), 'close'), half.ended(), pinging.ended()]);
    clearInterval(pings);
    expect((await pinging.first(TYPE.goaway, 0)).payload.readUInt32BE(4)).toBe(CODE.none);
    expect((await fetchOn(busy, { host }).head).status).toBe(200);
  });

  test('a request in which nothing moves is given up, and the connection goes on', async () => {
    const { port, host } = await live(
      (incoming, response) => {
        if (incoming.url === '/next') response.end();
      },
      { limits: { stallTime: '1s' } },
    );
    const wire = await frames(port, host);
    wire.send(request(1, get(host)));
    expect(await wire.outcome(1)).toBe(engine === 'node' ? `reset ${CODE.cancel}` : '504');
    wire.send(request(3, get(host, '/next')));
    expect(await wire.outcome(3)).toBe('200');
  });
});

describe('floods', () => {
  /** Writes until the other side has had enough. */
  async function flood(wire: Frames, piece: Buffer): Promise<number> {
    wire.socket.on('error', () => undefined);
    const over = new Promise<boolean>((resolve) => wire.socket.once('close', () => resolve(true)));
    let sent = 0;
    for (;;) {
      sent += piece.length;
      expect(sent).toBeLessThan(200 * 1024 * 1024);
      if (wire.socket.destroyed) return sent;
      if (!wire.socket.write(piece)) {
        if (
          await Promise.race([
            over,
            once(wire.socket, 'drain').then(
              () => false,
              () => true,
            ),
          ])
        )
          return sent;
      } else await new Promise(setImmediate);
    }
  }

  test('of requests that are taken back at once end the connection, and leave nothing behind', async () => {
    let asked = 0;
    const { port, host, token } = await live(
      ({ url }, response) => {
        asked += 1;
        response.on('error', () => undefined);
        if (url === '/last') response.end();
      },
      { limits: { requestsPerSite: 200 } },
    );
    const wire = await frames(port, host);
    const cancel = Buffer.from([0, 0, 0, CODE.cancel]);
    const piece = (from: number): Buffer =>
      Buffer.concat(
        Array.from({ length: 1000 }, (_, i) => [
          request(from + 2 * i, get(host)),
          frame(TYPE.reset, 0, from + 2 * i, cancel),
        ]).flat(),
      );
    for (let i = 0; i < 5; i += 1) wire.send(piece(2000 * i + 1));
    if (engine === 'node') {
      await wire.ended();
      expect(asked).toBeLessThan(2000);
    } else {
      // HAProxy hears of a request when there is room for it among those that aren't quite over yet.
      wire.send(request(10_001, get(host, '/last')));
      expect(await wire.outcome(10_001)).toBe('200');
    }
    const upstream = await notebook((_request, response) => response.end('fine'));
    expect((await visit(port, await redeemed(port, upstream.port))).body).toBe('fine');
    // None of the thousands still counts as one of the site's two hundred.
    const { stream } = fetchOn(await session(port, host), { host });
    const before = asked;
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (asked > before || stream.closed) resolve();
        else setImmediate(look);
      };
      look();
    });
    expect([stream.closed, asked > before, token]).toEqual([false, true, token]);
  });

  test.each<[string, Buffer, number]>([
    ['pings whose answers nobody reads', frame(TYPE.ping, 0, 0, Buffer.alloc(8)), 1000],
    ['settings', frame(TYPE.settings, 0, 0, Buffer.from([0, 4, 0, 1, 0, 0])), 1000],
  ])('of %s end the connection', async (_what, one, times) => {
    // HAProxy hears nothing more of who doesn't take its answers, and then he has been still for too long.
    const limits = engine === 'haproxy' ? { stallTime: '1s' } : {};
    const { port, host } = await live((_request, response) => response.end(), { limits });
    const wire = await frames(port, host);
    wire.socket.pause();
    await flood(wire, Buffer.concat(Array.from({ length: times }, () => one)));
  });

  test('of header pieces end the connection', async () => {
    const { port, host } = await live((_request, response) => response.end());
    const wire = await frames(port, host);
    wire.send(frame(TYPE.headers, END_STREAM, 1, block(get(host))));
    await flood(wire, frame(TYPE.continuation, 0, 1, block([['x', 'y'.repeat(1000)]])));
  });

  test('of nonsense end the connection', async () => {
    const { port, host } = await live((_request, response) => response.end());
    for (const bytes of [
      frame(TYPE.headers, END_HEADERS | END_STREAM, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff])),
      frame(TYPE.data, 0, 0, 'nowhere'),
      frame(TYPE.windowUpdate, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff])),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'.repeat(10)),
    ]) {
      const wire = await frames(port, host);
      wire.send(bytes);
      await wire.ended();
    }
    expect((await visit(port, host.split('.', 1)[0] as string)).status).toBe(200);
  });
});

describe('everything else', () => {
  test('pages, their events, management and health are there', async () => {
    const { port } = await satelliteOver('HTTP/2');
    const token = await issue(port);
    const host = siteHost(token);
    const page = await visit(port, token, { headers: { accept: 'text/html' } });
    expect([page.status, page.headers['content-type']]).toEqual([200, 'text/html']);
    expect((await ask(port, { path: '/healthz' })).body).toBe('ok\n');
    expect((await ask(port, { path: `/tokenjobstate.cgi?token=${token}` })).body).toBe('PE');
    expect((await visit(port, 'no-such-name')).body).toMatch(/^Please see/);
    const events = fetchOn(await session(port, host), { host, path: '/.well-known/satellite/events' });
    const { reader } = await events.head;
    let said = '';
    const told = new Promise<void>((resolve) => {
      reader.on('data', (chunk) => {
        said += String(chunk);
        if (said.includes('Step 3 of 4')) resolve();
      });
    });
    await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'jupyter' });
    await told;
  });

  test('a body that breaks off is not taken by management', async () => {
    const { port } = await satelliteOver('HTTP/2');
    const token = await issue(port);
    const manage = `manage.${DOMAIN}`;
    for (const code of [CODE.none, CODE.cancel]) {
      const wire = new Frames(await secureWire(port, manage, { from: LOGIN }));
      const put = get(manage, `/api/v1/tokens/${token}/job`).with(0, [':method', 'PUT']);
      wire.send(
        frame(TYPE.headers, END_HEADERS, 1, block(put)),
        frame(TYPE.data, 0, 1, '{"jobId":"4711"}'),
        frame(TYPE.reset, 0, 1, Buffer.from([0, 0, 0, code])),
        request(3, get(manage)),
      );
      expect(await wire.outcome(3)).toBe('200');
    }
    expect((await api(port, 'GET', `/tokens/${token}`)).json().job).toBeNull();
  });

  test('HTTP/1.1 on the same port has the limits that it has always had', async () => {
    // Each limit by itself: what is sent at once may arrive late on a busy machine, and a handshake take its time.
    const hasty = await satelliteOver('HTTP/2', { limits: { headerTime: '1s' } });
    const { port } = await satelliteOver('HTTP/2', { limits: { headerSize: 8192, idleTime: '1s' } });
    for (const protocols of [['http/1.1'], []]) {
      const open = async (at = port) => new Wire(await secureWire(at, `manage.${DOMAIN}`, { protocols }));
      const healthz = `GET /healthz HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n`;
      expect(await (await open(hasty.port)).send('GET / HTTP/1.1\r\nHost: ').ended()).toMatch(
        /^HTTP\/1\.1 408 /,
      );
      expect(await (await open()).send(`${healthz}X: ${'x'.repeat(9000)}\r\n\r\n`).ended()).toMatch(
        /^HTTP\/1\.1 431 /,
      );
      expect(await (await open()).send(`${healthz}\r\n`).ended()).toMatch(/^HTTP\/1\.1 200 [\s\S]*ok\n$/);
    }
  });

  test('a stop lets requests under way come to their end, tells the clients, and takes no new ones', async () => {
    let finish = (): void => undefined;
    const upstream = await notebook((_request, response) => {
      response.write('begun ');
      finish = () => response.end('and ended');
    });
    const proxy = await satelliteOver('HTTP/2', { stopGrace: '1h' });
    const host = siteHost(await redeemed(proxy.port, upstream.port));
    const [idle, busy] = [await frames(proxy.port, host), await frames(proxy.port, host)];
    await idle.first(TYPE.settings, 0);
    busy.send(request(1, get(host)));
    await busy.first(TYPE.data, 1);
    const stopped = proxy.stop();
    expect((await idle.first(TYPE.goaway, 0)).payload.readUInt32BE(4)).toBe(CODE.none);
    // HAProxy leaves it to the client to close, as browsers do.
    if (engine === 'haproxy') idle.socket.end();
    await idle.ended();
    await busy.first(TYPE.goaway, 0);
    // Longer than a stop without anything under way takes.
    await pause(1500);
    finish();
    const isOver = () => busy.seen.some(({ stream, flags }) => stream === 1 && flags & END_STREAM);
    if (engine === 'haproxy') {
      await expect.poll(isOver).toBeTruthy();
      busy.socket.end();
    }
    await busy.ended();
    const said = busy.seen.filter(({ type, stream }) => type === TYPE.data && stream === 1);
    expect(Buffer.concat(said.map(({ payload }) => payload)).toString()).toBe('begun and ended');
    expect(said.at(-1)?.flags).toBe(END_STREAM);
    await stopped;
  });

  test('a stop answers the first request of a connection that is there already', async () => {
    const upstream = await notebook((_request, response) => response.end('late'));
    const proxy = await satelliteOver('HTTP/2', { stopGrace: '1h' });
    const host = siteHost(await redeemed(proxy.port, upstream.port));
    const open = await frames(proxy.port, host);
    await open.first(TYPE.settings, 0);
    const stopped = proxy.stop();
    // HAProxy hears of it a little later.
    const refused = () => expect(frames(proxy.port, host)).rejects.toThrow(/ECONNREFUSED/);
    if (engine === 'node') await refused();
    else await vi.waitFor(refused, 30_000);
    open.send(request(1, get(host)));
    expect(await open.outcome(1)).toBe('200');
    await open.ended();
    await stopped;
  });

  test.each([false, 'false'] as const)('can be turned off (%j)', async (http2) => {
    const { port } = await satellite({ tls: { selfSigned: true }, http2 });
    const manage = `manage.${DOMAIN}`;
    const socket = await secureWire(port, manage, { protocols: ['h2', 'http/1.1'] });
    expect(socket.alpnProtocol).toBe('http/1.1');
    if (engine === 'node') await expect(secureWire(port, manage)).rejects.toThrow(/alert|protocol/i);
    // Nor does it help to speak it all the same.
    for (const protocols of [['http/1.1'], [], ['h2']]) {
      const spoken = secureWire(port, manage, { protocols }).then((socket) =>
        new Frames(socket).send(request(1, get(manage, '/healthz'))).outcome(1),
      );
      await expect(spoken).rejects.toThrow(/alert|protocol|ended/i);
    }
  });
});
