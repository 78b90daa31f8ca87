import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { EVENTS_PATH, STATE_PATH, STATE_TYPE } from '../src/pages/paths.ts';
import {
  api,
  ask,
  DOMAIN,
  freePort,
  issue,
  listenOn,
  NODE1,
  notebook,
  OUTSIDE,
  redeemed,
  satellite,
  siteHost,
  visit,
  wire,
} from './support.ts';

const BROWSER = { Accept: 'text/html,application/xhtml+xml,*/*;q=0.8', 'Sec-Fetch-Dest': 'document' };

/** The events of a site's page, as a browser receives them. */
async function events(port: number, token: string) {
  const client = await wire(port);
  client.send(`GET ${EVENTS_PATH} HTTP/1.1\r\nHost: ${siteHost(token)}\r\nAccept: text/event-stream\r\n\r\n`);
  const received = () =>
    [...client.text.matchAll(/data: (.*)\n\n/g)].map(
      ([, data]) => JSON.parse(data ?? '') as Record<string, string>,
    );
  return {
    client,
    /** All kinds so far, once the last is `kind` and its status or details match. */
    async until(kind: string, pattern = /./) {
      await client.until(
        new RegExp(`data: \\{"kind":"${kind}"[^\\n]*${pattern.source}[^\\n]*\\n\\n(\\r\\n)?`),
      );
      return received();
    },
  };
}

describe('a page before its site is live', () => {
  test('says what the scheduler and the job say, in words', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const read = async () => (await visit(port, token, { headers: BROWSER, path: '/lab?token=secret' })).body;
    expect(await read()).toContain('<h1 id="heading">Waiting for your session</h1>');
    await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '4711' });
    const estimatedStart = '2031-05-06T07:08:09Z';
    await api(port, 'POST', '/jobs', [
      { id: '4711', state: 'PD', position: 2, estimatedStart, reason: 'Priority' },
    ]);
    const queued = await read();
    expect(queued).toContain('Number 2 in the queue.');
    expect(queued).toContain('<time datetime="2031-05-06T07:08:09.000Z">2031-05-06 07:08 UTC</time>');
    expect(queued).toContain('higher priority');
    await api(port, 'POST', '/jobs', [{ id: '4711', state: 'RUNNING' }]);
    expect(await read()).toContain('Step 1 of 4: Compute node allocated.');
    await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'jupyter' });
    expect(await read()).toMatch(/<li class="now" aria-current="step">Starting Jupyter<\/li>/);
    await api(port, 'PUT', `/tokens/${token}/phase`, {
      phase: 'failed',
      reason: 'No module named <b>notebook</b>',
    });
    const failed = await read();
    expect(failed).toContain('No module named &#60;b&#62;notebook&#60;/b&#62;');
    expect(failed).toContain('start-jupyter logs');
    for (const page of [queued, failed]) {
      expect(page).not.toContain('secret');
      expect(page).not.toContain(token);
    }
  });

  test('loads nothing, runs nothing but its own, and stays nowhere', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const { headers, body } = await visit(port, token, { headers: BROWSER });
    expect(headers).toMatchObject({ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' });
    expect(headers['content-security-policy']).toMatch(
      /^default-src 'none'; style-src 'sha256-[\w+/=]+'; script-src 'sha256-[\w+/=]+'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/,
    );
    expect(body).not.toMatch(/(src|href)="(?!data:|")/);
    expect(body).toContain('<noscript><meta http-equiv="refresh" content="5"></noscript>');
  });

  test('programs, scripts and images get 503', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    for (const headers of [
      { Accept: 'application/json' },
      { Accept: 'image/avif,image/*' },
      { Accept: '*/*', 'Sec-Fetch-Dest': 'empty' },
      { Accept: 'text/html', 'Sec-Fetch-Dest': 'script' },
    ]) {
      const answer = await visit(port, token, { headers });
      expect([answer.status, answer.headers['retry-after']], JSON.stringify(headers)).toEqual([503, '5']);
      expect(answer.headers['content-type']).not.toBe('text/html');
    }
    // The original's answer to a plain curl is for the site itself.
    for (const [path, status] of [
      ['/', 200],
      ['/?token=x', 200],
      ['/api', 503],
      ['/lab?token=x', 503],
    ] as const) {
      const answer = await visit(port, token, { path, headers: { Accept: '*/*' } });
      expect(answer.status, path).toBe(status);
    }
    const json = await visit(port, token, { headers: { Accept: 'application/json' } });
    expect(json.json()).toEqual({ error: { code: 'waiting', message: expect.stringMatching(/^Waiting/) } });
    expect((await visit(port, token, { method: 'POST', body: 'x', headers: BROWSER })).status).toBe(503);
  });
});

describe('events', () => {
  test('from the queue to live, each at once', async () => {
    const upstream = await notebook((_request, response) => response.end('the notebook'));
    const { port } = await satellite();
    const token = await issue(port);
    const page = await events(port, token);
    await page.until('waiting');
    await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '4711' });
    // Submitted is known at once, before the scheduler's first report.
    await page.until('queued', /Submitted to the queue/);
    await api(port, 'POST', '/jobs', [{ id: '4711', state: 'PENDING', position: 2 }]);
    await page.until('queued', /Number 2/);
    await api(port, 'POST', '/jobs', [{ id: '4711', state: 'PENDING', position: 1 }]);
    await page.until('queued', /Next in the queue/);
    await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'environment' });
    await page.until('starting', /Step 2/);
    await api(port, 'POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1);
    const kinds = (await page.until('live')).map(({ kind }) => kind);
    // Between redemption and the proxy's first connection lies one more "starting".
    expect(kinds).toEqual(['waiting', 'queued', 'queued', 'queued', 'starting', 'starting', 'live']);
    await page.client.until(/\r\n0\r\n\r\n$/);
    // From now on the path is the site's own.
    expect((await visit(port, token, { path: EVENTS_PATH })).body).toBe('the notebook');
    expect((await visit(port, token, { path: STATE_PATH })).headers['content-type']).not.toBe(STATE_TYPE);
  });

  test('a site that is redeemed before its notebook listens is live when it does', async () => {
    const { port } = await satellite();
    const target = await freePort();
    const token = await redeemed(port, target);
    const page = await events(port, token);
    await page.until('starting', /Step 4/);
    await listenOn(createServer(), target);
    await page.until('live');
    expect((await ask(port, { path: `/tokenjobstate.cgi?token=${token}` })).body).toBe('PR');
  });

  test('the end of a session, and then no more', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const page = await events(port, token);
    await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'failed', reason: 'the disk is full' });
    await page.until('failed', /the disk is full/);
    await page.client.until(/\r\n0\r\n\r\n$/);
  });

  test('the same by asking', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    const answer = await visit(port, token, { path: STATE_PATH });
    expect([answer.status, answer.headers['content-type'], answer.json().kind]).toEqual([
      200,
      STATE_TYPE,
      'waiting',
    ]);
    expect((await visit(port, token, { path: '/.well-known/satellite/else' })).status).toBe(404);
  });
});

describe('names without a site', () => {
  test('people get help, and learn nothing about other names', async () => {
    const { port } = await satellite();
    const read = (name: string) => visit(port, name, { headers: BROWSER });
    const right = await read('abacus-abdomen-abide');
    expect(right.status).toBe(404);
    expect(right.body).toContain('start-jupyter list');
    expect(right.body).not.toMatch(/abacus|Did you mean/);
    // Not even that one letter beside it there is a session.
    const token = await issue(port);
    const [first, ...others] = token.split('-');
    const beside = await read([`${first}x`, ...others].join('-'));
    const farAway = await read([`${first}x`, 'abdomen', 'abide'].join('-'));
    expect(beside.body).toBe(farAway.body);
    expect((await read('abide-abacus-abdomen')).body).toBe(right.body);
    const apex = await ask(port, { host: DOMAIN, from: OUTSIDE });
    expect([apex.status, apex.body]).toEqual([200, 'Please see documentation on how to use this service.\n']);
  });

  test.each([
    ['abacus-abdommen-abide', /“abdommen” in it\. Did you mean “abdomen”\?/],
    ['abacus-abdomen-qqqqqqqqqqqqqqqqqqqqqqqq', /“qqqqqqqqqqqqqqqqqqqqqqqq” in it\.</],
    ['abacus-abdomen', /has 3 words; this one has 2\./],
    ['abacus-abdomen-abide-ability', /has 3 words; this one has 4\./],
    ['manage2', /has 3 words; this one has 1\./],
  ])('%s: the page says what is wrong with it', async (name, hint) => {
    const { port } = await satellite();
    expect((await visit(port, name, { headers: BROWSER })).body).toMatch(hint);
  });

  test('programs get an error unless they ask as the recorded curl does', async () => {
    const { port } = await satellite();
    for (const [headers, status] of [
      [{}, 200],
      [{ Accept: '*/*' }, 200],
      [{ Accept: 'application/json' }, 404],
      [{ Accept: '*/*', 'Sec-Fetch-Dest': 'empty' }, 404],
      [{ Accept: 'image/png' }, 404],
    ] as const)
      expect((await visit(port, 'no-such-name', { headers })).status, JSON.stringify(headers)).toBe(status);
    const json = await visit(port, 'no-such-name', { headers: { Accept: 'application/json' } });
    expect(json.json()).toMatchObject({ error: { code: 'unknown' } });
  });

  test('a session that is over says why, with 410', async () => {
    const { port } = await satellite();
    const token = await issue(port);
    await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'ended', reason: 'You shut Jupyter down.' });
    await api(port, 'DELETE', `/tokens/${token}`);
    const page = await visit(port, token, { headers: BROWSER });
    expect(page.status).toBe(410);
    expect(page.body).toContain('You shut Jupyter down.');
    const plain = await visit(port, token);
    expect([plain.status, plain.body]).toEqual([410, 'This session has ended. You shut Jupyter down.\n']);
  });
});

describe('a way in which a session is over', () => {
  test.each([
    ['TIMEOUT', 'This session has ended', 'The time limit was reached.', 'start-jupyter -t 4h'],
    ['OUT_OF_MEMORY', 'This session broke off', 'The job ran out of memory.', 'start-jupyter -m 32'],
    ['NODE_FAIL', 'This session broke off', 'The compute node failed.', 'It was nothing you did.'],
    ['PREEMPTED', 'This session has ended', 'The job was preempted', 'It was nothing you did.'],
    ['CANCELLED by 1000', 'This session has ended', 'The job was cancelled.', 'start-jupyter</code>'],
    ['FAILED', 'This session broke off', 'The job failed.', 'start-jupyter logs'],
  ])('%s', async (state, heading, reason, advice) => {
    const { port } = await satellite();
    const [reported, givenBack] = [
      await redeemed(port, await freePort()),
      await redeemed(port, await freePort()),
    ];
    for (const token of [reported, givenBack])
      await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '4711' });
    // By a job whose own words the proxy did not hear, before anybody has reported its end.
    await api(port, 'DELETE', `/tokens/${givenBack}`, undefined, NODE1);
    await api(port, 'POST', '/jobs', [{ id: '4711', state }]);
    for (const token of [reported, givenBack]) {
      const { status, body } = await visit(port, token, { headers: BROWSER });
      expect(status).toBe(410);
      for (const text of [heading, reason, advice, '4711']) expect(body).toContain(text);
      expect(body).not.toContain('<script>');
    }
  });

  test('given back while its job runs', async () => {
    const { port } = await satellite();
    const token = await redeemed(port, await freePort());
    await api(port, 'PUT', `/tokens/${token}/job`, { jobId: '4711' });
    await api(port, 'POST', '/jobs', [{ id: '4711', state: 'RUNNING' }]);
    await api(port, 'DELETE', `/tokens/${token}`, undefined, NODE1);
    expect((await visit(port, token)).body).toBe(
      'This session has ended. Nothing runs at this address any more.\n',
    );
  });
});

describe('trouble', () => {
  const dying = () => notebook((request) => request.socket.destroy());

  test('a page that tries again', async () => {
    const { port } = await satellite();
    const token = await redeemed(port, (await dying()).port);
    const get = await visit(port, token, { headers: BROWSER });
    expect([get.status, get.body.includes('<noscript><meta http-equiv="refresh"')]).toEqual([502, true]);
  });

  test('a page that never sends a form again', async () => {
    const { port } = await satellite();
    const token = await redeemed(port, (await dying()).port);
    const post = await visit(port, token, { method: 'POST', body: 'x=1', headers: BROWSER });
    expect([post.status, post.headers['content-type']]).toEqual([502, 'text/html']);
    expect(post.body).toContain('may not have arrived');
    expect(post.body).not.toMatch(/<script|http-equiv/);
  });

  test('programs get JSON that want it, and when to try again', async () => {
    const { port } = await satellite();
    const token = await redeemed(port, (await dying()).port);
    const json = await visit(port, token, { headers: { Accept: 'application/json' } });
    expect([json.status, json.headers['retry-after'], json.json()]).toEqual([
      502,
      '5',
      { error: { code: 'trouble', message: 'The connection to the compute node broke off.' } },
    ]);
  });

  test('programs get text, and when to try again', async () => {
    const { port } = await satellite();
    const token = await redeemed(port, (await dying()).port);
    const text = await visit(port, token, { path: '/api' });
    expect([text.status, text.headers['content-type']]).toEqual([502, 'text/plain']);
    expect([text.headers['retry-after'], text.body]).toEqual([
      '5',
      'The connection to the compute node broke off.\n',
    ]);
  });

  test('a page that did not hear of the site’s being live is told when it asks', async () => {
    const { port } = await satellite();
    const token = await redeemed(port, (await dying()).port);
    const state = await visit(port, token, { path: STATE_PATH, headers: { Accept: STATE_TYPE } });
    expect([state.status, state.headers['content-type'], state.json().kind]).toEqual([
      502,
      STATE_TYPE,
      'trouble',
    ]);
  });

  test('too many wrong names: 429, as a page for people', async () => {
    const { port } = await satellite({ limits: { unknownNamesPerMinute: 1 } });
    await visit(port, 'no-such-name');
    const page = await visit(port, 'no-such-name', { headers: BROWSER });
    expect([page.status, page.headers['retry-after'], page.headers['content-type']]).toEqual([
      429,
      '60',
      'text/html',
    ]);
    expect(page.body).toContain('content="60"');
    const plain = await visit(port, 'no-such-name');
    expect([plain.status, plain.headers['content-type']]).toEqual([429, 'text/plain']);
  });

  test('too many requests to one site: 503, as a page for people', async () => {
    const { port } = await satellite({ limits: { requestsPerSite: 1 } });
    const reached = Promise.withResolvers<void>();
    const token = await redeemed(port, (await notebook(() => reached.resolve())).port);
    (await wire(port)).send(`GET / HTTP/1.1\r\nHost: ${siteHost(token)}\r\n\r\n`);
    await reached.promise;
    const page = await visit(port, token, { headers: BROWSER });
    expect([page.status, page.headers['retry-after']]).toEqual([503, '1']);
    expect(page.body).toContain('too many requests under way');
  });

  test('a WebSocket to a site that is not live is told so', async () => {
    const { port } = await satellite();
    const pending = await issue(port);
    const gone = await issue(port);
    await api(port, 'DELETE', `/tokens/${gone}`);
    for (const [name, status] of [
      [pending, 503],
      [gone, 410],
      ['no-such-name', 404],
    ] as const) {
      const client = await wire(port);
      client.send(
        `GET /api/kernels HTTP/1.1\r\nHost: ${siteHost(name)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
      );
      expect(await client.ended()).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    }
  });
});

describe('what the operator says', () => {
  test('is text and a link, whatever it holds', async () => {
    const { port } = await satellite({
      title: '</title><script>alert(1)</script>',
      contact: 'mailto:a@b.test?subject="><script>alert(2)</script>',
      help: 'https://x.test/"><script>alert(3)</script>',
    });
    const answer = await visit(port, await issue(port), { headers: { Accept: 'text/html' } });
    expect(answer.body.match(/<footer>.*<\/footer>/s)?.[0]).not.toMatch(/<script/);
    expect(answer.body).toMatch(/<footer><span>&#60;\/title&#62;/);
    const unknown = await visit(port, 'no-such-name', { headers: { Accept: 'text/html' } });
    expect(unknown.body).toContain('<footer>');
    const silent = await satellite();
    expect((await visit(silent.port, await issue(silent.port))).body).not.toContain('<footer>');
  });

  test.each([
    'javascript:alert(1)',
    'http://x.test/',
    'data:text/html,x',
    '//x.test/',
    'help@example.edu',
    'file:///etc/passwd',
  ])('%s is no link', async (text) => {
    for (const key of ['contact', 'help'])
      await expect(satellite({ [key]: text })).rejects.toThrow(/is not a link; write an https:/);
  });
});
