import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, readFile, utimes, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ConfigError, type LogEntry } from '../../src/index.ts';
import { ask, cleanup, DOMAIN, listenOn, NODE1, satellite, scratch, Wire } from '../support.ts';

const run = promisify(execFile);

/** A wildcard certificate of its own making. */
async function certificate(folder: string, name: string) {
  const files = { cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  await run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:*.${DOMAIN},DNS:${DOMAIN}`],
    ...['-keyout', files.key, '-out', files.cert],
  ]);
  return files;
}

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

async function start() {
  const folder = await scratch();
  const tls = await certificate(folder, 'first');
  const log: LogEntry[] = [];
  const logged = new Set<() => void>();
  const proxy = await satellite(
    {
      tls,
      redirectHttpFrom: '127.0.0.1:0',
      internalNetworks: ['127.0.0.0/8'],
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
  return { folder, tls, proxy, port: proxy.port, ca: await readFile(tls.cert), event };
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
    expect(await wire.ended()).toMatch(/^HTTP\/1\.1 421 /);
  });

  test('half-close of a tunnel', async () => {
    const { port, ca } = await start();
    const upstreams: Wire[] = [];
    const target = await listenOn(
      createServer({ allowHalfOpen: true }, (socket: Socket) => {
        upstreams.push(new Wire(socket));
        cleanup(() => socket.destroy());
        socket.once('data', () => {
          socket.write(
            'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi',
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
      `GET /ws HTTP/1.1\r\nHost: ${token}.${DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
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

  test('a new certificate is taken over for new connections, an unusable one is not', async () => {
    const { folder, tls, port, ca, event } = await start();
    const before = await secure(port, ca);
    const second = await certificate(folder, 'second');
    // The key comes first: for a moment the pair doesn't match.
    await copyFile(second.key, tls.key);
    await touch(tls.key);
    expect((await event('certificate-unusable')).message).toMatch(/can't be used/);
    await secure(port, ca);
    await copyFile(second.cert, tls.cert);
    await touch(tls.cert);
    await event('certificate-reloaded');
    const after = await secure(port, await readFile(second.cert));
    expect(after.getPeerCertificate().subject.CN).toBe('second');
    const wire = new Wire(before);
    wire.send(`GET / HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n\r\n`);
    await wire.until(/^HTTP\/1\.1 200 /);
  });

  test('files that do not belong together are refused at the start', async () => {
    const folder = await scratch();
    const [one, two] = [await certificate(folder, 'one'), await certificate(folder, 'two')];
    const odd = join(folder, 'odd.pem');
    await writeFile(odd, 'no certificate');
    for (const tls of [
      { cert: one.cert, key: two.key },
      { cert: odd, key: one.key },
      { cert: join(folder, 'missing'), key: one.key },
    ]) {
      await expect(satellite({ tls })).rejects.toThrow(ConfigError);
    }
  });
});

/** File systems keep times in steps: two writes in one of them would look like one. */
async function touch(file: string): Promise<void> {
  const later = new Date(Date.now() + 10_000);
  await utimes(file, later, later);
}
