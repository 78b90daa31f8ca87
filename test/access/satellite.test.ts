import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import path from 'node:path';
import { rootCertificates } from 'node:tls';
import { type Satellite, type SatelliteConfigInput, startSatellite } from 'satellite';
import { describe, expect, it, onTestFinished, test } from 'vitest';
import { heldToken, SatelliteClient } from '../../src/access/satellite.ts';
import { ConfigurationError, ProxyError } from '../../src/errors.ts';
import { temporaryDirectory } from '../support/directories.ts';

/** A client for a management host on this machine, whatever its name. */
function clientFor(port: number): SatelliteClient {
  const client = new SatelliteClient({
    manageUrl: `http://manage.sites.test:${port}`,
    connectTo: '127.0.0.1',
  });
  onTestFinished(() => client.close());
  return client;
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const proxyAnswering = async (answer: RequestListener) => clientFor(await listening(createServer(answer)));

/** What the original said, as recorded on a test cluster. */
function original(name: string): string {
  const text = readFileSync(
    path.join(import.meta.dirname, '../../satellite/test/recordings', `${name}.txt`),
    'utf8',
  );
  return text.slice(text.indexOf('\n\n') + 2).trimEnd();
}

/** SDSC's original: CGI programs, status 200 whatever happens, and no JSON API. */
async function originalProxy(
  answers: Readonly<Record<string, string>>,
): Promise<{ client: SatelliteClient; requests: string[] }> {
  const requests: string[] = [];
  const client = await proxyAnswering((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://x');
    requests.push(`${request.method} ${request.url}`);
    const answer = answers[pathname];
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'text/plain' });
    response.end(answer ?? 'Not Found');
  });
  return { client, requests };
}

async function refusal(action: Promise<unknown>): Promise<ProxyError> {
  const error: unknown = await action.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ProxyError);
  return error as ProxyError;
}

async function ourSatellite(settings: Partial<SatelliteConfigInput> = {}): Promise<Satellite> {
  const satellite = await startSatellite(
    {
      domain: 'sites.test',
      listen: '127.0.0.1:0',
      tls: 'off',
      internalNetworks: ['127.0.0.0/8'],
      state: ':memory:',
      ...settings,
    },
    { log: () => {} },
  );
  onTestFinished(() => satellite.close());
  return satellite;
}

describe('a connection that is opened before there is a request', () => {
  const token = { token: 'one-two-three', site: 'http://one-two-three.sites.test/' };

  /** A proxy that gives out one token, and what connects to it, in order. */
  async function proxy(): Promise<{
    client: SatelliteClient;
    connections: Socket[];
    next(): Promise<Socket>;
  }> {
    const server = createServer((_request, response) => {
      response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify(token));
    });
    const connections: Socket[] = [];
    server.on('connection', (socket) => connections.push(socket));
    const client = clientFor(await listening(server));
    return {
      client,
      connections,
      next: async () => ((await once(server, 'connection')) as [Socket])[0],
    };
  }

  /** Whatever error comes before; it may have closed already. */
  async function closing(socket: Socket): Promise<void> {
    if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  }

  it('takes the first request, and the one after it', async () => {
    const { client, connections, next } = await proxy();
    const opened = next();
    await client.connect();
    await opened;
    expect(await client.issueToken()).toMatchObject(token);
    expect(await client.issueToken()).toMatchObject(token);
    expect(connections).toHaveLength(1);
  });

  it('is closed where nobody needed it', async () => {
    const { client, next } = await proxy();
    const opened = next();
    await client.connect();
    const socket = await opened;
    const closed = once(socket, 'close');
    await client.close();
    await closed;
  });

  it('is of no consequence where its name is not known: the request says so', async () => {
    // Too long for a name, so that nobody is asked for it.
    const client = new SatelliteClient({ manageUrl: `http://manage.${'a'.repeat(64)}.test` });
    onTestFinished(() => client.close());
    const early = await client.connect();
    await closing(early);
    expect((await refusal(client.issueToken())).message).toMatch(/its name is not known here/);
  });

  it('is given up where the proxy has closed it: the request goes over another', async () => {
    const { client, connections, next } = await proxy();
    const opened = next();
    const early = await client.connect();
    const closed = once(early, 'close');
    (await opened).end();
    await closed;
    expect(await client.issueToken()).toMatchObject(token);
    expect(connections).toHaveLength(2);
  });

  it('says nothing where nobody listens; the request does', async () => {
    const server = createTcpServer();
    const port = await new Promise<number>((resolve) =>
      server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
    );
    await new Promise((resolve) => server.close(resolve));
    const client = clientFor(port);
    const early = await client.connect();
    await closing(early);
    expect((await refusal(client.issueToken())).message).toContain('it refuses connections');
  });
});

describe('with our own Satellite', () => {
  it('gets, links, reports on and gives back a token', async () => {
    const satellite = await ourSatellite();
    const client = clientFor(satellite.address.port);

    expect((await client.identify()).version).toMatch(/^\d+\.\d+/);
    const { token, site } = await client.issueToken();
    expect(new URL(site).hostname).toBe(`${token}.sites.test`);
    expect(await client.tokenStatus(token)).toMatchObject({ state: 'pending' });
    expect(await client.siteAnswers(site)).toBe(false);
    await client.linkJob(token, '4711');
    await client.reportPhase({ token }, 'failed', 'The job "failed".');
    expect(await client.tokenStatus(token)).toMatchObject({ phase: 'failed', reason: 'The job "failed".' });
    await client.destroyToken({ token });
    expect((await client.tokenStatus(token))?.state ?? 'gone').toBe('gone');
    expect((await client.issueToken()).token).not.toBe(token);
  });

  it('lets nobody else on the same host change anything about a token that it has claimed', async () => {
    const satellite = await ourSatellite();
    const client = clientFor(satellite.address.port);
    const jupyterToken = 'j'.repeat(48);
    const { token, claimed } = await client.issueToken(jupyterToken);
    expect(claimed).toBe(true);
    const stranger = { token, proof: 's'.repeat(48) };
    for (const other of [{ token }, stranger]) {
      await client.reportPhase(other, 'failed', 'Not true.');
      await client.destroyToken(other);
    }
    expect(await client.tokenStatus(token)).toEqual({
      state: 'pending',
      phase: undefined,
      reason: undefined,
    });
    const owner = heldToken({ claimed }, { proxyToken: token, jupyterToken });
    await client.reportPhase(owner, 'ended', 'It ended.');
    await client.destroyToken(owner);
    expect(await client.tokenStatus(token)).toMatchObject({ state: 'gone', reason: 'It ended.' });
  });

  it('is told to come again where it has had too many tokens', async () => {
    const satellite = await ourSatellite({ limits: { tokensPerMinute: 2 } });
    const client = clientFor(satellite.address.port);
    await client.issueToken();
    await client.issueToken();
    const { message, hint } = await refusal(client.issueToken());
    expect(message).toMatch(/refuses for now: \S/);
    expect(hint).toBe('Try again in a minute; nothing was submitted.');
  });

  it('is told why it is refused from outside of the cluster', async () => {
    const satellite = await ourSatellite({ internalNetworks: ['10.21.0.0/16'] });
    const { message } = await refusal(clientFor(satellite.address.port).issueToken());
    expect(message).toMatch(/refuses: \S/);
    expect(message).toContain('manage.sites.test');
  });
});

it('looks for Jupyter below the path of a site that has one', async () => {
  const paths: (string | undefined)[] = [];
  const client = await proxyAnswering(({ url, headers: { host } }, response) => {
    paths.push(url);
    const issued = { token: 'one-two-three', site: `http://${host?.replace('manage.', '')}/one-two-three/` };
    const answers = url === '/api/v1/tokens' ? issued : { version: '7.0.0' };
    response.writeHead(url === '/api/v1/tokens' ? 201 : 200).end(JSON.stringify(answers));
  });
  const { site } = await client.issueToken();
  expect(await client.siteAnswers(site)).toBe(true);
  expect(paths).toEqual(['/api/v1/tokens', '/one-two-three/api']);
});

it('says whose session it is where visitors are asked, and shares it as its owner alone can', async () => {
  const satellite = await ourSatellite({ trustedProxies: ['192.0.2.1'], auth: { header: 'X-Remote-User' } });
  const client = clientFor(satellite.address.port);
  const { token, gated } = await client.issueToken();
  expect(gated).toBe(true);
  const jupyterToken = 'j'.repeat(48);
  const access = { owner: 'alice', sharedWith: [] };
  expect(await client.setAccess(token, { jupyterToken, owner: 'alice' })).toEqual(access);
  expect(await client.setAccess(token, { jupyterToken, sharedWith: ['bob'] })).toEqual({
    ...access,
    sharedWith: ['bob'],
  });
  const lie = client.setAccess(token, { jupyterToken: 'k'.repeat(48), sharedWith: ['eve'] });
  expect((await refusal(lie)).message).toContain('Only who knows its Jupyter token');
  expect(await client.gatedSiteAnswers(token)).toBe(false);
});

describe('with the original', () => {
  it('gets a token and knows its site', async () => {
    const { client } = await originalProxy({ '/getlink.cgi': original('getlink-ok') });
    const { token, site } = await client.issueToken();
    expect(token).toBe('agreeing-paying-parole');
    expect(site).toMatch(/^http:\/\/agreeing-paying-parole\.sites\.test:\d+\/$/);
  });

  it('takes a refusal for one, though its status is 200', async () => {
    const { client } = await originalProxy({ '/getlink.cgi': original('getlink-outside-network') });
    expect((await refusal(client.issueToken())).message).toContain('not in range 10.21.0.0/16');
  });

  it('links a job', async () => {
    const { client, requests } = await originalProxy({ '/linktoken.cgi': original('linktoken-ok') });
    await client.linkJob('agreeing-paying-parole', '141659[2].server');
    expect(requests.at(-1)).toBe(
      'GET /linktoken.cgi?token=agreeing-paying-parole&jobid=141659%5B2%5D.server',
    );
  });

  it('lets the redeeming host keep its right to destroy', async () => {
    const { client, requests } = await originalProxy({ '/destroytoken.cgi': original('destroy-other-host') });
    await client.destroyToken({ token: 'agreeing-paying-parole' });
    expect(requests.at(-1)).toBe('GET /destroytoken.cgi?token=agreeing-paying-parole');
  });

  it('does without what the original does not have', async () => {
    const { client } = await originalProxy({});
    expect(await client.tokenStatus('agreeing-paying-parole')).toBeUndefined();
    await client.reportPhase({ token: 'agreeing-paying-parole' }, 'ended', 'It ended.');
  });
});

describe('a proxy that is none', () => {
  test.each<[string, number, string]>([
    ['a page', 200, '<html>Welcome</html>'],
    ['nothing', 200, ''],
    ['JSON of another kind', 201, '{"hello":1}'],
    ['a token that is no name', 201, '{"token":"../../x","site":"http://x/"}'],
    ['a token of one word', 201, '{"token":"word","site":"http://x/"}'],
    ['a token that is too long', 201, `{"token":"a-${'b'.repeat(63)}","site":"http://x/"}`],
    ['a token without its site', 201, '{"token":"one-two-three"}'],
    ['another token’s site', 201, '{"token":"one-two-three","site":"https://x/four-five-six/"}'],
    ['a site that is none', 201, '{"token":"one-two-three","site":"javascript://x/one-two-three/"}'],
    ['half of the JSON', 201, '{"token":"one'],
  ])('because it answers with %s is said to be none', async (_, status, body) => {
    // Both ways to a token end in the same answer.
    const client = await proxyAnswering((request, response) => {
      const gone = status === 200 && request.method === 'POST';
      response.writeHead(gone ? 404 : status);
      response.end(body);
    });
    const { message, hint } = await refusal(client.issueToken());
    expect(message).toMatch(/manage\.sites\.test:\d+ does not answer as a Satellite proxy does/);
    expect(hint).toContain('proxy.endpoint');
  });

  it.each([500, 502, 503])('because it answers with status %i has a problem of its own', async (status) => {
    const client = await proxyAnswering((_, response) =>
      response.writeHead(status).end('<h1>no\u001b[31m</h1>\nsecond line'),
    );
    for (const asked of [client.issueToken(), client.identify()]) {
      const { message, hint } = await refusal(asked);
      expect(message).toMatch(
        new RegExp(`^The proxy manage\\.sites\\.test:\\d+ has a problem: it answers with status ${status}$`),
      );
      expect(hint).toContain('whoever runs it');
    }
  });

  it('because it has a problem says which, where it can', async () => {
    const client = await proxyAnswering((_, response) =>
      response.writeHead(503).end(JSON.stringify({ error: { message: 'The disk is full.' } })),
    );
    expect((await refusal(client.issueToken())).message).toMatch(/has a problem: The disk is full\.$/);
  });

  it.each([
    ['a page', '\n<h1>Forbidden</h1>', 'status 403'],
    ['words', 'Not from\u001b[31m here.\nsecond line', 'Not from\uFFFD[31m here.'],
  ])('because it answers with status 403 and %s is said to refuse', async (_, body, said) => {
    const client = await proxyAnswering((_request, response) => response.writeHead(403).end(body));
    expect((await refusal(client.issueToken())).message.replace(/^.* refuses: /, '')).toBe(said);
  });

  it.each([
    [undefined, 'Try again in a minute;'],
    ['60', 'Try again in a minute;'],
    ['300', 'Try again in 5m;'],
    ['Fri, 31 Dec 2027 23:59:59 GMT', 'Try again in a minute;'],
  ])('because it answers with a bare status 429 (Retry-After: %s) is asked later', async (wait, advice) => {
    const client = await proxyAnswering((_request, response) =>
      response.writeHead(429, wait === undefined ? {} : { 'retry-after': wait }).end(),
    );
    const { message, hint } = await refusal(client.issueToken());
    expect(message).toMatch(/refuses for now: it has had too many requests from here \(status 429\)$/);
    expect(hint).toContain(advice);
    expect(hint).not.toContain('login node');
  });

  it('because nobody listens is said to be out of reach', async () => {
    const server = createServer();
    const port = await listening(server);
    server.close();
    await once(server, 'close');
    expect((await refusal(clientFor(port).issueToken())).message).toContain('refuses connections');
  });

  it('because it hangs up is said to do so', async () => {
    const server = createTcpServer((socket) => socket.destroy());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      server.close();
    });
    expect((await refusal(clientFor((server.address() as AddressInfo).port).issueToken())).message).toContain(
      'closed the connection',
    );
  });

  it('because its name is not known is said to be so', async () => {
    const client = new SatelliteClient({ manageUrl: 'http://manage.no-such-site.invalid' });
    onTestFinished(() => client.close());
    const { message, hint } = await refusal(client.issueToken());
    expect(message).toMatch(/its name is not known here|the name service does not answer/);
    expect(hint).toContain('proxy.endpoint');
    expect(hint).toContain('start-jupyter systems');
  });

  it('because it speaks no TLS is not said to have a bad certificate', async () => {
    const port = await listening(createServer());
    const client = new SatelliteClient({
      manageUrl: `https://manage.sites.test:${port}`,
      connectTo: '127.0.0.1',
    });
    onTestFinished(() => client.close());
    const { message, hint } = await refusal(client.issueToken());
    expect(message).toContain('it does not speak TLS');
    expect(hint).toMatch(/^Check the port in proxy\.endpoint .*; nothing was submitted or left behind\.$/);
  });

  it('because something else answers there is said without the words of a parser', async () => {
    const server = createTcpServer((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const client = new SatelliteClient({
      manageUrl: `http://manage.sites.test:${port}`,
      connectTo: '127.0.0.1',
    });
    onTestFinished(() => client.close());
    const { message, hint } = await refusal(client.issueToken());
    expect(message).toMatch(/can't be reached: what answers there does not speak HTTP\.$/);
    expect(hint).toMatch(/^Check the port in proxy\.endpoint /);
  });

  it('because its certificate is not trusted comes with what to do about that', async () => {
    const state = path.join(temporaryDirectory(), 'state.sqlite');
    const satellite = await ourSatellite({ tls: { selfSigned: true }, state });
    const refused = async (host: string, caFile?: string) => {
      const manageUrl = `https://${host}:${satellite.address.port}`;
      const client = new SatelliteClient({ manageUrl, connectTo: '127.0.0.1', caFile });
      onTestFinished(() => client.close());
      const { message, hint } = await refusal(client.issueToken());
      expect(message).toContain('its certificate is not trusted');
      return hint;
    };
    expect(await refused('manage.sites.test')).toMatch(
      /^Ask whoever runs the proxy for the file .*proxy\.caFile/,
    );
    const another = path.join(temporaryDirectory(), 'ca.pem');
    writeFileSync(another, rootCertificates[0] as string);
    expect(await refused('manage.sites.test', another)).toContain(`${another} (proxy.caFile) is not of its`);
    expect(await refused('manage.example.test', `${state}.self-signed.pem`)).toMatch(
      /^Check proxy\.endpoint/,
    );
  });
});

it('refuses a certificate authority that is not there', () => {
  expect(
    () => new SatelliteClient({ manageUrl: 'https://manage.sites.test', caFile: '/nowhere/ca.pem' }),
  ).toThrow(
    new ConfigurationError(
      "The proxy's certificate authority /nowhere/ca.pem can't be read: does not exist.",
      'Check proxy.caFile in the configuration.',
    ),
  );
});

describe('who answers', () => {
  it('is the original, which is asked for no token', async () => {
    const { client, requests } = await originalProxy({
      '/tokenjobstate.cgi': original('tokenjobstate-missing'),
      '/redeemtoken.cgi': original('redeem-unknown-token'),
    });
    expect((await client.identify()).version).toBeUndefined();
    expect(await client.outsiderRefusal()).toBeUndefined();
    expect(requests.filter((request) => request.includes('getlink'))).toEqual([]);
  });

  it('is an original that does not let this host in', async () => {
    const { client } = await originalProxy({ '/redeemtoken.cgi': original('redeem-outside-network') });
    expect(await client.outsiderRefusal()).toMatch(/^Client \(your\) IP not in range 10\.21\.0\.0\/16/);
  });

  it('is something else', async () => {
    const { client } = await originalProxy({});
    expect((await refusal(client.identify())).message).toContain('does not answer as a Satellite');
  });

  it('says what time it is there', async () => {
    const client = await proxyAnswering((_, response) => {
      response.writeHead(200, { date: 'Sun, 22 Nov 2026 06:00:00 GMT' });
      response.end(JSON.stringify({ info: { title: 'Satellite', version: '1.2.3' } }));
    });
    expect(await client.identify()).toEqual({ version: '1.2.3', date: new Date('2026-11-22T06:00:00Z') });
  });
});
