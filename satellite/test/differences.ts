import { execFileSync } from 'node:child_process';
import { compareVersions } from '../src/dataplane/haproxy/version.ts';

/** Versions of HAProxy: from one on, or up to another that isn't meant any more. */
interface Versions {
  readonly since?: string;
  readonly before?: string;
}

/** Which HAProxy tests run with: the one on the PATH. */
let installed: string | undefined;

export function haproxyIs({ since = '0', before = '99' }: Versions): boolean {
  installed ??= /(?<=version )[\d.]+/.exec(execFileSync('haproxy', ['-v'], { encoding: 'utf8' }))?.[0] ?? '';
  return compareVersions(installed, since) >= 0 && compareVersions(installed, before) < 0;
}

/**
 * What engine haproxy does otherwise than engine node, by the tests that would show it, each with the reason. Nothing
 * else is left out in the project `haproxy`.
 */
const differences: readonly (readonly [test: RegExp, reason: string, versions?: Versions])[] = [
  [
    /^over HTTP\/1\.1 > fields of the connection stay behind/,
    'HAProxy writes the names of fields in small letters',
  ],
  [
    /^over HTTP\/1\.1 > status line, fields and body are the notebook's own|^an answer on its way out > has nothing that belongs to a connection of old/,
    'as above; and what a notebook names in Connection stays',
  ],
  [
    /^over HTTP\/1\.1 > a notebook that answers before the body is over > ends no connection/,
    'HAProxy may close after such an answer, and does so now and then',
  ],
  [
    /> an answer up to the end of the connection that breaks off/,
    'HAProxy takes a reset for the end of an answer without a length',
  ],
  [
    /^http2\.test\.ts: |[^>]HTTP\/2|^through HTTP\/2|\(TLS: true\)|^a site > (is asked by the name that chose it|whose notebook takes nothing)/,
    'before HAProxy 2.6 HTTP/2 is not on offer',
    { before: '2.6' },
  ],
  [
    /^HTTP\/2 > .* an answer in chunks that breaks off/,
    'before HAProxy 2.8 the stream ends as if all had been said',
    { before: '2.8' },
  ],
  [
    /^an answer on its way out > that breaks off ends with a reset/,
    'HAProxy takes a reset for the end of an answer without a length; before 2.8 one in chunks ends as if all had been said',
  ],
  [
    /^connections > that are WebSockets do not count/,
    'HAProxy counts connections, and WebSockets over HTTP/1.1 are some; over HTTP/2 they are none of their own',
  ],
  [
    /^requests that arrive all at once > have a bound/,
    'HAProxy takes requests of a connection one by one, and leaves the rest in the socket',
  ],
  [
    /^the log > has no token in any case of letters/,
    'HAProxy itself refuses a target that names another host than Host does',
  ],
  [
    /^a visitor > whose upload stands still is given up/,
    'HAProxy waits for the notebook as long as answerTime says',
  ],
  [
    /^requests that say something odd > (another Host|two Hosts):/,
    'HAProxy goes by :authority, and passes on no Host beside it',
  ],
  [
    /^requests that say something odd > content-length: 44:/,
    'HAProxy goes by the end of the stream, and passes no length on',
  ],
  [
    /^requests that say something odd > the path "\*"/,
    'since 2.8 HAProxy takes it for "/", as it is no OPTIONS',
    { since: '2.8' },
  ],
  [/^requests that say something odd > CONNECT for a WebSocket/, 'HAProxy takes WebSockets over HTTP/2'],
  [/^one connection > says for which site it was made/, 'HAProxy has no ORIGIN frames; 421 does it'],
  [
    /^one connection > has room for the uploads of somebody far away/,
    'HAProxy gives new room for all streams of a connection as it reads, not beforehand',
  ],
  [
    /^one connection > is not held up by a upload that|^a visitor who leaves > in the middle of an upload/,
    'an upload that the notebook does not take holds up its connection (until answerTime, see haproxy.test.ts)',
  ],
  [
    /^limits > of a client count streams/,
    'HAProxy counts connections: each has 128 requests at most, and all together as many as a site has',
  ],
  [
    /^limits > a connection without a request is closed/,
    'HAProxy 3.4 lets one over HTTP/2 wait as long as stallTime says',
    { since: '2.9' },
  ],
  [/^an answer on its way out > of 205 with a body/, 'HAProxy passes the body of a 205 on'],
  [
    /^trouble > (a page that never sends a form again|programs get JSON)/,
    'what HAProxy itself says of a notebook in trouble is a line of text, whoever asks',
  ],
  [
    /^a stop in good order > a WebSocket goes on while it is used/,
    'HAProxy can not tell their quiet moments: a stop closes them at once',
  ],
  [
    /^a real server that is lax is fooled/,
    'HAProxy takes a bare line feed for the end of a line (RFC 9112 section 2.2), and what follows for a request of its own',
  ],
];

/** Why a test, by its file and its whole name, says nothing of HAProxy; undefined for one that does. */
export function differenceOf(file: string, test: string): string | undefined {
  const isMeant = (pattern: RegExp): boolean => pattern.test(test) || pattern.test(`${file}: ${test}`);
  return differences.find(
    ([pattern, , versions]) => isMeant(pattern) && (!versions || haproxyIs(versions)),
  )?.[1];
}
