import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createServer as createTcpServer, type Socket } from 'node:net';
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type Limits, limitsSchema } from '../src/config.ts';
import type { Failure } from '../src/dataplane/engine.ts';
import { type Door, Lane, type Passed } from '../src/dataplane/node/lane/lane.ts';
import { Traffic } from '../src/operation/traffic.ts';
import { selfSignedCertificate } from '../src/tls.ts';
import {
  cleanup,
  freePort,
  listenOn,
  NODE1,
  OUTSIDE,
  secureWire,
  type Wire,
  Wire as WireOf,
  wire,
} from './support.ts';

/*
 * The short way for everyday requests, by itself: a server of Node's behind it says "elsewhere" to whatever it is given.
 */

interface Started {
  readonly port: number;
  readonly lane: Lane;
  readonly server: Server;
  readonly traffic: Traffic;
  /** What was said of each request that was over. */
  readonly passed: (Passed & { status: number; isComplete: boolean })[];
}

/** A lane to one site, `site.test`, which points to a port of NODE1. */
async function start(
  target: number,
  limits: Partial<Limits> = {},
  hsts?: string,
  isSecure = false,
): Promise<Started> {
  const traffic = new Traffic();
  const passed: Started['passed'] = [];
  const door: Door = {
    peer: () => ({ address: OUTSIDE }),
    identify: () => undefined,
    labelOf: (name) => (name === 'site.test' ? 'site' : undefined),
    admit: () => {
      traffic.visit('site', OUTSIDE);
      return { token: 'site', host: NODE1, port: target };
    },
    account: (about, status, _started, isComplete) => void passed.push({ ...about, status, isComplete }),
  };
  const elsewhere: RequestListener = async (request, response) => {
    const chunks: Buffer[] = await request.toArray();
    const failure: Failure | undefined = lane.failureOf(request);
    const { method, url } = request;
    response.end(`elsewhere: ${failure ?? ''} ${method} ${url} ${Buffer.concat(chunks)}\n`);
  };
  // Node's server hands the second on to its sockets, and its types don't say so.
  const options = { requireHostHeader: false, ...{ allowHalfOpen: true } };
  const server = isSecure
    ? createSecureServer({ ...options, ...selfSignedCertificate('site.test', undefined) }, elsewhere)
    : createServer(options, elsewhere);
  server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 400 elsewhere\r\n\r\n'));
  const lane = new Lane(server, door, { ...limitsSchema.parse({}), ...limits }, traffic, hsts);
  cleanup(() => {
    lane.close();
    server.closeAllConnections();
  });
  return { port: await listenOn(server), lane, server, traffic, passed };
}

/** A server that speaks bytes: calls back with what has come on a connection whenever there is more. */
async function raw(onText: (text: string, socket: Socket) => void): Promise<number> {
  return listenOn(
    createTcpServer((socket) => {
      let text = '';
      socket.on('error', () => undefined);
      socket.on('data', (bytes) => {
        text += bytes.toString('latin1');
        onText(text, socket);
      });
    }),
  );
}

/** A server that gives every request without a body the same answer. */
const saying = (answer: string): Promise<number> =>
  raw((text, socket) => {
    if (text.endsWith('\r\n\r\n')) socket.write(answer, 'latin1');
  });

/** Until neither side takes any more of what is counted. */
async function still(count: () => number): Promise<void> {
  let before = 0;
  await expect
    .poll(
      () => {
        const now = count();
        const isStill = now > 0 && now === before;
        before = now;
        return isStill;
      },
      { interval: 100 },
    )
    .toBe(true);
}

const visitor = (port: number): Promise<Wire> => wire(port, OUTSIDE, NODE1);
const GET = 'GET /a?b HTTP/1.1\r\nHost: site.test\r\n\r\n';

/** What a visitor reads, without what only the connection is told. */
const essence = (text: string): string =>
  text.replace(/^(?:Connection|Keep-Alive|Date): .*\r\n/gm, '').replace(/\r\n/g, '|');

describe('a request', () => {
  test('goes on as it was written, with the truth about its sender', async () => {
    let seen = '';
    const port = await raw((text, socket) => {
      seen = text;
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    const proxy = await start(port);
    const client = await visitor(proxy.port);
    client.send(
      'GET /a%2Fb?c=%20d HTTP/1.1\r\nX-One:  caf\xe9 \r\nHost: Site.Test:81\r\nConnection: keep-alive\r\n' +
        'X-Forwarded-For: 10.0.0.1\r\nForwarded: for=x\r\nx-real-ip: y\r\nCookie: a=b; c\r\nX-Forwarded: z\r\n\r\n',
    );
    expect(essence(await client.until(/ok$/))).toBe('HTTP/1.1 200 OK|Content-Length: 2||ok');
    expect(seen.split('\r\n')).toEqual([
      'GET /a%2Fb?c=%20d HTTP/1.1',
      'X-One:  caf\xe9 ',
      'Host: Site.Test:81',
      'Cookie: a=b; c',
      `X-Forwarded-For: ${OUTSIDE}`,
      'X-Forwarded-Proto: http',
      'X-Forwarded-Host: Site.Test:81',
      'X-Forwarded-Port: 81',
      `X-Real-IP: ${OUTSIDE}`,
      `Forwarded: for=${OUTSIDE};proto=http;host="Site.Test:81"`,
      '',
      '',
    ]);
    expect(proxy.passed).toEqual([
      {
        client: OUTSIDE,
        label: 'site',
        method: 'GET',
        target: '/a%2Fb?c=%20d',
        status: 200,
        isComplete: true,
      },
    ]);
  });

  test.each([
    ['another host', 'GET / HTTP/1.1\r\nHost: other.test\r\n\r\n', 'GET / '],
    ['two hosts', 'GET / HTTP/1.1\r\nHost: site.test\r\nHost: site.test\r\n\r\n', 'GET / '],
    ['an unknown method', 'PROPFIND / HTTP/1.1\r\nHost: site.test\r\n\r\n', 'PROPFIND / '],
    ['HTTP/1.0', 'GET / HTTP/1.0\r\nHost: site.test\r\n\r\n', 'GET / '],
    [
      'a body where none is expected',
      'GET / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 2\r\n\r\nhi',
      'GET / hi',
    ],
    [
      'chunks',
      'POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n',
      'POST / hi',
    ],
    ['an underscore', 'GET / HTTP/1.1\r\nHost: site.test\r\nX_Y: 1\r\n\r\n', 'GET / '],
    ['a field for the connection', 'GET / HTTP/1.1\r\nHost: site.test\r\nConnection: x-y\r\n\r\n', 'GET / '],
    ['trailers on offer', 'GET / HTTP/1.1\r\nHost: site.test\r\nTE: trailers\r\n\r\n', 'GET / '],
  ])('with %s is given to somebody else, byte for byte', async (_name, text, expected) => {
    const nobody = await freePort();
    const { port, passed } = await start(nobody);
    await (await visitor(port)).send(text).until(new RegExp(`elsewhere:  ${expected}\n`));
    expect(passed).toEqual([]);
  });

  test('that doesn’t come at once and whole is given to somebody else, wherever it was cut', async () => {
    const { port } = await start(await freePort());
    for (let i = 1; i < GET.length; i += 1) {
      const client = (await visitor(port)).send(GET.slice(0, i));
      await turn();
      client.send(GET.slice(i));
      await client.until(/elsewhere:(?: refused)? {1,2}GET \/a\?b \n/);
    }
  });

  test('with others behind it is given to somebody else with all of them', async () => {
    const { port } = await start(await freePort());
    const client = (await visitor(port)).send(GET + GET);
    await client.until(/elsewhere[\s\S]*elsewhere/);
    const late = (await visitor(port)).send(GET);
    await late.until(/elsewhere: refused/);
  });

  test('that comes while an answer is under way has its turn afterwards', async () => {
    const sockets: Socket[] = [];
    const target = await raw((text, socket) => {
      if (text.endsWith('\r\n\r\n')) sockets.push(socket);
      if (sockets.length === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\non');
    });
    const { port } = await start(target);
    const client = (await visitor(port)).send(GET);
    await client.until(/on$/);
    client.send('GET /next HTTP/1.1\r\nHost: other.test\r\n\r\n');
    await turn();
    sockets[0]?.write('ce');
    expect(await client.until(/elsewhere: {2}GET \/next/)).toMatch(/\r\n\r\nonceHTTP\/1\.1 200/);
  });

  test('with a body brings it along, however it is cut', async () => {
    const text = 'POST /p HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10\r\n\r\n0123456789';
    const bodies: string[] = [];
    const target = await raw((all, socket) => {
      const requests = all.split(/(?=POST)/);
      const last = requests.at(-1) as string;
      if (!last.endsWith('0123456789')) return;
      const number = bodies.push(last.slice(last.indexOf('\r\n\r\n') + 4));
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n#${String(number).padStart(2, '0')}`);
    });
    const { port, passed, traffic } = await start(target);
    const client = await visitor(port);
    const head = text.length - 10;
    for (let i = 0; i <= 10; i += 1) {
      client.send(text.slice(0, head + i));
      await turn();
      client.send(text.slice(head + i));
      await client.until(new RegExp(`#${String(i + 1).padStart(2, '0')}$`));
    }
    expect(bodies).toEqual(Array.from({ length: 11 }, () => '0123456789'));
    expect(passed.length).toBe(11);
    expect(traffic.site('site')).toMatchObject({ bytesIn: 110, bytesOut: 33, requests: 11, openRequests: 0 });
  });
});

const chunksIn = '5;x=y\r\nhello\r\n6\r\n world\r\n0\r\n';
/** Answers, and what a visitor reads of them where they come byte by byte. */
const answers: [name: string, answer: string, expected: RegExp, method?: string][] = [
  [
    'with a length',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    /^HTTP\/1\.1 200 OK\|Content-Length: 5\|\|hello$/,
  ],
  [
    'without a body',
    'HTTP/1.1 404 Gone Fishing\r\nContent-Length: 0\r\n\r\n',
    /^HTTP\/1\.1 404 Gone Fishing\|Content-Length: 0\|\|$/,
  ],
  [
    'in chunks',
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n${chunksIn}X-Sum: 1\r\nContent-Length: 9\r\n\r\n`,
    // However many pieces the system has made of it.
    /^HTTP\/1\.1 200 OK\|Transfer-Encoding: chunked\|\|[^!]*\|0\|X-Sum: 1\|\|$/,
  ],
  [
    'to a HEAD',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\n',
    /^HTTP\/1\.1 200 OK\|Content-Length: 5\|X-A: b\|\|$/,
    'HEAD',
  ],
  ['of 204', 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n', /^HTTP\/1\.1 204 No Content\|\|$/],
  [
    'of 304',
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n',
    /^HTTP\/1\.1 304 Not Modified\|Content-Length: 500\|\|$/,
  ],
  [
    'of 205',
    'HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n',
    /^HTTP\/1\.1 205 Reset\|Transfer-Encoding: chunked\|\|0\|\|$/,
  ],
  [
    'with an underscore in a name',
    'HTTP/1.1 200 OK\r\nX_Sum: 1\r\nContent-Length: 1\r\n\r\nx',
    /^HTTP\/1\.1 200 OK\|X_Sum: 1\|Content-Length: 1\|\|x$/,
  ],
  [
    'after hints',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx',
    /^HTTP\/1\.1 103 Early Hints\|Link: <\/a>\|\|HTTP\/1\.1 200 OK\|Content-Length: 1\|\|x$/,
  ],
  [
    'with fields of the connection',
    'HTTP/1.1 200 OK\r\nConnection: X-Own, close\r\nX-Own: 1\r\nKeep-Alive: timeout=9\r\nX-Other: 2\r\nContent-Length: 1\r\n\r\nx',
    /^HTTP\/1\.1 200 OK\|X-Other: 2\|Content-Length: 1\|\|x$/,
  ],
];

describe('an answer', () => {
  test.each(answers)('%s arrives, also byte by byte', async (_, answer, expected, method = 'GET') => {
    const target = await raw(async (text, socket) => {
      if (!text.endsWith('\r\n\r\n')) return;
      for (const byte of Buffer.from(answer, 'latin1')) {
        socket.write(Buffer.of(byte));
        await turn();
      }
    });
    const { port, passed } = await start(target);
    const client = (await visitor(port)).send(
      `${method} / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n`,
    );
    expect(essence(await client.ended())).toMatch(expected);
    expect(passed).toMatchObject([{ isComplete: true }]);
  });

  test('in chunks has its data and its trailer, and nothing that would say anew how long it is', async () => {
    const [, text] = answers.find(([name]) => name === 'in chunks') as (typeof answers)[number];
    const { port } = await start(await saying(text));
    const client = await visitor(port);
    expect(essence(await client.send(GET).until(/\r\n\r\n[\s\S]*\r\n\r\n$/))).toBe(
      'HTTP/1.1 200 OK|Transfer-Encoding: chunked||b|hello world|0|X-Sum: 1||',
    );
  });

  test('up to the end of the connection ends in order, and doesn’t where that breaks', async () => {
    const target = await raw((text, socket) => {
      socket.write('HTTP/1.0 200 OK\r\n\r\nall of it');
      if (text.startsWith('GET /a')) socket.end();
      else setImmediate(() => socket.resetAndDestroy());
    });
    const { port, passed } = await start(target);
    const whole = (await visitor(port)).send(GET);
    expect(essence(await whole.until(/0\r\n\r\n$/))).toBe(
      'HTTP/1.1 200 OK|Transfer-Encoding: chunked||9|all of it|0||',
    );
    const broken = (await visitor(port)).send(GET.replace('/a', '/b'));
    expect(await broken.ended()).not.toMatch(/\r\n0\r\n/);
    expect(passed.map(({ isComplete }) => isComplete)).toEqual([true, false]);
  });

  test.each([
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'],
    ['chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
    ['chunks that make no sense', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf!\r\n'],
  ])('with %s that breaks off never looks whole', async (_name, text) => {
    const target = await raw((_text, socket) => socket.end(text));
    const { port, passed } = await start(target);
    const got = await (await visitor(port)).send(GET).ended();
    expect(got).toMatch(/half/);
    expect(got).not.toMatch(/\r\n0\r\n/);
    expect(passed).toMatchObject([{ status: 200, isComplete: false }]);
  });

  test.each([
    ['no HTTP', 'hello\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx'],
    [
      'a length and chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['another coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
    ['a bare line feed', 'HTTP/1.1 200 OK\nContent-Length: 1\n\nx'],
    ['a folded field', 'HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\r\n'],
    ['an upgrade that nobody wanted', 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
    ['a head without end', `HTTP/1.1 200 OK\r\n${'X-A: b\r\n'.repeat(10_000)}`],
  ])('that is %s is none', async (_name, text) => {
    const { port, passed } = await start(await saying(text));
    const client = (await visitor(port)).send(GET);
    await client.until(/elsewhere: broken GET \/a\?b \n/);
    expect(passed).toEqual([]);
  });

  test('that nobody asked for isn’t the next one’s', async () => {
    let connections = 0;
    const target = await raw((text, socket) => {
      if (!text.endsWith('\r\n\r\n')) return;
      connections += 1;
      socket.write(
        `HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${connections}HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!`,
      );
    });
    const { port } = await start(target);
    const client = await visitor(port);
    for (let i = 1; i <= 3; i += 1) await client.send(GET).until(new RegExp(`\r\n\r\n${i}$`));
  });

  test('has Strict-Transport-Security from us alone', async () => {
    const target = await saying(
      'HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\nContent-Length: 0\r\n\r\n',
    );
    const { port } = await start(target, {}, 'max-age=9');
    expect((await (await visitor(port)).send(GET).until(/\r\n\r\n$/)).match(/strict.*/gi)).toEqual([
      'Strict-Transport-Security: max-age=9',
    ]);
  });
});

describe('a connection to a notebook', () => {
  test('is kept for the next request, whoever asks', async () => {
    const used = new Set<Socket>();
    const target = await raw((text, socket) => {
      used.add(socket);
      if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    const { port } = await start(target);
    for (let i = 0; i < 3; i += 1) await (await visitor(port)).send(GET).until(/ok$/);
    expect(used.size).toBe(1);
  });

  test('that dies as it is used again is no trouble where asking twice does no harm', async () => {
    const asked: string[] = [];
    const target = await raw((text, socket) => {
      const requests = text.split('\r\n\r\n').length - 1;
      asked.push(text.split(' ', 1)[0] ?? '');
      if (requests === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      else socket.destroy();
    });
    const { port } = await start(target);
    const client = await visitor(port);
    await client.send(GET).until(/ok$/);
    await client.send(GET).until(/ok[\s\S]*ok$/);
    // The connection of the second try is kept, and dies.
    const post = 'POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 0\r\n\r\n';
    await client.send(post).until(/elsewhere: broken POST/);
    expect(asked.length).toBe(4);
  });

  test('that dies twice is a broken notebook', async () => {
    let times = 0;
    const target = await raw((_text, socket) => {
      times += 1;
      socket.destroy();
    });
    const { port } = await start(target);
    await (await visitor(port)).send(GET).until(/elsewhere: broken GET/);
    expect(times).toBe(2);
  });

  test('is closed when it has been kept for long enough, or as the notebook says', async () => {
    const closed: string[] = [];
    const target = await raw((text, socket) => {
      const [, path = ''] = text.split(' ', 2);
      socket.on('close', () => closed.push(path));
      const time = path === '/short' ? 'Keep-Alive: timeout=2\r\n' : '';
      socket.write(`HTTP/1.1 200 OK\r\n${time}Content-Length: 2\r\n\r\nok`);
    });
    const { port, lane } = await start(target);
    await (await visitor(port)).send(GET.replace('/a?b', '/short')).until(/ok$/);
    await expect.poll(() => closed).toEqual(['/short']);
    await (await visitor(port)).send(GET.replace('/a?b', '/kept')).until(/ok$/);
    expect(closed).toEqual(['/short']);
    lane.drop('site');
    await expect.poll(() => closed).toEqual(['/short', '/kept']);
  });
});

describe('a notebook that answers before the body is over', () => {
  test('is heard, and what is left of the body is nobody’s request', async () => {
    const target = await raw((text, socket) => {
      if (text.includes('POST')) socket.write('HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig');
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      socket.pause();
    });
    const { port, passed } = await start(target);
    const client = await visitor(port);
    client.send(`POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 100000\r\n\r\n`);
    await client.until(/big$/);
    client.send('x'.repeat(100_000) + GET);
    await client.until(/big[\s\S]*ok$/);
    expect(passed.map(({ status }) => status)).toEqual([413, 200]);
  });
});

describe('a body that is under way when the notebook is lost', () => {
  test('isn’t sent again, and the visitor hears of it when it is over', async () => {
    let sent = '';
    const target = await raw((text, socket) => {
      sent += text;
      if (text.includes('\r\n\r\nfirst')) socket.destroy();
    });
    const { port, traffic } = await start(target);
    const client = await visitor(port);
    client.send('POST /p HTTP/1.1\r\nContent-Length: 11\r\nHost: site.test\r\n\r\nfirst ');
    const elsewhere = client.until(/elsewhere: broken POST \/p other\n/);
    await expect.poll(() => sent).toMatch(/first/);
    client.send('other');
    await elsewhere;
    expect(sent.match(/POST/g)?.length).toBe(1);
    expect(traffic.site('site')).toMatchObject({ requests: 0, openRequests: 0 });
  });

  test('is read to its end, even if the notebook had held it back', async () => {
    let notebook: Socket | undefined;
    const target = await raw((_text, socket) => {
      notebook = socket.pause();
    });
    const { port, traffic } = await start(target);
    const client = await visitor(port);
    const length = 16 * 1024 * 1024;
    client.send(
      `POST /p HTTP/1.1\r\nContent-Length: ${length}\r\nConnection: close\r\nHost: site.test\r\n\r\n`,
    );
    client.send('x'.repeat(length));
    await still(() => traffic.site('site').bytesIn);
    notebook?.destroy();
    expect(await client.ended()).toMatch(/elsewhere: broken POST \/p x+\n/);
  });
});

describe('limits', () => {
  test('a connection that says nothing, and one that says no more', async () => {
    const target = await saying('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    const { port, server } = await start(target, { headerTime: 80 });
    const unread = once(server, 'clientError');
    const silent = await visitor(port);
    const other = await start(target, { idleTime: 80 });
    const used = (await visitor(other.port)).send(GET);
    await used.until(/ok$/);
    expect((await unread)[0]).toMatchObject({ code: 'ERR_HTTP_REQUEST_TIMEOUT' });
    (await unread)[1].destroy();
    await silent.ended();
    await used.ended();
  });

  test('a body that stands still, and an answer that doesn’t come', async () => {
    const { port } = await start(await raw(() => undefined), { stallTime: 80 });
    const stalled = (await visitor(port)).send(
      'POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 9\r\n\r\nx',
    );
    await stalled.ended();
    const other = await start(await raw(() => undefined), { answerTime: 80 });
    await (await visitor(other.port)).send(GET).until(/elsewhere: timeout GET/);
  });

  test('an answer that goes on, piece by piece, is not given up', async () => {
    let notebook: Socket | undefined;
    const { port } = await start(
      await raw((text, socket) => {
        if (!text.endsWith('\r\n\r\n')) return;
        notebook = socket;
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      }),
      { stallTime: 1000 },
    );
    const events = (await visitor(port)).send(GET);
    await events.until(/\r\n\r\n$/);
    const stalled = (await visitor(port)).send(
      'POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 9\r\n\r\nx',
    );
    let isOver = false;
    const end = stalled.ended().then(() => {
      isOver = true;
    });
    for (let i = 0; !isOver; i += 1) {
      notebook?.write(`6\r\nno ${String(i).padStart(3, '0')}\r\n`);
      await Promise.race([events.until(new RegExp(`no ${String(i).padStart(3, '0')}`)), events.ended()]);
      await pause(100);
    }
    await end;
    notebook?.write('4\r\nlast\r\n0\r\n\r\n');
    expect(await events.until(/0\r\n\r\n$/)).toMatch(/last/);
  });

  test('a visitor who reads nothing holds the notebook back', async () => {
    let written = 0;
    let socket: Socket | undefined;
    const target = await raw((_text, opened) => {
      socket = opened;
      opened.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      const pump = (): void => {
        while (written < 1 << 28) {
          written += 1 << 16;
          if (!opened.write(`10000\r\n${'x'.repeat(1 << 16)}\r\n`)) return;
        }
      };
      opened.on('drain', pump);
      pump();
    });
    const { port, traffic } = await start(target);
    const client = await visitor(port);
    client.socket.pause();
    client.send(GET);
    await still(() => traffic.site('site').bytesOut);
    // The systems' own buffers for two connections, and little of ours.
    expect(written).toBeLessThan(1 << 26);
    client.socket.destroy();
    await expect.poll(() => socket?.destroyed).toBe(true);
  });
});

/** Lines of 64 bytes, each with its number, more of them than the connections on the way hold. */
const linesOf = (letter: string): string =>
  Array.from({ length: 1 << 17 }, (_, i) => String(i).padStart(64, letter)).join('');

/** A notebook that answers with lines of the first letter of each path: with a length, or without one in chunks. */
const lettered = (): Promise<number> =>
  listenOn(
    createServer(({ url = '' }, response) => {
      const lines = linesOf(url.charAt(1));
      if (url.endsWith('chunks')) response.write(lines.slice(0, 1));
      else response.setHeader('Content-Length', lines.length);
      response.end(url.endsWith('chunks') ? lines.slice(1) : lines);
    }),
  );

/** Where an answer's body, without the frames of its chunks, stops being these lines; -1 where it is all of them. */
const faultIn = (answer: string, letter: string): number => {
  const body = answer.slice(answer.indexOf('\r\n\r\n') + 4).replaceAll(/(?:^|\r\n)[0-9a-f]+\r\n|\r\n$/g, '');
  const lines = linesOf(letter);
  return body === lines ? -1 : [...lines].findIndex((one, i) => one !== body[i]);
};

describe.each([
  ['without TLS', false],
  ['over TLS', true],
])('a visitor who waits, %s,', (_how, isSecure) => {
  test('has nothing of another’s', async () => {
    const { port, lane } = await start(await lettered(), {}, undefined, isSecure);
    const visit = async (path: string): Promise<Wire> => {
      const one = isSecure
        ? new WireOf(await secureWire(port, 'site.test', { host: NODE1, protocols: ['http/1.1'] }))
        : await visitor(port);
      return one.send(`GET ${path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n`);
    };
    const slow = [await visit('/X/length'), await visit('/Y/chunks')] as const;
    for (const { socket } of slow) socket.pause();
    // Somebody leaves in the middle: what he was to have must not be lent twice.
    const gone = await visit('/W/length');
    await gone.until(/WWW/);
    gone.socket.destroy();
    await expect.poll(() => lane.busy).toBe(2);
    // These pass through the same memory, while some of what waits is in it.
    expect(faultIn(await (await visit('/Q/length')).ended(), 'Q')).toBe(-1);
    expect(faultIn(await (await visit('/R/chunks')).ended(), 'R')).toBe(-1);
    expect(lane.busy).toBe(2);
    for (const { socket } of slow) socket.resume();
    expect(faultIn(await slow[0].ended(), 'X')).toBe(-1);
    expect(faultIn(await slow[1].ended(), 'Y')).toBe(-1);
  });
});

describe('the end', () => {
  test('of a site ends what is open for it, at once', async () => {
    let hung: Socket | undefined;
    const target = await raw((_text, socket) => {
      hung = socket;
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf');
    });
    const { port, lane, passed, traffic } = await start(target);
    const client = (await visitor(port)).send(GET);
    await client.until(/half$/);
    lane.drop('site');
    await client.ended();
    await expect.poll(() => hung?.destroyed).toBe(true);
    expect(passed).toMatchObject([{ isComplete: false }]);
    expect(traffic.site('site').openRequests).toBe(0);
  });

  test('of a visitor is the end of what he has asked for', async () => {
    let left = 0;
    const target = await raw((_text, socket) => void socket.on('close', () => (left += 1)));
    const { port, lane } = await start(target);
    const gone = (await visitor(port)).send(GET);
    await expect.poll(() => lane.busy).toBe(1);
    gone.socket.resetAndDestroy();
    await expect.poll(() => left).toBe(1);
    // Who has nothing more to say has left, too.
    const half = (await visitor(port)).send(GET);
    await expect.poll(() => lane.busy).toBe(1);
    half.socket.end();
    await half.ended();
    await expect.poll(() => left).toBe(2);
    expect(lane.busy).toBe(0);
  });

  test('of ours lets answers that are under way come to theirs, and closes what is idle', async () => {
    let answer: (() => void) | undefined;
    const target = await raw((text, socket) => {
      if (!text.includes('/b')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      else answer = () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate');
    });
    const { port, lane } = await start(target);
    const [idle, quick] = [(await visitor(port)).send(GET), (await visitor(port)).send(GET)];
    await idle.until(/ok$/);
    await quick.until(/ok$/);
    const busy = (await visitor(port)).send(GET.replace('/a', '/b'));
    await expect.poll(() => answer).toBeDefined();
    const fresh = await visitor(port);
    await expect.poll(() => lane.visitors.size).toBe(4);
    // Is on its way when the stop begins.
    quick.send(GET);
    lane.stop();
    expect(lane.isBusy).toBe(true);
    await quick.until(/elsewhere: {2}GET/);
    await idle.ended();
    answer?.();
    expect(await busy.ended()).toMatch(/\r\nConnection: close\r\n[\s\S]*late$/);
    // It may still ask, and somebody else sees to it.
    await fresh.send(GET).until(/elsewhere: {2}GET/);
  });
});
