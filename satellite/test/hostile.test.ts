import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { LogEntry } from '../src/index.ts';
import { StoreError } from '../src/index.ts';
import { loggablePath } from '../src/loggable-path.ts';
import {
  api,
  ask,
  cleanup,
  DOMAIN,
  issue,
  LOGIN,
  listenOn,
  NODE1,
  NODE2,
  notebook,
  OUTSIDE,
  redeemed,
  satellite,
  scratch,
  siteHost,
  visit,
  wire,
} from './support.ts';

/** A live site whose notebook sends these bytes to every request, and may then do something to the connection. */
async function answering(bytes: string, then: (socket: Socket) => void = () => undefined, config = {}) {
  const target = await listenOn(
    createServer((socket: Socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.write(bytes, 'latin1', () => then(socket)));
    }),
  );
  const { port } = await satellite(config);
  return { port, token: await redeemed(port, target) };
}

const upgradeTo = (token: string): string =>
  `GET /ws HTTP/1.1\r\nHost: ${siteHost(token)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

describe('a neighbour on another node', () => {
  test('can not end a session by linking it to a job that is over', async () => {
    const { port } = await satellite();
    const token = await redeemed(port, 9000);
    await api(port, 'POST', '/jobs', [{ id: '7', state: 'COMPLETED' }]);
    const answer = await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '7' }, NODE2);
    expect([answer.status, answer.json().error]).toEqual([
      403,
      expect.objectContaining({ code: 'other-host' }),
    ]);
    const plain = await ask(port, { path: `/linktoken.cgi?token=${token}&jobid=7`, from: NODE2 });
    expect(plain.body).toMatch(/^Oops! /);
    expect((await api(port, 'GET', `/tokens/${token}`)).json()).toMatchObject({ state: 'mapped', job: null });
    // The login host's link to a job that lives is late, and right.
    expect((await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '8' }, LOGIN)).status).toBe(200);
  });

  test('can not rewrite the page of a session that is over', async () => {
    const { port } = await satellite();
    const say = async (token: string, reason: string) =>
      (await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'failed', reason }, NODE1)).status;
    const read = async (token: string) => (await api(port, 'GET', `/tokens/${token}`)).json().reason;
    const destroyed = await redeemed(port, 9000);
    expect(await say(destroyed, 'its own')).toBe(200);
    await ask(port, { path: `/destroytoken.cgi?token=${destroyed}`, from: NODE1 });
    expect([await say(destroyed, 'bob says hi'), await read(destroyed)]).toEqual([410, 'its own']);

    const ended = await redeemed(port, 9000);
    await api(port, 'PUT', `/tokens/${ended}/job`, { jobId: '9' });
    await api(port, 'POST', '/jobs', [{ id: '9', state: 'FAILED' }]);
    // The job's trap may be later than the scheduler, and may say it again.
    expect([await say(ended, 'its own'), await say(ended, 'its own')]).toEqual([200, 200]);
    expect([await say(ended, 'bob says hi'), await read(ended)]).toEqual([410, 'its own']);
  });

  test('can not make a job id an option, or hide other jobs behind a row that makes no sense', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    for (const jobId of ['-x0', '--help', '.', '+1'])
      expect((await api(port, 'PUT', `/tokens/${token}/job`, { jobId })).status, jobId).toBe(400);
    await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '5' });
    const answer = await api(port, 'POST', '/jobs', [
      { id: '7_[1,3]', state: 'PENDING' },
      { id: '4', state: 'PENDING', estimatedStart: '2026-00-00T00:00:00Z' },
      'nonsense',
      { id: '5', state: 'RUNNING' },
      { id: '5', state: 'RUNING' },
    ]);
    expect([answer.status, answer.json()]).toEqual([
      200,
      {
        updated: 1,
        skipped: [
          { index: 0, message: 'id: is not a job id' },
          { index: 1, message: expect.stringMatching(/^estimatedStart: /) },
          { index: 2, message: expect.stringMatching(/^body: /) },
          { index: 4, message: 'state: is no state of a job in Slurm, PBS, Grid Engine or LSF' },
        ],
      },
    ]);
    const state = async () =>
      (await api(port, 'GET', `/tokens/${token}`)).json<{ job: { state: string } }>().job.state;
    expect(await state()).toBe('RUNNING');
    const report = (lines: string) =>
      ask(port, { path: '/update-jobs.cgi', method: 'POST', body: `jobstates=${lines}`, from: LOGIN });
    expect((await report('5 PENDING\n5 RUNING\n')).body).toBe('Successfully updated jobs! \n');
    expect(await state()).toBe('PENDING');
  });

  test('redeems no port that is spelled oddly', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const answer = await ask(port, { path: `/redeemtoken.cgi?token=${token}&port=09000`, from: NODE1 });
    expect(answer.body).toMatch(/^Oops! 'port' parameter isn't an integer/);
  });

  test('starts no second proxy on the same state', async () => {
    const state = join(await scratch(), 'state.sqlite');
    const first = await satellite({ state });
    await expect(satellite({ state })).rejects.toThrow(StoreError);
    await expect(satellite({ state })).rejects.toThrow(/Another satellite is using it/);
    const token = await issue(first.port);
    await first.close();
    const second = await satellite({ state });
    expect((await api(second.port, 'GET', `/tokens/${token}`)).status).toBe(200);
  });
});

describe("somebody's page in an insider's browser", () => {
  const pages = [
    { Origin: 'https://elsewhere.example' },
    { Origin: 'null' },
    { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'no-cors' },
    { 'Sec-Fetch-Site': 'same-site' },
  ];

  test.each(pages)('can not use what its host may (%j)', async (headers: Record<string, string>) => {
    const { port } = await satellite();
    const [pending, mapped] = [await issue(port), await redeemed(port, 9000)];
    await api(port, 'PUT', `/tokens/${mapped}/job`, { jobId: '555' });
    const calls = [
      { path: '/getlink.cgi' },
      { path: `/linktoken.cgi?token=${pending}&jobid=1` },
      { path: `/redeemtoken.cgi?token=${pending}&port=9001` },
      { path: `/destroytoken.cgi?token=${mapped}` },
      { path: '/update-jobs.cgi', method: 'POST', body: 'jobstates=555 COMPLETED', from: LOGIN },
    ];
    for (const call of calls) {
      const answer = await ask(port, { from: NODE1, ...call, headers });
      expect([answer.status, answer.body]).toEqual([403, expect.stringMatching(/^Oops! /)]);
    }
    expect((await ask(port, { path: `/api/v1/tokens`, method: 'POST', from: NODE1, headers })).status).toBe(
      403,
    );
    for (const [token, state] of [
      [pending, 'pending'],
      [mapped, 'mapped'],
    ])
      expect((await api(port, 'GET', `/tokens/${token}`)).json()).toMatchObject({ state });
  });

  test('has nothing to do with an address that a person typed', async () => {
    const { port } = await satellite();
    const headers = { 'Sec-Fetch-Site': 'none', 'Sec-Fetch-Mode': 'navigate' };
    expect((await ask(port, { path: '/getlink.cgi', from: NODE1, headers })).body).toMatch(
      /is your token|Your token/i,
    );
  });
});

describe('requests that arrive all at once', () => {
  test('are passed on one at a time and in their order', async () => {
    let open = 0;
    const most: number[] = [];
    const upstream = await notebook((request, response) => {
      open += 1;
      most.push(open);
      request.resume().on('end', () =>
        setImmediate(() => {
          open -= 1;
          response.end(`did ${request.url}\n`);
        }),
      );
    });
    const { port } = await satellite();
    const token = await redeemed(port, upstream.port);
    const client = await wire(port);
    const post = (i: number) =>
      `POST /${i} HTTP/1.1\r\nHost: ${siteHost(token)}\r\nContent-Length: 4\r\n\r\nbody`;
    client.send(Array.from({ length: 20 }, (_, i) => post(i)).join(''));
    const text = await client.until(/did \/19\n/);
    expect(text.match(/did \/\d+/g)).toEqual(Array.from({ length: 20 }, (_, i) => `did /${i}`));
    expect(most).toEqual(Array.from({ length: 20 }, () => 1));
  });

  test('have a bound', async () => {
    const { port, token } = await answering('');
    const client = await wire(port);
    client.send(`GET / HTTP/1.1\r\nHost: ${siteHost(token)}\r\n\r\n`.repeat(200));
    expect(await client.ended()).toBe('');
  });

  test('are answered although nonsense follows, and that is answered last', async () => {
    const upstream = await notebook((_request, response) => setImmediate(() => response.end('good')));
    const { port } = await satellite();
    const token = await redeemed(port, upstream.port);
    const client = await wire(port);
    client.send(`GET / HTTP/1.1\r\nHost: ${siteHost(token)}\r\n\r\nGET / HTTP/1.1\r\nno colon\r\n\r\n`);
    expect(await client.ended()).toMatch(/^HTTP\/1\.1 200 [\s\S]*good[\s\S]*HTTP\/1\.1 400 /);
  });
});

describe('a visitor', () => {
  test('who reads no events gets the newest when he does, and nothing is kept for him', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '1' });
    const slow = await wire(port);
    slow.send(`GET /.well-known/satellite/events HTTP/1.1\r\nHost: ${siteHost(token)}\r\n\r\n`);
    await slow.until(/data: /);
    slow.socket.pause();
    const updates = 1500;
    for (let i = 1; i <= updates; i += 1) {
      // Ten thousand bytes each, once it is HTML.
      const reason = `${'<'.repeat(1900)} number ${i}.`;
      await api(port, 'POST', '/jobs', [{ id: '1', state: 'PENDING', reason }]);
    }
    slow.socket.resume();
    const text = await slow.until(new RegExp(`number ${updates}\\.`));
    // What the two kernels hold of it is theirs; without a bound it would be all of 15 MB.
    expect(text.length).toBeLessThan(updates * 10_000 * 0.75);
  }, 300_000);

  test('whose upload stands still is given up, and one that moves is not', async () => {
    const { port } = await satellite({ limits: { stallTime: '1s' } });
    const upstream = await notebook((request, response) => {
      request.resume().on('end', () => response.end('all of it'));
    });
    const token = await redeemed(port, upstream.port);
    const head = `POST / HTTP/1.1\r\nHost: ${siteHost(token)}\r\nContent-Length: 8\r\n\r\n`;
    const moving = await wire(port);
    moving.send(head);
    const pieces = setInterval(() => moving.send('x'), 200);
    const stalled = await wire(port);
    stalled.send(`${head}half`);
    expect(await stalled.ended()).toBe('');
    expect(await moving.until(/all of it/)).toMatch(/^HTTP\/1\.1 200 /);
    clearInterval(pieces);
  });

  test('who speaks HTTP/1.0 is not told to continue', async () => {
    const { port } = await satellite();
    const upstream = await notebook((request, response) => {
      request.resume().on('end', () => response.end('done'));
    });
    const token = await redeemed(port, upstream.port);
    for (const host of [siteHost(token), `manage.${DOMAIN}`]) {
      const client = await wire(port);
      client.send(`POST / HTTP/1.0\r\nHost: ${host}\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi`);
      expect(await client.ended()).toMatch(/^HTTP\/1\.1 (200|404) /);
    }
  });

  test('who only asks for the header of a new token gets none', async () => {
    const entries: LogEntry[] = [];
    const { port } = await satellite({}, { log: (entry) => entries.push(entry) });
    await ask(port, { path: '/getlink.cgi', method: 'HEAD' });
    expect(entries.filter(({ event }) => event === 'issued')).toEqual([]);
  });
});

describe('a notebook', () => {
  test('may take its time for a WebSocket', async () => {
    const { port, token } = await (async () => {
      const target = await listenOn(
        createServer((socket: Socket) => {
          socket.once('data', () =>
            setTimeout(() => {
              socket.write(
                'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nlate',
              );
            }, 1500),
          );
        }),
      );
      const proxy = await satellite({ limits: { connectTime: '1s' } });
      return { port: proxy.port, token: await redeemed(proxy.port, target) };
    })();
    const client = await wire(port);
    expect(await client.send(upgradeTo(token)).until(/late$|50\d/)).toMatch(/^HTTP\/1\.1 101 /);
  });

  test('that breaks off its refusal of a WebSocket does not look as if it had said all', async () => {
    const head = 'HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n';
    const whole = await answering(`${head}5\r\nhello\r\n0\r\n\r\n`);
    const client = await wire(whole.port);
    expect(await client.send(upgradeTo(whole.token)).ended()).toMatch(/\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/);
    const broken = await answering(`${head}5\r\nhello\r\n`, (socket) => socket.destroy());
    const cut = await wire(broken.port);
    const text = await cut.send(upgradeTo(broken.token)).ended();
    expect(text).toMatch(/hello/);
    expect(text).not.toMatch(/\r\n0\r\n\r\n$/);
  });

  test('that answers a WebSocket with a status that is none gives 502', async () => {
    const { port, token } = await answering('HTTP/1.1 0 x\r\nContent-Length: 0\r\n\r\n');
    const client = await wire(port);
    expect(await client.send(upgradeTo(token)).ended()).toMatch(/^HTTP\/1\.1 502 /);
  });

  test.each(['1000000000000000', '9007199254740993', '18446744073709551616'])(
    'whose answer says that it is %s bytes long gives 502',
    async (length) => {
      const { port, token } = await answering(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\nok`);
      for (const method of ['GET', 'POST', 'HEAD'])
        expect((await visit(port, token, { method })).status, method).toBe(502);
      const client = await wire(port);
      expect(await client.send(upgradeTo(token)).ended()).toMatch(/^HTTP\/1\.1 502 /);
    },
  );

  test.each([
    ['an early hint that nobody can read', 'HTTP/1.1 103 Early Hints\r\nLink: nonsense\r\n\r\n', 'OK'],
    ['a 100 Continue that nobody asked for', 'HTTP/1.1 100 Continue\r\n\r\n', 'OK'],
    ['a reason in the wrong alphabet', '', 'Aller bien \xc3\xa9\xe2\x82\xac'],
    ['no reason at all', '', ''],
  ])('may send %s', async (_what, before, reason) => {
    const { port, token } = await answering(`${before}HTTP/1.1 200 ${reason}\r\nContent-Length: 2\r\n\r\nok`);
    const answer = await visit(port, token);
    expect([answer.status, answer.body]).toEqual([200, 'ok']);
  });

  test('whose 204 has a length loses that', async () => {
    const { port, token } = await answering('HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n');
    expect((await visit(port, token)).headers).not.toHaveProperty('content-length');
  });

  test('hears nothing of a bare X-Forwarded', async () => {
    const seen: string[] = [];
    const upstream = await notebook((request, response) => {
      seen.push(...request.rawHeaders);
      response.end();
    });
    const { port } = await satellite();
    const token = await redeemed(port, upstream.port);
    await visit(port, token, { headers: { 'X-Forwarded': 'for=10.0.0.1', X_Forwarded: 'for=10.0.0.1' } });
    expect(seen.filter((field) => /^x[-_]forwarded$/i.test(field))).toEqual([]);
  });
});

describe('a trusted proxy', () => {
  test.each([
    ['192.0.2.7:51234', 'https', '192.0.2.7', 'https'],
    ['[2001:db8::7]:51234', 'https', '2001:db8::7', 'https'],
    // A stranger's claim, the first front over TLS, the second without.
    ['10.0.0.1, 192.0.2.7, 127.0.0.9', 'http, https, http', '192.0.2.7', 'https'],
    ['192.0.2.7', 'http, https', '192.0.2.7', 'https'],
  ])('says %s and %s', async (forwardedFor, forwardedProto, address, proto) => {
    const upstream = await notebook((request, response) =>
      response.end(`${request.headers['x-forwarded-for']} ${request.headers['x-forwarded-proto']}`),
    );
    const { port } = await satellite({ trustedProxies: ['127.0.0.0/24'] });
    const token = await redeemed(port, upstream.port);
    const answer = await visit(port, token, {
      headers: { 'X-Forwarded-For': forwardedFor, 'X-Forwarded-Proto': forwardedProto },
    });
    expect([answer.status, answer.body]).toEqual([200, `${address} ${proto}`]);
  });
});

describe('the log', () => {
  test('says that somebody could not be understood, and not what he sent', async () => {
    const entries: LogEntry[] = [];
    const logged = Promise.withResolvers<LogEntry>();
    const { port } = await satellite(
      {},
      {
        log: (entry) => {
          entries.push(entry);
          if (entry.event === 'unreadable') logged.resolve(entry);
        },
      },
    );
    const client = await wire(port);
    client.send('GET / HTTP/1.1\r\nHost sites.test-secret\r\n\r\n');
    expect(await client.ended()).toMatch(/^HTTP\/1\.1 400 /);
    expect(await logged.promise).toMatchObject({ event: 'unreadable', client: OUTSIDE });
    expect(JSON.stringify(entries)).not.toMatch(/secret/);
  });

  test.each([
    ['/api/v1/tokens/reopen%252dpout%252dunwarlike', '/api/v1/tokens/reopen-…'],
    ['/%72eopen%25252Dpout%2%64unwarlike/lab?x', '/reopen-…/lab'],
    ['/Reopen.pout.Unwarlike', '/Reopen-…'],
    ['/x/reopen_pout_unwarlike.html', '/x/reopen-….html'],
    ['/reopen%20pout+unwarlike/', '/reopen-…/'],
    ['/reopen%E2%80%90pout%e2%80%93unwarlike', '/reopen-…'],
    ['/lab.reopen.pout.unwarlike.lab', '/lab.reopen-….lab'],
    ['/a-b-c-d-e-reopen-pout-unwarlike', '/a-…'],
    [`/reopen%${'25'.repeat(9)}2dpout`, '(encoded too often)'],
  ])('has no token spelled in another way: %s', (path, logged) => {
    expect(loggablePath(path)).toBe(logged);
  });

  test.each([
    ['/%3Ftoken=SECRET', '/'],
    ['/lab%3ftoken%3DSECRET', '/lab'],
    ['/lab%253Ftoken=SECRET', '/lab'],
    ['/lab%2525%33%46token=SECRET', '/lab'],
    ['/lab;token=SECRET', '/lab'],
    ['/lab%3Btoken=SECRET', '/lab'],
    ['/lab&token=SECRET', '/lab'],
    ['/lab%2526token=SECRET', '/lab'],
    ['/lab%23token=SECRET', '/lab'],
    ['/reopen-pout-unwarlike/lab%3Ftoken=SECRET', '/reopen-…/lab'],
  ])('has no query, however somebody has written the link: %s', (path, logged) => {
    expect(loggablePath(path)).toBe(logged);
  });

  test.each([
    '/static/reopen.pout.js',
    '/lab/tree/reopen/pout/unwarlike%2Freopen',
    '/files/the%20data%20of%20spring%20%28final%29.ipynb',
    '/api/kernels/3fa85f64-5717-4562-b3fc-2c963f66afa6/channels',
    '/a%2fb%0A%ff%zz%',
    '/lab/tree/year=2024/token%3D3.csv',
  ])('has other paths as they are: %s', (path) => {
    expect(loggablePath(path)).toBe(path);
  });

  test('has no token in any case of letters, and no password', async () => {
    expect(loggablePath('/api/v1/tokens/GENTLEMAN-Second-third/job?x=1')).toBe(
      '/api/v1/tokens/GENTLEMAN-…/job',
    );
    const entries: LogEntry[] = [];
    const { port } = await satellite({}, { log: (entry) => entries.push(entry) });
    const client = await wire(port, OUTSIDE);
    client.send(`GET http://user:SECRET@x.test/ HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`);
    await client.ended();
    const closed = once(client.socket, 'close');
    cleanup(() => closed);
    client.socket.destroy();
    await expect.poll(() => JSON.stringify(entries)).toContain('(not a path)');
    expect(JSON.stringify(entries)).not.toContain('SECRET');
  });
});
