/** What a launch does with its proxy: before the scheduler has let it, and once that has taken its job. */
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import type { RequestListener, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished, test } from 'vitest';
import { makeCertificate } from '../../satellite/test/certificate.ts';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { program, run, runInto, slurmPrograms, start, usualPrograms } from '../support/program.ts';
import { recording } from '../support/recordings.ts';
import { stubCommands } from '../support/stubs.ts';

/** A cluster with a proxy, and what a program needs to be on it. */
async function cluster(answer: RequestListener) {
  const directory = temporaryDirectory();
  const { cert, key } = await makeCertificate(directory, ['DNS:manage.sites.localhost']);
  const proxy = https.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, answer);
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  const site = path.join(directory, 'site.yaml');
  const endpoint = `sites.localhost:${(proxy.address() as AddressInfo).port}`;
  const system = { title: 'Test', scheduler: 'slurm', detect: { env: { TEST_CLUSTER: 'yes' } } };
  writeFileSync(
    site,
    JSON.stringify({ systems: { test: { ...system, proxy: { endpoint, caFile: cert } } } }),
  );
  const stubs = stubCommands();
  stubs.add('sinfo', { stdout: 'compute*|up|infinite\n' });
  stubs.add('sbatch', { stdout: '7\n' });
  stubs.add('squeue', {});
  stubs.add('scancel', {});

  const observer = pathToFileURL(path.join(import.meta.dirname, '../support/network-observer.mjs')).href;
  return {
    proxy,
    commands: stubs.directory,
    stubs,
    on: {
      home: freshHome(),
      path: `${stubs.directory}:${usualPrograms({ without: slurmPrograms })}`,
      env: {
        START_JUPYTER_SITE_CONFIG: site,
        TEST_CLUSTER: 'yes',
        NODE_OPTIONS: `--import=${observer}`,
        OBSERVED_NETWORK: '/dev/null',
      },
    },
  };
}

const sessionsIn = ({ sessions }: Home) => (existsSync(sessions) ? readdirSync(sessions) : []);

it.each([
  ['nobody waits for the link until the proxy knows of the job', undefined],
  ['an interruption after the link is too late', 'SIGINT'],
] as const)('%s', async (_, signal) => {
  const told = Promise.withResolvers<string>();
  const { on } = await cluster((request, response) => {
    const reply = (status: number, content: object) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(content));
    };
    if (request.method === 'POST')
      reply(201, { token: 'one-two-three', site: 'https://one-two-three.sites.localhost/' });
    else {
      response.once('close', () => told.resolve('nothing before it gave the proxy up'));
      void told.promise.then(() => reply(200, {}));
    }
  });

  const running = start(['--quiet'], on);
  // The proxy answers only when it has been printed.
  running.stdout.once('data', (text) => {
    if (signal) running.kill(signal);
    told.resolve(String(text));
  });
  const { exitCode, stderr } = await running;
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(await told.promise).toMatch(/^https:\/\/one-two-three\.sites\.localhost\/\?token=\w+\n$/);
});

describe('a link that can not be written is no reason to keep a session that nobody could find', () => {
  const withToken: RequestListener = (request, response) => {
    response
      .writeHead(request.method === 'POST' ? 201 : 200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ token: 'one-two-three', site: 'https://one-two-three.sites.localhost/' }));
  };

  it.each([[[]], [['--json']], [['--quiet']]])('%j', async (options) => {
    const { stubs, on } = await cluster(withToken);
    stubs.add('sbatch', { stdout: '3\n' });
    stubs.add('squeue', recording('slurm-22.05/squeue-running'));
    stubs.after('scancel', 'squeue', recording('slurm-22.05/squeue-unknown'));
    stubs.add('sacct', recording('slurm-22.05/sacct-cancelled-running'));
    const { exitCode, stderr } = await runInto('/dev/full', options, on);
    expect(stderr).toMatch(
      /start-jupyter: The link can't be written \(no space left on device\), so the session was ended\.\n.*\n$/,
    );
    expect(stderr.match(/written/g)).toHaveLength(1);
    expect(exitCode).toBe(6);
    expect(stubs.calls()).toContain('scancel 3');
    const [session = ''] = sessionsIn(on.home);
    expect(existsSync(path.join(on.home.sessions, session, 'secrets'))).toBe(false);
    expect(JSON.parse((await run(['list', '--json'], on)).stdout)).toMatchObject([
      { jobId: '3', url: null, state: 'ended', reason: expect.stringContaining("link can't be written") },
    ]);
  });

  it('but a reader that has gone may have read it', async () => {
    const { stubs, on } = await cluster(withToken);
    const running = start(['--quiet'], on);
    running.stdout.destroy();
    expect(await running).toMatchObject({ exitCode: 0, stderr: '' });
    expect(stubs.calls()).not.toContain('scancel 7');
  });
});

describe('a launch that is refused prints what it knew with --json, and null for what there is not', () => {
  const known = { system: 'test', scheduler: 'slurm', access: 'satellite' };
  const nothing = {
    id: null,
    jobId: null,
    url: null,
    script: null,
    log: null,
    submittedAt: null,
    expiresAt: null,
  };

  it('by the scheduler', async () => {
    const { stubs, on } = await cluster((request, response) => {
      response
        .writeHead(request.method === 'POST' ? 201 : 200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ token: 'one-two-three', site: 'https://one-two-three.sites.localhost/' }));
    });
    stubs.add('sbatch', { stderr: 'sbatch: error: Invalid account', exitCode: 1 });
    const { exitCode, stdout } = await start(['--json'], on);
    expect(exitCode).toBe(5);
    expect(JSON.parse(stdout)).toEqual({
      ...nothing,
      ...known,
      directory: on.home.path,
      state: 'failed',
      reason: expect.stringContaining('Invalid account'),
    });
  });

  test.each([
    [
      'Requested node configuration is not available',
      ['--gpu', 'v100:9', '-C', 'a&b'],
      "It may be about --gpu=v100:9, '--constraint=a&b'. Nothing",
    ],
    [
      'Requested node configuration is not available',
      ['-c', '4', '--', '--mincpus=99'],
      'It may be about --cpus=4, what stands after "--". Nothing',
    ],
    [
      'Requested time limit is invalid (missing or exceeds some limit)',
      [],
      'It may be about --time=30m (built in). Nothing',
    ],
    [
      'Invalid qos specification',
      [],
      'It may be about what was left out: --account, --partition, --qos. Nothing',
    ],
    ['Something that nobody knows', [], '  Nothing was submitted.'],
  ])('by the scheduler (%s) for what %j asks', async (said, args, hint) => {
    const { stubs, on } = await cluster((request, response) => {
      response
        .writeHead(request.method === 'POST' ? 201 : 200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ token: 'one-two-three', site: 'https://one-two-three.sites.localhost/' }));
    });
    stubs.add('sbatch', { stderr: `sbatch: error: Batch job submission failed: ${said}`, exitCode: 1 });
    const { exitCode, stderr } = await start(args, on);
    expect(exitCode).toBe(5);
    expect(stderr).toContain(`Slurm refuses the job: ${said}.`);
    expect(stderr).toContain(hint);
  });

  it('by a proxy that has a problem, and whose page nobody has to read', async () => {
    const { on } = await cluster((_request, response) => {
      response.writeHead(500, { 'content-type': 'text/html' }).end('<h1>Internal Server Error</h1>');
    });
    const { exitCode, stdout, stderr } = await start(['--json', '-d', '/tmp'], on);
    expect(exitCode).toBe(4);
    const reason = expect.stringMatching(
      /^The proxy manage\.sites\.localhost:\d+ has a problem: it answers with status 500$/,
    );
    expect(JSON.parse(stdout)).toEqual({ ...nothing, ...known, directory: '/tmp', state: 'failed', reason });
    expect(stderr).not.toContain('<');
  });
});

it('a launch that is refused has asked the proxy nothing, and leaves no connection', async () => {
  let requests = 0;
  const { proxy, commands, on } = await cluster(() => {
    requests += 1;
  });
  // The scheduler answers only when the proxy has its connection.
  const answer = path.join(commands, 'answer');
  writeFileSync(
    path.join(commands, 'sinfo'),
    `#!/bin/sh\nuntil [ -e '${answer}' ]; do sleep 0.05; done\necho 'compute*|up|infinite'\n`,
  );
  const connected = once(proxy, 'connection');
  const running = start(['--quiet', '-p', 'nowhere'], on);
  const [connection] = await connected;
  const closed = once(connection, 'close');
  writeFileSync(answer, '');
  const { exitCode, stderr } = await running;
  expect({ exitCode, stderr }).toEqual({
    exitCode: 2,
    stderr: expect.stringContaining('there is no partition "nowhere"'),
  });
  await closed;
  expect(requests).toBe(0);
});

// In a network of its own, whose name server is a neighbour that says nothing; for as long as a resolver can wait.
it.runIf(process.getuid?.() === 0)(
  'a launch that is refused ends though the name service has not answered yet',
  async () => {
    const { on } = await cluster(() => {});
    const resolver = path.join(temporaryDirectory(), 'resolv.conf');
    writeFileSync(resolver, 'nameserver 192.0.2.53\noptions timeout:30 attempts:5\n');
    const silence = [
      'ip link add here type veth peer name there',
      'ip addr add 192.0.2.1/24 dev here',
      'ip link set here up',
      'ip link set there up',
      'ip neigh add 192.0.2.53 lladdr 02:00:00:00:00:53 dev here',
      `mount --bind '${resolver}' /etc/resolv.conf`,
      'exec "$0" "$@"',
    ].join(' && ');
    const { exitCode, stdout } = await execa(
      'unshare',
      ['--net', '--mount', 'sh', '-c', silence, program, '--json', '-p', 'nowhere'],
      {
        extendEnv: false,
        reject: false,
        env: {
          ...on.home.env,
          ...on.env,
          NODE_OPTIONS: '',
          START_JUPYTER_SITE_CONFIG: withProxyAt('sites.test', on.env.START_JUPYTER_SITE_CONFIG),
          PATH: `${on.path}:/usr/sbin:/sbin`,
        },
      },
    );
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ state: 'failed', system: 'test', id: null });
  },
);

/** A copy of a site file, with another endpoint. */
function withProxyAt(endpoint: string, site: string): string {
  const copy = path.join(temporaryDirectory(), 'site.yaml');
  writeFileSync(copy, readFileSync(site, 'utf8').replace(/"sites\.localhost:\d+"/, `"${endpoint}"`));
  return copy;
}

/** A command that says nothing more once it has read its input and written the number of its process. */
function hanging(commands: string, name: string): () => number {
  const pid = path.join(commands, `${name}.pid`);
  writeFileSync(
    path.join(commands, name),
    `#!/bin/sh\ncat >/dev/null\necho $$ >'${pid}.new'\nmv '${pid}.new' '${pid}'\nexec sleep 1000\n`,
  );
  return () => (existsSync(pid) ? Number(readFileSync(pid, 'utf8')) : 0);
}

/** An sbatch that says that it has begun, and keeps what it has read, once that has come to its end. */
function reading(commands: string): {
  readonly begun: () => boolean;
  readonly script: () => string | undefined;
} {
  const [begun, script] = [path.join(commands, 'begun'), path.join(commands, 'script')];
  writeFileSync(
    path.join(commands, 'sbatch'),
    `#!/bin/sh\necho >'${begun}'\ncat >'${script}.new'\nmv '${script}.new' '${script}'\necho 7\n`,
  );
  return {
    begun: () => existsSync(begun),
    script: () => (existsSync(script) ? readFileSync(script, 'utf8') : undefined),
  };
}

describe('sbatch is begun while the proxy thinks', () => {
  it('and gets the very script that lies in the session', async () => {
    const gotToken = Promise.withResolvers<void>();
    const { commands, on } = await cluster(async (request, response) => {
      if (request.method === 'POST') await gotToken.promise;
      response
        .writeHead(request.method === 'POST' ? 201 : 200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ token: 'one-two-three', site: 'https://one-two-three.sites.localhost/' }));
    });
    const sbatch = reading(commands);
    const running = start(['--json'], on);
    await expect.poll(sbatch.begun).toBe(true);
    gotToken.resolve();
    const { stdout } = await running;
    expect(sbatch.script()).toBe(readFileSync(JSON.parse(stdout).script, 'utf8'));
  });

  it('and submits nothing where that refuses', async () => {
    const refuse = Promise.withResolvers<void>();
    const { commands, on } = await cluster(async (_request, response) => {
      await refuse.promise;
      response.writeHead(503).end();
    });
    const sbatch = reading(commands);
    const running = start(['--quiet'], on);
    await expect.poll(sbatch.begun).toBe(true);
    refuse.resolve();
    expect((await running).exitCode).toBe(4);
    expect(sbatch.script()).toBeUndefined();
  });

  it('and finds nothing to submit where the launch is killed', async () => {
    const { commands, on } = await cluster(() => {});
    const sbatch = reading(commands);
    const running = start(['--quiet'], on);
    await expect.poll(sbatch.begun).toBe(true);
    running.kill('SIGKILL');
    await running;
    await expect.poll(sbatch.script).toBe('');
  });
});

describe('an interruption ends a launch, whoever does not answer', () => {
  it.each([
    ['sinfo', 'Interrupted; nothing was left running.'],
    [
      'sbatch',
      'Interrupted before Slurm had answered. A job that was taken all the same ends by itself when it begins.',
    ],
  ])('%s', async (name, said) => {
    const { commands, on } = await cluster((request, response) => {
      response
        .writeHead(request.method === 'POST' ? 201 : 200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ token: 'one-two-three', site: 'https://one-two-three.sites.localhost/' }));
    });
    const pid = hanging(commands, name);
    const running = start(['--quiet'], on);
    await expect.poll(pid).toBeGreaterThan(0);
    running.kill('SIGINT');
    const { exitCode, stderr } = await running;
    expect({ exitCode, stderr }).toEqual({ exitCode: 130, stderr: `start-jupyter: ${said}\n` });
    expect(() => process.kill(pid(), 0)).toThrow('ESRCH');
    expect(sessionsIn(on.home)).toEqual([]);
  });

  it.each([
    ['the proxy, which says nothing', () => {}],
    [
      'the proxy, which does not come to an end',
      (response: ServerResponse) => {
        response.writeHead(201);
        const dripping = setInterval(() => response.write('x'), 200);
        response.once('close', () => clearInterval(dripping));
      },
    ],
  ])('%s', async (_, answer) => {
    const asked = Promise.withResolvers<void>();
    const { on } = await cluster((_request, response) => {
      answer(response);
      asked.resolve();
    });
    const running = start(['--quiet'], on);
    await asked.promise;
    running.kill('SIGINT');
    const { exitCode, stderr } = await running;
    expect({ exitCode, stderr }).toEqual({
      exitCode: 130,
      stderr: 'start-jupyter: Interrupted; nothing was left running.\n',
    });
    expect(sessionsIn(on.home)).toEqual([]);
  });
});

/** Makes a stub wait, once it has read its input and been written down as called, until it is let go. */
function held(commands: string, name: string): { readonly begun: () => boolean; readonly letGo: () => void } {
  const [begun, go] = [path.join(commands, `${name}.begun`), path.join(commands, `${name}.go`)];
  renameSync(path.join(commands, name), path.join(commands, `${name}.free`));
  symlinkSync(`${name}.answer`, path.join(commands, `${name}.free.answer`));
  if (existsSync(path.join(commands, `${name}.after`)))
    symlinkSync(`${name}.after`, path.join(commands, `${name}.free.after`));
  writeFileSync(
    path.join(commands, name),
    `#!/bin/sh\ncat >/dev/null\necho >'${begun}'\nuntil [ -e '${go}' ]; do sleep 0.05; done\nexec "$0.free" "$@"\n`,
    { mode: 0o755 },
  );
  return { begun: () => existsSync(begun), letGo: () => writeFileSync(go, '') };
}

describe('a launch that is interrupted ends its job and gives its link back, however often it is told', () => {
  const link = JSON.stringify({ token: 'one-two-three', site: 'https://one-two-three.sites.localhost/' });

  /** A cluster whose job 3 waits in the queue until it is cancelled, and what its proxy was asked. */
  async function queueing(answer: (asked: string) => Promise<void> = async () => {}) {
    const asked: string[] = [];
    const made = await cluster(async (request, response) => {
      const what = `${request.method} ${request.url?.replace('/api/v1/tokens', '')}`;
      asked.push(what);
      await answer(what);
      response
        .writeHead(request.method === 'POST' ? 201 : 200, { 'content-type': 'application/json' })
        .end(link);
    });
    made.stubs.add('sbatch', { stdout: '3\n' });
    made.stubs.add('squeue', { stdout: '3|PENDING|Resources|N/A|N/A|\n' });
    made.stubs.after('scancel', 'squeue', recording('slurm-22.05/squeue-unknown'));
    made.stubs.add('sacct', recording('slurm-22.05/sacct-cancelled-running'));
    return { ...made, asked };
  }

  /** In a process group of its own, all of which gets what a terminal sends. */
  function inForeground(args: readonly string[], on: Awaited<ReturnType<typeof cluster>>['on']) {
    const running = start([program, ...args], { ...on, program: 'setsid' });
    return { running, send: (signal: NodeJS.Signals) => process.kill(-(running.pid as number), signal) };
  }

  it.each([[['SIGINT', 'SIGINT']], [['SIGTERM']], [['SIGHUP', 'SIGINT', 'SIGTERM']]] as const)(
    'while sbatch runs, and again while scancel does: %j',
    async (signals) => {
      const { commands, stubs, asked, on } = await queueing();
      const sbatch = held(commands, 'sbatch');
      const scancel = held(commands, 'scancel');
      const { running, send } = inForeground(['--json'], on);
      await expect.poll(sbatch.begun).toBe(true);
      for (const signal of signals) send(signal);
      sbatch.letGo();
      await expect.poll(scancel.begun).toBe(true);
      for (const signal of signals) send(signal);
      scancel.letGo();
      const { exitCode, stdout } = await running;
      expect({ exitCode, ...JSON.parse(stdout) }).toMatchObject({ exitCode: 130, jobId: '3', url: null });
      expect(stubs.calls()).toContain('scancel 3');
      expect(asked.at(-1)).toBe('DELETE /one-two-three');
    },
  );

  it('while the proxy is told of the job, and does not answer', async () => {
    const told = Promise.withResolvers<void>();
    const { stubs, asked, on } = await queueing(async (what) => {
      if (!what.endsWith('/job')) return;
      told.resolve();
      await new Promise(() => {});
    });
    const { running, send } = inForeground(['--wait', '--json'], on);
    await told.promise;
    send('SIGINT');
    const { exitCode, stderr } = await running;
    expect(exitCode).toBe(130);
    // It has not been waited for until it was given up.
    expect(stderr).not.toContain('will not show the queue');
    expect(stubs.calls()).toContain('scancel 3');
    expect(asked.at(-1)).toBe('DELETE /one-two-three');
  });

  it('while the proxy is told of the end, and does not answer before the job is cancelled', async () => {
    const told = Promise.withResolvers<void>();
    const cancelled = Promise.withResolvers<void>();
    const { commands, stubs, asked, on } = await queueing(async (what) => {
      if (!what.endsWith('/phase')) return;
      told.resolve();
      await cancelled.promise;
    });
    const sbatch = held(commands, 'sbatch');
    const { running, send } = inForeground(['--json'], on);
    await expect.poll(sbatch.begun).toBe(true);
    send('SIGINT');
    sbatch.letGo();
    await told.promise;
    send('SIGINT');
    // Less than the client would wait for an answer.
    await expect.poll(() => stubs.calls(), { timeout: 10_000 }).toContain('scancel 3');
    cancelled.resolve();
    expect((await running).exitCode).toBe(130);
    expect(asked.at(-1)).toBe('DELETE /one-two-three');
  });

  it('also the job of an sbatch that has not told its number', async () => {
    const { commands, stubs, asked, on } = await queueing();
    writeFileSync(
      path.join(commands, 'sbatch'),
      `#!/bin/sh
log=$(sed -n 's/^#SBATCH --output=//p')
echo "3                   $log" >>'${path.join(commands, 'squeue.answer/stdout')}'
echo >'${path.join(commands, 'taken')}'
exec sleep 1000
`,
    );
    const { running, send } = inForeground(['--quiet'], on);
    await expect.poll(() => existsSync(path.join(commands, 'taken'))).toBe(true);
    send('SIGINT');
    send('SIGINT');
    const { exitCode, stderr } = await running;
    expect({ exitCode, stderr }).toEqual({
      exitCode: 130,
      stderr: 'start-jupyter: Interrupted; nothing was left running.\n',
    });
    expect(stubs.calls()).toContain('scancel 3');
    expect(asked.at(-1)).toBe('DELETE /one-two-three');
  });

  it('or says which job it leaves, and how to end that, where the scheduler does not take its end', async () => {
    const { commands, stubs, on } = await queueing();
    stubs.add('scancel', { stderr: 'scancel: error: Unable to contact slurm controller', exitCode: 1 });
    const sbatch = held(commands, 'sbatch');
    const { running, send } = inForeground(['--json'], on);
    await expect.poll(sbatch.begun).toBe(true);
    send('SIGINT');
    sbatch.letGo();
    const { exitCode, stdout, stderr } = await running;
    const [id] = sessionsIn(on.home);
    expect({ exitCode, ...JSON.parse(stdout) }).toMatchObject({ exitCode: 5, id, jobId: '3' });
    expect(stderr).toContain(`start-jupyter stop ${id}`);
  });
});

it('an answer that has no end is not read for ever', async () => {
  const { on } = await cluster((_request, response) => {
    response.writeHead(201);
    const more = () => {
      while (response.write('x'.repeat(100_000)));
    };
    response.on('drain', more);
    more();
  });
  const { exitCode, stderr } = await start(['--quiet'], on);
  expect({ exitCode, stderr }).toEqual({
    exitCode: 4,
    stderr: expect.stringContaining('its answer is too long to be one'),
  });
});
