import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import {
  type Answer,
  ask,
  freePort,
  LOGIN,
  listenOn,
  NODE1,
  OUTSIDE,
  type Protocol,
  protocols,
  satelliteOver,
} from './support.ts';

/*
 * Answers of the original service, recorded on a test cluster. Each is replayed from the place it was made from; the
 * cluster's 10.21.0.0/16 is 127.21.0.0/16 here, the recorded token is the one that was just issued.
 */

const folder = new URL('recordings/', import.meta.url);
const RECORDED_TOKEN = 'agreeing-paying-parole';
const DOMAIN = 'user-content.test';

interface Recording {
  readonly from: string;
  readonly host: string;
  readonly path: string;
  readonly method: string;
  readonly data: string | undefined;
  readonly origin: string | undefined;
  /** Undefined where curl was told to print only status and type. */
  readonly answer:
    | { readonly status: number; readonly headers: Map<string, string>; readonly body: string }
    | undefined;
  readonly tail: string;
}

function parse(name: string): Recording {
  const text = readFileSync(new URL(name, folder), 'utf8').replaceAll('10.21.', '127.21.');
  const match =
    /^# from: (\S+)\n\$ curl ([\s\S]*?)\s?(https:\/\/\S+)\n(?=HTTP\/1\.1 |status )([\s\S]*)$/.exec(text);
  if (!match) throw new Error(`${name} is not a recording`);
  const [, from = '', options = '', address = '', tail = ''] = match;
  const url = new URL(address);
  const data = /--data-binary ([\s\S]*)$/.exec(options)?.[1];
  const head = /^HTTP\/1\.1 (\d+) .*\n((?:.+\n)*)\n([\s\S]*)\n$/.exec(tail);
  return {
    from,
    host: url.host,
    path: address.slice(url.origin.length),
    method: /-X (\w+)/.exec(options)?.[1] ?? (data === undefined ? 'GET' : 'POST'),
    data,
    origin: /-H Origin: (\S+)/.exec(options)?.[1],
    answer: head
      ? {
          status: Number(head[1]),
          headers: new Map(
            (head[2] ?? '')
              .trim()
              .split('\n')
              .map((line) => line.split(': ', 2) as [string, string]),
          ),
          body: head[3] ?? '',
        }
      : undefined,
    tail,
  };
}

interface World {
  readonly port: number;
  readonly token: string;
  call(path: string, from?: string): Promise<Answer>;
  report(states: string): Promise<Answer>;
}

type Prepare = (world: World) => Promise<unknown>;

const none: Prepare = async () => undefined;
const link: Prepare = ({ call, token }) => call(`/linktoken.cgi?token=${token}&jobid=4711`);
const redeem =
  (port: number): Prepare =>
  ({ call, token }) =>
    call(`/redeemtoken.cgi?token=${token}&port=${port}`, NODE1);
const report =
  (state: string): Prepare =>
  ({ report }) =>
    report(`4711 ${state}`);
const all =
  (...steps: Prepare[]): Prepare =>
  async (world) => {
    for (const step of steps) await step(world);
  };
/** Redeems for a port on which somebody listens, and waits until the proxy has been there. */
const reachable: Prepare = async (world) => {
  const met = Promise.withResolvers<void>();
  const port = await listenOn(createServer(() => met.resolve()));
  await redeem(port)(world);
  await met.promise;
};

/** What came before each recording. */
const before: Readonly<Record<string, Prepare>> = {
  'destroy-ok': redeem(9000),
  'destroy-other-host': redeem(9000),
  'destroy-twice': all(redeem(9000), ({ call, token }) => call(`/destroytoken.cgi?token=${token}`, NODE1)),
  'getlink-ok': none,
  'getlink-outside-network': none,
  'getlink-post': none,
  'linktoken-missing-jobid': none,
  'linktoken-ok': none,
  'linktoken-twice': link,
  'page-pending-head': none,
  'page-unknown': none,
  'redeem-bad-port': none,
  'redeem-missing-port': none,
  'redeem-missing-token': none,
  'redeem-ok': none,
  'redeem-outside-network': none,
  'redeem-post': none,
  'redeem-privileged-port': none,
  'redeem-twice': redeem(9000),
  'redeem-unknown-token': none,
  'tokenjobstate-by-hostname': none,
  'tokenjobstate-cors': reachable,
  'tokenjobstate-dead': all(link, report('RUNNING'), redeem(9000), report('COMPLETED')),
  // Redeemed, but nobody listens there yet.
  'tokenjobstate-mapped': all(link, report('RUNNING'), async (world) => redeem(await freePort())(world)),
  'tokenjobstate-missing': none,
  'tokenjobstate-pending': none,
  'tokenjobstate-proxied': all(link, report('RUNNING'), reachable),
  'tokenjobstate-queued': all(link, report('PENDING')),
  'tokenjobstate-running': all(link, report('RUNNING')),
  'tokenjobstate-unknown': none,
  'update-jobs-get': none,
  'update-jobs-gone': all(link, report('RUNNING')),
  'update-jobs-ok': link,
  'update-jobs-running': all(link, report('PENDING')),
  'update-jobs-wrong-host': link,
};

async function newWorld(protocol: Protocol = 'HTTP/1.1'): Promise<World> {
  const { port } = await satelliteOver(protocol, { domain: DOMAIN });
  const call = (path: string, from = LOGIN) => ask(port, { host: `manage.${DOMAIN}`, path, from });
  const report = (states: string) =>
    ask(port, {
      host: `manage.${DOMAIN}`,
      path: '/update-jobs.cgi',
      method: 'POST',
      body: `jobstates=${states}`,
    });
  // The way in which galyleo reads it: the second-last word of the body and the status code.
  const issued = await call('/getlink.cgi');
  const token = `${issued.body}${issued.status}`.split(/\s+/).at(-2) ?? '';
  return { port, token, call, report };
}

const names = readdirSync(folder).map((name) => name.replace(/\.txt$/, ''));

test('every recording is replayed', () => {
  expect(names.toSorted()).toEqual(Object.keys(before).toSorted());
});

describe.each(protocols)('answers over %s are the recorded ones', (protocol) => {
  test.each(names)('%s', async (name) => {
    const recording = parse(`${name}.txt`);
    const world = await newWorld(protocol);
    await before[name]?.(world);
    const ours = (text: string): string => text.replaceAll(RECORDED_TOKEN, world.token);
    const answer = await ask(world.port, {
      from: recording.from,
      host: ours(recording.host),
      path: ours(recording.path),
      method: recording.method,
      headers: {
        Accept: '*/*',
        ...(recording.origin !== undefined && { Origin: ours(recording.origin) }),
        ...(recording.data !== undefined && { 'Content-Type': 'application/x-www-form-urlencoded' }),
      },
      ...(recording.data !== undefined && { body: recording.data }),
    });
    if (recording.answer === undefined) {
      expect(`status ${answer.status} type ${answer.headers['content-type']}\n\n`).toBe(recording.tail);
      return;
    }
    expect(answer.status).toBe(recording.answer.status);
    for (const [field, value] of recording.answer.headers) {
      expect(answer.headers[field.toLowerCase()]).toBe(ours(value));
    }
    if (name.startsWith('getlink-') && recording.answer.body.startsWith('Your token')) {
      const shape = /^Your token is \n[a-z]+-[a-z]+-[a-z]+\n$/;
      expect(recording.answer.body).toMatch(shape);
      expect(answer.body).toMatch(shape);
    } else {
      expect(answer.body).toBe(recording.answer.body);
    }
    if (recording.origin === undefined)
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
  });
});

describe('around the recordings', () => {
  test('a site may not ask about another one', async () => {
    const { port, token } = await newWorld();
    for (const origin of [`https://other-site-here.${DOMAIN}`, `https://${token}.evil.test`, 'null']) {
      const answer = await ask(port, {
        host: `manage.${DOMAIN}`,
        path: `/tokenjobstate.cgi?token=${token}`,
        headers: { Origin: origin },
        from: OUTSIDE,
      });
      expect(answer.body).toBe('PE');
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
    }
  });

  test('a pending token may be given back by any internal host', async () => {
    const { port, token, call } = await newWorld();
    expect((await call(`/destroytoken.cgi?token=${token}`, OUTSIDE)).body).toMatch(
      /^Oops! Client \(your\) IP not in range/,
    );
    expect((await call(`/destroytoken.cgi?token=${token}.${DOMAIN}`)).body).toBe(
      'Success! Token destroyed.\n',
    );
    expect((await call(`/tokenjobstate.cgi?token=${token}`)).body).toBe('');
    expect(port).toBeGreaterThan(0);
  });

  test('a job that was reported as over may still give its token back, once', async () => {
    const world = await newWorld();
    await all(link, report('RUNNING'), redeem(9000), report('COMPLETED'))(world);
    const destroy = () => world.call(`/destroytoken.cgi?token=${world.token}`, NODE1);
    expect((await destroy()).body).toBe('Success! Token destroyed.\n');
    expect((await destroy()).body).toBe('Oops! Unknown nonce or nonce already destroyed\n');
  });

  test('a report with reserved characters, Windows line ends and array jobs', async () => {
    const { port, token, call } = await newWorld();
    await call(`/linktoken.cgi?token=${token}&jobid=4711_%5B2%5D`);
    const body = `jobstates=${encodeURIComponent('4711_[2]  OUTOFMEMORY\r\n\r\nnonsense\r\n')}`;
    await ask(port, { host: `manage.${DOMAIN}`, path: '/update-jobs.cgi', method: 'POST', body });
    expect((await call(`/tokenjobstate.cgi?token=${token}`)).body).toBe('D');
  });

  test.each([
    ['', "Missing 'jobid' parameter"],
    ['-rf', "'jobid' parameter isn't a job id"],
    ['4711%3Bls', "'jobid' parameter isn't a job id"],
    ['%20', "'jobid' parameter isn't a job id"],
  ])(
    'a jobid that is none is refused, and not called missing where it is there: "%s"',
    async (id, message) => {
      const { token, call } = await newWorld();
      expect((await call(`/linktoken.cgi?token=${token}&jobid=${id}`)).body).toBe(`Oops! ${message}\n`);
      expect((await call(`/linktoken.cgi?token=${token}&jobid=4711`)).body).toMatch(/^Success!/);
    },
  );

  test.each([
    ['/getlink.cgi', 'GET, POST'],
    ['/linktoken.cgi?token=TOKEN&jobid=4711', 'GET'],
    ['/redeemtoken.cgi?token=TOKEN&port=9000', 'GET'],
    ['/destroytoken.cgi?token=TOKEN', 'GET'],
    ['/update-jobs.cgi', 'POST'],
  ])('%s changes nothing by any other method than GET and POST', async (path, allow) => {
    const { port, token, call } = await newWorld();
    for (const method of ['HEAD', 'OPTIONS', 'DELETE', 'PUT', 'PATCH']) {
      const answer = await ask(port, {
        host: `manage.${DOMAIN}`,
        path: path.replace('TOKEN', token),
        method,
        from: NODE1,
      });
      expect([answer.status, answer.headers.allow], method).toEqual([405, allow]);
      expect(answer.body, method).not.toContain('Your token');
    }
    expect((await call(`/tokenjobstate.cgi?token=${token}`)).body).toBe('PE');
  });

  test('the management paths do not exist elsewhere', async () => {
    const { port, token } = await newWorld();
    const onSite = await ask(port, { host: `${token}.${DOMAIN}`, path: '/getlink.cgi' });
    expect(onSite.body).not.toContain('Your token');
    for (const host of [
      DOMAIN,
      `manage.manage.${DOMAIN}`,
      'manage',
      'manage.evil.test',
      `xmanage.${DOMAIN}`,
    ]) {
      const answer = await ask(port, { host, path: '/getlink.cgi' });
      expect(answer.body, host).not.toContain('Your token');
    }
    const spelledOddly = await ask(port, {
      host: `MANAGE.${DOMAIN.toUpperCase()}.:443`,
      path: '/getlink.cgi',
    });
    expect(spelledOddly.body).toContain('Your token');
  });
});
