import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, expect, test } from 'vitest';
import { block, END_HEADERS, END_STREAM, Frames, frame, TYPE } from './frames.ts';
import { lenientServer, type Quirks } from './lenient.ts';
import {
  ask,
  cleanup,
  DOMAIN,
  engine,
  lastAnswer,
  NODE1,
  OUTSIDE,
  redeemed,
  satellite,
  satelliteOver,
  secureWire,
  shareHaproxy,
  siteHost,
  visit,
  wire,
} from './support.ts';

shareHaproxy();

/*
 * Requests that two readers read differently. For each shape there is a server that reads it the wrong way: asked
 * directly it finds a second request in it (which proves that the shape is one), and behind the proxy it never does.
 */

interface Shape {
  readonly name: string;
  readonly request: string;
  readonly quirks: Quirks;
  /** What the proxy says: mostly 400, and never anything after it. `ok` for what is harmless once it has been read. */
  readonly answer?: RegExp | 'ok';
}

const SECOND = 'GET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n';
/** The length of all that follows the header. Where the second request alone counts, it is 72, or 48 in chunks' digits. */
const LENGTH = '«length»';
const POST = 'POST / HTTP/1.1\r\nHost: HOST\r\n';
const GET = 'GET / HTTP/1.1\r\nHost: HOST\r\n';

const parseLoosely = (value: string): number => Number.parseInt(value.replace(/^[^0-9a-z]*/i, ''), 10) || 0;

/** A length for the proxy, beside a coding that only the server behind it takes for chunked. */
function coding(field: string, quirks: Quirks, answer?: Shape['answer']): Shape {
  return {
    name: `a length and ${JSON.stringify(field)}`,
    request: `${POST}Content-Length: ${LENGTH}\r\n${field}\r\n\r\n0\r\n\r\n${SECOND}`,
    quirks: { isChunked: (value) => value.includes('chunked'), ...quirks },
    ...(answer && { answer }),
  };
}

/** Chunks that end earlier for the server behind the proxy than they should for the proxy. */
function chunks(name: string, body: string, quirks: Quirks): Shape {
  return {
    name,
    request: `${POST}Transfer-Encoding: chunked\r\n\r\n${body}`,
    quirks,
    answer: /^(HTTP\/1\.1 400 .*)?/,
  };
}

/** A length that is none, or another one, to the server behind. */
function length(value: string, quirks: Quirks, answer?: Shape['answer']): Shape {
  return {
    name: `Content-Length: ${JSON.stringify(value)}`,
    request: `${POST}Content-Length: ${value}\r\n\r\n${SECOND}`,
    quirks,
    ...(answer && { answer }),
  };
}

/** A header that has a second request in it for whoever ends lines, or reads them, in another way. */
function header(name: string, request: string, quirks: Quirks, answer?: Shape['answer']): Shape {
  return { name, request, quirks, ...(answer && { answer }) };
}

const bareFeed = { lineEnd: /\r?\n/ };
const anyEnd = { lineEnd: /\r\n|\r|\n/ };
const octal = 'x'.repeat(0o300);

const shapes: Record<string, readonly Shape[]> = {
  'a length and chunks': [
    {
      name: 'CL.TE',
      request: `${POST}Content-Length: ${LENGTH}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SECOND}`,
      quirks: { prefers: 'chunks' },
    },
    {
      name: 'TE.CL',
      request: `${POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n48\r\n${SECOND}\r\n0\r\n\r\n`,
      quirks: { prefers: 'length' },
    },
    {
      name: 'TE.CL, the length last',
      request: `${POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n48\r\n${SECOND}\r\n0\r\n\r\n`,
      quirks: { prefers: 'length' },
    },
    {
      name: 'TE.0',
      request: `OPTIONS / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n48\r\n${SECOND}\r\n0\r\n\r\n`,
      quirks: {
        // Reads past what it can't make sense of, as servers do between requests.
        isBodiless: ({ method }) => method === 'OPTIONS',
        clean: (head) => head.replace(/^[0-9a-f]+\r\n/, ''),
      },
      answer: 'ok',
    },
  ],
  'codings that are chunked to somebody': [
    coding('Transfer-Encoding: xchunked', {}),
    coding('Transfer-Encoding: x-chunked', {}),
    coding('Transfer-Encoding: chunked, identity', {}),
    coding('Transfer-Encoding: identity, chunked', {}),
    coding('Transfer-Encoding: gzip, chunked', {}),
    coding('Transfer-Encoding: chunked;q=1', {}),
    coding('Transfer-Encoding: "chunked"', {}),
    coding('Transfer-Encoding: CHUNKED', {}),
    coding('Transfer-Encoding:\tchunked', {}),
    coding('Transfer-Encoding:chunked', {}),
    coding('Transfer-Encoding: \x0bchunked', {}),
    coding('Transfer-Encoding: chunked\x0b', {}),
    coding('Transfer-Encoding: chunked\x0c', {}),
    coding('Transfer-Encoding: \x85chunked', {}),
    coding('Transfer-Encoding: chunked\xa0', {}),
    coding('Transfer-Encoding: \0chunked', {}),
    coding('Transfer-Encoding: ,chunked', {}),
    coding('Transfer-Encoding: chunked,', {}),
    coding('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity', { takes: 'first' }),
    coding('Transfer-Encoding: identity\r\nTransfer-Encoding: chunked', {}),
    coding('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', {}),
    coding('Transfer-Encoding:\r\n chunked', { clean: (head) => head.replace(/\r\n[ \t]+/g, ' ') }),
    coding('Transfer-Encoding\r\n : chunked', { clean: (head) => head.replace(/\r\n[ \t]+/g, '') }),
    coding(' Transfer-Encoding: chunked', { name: (raw) => raw.trim() }),
    coding('Transfer-Encoding : chunked', { name: (raw) => raw.trim() }),
    coding('Transfer-Encoding\t: chunked', { name: (raw) => raw.trim() }),
    coding('Transfer-Encoding\0: chunked', { name: (raw) => raw.replace('\0', '') }),
    coding('\x01Transfer-Encoding: chunked', { name: (raw) => raw.replace('\x01', '') }),
    coding('Transfer\xadEncoding: chunked', { name: (raw) => raw.replace('\xad', '-') }),
    coding('Transfer Encoding: chunked', { name: (raw) => raw.replace(' ', '-') }),
    coding('Transfer_Encoding: chunked', { name: (raw) => raw.replaceAll('_', '-') }),
    coding('transfer_ENCODING: chunked', { name: (raw) => raw.replaceAll('_', '-') }),
    coding('X: x\nTransfer-Encoding: chunked', bareFeed),
    coding('X: x\rTransfer-Encoding: chunked', anyEnd),
    coding('X: x\r\n\tTransfer-Encoding: chunked', { name: (raw) => raw.trim() }),
  ],
  lengths: [
    length('0\r\nContent-Length: 72', { takes: 'first' }),
    length('72\r\nContent-Length: 0', {}),
    length('72\r\nContent-Length: 72', { length: () => 0 }),
    length('72, 0', { length: (value) => Number(value.split(',').at(-1)) }),
    length('0, 72', { length: parseLoosely }),
    length('72, 72', {}),
    length('+72', {}),
    length('-72', {}),
    length('-0', {}),
    length('7 2', {}),
    length('0x48', { length: parseLoosely }),
    length('72e0', {}),
    length('72.0', {}),
    length('72;', {}),
    length('"72"', {}),
    length('', {}),
    length('\xd9\xa7\xd9\xa2', {}),
    length('18446744073709551688', { length: () => 0 }),
    length(`${'9'.repeat(100)}`, { length: () => 0 }),
    header(
      'a length with a space before its colon',
      `${POST}Content-Length : ${LENGTH}\r\n\r\n${SECOND}`,
      {},
    ),
    header('a length with an underscore', `${POST}Content_Length: ${LENGTH}\r\n\r\n${SECOND}`, {}),
    header('a folded length', `${POST}Content-Length:\r\n ${LENGTH}\r\n\r\n${SECOND}`, {}),
    {
      name: 'a length that is octal to somebody',
      request: `${POST}Content-Length: 0${LENGTH}\r\n\r\n${octal}${SECOND}`,
      quirks: { length: (value) => (value.startsWith('0') ? octal.length : Number(value)) },
      answer: 'ok',
    },
    {
      name: 'a length that Connection takes away',
      request: `${POST}Content-Length: ${LENGTH}\r\nConnection: close, Content-Length\r\n\r\n${SECOND}`,
      quirks: {
        isBodiless: ({ fields }) =>
          fields.some(([name, value]) => name === 'connection' && /content-length/i.test(value)),
      },
      answer: 'ok',
    },
    {
      name: 'a coding that Connection takes away',
      request: `${POST}Transfer-Encoding: chunked\r\nConnection: close, Transfer-Encoding\r\n\r\n48\r\n${SECOND}\r\n0\r\n\r\n`,
      quirks: {
        isBodiless: ({ fields }) =>
          fields.some(([name, value]) => name === 'connection' && /transfer-encoding/i.test(value)),
        clean: (head) => head.replace(/^[0-9a-f]+\r\n/, ''),
      },
      answer: 'ok',
    },
  ],
  'bodies that nobody expects': [
    {
      name: 'CL.0 on a GET',
      request: `${GET}Content-Length: ${LENGTH}\r\n\r\n${SECOND}`,
      quirks: { isBodiless: ({ method }) => method === 'GET' },
      answer: 'ok',
    },
    {
      name: 'CL.0 on a HEAD',
      request: `HEAD / HTTP/1.1\r\nHost: HOST\r\nContent-Length: ${LENGTH}\r\n\r\n${SECOND}`,
      quirks: { isBodiless: ({ method }) => method === 'HEAD' },
      answer: 'ok',
    },
    {
      name: 'CL.0 on a DELETE',
      request: `DELETE / HTTP/1.1\r\nHost: HOST\r\nContent-Length: ${LENGTH}\r\n\r\n${SECOND}`,
      quirks: { isBodiless: ({ method }) => method === 'DELETE' },
      answer: 'ok',
    },
    ...['100-continue', 'y 100-continue', '100-continue, x', '200-ok'].map(
      (expect): Shape => ({
        name: `Expect: ${expect}`,
        request: `${POST}Expect: ${expect}\r\nContent-Length: ${LENGTH}\r\n\r\n${SECOND}`,
        quirks: { isBodiless: ({ fields }) => fields.some(([name]) => name === 'expect') },
        answer: 'ok',
      }),
    ),
  ],
  'sizes of chunks': [
    chunks('a sign', `-0\r\n\r\n${SECOND}`, {}),
    chunks('a prefix', `0x0\r\n\r\n${SECOND}`, {}),
    chunks('a space before', ` 0\r\n\r\n${SECOND}`, {}),
    chunks('a space behind', `0 \r\n\r\n${SECOND}`, {}),
    chunks('a space and an extension', `0 ;x\r\n\r\n${SECOND}`, {}),
    chunks('an underscore', `0_0\r\n\r\n${SECOND}`, {}),
    chunks('no size', `\r\n\r\n${SECOND}`, { chunkSize: (line) => Number.parseInt(line, 16) || 0 }),
    chunks('no digits', `zz\r\n\r\n${SECOND}`, { chunkSize: () => 0 }),
    chunks('more than 64 bits', `10000000000000000\r\n\r\n${SECOND}`, { chunkSize: () => 0 }),
    chunks('more than 64 bits, many digits', `${'f'.repeat(40)}\r\n\r\n${SECOND}`, { chunkSize: () => 0 }),
    chunks('an extension with a bare line feed', `2;\nxx\r\n0\r\n\r\n${SECOND}`, { chunkEnd: /\r?\n/ }),
    chunks('a size that ends in a bare line feed', `0\n\r\n${SECOND}`, { chunkEnd: /\r?\n/ }),
    chunks('a size that ends in a bare carriage return', `0\r\r\n${SECOND}`, { chunkEnd: /\r\n?/ }),
    chunks('a last chunk of bare line feeds', `0\n\n${SECOND}`, { chunkEnd: /\r?\n/ }),
    chunks('more data than the size', `2\r\nxx0\r\n\r\n${SECOND}`, {}),
    chunks('data that ends in a bare line feed', `2\r\nxx\n0\r\n\r\n${SECOND}`, { chunkEnd: /\r?\n/ }),
    chunks('an extension with a zero byte', `0;\0\r\n\r\n${SECOND}`, {}),
  ],
  headers: [
    header('bare line feeds', `GET / HTTP/1.1\nHost: HOST\n\n${SECOND}`, bareFeed),
    header('a bare line feed at the end', `${GET}\n${SECOND}`, bareFeed),
    header('bare carriage returns', `GET / HTTP/1.1\rHost: HOST\r\r${SECOND}`, anyEnd),
    header('a second request in a field', `${GET}X: x\n\n${SECOND}`, bareFeed),
    header('a second request behind a carriage return', `${GET}X: x\r\r${SECOND}`, anyEnd),
    header('a second request behind a zero byte', `${GET}X: x\0\0${SECOND}`, {
      clean: (head) => head,
      lineEnd: /\r\n|\0/,
    }),
    header('a second request in a folded field', `${GET}X: x\r\n \r\n${SECOND}`, { lineEnd: /\r\n ?/ }),
    header('a field without a colon', `${GET}nonsense\r\n\r\n${SECOND}`, {}),
    header('a field without a name', `${GET}: x\r\n\r\n${SECOND}`, {}),
    header('a name with a space', `${GET}X Y: x\r\n\r\n${SECOND}`, {}),
    header('a name with a control', `${GET}X\x01: x\r\n\r\n${SECOND}`, {}),
    header('a name in another alphabet', `${GET}\xe9: x\r\n\r\n${SECOND}`, {}),
    header('a name with a bracket', `${GET}X[]: x\r\n\r\n${SECOND}`, {}),
    header('a value with a control', `${GET}X: \x01\r\n\r\n${SECOND}`, {}),
    header('no Host', `GET / HTTP/1.1\r\n\r\n${SECOND}`, {}),
    header('two Hosts', `${GET}Host: manage.${DOMAIN}\r\n\r\n${SECOND}`, {}),
    header('the same Host twice', `${GET}Host: HOST\r\n\r\n${SECOND}`, {}),
    header('two Hosts, one with a space', `${GET}Host : manage.${DOMAIN}\r\n\r\n${SECOND}`, {}),
    header('a Host that is a list', `GET / HTTP/1.1\r\nHost: HOST, manage.${DOMAIN}\r\n\r\n${SECOND}`, {}),
    header('a first field that is folded', `GET / HTTP/1.1\r\n Host: HOST\r\n\r\n${SECOND}`, {}),
    header(
      'HTTP/1.0 in chunks',
      `POST / HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SECOND}`,
      {},
    ),
  ],
  'first lines': [
    header('absolute form', `GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header(
      'absolute form of another host',
      `GET http://manage.${DOMAIN}/ HTTP/1.1\r\nHost: HOST\r\n\r\n${SECOND}`,
      {},
    ),
    header('authority form', `GET HOST:80 HTTP/1.1\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('asterisk form', `OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('CONNECT', `CONNECT HOST:80 HTTP/1.1\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('tabs', `GET\t/\tHTTP/1.1\r\nHost: HOST\r\n\r\n${SECOND}`, { blank: /[ \t]/ }),
    header('a space in the path', `GET /a b HTTP/1.1\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('a space at the end', `GET / HTTP/1.1 \r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('a word too many', `GET / HTTP/1.1 x\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('a control in the path', `GET /\x01 HTTP/1.1\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('a zero byte in the path', `GET /\0 HTTP/1.1\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('a line feed in the path', `GET / HTTP/1.1\n\n${SECOND}`, bareFeed),
    header('a carriage return in the path', `GET /\rHTTP/1.1\r\r${SECOND}`, anyEnd),
    header('a method in small letters', `get / HTTP/1.1\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('a method of nobody', `SMUGGLE / HTTP/1.1\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('version 1.2', `GET / HTTP/1.2\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('version 01.1', `GET / HTTP/01.1\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('version 1.10', `GET / HTTP/1.10\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('version 2.0', `GET / HTTP/2.0\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    header('http in small letters', `GET / http/1.1\r\nHost: HOST\r\n\r\n${SECOND}`, {}),
    // Node takes RTSP/1.0 for HTTP/1.0: one request, one answer, the end.
    header('another protocol', `GET / RTSP/1.0\r\nHost: HOST\r\n\r\n${SECOND}`, {}, /^HTTP\/1\.1 200 /),
    header('HTTP/0.9', `GET /\r\n${SECOND}`, { simple: /^GET \S+\r\n/ }),
    header("HTTP/2's preface", `PRI * HTTP/2.0\r\n\r\n${SECOND}SM\r\n\r\n`, {}),
  ],
  upgrades: [
    {
      name: 'a WebSocket with a length',
      request: `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: ${LENGTH}\r\n\r\n${SECOND}`,
      quirks: { isBodiless: ({ fields }) => fields.some(([name]) => name === 'upgrade') },
    },
    {
      name: 'a WebSocket in chunks',
      request: `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SECOND}`,
      quirks: {},
    },
    {
      name: 'a WebSocket that is refused, with a request behind it',
      request: `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n${SECOND}`,
      quirks: {},
      answer: /^HTTP\/1\.1 200 /,
    },
    {
      name: 'a WebSocket without a key, with a request behind it',
      request: `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n${SECOND}`,
      quirks: {},
      answer: /^HTTP\/1\.1 200 /,
    },
    {
      name: 'a WebSocket of no version, with a request behind it',
      request: `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n\r\n${SECOND}`,
      quirks: {},
      answer: /^HTTP\/1\.1 200 /,
    },
    {
      name: 'HTTP/2 in the clear',
      request: `${POST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nContent-Length: ${LENGTH}\r\n\r\n${SECOND}`,
      quirks: {
        isBodiless: ({ fields }) => fields.some(([name, value]) => name === 'upgrade' && value === 'h2c'),
      },
      answer: /^HTTP\/1\.1 400 /,
    },
  ],
};

/** The request as it goes over the wire. */
function fill(request: string, host: string, prefix = ''): string {
  const place = (text: string): string =>
    text
      .replaceAll('http://HOST/', `http://HOST${prefix}/`)
      .replaceAll(/([a-z]{3,}[ \t])\//gi, `$1${prefix}/`)
      .replaceAll('HOST', host);
  const named = place(request).replaceAll(/\b(72|48)\b/g, (digits) => {
    const { length } = place(SECOND);
    return digits === '72' ? String(length) : length.toString(16);
  });
  const body = named.slice(named.indexOf('\r\n\r\n') + 4);
  return named.replace(LENGTH, String(body.length));
}

/** Everywhere that a request can go: to a site with a name or a path, or to a fixed one. */
const places = {
  'a site by name': async (target: number) => {
    const { port } = await satellite();
    return { port, host: siteHost(await redeemed(port, target)), prefix: '' };
  },
  'a site by path': async (target: number) => {
    const { port } = await satellite({ siteStyle: 'path' });
    return { port, host: DOMAIN, prefix: `/${await redeemed(port, target)}` };
  },
  'a fixed site': async (target: number) => {
    const host = 'hub.example.test';
    const { port } = await satellite({ routes: { [host]: `http://${NODE1}:${target}` } });
    return { port, host, prefix: '' };
  },
};

// What is read is read before anybody looks where it goes: half of the shapes are enough for each of the others.
// HAProxy reads for all of them.
const trials = Object.keys(engine === 'node' ? places : { 'a site by name': 1 }).flatMap((place, i) =>
  Object.entries(shapes).flatMap(([group, list]) =>
    list.filter((_shape, at) => i === 0 || at % 2 === i - 1).map((shape) => ({ ...shape, group, place })),
  ),
);

test.each(trials)(
  '$group: $name, to $place',
  async ({ request, quirks, place, answer = /^HTTP\/1\.1 (400|501) / }) => {
    const fooled = await lenientServer(quirks);
    const victim = await lenientServer(quirks);
    const { port, host, prefix } = await places[place as keyof typeof places](victim.port);
    const bytes = fill(request, host, prefix);

    const direct = await wire(fooled.port, NODE1, NODE1);
    direct.send(bytes);
    await fooled.sees(`${prefix}/smuggled`);

    const client = await wire(port);
    client.send(bytes);
    if (answer === 'ok' && engine === 'node') {
      await client.until(/^(HTTP\/1\.1 100 [\s\S]*)?HTTP\/1\.1 (200|417) [\s\S]*\r\n\r\n/);
    } else {
      const text = await lastAnswer(client);
      // HAProxy mends some of them: what it passes on has one meaning.
      if (engine === 'node') {
        expect(text).toMatch(answer);
        expect(text.match(/HTTP\/1\.1 [2-5]/g)?.length ?? 0).toBeLessThanOrEqual(1);
      }
    }
    // Whoever comes next gets his own answer, and by then everything of the last one has arrived.
    expect((await ask(port, { host, from: OUTSIDE, path: `${prefix}/sentinel` })).body).toBe('ok');
    const targets = victim.understood.map(({ target }) => target);
    expect(targets).toContain(`${prefix}/sentinel`);
    if (engine === 'node') expect(targets).not.toContain(`${prefix}/smuggled`);
    // HAProxy reads on where engine node ends the connection. What it took for a request has been answered to who sent it.
    else await client.until(new RegExp(`^([\\s\\S]*HTTP/1\\.1 [2-5]\\d\\d ){${targets.length - 1}}`));
  },
);

describe('a body', () => {
  test('that comes after the answer is a body all the same', async () => {
    const quirks: Quirks = { isBodiless: () => true };
    const fooled = await lenientServer(quirks);
    const victim = await lenientServer(quirks);
    const { port } = await satellite();
    const token = await redeemed(port, victim.port);
    const second = SECOND.replace('HOST', siteHost(token));
    const head = `POST / HTTP/1.1\r\nHost: ${siteHost(token)}\r\nContent-Length: ${second.length}\r\n\r\n`;
    // undici sends a header with the first bytes of the body, and not before.
    const [first, rest] = [head + second.slice(0, 1), second.slice(1)];

    const direct = await wire(fooled.port, NODE1, NODE1);
    await direct.send(first).until(/ok$/);
    direct.send(rest);
    await fooled.sees('/smuggled');

    const client = await wire(port);
    await client.send(first).until(/ok$/);
    client.send(`${rest}GET /after HTTP/1.1\r\nHost: ${siteHost(token)}\r\n\r\n`);
    await victim.sees('/after');
    expect(await client.until(/ok[\s\S]*ok$/)).not.toMatch(/ok[\s\S]*ok[\s\S]*ok/);
    expect(victim.understood.map(({ target }) => target)).toEqual(['/', '/after']);
  });

  test.each([
    'X-Forwarded-For: 6.6.6.6',
    'X-Real-IP: 6.6.6.6',
    'Forwarded: for=6.6.6.6',
    'Host: 6.6.6.6',
    'Content-Length: 6666',
    'Transfer-Encoding: 6.6.6.6',
    'Connection: 6.6.6.6',
  ])('has no %s behind it', async (trailer) => {
    const quirks: Quirks = { mergesTrailers: true };
    const fooled = await lenientServer(quirks);
    const victim = await lenientServer(quirks);
    const { port } = await satellite();
    const token = await redeemed(port, victim.port);
    const bytes = `POST / HTTP/1.1\r\nHost: ${siteHost(token)}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n${trailer}\r\n\r\n`;
    const told = ({ understood }: typeof victim) =>
      understood.flatMap(({ fields }) => fields).filter(([, value]) => /6\.?6\.?6\.?6/.test(value));

    const direct = await wire(fooled.port, NODE1, NODE1);
    await direct.send(bytes).until(/ok$/);
    expect(told(fooled)).toHaveLength(1);

    // A trailer about framing may be the end of the connection.
    const client = await wire(port);
    await Promise.race([
      client
        .send(bytes)
        .until(/ok$/)
        .catch(() => ''),
      lastAnswer(client),
    ]);
    expect((await visit(port, token, { path: '/sentinel' })).body).toBe('ok');
    expect(told(victim)).toEqual([]);
  });

  test.each([
    '1000000000000000',
    '9007199254740993',
    '18446744073709551616',
    '18446744073709551619',
    '0000000000000000000004',
  ])('of a length that not everybody counts alike is refused: %s', async (length) => {
    const victim = await lenientServer({});
    const { port } = await satellite();
    const token = await redeemed(port, victim.port);
    // From now on the visit is an everyday one.
    await visit(port, token);
    const client = await wire(port);
    client.send(`POST /long HTTP/1.1\r\nHost: ${siteHost(token)}\r\nContent-Length: ${length}\r\n\r\n`);
    client.send(SECOND.replace('HOST', siteHost(token)));
    expect(await client.ended()).toMatch(/^HTTP\/1\.1 400 (?![\s\S]*HTTP\/1\.1)/);
    expect((await visit(port, token, { path: '/sentinel' })).body).toBe('ok');
    const targets = victim.understood.map(({ target }) => target);
    expect(targets).not.toContain('/long');
    expect(targets).not.toContain('/smuggled');
  });

  test('in honest chunks is one, and the request behind it another', async () => {
    const victim = await lenientServer({});
    const { port } = await satellite();
    const token = await redeemed(port, victim.port);
    const host = siteHost(token);
    const client = await wire(port);
    client.send(
      `POST /one HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: Chunked\r\n\r\n5;a="b"\r\nhello\r\n0\r\n\r\nGET /two HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    );
    await client.until(/ok[\s\S]*ok/);
    expect(victim.understood.map(({ target, body }) => [target, body])).toEqual([
      ['/one', 'hello'],
      ['/two', ''],
    ]);
  });
});

/** A request over HTTP/2, which a front that only writes it down again turns into two of HTTP/1.1. */
interface Stream {
  readonly name: string;
  readonly fields: (host: string) => [string, string][];
  readonly body?: string;
  readonly quirks?: Quirks;
}

const pseudo = (host: string, changes: Record<string, string> = {}): [string, string][] =>
  Object.entries({ ':method': 'POST', ':scheme': 'https', ':authority': host, ':path': '/', ...changes });

/** A second request, as the middle of something. */
const inside = (host: string, end = '\r\n'): string =>
  `x${end}${end}GET /smuggled HTTP/1.1${end}Host: ${host}`;

const translated: readonly Stream[] = [
  { name: 'a length of nothing', fields: (host) => [...pseudo(host), ['content-length', '0']], body: SECOND },
  {
    name: 'two lengths',
    fields: (host) => [...pseudo(host), ['content-length', '0'], ['content-length', '72']],
    body: SECOND,
    quirks: { takes: 'first' },
  },
  {
    name: 'a signed length',
    fields: (host) => [...pseudo(host), ['content-length', '+72']],
    body: SECOND,
  },
  {
    name: 'a length with an underscore',
    fields: (host) => [...pseudo(host), ['content-length', '72'], ['content_length', '0']],
    body: SECOND,
    quirks: { name: (raw) => raw.replaceAll('_', '-') },
  },
  {
    name: 'a coding',
    fields: (host) => [...pseudo(host), ['transfer-encoding', 'chunked']],
    body: `0\r\n\r\n${SECOND}`,
  },
  {
    name: 'a coding with an underscore',
    fields: (host) => [...pseudo(host), ['transfer_encoding', 'chunked']],
    body: `0\r\n\r\n${SECOND}`,
    quirks: { name: (raw) => raw.replaceAll('_', '-') },
  },
  {
    name: 'a coding behind a line end in a value',
    fields: (host) => [...pseudo(host), ['x', 'y\r\ntransfer-encoding: chunked']],
    body: `0\r\n\r\n${SECOND}`,
  },
  { name: 'a request in a value', fields: (host) => [...pseudo(host), ['x', inside(host)]] },
  {
    name: 'a request in a value, with line feeds alone',
    fields: (host) => [...pseudo(host), ['x', inside(host, '\n')]],
    quirks: { lineEnd: /\r?\n/ },
  },
  {
    name: 'a request in a value, with carriage returns alone',
    fields: (host) => [...pseudo(host), ['x', inside(host, '\r')]],
    quirks: { lineEnd: /\r\n|\r|\n/ },
  },
  {
    name: 'a request in a cookie',
    fields: (host) => [...pseudo(host), ['cookie', 'a=b'], ['cookie', inside(host)]],
  },
  { name: 'a request in a name', fields: (host) => [...pseudo(host), [`x: ${inside(host)}\r\ny`, 'z']] },
  {
    name: 'a request in the path',
    fields: (host) => pseudo(host, { ':path': `/ HTTP/1.1\r\nHost: ${host}\r\n\r\nGET /smuggled` }),
  },
  {
    name: 'a request in the method',
    fields: (host) =>
      pseudo(host, { ':method': `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\nGET /smuggled HTTP/1.1\r\nx:` }),
  },
  { name: 'a request in the authority', fields: (host) => pseudo(inside(host)) },
];

describe('through HTTP/2', () => {
  test.each(['1000000000000000', '9007199254740993', '18446744073709551616'])(
    'a length that not everybody counts alike: %s',
    async (length) => {
      const victim = await lenientServer({});
      const { port } = await satelliteOver('HTTP/2');
      const token = await redeemed(port, victim.port);
      const host = siteHost(token);
      const client = new Frames(await secureWire(port, host));
      client.send(frame(TYPE.headers, END_HEADERS, 1, block([...pseudo(host), ['content-length', length]])));
      expect(await client.outcome(1)).toMatch(/^(reset 1|400)$/);
      expect((await visit(port, token, { path: '/sentinel' })).body).toBe('ok');
      expect(victim.understood.map(({ target }) => target)).toEqual(['/sentinel']);
    },
  );

  test.each(translated)('$name', async ({ fields, body = '', quirks = {} }) => {
    const fooled = await lenientServer(quirks);
    const victim = await lenientServer(quirks);
    const { port } = await satelliteOver('HTTP/2');
    const token = await redeemed(port, victim.port);
    const host = siteHost(token);
    const said = fields(host).map(([name, value]): [string, string] => [name, fill(value, host)]);
    const content = fill(body, host);

    // What a front writes down that looks at nothing.
    const of = Object.fromEntries(said);
    const lines = said
      .filter(([name]) => !name.startsWith(':'))
      .map(([name, value]) => `${name}: ${value}\r\n`);
    const direct = await wire(fooled.port, NODE1, NODE1);
    direct.send(
      `${of[':method']} ${of[':path']} HTTP/1.1\r\nHost: ${of[':authority']}\r\n${lines.join('')}\r\n${content}`,
    );
    await fooled.sees('/smuggled');

    const client = new Frames(await secureWire(port, host));
    client.send(
      frame(TYPE.headers, END_HEADERS | (content === '' ? END_STREAM : 0), 1, block(said)),
      ...(content === '' ? [] : [frame(TYPE.data, END_STREAM, 1, content)]),
    );
    // Fields that can't be are left out by Node; then there is nothing wrong with the rest.
    expect(await client.outcome(1).catch(() => 'closed')).toMatch(/^(reset 1|400|421|200|closed)$/);
    expect((await visit(port, token, { path: '/sentinel' })).body).toBe('ok');
    const targets = victim.understood.map(({ target }) => target);
    expect(targets).not.toContain('/smuggled');
    expect(targets).toContain('/sentinel');
  });
});

/** Python's http.server with a handler that reads no bodies, as many do. It is as lax as they come. */
async function pythonServer() {
  const program = `
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self):
        print(self.path, flush=True)
        self.send_response(200)
        self.send_header('Content-Length', '2')
        self.end_headers()
        self.wfile.write(b'ok')
    do_GET = do_POST = do_PUT = do_OPTIONS = answer
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(('${NODE1}', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
`;
  const child = spawn('python3', ['-c', program], { stdio: ['ignore', 'pipe', 'ignore'] });
  const ended = once(child, 'close');
  cleanup(async () => {
    child.kill();
    await ended;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value } = await lines.next();
    if (value === undefined) throw new Error('the Python server has ended');
    return value;
  };
  return {
    port: Number(await next()),
    /** All targets up to this one, as they come in. */
    async upTo(target: string): Promise<string[]> {
      const seen = [];
      do seen.push(await next());
      while (seen.at(-1) !== target);
      return seen;
    },
  };
}

test('a real server that is lax is fooled by some of these, and behind the proxy by none', async () => {
  const python = await pythonServer();
  const { port } = await satellite();
  const token = await redeemed(port, python.port);
  const real: Shape[] = [
    header('bare line feeds', `GET / HTTP/1.1\nHost: HOST\n\n${SECOND}`, {}),
    header('a length with a space', `${POST}Content-Length : ${LENGTH}\r\n\r\n${SECOND}`, {}),
    header('a signed length', `${POST}Content-Length: +${LENGTH}\r\n\r\n${SECOND}`, {}),
    header('a folded length', `${POST}Content-Length:\r\n ${LENGTH}\r\n\r\n${SECOND}`, {}),
    header('two lengths', `${POST}Content-Length: 0\r\nContent-Length: ${LENGTH}\r\n\r\n${SECOND}`, {}),
    header('a body of a GET', `${GET}Content-Length: ${LENGTH}\r\n\r\n${SECOND}`, {}),
    header(
      'a body of OPTIONS',
      `OPTIONS / HTTP/1.1\r\nHost: HOST\r\nContent-Length: ${LENGTH}\r\n\r\n${SECOND}`,
      {},
    ),
    header('HTTP/0.9', 'GET /smuggled\r\n\r\n', {}),
  ];
  for (const { name, request } of real) {
    const bytes = fill(request, siteHost(token));
    const direct = await wire(python.port, NODE1, NODE1);
    direct.send(bytes);
    expect(await python.upTo('/smuggled'), name).toContain('/smuggled');
    direct.socket.destroy();

    const client = await wire(port);
    await client.send(bytes).until(/^HTTP\/1\.1 [24]\d\d [\s\S]*\r\n\r\n/);
    client.socket.destroy();
    expect((await visit(port, token, { path: '/sentinel' })).status).toBe(200);
    expect(await python.upTo('/sentinel'), name).not.toContain('/smuggled');
  }
});
