import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { chmod, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { configSchema } from '../../src/config.ts';
import { isAlive } from '../alive.ts';
import { makeCertificate, namesBelow } from '../certificate.ts';
import {
  api,
  ask,
  cleanup,
  DOMAIN,
  issue,
  NODE1,
  NODE2,
  notebook,
  redeemed,
  scratch,
  siteHost,
  visit,
  wire,
} from '../support.ts';
import { outcome, type Program, run, satelliteCommand, serve, serveArguments } from './program.ts';

/** Does something with all of them, fifty at a time. */
async function each<T>(items: readonly T[], action: (item: T) => Promise<unknown>): Promise<void> {
  const left = items.values();
  const worker = async (): Promise<void> => {
    for (const item of left) await action(item);
  };
  await Promise.all(Array.from({ length: 50 }, worker));
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Asks for all of it, and kills the proxy when 300 have had their answer. Returns those that had one in the end. */
async function killedAmid<T>(
  child: Program,
  items: readonly T[],
  isDone: (item: T) => Promise<boolean>,
): Promise<T[]> {
  const answered: T[] = [];
  const killed = once(child, 'close');
  await each(items, async (item) => {
    // Who hears nothing has been promised nothing.
    if (await isDone(item).catch(() => false)) answered.push(item);
    if (answered.length === 300) child.kill('SIGKILL');
  });
  expect(await killed).toEqual([null, 'SIGKILL']);
  expect(answered.length).toBeGreaterThanOrEqual(300);
  expect(answered.length).toBeLessThan(items.length);
  return answered;
}

describe('satellite serve', () => {
  test('what was answered "Success!" survives kill -9 in the middle of 1,000 redemptions', async () => {
    const state = join(await scratch(), 'state.sqlite');
    const upstream = await notebook((request, response) =>
      response.end(`notebook of ${request.headers.host}`),
    );
    const first = await serve('--listen', '127.0.0.1:0', '--state', state);
    const pending = await issue(first.port);
    await api(first.port, 'PUT', `/tokens/${pending}/job`, { jobId: '4711' });
    await api(first.port, 'PUT', `/tokens/${pending}/phase`, { phase: 'environment' });
    const tokens: string[] = [];
    await each(range(1000), async () => void tokens.push(await issue(first.port)));
    const redeem = (port: number, token: string, from = NODE1) =>
      ask(port, { path: `/redeemtoken.cgi?token=${token}&port=${upstream.port}`, from });

    const succeeded = await killedAmid(first.child, tokens, async (token) =>
      /^Success!/.test((await redeem(first.port, token)).body),
    );
    const { port } = await serve('--listen', '127.0.0.1:0', '--state', state);
    await each(succeeded, async (token) => {
      expect((await visit(port, token)).body).toBe(`notebook of ${siteHost(token)}`);
    });
    // Some of the others were redeemed, and the answer died with the proxy: they are live, or can be redeemed now.
    await each(tokens, async (token) => {
      const { body } = await redeem(port, token);
      if (succeeded.includes(token)) expect(body).toMatch(/^Oops! .* already used/);
      expect((await redeem(port, token, NODE2)).body).toMatch(/^Oops! .* already used/);
      expect((await visit(port, token)).body).toBe(`notebook of ${siteHost(token)}`);
    });
    expect((await api(port, 'GET', `/tokens/${pending}`)).json()).toMatchObject({
      state: 'pending',
      phase: 'environment',
      job: { id: '4711' },
    });
    for (const suffix of ['', '-wal']) expect(statSync(`${state}${suffix}`).mode & 0o777).toBe(0o600);
  });

  test('kill -9 loses no token that was handed out', async () => {
    const state = join(await scratch(), 'state.sqlite');
    const first = await serve('--listen', '127.0.0.1:0', '--state', state);
    const tokens: string[] = [];
    await killedAmid(first.child, range(1000), async () => tokens.push(await issue(first.port)) > 0);
    const { port } = await serve('--listen', '127.0.0.1:0', '--state', state);
    expect(new Set(tokens).size).toBe(tokens.length);
    await each(tokens, async (token) => {
      expect((await api(port, 'GET', `/tokens/${token}`)).json().state).toBe('pending');
    });
  });

  test('kill -9 brings back no site that was given up', async () => {
    const state = join(await scratch(), 'state.sqlite');
    const upstream = await notebook((_request, response) => response.end('the notebook'));
    const first = await serve('--listen', '127.0.0.1:0', '--state', state);
    const tokens: string[] = [];
    await each(range(500), async () => void tokens.push(await redeemed(first.port, upstream.port)));
    const destroyed = await killedAmid(first.child, tokens, async (token) => {
      return (await api(first.port, 'DELETE', `/tokens/${token}`, undefined, NODE1)).status === 204;
    });
    const { port } = await serve('--listen', '127.0.0.1:0', '--state', state);
    await each(tokens, async (token) => {
      const { status, body } = await visit(port, token);
      // Of those that nobody was answered about, either may be true, and nothing else.
      if (destroyed.includes(token) || status !== 200) expect(status).toBe(410);
      else expect(body).toBe('the notebook');
    });
  });

  test('with its open files used up it says so, serves who is there, and recovers', async () => {
    const limited = ['bash', '-c', 'ulimit -n 128 && exec "$0" "$@"', ...satelliteCommand, ...serveArguments];
    const child = run([...limited, '--listen', '127.0.0.1:0', '--state', ':memory:']);
    const listening = await child.logged('listening');
    expect(listening.openFiles).toBe(128);
    const port = Number(listening.port);
    const upstream = await notebook((request, response) => {
      if (request.url !== '/never') response.end('the notebook');
    });
    // Who is there keeps the connection towards the notebook, however long the crowd takes.
    upstream.keepAliveTimeout = 0;
    const token = await redeemed(port, upstream.port);
    const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: ${siteHost(token)}\r\n\r\n`;
    const first = await wire(port);
    await first.send(get('/')).until(/the notebook/);

    const crowd = await Promise.all(range(200).map(() => wire(port)));
    expect(await child.logged('limited')).toMatchObject({ limit: 'descriptors', message: /128 open files/ });
    await first.send(get('/again')).until(/the notebook[\s\S]*the notebook/);
    // Those who got in ask for more than there is room for towards the notebook.
    const full = /^HTTP\/1\.1 503 [\s\S]*The proxy has no room for another connection/;
    await Promise.any(crowd.map((one) => one.send(get('/never')).until(full)));

    for (const { socket } of crowd) socket.destroy();
    // The proxy hears of it a little later than we do.
    let body: string | undefined;
    while (body !== 'the notebook') body = (await visit(port, token).catch(() => undefined))?.body;
    // Hundreds were turned away, and the log says it once.
    expect(child.lines.filter((line) => line.includes('"limited"'))).toHaveLength(1);
  });

  test('SIGTERM ends it in order, with open connections', async () => {
    const { child, port } = await serve(
      ...['--listen', '127.0.0.1:0', '--state', ':memory:', '--stop-grace', '200ms'],
    );
    const upstream = await notebook((_request, response) => void response.write('open'));
    const token = await issue(port);
    await api(port, 'POST', `/tokens/${token}/redeem`, { port: upstream.port }, NODE1);
    const open = visit(port, token).catch(() => 'closed');
    await once(upstream, 'request');
    const ended = once(child, 'close');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    expect(await open).toBe('closed');
    expect(JSON.parse(child.lines.at(-1) ?? '')).toMatchObject({ event: 'stopped' });
  });

  test('a second SIGTERM does not wait for anybody', async () => {
    const { child, port } = await serve(
      ...['--listen', '127.0.0.1:0', '--state', ':memory:', '--stop-grace', '1h'],
    );
    const upstream = await notebook((_request, response) => void response.write('open'));
    const token = await redeemed(port, upstream.port);
    const open = visit(port, token).catch(() => 'closed');
    await once(upstream, 'request');
    const ended = once(child, 'close');
    child.kill('SIGTERM');
    await child.logged('stopping');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    expect(await open).toBe('closed');
  });

  test('SIGHUP and SIGUSR1 neither end it nor open a debugger', async () => {
    const { child, port } = await serve('--listen', '127.0.0.1:0', '--state', ':memory:');
    child.kill('SIGUSR1');
    child.kill('SIGHUP');
    await child.logged('nothing-to-reload');
    expect((await api(port, 'POST', '/tokens')).status).toBe(201);
    const ended = once(child, 'close');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    expect(child.lines.join('\n')).not.toContain('Debugger');
  });

  test('outlives the reader of its log', async () => {
    const { child, port } = await serve('--listen', '127.0.0.1:0', '--state', ':memory:');
    child.stderr?.destroy();
    for (let i = 0; i < 5; i += 1) expect((await api(port, 'POST', '/tokens')).status).toBe(201);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  });

  test('its log has no queries and no whole tokens', async () => {
    const { child, port } = await serve('--listen', '127.0.0.1:0', '--state', ':memory:');
    const token = await issue(port);
    // No word that a name may begin with.
    await visit(port, token, { path: '/lab?token=s3cret' });
    await api(port, 'POST', `/tokens/${token}/redeem?x=s3cret`, { port: 9000 }, NODE1);
    await api(port, 'GET', `/tokens/${token}`);
    await api(port, 'DELETE', `/tokens/${token}`, undefined, NODE1);
    const ended = once(child, 'close');
    child.kill('SIGINT');
    await ended;
    const text = child.lines.join('\n');
    expect(text).toContain(`${token.split('-')[0]}-…`);
    expect(text).toContain('"path":"/lab"');
    expect(text).not.toContain(token);
    expect(text).not.toContain('s3cret');
    for (const line of child.lines) expect(JSON.parse(line)).toMatchObject({ time: expect.any(String) });
  });

  test('a configuration file, and options over it', async () => {
    const file = join(await scratch(), 'satellite.yaml');
    const write = (text: string) => writeFile(file, text);
    await write(`domain: wrong.test\nlisten: 127.0.0.1:0\ntls: off\nstate: ":memory:"\ntokenTtl: 2h\n`);
    const { port } = await serve('--config', file);
    const { expiresAt } = (await api(port, 'POST', '/tokens')).json<{ expiresAt: string }>();
    expect(Math.round((Date.parse(expiresAt) - Date.now()) / 60_000)).toBe(120);

    await write(
      'domain: a.test\ntls: { cret: x, key: y }\nintrenalNetworks: []\ntrustedProxies: 10.0.0.1\nlisten: nowhere\ntokenTtl: soon\n',
    );
    const { code, lines } = await outcome('serve', '--config', file);
    expect(code).toBe(3);
    const text = lines.join('\n');
    for (const fault of [
      'intrenalNetworks: is not a known key; did you mean internalNetworks?',
      'trustedProxies: is a list; write it as [10.21.0.0/16]',
      'listen: "nowhere" is not an address to listen on; write HOST:PORT, such as 0.0.0.0:443',
      'tokenTtl: "soon" is not a duration; write it as 49h, 90m or 1d12h',
    ]) {
      expect(text).toContain(`satellite: ${file}: ${fault}`);
    }
    expect(text).not.toMatch(/\bat .*\.ts:\d+/);
  });

  test('a mistake in a configuration file names it; one of an option does not', async () => {
    const file = join(await scratch(), 'satellite.yaml');
    await writeFile(
      file,
      `domain: ${DOMAIN}\ntls: off\nstate: ':memory:'\nlimits: { headerTimes: 1s }\nhsts: no\n`,
    );
    const inFile = [
      `satellite: ${file}: limits.headerTimes: is not a known key; did you mean headerTime?`,
      expect.stringContaining(`satellite: ${file}: hsts: is a duration`),
    ];
    expect(await outcome('status', '--config', file)).toEqual({ code: 3, lines: inFile });
    expect(await outcome('serve', '--config', file)).toEqual({ code: 3, lines: inFile });
    expect(await outcome('front', 'nginx', '--config', file)).toEqual({ code: 3, lines: inFile });
    const front = await outcome('front', 'nginx', '--config', file, '--domain', '10.0.0.1');
    expect(front.lines).toEqual([
      inFile[0],
      expect.stringMatching(/^satellite: domain: is an address/),
      inFile[1],
    ]);
    const given = await outcome('serve', '--config', file, '--hsts', 'never', '--token-ttl', 'soon');
    expect(given.lines).toEqual([
      inFile[0],
      expect.stringMatching(/^satellite: hsts: is a duration/),
      expect.stringMatching(/^satellite: tokenTtl: "soon" is not/),
    ]);
  });

  test('--help knows every key of the configuration', async () => {
    const { code, lines } = await outcome('serve', '--help');
    const options = lines.flatMap((line) => /^ +(?:-\w, )?--([a-z0-9-]+)/.exec(line)?.[1] ?? []);
    const kebab = (key: string) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const others = ['limits', 'help', 'auth', 'routes', 'directHosts', 'haproxy'];
    const keys = Object.keys(configSchema.shape).filter((key) => !others.includes(key));
    expect([code, options]).toEqual([0, expect.arrayContaining([...keys.map(kebab), 'help-link', 'help'])]);
    const { port } = await serve(
      ...['--listen', '127.0.0.1:0', '--state', ':memory:', '--help-link', 'https://docs.test/'],
    );
    const page = await visit(port, 'no-such-site', { headers: { Accept: 'text/html' } });
    expect(page.body).toContain('href="https://docs.test/"');
  });

  test('status shows sites to the operator, and no names', async () => {
    const folder = await scratch();
    const [state, file] = [join(folder, 'state.sqlite'), join(folder, 'satellite.yaml')];
    await writeFile(file, `domain: ${DOMAIN}\ntls: off\nstate: ${state}\n`);
    const away = await outcome('status', '--config', file);
    expect([away.code, away.lines.join('\n')]).toEqual([4, expect.stringMatching(/No proxy answers for/)]);
    // Killed, and its socket left behind.
    const first = await serve('--listen', '127.0.0.1:0', '--state', state);
    const killed = once(first.child, 'close');
    first.child.kill('SIGKILL');
    await killed;

    const { port } = await serve('--listen', '127.0.0.1:0', '--state', state);
    expect(statSync(`${state}.sock`).mode & 0o777).toBe(0o600);
    const upstream = await notebook((_request, response) => response.end('x'.repeat(5000)));
    const [live, pending] = [await issue(port), await issue(port)];
    await api(port, 'PUT', `/tokens/${live}/job`, { jobId: '4711' });
    await api(port, 'POST', `/tokens/${live}/redeem`, { port: upstream.port }, NODE1);
    await visit(port, live);
    const { code, lines } = await outcome('status', '--config', file);
    expect([code, lines.length, lines.at(-1)]).toEqual([0, 4, '1 live, 1 waiting']);
    const line = lines.find((text) => text.includes('mapped')) ?? '';
    expect(line).toMatch(
      new RegExp(`^${live.split('-')[0]}-… +mapped .* ${NODE1}:${upstream.port} +4711 .* 4\\.9K$`),
    );
    const json = JSON.parse((await outcome('status', '--config', file, '--json')).lines.join(''));
    expect(json).toMatchObject([
      { visitors: 1, requests: 1, bytesOut: 5000 },
      { state: 'pending', target: null },
    ]);
    for (const token of [live, pending]) expect(JSON.stringify([lines, json])).not.toContain(token);
  });

  test.runIf(process.getuid?.() === 0)(
    'status of a proxy of somebody else is a matter of permission',
    async () => {
      const folder = await scratch();
      await chmod(folder, 0o755);
      const [state, file] = [join(folder, 'state.sqlite'), join(folder, 'satellite.yaml')];
      await writeFile(file, `domain: ${DOMAIN}\ntls: off\nstate: ${state}\n`);
      await serve('--listen', '127.0.0.1:0', '--state', state);
      const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'];
      const asked = run([...nobody, ...satelliteCommand, 'status', '--config', file]);
      expect(await once(asked, 'close')).toEqual([4, null]);
      expect(asked.lines).toEqual([
        `satellite: ${state}.sock is not for this user: the proxy answers its own user and root.`,
      ]);
    },
  );

  test.each([
    ['front', ['front', 'nginx']],
    ['haproxy-config', ['haproxy-config']],
    ['status', ['status']],
    ['status --json', ['status', '--json']],
  ])(
    '%s ends quietly where nobody reads what it prints, and says what else is in the way',
    async (_, args) => {
      const folder = await scratch();
      const [state, file] = [join(folder, 'state.sqlite'), join(folder, 'satellite.yaml')];
      const haproxy = `haproxy: { socket: ${folder}/admin.sock, directory: ${folder} }`;
      await writeFile(file, `domain: ${DOMAIN}\ntls: off\nstate: ${state}\n${haproxy}\n`);
      await serve('--listen', '127.0.0.1:0', '--state', state);
      const unread = run([...satelliteCommand, ...args, '--config', file]);
      unread.stdout?.destroy();
      expect(await once(unread, 'close')).toEqual([0, null]);
      expect(unread.lines).toEqual([]);
      const full = run(['sh', '-c', '"$@" >/dev/full', 'sh', ...satelliteCommand, ...args, '--config', file]);
      expect(await once(full, 'close')).toEqual([3, null]);
      expect(full.lines).toEqual([expect.stringMatching(/^satellite: The output can't be written: ENOSPC/)]);
    },
  );

  test.each([
    ['an option that does not exist', 2, ['serve', '--domian', 'x.test'], /--domain/],
    [
      'a file that does not exist',
      3,
      ['serve', '--config', '/nonexistent.yaml'],
      /nonexistent\.yaml can't be read/,
    ],
    ['no domain', 3, ['serve', '--tls', 'off'], /domain: is needed/],
    ['no certificate', 3, ['serve', '--domain', 'x.test'], /tls: is needed: cert and key files/],
    [
      'a limit that is none',
      3,
      [
        'serve',
        '--domain',
        'x.test',
        '--tls',
        'off',
        '--limits-header-time',
        'soon',
        '--limits-tokens-per-minute',
        'many',
      ],
      /limits\.headerTime: "soon" is not a duration/,
    ],
    ['half a certificate', 3, ['serve', '--domain', 'x.test', '--tls-cert', 'x.pem'], /tls/],
    [
      'a network that is none',
      3,
      ['serve', '--domain', 'x.test', '--tls', 'off', '--internal-networks', '10.0.0.0/99'],
      /internalNetworks: "10\.0\.0\.0\/99" is not a network; write it as 10\.21\.0\.0\/16/,
    ],
    [
      'a state that can not be kept',
      4,
      [
        'serve',
        '--domain',
        'x.test',
        '--tls',
        'off',
        '--listen',
        '127.0.0.1:0',
        '--state',
        '/nonexistent/state',
      ],
      /Could not open the state in \/nonexistent\/state/,
    ],
    [
      'an address that is not ours',
      3,
      ['serve', '--domain', 'x.test', '--tls', 'off', '--listen', '192.0.2.1:8080', '--state', ':memory:'],
      /can't listen on 192\.0\.2\.1:8080/,
    ],
    ...['--listen', '--redirect-http-from', '--metrics-listen'].map(
      (option): [string, number, string[], RegExp] => [
        `a name that does not exist for ${option}`,
        3,
        [
          'serve',
          '--domain',
          'x.test',
          '--tls',
          'off',
          '--state',
          ':memory:',
          '--listen',
          '127.0.0.1:0',
          option,
          'no.invalid:0',
        ],
        /^satellite: can't listen on no\.invalid: .*Write an address/,
      ],
    ),
    [
      'durations that are too long',
      3,
      [
        'serve',
        '--domain',
        'x.test',
        '--tls',
        'off',
        '--state',
        ':memory:',
        '--token-ttl',
        '99999999999d',
        '--stop-grace',
        '25d',
      ],
      /stopGrace: "25d" is too long; write 24d at most[\s\S]*tokenTtl: "99999999999d" is too long; write 3650d at most/,
    ],
    [
      'a state that is another database server',
      3,
      ['serve', '--domain', 'x.test', '--tls', 'off', '--state', 'mysql://me:secret@db.test/satellite'],
      /^satellite: state: is no file; write the path of an SQLite file, postgresql:\/\/… or :memory:$/,
    ],
    [
      'a word for a time',
      3,
      ['serve', '--domain', 'x.test', '--tls', 'off', '--hsts', 'no'],
      /hsts: is a duration such as 365d, of 3650d at most, or off/,
    ],
    ['a reporter without a proxy', 2, ['report-jobs', '--scheduler', 'slurm'], /--to/],
    [
      'a scheduler that is none',
      2,
      ['report-jobs', '--scheduler', 'slurm', 'slrum', '--to', 'https://x.test/'],
      /Did you mean slurm\? There are slurm, pbs, sge, lsf\./,
    ],
    [
      'a front that is misspelled',
      2,
      ['front', 'ngnix'],
      /Did you mean nginx\? There are nginx, apache, haproxy/,
    ],
    [
      'a folder in which nothing can be made',
      3,
      [...serveArguments, '--state', ':memory:', '--engine', 'haproxy', '--haproxy-directory', '/proc/x/y'],
      /^satellite: haproxy\.directory: \/proc\/x\/y can't be used: ENOENT.*write one where/,
    ],
  ])('%s: exit code %i and a clear line', async (_what, code, args, message) => {
    const result = await outcome(...args);
    expect(result.code).toBe(code);
    expect(result.lines.join('\n')).toMatch(message);
    expect(result.lines.length).toBeLessThanOrEqual(3);
  });

  test('an address that somebody has: exit code 3 and how to find out who', async () => {
    const { port } = await notebook((_request, response) => response.end());
    const result = await outcome(...serveArguments, '--state', ':memory:', '--listen', `${NODE1}:${port}`);
    expect(result).toMatchObject({ code: 3, lines: [expect.stringMatching(/already in use.*"ss -ltnp"/)] });
  });
});

describe('what is not a regular file', () => {
  const NOT_REGULAR = /it is not a regular file/;

  async function fifo(): Promise<string> {
    const path = join(await scratch(), 'fifo');
    execFileSync('mkfifo', ['-m', '600', path]);
    return path;
  }

  /** One that does all it can, but for what is given. */
  async function configured(keys: object): Promise<string> {
    const folder = await scratch();
    const file = join(folder, 'satellite.json');
    const front = { domain: DOMAIN, listen: '127.0.0.1:0', tls: 'off', trustedProxies: ['127.0.0.1'] };
    await writeFile(file, JSON.stringify({ ...front, state: join(folder, 'state.sqlite'), ...keys }));
    return file;
  }

  test.each([
    ['a certificate', 3, (path: string) => ({ tls: { cert: path, key: path } })],
    ['users', 3, (path: string) => ({ auth: { htpasswd: path } })],
    ['blocked users', 3, (path: string) => ({ auth: { header: 'X-User', blocked: path } })],
    ['keys', 3, (path: string) => ({ auth: { header: 'X-User', keyFile: path } })],
    [
      "a provider's secret",
      3,
      (path: string) => ({
        auth: { oidc: { issuer: 'https://login.test', clientId: 'x', clientSecretFile: path } },
      }),
    ],
    [
      "a route's authority",
      3,
      (path: string) => ({ routes: { 'a.test': { to: 'https://b.test', caFile: path } } }),
    ],
    ['the state', 4, (path: string) => ({ state: path })],
  ])('is refused as %s', async (_, code, keys) => {
    const file = await configured(keys(await fifo()));
    expect(await outcome('serve', '--config', file)).toEqual({
      code,
      lines: [expect.stringMatching(NOT_REGULAR)],
    });
  });

  test('is refused as the state where a link leads to it', async () => {
    const link = join(await scratch(), 'state.sqlite');
    await symlink('/dev/null', link);
    expect(await outcome('serve', '--config', await configured({ state: link }))).toEqual({
      code: 4,
      lines: [
        expect.stringMatching(/Could not open the state in \S+: it is not a regular file\. Write the name/),
      ],
    });
  });

  test('in the place of a certificate leaves the old one to a proxy that goes on', async () => {
    const folder = await scratch();
    const tls = await makeCertificate(folder, namesBelow(DOMAIN));
    const child = run([...satelliteCommand, 'serve', '--config', await configured({ tls })]);
    const { port } = await child.logged('listening');
    await rename(await fifo(), tls.cert);
    child.kill('SIGHUP');
    expect((await child.logged('certificate-unusable')).message).toMatch(NOT_REGULAR);
    const socket = connect({
      host: '127.0.0.1',
      port: Number(port),
      servername: DOMAIN,
      rejectUnauthorized: false,
    });
    cleanup(() => socket.destroy());
    await once(socket, 'secureConnect');
  });

  test('in the place of the blocked users is reported, and who was blocked still is', async () => {
    const blocked = join(await scratch(), 'blocked');
    await writeFile(blocked, 'bob\n');
    const keys = { internalNetworks: ['127.21.0.0/16'], auth: { header: 'X-User', blocked } };
    const child = run([...satelliteCommand, 'serve', '--config', await configured(keys)]);
    const port = Number((await child.logged('listening')).port);
    const token = await issue(port);
    await api(port, 'PUT', `/tokens/${token}/access`, {
      jupyterToken: 'x'.repeat(40),
      owner: 'alice',
      sharedWith: ['bob'],
    });
    const seenBy = async (user: string) =>
      (await ask(port, { host: siteHost(token), from: '127.0.0.1', headers: { 'X-User': user } })).status;
    const before = [await seenBy('alice'), await seenBy('bob')];
    expect(before).toEqual([200, 403]);
    await rename(await fifo(), blocked);
    expect([await seenBy('alice'), await seenBy('bob')]).toEqual(before);
    expect((await child.logged('auth-file')).message).toMatch(NOT_REGULAR);
  });
});

test.each([{ options: [] }, { options: ['--once'] }])(
  'a reporter that is stopped leaves no command behind ($options)',
  async ({ options }) => {
    const folder = await scratch();
    const squeue = join(folder, 'squeue');
    await writeFile(squeue, '#!/bin/bash\nsleep 1000 & echo $! >"$0.pid"; wait\n');
    await chmod(squeue, 0o755);
    const reporter = run(
      [...satelliteCommand, 'report-jobs', '--scheduler', 'slurm', '--to', 'http://127.0.0.1:9/', ...options],
      { ...process.env, PATH: `${folder}:${process.env.PATH}` },
    );
    const closed = once(reporter, 'close');
    const pid = () => (existsSync(`${squeue}.pid`) ? Number(readFileSync(`${squeue}.pid`, 'utf8')) : 0);
    await expect.poll(pid).toBeGreaterThan(0);
    const sleep = pid();
    reporter.kill('SIGTERM');
    expect(await closed).toEqual([options.length === 0 ? 0 : 5, null]);
    // It has been told to end, which it does when its turn comes.
    await expect.poll(() => isAlive(sleep)).toBe(false);
  },
);
