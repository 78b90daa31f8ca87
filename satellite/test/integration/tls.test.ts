import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect, getCiphers, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { SatelliteConfigInput } from '../../src/config.ts';
import { ConfigError, type LogEntry } from '../../src/index.ts';
import { ecKey, makeCertificate, namesBelow, rsaKey } from '../certificate.ts';
import {
  ask,
  cleanup,
  DOMAIN,
  engine,
  listenOn,
  NODE1,
  notebook,
  wire as plainWire,
  satellite,
  scratch,
  Wire,
} from '../support.ts';

const run = promisify(execFile);

const curlFeatures = await run('curl', ['--version']).then(
  ({ stdout }) => stdout,
  () => undefined,
);
const curlObstacle =
  curlFeatures === undefined
    ? 'there is no curl'
    : curlFeatures.includes('HTTP2')
      ? undefined
      : 'this curl has no HTTP/2';

/** A wildcard certificate of its own making. */
const certificate = (folder: string, name: string, newKey = ecKey, domain = DOMAIN) =>
  makeCertificate(folder, namesBelow(domain), { name, newKey });

async function secure(
  port: number,
  ca: Buffer,
  servername = `manage.${DOMAIN}`,
  options = {},
): Promise<TLSSocket> {
  const socket = connect({
    host: '127.0.0.1',
    port,
    ca,
    servername,
    allowHalfOpen: true,
    ...options,
  } as never);
  cleanup(() => socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

async function start(config: Partial<SatelliteConfigInput> = {}) {
  const folder = await scratch();
  const tls = await certificate(folder, 'first');
  const log: LogEntry[] = [];
  const logged = new Set<() => void>();
  const proxy = await satellite(
    {
      tls,
      redirectHttpFrom: '127.0.0.1:0',
      internalNetworks: ['127.0.0.0/8'],
      ...config,
    },
    {
      log: (entry) => {
        log.push(entry);
        for (const wake of logged) wake();
      },
    },
  );
  /** The first log entry of an event, as soon as it is there. */
  const event = (name: string): Promise<LogEntry> =>
    new Promise((resolve) => {
      const check = (): void => {
        const entry = log.find(({ event }) => event === name);
        if (entry) resolve(entry);
      };
      logged.add(check);
      check();
    });
  return { folder, tls, proxy, port: proxy.port, ca: await readFile(tls.cert), log, event };
}

describe('HTTPS', () => {
  test('serves management and sites, and says https to the notebook', async () => {
    const { proxy, port, ca } = await start();
    expect(proxy.manageUrl).toBe(`https://manage.${DOMAIN}:${port}/`);
    const wire = new Wire(await secure(port, ca));
    wire.send(`GET /getlink.cgi HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`);
    const token = /\n([a-z]+-[a-z]+-[a-z]+)\n/.exec(await wire.until(/Your token is \n.*\n/))?.[1] ?? '';
    let seen = '';
    const target = await listenOn(
      createServer((socket: Socket) => {
        socket.once('data', (data) => {
          seen = data.toString('latin1');
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        });
      }),
    );
    const node = new Wire(await secure(port, ca, undefined, { localAddress: NODE1 }));
    node.send(
      `GET /redeemtoken.cgi?token=${token}&port=${target} HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`,
    );
    await node.until(/Success!\n/);
    const visitor = new Wire(await secure(port, ca, `${token}.${DOMAIN}`));
    visitor.send(`GET / HTTP/1.1\r\nHost: ${token}.${DOMAIN}:${port}\r\n\r\n`);
    await visitor.until(/ok$/);
    expect(seen).toMatch(/\r\nX-Forwarded-Proto: https\r\n/);
    expect(seen).toContain(`\r\nX-Forwarded-Port: ${port}\r\n`);
  });

  test('a connection made for one host serves no other', async () => {
    const { port, ca } = await start();
    const wire = new Wire(await secure(port, ca, `some-site-here.${DOMAIN}`));
    wire.send(`GET /getlink.cgi HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`);
    await wire.until(/^HTTP\/1\.1 421 /);
  });

  test.skipIf(curlObstacle)(
    `curl speaks HTTP/2${curlObstacle ? ` (left out: ${curlObstacle})` : ''}`,
    async () => {
      const { folder, tls, port } = await start();
      const big = join(folder, 'big');
      await writeFile(big, 'x'.repeat(1_000_000));
      const curl = async (host: string, path: string, ...more: string[]): Promise<string> => {
        const { stdout } = await run('curl', [
          ...['-sS', '--http2', '--cacert', tls.cert, '--resolve', `*:${port}:127.0.0.1`],
          ...[
            '-w',
            ' HTTP/%{http_version} %{http_code}',
            ...more,
            `https://${host}.${DOMAIN}:${port}${path}`,
          ],
        ]);
        return stdout;
      };
      const upstream = await notebook((request, response) => {
        let size = 0;
        request.on('data', (chunk: Buffer) => {
          size += chunk.length;
        });
        request.on('end', () => response.end(`${request.method} ${size}`));
      });
      const issued = await curl('manage', '/getlink.cgi');
      const token = /\n([a-z]+-[a-z]+-[a-z]+)\n/.exec(issued)?.[1] ?? '';
      const redeem = `/redeemtoken.cgi?token=${token}&port=${upstream.port}`;
      expect(await curl('manage', redeem, '--interface', NODE1)).toMatch(/^Success!\n HTTP\/2 200$/);
      expect(await curl(token, '/')).toBe('GET 0 HTTP/2 200');
      expect(await curl(token, '/', '--data-binary', `@${big}`)).toBe('POST 1000000 HTTP/2 200');
      expect(await curl(token, '/', '-H', 'Expect: 100-continue', '-T', big)).toBe('PUT 1000000 HTTP/2 200');
      expect(await curl(token, '/', '-H', `Host: manage.${DOMAIN}`)).toMatch(/ HTTP\/2 421$/);
    },
  );

  test.each(['tls1_2', 'tls1_3'])(
    '%s: nor does a session that was resumed for another host',
    async (version) => {
      const { port } = await start();
      const kept = join(await scratch(), 'session.pem');
      /** With the session of the last time, if there was one. */
      const talk = async (servername: string, host: string): Promise<string> => {
        const session = existsSync(kept) ? ['-sess_in', kept] : ['-sess_out', kept];
        const client = execFile('openssl', [
          ...['s_client', '-connect', `127.0.0.1:${port}`, '-servername', `${servername}.${DOMAIN}`],
          ...[`-${version}`, '-ign_eof', ...session],
        ]);
        let said = '';
        client.stdout?.on('data', (text: string) => {
          said += text;
        });
        client.stdin?.write(`GET / HTTP/1.1\r\nHost: ${host}.${DOMAIN}\r\nConnection: close\r\n\r\n`);
        await once(client, 'close');
        return said;
      };
      expect(await talk('some-site-here', 'some-site-here')).toMatch(/HTTP\/1\.1 200 /);
      expect(await talk('other-site-here', 'some-site-here')).toMatch(/HTTP\/1\.1 421 /);
      expect(await talk('some-site-here', 'some-site-here')).toMatch(/HTTP\/1\.1 200 /);
    },
  );

  test('half-close of a tunnel', async () => {
    const { port, ca } = await start();
    const upstreams: Wire[] = [];
    const target = await listenOn(
      createServer({ allowHalfOpen: true }, (socket: Socket) => {
        upstreams.push(new Wire(socket));
        cleanup(() => socket.destroy());
        socket.once('data', () => {
          socket.write(
            'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhi',
          );
        });
      }),
    );
    const manage = new Wire(await secure(port, ca, undefined, { localAddress: NODE1 }));
    manage.send(`GET /getlink.cgi HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`);
    const token = /\n([a-z]+-[a-z]+-[a-z]+)\n/.exec(await manage.until(/Your token is \n.*\n/))?.[1] ?? '';
    manage.send(
      `GET /redeemtoken.cgi?token=${token}&port=${target} HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`,
    );
    await manage.until(/Success!\n/);
    const client = new Wire(await secure(port, ca, `${token}.${DOMAIN}`));
    client.send(
      `GET /ws HTTP/1.1\r\nHost: ${token}.${DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    );
    await client.until(/\r\n\r\nhi$/);
    client.socket.end('last words', 'latin1');
    const upstream = upstreams.find(({ text }) => text.includes('GET /ws'));
    expect(await upstream?.ended()).toMatch(/last words$/);
    upstream?.socket.end('and mine', 'latin1');
    expect(await client.ended()).toMatch(/hiand mine$/);
  });

  test('plain HTTP is sent to HTTPS, for our own names only', async () => {
    const { port, event } = await start();
    const plain = Number((await event('redirecting')).port);
    const answer = await ask(plain, { host: `a-b-c.${DOMAIN}:80`, path: '/lab?token=x&y=%2F' });
    expect([answer.status, answer.headers.location]).toEqual([
      308,
      `https://a-b-c.${DOMAIN}:${port}/lab?token=x&y=%2F`,
    ]);
    expect((await ask(plain, { host: 'evil.test' })).status).toBe(421);
    expect((await ask(plain, { host: 'evil.test@manage.sites.test' })).status).toBe(400);
  });

  test('old protocols are refused', async () => {
    const { port, ca } = await start();
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };
    await expect(secure(port, ca, undefined, old)).rejects.toThrow(/protocol version|alert|unsupported/i);
    const weak = { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA:@SECLEVEL=0' };
    await expect(secure(port, ca, undefined, weak)).rejects.toThrow(/handshake|cipher/i);
  });

  test('a handshake that never ends is closed, and holds up neither others nor the end', async () => {
    // HAProxy has no time of its own for handshakes before 2.9.
    const stallTime = engine === 'haproxy' ? '1s' : '1h';
    const { proxy, port, ca } = await start({ limits: { headerTime: '1s', stallTime } });
    const begin = async (bytes: Buffer, then: 'end' | 'wait'): Promise<Wire> => {
      const wire = await plainWire(port);
      if (bytes.length > 0) wire.socket.write(bytes);
      if (then === 'end') wire.socket.end();
      return wire;
    };
    // The beginning of a ClientHello, something else, and nothing.
    const hello = Buffer.from('16030100c8010000c4030386', 'hex');
    const attempts = [hello, Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(0)].flatMap((bytes) => [
      begin(bytes, 'end'),
      begin(bytes, 'wait'),
    ]);
    for (const wire of await Promise.all(attempts)) await wire.ended();
    await secure(port, ca);
    const { port: second, proxy: other } = await start();
    const open = await plainWire(second);
    open.socket.write(hello);
    await other.close();
    await open.ended();
    await proxy.close();
  });

  test('Strict-Transport-Security is in every answer over TLS, and is ours', async () => {
    const { port, ca } = await start({ hsts: '1d' });
    const target = await listenOn(
      createServer((socket: Socket) => {
        socket.once('data', () => {
          socket.write(
            'HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=0\r\nX-Mine: 1\r\nContent-Length: 0\r\n\r\n',
          );
        });
      }),
    );
    const answers: string[] = [];
    const send = async (host: string, path: string, from = '127.0.0.1'): Promise<string> => {
      const wire = new Wire(await secure(port, ca, `${host}.${DOMAIN}`, { localAddress: from }));
      wire.send(`GET ${path} HTTP/1.1\r\nHost: ${host}.${DOMAIN}\r\nConnection: close\r\n\r\n`);
      const answer = await wire.ended();
      answers.push(answer);
      return answer;
    };
    const token = /\n([a-z]+-[a-z]+-[a-z]+)\n/.exec(await send('manage', '/getlink.cgi'))?.[1] ?? '';
    await send(token, '/');
    await send(token, '/.well-known/satellite/state');
    await send('no-such-name', '/');
    await send('manage', `/redeemtoken.cgi?token=${token}&port=${target}`, NODE1);
    expect(await send(token, '/')).toMatch(/X-Mine: 1/i);
    // HAProxy refuses this before anything of ours is asked.
    if (engine === 'node') await send(token, 'http://elsewhere.test/');
    for (const answer of answers) {
      expect(answer.match(/^strict-transport-security: .*$/gim), answer).toEqual([
        expect.stringMatching(/^strict-transport-security: max-age=86400$/i),
      ]);
    }
  });

  test('and in none over plain HTTP, or where it is off', async () => {
    const { event } = await start();
    const plain = Number((await event('redirecting')).port);
    expect((await ask(plain, { host: `a-b-c.${DOMAIN}` })).headers).not.toHaveProperty(
      'strict-transport-security',
    );
    const { port, ca } = await start({ hsts: 'off' });
    const wire = new Wire(await secure(port, ca));
    wire.send(`GET / HTTP/1.1\r\nHost: manage.${DOMAIN}\r\nConnection: close\r\n\r\n`);
    expect(await wire.ended()).not.toMatch(/strict-transport-security/i);
  });

  /** Mozilla, Security/Server Side TLS, version 5.7, "intermediate". */
  const intermediate = [
    ...['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
    ...['ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
  ];

  test.each([
    ['ECDSA', ecKey],
    ['RSA', rsaKey],
  ])('with a key for %s it accepts the cipher suites of the profile and no others', async (kind, newKey) => {
    const { port } = await satellite({ tls: await certificate(await scratch(), kind, newKey) });
    const accepted: string[] = [];
    // Everything that this OpenSSL can still speak, up to TLS 1.2.
    const offered = getCiphers().filter((name) => !name.startsWith('tls_'));
    for (const name of offered) {
      const ciphers = `${name.toUpperCase()}:@SECLEVEL=0`;
      const options = { ciphers, maxVersion: 'TLSv1.2', minVersion: 'TLSv1', rejectUnauthorized: false };
      await secure(port, Buffer.alloc(0), undefined, options).then(
        (socket) => accepted.push(socket.getCipher().name),
        () => undefined,
      );
    }
    expect(offered.length).toBeGreaterThan(50);
    expect(accepted.toSorted()).toEqual(intermediate.filter((name) => name.includes(`-${kind}-`)).toSorted());
  });

  test('accepts the groups of the profile and no others', async () => {
    const { port } = await start();
    const reached = async (group: string): Promise<boolean> => {
      const client = execFile('openssl', [
        ...['s_client', '-connect', `127.0.0.1:${port}`, '-servername', `manage.${DOMAIN}`],
        ...['-groups', group],
      ]);
      client.stdin?.end();
      const [code] = await once(client, 'close');
      return code === 0;
    };
    const groups = ['X25519', 'prime256v1', 'secp384r1', 'secp521r1', 'X448', 'ffdhe2048'];
    const results = await Promise.all(groups.map(async (group) => [group, await reached(group)]));
    expect(Object.fromEntries(results)).toEqual({
      X25519: true,
      prime256v1: true,
      secp384r1: true,
      secp521r1: false,
      X448: false,
      ffdhe2048: false,
    });
  });

  test('selfSigned: makes a certificate, says its fingerprint, keeps it over restarts, and never with HSTS', async () => {
    const state = join(await scratch(), 'state.sqlite');
    const serve = async (more: Partial<SatelliteConfigInput> = {}) => {
      const log: LogEntry[] = [];
      const proxy = await satellite(
        { tls: { selfSigned: true }, state, ...more },
        { log: (entry) => log.push(entry) },
      );
      const said = log.find(({ event }) => event === 'self-signed')?.fingerprint256;
      const socket = await secure(proxy.port, Buffer.alloc(0), `manage.${more.domain ?? DOMAIN}`, {
        rejectUnauthorized: false,
      });
      expect(socket.getPeerCertificate().fingerprint256).toBe(said);
      expect(socket.getPeerCertificate().subjectaltname).toBe(
        `DNS:${more.domain ?? DOMAIN}, DNS:*.${more.domain ?? DOMAIN}`,
      );
      const wire = new Wire(socket);
      wire.send(`GET / HTTP/1.1\r\nHost: manage.${more.domain ?? DOMAIN}\r\nConnection: close\r\n\r\n`);
      const answer = await wire.ended();
      expect(answer).toMatch(/^HTTP\/1\.1 200 /);
      expect(answer).not.toMatch(/strict-transport/i);
      await proxy.close();
      return said;
    };
    const first = await serve();
    expect(await serve()).toBe(first);
    expect((await stat(`${state}.self-signed.pem`)).mode & 0o777).toBe(0o600);
    expect(await serve({ domain: 'other.test' })).not.toBe(first);
    expect(await serve({ state: ':memory:' })).not.toBe(first);
  });

  test('selfSigned: on a state that another one uses changes and says nothing', async () => {
    const state = join(await scratch(), 'state.sqlite');
    await satellite({ state });
    const log: LogEntry[] = [];
    await expect(
      satellite({ tls: { selfSigned: true }, state }, { log: (entry) => log.push(entry) }),
    ).rejects.toThrow(/Another satellite is using it/);
    await expect(stat(`${state}.self-signed.pem`)).rejects.toThrow('ENOENT');
    expect(log).toEqual([]);
  });

  test.each([
    ['of the same kind', ecKey],
    ['of another kind', rsaKey],
  ])(
    'a new certificate %s is taken over for new connections, and never with the key of another',
    async (_kind, newKey) => {
      const { folder, tls, port, ca, log, event } = await start();
      const before = await secure(port, ca);
      const second = await certificate(folder, 'second', newKey);
      // The key comes first: for a moment the pair doesn't match.
      await copyFile(second.key, tls.key);
      await touch(tls.key);
      await secure(port, ca);
      await copyFile(second.cert, tls.cert);
      await touch(tls.cert);
      await event('certificate-reloaded');
      expect(log.filter((entry) => entry.event.startsWith('certificate-'))).toHaveLength(1);
      const after = await secure(port, await readFile(second.cert));
      expect(after.getPeerCertificate().subject.CN).toBe('second');
      const wire = new Wire(before);
      wire.send(`GET / HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`);
      await wire.until(/^HTTP\/1\.1 200 /);
    },
  );

  test('of several pairs the first that covers the name is shown, and each is read again', async () => {
    const folder = await scratch();
    const other = 'hub.example.test';
    const pairs = await Promise.all([
      certificate(folder, 'sites'),
      certificate(folder, 'hub', ecKey, other),
      certificate(folder, 'hub-again', ecKey, other),
    ]);
    const [sites, hub, third] = pairs as [(typeof pairs)[0], (typeof pairs)[0], (typeof pairs)[0]];
    const { port: target } = await notebook((_request, response) => response.end('the hub'));
    const { proxy, port, event } = await start({
      tls: pairs,
      routes: { [other]: `http://${NODE1}:${target}` },
    });
    const shown = async (servername: string): Promise<string> => {
      const socket = await secure(port, Buffer.from(''), servername, { rejectUnauthorized: false });
      return String(socket.getPeerCertificate().subject.CN);
    };
    expect(await shown(`manage.${DOMAIN}`)).toBe('sites');
    expect(await shown(other)).toBe('hub');
    expect(await shown(`deep.${other}`)).toBe('hub');
    expect(await shown('unknown.test')).toBe('sites');
    const wire = new Wire(await secure(port, await readFile(hub.cert), other));
    await wire.send(`GET / HTTP/1.1\r\nHost: ${other}\r\n\r\n`).until(/the hub$/);
    await copyFile(third.key, hub.key);
    await copyFile(third.cert, hub.cert);
    await copyFile(third.cert, sites.cert); // no longer a pair: the old one stays
    proxy.reload();
    await event('certificate-reloaded');
    expect(await shown(other)).toBe('hub-again');
    expect(await shown(`manage.${DOMAIN}`)).toBe('sites');
  });

  test('files are read again at once where that is asked for', async () => {
    const { folder, tls, proxy, port, event } = await start();
    proxy.reload();
    await event('certificate-unchanged');
    const second = await certificate(folder, 'second');
    await copyFile(second.key, tls.key);
    await copyFile(second.cert, tls.cert);
    proxy.reload();
    await event('certificate-reloaded');
    await secure(port, await readFile(second.cert));
  });

  test('open connections go on over a new certificate, and over files that can not be used', async () => {
    const { folder, tls, port, ca, event } = await start();
    const manage = new Wire(await secure(port, ca, undefined, { localAddress: NODE1 }));
    let asked = 0;
    /** One more request on the connection that is kept. */
    const askAgain = async (path: string): Promise<string> => {
      asked += 1;
      manage.send(`GET ${path} HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`);
      return manage.until(new RegExp(`(HTTP/1\\.1 200 [\\s\\S]*){${asked}}\\n\\s*$`));
    };
    const target = await listenOn(
      createServer((socket: Socket) => {
        cleanup(() => socket.destroy());
        socket.once('data', () => {
          socket.write(
            'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
          );
          socket.pipe(socket);
        });
      }),
    );
    const [, token = ''] = /\n([a-z]+-[a-z]+-[a-z]+)\n/.exec(await askAgain('/getlink.cgi')) ?? [];
    await askAgain(`/redeemtoken.cgi?token=${token}&port=${target}`);
    const tunnel = new Wire(await secure(port, ca, `${token}.${DOMAIN}`));
    tunnel.send(
      `GET /ws HTTP/1.1\r\nHost: ${token}.${DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    );
    await tunnel.until(/^HTTP\/1\.1 101 [\s\S]*\r\n\r\n/);
    const expectBothToGoOn = async (when: string): Promise<void> => {
      await tunnel.send(when).until(new RegExp(`${when}$`));
      await askAgain('/');
    };
    await expectBothToGoOn('before');
    const good = await readFile(tls.cert);
    await writeFile(tls.cert, good.subarray(0, good.length / 2));
    await touch(tls.cert);
    expect((await event('certificate-unusable')).message).toMatch(/can't be used/);
    await expectBothToGoOn('with half a file');
    await secure(port, ca);
    const second = await certificate(folder, 'second');
    await copyFile(second.key, tls.key);
    await copyFile(second.cert, tls.cert);
    const later = new Date(Date.now() + 20_000);
    await utimes(tls.cert, later, later);
    await event('certificate-reloaded');
    const after = await secure(port, await readFile(second.cert));
    expect(after.getPeerCertificate().subject.CN).toBe('second');
    await expectBothToGoOn('with a new one');
  });

  test('files that do not belong together are refused at the start', async () => {
    const folder = await scratch();
    const [one, two] = [await certificate(folder, 'one'), await certificate(folder, 'two')];
    const rsa = await certificate(folder, 'rsa', rsaKey);
    const odd = join(folder, 'odd.pem');
    await writeFile(odd, 'no certificate');
    for (const tls of [
      { cert: one.cert, key: two.key },
      { cert: one.cert, key: rsa.key },
      { cert: rsa.cert, key: one.key },
      { cert: odd, key: one.key },
      { cert: join(folder, 'missing'), key: one.key },
    ]) {
      await expect(satellite({ tls })).rejects.toThrow(ConfigError);
    }
  });

  test('one file for both, and a key below its parameters, are good', async () => {
    const folder = await scratch();
    const { cert, key } = await certificate(folder, 'one');
    const { stdout: parameters } = await run('openssl', ['ecparam', '-name', 'prime256v1']);
    const both = join(folder, 'both.pem');
    await writeFile(both, [parameters, await readFile(key, 'utf8'), await readFile(cert, 'utf8')].join(''));
    const { port } = await satellite({ tls: { cert: both, key: both } });
    await secure(port, await readFile(cert));
  });
});

/** File systems keep times in steps: two writes in one of them would look like one. */
async function touch(file: string): Promise<void> {
  const later = new Date(Date.now() + 10_000);
  await utimes(file, later, later);
}
