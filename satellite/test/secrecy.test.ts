import { expect, test } from 'vitest';
import { drawToken } from '../src/tokens/words.ts';
import { ownTime, pass } from './passing.ts';
import { api, DOMAIN, issue, LOGIN, NODE1, OUTSIDE, redeemed, satellite, wire } from './support.ts';

/*
 * What answers tell about names: who has none of them learns nothing, however near a guess comes. How long an answer
 * takes is no test's business here; satellite/test/timing.ts measures it, and docs/security.md says with what outcome.
 */

/** Everything that somebody can try with a name: where it is sent, and what. NAME and SITE are put in. */
const attempts: readonly (readonly [what: string, from: string, request: string])[] = [
  ['a visit with a browser', OUTSIDE, 'GET / HTTP/1.1\r\nHost: SITE\r\nAccept: text/html\r\n'],
  [
    'a visit with a program',
    OUTSIDE,
    'GET /api/status HTTP/1.1\r\nHost: SITE\r\nAccept: application/json\r\n',
  ],
  ['a visit that posts', OUTSIDE, 'POST / HTTP/1.1\r\nHost: SITE\r\nContent-Length: 0\r\n'],
  ['the events of a page', OUTSIDE, 'GET /.well-known/satellite/events HTTP/1.1\r\nHost: SITE\r\n'],
  ['the state of a page', OUTSIDE, 'GET /.well-known/satellite/state HTTP/1.1\r\nHost: SITE\r\n'],
  [
    'a WebSocket',
    OUTSIDE,
    'GET / HTTP/1.1\r\nHost: SITE\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
  ],
  ...(
    [
      ['its state', OUTSIDE, 'GET /tokenjobstate.cgi?token=NAME'],
      ['redeeming it', NODE1, 'GET /redeemtoken.cgi?token=NAME&port=9000'],
      ['linking it', LOGIN, 'GET /linktoken.cgi?token=NAME&jobid=7'],
      ['destroying it', NODE1, 'GET /destroytoken.cgi?token=NAME'],
      ['its state by the API', OUTSIDE, 'GET /api/v1/tokens/NAME'],
      ['destroying it by the API', NODE1, 'DELETE /api/v1/tokens/NAME'],
      ['redeeming it from outside', OUTSIDE, 'GET /redeemtoken.cgi?token=NAME&port=9000'],
      ['destroying it by the API, from outside', OUTSIDE, 'DELETE /api/v1/tokens/NAME'],
    ] as const
  ).map(([what, from, line]) => [what, from, `${line} HTTP/1.1\r\nHost: manage.${DOMAIN}\r\n`] as const),
];

/** An answer, byte for byte, without the time of day. */
async function answer(port: number, name: string, from: string, request: string): Promise<string> {
  const client = await wire(port, from);
  const connection = request.includes('Upgrade') ? '' : 'Connection: close\r\n';
  client.send(`${request.replace('SITE', `${name}.${DOMAIN}`).replace('NAME', name)}${connection}\r\n`);
  const text = await client.ended();
  return text.replace(/^Date: .*\r\n/im, '');
}

ownTime();

test.each(attempts)(
  '%s: near guesses, far ones and old names are all the same',
  async (_what, from, request) => {
    const { port } = await satellite();
    const forgotten = await issue(port);
    await api(port, 'DELETE', `/tokens/${forgotten}`);
    await pass(port, 25);
    const live = await redeemed(port, 9000);
    const [first, second] = live.split('-');
    const [, , third] = drawToken().split('-');
    const far = await answer(port, drawToken(), from, request);
    expect(far).toMatch(/^HTTP\/1\.1 /);
    const names = [`${first}-${second}-${third}`, forgotten];
    // A page may say what is wrong with the words themselves, which are the visitor's own.
    const odd = request.includes('text/html') ? [] : [`${live}-${first}`, `${first}-${second}`, 'x', '0'];
    for (const name of [...names, ...odd]) expect(await answer(port, name, from, request), name).toBe(far);
  },
);

test.each(attempts)(
  '%s: once somebody has guessed too often, right is like wrong',
  async (_what, from, request) => {
    const { port } = await satellite({ limits: { unknownNamesPerMinute: 1 } });
    const live = await issue(port);
    await answer(port, 'no-such-name', from, 'GET / HTTP/1.1\r\nHost: SITE\r\n');
    const wrong = await answer(port, 'no-such-name', from, request);
    expect(wrong).toMatch(/^HTTP\/1\.1 (429|403) /);
    expect(await answer(port, live, from, request)).toBe(wrong);
  },
);
